//! The corpus of the fuzz targets of this crate.

use crate::fuzz_data::TARGETS;

#[path = "../../../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn every_file_of_the_corpus_passes() {
    replay::replay(env!("CARGO_MANIFEST_DIR"), "data", &TARGETS);
}
