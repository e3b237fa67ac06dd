//! Protocols of publications for linear probes and fine-tuning, as presets.
//!
//! # Source
//! `ConVIRT`: Zhang et al. 2022, section 4.2 and appendix. `MGCA`: `HKU-MedAI/MGCA: mgca/models/ssl_finetuner.py` (commit
//! 4075a69) and `mgca/models/mgca/mgca_finetuner.py` (commit 01e2630), which train a linear layer alone: to fine-tune all
//! parameters with these values is an addition. Deviations: a probe does not augment, since features are computed once;
//! fine-tuning augments as pretraining does; the share of the labels is drawn by patient.

use clap::ValueEnum;
use model::head::label_kind::LabelKind;

use super::criterion::Criterion;
use super::fine_tune::FineTuneConfig;
use crate::linear_probe::ProbeConfig;

/// A published protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Protocol {
    /// Adam at 1e-4, or 1e-3 where classes exclude each other (the paper's `COVIDx`); 64 images a step, dropout 0.2, the rate
    /// halved after 3 epochs without a better validation score, stop after 10; 5 seeds.
    Convirt,
    /// `AdamW` at 5e-4, 48 images a step, no dropout, at most 50 epochs, stop after 10 without a lower validation loss; the
    /// one seed 42. It is a protocol of probes: fine-tuning takes its values for all parameters, without steps of the head
    /// alone.
    Mgca,
}

/// Never, of what is counted in epochs.
const NEVER: u32 = u32::MAX;

impl Protocol {
    /// First seed and their number.
    pub fn seeds(self) -> (u64, u64) {
        match self {
            Self::Convirt => (0, 5),
            Self::Mgca => (42, 1),
        }
    }

    /// Learning rate and protocol of a probe; features are taken as the encoder gives them.
    pub fn probe(self, kind: LabelKind) -> (f64, ProbeConfig) {
        match self {
            Self::Convirt => (convirt_rate(kind), ProbeConfig { standardise: false, ..ProbeConfig::default() }),
            Self::Mgca => {
                let config = ProbeConfig {
                    dropout: 0.0,
                    batch_size: 48,
                    max_epochs: 50,
                    halve_after: NEVER,
                    stop_after: 10,
                    weight_decay: 1e-6,
                    decoupled: true,
                    standardise: false,
                    criterion: Criterion::Loss,
                    ..ProbeConfig::default()
                };
                (5e-4, config)
            }
        }
    }

    /// Protocol of fine-tuning.
    pub fn fine_tune(self, kind: LabelKind) -> FineTuneConfig {
        match self {
            Self::Convirt => FineTuneConfig { lr: convirt_rate(kind), ..FineTuneConfig::default() },
            Self::Mgca => FineTuneConfig {
                lr: 5e-4,
                head_steps: 0,
                train_batch: 48,
                epochs: 50,
                halve_after: NEVER,
                stop_after: 10,
                weight_decay: 1e-6,
                dropout: 0.0,
                decoupled: true,
                criterion: Criterion::Loss,
                ..FineTuneConfig::default()
            },
        }
    }
}

fn convirt_rate(kind: LabelKind) -> f64 {
    match kind {
        LabelKind::Multilabel => 1e-4,
        LabelKind::Multiclass => 1e-3,
    }
}
