//! The corpus of the fuzz targets of this crate.

#[path = "../../../../fuzz/src/engine.rs"]
#[expect(unreachable_pub, reason = "public in the crate of the targets")]
mod targets;

#[path = "../../../../fuzz/src/replay.rs"]
mod replay;

#[test]
fn every_file_of_the_corpus_passes() {
    replay::replay(env!("CARGO_MANIFEST_DIR"), "engine", &targets::TARGETS);
}
