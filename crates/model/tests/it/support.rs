//! Goldens, gradients by public name, and comparison.

use std::path::Path;

use burn::module::{Module, ModuleMapper, Param};
use burn::optim::GradientsParams;
use burn::tensor::{Bool, Device, Gradients, Int, Tensor, TensorData};
use model::weights::{self, HostTensor, TensorMap, WeightsFile};

pub(crate) use super::device::{device, on_cpu};

/// Tolerance of operations, heads and losses (`MODULE`) and of whole encoders (`STACK`), relative to the largest
/// magnitude of the tensor compared.
///
/// Goldens are computed in double precision, so the error is that of our single precision: an element of a short sum
/// is wrong by a few units of 6e-8; twenty normalised layers, forward and back, lose one more decimal at worst. A wrong
/// formula (tanh form of GELU, biased variance, padding that is seen) misses by 1e-3 and more: the exporters assert it.
pub(crate) const MODULE: f32 = 1e-5;
pub(crate) const STACK: f32 = 1e-4;

/// The tolerance of a graphics card, which sums in another order and has faster, less exact functions.
const CARD: f32 = 1e-3;

/// The goldens; they are part of the program so that it can be taken to another machine.
const FILES: [(&str, &[u8]); 14] = [
    ("bert", include_bytes!("golden/bert.safetensors")),
    ("bert_frozen", include_bytes!("golden/bert_frozen.safetensors")),
    ("classifier", include_bytes!("golden/classifier.safetensors")),
    ("cross_entropy", include_bytes!("golden/cross_entropy.safetensors")),
    ("dual_encoder", include_bytes!("golden/dual_encoder.safetensors")),
    ("heads", include_bytes!("golden/heads.safetensors")),
    ("mgca_words", include_bytes!("golden/mgca_words.safetensors")),
    ("resnet_basic", include_bytes!("golden/resnet_basic.safetensors")),
    ("resnet_bottleneck", include_bytes!("golden/resnet_bottleneck.safetensors")),
    ("resnet_local", include_bytes!("golden/resnet_local.safetensors")),
    ("swin", include_bytes!("golden/swin.safetensors")),
    ("towers", include_bytes!("golden/towers.safetensors")),
    ("vit", include_bytes!("golden/vit.safetensors")),
    ("vit_layer_scale", include_bytes!("golden/vit_layer_scale.safetensors")),
];

/// A golden file and tensors from it.
pub(crate) struct Golden(pub(crate) WeightsFile);

impl Golden {
    pub(crate) fn read(name: &str) -> Self {
        let (_, bytes) = FILES.iter().find(|(file, _)| *file == name).unwrap_or_else(|| panic!("no golden {name}"));
        Self(WeightsFile::parse(Path::new(name), bytes).unwrap())
    }

    pub(crate) fn under(&self, prefix: &str) -> TensorMap {
        self.0.under(prefix)
    }

    /// The same without torchvision's classifier and transformers' pooler, which no encoder here has.
    pub(crate) fn encoder_under(&self, prefix: &str) -> TensorMap {
        let mut tensors = self.under(prefix);
        tensors.retain(|name, _| !name.starts_with("fc.") && !name.starts_with("pooler."));
        tensors
    }

    pub(crate) fn host(&self, name: &str) -> &HostTensor {
        self.0.tensors.get(name).unwrap_or_else(|| panic!("the golden has no {name}"))
    }

    pub(crate) fn tensor<const D: usize>(&self, name: &str, device: &Device) -> Tensor<D> {
        let HostTensor { shape, data } = self.host(name).clone();
        Tensor::from_data(TensorData::new(data, shape), device)
    }

    /// Ids, which goldens store as floats.
    pub(crate) fn ids(&self, name: &str, device: &Device) -> Tensor<2, Int> {
        self.tensor::<2>(name, device).int()
    }

    /// `true` where a mask of true tokens is 0.
    pub(crate) fn padding(&self, name: &str, device: &Device) -> Tensor<2, Bool> {
        self.tensor::<2>(name, device).equal_scalar(0.0)
    }

    /// The module with the tensors under a prefix; all of them must fit.
    pub(crate) fn load<M: Module>(&self, module: M, prefix: &str) -> M {
        let wanted = weights::shapes(&module);
        let mut tensors = self.under(prefix);
        let encoder = self.encoder_under(prefix);
        tensors.retain(|name, _| wanted.contains_key(name) || encoder.contains_key(name));
        weights::apply(module, tensors, &self.0.path).unwrap()
    }
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

/// The gradients of a module under the public names of its parameters; those without a gradient are absent.
pub(crate) fn gradients<M: Module>(grads: Gradients, module: &M) -> TensorMap {
    let grads = GradientsParams::from_grads(grads, module);
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

/// Asserts that no element differs by more than `tolerance` times the largest magnitude expected.
///
/// The tolerance is that of a CPU; on a graphics card it is at least [`CARD`].
pub(crate) fn assert_close(what: &str, actual: &HostTensor, expected: &HostTensor, tolerance: f32) {
    let one = |tensor: &HostTensor| TensorMap::from([(what.to_owned(), tensor.clone())]);
    assert_all_close(what, &one(actual), &one(expected), tolerance);
}

/// Asserts that both maps hold the same names and shapes, and each pair of tensors as [`assert_close`] does.
///
/// A gradient that is zero by theory (a key's bias: softmax ignores it) is rounding noise on both sides; it is compared
/// on the scale of the largest tensor of the map.
pub(crate) fn assert_all_close(what: &str, actual: &TensorMap, expected: &TensorMap, tolerance: f32) {
    let names = |map: &TensorMap| map.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(actual), names(expected), "{what}: other names than expected");
    let tolerance = if on_cpu() { tolerance } else { tolerance.max(CARD) };
    let overall = expected.values().map(largest).fold(f32::MIN_POSITIVE, f32::max);
    let mut worst = (0.0, String::new());
    for (name, expected) in expected {
        let actual = &actual[name];
        assert_eq!(actual.shape, expected.shape, "{what}: shape of {name}");
        let own = largest(expected);
        let error = error(actual, expected, if own > 1e-9 * overall { own } else { overall });
        if error >= worst.0 {
            worst = (error, name.clone());
        }
    }
    println!("{what}: largest error {:.1e} at {} (tolerance {tolerance:.0e})", worst.0, worst.1);
    assert!(worst.0 <= tolerance, "{what}: {} differs by {:e} of its size, more than {tolerance:e}", worst.1, worst.0);
}

/// Names and shapes of tensors.
pub(crate) fn shapes(tensors: &TensorMap) -> Vec<(String, Vec<usize>)> {
    tensors.iter().map(|(name, tensor)| (name.clone(), tensor.shape.clone())).collect()
}
