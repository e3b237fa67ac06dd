//! Fine-tuning: a classifier on an image encoder, first its head, then all of it.
//!
//! # Source
//! Zhang et al. 2022 (`ConVIRT`), section 4.2 and appendix: Adam with L2 of 1e-6, dropout of 0.2 before the last layer, 64
//! images a step; 200 steps of the head alone at 1e-3, then all parameters at 1e-4, halved after 3 epochs without a better
//! validation score; 10 such epochs end it, and the best epoch is tested. Augmentation as in pretraining. The paper does not
//! say how batch normalisation behaves while the encoder is frozen: here it evaluates.

use std::sync::Arc;

use burn::module::Module;
use burn::optim::ModuleOptimizer;

use data::error::DataError;
use data::image::augment::AugmentConfig;
use data::loader::{Loader, LoaderConfig, TopicSource};
use data::record::Dataset;
use data::rng::{Purpose, key};
use data::text::Tokenizer;
use engine::EngineError;
use engine::checkpoint::{Architecture, Card, Checkpoint};
use engine::fit::{FitConfig, Observer, Start, StepReport, fit};
use engine::optim::{OptimConfig, OptimizerKind, Schedule};
use engine::progress::Progress;
use engine::state::{Origin, TrainState};
use engine::upload::Preprocess;
use model::head::classifier::{ImageClassifier, ImageClassifierConfig};
use model::head::label_kind::LabelKind;
use serde_json::{Map, Value};

use super::Repetitions;
use super::compare::{self, ByFraction};
use super::criterion::Criterion;
use super::figures::{Scored, Scores};
use super::judge::Judge;
use super::labelled::Labelled;
use crate::error::{EvalError, Result};
use crate::supervised::Supervised;
use crate::tasks::{Opened, Tools};
use crate::zero_shot::task::Against;

/// Memory for decoded training images (bytes).
const CACHE_BYTES: usize = 1 << 30;
/// Memory for decoded validation images (bytes).
const VALIDATION_CACHE_BYTES: usize = 256 << 20;
/// Threads that prepare batches; their number changes no batch.
const WORKERS: usize = 2;

/// Protocol of fine-tuning; the defaults are the paper's.
#[derive(Debug, Clone, PartialEq)]
pub struct FineTuneConfig {
    /// Learning rate of all parameters.
    pub lr: f64,
    /// Learning rate of the head, while the encoder is frozen.
    pub head_lr: f64,
    /// Steps of the head alone.
    pub head_steps: u64,
    /// Images per step; where there are fewer, all of them.
    pub train_batch: usize,
    /// Longest training of all parameters, in epochs.
    pub epochs: u64,
    /// Epochs without a better validation score after which the learning rate is halved.
    pub halve_after: u32,
    /// Epochs without a better validation score after which training ends.
    pub stop_after: u32,
    /// Weight decay (L2).
    pub weight_decay: f32,
    /// Dropout before the last layer.
    pub dropout: f64,
    /// Augmentation.
    pub augment: AugmentConfig,
    /// Whether weight decay acts on the parameter (`AdamW`) rather than on the gradient (Adam with L2).
    pub decoupled: bool,
    /// What an epoch is chosen by.
    pub criterion: Criterion,
}

impl Default for FineTuneConfig {
    fn default() -> Self {
        Self {
            lr: 1e-4,
            head_lr: 1e-3,
            head_steps: 200,
            train_batch: 64,
            epochs: 1000,
            halve_after: 3,
            stop_after: 10,
            weight_decay: 1e-6,
            dropout: 0.2,
            augment: AugmentConfig::default(),
            decoupled: false,
            criterion: Criterion::default(),
        }
    }
}

/// Figures of fine-tuning and its classifier.
#[derive(Debug)]
pub struct FineTuned {
    /// Under `test`: the mean over repetitions, those of other initial values, and the differences.
    pub figures: Map<String, Value>,
    /// The classifier of the checkpoint's repetition with the best validation score.
    pub model: ImageClassifier,
    /// Its card.
    pub card: Card,
}

/// Fine-tuning of a checkpoint.
#[derive(Debug, Clone, PartialEq)]
pub struct FineTuneTask {
    /// Its repetitions, for each share of the labels.
    pub repetitions: Vec<Repetitions>,
    /// The protocol.
    pub protocol: FineTuneConfig,
    /// Column that holds the strata of the test images, if they have any.
    pub stratify: Option<String>,
}

