//! `roentgen-eval table` by the programs: its runs, its tables, and that nothing is made twice.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use crate::workplace::{CONVIRT, SUPERVISED, Workplace, json, names, sibling, text};

/// Two methods and the ceiling, two seeds; runs of a second.
fn write(place: &Workplace) {
    let tiny = text(&place.path("tiny.toml"));
    let supervised = tiny.replace(CONVIRT, SUPERVISED);
    assert_ne!(tiny, supervised);
    data::fsx::write_atomic(&place.path("labels.toml"), supervised.as_bytes()).unwrap();
    let mgca = "extends = \"tiny.toml\"\n[objective]\nkind = \"mgca\"\nflavour = \"reference\"\n\
                [model.alignment]\nhidden_size = 8\nnum_prototypes = 6\n[model.image]\nlocal_stage = 2\n\
                [data]\ntext = \"report\"\n";
    data::fsx::write_atomic(&place.path("mgca.toml"), mgca.as_bytes()).unwrap();
    let table = "seeds = [3, 4]\nfractions = [0.5, 1.0]\nks = [1, 5]\nresamples = 20\nset = [\"run.save_every=1\"]\n\
                 [phantoms]\nseed = 7\ntrain = 64\nvalidate = 48\ntest = 64\ncandidates_per_class = 4\nqueries_per_class = 2\n\
                 [probe]\nrates = [1e-2]\nmax_epochs = 2\n\
                 [[rows]]\nname = \"ConVIRT\"\nrecipe = \"tiny.toml\"\n\
                 [[rows]]\nname = \"MGCA\"\nrecipe = \"mgca.toml\"\n\
                 [[rows]]\nname = \"ceiling\"\nrecipe = \"labels.toml\"\n";
    data::fsx::write_atomic(&place.path("table.toml"), table.as_bytes()).unwrap();
}

fn command(place: &Workplace, program: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(place.0.path()).args(["table", "table.toml", "--out", "table", "--ui", "plain"]).args(more);
    command
}

