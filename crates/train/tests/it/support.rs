//! What the tests share: the device, the lock around its generator, goldens, gradients by public name, comparison.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Device, Tensor, TensorData};
use data::batch::{PairBatch, TextBatch};
use engine::device::DeviceSpec;
use engine::fit::FitConfig;
use engine::objective::Context;
use engine::optim::{OptimConfig, OptimizerKind, Schedule};
use engine::upload::Preprocess;
use model::weights::{self, HostTensor, TensorMap, WeightsFile};
use model::{DualEncoder, DualEncoderConfig};
use train::loss::info_nce::InfoNceConfig;
use train::objective::convirt::{ConVirt, ConVirtConfig};

/// Burn's random generator is one per process: a test that draws from it, seeds it or needs what it gives takes this
/// lock. Initialising a module draws, even where all its values are replaced afterwards.
static GENERATOR: Mutex<()> = Mutex::new(());

pub(crate) fn generator() -> MutexGuard<'static, ()> {
    GENERATOR.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The plain device under test and its name: what `ROENTGEN_DEVICE` names, else the first that works.
///
/// `ROENTGEN_DEVICE=ndarray cargo test -p train --features ndarray` runs everything on that one.
pub(crate) fn device() -> (Device, String) {
    static DEVICE: OnceLock<(Device, String)> = OnceLock::new();
    let open = || {
        let name = std::env::var("ROENTGEN_DEVICE").unwrap_or_else(|_| "auto".to_owned());
        name.parse::<DeviceSpec>().unwrap().open().unwrap()
    };
    DEVICE.get_or_init(open).clone()
}

/// Whether tolerances are those of a CPU.
pub(crate) fn on_cpu() -> bool {
    ["cpu", "ndarray"].contains(&device().1.as_str())
}

/// The device that training runs on.
pub(crate) fn tracked() -> Device {
    device().0.autodiff()
}

/// A tolerance that holds on a CPU. A graphics card sums in another order and has faster, less exact functions.
pub(crate) fn tolerance(cpu: f32) -> f32 {
    if on_cpu() { cpu } else { cpu.max(1e-3) }
}

/// The goldens; they are part of the program so that it can be taken to another machine.
const FILES: [(&str, &[u8]); 15] = [
    ("info_nce", include_bytes!("golden/info_nce.safetensors")),
    ("logit_scale", include_bytes!("golden/logit_scale.safetensors")),
    ("medclip_losses", include_bytes!("golden/medclip_losses.safetensors")),
    ("medclip_trajectory", include_bytes!("golden/medclip_trajectory.safetensors")),
    ("mgca_paper_resnet", include_bytes!("golden/mgca_paper_resnet.safetensors")),
    ("mgca_paper_vit", include_bytes!("golden/mgca_paper_vit.safetensors")),
    ("mgca_reference_resnet", include_bytes!("golden/mgca_reference_resnet.safetensors")),
    ("mgca_reference_vit", include_bytes!("golden/mgca_reference_vit.safetensors")),
    ("mgca_trajectory", include_bytes!("golden/mgca_trajectory.safetensors")),
    ("sentence_loss", include_bytes!("golden/sentence_loss.safetensors")),
    ("sinkhorn", include_bytes!("golden/sinkhorn.safetensors")),
    ("step", include_bytes!("golden/step.safetensors")),
    ("step_variants", include_bytes!("golden/step_variants.safetensors")),
    ("topic_error", include_bytes!("golden/topic_error.safetensors")),
    ("trajectory", include_bytes!("golden/trajectory.safetensors")),
];

/// A golden file.
pub(crate) struct Golden(WeightsFile);

impl Golden {
    pub(crate) fn read(name: &str) -> Self {
        let (_, bytes) = FILES.iter().find(|(file, _)| *file == name).unwrap_or_else(|| panic!("no golden {name}"));
        Self(WeightsFile::parse(Path::new(name), bytes).unwrap())
    }

