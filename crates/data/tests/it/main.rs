//! Tests of crate `data` through its public interface.

mod augment;
mod loader;
mod manifest;
mod phantom;
mod prop_report;
mod prop_split;
mod real_data;
mod support;
mod wordpiece;
