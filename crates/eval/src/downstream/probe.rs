//! The linear probe as a question to a checkpoint: what its frozen features tell of the labels, and what those of the same
//! encoder with random weights tell.

use burn::module::Module;
use data::error::DataError;
use data::rng::{Purpose, key};
use engine::checkpoint::Checkpoint;
use engine::upload::Preprocess;
use model::image::ImageEncoder;
use serde_json::{Map, Value};

use super::Repetitions;
use super::compare::{self, ByFraction};
use super::figures::Scored;
use super::judge::Judge;
use super::labelled::Labelled;
use crate::error::Result;
use crate::linear_probe::{ProbeConfig, ProbeSet, Probed, probe_scores};
use crate::tasks::{Featured, ProbeParts, Tools};
use crate::zero_shot::task::Against;

/// Learning rates that a probe tries: the paper's two, and one for few images, whose epochs have few steps.
pub const RATES: [f64; 3] = [1e-4, 1e-3, 1e-2];

/// A probe of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeTask {
    /// Its repetitions, for each share of the labels.
    pub repetitions: Vec<Repetitions>,
    /// Learning rates; the one with the best score on the validation part is tested, for each encoder and repetition.
    pub rates: Vec<f64>,
    /// The rest of the protocol; its rate, seed and kind are not used.
    pub protocol: ProbeConfig,
    /// Column that holds the strata of the test images, if they have any.
    pub stratify: Option<String>,
}

impl ProbeTask {
    /// Figures under `test`: those of the checkpoint, `random_init` and `paired_difference`, and those of other weights.
    ///
    /// # Errors
    /// Settings that make no sense, unreadable images, weights that do not fit, classes without both labels.
    pub fn run(
        &self,
        checkpoint: &Checkpoint,
        baselines: &[Against],
        labelled: &Labelled,
        tools: &Tools,
    ) -> Result<Map<String, Value>> {
        for rate in &self.rates {
            if !(*rate > 0.0 && rate.is_finite()) {
                let why = "a learning rate is above 0";
                return Err(DataError::Setting { key: "--lr", value: rate.to_string(), why }.into());
            }
        }
        if self.protocol.max_epochs == 0 {
            let value = self.protocol.max_epochs.to_string();
            return Err(DataError::Setting { key: "--epochs", value, why: "use at least 1" }.into());
        }
        let draws: Vec<Draws> = self.repetitions.iter().map(|r| r.draws(&labelled.train)).collect::<Result<_>>()?;
        let judge = Judge::new(labelled, self.stratify.as_deref())?;
        let all = Probes { task: self, labelled, draws: &draws, tools };
        let trained = all.of_weights("features", checkpoint)?;
        let mut others = vec![(&Against::Random, all.of_random(checkpoint)?)];
        for baseline in baselines {
            if let Against::Checkpoint(other) = baseline {
                others.push((baseline, all.of_weights("features, baseline", other)?));
            }
        }
        let fractions: Vec<f64> = self.repetitions.iter().map(|repetitions| repetitions.fraction).collect();
        compare::figures(&judge, &fractions, &trained, &others, &tools.bootstrap)
    }
}

/// The seeds of a share of the labels, with the studies of each.
type Draws = Vec<(u64, Vec<usize>)>;

/// Probes of several encoders on the same draws.
struct Probes<'a> {
    task: &'a ProbeTask,
    labelled: &'a Labelled,
    draws: &'a [Draws],
    tools: &'a Tools,
}

impl Probes<'_> {
    fn featured(&self, label: &str, encoder: &ImageEncoder, preprocess: &Preprocess) -> Result<Featured<'_>> {
        let Labelled { train, validate, test, .. } = self.labelled;
        Featured::new(label, encoder, preprocess, ProbeParts { train, validate, test }, self.tools)
    }

    /// Logits by the weights of a checkpoint, whose features are computed once.
    fn of_weights(&self, label: &str, checkpoint: &Checkpoint) -> Result<ByFraction> {
        let encoder = checkpoint.image_encoder(&self.tools.device)?;
        let featured = self.featured(label, &encoder, &checkpoint.card.preprocess)?;
        let of_share = |draws: &Draws| draws.iter().map(|draw| self.fit(&featured, draw)).collect();
        self.draws.iter().map(of_share).collect()
    }

    /// Logits by random weights of a checkpoint's architecture, drawn anew for every seed.
    fn of_random(&self, checkpoint: &Checkpoint) -> Result<ByFraction> {
        let mut found: ByFraction = vec![Vec::new(); self.draws.len()];
        for place in 0..self.draws.first().map_or(0, Vec::len) {
            let seed = self.draws[0][place].0;
            self.tools.device.seed(key(seed, Purpose::Init, 1, 0));
            let encoder = checkpoint.image_config()?.init(&self.tools.device).valid();
            let featured = self.featured(&format!("features, random {seed}"), &encoder, &checkpoint.card.preprocess)?;
            for (found, draws) in found.iter_mut().zip(self.draws) {
                found.push(self.fit(&featured, &draws[place])?);
            }
        }
        Ok(found)
    }

    /// Logits of the validation and the test images by the best of the learning rates.
    fn fit(&self, featured: &Featured<'_>, draw: &(u64, Vec<usize>)) -> Result<Scored> {
        let (task, tools) = (self.task, self.tools);
        let (seed, studies) = draw;
        let [all, validate, test] = featured.sets();
        let chosen = |row: &usize| studies.binary_search(&all.images[*row].0).is_ok();
        let rows: Vec<usize> = (0..all.images.len()).filter(chosen).collect();
        let images: Vec<(usize, usize)> = rows.iter().map(|&row| all.images[row]).collect();
        let features: Vec<f32> =
            rows.iter().flat_map(|row| &all.features[row * all.width..(row + 1) * all.width]).copied().collect();
        let train = ProbeSet { images: &images, features: &features, ..all };
        let mut best: Option<Probed> = None;
        tools.progress(&format!("probe, seed {seed}"), task.rates.len(), |tick| {
            for (&lr, done) in task.rates.iter().zip(1..) {
                let config = ProbeConfig { lr, seed: *seed, kind: self.labelled.kind, ..task.protocol.clone() };
                let probed = probe_scores(&train, &validate, &test, &config, &tools.device)?;
                tracing::debug!(seed, lr, validation = probed.validation, "probe fitted");
                if best.as_ref().is_none_or(|best| probed.validation > best.validation) {
                    best = Some(probed);
                }
                tick(done)?;
            }
            Ok(())
        })?;
        let best = best.ok_or_else(|| {
            let (key, value) = ("--lr", String::new());
            DataError::Setting { key, value, why: "name at least one learning rate" }
        })?;
        Ok(Scored { validate: best.validate, test: best.scores })
    }
}