    pub(crate) fn under(&self, prefix: &str) -> TensorMap {
        self.0.under(prefix)
    }

    pub(crate) fn host(&self, name: &str) -> &HostTensor {
        self.0.tensors.get(name).unwrap_or_else(|| panic!("the golden has no {name}"))
    }

    pub(crate) fn metadata<T: serde::de::DeserializeOwned>(&self, key: &'static str) -> T {
        self.0.metadata_json(key).unwrap()
    }

    pub(crate) fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let HostTensor { shape, data } = self.host(name).clone();
        Tensor::from_data(TensorData::new(data, shape), device)
    }

    /// The loss that the golden was made with.
    pub(crate) fn loss(&self) -> InfoNceConfig {
        InfoNceConfig { temperature: self.metadata("tau"), lambda: self.metadata("lambda") }
    }

    /// The batch under a prefix: normalised images, ids and masks as floats.
    pub(crate) fn batch(&self, prefix: &str) -> PairBatch {
        let whole = |name: &str| -> Vec<u32> {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ids stored as floats")]
            let ids = self.host(&format!("{prefix}{name}")).data.iter().map(|&v| v as u32).collect();
            ids
        };
        let images = self.host(&format!("{prefix}images"));
        let [len, _, size, _] = images.shape[..] else { panic!("images have four axes") };
        let tokens = self.host(&format!("{prefix}input_ids")).shape[1];
        let (input_ids, attention_mask) = (whole("input_ids"), whole("attention_mask"));
        pair_batch(size, images.data.clone(), 1, TextBatch { len, tokens, input_ids, attention_mask })
    }

    /// The objective with the initial tensors of the golden and a given loss.
    pub(crate) fn objective(&self, loss: &InfoNceConfig) -> ConVirt {
        let config: DualEncoderConfig = self.metadata("config");
        let model = weights::apply(config.init(&tracked()), self.under("param."), &self.0.path).unwrap();
        convirt(model, loss)
    }
}

/// A batch without labels, of grey images of `size` by `size` pixels and `sentences` texts for each.
pub(crate) fn pair_batch(size: usize, images: Vec<f32>, sentences: usize, texts: TextBatch) -> PairBatch {
    let len = texts.len / sentences;
    assert_eq!(images.len(), len * size * size);
    let studies = (0..).take(len).collect();
    let (beside, topics, labels, text_labels) = (TextBatch::default(), Vec::new(), Vec::new(), Vec::new());
    PairBatch { len, size, images, sentences, texts, beside, topics, classes: 0, labels, text_labels, studies }
}

/// The objective of the paper on a model of images of 32 by 32 pixels.
pub(crate) fn convirt(model: DualEncoder, loss: &InfoNceConfig) -> ConVirt {
    let config = ConVirtConfig { temperature: loss.temperature, lambda: loss.lambda, ..ConVirtConfig::default() };
    // Images as they are: mean 0, deviation 1, one channel.
    let preprocess = Preprocess { image_size: 32, source_size: 32, mean: vec![0.0], std: vec![1.0], framing: None };
    ConVirt::new(model, config, None, preprocess)
}

/// A context of a step.
pub(crate) fn at(step: u64) -> Context {
    Context { step, epoch: 0, total_steps: 100, seed: 3 }
}

/// An optimizer with `PyTorch`'s defaults.
pub(crate) fn optim(kind: OptimizerKind, lr: f64, weight_decay: f32, clip_norm: Option<f64>) -> OptimConfig {
    let schedule = Schedule::Constant;
    let (betas, eps) = ([0.9, 0.999], 1e-8);
    OptimConfig { kind, lr, betas, eps, weight_decay, decay_matrices_only: false, clip_norm, schedule }
}

/// A loop around an optimizer.
pub(crate) fn fit_config(optim: OptimConfig) -> FitConfig {
    FitConfig {
        seed: at(0).seed,
        steps: 100,
        micro_batch_size: None,
        optim,
        eval_every: 0,
        early_stop: None,
        save_every: 0,
    }
}

