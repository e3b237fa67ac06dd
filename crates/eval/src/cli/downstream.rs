//! The command lines of `linear-probe` and `fine-tune`.

use std::path::{Path, PathBuf};

use clap::Args;
use data::error::DataError;
use data::fsx;
use data::source::parts::Parts;
use engine::checkpoint::{self, Checkpoint};
use engine::interrupt::Interrupts;
use engine::run_dir::RunDir;
use model::head::label_kind::LabelKind;
use serde_json::{Map, Value, json};

use super::compute::{Compute, Keep};
use crate::downstream::fine_tune::{FineTuneConfig, FineTuneTask};
use crate::downstream::kept::{IfChanged, Kept};
use crate::downstream::labelled::{Labelled, LabelledConfig};
use crate::downstream::probe::{ProbeTask, RATES};
use crate::downstream::protocol::Protocol;
use crate::downstream::{Repetitions, card};
use crate::error::Result;
use crate::linear_probe::ProbeConfig;
use crate::metric::Bootstrap;
use crate::report::{ReportData, ReportOptions, run_report};
use crate::tasks::Tools;
use crate::zero_shot::task::Against;

/// The labelled images, and what both commands do with them.
#[derive(Debug, Args)]
struct LabelledArgs {
    /// A run folder or a weights file.
    #[arg(long)]
    weights: PathBuf,
    /// A CSV of labelled images; default: the built-in phantoms. A column `split` (train, validate, test) is obeyed; parts
    /// that it does not name are split off by patient, a tenth of the patients each.
    #[arg(long)]
    data: Option<PathBuf>,
    /// A CSV to test on, with the same columns. Its patients are left out of what is trained on.
    #[arg(long, requires = "data")]
    test_data: Option<PathBuf>,
    /// Column with the image path, relative to the CSV's folder; default: `image_path`.
    #[arg(long, requires = "data")]
    image_column: Option<String>,
    /// Column of one class, with 1, 0 or blank; may be repeated. With --separator, --classes or --negative: the one column
    /// of lists such as "a|b". Default: a column `labels` of lists.
    #[arg(long, requires = "data")]
    label_column: Vec<String>,
    /// What separates the names in a list; default: "|".
    #[arg(long, requires = "data")]
    separator: Option<String>,
    /// Classes of the lists, with commas between or repeated; default: all names that occur. An image is positive where its
    /// list has the class, negative where the list has other names only, and left out where it is blank.
    #[arg(long, requires = "data", value_delimiter = ',')]
    classes: Vec<String>,
    /// Name that marks the images without any finding. Then images that carry neither it nor one of the classes are left
    /// out, in training and in the test.
    #[arg(long, requires = "data")]
    negative: Option<String>,
    /// Column with the patient; default: `patient_id`. No patient is in two parts, and intervals resample patients.
    #[arg(long, requires = "data")]
    patient_column: Option<String>,
    /// Column with the sex (F, M); default: `sex`. With the age and the view it parts the test images into subgroups, and
    /// each that has both labels gets an AUROC of its own.
    #[arg(long, requires = "data")]
    sex_column: Option<String>,
    /// Column with the age in years; default: `age`. Bands: below 18, 18 to 39, 40 to 59, 60 to 79, 80 and more.
    #[arg(long, requires = "data")]
    age_column: Option<String>,
    /// Column that parts the test images, such as `view`: also prints the mean of the AUROC within each of its values that
    /// has both labels. Blank fields are left out of it.
    #[arg(long, requires = "data")]
    stratify: Option<String>,
    /// Folder that image paths are relative to.
    #[arg(long, requires = "data")]
    image_root: Option<PathBuf>,
    /// Every image has exactly one of the classes, such as normal, pneumonia and COVID-19: softmax and cross-entropy, and
    /// accuracy beside the AUROC of each class against all others. Images of none or several are left out.
    #[arg(long, conflicts_with = "negative")]
    multiclass: bool,
    /// Scores studies of several images, as of MURA: the mean of the probabilities of their images.
    #[arg(long, requires = "data", conflicts_with = "stratify")]
    study_level: bool,
    /// Column with the study; default: `study_id`.
    #[arg(long, requires = "study_level")]
    study_column: Option<String>,
    /// Values of a publication for all options that are not given.
    #[arg(long, value_enum)]
    protocol: Option<Protocol>,
    /// Share of the training patients to use, drawn anew for every seed; validation and test stay whole. Several, with
    /// commas between or repeated, give figures of each.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    fraction: Vec<f64>,
    /// Weights that are trained in the same way, such as those of ImageNet: also prints their figures and the paired
    /// difference; may be repeated. Of fine-tune also the word random, for the same architecture with random weights.
    #[arg(long, value_name = "WEIGHTS")]
    baseline: Vec<PathBuf>,
    /// Repetitions with other draws, orders and initial values; default: 1, or the protocol's. A figure is the mean of
    /// their AUROC; its interval is that of this mean over resampled test patients.
    #[arg(long)]
    seeds: Option<u64>,
    /// First seed; default: 0, or the protocol's.
    #[arg(long)]
    seed: Option<u64>,
    /// Resamples of an interval.
    #[arg(long, default_value_t = 1000)]
    resamples: usize,
    /// Prints JSON instead of a table.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    compute: Compute,
}

