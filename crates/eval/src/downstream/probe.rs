//! The linear probe as a question to a checkpoint: what its frozen features tell of the labels, and what those of the same
//! encoder with random weights tell.

use std::path::Path;

use burn::module::Module;
use data::error::DataError;
use data::rng::{Purpose, key};
use engine::checkpoint::Checkpoint;
use model::head::label_kind::LabelKind;
use model::image::ImageEncoder;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Repetitions;
use super::compare::{self, ByFraction};
use super::criterion::Criterion;
use super::figures::Scored;
use super::judge::Judge;
use super::kept::{self, IfChanged, Kept, Repetition};
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

/// What repetitions depend on, besides weights and data.
#[derive(Debug, Serialize)]
struct Settings<'a> {
    rates: &'a [f64],
    decoupled: bool,
    standardise: bool,
    criterion: Criterion,
    kind: LabelKind,
    probe: &'a ProbeConfig,
}

impl ProbeTask {
    /// Opens the folder in which finished repetitions are kept.
    ///
    /// # Errors
    /// As [`Kept::open`].
    pub fn keep_in(
        &self,
        folder: &Path,
        (checkpoint, labelled): (&Checkpoint, &Labelled),
        if_changed: IfChanged,
    ) -> Result<Kept> {
        let probe = &self.protocol;
        let settings = Settings {
            rates: &self.rates,
            decoupled: probe.decoupled,
            standardise: probe.standardise,
            criterion: probe.criterion,
            kind: labelled.kind,
            probe,
        };
        Kept::open(folder, (checkpoint, labelled), &settings, if_changed)
    }

    /// Figures under `test`: those of the checkpoint, `random_init` and `paired_difference`, and those of other weights. What
    /// is in `kept` is not fitted again.
    ///
    /// # Errors
    /// Settings that make no sense, unreadable images, weights that do not fit, classes without both labels.
    pub fn run(
        &self,
        checkpoint: &Checkpoint,
        baselines: &[Against],
        labelled: &Labelled,
        kept: Option<&Kept>,
        tools: &Tools,
    ) -> Result<Map<String, Value>> {
        let judge = Judge::new(labelled, self.stratify.as_deref())?;
        let trained = self.scores(checkpoint, Initial::Checkpoint, labelled, kept, tools)?;
        let mut others = vec![(&Against::Random, self.scores(checkpoint, Initial::Random, labelled, kept, tools)?)];
        for baseline in baselines {
            if let Against::Checkpoint(other) = baseline {
                others.push((baseline, self.scores(other, Initial::Baseline, labelled, kept, tools)?));
            }
        }
        let fractions: Vec<f64> = self.repetitions.iter().map(|repetitions| repetitions.fraction).collect();
        compare::figures(&judge, &fractions, &trained, &others, &tools.bootstrap)
    }

    /// Logits by share of the labels and repetition.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub(crate) fn scores(
        &self,
        checkpoint: &Checkpoint,
        initial: Initial,
        labelled: &Labelled,
        kept: Option<&Kept>,
        tools: &Tools,
    ) -> Result<ByFraction> {
        self.check()?;
        let share = |r: &Repetitions| Ok((r.fraction, r.draws(&labelled.train)?));
        let shares: Vec<Share> = self.repetitions.iter().map(share).collect::<Result<_>>()?;
        let probes = Probes { task: self, checkpoint, initial, labelled, kept, tools };
        match initial {
            Initial::Random => probes.of_random(&shares),
            Initial::Checkpoint | Initial::Baseline => probes.of_weights(&shares),
        }
    }

    fn check(&self) -> Result<()> {
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
        Ok(())
    }
}

/// Where an encoder has its weights from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Initial {
    /// The checkpoint in question.
    Checkpoint,
    /// One that it is compared with.
    Baseline,
    /// A checkpoint's architecture with random weights, drawn anew for every seed.
    Random,
}

/// A seed and the studies that it trains on.
type Draw = (u64, Vec<usize>);
/// A share of the labels with its draws.
type Share = (f64, Vec<Draw>);
/// A repetition that is asked for: share and draw.
type Wanted<'a> = (f64, &'a Draw);

