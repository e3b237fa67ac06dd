//! Tests of crate `engine` in a process of their own: failpoints are switched for the whole process.

#![expect(clippy::unwrap_used, reason = "tests on inputs of their own")]

mod full_disk;
mod fuzz_replay;
