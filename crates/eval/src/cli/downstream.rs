//! The command lines of `linear-probe` and `fine-tune`.

use std::path::PathBuf;

use clap::Args;
use engine::checkpoint::{self, Checkpoint};
use engine::run_dir::RunDir;
use serde_json::{Map, Value, json};

use super::compute::Compute;
use crate::downstream::Repetitions;
use crate::downstream::fine_tune::{FineTuneConfig, FineTuneTask};
use crate::downstream::labelled::{Labelled, LabelledConfig};
use crate::downstream::probe::{ProbeTask, RATES};
use crate::error::Result;
use crate::linear_probe::ProbeConfig;
use crate::metric::Bootstrap;
use crate::tasks::Tools;

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
    /// Share of the training patients to use, drawn anew for every seed; validation and test stay whole.
    #[arg(long, default_value_t = 1.0)]
    fraction: f64,
    /// Repetitions with other draws, orders and initial values (the paper: 5). A figure is the mean of their AUROC; its
    /// interval is that of this mean over resampled test patients.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// First seed.
    #[arg(long, default_value_t = 0)]
    seed: u64,
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
        };
        config.read()
    }

    fn tools(&self) -> Result<Tools> {
        let bootstrap = Bootstrap { resamples: self.resamples, ..Bootstrap::default() };
        Ok(Tools { bootstrap, ..self.compute.tools()? })
    }

    fn repetitions(&self) -> Repetitions {
        Repetitions { fraction: self.fraction, seed: self.seed, seeds: self.seeds }
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
    test.shift_remove("reliability");
    for name in ["brier", "ece"] {
        test.get_mut(name).map(without_classes);
    }
    let attributes = test.get_mut("subgroups").and_then(Value::as_object_mut);
    let groups = attributes.into_iter().flat_map(Map::values_mut).filter_map(Value::as_object_mut);
    groups.flat_map(Map::values_mut).for_each(without_classes);
    brief
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
    /// Learning rates, with commas between; the one with the best validation score is tested.
    #[arg(long, value_delimiter = ',', default_values_t = RATES)]
    lr: Vec<f64>,
    /// Longest training in epochs.
    #[arg(long, default_value_t = ProbeConfig::default().max_epochs)]
    epochs: u64,
}

impl ProbeArgs {
    pub(super) fn run(&self) -> Result<String> {
        let args = &self.labelled;
        let tools = args.tools()?;
        let checkpoint = args.checkpoint()?;
        let labelled = args.labelled()?;
        let task = ProbeTask {
            repetitions: args.repetitions(),
            rates: self.lr.clone(),
            protocol: ProbeConfig { max_epochs: self.epochs, ..ProbeConfig::default() },
            stratify: args.stratify.clone(),
        };
        let figures = LabelledArgs::figures(&labelled, &task.run(&checkpoint, &labelled, &tools)?);
        Ok(args.print(&labelled, &figures))
    }
}

/// Trains a classifier on an image encoder: the head alone first, then all parameters. Defaults are `ConVIRT`'s protocol.
#[derive(Debug, Args)]
pub(super) struct FineTuneArgs {
    #[command(flatten)]
    labelled: LabelledArgs,
    /// New folder for the classifier, model.safetensors, and its figures, eval.json; of several seeds, the classifier with
    /// the best validation score. Both are written at the end: one that is stopped before starts again.
    #[arg(long)]
    out: Option<PathBuf>,
    /// Learning rate of all parameters.
    #[arg(long, default_value_t = FineTuneConfig::default().lr)]
    lr: f64,
    /// Learning rate of the head while the encoder is frozen.
    #[arg(long, default_value_t = FineTuneConfig::default().head_lr)]
    head_lr: f64,
    /// Steps of the head alone.
    #[arg(long, default_value_t = FineTuneConfig::default().head_steps)]
    head_steps: u64,
    /// Images per step; where there are fewer, all of them.
    #[arg(long, default_value_t = FineTuneConfig::default().train_batch)]
    train_batch: usize,
    /// Longest training of all parameters, in epochs.
    #[arg(long, default_value_t = FineTuneConfig::default().epochs)]
    epochs: u64,
    /// Epochs without a better validation score after which the learning rate is halved.
    #[arg(long, default_value_t = FineTuneConfig::default().halve_after)]
    halve_after: u32,
    /// Epochs without a better validation score after which training ends.
    #[arg(long, default_value_t = FineTuneConfig::default().stop_after)]
    stop_after: u32,
    /// Weight decay (L2).
    #[arg(long, default_value_t = FineTuneConfig::default().weight_decay)]
    weight_decay: f32,
    /// Dropout before the last layer.
    #[arg(long, default_value_t = FineTuneConfig::default().dropout)]
    dropout: f64,
    /// Probability of a horizontal flip in training; 0 where a class names a side.
    #[arg(long, default_value_t = FineTuneConfig::default().augment.flip)]
    flip: f64,
}

impl FineTuneArgs {
    fn protocol(&self) -> FineTuneConfig {
        let mut augment = FineTuneConfig::default().augment;
        augment.flip = self.flip;
        FineTuneConfig {
            lr: self.lr,
            head_lr: self.head_lr,
            head_steps: self.head_steps,
            train_batch: self.train_batch,
            epochs: self.epochs,
            halve_after: self.halve_after,
            stop_after: self.stop_after,
            weight_decay: self.weight_decay,
            dropout: self.dropout,
            augment,
        }
    }

    pub(super) fn run(&self) -> Result<String> {
        let args = &self.labelled;
        let tools = args.tools()?;
        let checkpoint = args.checkpoint()?;
        let labelled = args.labelled()?;
        // Refused now rather than after hours of training.
        let out = self.out.as_deref().map(RunDir::create).transpose()?;
        let task = FineTuneTask {
            repetitions: args.repetitions(),
            protocol: self.protocol(),
            stratify: args.stratify.clone(),
        };
        let tuned = task.run(&checkpoint, &labelled, &tools)?;
        let figures = LabelledArgs::figures(&labelled, &tuned.figures);
        if let Some(out) = out {
            checkpoint::save(&out.model(), &tuned.model, &tuned.card)?;
            out.write_eval(&figures)?;
        }
        Ok(args.print(&labelled, &figures))
    }
}