impl FineTuneTask {
    /// Trains a classifier for each repetition and scores the test part; the same from the values of `baselines`.
    ///
    /// # Errors
    /// Settings that make no sense, unreadable images, weights that do not fit, classes without both labels, a loss that
    /// stays NaN.
    pub fn run(
        &self,
        checkpoint: &Checkpoint,
        baselines: &[Against],
        labelled: &Labelled,
        tools: &Tools,
    ) -> Result<FineTuned> {
        self.protocol.check()?;
        let draws: Vec<Draws> = self.repetitions.iter().map(|r| r.draws(&labelled.train)).collect::<Result<_>>()?;
        let judge = Judge::new(labelled, self.stratify.as_deref())?;
        check_validation(&labelled.validate)?;
        let all = Trainings { task: self, labelled, draws: &draws, tools };
        let own = Initial { label: "", checkpoint, random: false };
        let (trained, best) = all.run(&own)?;
        let mut others = Vec::new();
        for baseline in baselines {
            let initial = match baseline {
                Against::Random => Initial { label: "random, ", checkpoint, random: true },
                Against::Checkpoint(other) => Initial { label: "baseline, ", checkpoint: other, random: false },
            };
            others.push((baseline, all.run(&initial)?.0));
        }
        let Some((_, model)) = best else {
            let value = self.repetitions.first().map_or(0, |repetitions| repetitions.seeds).to_string();
            return Err(DataError::Setting { key: "--seeds", value, why: "use at least 1" }.into());
        };
        let architecture = Architecture::ImageClassifier(self.architecture(checkpoint, labelled)?);
        let mut card = Card::new("fine-tune", architecture, padded(checkpoint));
        card.classes.clone_from(&labelled.train.classes);
        card.label_kind = labelled.kind;
        let fractions: Vec<f64> = self.repetitions.iter().map(|repetitions| repetitions.fraction).collect();
        let figures = compare::figures(&judge, &fractions, &trained, &others, &tools.bootstrap)?;
        Ok(FineTuned { figures, model, card })
    }

    fn architecture(&self, checkpoint: &Checkpoint, labelled: &Labelled) -> Result<ImageClassifierConfig> {
        let architecture = ImageClassifierConfig {
            image: checkpoint.image_config()?.clone(),
            num_classes: labelled.train.classes.len(),
            dropout: self.protocol.dropout,
        };
        architecture.validate()?;
        Ok(architecture)
    }
}

/// The seeds of a share of the labels, with the studies of each.
type Draws = Vec<(u64, Vec<usize>)>;

/// Initial values of an encoder.
struct Initial<'a> {
    /// What goes before the names of its progress bars.
    label: &'a str,
    checkpoint: &'a Checkpoint,
    /// Whether the architecture alone is that of the checkpoint.
    random: bool,
}

/// Fine-tuning from several initial values on the same draws.
struct Trainings<'a> {
    task: &'a FineTuneTask,
    labelled: &'a Labelled,
    draws: &'a [Draws],
    tools: &'a Tools,
}