impl LabelledArgs {
    /// The weights, which must have an image tower: refused before any data are read.
    fn checkpoint(&self) -> Result<Checkpoint> {
        let checkpoint = Checkpoint::read(&self.weights)?;
        checkpoint.image_config()?;
        Ok(checkpoint)
    }

    fn labelled(&self) -> Result<Labelled> {
        let config = LabelledConfig {
            data: self.data.clone(),
            test_data: self.test_data.clone(),
            image_column: self.image_column.clone(),
            label_columns: self.label_column.clone(),
            separator: self.separator.clone(),
            classes: self.classes.iter().map(|class| class.trim().to_owned()).collect(),
            negative: self.negative.clone(),
            patient_column: self.patient_column.clone(),
            sex_column: self.sex_column.clone(),
            age_column: self.age_column.clone(),
            stratify: self.stratify.clone(),
            image_root: self.image_root.clone(),
            kind: self.kind(),
            study_level: self.study_level,
            study_column: self.study_column.clone(),
        };
        config.read()
    }

    fn tools(&self) -> Result<Tools> {
        let bootstrap = Bootstrap { resamples: self.resamples, ..Bootstrap::default() };
        Ok(Tools { bootstrap, ..self.compute.tools()? })
    }

    fn kind(&self) -> LabelKind {
        if self.multiclass { LabelKind::Multiclass } else { LabelKind::Multilabel }
    }

    /// The repetitions of every share of the labels.
    fn repetitions(&self) -> Result<Vec<Repetitions>> {
        for (place, fraction) in self.fraction.iter().enumerate() {
            if self.fraction[..place].contains(fraction) {
                let value = fraction.to_string();
                return Err(DataError::Setting { key: "--fraction", value, why: "name each share once" }.into());
            }
        }
        let (seed, seeds) = self.protocol.map_or((0, 1), Protocol::seeds);
        let (seed, seeds) = (self.seed.unwrap_or(seed), self.seeds.unwrap_or(seeds));
        Ok(self.fraction.iter().map(|&fraction| Repetitions { fraction, seed, seeds }).collect())
    }

    /// What the weights are compared with: refused before any data are read.
    fn baselines(&self) -> Result<Vec<Against>> {
        let mut baselines = Vec::new();
        for weights in &self.baseline {
            if weights == Path::new("random") {
                if !baselines.iter().any(|other| matches!(other, Against::Random)) {
                    baselines.push(Against::Random);
                }
                continue;
            }
            let checkpoint = Checkpoint::read(weights)?;
            checkpoint.image_config()?;
            baselines.push(Against::Checkpoint(Box::new(checkpoint)));
        }
        Ok(baselines)
    }

    /// The figures with the parts that they come from.
    fn figures(labelled: &Labelled, test: &Map<String, Value>) -> Value {
        json!({ "data": labelled.counts(), "test": test })
    }

    fn print(&self, labelled: &Labelled, figures: &Value) -> String {
        if self.json {
            return format!("{figures:#}\n");
        }
        let table = crate::show::table(&brief(figures));
        format!("{table}\nTested on {}; no patient is in two parts.\n{HIDDEN}\n", labelled.tested_on)
    }
}

