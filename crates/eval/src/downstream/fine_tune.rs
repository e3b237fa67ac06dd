//! Fine-tuning: a classifier on an image encoder, first its head, then all of it.
//!
//! # Source
//! Zhang et al. 2022 (`ConVIRT`), section 4.2 and appendix: Adam with L2 of 1e-6, dropout of 0.2 before the last layer, 64
//! images a step; 200 steps of the head alone at 1e-3, then all parameters at 1e-4, halved after 3 epochs without a better
//! validation score; 10 such epochs end it, and the best epoch is tested. Augmentation as in pretraining. The paper does not
//! say how batch normalisation behaves while the encoder is frozen: here it evaluates.
//!
//! With a folder, what was finished before is not trained again, and a repetition under way goes on from its last epoch,
//! bit by bit as if it had never stopped; its steps of the head alone come again where it was stopped among them.

use std::path::Path;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::Device;
use data::error::DataError;
use data::image::augment::AugmentConfig;
use data::loader::{Loader, LoaderConfig, TopicSource};
use data::record::Dataset;
use data::rng::{Purpose, key};
use data::text::Tokenizer;
use engine::EngineError;
use engine::checkpoint::{Architecture, Card, Checkpoint};
use engine::fit::{FitConfig, Start, fit};
use engine::optim::{OptimConfig, OptimizerKind, Schedule};
use engine::progress::Progress;
use engine::state::Origin;
use engine::state::store::StateStore;
use engine::upload::Preprocess;
use model::head::classifier::{ImageClassifier, ImageClassifierConfig};
use model::head::label_kind::LabelKind;
use serde::Serialize;
use serde_json::{Map, Value};

use super::Repetitions;
use super::compare::{self, ByFraction};
use super::criterion::Criterion;
use super::figures::Scored;
use super::judge::Judge;
use super::kept::{self, IfChanged, Kept, Repetition};
use super::labelled::Labelled;
use super::watch::{Best, Watch, scores};
use crate::error::{EvalError, Result};
use crate::supervised::Supervised;
use crate::tasks::Tools;
use crate::zero_shot::task::Against;

/// Memory for decoded training images (bytes).
const CACHE_BYTES: usize = 1 << 30;
/// Memory for decoded validation images (bytes).
const VALIDATION_CACHE_BYTES: usize = 256 << 20;
/// Threads that prepare batches; their number changes no batch.
const WORKERS: usize = 2;

/// Protocol of fine-tuning; the defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize)]
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

/// What repetitions depend on, besides weights and data.
#[derive(Debug, Serialize)]
struct Settings<'a> {
    kind: LabelKind,
    fine_tune: &'a FineTuneConfig,
}

impl FineTuneTask {
    /// Opens the folder in which repetitions are kept.
    ///
    /// # Errors
    /// As [`Kept::open`].
    pub fn keep_in(&self, folder: &Path, checkpoint: &Checkpoint, labelled: &Labelled) -> Result<Kept> {
        let settings = Settings { kind: labelled.kind, fine_tune: &self.protocol };
        Kept::open(folder, (checkpoint, labelled), &settings, IfChanged::Refuse)
    }

    /// Trains a classifier for each repetition and scores the test part; the same from the values of `baselines`. What is in
    /// `kept` is not trained again.
    ///
    /// # Errors
    /// Settings that make no sense, unreadable images, weights that do not fit, classes without both labels, a loss that
    /// stays NaN.
    pub fn run(
        &self,
        checkpoint: &Checkpoint,
        baselines: &[Against],
        labelled: &Labelled,
        kept: Option<&Kept>,
        tools: &Tools,
    ) -> Result<FineTuned> {
        self.protocol.check()?;
        let share = |r: &Repetitions| Ok((r.fraction, r.draws(&labelled.train)?));
        let shares: Vec<Share> = self.repetitions.iter().map(share).collect::<Result<_>>()?;
        let judge = Judge::new(labelled, self.stratify.as_deref())?;
        check_validation(&labelled.validate)?;
        let all = Trainings { task: self, labelled, shares: &shares, kept, tools };
        let own = Initial { label: "", name: "own".to_owned(), checkpoint, random: false, gives_model: true };
        let (trained, best) = all.run(&own)?;
        let mut others = Vec::new();
        for baseline in baselines {
            let initial = match baseline {
                Against::Random => Initial {
                    label: "random, ",
                    name: "random".to_owned(),
                    checkpoint,
                    random: true,
                    gives_model: false,
                },
                Against::Checkpoint(other) => Initial {
                    label: "baseline, ",
                    name: kept::name_of_weights(other)?,
                    checkpoint: other,
                    random: false,
                    gives_model: false,
                },
            };
            others.push((baseline, all.run(&initial)?.0));
        }
        let Some(model) = best else {
            let value = self.repetitions.first().map_or(0, |repetitions| repetitions.seeds).to_string();
            return Err(DataError::Setting { key: "--seeds", value, why: "use at least 1" }.into());
        };
        let card = self.card(checkpoint, labelled)?;
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

    /// What a classifier that starts from a checkpoint is.
    fn card(&self, checkpoint: &Checkpoint, labelled: &Labelled) -> Result<Card> {
        let architecture = Architecture::ImageClassifier(self.architecture(checkpoint, labelled)?);
        let mut card = Card::new("fine-tune", architecture, padded(checkpoint));
        card.classes.clone_from(&labelled.train.classes);
        card.label_kind = labelled.kind;
        Ok(card)
    }
}

/// A share of the labels with its seeds and the studies of each.
type Share = (f64, Vec<(u64, Vec<usize>)>);

/// Initial values of an encoder.
struct Initial<'a> {
    /// What goes before the names of its progress bars.
    label: &'a str,
    /// What goes before the names of its repetitions.
    name: String,
    checkpoint: &'a Checkpoint,
    /// Whether the architecture alone is that of the checkpoint.
    random: bool,
    /// Whether its best classifier is asked for.
    gives_model: bool,
}

