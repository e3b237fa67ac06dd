//! Downloads from a hub on this machine.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use data::fsx;
use hf_hub::Cache;
use hf_hub::api::sync::ApiBuilder;
use model::card::Card;
use model::text::bert::BertConfig;
use model::weights::{CARD_FILE, Weights, collect, encode};
use model::zoo::{Published, PublishedFile};
use serde_json::json;
use tempfile::TempDir;

use super::super::CliError;
use super::super::fetch::fetch;
use super::{Hub, HubError};

#[path = "../../../tests/it/hub_server.rs"]
mod hub_server;

use hub_server::HubServer;

const REVISION: &str = "0123456789abcdef0123456789abcdef01234567";

/// A hub with a small BERT, and a folder for the cache and what is fetched.
struct Place {
    folder: TempDir,
    server: HubServer,
    files: Vec<(&'static str, Vec<u8>)>,
    published: Published,
}

impl Place {
    fn new() -> Self {
        let server = HubServer::start(REVISION);
        let files = small_bert();
        for (name, bytes) in &files {
            server.put(name, bytes);
        }
        let hash = |bytes: &[u8]| -> &'static str { fsx::sha256_hex(bytes).leak() };
        let listed: Vec<_> = files.iter().map(|(name, bytes)| PublishedFile { name, sha256: hash(bytes) }).collect();
        let published =
            Published { source: "someone/small-bert", revision: REVISION, licence: "MIT", files: listed.leak() };
        Self { folder: tempfile::tempdir().unwrap(), server, files, published }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn hub(&self, offline: bool) -> Hub {
        let cache = Cache::new(self.path("cache"));
        let builder = ApiBuilder::from_cache(cache.clone()).with_endpoint(self.server.endpoint.clone());
        Hub::new(builder.with_progress(false), cache, offline).unwrap()
    }

    fn fetch(&self, out: &str) -> Result<(), CliError> {
        fetch(&self.hub(false), &self.published, &self.path(out))
    }

    /// What lies beside the cache.
    fn listed(&self) -> Vec<String> {
        let mut names = names_in(self.folder.path());
        names.retain(|name| name != "cache");
        names
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let mut names: Vec<String> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Weights above the size that is redirected, and files below.
fn small_bert() -> Vec<(&'static str, Vec<u8>)> {
    let config = json!({
        "vocab_size": 12, "hidden_size": 8, "num_layers": 1, "num_heads": 2, "intermediate_size": 16,
        "max_position_embeddings": 16,
    });
    let config: BertConfig = serde_json::from_value(config).unwrap();
    let weights = encode(&collect(&config.init(&Device::flex())), &BTreeMap::new());
    let config = json!({
        "model_type": "bert", "vocab_size": 12, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
        "intermediate_size": 16, "max_position_embeddings": 16,
    });
    vec![
        ("config.json", config.to_string().into_bytes()),
        ("vocab.txt", b"[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nno\nacute\n".to_vec()),
        ("model.safetensors", weights),
    ]
}

#[test]
fn good_files_are_written_with_a_card_that_says_where_they_are_from() {
    let place = Place::new();
    place.fetch("model").unwrap();
    for (name, bytes) in &place.files {
        assert_eq!(&fs::read(place.path("model").join(name)).unwrap(), bytes, "{name}");
    }
    assert_eq!(names_in(&place.path("model")), ["card.toml", "config.json", "model.safetensors", "vocab.txt"]);
    assert_eq!(place.listed(), ["model"]);
    let asked = place.server.asked();
    let resolved = format!("/someone/small-bert/resolve/{REVISION}/model.safetensors");
    assert!(asked.contains(&resolved) && asked.contains(&"/content/model.safetensors".to_owned()), "{asked:?}");

    let card: Card = toml::from_str(&fs::read_to_string(place.path("model").join(CARD_FILE)).unwrap()).unwrap();
    assert_eq!(card.provenance.licence.as_deref(), Some("MIT"));
    let from = card.provenance.published.clone().unwrap();
    assert_eq!((from.source.as_str(), from.revision.as_str()), ("someone/small-bert", REVISION));
    assert_eq!(from.sha256["vocab.txt"], fsx::sha256_hex(&place.files[1].1));
    // The card comes along wherever the weights are read.
    assert_eq!(Weights::open(&place.path("model")).unwrap().card, card);
}

#[test]
fn bad_bytes_leave_nothing_and_are_asked_for_again() {
    let place = Place::new();
    let mut bad = place.files[2].1.clone();
    *bad.last_mut().unwrap() ^= 1;
    place.server.put("model.safetensors", &bad);
    let error = place.fetch("model").unwrap_err();
    let (expected, found) = (place.published.files[2].sha256, fsx::sha256_hex(&bad));
    let text = error.to_string();
    for part in ["model.safetensors", "someone/small-bert", expected, &found, "try again"] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!((error.exit_code(), place.listed()), (4, vec![]));

    // The bad copy is not kept: once the hub is whole again, so is the result.
    place.server.put("model.safetensors", &place.files[2].1);
    place.fetch("model").unwrap();
    assert_eq!(fs::read(place.path("model/model.safetensors")).unwrap(), place.files[2].1);
}

#[test]
fn weights_that_cannot_be_used_leave_nothing() {
    let mut place = Place::new();
    let broken = b"no weights".to_vec();
    place.server.put("model.safetensors", &broken);
    let mut files = place.published.files.to_vec();
    files[2].sha256 = fsx::sha256_hex(&broken).leak();
    place.published.files = files.leak();
    assert!(matches!(place.fetch("model"), Err(CliError::Model(_))));
    assert_eq!(place.listed(), [""; 0]);
}

#[test]
fn a_second_time_nothing_is_downloaded_and_other_files_are_safe() {
    let place = Place::new();
    let error = fetch(&place.hub(true), &place.published, &place.path("model")).unwrap_err();
    assert!(matches!(error, CliError::Hub(HubError::Offline { .. })) && error.exit_code() == 2, "{error}");
    assert_eq!((place.server.asked(), place.listed()), (vec![], vec![]));

    place.fetch("model").unwrap();
    assert!(!place.server.asked().is_empty());
    fs::create_dir(place.path("empty")).unwrap();
    fetch(&place.hub(true), &place.published, &place.path("empty")).unwrap();
    assert_eq!(names_in(&place.path("empty")), names_in(&place.path("model")));
    assert_eq!(place.server.asked(), [""; 0]);

    let error = place.fetch("model").unwrap_err();
    assert!(matches!(error, CliError::Output { .. }) && error.exit_code() == 2, "{error}");
}

#[test]
fn what_the_hub_does_not_have_is_named() {
    let mut place = Place::new();
    place.published.files = vec![PublishedFile { name: "absent.txt", sha256: "" }].leak();
    let text = place.fetch("model").unwrap_err().to_string();
    assert!(text.contains("absent.txt of someone/small-bert") && text.contains("404"), "{text}");
    assert_eq!(place.listed(), [""; 0]);
}