impl Trainings<'_> {
    /// Logits of the test part by share of the labels and repetition, and the classifier with the best validation score.
    fn run(&self, initial: &Initial<'_>) -> Result<(ByFraction, Option<(f64, ImageClassifier)>)> {
        let (labelled, tools) = (self.labelled, self.tools);
        let preprocess = &padded(initial.checkpoint);
        let opened = tools.open(&labelled.test, preprocess)?;
        let mut all = Vec::new();
        let mut best: Option<(f64, ImageClassifier)> = None;
        for draws in self.draws {
            let mut repetitions = Vec::new();
            for (seed, studies) in draws {
                let chosen = studies.iter().map(|&study| labelled.train.studies[study].clone()).collect();
                let train = Dataset { studies: chosen, ..labelled.train.clone() };
                let Best { score, validate, model } = self.train(initial, &train, *seed)?;
                tracing::info!(seed, images = train.studies.len(), validation = score, "best epoch");
                let test = tools
                    .progress("test", opened.images.len(), |tick| scores(&model, &opened, preprocess, tools, tick))?;
                repetitions.push(Scored { validate, test });
                if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
                    best = Some((score, model));
                }
            }
            all.push(repetitions);
        }
        Ok((all, best))
    }

    /// One repetition.
    fn train(&self, initial: &Initial<'_>, train: &Dataset, seed: u64) -> Result<Best> {
        let (protocol, tools, kind) = (&self.task.protocol, self.tools, self.labelled.kind);
        let preprocess = &padded(initial.checkpoint);
        let loader = protocol.loader(train, preprocess, seed)?;
        let tracked = tools.device.clone().autodiff();
        tools.device.seed(key(seed, Purpose::Init, 0, 0));
        let mut model = self.task.architecture(initial.checkpoint, self.labelled)?.init(&tracked);
        let encoder =
            if initial.random { model.image_encoder.clone() } else { initial.checkpoint.image_encoder(&tracked)? };
        let part = &self.labelled.validate;
        let validate = Tools { cache_bytes: VALIDATION_CACHE_BYTES, ..tools.clone() }.open(part, preprocess)?;
        let labels = labels_of(part);
        let origin = || Origin { seed, ..Origin::default() };
        let watch = |label: &str, steps| Watch {
            progress: Progress::new(tools.ui, &format!("{}{label}, seed {seed}", initial.label), steps),
            validate: &validate,
            labels: &labels,
            criterion: protocol.criterion,
            kind,
            preprocess: preprocess.clone(),
            tools,
            best: None,
        };

        let supervised = |model| Supervised::new(model, preprocess.clone()).with_kind(kind);

        let config = protocol.head(seed);
        model.image_encoder = encoder.clone().freeze();
        let start = Start::fresh(supervised(model), &config.optim, origin());
        model = if config.steps > 0 {
            let mut watching = watch("head", config.steps);
            let trained = fit(start, &loader, &config, &tracked, &mut watching)?;
            watching.progress.finish("");
            trained.model
        } else {
            start.objective().model.clone()
        };

        let config = protocol.all(seed, loader.steps_per_epoch());
        model.image_encoder = encoder;
        let start = Start::fresh(supervised(model), &config.optim, origin());
        let mut watching = watch("all parameters", config.steps);
        fit(start, &loader, &config, &tracked, &mut watching)?;
        watching.progress.finish("");
        // Training goes on for an epoch at least, and every epoch has a score.
        watching.best.ok_or(EngineError::ShortEpoch { step: 0 }.into())
    }
}

/// Makes sure that the validation part can tell one epoch from another.
fn check_validation(validate: &Dataset) -> Result<()> {
    let level = vec![vec![0.0; validate.studies.len()]; validate.classes.len()];
    if Criterion::Auroc.score(LabelKind::Multilabel, &labels_of(validate), &level)?.is_some() {
        return Ok(());
    }
    let what = "no class has both labels in the validation part: use more patients".to_owned();
    Err(EvalError::Unfit { data: validate.name.clone(), what })
}

/// Labels of a part by class, `[K][N]`.
fn labels_of(part: &Dataset) -> Vec<Vec<Option<bool>>> {
    let of = |class: usize| part.studies.iter().map(|study| study.labels[class]).collect();
    (0..part.classes.len()).map(of).collect()
}

impl FineTuneConfig {
    /// Checks values that a user can set.
    fn check(&self) -> Result<()> {
        let refuse = |key, value: String, why| Err(DataError::Setting { key, value, why }.into());
        for (key, rate) in [("--lr", self.lr), ("--head-lr", self.head_lr)] {
            if !(rate > 0.0 && rate.is_finite()) {
                return refuse(key, rate.to_string(), "a learning rate is above 0");
            }
        }
        for (key, count) in [("--train-batch", self.train_batch as u64), ("--epochs", self.epochs)] {
            if count == 0 {
                return refuse(key, count.to_string(), "use at least 1");
            }
        }
        Ok(())
    }

    fn loader(&self, train: &Dataset, preprocess: &Preprocess, seed: u64) -> Result<Loader> {
        let config = LoaderConfig {
            seed,
            batch_size: self.train_batch.min(train.studies.len()),
            image_size: preprocess.image_size,
            sentences: 0,
            whole_reports: false,
            sentences_beside: 0,
            max_tokens: 0,
            augment: Some(self.augment.clone()),
            shuffle_pairs: false,
            num_workers: WORKERS,
            prefetch_bytes: 64 << 20,
            max_bad_fraction: 0.001,
            topics: TopicSource::None,
        };
        let tokenizer = Arc::new(Tokenizer::builtin()?);
        Ok(Loader::new(train.clone(), preprocess.source_size, CACHE_BYTES, tokenizer, config)?)
    }

