//! Linear probe: logistic regression on frozen image features.
//!
//! Zhang et al. 2022, section 4.2: Adam, weight decay 1e-6, dropout 0.2 before the layer, batch 64, learning rate halved
//! after 3 epochs without a better validation score, stop after 10, best epoch tested. Features are computed once per
//! image without augmentation, which keeps a probe at seconds.
//!
//! Unlike the paper, and as He et al. 2022 ("Masked autoencoders"), appendix A.1, every feature is brought to mean 0 and
//! deviation 1 over the training images: rates that suit one encoder would leave the layer of another where it was drawn.
//! Random weights of `DINOv2`'s layout, whose features differ between images by 1e-5 of their size, are such a case.
//!
//! Shape letters: `N` images, `D` feature width, `K` classes.

use burn::module::Module;
use burn::nn::{Dropout, DropoutConfig, Linear, LinearConfig};
use burn::optim::decay::WeightDecayConfig;
use burn::optim::{AdamConfig, AdamWConfig, GradientsParams};
use burn::tensor::{Device, Tensor, TensorData};
use data::error::DataError;
use data::record::Dataset;
use data::rng::{Purpose, key, permutation};
use model::head::label_kind::LabelKind;
use serde::{Deserialize, Serialize};

use crate::classes::{ClassFigures, class_figures};
use crate::downstream::criterion::Criterion;
use crate::error::{EvalError, Result};
use crate::metric::Bootstrap;

/// Protocol of a probe; the defaults are the paper's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProbeConfig {
    /// Learning rate.
    pub lr: f64,
    /// Weight decay (L2).
    pub weight_decay: f32,
    /// Dropout before the layer.
    pub dropout: f64,
    /// Images per step.
    pub batch_size: usize,
    /// Longest training in epochs.
    pub max_epochs: u64,
    /// Epochs without a better validation score after which the learning rate is halved.
    pub halve_after: u32,
    /// Epochs without a better validation score after which training ends.
    pub stop_after: u32,
    /// Seed of order, dropout and the initial layer.
    pub seed: u64,
    /// Whether weight decay acts on the parameter (`AdamW`) rather than on the gradient (Adam with L2).
    #[serde(skip)]
    pub decoupled: bool,
    /// Whether features are brought to mean 0 and deviation 1.
    #[serde(skip, default = "yes")]
    pub standardise: bool,
    /// What an epoch is chosen by.
    #[serde(skip)]
    pub criterion: Criterion,
    /// How the classes relate.
    #[serde(skip)]
    pub kind: LabelKind,
}

fn yes() -> bool {
    true
}

impl Default for ProbeConfig {
    fn default() -> Self {
        Self {
            lr: 1e-4,
            weight_decay: 1e-6,
            dropout: 0.2,
            batch_size: 64,
            max_epochs: 1000,
            halve_after: 3,
            stop_after: 10,
            seed: 0,
            decoupled: false,
            standardise: true,
            criterion: Criterion::default(),
            kind: LabelKind::default(),
        }
    }
}

/// Features of a set of images with their labels.
#[derive(Debug, Clone)]
pub struct ProbeSet<'a> {
    /// The studies.
    pub dataset: &'a Dataset,
    /// (study, image) of each row.
    pub images: &'a [(usize, usize)],
    /// `[N, D]`, row-major.
    pub features: &'a [f32],
    /// `D`.
    pub width: usize,
}