/// What the table leaves to the JSON.
const HIDDEN: &str = "Thresholds come from the validation part. --json adds brier, ece and subgroups by class, and the bins \
                      of reliability diagrams.";

/// The figures of a table: without bins, and with means alone where every class would add lines.
fn brief(figures: &Value) -> Value {
    let mut brief = figures.clone();
    let Some(test) = brief["test"].as_object_mut() else { return brief };
    shorten(test);
    let shares = test.iter_mut().filter(|(name, _)| name.starts_with("fraction_"));
    shares.filter_map(|(_, figures)| figures.as_object_mut()).for_each(shorten);
    brief
}

fn shorten(figures: &mut Map<String, Value>) {
    figures.shift_remove("reliability");
    for name in ["brier", "ece"] {
        figures.get_mut(name).map(without_classes);
    }
    let attributes = figures.get_mut("subgroups").and_then(Value::as_object_mut);
    let groups = attributes.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut);
    groups.flat_map(Map::values_mut).for_each(without_classes);
}

fn without_classes(figure: &mut Value) {
    if let Some(figure) = figure.as_object_mut() {
        figure.shift_remove("per_class");
    }
}

/// Fits logistic regression on frozen image features, and on those of the same encoder with random weights.
#[derive(Debug, Args)]
pub(super) struct ProbeArgs {
    #[command(flatten)]
    labelled: LabelledArgs,
    /// Learning rates, with commas between; the one with the best validation score is tested. Default: 0.0001, 0.001 and
    /// 0.01, or the protocol's one.
    #[arg(long, value_delimiter = ',')]
    lr: Vec<f64>,
    /// Longest training in epochs; default: 1000, or the protocol's.
    #[arg(long)]
    epochs: Option<u64>,
    /// Folder for the figures, eval.json, and the scores of every repetition: a probe that was stopped goes on there, and one
    /// that is asked for more seeds or shares of the labels fits only those.
    #[arg(long)]
    out: Option<PathBuf>,
    #[command(flatten)]
    keep: Keep,
}

impl ProbeArgs {
    pub(super) fn run(&self) -> Result<String> {
        let args = &self.labelled;
        let tools = self.keep.tools(args.tools()?);
        let repetitions = args.repetitions()?;
        let checkpoint = args.checkpoint()?;
        let baselines = args.baselines()?;
        let labelled = args.labelled()?;
        let (rates, mut protocol) = match args.protocol.map(|protocol| protocol.probe(args.kind())) {
            Some((rate, protocol)) => (vec![rate], protocol),
            None => (RATES.to_vec(), ProbeConfig::default()),
        };
        protocol.max_epochs = self.epochs.unwrap_or(protocol.max_epochs);
        let rates = if self.lr.is_empty() { rates } else { self.lr.clone() };
        let task = ProbeTask { repetitions, rates, protocol, stratify: args.stratify.clone() };
        let keep = |out: &Path| task.keep_in(out, (&checkpoint, &labelled), IfChanged::Refuse);
        let kept = self.out.as_deref().map(keep).transpose()?;
        let found = task.run(&checkpoint, &baselines, &labelled, kept.as_ref(), &tools)?;
        let figures = LabelledArgs::figures(&labelled, &found);
        if let Some(out) = &self.out {
            fsx::write_atomic(&out.join("eval.json"), format!("{figures:#}\n").as_bytes())?;
        }
        Ok(args.print(&labelled, &figures))
    }
}

/// Trains a classifier on an image encoder: the head alone first, then all parameters. Defaults are `ConVIRT`'s protocol
/// with one seed.
#[derive(Debug, Args)]
pub(super) struct FineTuneArgs {
    #[command(flatten)]
    labelled: LabelledArgs,
    /// New folder for the classifier, model.safetensors, its figures, eval.json, its card for people, CARD.md, and a report,
    /// report.html; of several seeds and shares of the labels, the classifier with the best validation score. The same command
    /// goes on with one that was stopped, from the last epoch that ended.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Learning rate of all parameters; default: 0.0001.
    #[arg(long)]
    lr: Option<f64>,
    /// Learning rate of the head while the encoder is frozen; default: 0.001.
    #[arg(long)]
    head_lr: Option<f64>,
    /// Steps of the head alone; default: 200.
    #[arg(long)]
    head_steps: Option<u64>,
    /// Images per step; where there are fewer, all of them; default: 64.
    #[arg(long)]
    train_batch: Option<usize>,
    /// Longest training of all parameters, in epochs; default: 1000.
    #[arg(long)]
    epochs: Option<u64>,
    /// Epochs without a better validation score after which the learning rate is halved; default: 3.
    #[arg(long)]
    halve_after: Option<u32>,
    /// Epochs without a better validation score after which training ends; default: 10.
    #[arg(long)]
    stop_after: Option<u32>,
    /// Weight decay (L2); default: 0.000001.
    #[arg(long)]
    weight_decay: Option<f32>,
    /// Dropout before the last layer; default: 0.2.
    #[arg(long)]
    dropout: Option<f64>,
    /// Probability of a horizontal flip in training; 0 where a class names a side.
    #[arg(long, default_value_t = FineTuneConfig::default().augment.flip)]
    flip: f64,
}