    fn optim(&self, lr: f64, schedule: Schedule) -> OptimConfig {
        OptimConfig {
            kind: if self.decoupled { OptimizerKind::Adamw } else { OptimizerKind::Adam },
            lr,
            betas: [0.9, 0.999],
            eps: 1e-8,
            weight_decay: self.weight_decay,
            decay_matrices_only: false,
            clip_norm: None,
            schedule,
        }
    }

    fn head(&self, seed: u64) -> FitConfig {
        FitConfig {
            seed,
            steps: self.head_steps,
            micro_batch_size: None,
            optim: self.optim(self.head_lr, Schedule::Constant),
            eval_every: 0,
            early_stop: None,
            save_every: 0,
        }
    }

    fn all(&self, seed: u64, steps_per_epoch: u64) -> FitConfig {
        let schedule = Schedule::Plateau { factor: 0.5, patience: self.halve_after };
        FitConfig {
            seed,
            steps: self.epochs.saturating_mul(steps_per_epoch),
            micro_batch_size: None,
            optim: self.optim(self.lr, schedule),
            eval_every: steps_per_epoch,
            early_stop: Some(self.stop_after),
            save_every: 0,
        }
    }
}

/// The preparation of images with padding to squares (`ConVIRT`, section 4.2), as training has it, whatever the encoder saw
/// before.
fn padded(checkpoint: &Checkpoint) -> Preprocess {
    Preprocess { framing: None, ..checkpoint.card.preprocess.clone() }
}

/// Logits of the images of a part, `[K][N]`.
fn scores(
    model: &ImageClassifier,
    part: &Opened<'_>,
    preprocess: &Preprocess,
    tools: &Tools,
    tick: crate::embed::Tick<'_>,
) -> Result<Scores> {
    let (width, rows) = part.logits(model, preprocess, tools, tick)?;
    Ok((0..width).map(|class| rows.chunks_exact(width).map(|row| row[class]).collect()).collect())
}

/// Shows training and keeps the classifier with the best validation score.
struct Watch<'a> {
    progress: Progress,
    validate: &'a Opened<'a>,
    /// Labels of the validation part, `[K][N]`.
    labels: &'a [Vec<Option<bool>>],
    criterion: Criterion,
    kind: LabelKind,
    preprocess: Preprocess,
    tools: &'a Tools,
    best: Option<Best>,
}

/// The epoch with the best validation score so far.
struct Best {
    /// The score; more is better.
    score: f64,
    /// Logits of the validation images.
    validate: Scores,
    model: ImageClassifier,
}

impl Observer<Supervised> for Watch<'_> {
    fn on_step(&mut self, report: &StepReport) -> engine::Result<()> {
        let name = self.criterion.name();
        let best = |best: &Best| format!("  validation {name} {:.3}", best.score.abs());
        let best = self.best.as_ref().map_or_else(String::new, best);
        let message = format!(
            "loss {:.3}  {:.0} images/s{best}",
            report.get("loss").unwrap_or(f64::NAN),
            report.samples as f64 / report.seconds.max(1e-9)
        );
        self.progress.set(report.step, &message);
        Ok(())
    }

    /// One minus the score: what is lower is better.
    fn validate(&mut self, objective: &Supervised, step: u64) -> engine::Result<f64> {
        let scored = scores(&objective.model, self.validate, &self.preprocess, self.tools, &|_| Ok(()))
            .and_then(|scores| Ok((self.criterion.score(self.kind, self.labels, &scores)?, scores)));
        let (score, validate) = scored.map_err(|error| in_engine(error, step))?;
        // Asked for before training began.
        let score = score.unwrap_or(0.0);
        if self.best.as_ref().is_none_or(|best| score > best.score) {
            self.best = Some(Best { score, validate, model: objective.model.clone() });
        }
        tracing::debug!(step, validation = score, "epoch ended");
        Ok(1.0 - score)
    }

    fn on_best(&mut self, _: &Supervised, _: u64) -> engine::Result<()> {
        Ok(())
    }

    fn on_save(&mut self, _: &Supervised, _: &ModuleOptimizer, _: &TrainState) -> engine::Result<()> {
        Ok(())
    }
}

/// What scoring the validation part can fail with, in the terms of the loop.
fn in_engine(error: EvalError, step: u64) -> EngineError {
    match error {
        EvalError::Data(error) => error.into(),
        EvalError::Engine(error) => *error,
        EvalError::Model(error) => error.into(),
        // Scores are all that is left.
        _ => EngineError::NonFinite { what: "a validation score".to_owned(), value: f64::NAN, step, skipped: 0 },
    }
}
