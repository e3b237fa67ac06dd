//! The corpus, replayed by the functions that the targets call. The tests of each crate include this file.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// A target and its name.
type Named = (&'static str, fn(&[u8]));

/// Every file of the corpus of some targets, which are those of `module`; `crate_dir` is the folder of a crate.
pub(crate) fn replay(crate_dir: &str, module: &str, targets: &[Named]) {
    let fuzz = Path::new(crate_dir).join("../../fuzz");
    let manifest = fs::read_to_string(fuzz.join("Cargo.toml")).unwrap();
    for (name, target) in targets {
        let folder = fuzz.join("corpus").join(name);
        let list = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let files: Vec<PathBuf> = list.map(|entry| entry.unwrap().path()).collect();
        assert!(files.len() >= 20, "{}: {} files", folder.display(), files.len());
        for file in files {
            let bytes = fs::read(&file).unwrap();
            assert!(catch_unwind(AssertUnwindSafe(|| target(&bytes))).is_ok(), "{}", file.display());
        }
        // A target without a program would never be fuzzed.
        let program = fs::read_to_string(fuzz.join("fuzz_targets").join(format!("{name}.rs"))).unwrap();
        assert!(program.contains(&format!("fuzz::{module}::{name}")), "{program}");
        assert!(manifest.contains(&format!("name = \"{name}\"\npath = \"fuzz_targets/{name}.rs\"")), "{name}");
    }
}
