//! The linear probe as a question to a checkpoint: what its frozen features tell of the labels, and what those of the same
//! encoder with random weights tell.

use burn::module::Module;
use data::error::DataError;
use data::rng::{Purpose, key};
use engine::checkpoint::Checkpoint;
use model::image::ImageEncoder;
use serde_json::{Map, Value, json};

use super::Repetitions;
use super::figures::{Scored, TestPart};
use super::labelled::Labelled;
use crate::error::Result;
use crate::linear_probe::{ProbeConfig, ProbeSet, Probed, probe_scores};
use crate::tasks::{Featured, ProbeParts, Tools};

/// Learning rates that a probe tries: the paper's two, and one for few images, whose epochs have few steps.
pub const RATES: [f64; 3] = [1e-4, 1e-3, 1e-2];

/// A probe of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbeTask {
    /// Its repetitions.
    pub repetitions: Repetitions,
    /// Learning rates; the one with the best score on the validation part is tested, for each encoder and repetition.
    pub rates: Vec<f64>,
    /// The rest of the protocol; its rate and seed are not used.
    pub protocol: ProbeConfig,
    /// Column that holds the strata of the test images, if they have any.
    pub stratify: Option<String>,
}

impl ProbeTask {
    /// Figures under `test`: those of the checkpoint, `random_init` and `paired_difference`.
    ///
    /// # Errors
    /// Settings that make no sense, unreadable images, weights that do not fit, classes without both labels.
    pub fn run(&self, checkpoint: &Checkpoint, labelled: &Labelled, tools: &Tools) -> Result<Map<String, Value>> {
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
        let draws = self.repetitions.draws(&labelled.train)?;
        let test = TestPart::new(labelled, self.stratify.as_deref())?;
        let preprocess = &checkpoint.card.preprocess;
        let parts = ProbeParts { train: &labelled.train, validate: &labelled.validate, test: &labelled.test };
        let features = |label: &str, encoder: &ImageEncoder| Featured::new(label, encoder, preprocess, parts, tools);

        let featured = features("features", &checkpoint.image_encoder(&tools.device)?)?;
        let fitted = |draw: &(u64, Vec<usize>)| self.fit(&featured, draw, tools);
        let trained: Vec<Scored> = draws.iter().map(fitted).collect::<Result<_>>()?;
        drop(featured);
        let mut random = Vec::new();
        for draw in &draws {
            tools.device.seed(key(draw.0, Purpose::Init, 1, 0));
            let encoder = checkpoint.image_config()?.init(&tools.device).valid();
            random.push(self.fit(&features(&format!("features, random {}", draw.0), &encoder)?, draw, tools)?);
        }
        let mut figures = test.figures(&trained, &tools.bootstrap)?;
        figures.insert("random_init".to_owned(), json!(test.areas(&random, &tools.bootstrap)?));
        figures.insert("paired_difference".to_owned(), test.difference(&trained, &random, &tools.bootstrap)?);
        Ok(figures)
    }

    /// Scores of the validation and the test images by the best of the learning rates.
    fn fit(&self, featured: &Featured<'_>, draw: &(u64, Vec<usize>), tools: &Tools) -> Result<Scored> {
        let (seed, studies) = draw;
        let [all, validate, test] = featured.sets();
        let chosen = |row: &usize| studies.binary_search(&all.images[*row].0).is_ok();
        let rows: Vec<usize> = (0..all.images.len()).filter(chosen).collect();
        let images: Vec<(usize, usize)> = rows.iter().map(|&row| all.images[row]).collect();
        let features: Vec<f32> =
            rows.iter().flat_map(|row| &all.features[row * all.width..(row + 1) * all.width]).copied().collect();
        let train = ProbeSet { images: &images, features: &features, ..all };
        let mut best: Option<Probed> = None;
        tools.progress(&format!("probe, seed {seed}"), self.rates.len(), |tick| {
            for (&lr, done) in self.rates.iter().zip(1..) {
                let config = ProbeConfig { lr, seed: *seed, ..self.protocol.clone() };
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
