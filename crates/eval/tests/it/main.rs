//! Tests of the public interface of `eval`.

mod metric;
mod prop_metric;
