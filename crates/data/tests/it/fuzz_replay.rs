//! The corpus of the fuzz targets, replayed by the functions that the targets call.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use rayon::prelude::*;

use crate::fuzz_data::TARGETS;

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz").join(name)
}

#[test]
fn every_file_of_the_corpus_passes() {
    for (name, target) in TARGETS {
        let dir = folder("corpus").join(name);
        let list = fs::read_dir(&dir).unwrap_or_else(|error| panic!("{}: {error}", dir.display()));
        let files: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 20, "{}: {} files", dir.display(), files.len());
        let fails = |file: &&PathBuf| {
            let bytes = fs::read(file).unwrap();
            catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_err()
        };
        if let Some(file) = files.par_iter().find_any(fails) {
            println!("{}", file.display());
            // Once more, here, where its message is seen.
            target(&fs::read(file).unwrap());
            panic!("failed once and then passed");
        }
    }
}

#[test]
fn every_target_has_a_program() {
    let manifest = fs::read_to_string(folder("Cargo.toml")).unwrap();
    for (name, _) in TARGETS {
        let program = fs::read_to_string(folder("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzz::data::{name},")), "{program}");
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