/// Fine-tuning from several initial values on the same draws.
struct Trainings<'a> {
    task: &'a FineTuneTask,
    labelled: &'a Labelled,
    shares: &'a [Share],
    kept: Option<&'a Kept>,
    tools: &'a Tools,
}

/// The best repetition so far.
struct Highest<'a> {
    score: f64,
    name: String,
    seed: u64,
    studies: &'a [usize],
    /// Its classifier; one that was trained before lies in the folder.
    model: Option<ImageClassifier>,
}

impl Trainings<'_> {
    /// Logits of the test part by share of the labels and repetition, and the classifier with the best validation score.
    fn run(&self, initial: &Initial<'_>) -> Result<(ByFraction, Option<ImageClassifier>)> {
        let mut all = Vec::new();
        let mut highest: Option<Highest<'_>> = None;
        for (fraction, draws) in self.shares {
            let mut repetitions = Vec::new();
            for (seed, studies) in draws {
                let name = kept::name(&initial.name, *fraction, *seed);
                let (repetition, model) = if let Some(before) = self.kept.and_then(|kept| kept.find(&name)) {
                    (before, None)
                } else {
                    let (repetition, model) = self.repetition(initial, &name, studies, *seed)?;
                    (repetition, Some(model))
                };
                let score = repetition.validation;
                repetitions.push(repetition.scored);
                let is_best = initial.gives_model && highest.as_ref().is_none_or(|best| score > best.score);
                // The classifiers of all other repetitions are of no use.
                let useless = if is_best { highest.as_ref().map(|best| best.name.clone()) } else { Some(name.clone()) };
                if let (Some(kept), Some(name)) = (self.kept, useless) {
                    kept.forget(&name)?;
                }
                if is_best {
                    highest = Some(Highest { score, name, seed: *seed, studies, model });
                }
            }
            all.push(repetitions);
        }
        Ok((all, highest.map(|best| self.model(initial, best)).transpose()?))
    }

    /// The classifier of the best repetition. Of one that was not the best of an earlier command it is gone and trained again.
    fn model(&self, initial: &Initial<'_>, best: Highest<'_>) -> Result<ImageClassifier> {
        let Highest { name, seed, studies, model, .. } = best;
        match (model, self.kept) {
            (Some(model), _) => Ok(model),
            (None, Some(kept)) if kept.has_model(&name) => {
                Ok(Checkpoint::read(&kept.place(&name))?.image_classifier(&self.tools.device)?)
            }
            (None, _) => Ok(self.repetition(initial, &name, studies, seed)?.1),
        }
    }

    /// One repetition, from its beginning or from where it was stopped, with its classifier.
    fn repetition(
        &self,
        initial: &Initial<'_>,
        name: &str,
        studies: &[usize],
        seed: u64,
    ) -> Result<(Repetition, ImageClassifier)> {
        let (labelled, tools) = (self.labelled, self.tools);
        let preprocess = &padded(initial.checkpoint);
        let chosen = studies.iter().map(|&study| labelled.train.studies[study].clone()).collect();
        let train = Dataset { studies: chosen, ..labelled.train.clone() };
        let place = self.kept.map(|kept| kept.place(name));
        let Best { score, validate, model } = self.train(initial, &train, seed, place.as_deref())?;
        tracing::info!(seed, images = train.studies.len(), validation = score, "best epoch");
        let opened = tools.open(&labelled.test, preprocess)?;
        let test =
            tools.progress("test", opened.images.len(), |tick| scores(&model, &opened, preprocess, tools, tick))?;
        let repetition = Repetition { validation: score, scored: Scored { validate, test } };
        if let Some(kept) = self.kept {
            kept.keep(name, &repetition)?;
        }
        Ok((repetition, model))
    }

    /// Trains the head alone and then all parameters; with a `place` keeps states there and goes on from them.
    fn train(&self, initial: &Initial<'_>, train: &Dataset, seed: u64, place: Option<&Path>) -> Result<Best> {
        let (protocol, tools, kind) = (&self.task.protocol, self.tools, self.labelled.kind);
        let preprocess = &padded(initial.checkpoint);
        let loader = protocol.loader(train, preprocess, seed)?;
        let tracked = tools.device.clone().autodiff();
        tools.device.seed(key(seed, Purpose::Init, 0, 0));
        let mut model = self.task.architecture(initial.checkpoint, self.labelled)?.init(&tracked);
        let encoder = if initial.random {
            // Drawn now: a copy whose numbers are not drawn yet would stay frozen with the one that is frozen below.
            model.image_encoder.valid().train()
        } else {
            initial.checkpoint.image_encoder(&tracked)?
        };
        let part = &self.labelled.validate;
        let validate = Tools { cache_bytes: VALIDATION_CACHE_BYTES, ..tools.clone() }.open(part, preprocess)?;
        let labels = labels_of(part);
        let card = self.task.card(initial.checkpoint, self.labelled)?;
        let watch = |label: &str, steps| Watch {
            progress: Progress::new(tools.ui, &format!("{}{label}, seed {seed}", initial.label), steps),
            validate: &validate,
            labels: &labels,
            criterion: protocol.criterion,
            kind,
            preprocess: preprocess.clone(),
            tools,
            best: None,
            saving: None,
        };

        let supervised = |model| Supervised::new(model, preprocess.clone()).with_kind(kind);
        let config = protocol.all(seed, loader.steps_per_epoch(), place.is_some());
        let states = place.map(|place| StateStore::new(&place.join("states"), 0));
        let saved = states.as_ref().map(StateStore::newest).transpose()?.flatten();

        let mut watching = watch("all parameters", config.steps);
        let start = if let Some(saved) = saved {
            tracing::info!(seed, step = saved.train.step, "goes on from a saved state");
            model.image_encoder = encoder;
            watching.best = place.map(|place| Best::read(place, tools)).transpose()?;
            Start::resumed(saved, supervised(model), &config.optim, origin(seed))?
        } else {
            model.image_encoder = encoder.clone().freeze();
            model = train_head(supervised(model), &loader, &protocol.head(seed), &tracked, &watch)?;
            model.image_encoder = encoder;
            Start::fresh(supervised(model), &config.optim, origin(seed))
        };
        if let (Some(place), Some(states)) = (place, states) {
            states.clean(start.step())?;
            watching.keep_in(place, states, card);
        }
        let trained = fit(start, &loader, &config, &tracked, &mut watching);
        // Whatever ended training, the last state must be on the disk.
        watching.finish()?;
        trained.map_err(|error| watching.ended(error))?;
        watching.progress.finish("");
        // Training goes on for an epoch at least, and every epoch has a score.
        watching.best.ok_or(EngineError::ShortEpoch { step: 0 }.into())
    }
}

