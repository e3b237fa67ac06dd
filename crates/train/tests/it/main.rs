//! Tests of the public interface of `train`.

#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "tests on inputs of their own")]

mod bodies;
mod canary;
mod changes;
mod cli;
mod config_keys;
mod contract;
mod controls;
mod efficiency_runs;
mod guards;
mod info_nce;
mod logit_scale;
mod medclip;
mod medclip_runs;
mod medclip_trajectory;
mod mgca;
mod mgca_runs;
mod mgca_trajectory;
mod mgca_vectors;
mod micro_batch;
mod release;
mod resume;
mod runs;
mod sentence_loss;
mod sources;
mod step;
mod support;
mod table_runs;
mod terminal;
mod topic_error;
mod toy;
mod trajectory;
mod workplace;
