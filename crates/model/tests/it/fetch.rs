//! The program `roentgen-model` and published weights: what it shows, and what it downloads from where.

use std::path::Path;

use assert_cmd::Command;
use model::zoo::PRESETS;
use model::zoo::published::MINILM_6;
use serde_json::Value;

use super::hub_server::HubServer;

fn program(arguments: &[&str]) -> Command {
    let mut command = Command::cargo_bin("roentgen-model").unwrap();
    command.args(arguments);
    // The server of these tests is on this machine.
    command.env("NO_PROXY", "127.0.0.1").env_remove("HF_HUB_OFFLINE");
    command
}

/// What a program says that must end with an exit code.
fn refusal(command: &mut Command, code: i32) -> String {
    String::from_utf8(command.assert().code(code).get_output().stderr.clone()).unwrap()
}

fn is_empty(folder: &Path) -> bool {
    std::fs::read_dir(folder).unwrap().next().is_none()
}

#[test]
fn weights_that_differ_from_the_published_are_refused_and_without_the_feature_nothing_is_asked() {
    let folder = tempfile::tempdir().unwrap();
    let (home, out) = (folder.path().join("home"), folder.path().join("out/minilm"));
    std::fs::create_dir_all(out.parent().unwrap()).unwrap();
    let server = HubServer::start(MINILM_6.revision);
    server.put("config.json", b"{}");
    let mut command = program(&["fetch", "minilm-6", "--out", out.to_str().unwrap()]);
    command.env("HF_ENDPOINT", &server.endpoint).env("HF_HOME", &home);
    if cfg!(feature = "hub") {
        let text = refusal(&mut command, 4);
        assert!(text.contains("config.json of sentence-transformers/all-MiniLM-L6-v2 has SHA-256 44136fa3"), "{text}");
        assert!(text.contains(MINILM_6.files[0].sha256), "{text}");
        assert!(!server.asked().is_empty() && home.join("hub").is_dir());
    } else {
        let text = refusal(&mut command, 2);
        assert!(text.contains("built without downloads") && text.contains("--features hub"), "{text}");
        assert!(text.trim_end().lines().count() == 1 && text.contains("everything else works offline"), "{text}");
        assert!(server.asked().is_empty() && !home.exists());
    }
    assert!(is_empty(out.parent().unwrap()));
}

#[test]
fn a_name_without_known_weights_is_refused_with_those_that_have_some() {
    for (name, why) in [("vit-base-16", "no weights of it are known"), ("nothing", "use one of")] {
        let text = refusal(&mut program(&["fetch", name, "--out", "unused"]), 2);
        assert!(text.contains(why) && text.contains("minilm-6"), "{text}");
    }
}

#[test]
fn the_list_shows_source_revision_licence_and_hashes() {
    let printed = |arguments: &[&str]| {
        String::from_utf8(program(arguments).assert().success().get_output().stdout.clone()).unwrap()
    };
    let (text, json) = (printed(&["list"]), printed(&["list", "--json"]));
    let json: Value = serde_json::from_str(&json).unwrap();
    for (preset, shown) in PRESETS.iter().zip(json.as_array().unwrap()) {
        let Some(published) = preset.published else {
            assert!(shown["published"].is_null());
            continue;
        };
        let shown = &shown["published"];
        for (key, value) in
            [("source", published.source), ("revision", published.revision), ("licence", published.licence)]
        {
            assert!(shown[key] == value && text.contains(value), "{} {key}", preset.name);
        }
        for (file, shown) in published.files.iter().zip(shown["files"].as_array().unwrap()) {
            assert!(shown["name"] == file.name && shown["sha256"] == file.sha256, "{shown}");
            assert!(text.contains(file.sha256), "{} {}", preset.name, file.name);
        }
    }
}