fn origin(seed: u64) -> Origin {
    Origin { seed, ..Origin::default() }
}

/// The classifier after the steps of its head alone.
fn train_head<'a>(
    objective: Supervised,
    loader: &Loader,
    config: &FitConfig,
    tracked: &Device,
    watch: &impl Fn(&str, u64) -> Watch<'a>,
) -> Result<ImageClassifier> {
    if config.steps == 0 {
        return Ok(objective.model);
    }
    let mut watching = watch("head", config.steps);
    let start = Start::fresh(objective, &config.optim, origin(config.seed));
    let trained = fit(start, loader, config, tracked, &mut watching).map_err(|error| watching.ended(error))?;
    watching.progress.finish("");
    Ok(trained.model)
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
        FitConfig::updates(seed, self.head_steps, self.optim(self.head_lr, Schedule::Constant))
    }

    fn all(&self, seed: u64, steps_per_epoch: u64, keeps_states: bool) -> FitConfig {
        let schedule = Schedule::Plateau { factor: 0.5, patience: self.halve_after };
        FitConfig {
            seed,
            steps: self.epochs.saturating_mul(steps_per_epoch),
            micro_batch_size: None,
            optim: self.optim(self.lr, schedule),
            eval_every: steps_per_epoch,
            early_stop: Some(self.stop_after),
            save_every: if keeps_states { steps_per_epoch } else { 0 },
        }
    }
}

/// The preparation of images with padding to squares (`ConVIRT`, section 4.2), as training has it, whatever the encoder saw
/// before.
fn padded(checkpoint: &Checkpoint) -> Preprocess {
    Preprocess { framing: None, ..checkpoint.card.preprocess.clone() }
}