impl ProbeSet<'_> {
    /// The same images with other features.
    fn with<'b>(&'b self, features: &'b [f32]) -> ProbeSet<'b> {
        ProbeSet { features, ..self.clone() }
    }

    fn label(&self, row: usize, class: usize) -> Option<bool> {
        self.dataset.studies[self.images[row].0].labels.get(class).copied().flatten()
    }

    /// Features, targets and mask of some rows on a device.
    fn tensors(&self, rows: &[u32], device: &Device) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
        let k = self.dataset.classes.len();
        let features: Vec<f32> = rows
            .iter()
            .flat_map(|&row| self.features[row as usize * self.width..(row as usize + 1) * self.width].iter().copied())
            .collect();
        let labels = rows.iter().flat_map(|&row| (0..k).map(move |class| (row as usize, class)));
        let labels: Vec<Option<bool>> = labels.map(|(row, class)| self.label(row, class)).collect();
        let matrix = |values: Vec<f32>, width| Tensor::from_data(TensorData::new(values, [rows.len(), width]), device);
        let targets = labels.iter().map(|label| f32::from(u8::from(*label == Some(true)))).collect();
        let mask = labels.iter().map(|label| f32::from(u8::from(label.is_some()))).collect();
        (matrix(features, self.width), matrix(targets, k), matrix(mask, k))
    }

    /// Scores of a head, `[K][N]`.
    fn scores(&self, head: &Head, device: &Device) -> Vec<Vec<f32>> {
        let k = self.dataset.classes.len();
        let n = self.images.len();
        let features = Tensor::<2>::from_data(TensorData::new(self.features.to_vec(), [n, self.width]), device);
        let logits: Vec<f32> = head.forward(features).into_data().iter::<f32>().collect();
        (0..k).map(|class| (0..n).map(|row| logits[row * k + class]).collect()).collect()
    }

    /// Labels by class, `[K][N]`.
    fn labels(&self) -> Vec<Vec<Option<bool>>> {
        let of = |class: usize| (0..self.images.len()).map(|row| self.label(row, class)).collect();
        (0..self.dataset.classes.len()).map(of).collect()
    }
}

#[derive(Module, Debug)]
struct Head {
    dropout: Dropout,
    fc: Linear,
}

impl Head {
    fn forward(&self, features: Tensor<2>) -> Tensor<2> {
        self.fc.forward(self.dropout.forward(features))
    }
}

/// What brings features to mean 0 and deviation 1.
#[derive(Debug)]
struct Standard {
    mean: Vec<f64>,
    factor: Vec<f64>,
}

impl Standard {
    /// Of the rows of a set. Features that are constant but for rounding become 0.
    fn of(set: &ProbeSet<'_>) -> Self {
        let rows = || set.features.chunks_exact(set.width.max(1));
        let count = rows().len().max(1) as f64;
        let mut mean = vec![0.0; set.width];
        for row in rows() {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value) / count);
        }
        let mut variance = vec![0.0; set.width];
        for row in rows() {
            let pairs = variance.iter_mut().zip(row.iter().zip(&mean));
            pairs.for_each(|(sum, (value, mean))| *sum += (f64::from(*value) - mean).powi(2) / count);
        }
        let factor = |(mean, variance): (&f64, &f64)| {
            let deviation: f64 = variance.sqrt();
            if deviation > f64::from(f32::EPSILON) * mean.abs() { deviation.recip() } else { 0.0 }
        };
        Self { factor: mean.iter().zip(&variance).map(factor).collect(), mean }
    }

    #[expect(clippy::cast_possible_truncation, reason = "a few deviations")]
    fn apply(&self, features: &[f32]) -> Vec<f32> {
        let columns = self.mean.iter().zip(&self.factor).cycle();
        features
            .iter()
            .zip(columns)
            .map(|(value, (mean, factor))| ((f64::from(*value) - mean) * factor) as f32)
            .collect()
    }
}

/// Scores of a probe.
#[derive(Debug, Clone, PartialEq)]
pub struct Probed {
    /// The best score on the validation images; more is better.
    pub validation: f64,
    /// Scores of the validation images, `[K][N]`.
    pub validate: Vec<Vec<f32>>,
    /// Scores of the test images, `[K][N]`.
    pub scores: Vec<Vec<f32>>,
}