fn printed(place: &Workplace, program: &Path, more: &[&str]) -> String {
    let output = command(place, program, more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{said}");
    String::from_utf8(output.stdout).unwrap()
}

fn refused(place: &Workplace, program: &Path, more: &[&str]) -> String {
    let output = command(place, program, more).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    said
}

/// Kills the table in its second run, once that has saved a state.
fn killed_in_the_second(place: &Workplace, program: &Path) {
    let mut child = command(place, program, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let state = place.path("table/convirt-4/checkpoints/step-00000001/manifest.json");
    while !state.is_file() {
        std::thread::sleep(Duration::from_millis(1));
        assert!(child.try_wait().unwrap().is_none(), "it ended before it could be killed");
    }
    child.kill().unwrap();
    child.wait().unwrap();
    // The run that it had started ends by itself, or is in its folder still: then the next one is told so.
    let finished = place.path("table/convirt-4/eval.json");
    while !finished.is_file() {
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn modified(path: &Path) -> SystemTime {
    std::fs::metadata(path).unwrap().modified().unwrap()
}

#[test]
fn methods_stand_in_the_tables_of_the_paper_and_nothing_is_made_twice() {
    let Some(program) = sibling("eval") else { return };
    let place = Workplace::new(CONVIRT);
    write(&place);
    killed_in_the_second(&place, &program);
    let first = modified(&place.path("table/convirt-3/eval.json"));
    let tables = printed(&place, &program, &[]);
    assert_eq!(modified(&place.path("table/convirt-3/eval.json")), first, "a finished run was trained again");
    let runs = ["convirt-3", "convirt-4", "mgca-3", "mgca-4", "ceiling-3", "ceiling-4"];
    let mut expected: Vec<String> = runs.iter().map(|run| (*run).to_owned()).collect();
    expected.extend([".lock", "probes", "table.json"].map(str::to_owned));
    expected.sort();
    assert_eq!(names(&place.path("table")), expected);

    // Three tables of the rows that have something to say, and the chance of finding.
    let parts: Vec<&str> = tables.split("retrieval, mean of 2 runs").collect();
    assert_eq!(parts.len(), 3, "{tables}");
    let rows = |part: &str| -> Vec<String> {
        let named = ["random weights", "ConVIRT", "MGCA", "ceiling", "chance"];
        part.lines()
            .filter_map(|line| named.iter().find(|name| line.starts_with(**name)))
            .map(|n| (*n).to_owned())
            .collect()
    };
    assert!(parts[0].starts_with("Linear probe: macro AUROC of 8 findings by share of the labels, mean of 2 runs"));
    assert!(parts[0].contains("50 %") && parts[0].contains("all"), "{tables}");
    assert_eq!(rows(parts[0]), ["random weights", "ConVIRT", "MGCA", "ceiling"]);
    assert_eq!(rows(parts[1]), ["random weights", "ConVIRT", "MGCA", "ceiling", "chance"]);
    // Sentences find nothing without a text tower.
    assert_eq!(rows(parts[2]), ["random weights", "ConVIRT", "MGCA", "chance"]);
    assert!(parts[2].contains("Prec@5"), "{tables}");

    let all = json(&place.path("table/table.json"));
    let value = |at: &str| all.pointer(at).and_then(Value::as_f64).unwrap_or_else(|| panic!("{at} is not in {all:#}"));
    for method in ["random weights", "ConVIRT", "MGCA", "ceiling"] {
        let at = |key: &str| value(&format!("/linear_probe/{method}/all/{key}"));
        assert!(at("low") <= at("value") && at("value") <= at("high"), "{all:#}");
    }
    let over = |method: &str| value(&format!("/linear_probe_over_random/{method}/all/value"));
    let level = |method: &str| value(&format!("/linear_probe/{method}/all/value"));
    assert!((over("MGCA") - (level("MGCA") - level("random weights"))).abs() < 1e-12);
    assert!((value("/image_to_image/ceiling/Prec@1/chance") - 0.125).abs() < 1e-12);

    // The probes are kept, too: where one is missing it is made again, and the tables are the same.
    let kept = place.path("table/probes/mgca-4/repetitions");
    let files = names(&kept);
    assert_eq!(files, [".lock", "own-0.5-4.json", "own-1-4.json"]);
    let before = modified(&kept.join(&files[2]));
    std::fs::remove_file(kept.join(&files[1])).unwrap();
    assert_eq!(printed(&place, &program, &[]), tables);
    assert_eq!(modified(&kept.join(&files[2])), before);
    let again: Value = serde_json::from_str(&printed(&place, &program, &["--json"])).unwrap();
    assert_eq!(again, all);
}

#[test]
fn what_cannot_stand_in_a_table_is_told_before_anything_is_trained() {
    let Some(program) = sibling("eval") else { return };
    let place = Workplace::new(CONVIRT);
    write(&place);
    let replaced = |old: &str, new: &str| {
        let table = text(&place.path("table.toml"));
        assert!(table.contains(old));
        data::fsx::write_atomic(&place.path("table.toml"), table.replace(old, new).as_bytes()).unwrap();
    };
    let absent = refused(&place, &program, &["--train", "no-such-program"]);
    assert!(absent.contains("no-such-program") && absent.contains("cargo build"), "{absent}");
    replaced("recipe = \"mgca.toml\"", "recipe = \"mgca.tml\"");
    let unknown = refused(&place, &program, &[]);
    assert!(unknown.contains("mgca.tml") && unknown.contains("MGCA"), "{unknown}");
    replaced("recipe = \"mgca.tml\"", "recipe = \"mgca.toml\"");
    for (old, new, told) in [
        ("name = \"MGCA\"", "name = \"conVIRT!\"", "name each once"),
        ("name = \"conVIRT!\"", "name = \"random weights\"", "take another"),
        ("name = \"random weights\"", "name = \"MGCA\"", ""),
        ("recipe = \"mgca.toml\"", "recipe = \"--help\"", "rows.recipe"),
        ("recipe = \"--help\"", "recipe = \"mgca.toml\"", ""),
        ("seeds = [3, 4]", "seeds = [3, 3]", "seeds"),
        ("seeds = [3, 3]", "seeds = [3, 4]", ""),
        ("ks = [1, 5]", "ks = [0]", "ks"),
        ("ks = [0]", "ks = [1, 5]", ""),
        ("max_epochs = 2", "max_epochs = 0", "probe.max_epochs"),
        ("max_epochs = 0", "max_epochs = 2", ""),
        ("rates = [1e-2]", "rates = [0.0]", "probe.rates"),
        ("rates = [0.0]", "rates = [1e-2]", ""),
        ("test = 64", "test = 0", "phantoms.test"),
        ("test = 0", "test = 64", ""),
        ("fractions = [0.5, 1.0]", "fractions = [5.0]", "fractions"),
        ("fractions = [5.0]", "fractions = [0.01]", "larger share of the labels"),
        ("fractions = [0.01]", "fractions = [0.5, 1.0]", ""),
    ] {
        replaced(old, new);
        if !told.is_empty() {
            let message = refused(&place, &program, &[]);
            assert!(message.contains(told), "{new}: {message}");
        }
    }
    replaced("fractions = [0.5, 1.0]", "fractions = []");
    assert!(refused(&place, &program, &[]).contains("fractions"));
    replaced("fractions = []", "fraction = [1.0]");
    let key = refused(&place, &program, &[]);
    assert!(key.contains("fraction") && key.contains("fractions"), "{key}");
    assert_eq!(runs_begun(&place), 0);
    let output = Command::new(&program).args(["table", "mino", "--out", "x"]).output().unwrap();
    assert!(String::from_utf8_lossy(&output.stderr).contains("mini"));
}

/// Runs that were begun.
fn runs_begun(place: &Workplace) -> usize {
    let folder = place.path("table");
    let begun = |name: &String| folder.join(name).join("config.toml").is_file();
    if folder.is_dir() { names(&folder).iter().filter(|name| begun(name)).count() } else { 0 }
}

/// The table of one row and one seed.
fn write_one(place: &Workplace, row: usize) {
    let table = text(&place.path("table.toml"));
    let parts: Vec<&str> = table.split("[[rows]]").collect();
    let one = format!("{}[[rows]]{}", parts[0].replace("[3, 4]", "[3]"), parts[row]);
    data::fsx::write_atomic(&place.path("table.toml"), one.as_bytes()).unwrap();
}

#[test]
fn random_weights_are_random_where_no_method_has_a_text_tower() {
    let Some(program) = sibling("eval") else { return };
    let place = Workplace::new(CONVIRT);
    write(&place);
    write_one(&place, 3);
    let tables = printed(&place, &program, &[]);
    assert!(!tables.contains("Text-image"), "{tables}");
    let figures = json(&place.path("table/table.json"));
    assert_ne!(figures["image_to_image"]["random weights"], figures["image_to_image"]["ceiling"]);
    assert_ne!(figures["linear_probe"]["random weights"], figures["linear_probe"]["ceiling"]);
    // The folder of the probes is the program's: those of a run that was deleted are made again.
    std::fs::remove_dir_all(place.path("table/ceiling-3")).unwrap();
    let set = text(&place.path("table.toml")).replace("save_every=1\"", "save_every=1\", \"run.steps=4\"");
    data::fsx::write_atomic(&place.path("table.toml"), set.as_bytes()).unwrap();
    printed(&place, &program, &[]);
    assert_ne!(json(&place.path("table/table.json"))["linear_probe"]["ceiling"], figures["linear_probe"]["ceiling"]);
    // What learns nothing may change.
    let free = text(&place.path("table.toml")).replace("save_every=1", "save_every=2");
    data::fsx::write_atomic(&place.path("table.toml"), free.as_bytes()).unwrap();
    printed(&place, &program, &[]);
}

#[test]
#[cfg(unix)]
fn a_signal_to_the_table_reaches_its_run() {
    let Some(program) = sibling("eval") else { return };
    let place = Workplace::new(CONVIRT);
    write(&place);
    write_one(&place, 1);
    let long = text(&place.path("table.toml")).replace("save_every=1", "steps=100000");
    data::fsx::write_atomic(&place.path("table.toml"), long.as_bytes()).unwrap();
    let mut child = command(&place, &program, &[]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let state = place.path("table/convirt-3/checkpoints/latest");
    while !state.is_file() {
        std::thread::sleep(Duration::from_millis(5));
        assert!(child.try_wait().unwrap().is_none());
    }
    // To the table alone, as a scheduler does.
    Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
    let log = text(&place.path("table/convirt-3/log.jsonl"));
    assert!(log.contains("interrupt") || names(&place.path("table/convirt-3/checkpoints")).len() > 1, "{log}");
    // Nobody is in the run any more.
    let run = engine::run_dir::RunDir::open(&place.path("table/convirt-3")).unwrap();
    run.lock().unwrap();
}

#[test]
fn a_finished_run_of_other_settings_is_refused() {
    let Some(program) = sibling("eval") else { return };
    let place = Workplace::new(CONVIRT);
    write(&place);
    write_one(&place, 1);
    let one = text(&place.path("table.toml"));
    assert!(printed(&place, &program, &[]).contains("one run"));
    data::fsx::write_atomic(&place.path("table.toml"), one.replace("save_every=1", "steps=4").as_bytes()).unwrap();
    let message = refused(&place, &program, &[]);
    assert!(message.contains("run.steps: 3, now 4") && message.contains("convirt-3"), "{message}");
}