impl FineTuneArgs {
    /// What is given, else the values of the protocol or the defaults.
    fn protocol(&self) -> FineTuneConfig {
        let kind = self.labelled.kind();
        let usual = self.labelled.protocol.map_or_else(FineTuneConfig::default, |protocol| protocol.fine_tune(kind));
        let mut augment = usual.augment;
        augment.flip = self.flip;
        FineTuneConfig {
            lr: self.lr.unwrap_or(usual.lr),
            head_lr: self.head_lr.unwrap_or(usual.head_lr),
            head_steps: self.head_steps.unwrap_or(usual.head_steps),
            train_batch: self.train_batch.unwrap_or(usual.train_batch),
            epochs: self.epochs.unwrap_or(usual.epochs),
            halve_after: self.halve_after.unwrap_or(usual.halve_after),
            stop_after: self.stop_after.unwrap_or(usual.stop_after),
            weight_decay: self.weight_decay.unwrap_or(usual.weight_decay),
            dropout: self.dropout.unwrap_or(usual.dropout),
            augment,
            decoupled: usual.decoupled,
            criterion: usual.criterion,
        }
    }

    pub(super) fn run(&self) -> Result<String> {
        let args = &self.labelled;
        let tools = args.tools()?;
        let repetitions = args.repetitions()?;
        let checkpoint = args.checkpoint()?;
        let baselines = args.baselines()?;
        let labelled = args.labelled()?;
        let stratify = args.stratify.clone();
        let task = FineTuneTask { repetitions, protocol: self.protocol(), stratify };
        // Refused now rather than after hours of training.
        let out = self.out.as_deref().map(run_dir).transpose()?;
        let _lock = out.as_ref().map(RunDir::lock).transpose()?;
        let kept = out.as_ref().map(|out| task.keep_in(out.path(), &checkpoint, &labelled)).transpose()?;
        let tools = match &out {
            Some(out) => Tools { interrupts: Interrupts::listen(out.path())?, ..tools },
            None => tools,
        };
        let tuned = task.run(&checkpoint, &baselines, &labelled, kept.as_ref(), &tools)?;
        let figures = LabelledArgs::figures(&labelled, &tuned.figures);
        if let Some(out) = out {
            checkpoint::save(&out.model(), &tuned.model, &tuned.card)?;
            out.write_eval(&figures)?;
            let card = card::markdown(&tuned.card, &labelled, &tuned.figures);
            fsx::write_atomic(&out.path().join("CARD.md"), card.as_bytes())?;
            let shown = ReportOptions { data: Some(data(labelled.clone())), ..ReportOptions::default() };
            let report = run_report(out.path(), &shown, &tools)?;
            fsx::write_atomic(&out.path().join("report.html"), report.as_bytes())?;
        }
        kept.map_or(Ok(()), Kept::finish)?;
        Ok(args.print(&labelled, &figures))
    }
}

/// The folder of a fine-tuning that was stopped, or a new one.
fn run_dir(path: &Path) -> engine::Result<RunDir> {
    if RunDir::is_unfinished(path) || Kept::is_unfinished(path) { RunDir::open(path) } else { RunDir::create(path) }
}

/// What the report of a classifier is drawn from.
fn data(labelled: Labelled) -> ReportData {
    let Labelled { train, validate, test, .. } = labelled;
    ReportData { unseen: test.clone(), parts: Parts { train, validate, test, categories: None } }
}
