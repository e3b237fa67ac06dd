//! Losses, optimizer steps and trajectories against torch: the golden tests of `train` on the device under test.

#[path = "../../train/tests/it/contract.rs"]
mod contract;
#[path = "../../train/tests/it/info_nce.rs"]
mod info_nce;
#[path = "../../train/tests/it/logit_scale.rs"]
mod logit_scale;
#[path = "../../train/tests/it/medclip.rs"]
mod medclip;
#[path = "../../train/tests/it/medclip_trajectory.rs"]
mod medclip_trajectory;
#[path = "../../train/tests/it/mgca.rs"]
mod mgca;
#[path = "../../train/tests/it/mgca_trajectory.rs"]
mod mgca_trajectory;
#[path = "../../train/tests/it/mgca_vectors.rs"]
mod mgca_vectors;
#[path = "../../train/tests/it/micro_batch.rs"]
mod micro_batch;
#[path = "../../train/tests/it/sentence_loss.rs"]
mod sentence_loss;
#[path = "../../train/tests/it/step.rs"]
mod step;
#[path = "../../train/tests/it/support.rs"]
pub(crate) mod support;
#[path = "../../train/tests/it/topic_error.rs"]
mod topic_error;
#[path = "../../train/tests/it/toy.rs"]
mod toy;
#[path = "../../train/tests/it/trajectory.rs"]
mod trajectory;