/// Probes of one encoder.
struct Probes<'a> {
    task: &'a ProbeTask,
    checkpoint: &'a Checkpoint,
    initial: Initial,
    labelled: &'a Labelled,
    kept: Option<&'a Kept>,
    tools: &'a Tools,
}

impl<'a> Probes<'a> {
    /// Features of all parts.
    fn featured(&self, label: &str, encoder: &ImageEncoder) -> Result<Featured<'a>> {
        let Labelled { train, validate, test, .. } = self.labelled;
        let parts = ProbeParts { train, validate, test };
        Featured::new(label, encoder, &self.checkpoint.card.preprocess, parts, self.tools)
    }

    /// Logits by the weights of the checkpoint.
    fn of_weights(&self, shares: &[Share]) -> Result<ByFraction> {
        let (name, label) = match self.initial {
            Initial::Baseline => (kept::name_of_weights(self.checkpoint)?, "features, baseline"),
            Initial::Checkpoint | Initial::Random => ("own".to_owned(), "features"),
        };
        let wanted: Vec<Wanted<'_>> =
            shares.iter().flat_map(|(fraction, draws)| draws.iter().map(|draw| (*fraction, draw))).collect();
        let encoder = || Ok(self.checkpoint.image_encoder(&self.tools.device)?);
        let mut scored = self.of_encoder(&name, label, &wanted, encoder)?.into_iter();
        Ok(shares.iter().map(|(_, draws)| scored.by_ref().take(draws.len()).collect()).collect())
    }

    /// Logits by random weights of the checkpoint's architecture, drawn anew for every seed.
    fn of_random(&self, shares: &[Share]) -> Result<ByFraction> {
        let mut found: ByFraction = vec![Vec::new(); shares.len()];
        for place in 0..shares.first().map_or(0, |(_, draws)| draws.len()) {
            let wanted: Vec<Wanted<'_>> = shares.iter().map(|(fraction, draws)| (*fraction, &draws[place])).collect();
            let seed = wanted[0].1.0;
            let encoder = || {
                self.tools.device.seed(key(seed, Purpose::Init, 1, 0));
                Ok(self.checkpoint.image_config()?.init(&self.tools.device).valid())
            };
            let scored = self.of_encoder("random", &format!("features, random {seed}"), &wanted, encoder)?;
            found.iter_mut().zip(scored).for_each(|(found, scored)| found.push(scored));
        }
        Ok(found)
    }

    /// Logits of repetitions on one encoder, in order. Features are computed once, and only where a repetition needs them.
    fn of_encoder(
        &self,
        name: &str,
        label: &str,
        wanted: &[Wanted<'_>],
        encoder: impl FnOnce() -> Result<ImageEncoder>,
    ) -> Result<Vec<Scored>> {
        let name = |(fraction, draw): &Wanted<'_>| kept::name(name, *fraction, draw.0);
        let find = |wanted: &Wanted<'_>| self.kept.and_then(|kept| kept.find(&name(wanted)));
        let mut found: Vec<Option<Repetition>> = wanted.iter().map(find).collect();
        if found.iter().any(Option::is_none) {
            let featured = self.featured(label, &encoder()?)?;
            for (found, wanted) in found.iter_mut().zip(wanted).filter(|(found, _)| found.is_none()) {
                let repetition = self.fit(&featured, wanted.1)?;
                if let Some(kept) = self.kept {
                    kept.keep(&name(wanted), &repetition)?;
                }
                *found = Some(repetition);
            }
        }
        Ok(found.into_iter().flatten().map(|repetition| repetition.scored).collect())
    }

    /// Logits of the validation and the test images by the best of the learning rates.
    fn fit(&self, featured: &Featured<'_>, draw: &Draw) -> Result<Repetition> {
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
        let scored = Scored { validate: best.validate, test: best.scores };
        Ok(Repetition { validation: best.validation, scored })
    }
}