/// A scalar on the host.
pub(crate) fn number(tensor: Tensor<1>) -> f32 {
    tensor.into_scalar()
}

/// A scalar as the goldens store it.
pub(crate) fn scalar(value: f32) -> HostTensor {
    HostTensor { shape: Vec::new(), data: vec![value] }
}

/// A tensor on the host.
pub(crate) fn host<const D: usize>(tensor: Tensor<D>) -> HostTensor {
    HostTensor { shape: tensor.dims().to_vec(), data: tensor.into_data().iter::<f32>().collect() }
}

/// Puts gradients in the place of values, and NaN where there is none.
struct IntoGradients(GradientsParams);

impl ModuleMapper for IntoGradients {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let gradient = self.0.remove::<D>(param.id);
        param.map(|value| gradient.unwrap_or_else(|| value.full_like(f32::NAN)))
    }
}

/// Gradients under the public names of a module's parameters; those without a gradient are absent.
pub(crate) fn by_name<M: Module>(grads: GradientsParams, module: &M) -> TensorMap {
    // The copy for inference shares no running statistics with the module, as a clone would.
    let mut tensors = weights::collect(&module.valid().map(&mut IntoGradients(grads)));
    tensors.retain(|_, tensor| !tensor.data.iter().all(|v| v.is_nan()));
    tensors
}

fn largest(tensor: &HostTensor) -> f32 {
    tensor.data.iter().fold(0.0, |max, v| v.abs().max(max))
}

/// Largest difference as a part of `scale`; NaN counts as infinite.
fn error(actual: &HostTensor, expected: &HostTensor, scale: f32) -> f32 {
    let differences = actual.data.iter().zip(&expected.data).map(|(a, e)| (a - e).abs() / scale);
    differences.fold(0.0, |max, d| if d.is_nan() { f32::INFINITY } else { d.max(max) })
}

/// How far apart two maps are at worst, in units that `scale` gives for each pair, and where. Names and shapes must agree.
pub(crate) fn distance(
    what: &str,
    actual: &TensorMap,
    expected: &TensorMap,
    scale: impl Fn(&HostTensor) -> f32,
) -> (f32, String) {
    let names = |map: &TensorMap| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(actual), names(expected), "{what}: other names than expected");
    let mut worst = (0.0, String::new());
    for (name, expected) in expected {
        let actual = &actual[name];
        assert_eq!(actual.shape, expected.shape, "{what}: shape of {name}");
        let error = error(actual, expected, scale(expected));
        if error >= worst.0 {
            worst = (error, name.clone());
        }
    }
    worst
}

/// Asserts that both maps hold the same names and shapes, and that no element differs by more than `tolerance` times
/// the largest magnitude of its tensor.
///
/// A gradient that is zero by theory (a key's bias: softmax ignores it) is rounding noise on both sides; it is compared
/// on the scale of the largest tensor of the map.
pub(crate) fn assert_all_close(what: &str, actual: &TensorMap, expected: &TensorMap, tolerance: f32) {
    let overall = expected.values().map(largest).fold(f32::MIN_POSITIVE, f32::max);
    let scale = |tensor: &HostTensor| if largest(tensor) > 1e-9 * overall { largest(tensor) } else { overall };
    let (worst, name) = distance(what, actual, expected, scale);
    println!("{what}: largest error {worst:.1e} at {name} (tolerance {tolerance:.0e})");
    assert!(worst <= tolerance, "{what}: {name} differs by {worst:e} of its size, more than {tolerance:e}");
}

/// Asserts that two numbers differ by no more than `tolerance` times the expected one.
pub(crate) fn assert_near(what: &str, actual: f32, expected: f32, tolerance: f32) {
    let map = |value| TensorMap::from([(what.to_owned(), scalar(value))]);
    assert_all_close(what, &map(actual), &map(expected), tolerance);
}