/// Logits of a linear layer that is fitted on `train`: keeps the epoch with the best score on `validate`, and scores both
/// `validate` and `test`.
///
/// # Errors
/// If the validation data do not have both labels of any class, or no epoch is asked for.
pub fn probe_scores(
    train: &ProbeSet<'_>,
    validate: &ProbeSet<'_>,
    test: &ProbeSet<'_>,
    config: &ProbeConfig,
    device: &Device,
) -> Result<Probed> {
    if !config.standardise {
        let (validation, head) = fit(train, validate, config, device)?;
        let [validate, scores] = [validate, test].map(|set| set.scores(&head, device));
        return Ok(Probed { validation, validate, scores });
    }
    let standard = Standard::of(train);
    let [of_train, of_validate, of_test] = [train, validate, test].map(|set| standard.apply(set.features));
    let (validation, head) = fit(&train.with(&of_train), &validate.with(&of_validate), config, device)?;
    let scores = |set: &ProbeSet<'_>, features: &[f32]| set.with(features).scores(&head, device);
    Ok(Probed { validation, validate: scores(validate, &of_validate), scores: scores(test, &of_test) })
}

/// AUROC of [`probe_scores`].
///
/// # Errors
/// As [`probe_scores`].
pub fn linear_probe(
    train: &ProbeSet<'_>,
    validate: &ProbeSet<'_>,
    test: &ProbeSet<'_>,
    config: &ProbeConfig,
    bootstrap: &Bootstrap,
    device: &Device,
) -> Result<ClassFigures> {
    let scores = probe_scores(train, validate, test, config, device)?.scores;
    let columns: Vec<(String, usize)> = test.dataset.classes.iter().cloned().zip(0..).collect();
    class_figures(test.dataset, test.images, &columns, &scores, bootstrap)
}

/// The head of the best epoch and its score on `validate`.
fn fit(train: &ProbeSet<'_>, validate: &ProbeSet<'_>, config: &ProbeConfig, device: &Device) -> Result<(f64, Head)> {
    let tracked = device.clone().autodiff();
    tracked.seed(key(config.seed, Purpose::Init, 0, 0));
    let mut head = Head {
        dropout: DropoutConfig::new(config.dropout).init(),
        fc: LinearConfig::new(train.width, train.dataset.classes.len()).init(&tracked),
    };
    let decay = WeightDecayConfig { penalty: config.weight_decay };
    let mut optimizer = if config.decoupled {
        AdamWConfig::new().with_epsilon(1e-8).with_weight_decay(config.weight_decay).init()
    } else {
        AdamConfig::new().with_epsilon(1e-8).with_weight_decay(Some(decay)).init()
    };
    let labels = validate.labels();
    let unfit = || EvalError::Unfit {
        data: validate.dataset.name.clone(),
        what: "no class has both labels in the validation part: use more patients".to_owned(),
    };
    // The layer as it was drawn is no candidate: what it says of the validation images is chance.
    let mut best: Option<(f64, Head)> = None;
    let (mut lr, mut since_best, mut since_halved) = (config.lr, 0, 0);
    for epoch in 0..config.max_epochs {
        let order = permutation(config.seed, Purpose::Order, epoch, train.images.len());
        for (step, rows) in order.chunks(config.batch_size.max(1)).enumerate() {
            tracked.seed(key(config.seed, Purpose::Device, epoch, step as u64));
            let (features, targets, mask) = train.tensors(rows, &tracked);
            let logits = head.forward(features);
            let loss = config.kind.loss(logits, targets, mask);
            let grads = GradientsParams::from_grads(loss.backward(), &head);
            head = optimizer.step(lr, head, grads);
        }
        let logits = validate.scores(&head.valid(), device);
        let score = config.criterion.score(config.kind, &labels, &logits)?.ok_or_else(unfit)?;
        if best.as_ref().is_none_or(|(highest, _)| score > *highest) {
            best = Some((score, head.valid()));
            (since_best, since_halved) = (0, 0);
            continue;
        }
        since_best += 1;
        since_halved += 1;
        if since_halved >= config.halve_after {
            lr *= 0.5;
            since_halved = 0;
        }
        if since_best >= config.stop_after {
            break;
        }
    }
    best.ok_or_else(|| {
        let (key, value) = ("epochs of the probe", config.max_epochs.to_string());
        DataError::Setting { key, value, why: "use at least 1" }.into()
    })
}
