//! Devices by name, chosen at run time: the only file that knows which backends are compiled in.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::str::FromStr;

use burn::tensor::{Device, Int, Tensor};

use crate::error::{DeviceProblem, EngineError, Result};

/// A kind of device, in the order in which `auto` tries them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Cuda,
    Vulkan,
    Wgpu,
    Cpu,
    NdArray,
    /// The CPU without the bodies that [`model::ops`] has for it: only where it is asked for, to compare.
    CpuPlain,
}

/// Those that are offered, and then those that are not.
const KINDS: [Kind; 6] = [Kind::Cuda, Kind::Vulkan, Kind::Wgpu, Kind::Cpu, Kind::NdArray, Kind::CpuPlain];

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Cuda => "cuda",
            Self::Vulkan => "vulkan",
            Self::Wgpu => "wgpu",
            Self::Cpu => "cpu",
            Self::NdArray => "ndarray",
            Self::CpuPlain => "cpu-plain",
        }
    }

    /// The cargo feature that brings it.
    fn feature(self) -> &'static str {
        if matches!(self, Self::Cpu | Self::CpuPlain) { "flex" } else { self.name() }
    }

    /// Whether `auto` may take it and messages name it.
    fn is_offered(self) -> bool {
        self.is_compiled() && self != Self::CpuPlain
    }

    fn is_compiled(self) -> bool {
        match self {
            Self::Cuda => cfg!(feature = "cuda"),
            Self::Vulkan => cfg!(feature = "vulkan"),
            Self::Wgpu => cfg!(feature = "wgpu"),
            Self::Cpu | Self::CpuPlain => cfg!(feature = "flex"),
            Self::NdArray => cfg!(feature = "ndarray"),
        }
    }

    /// The device without touching its driver; `None` where the backend is not compiled in.
    #[cfg_attr(
        not(any(feature = "cuda", feature = "vulkan", feature = "wgpu")),
        expect(unused_variables, reason = "only cards have an index")
    )]
    fn device(self, index: Option<usize>) -> Option<Device> {
        match self {
            #[cfg(feature = "cuda")]
            Self::Cuda => Some(Device::cuda(index.unwrap_or(0))),
            #[cfg(feature = "vulkan")]
            Self::Vulkan => Some(Device::vulkan(adapter(index))),
            #[cfg(feature = "wgpu")]
            Self::Wgpu => Some(Device::wgpu(adapter(index))),
            #[cfg(feature = "flex")]
            Self::Cpu | Self::CpuPlain => Some(Device::flex()),
            #[cfg(feature = "ndarray")]
            Self::NdArray => Some(Device::ndarray()),
            #[cfg_attr(
                all(feature = "cuda", feature = "vulkan", feature = "wgpu", feature = "flex", feature = "ndarray"),
                expect(unreachable_patterns, reason = "every backend is compiled in")
            )]
            _ => None,
        }
    }
}

#[cfg(any(feature = "vulkan", feature = "wgpu"))]
fn adapter(index: Option<usize>) -> burn::tensor::DeviceKind {
    use burn::tensor::DeviceKind;
    index.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu)
}

/// What a user writes after `--device`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DeviceSpec {
    /// The first that works of cuda, vulkan, wgpu, cpu, ndarray.
    #[default]
    Auto,
    /// A certain device.
    #[expect(private_interfaces, reason = "kinds are reached by their names alone")]
    Named {
        /// Its kind.
        kind: Kind,
        /// Its number, where one was written.
        index: Option<usize>,
    },
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Named { kind, index: None } => f.write_str(kind.name()),
            Self::Named { kind, index: Some(index) } => write!(f, "{}:{index}", kind.name()),
        }
    }
}

impl FromStr for DeviceSpec {
    type Err = EngineError;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || problem(text, DeviceProblem::UnknownName);
        if text == "auto" {
            return Ok(Self::Auto);
        }
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index.parse().map_err(|_| unknown())?)),
            None => (text, None),
        };
        let kind = KINDS.into_iter().find(|kind| kind.name() == name).ok_or_else(unknown)?;
        if index.is_some() && matches!(kind, Kind::Cpu | Kind::CpuPlain | Kind::NdArray) {
            return Err(unknown());
        }
        Ok(Self::Named { kind, index })
    }
}

/// Names of the backends compiled into this program, in the order in which `auto` tries them.
pub fn compiled() -> Vec<&'static str> {
    KINDS.into_iter().filter(|kind| kind.is_offered()).map(Kind::name).collect()
}

fn problem(requested: &str, why: DeviceProblem) -> EngineError {
    let available = compiled().into_iter().map(str::to_owned).collect();
    EngineError::Device { requested: requested.to_owned(), available, why }
}

impl DeviceSpec {
    /// Opens the device and runs one small operation on it.
    ///
    /// Returns the device and its name (`auto` becomes what was found).
    ///
    /// # Errors
    /// [`EngineError::Device`], one sentence, where it is not compiled in, absent, without a driver or computes wrongly.
    pub fn open(self) -> Result<(Device, String)> {
        self.open_where(probe)
    }

    /// Opens a device on which `probe` gives [`PROBED`].
    fn open_where(self, probe: impl Fn(&Device) -> f32) -> Result<(Device, String)> {
        match self {
            Self::Named { kind, index } => {
                let device = open(kind, index, &probe).map_err(|why| problem(&self.to_string(), why))?;
                Ok((device, self.to_string()))
            }
            Self::Auto => {
                let mut last = DeviceProblem::NotCompiled { feature: "flex" };
                for kind in KINDS.into_iter().filter(|kind| kind.is_offered()) {
                    match open(kind, None, &probe) {
                        Ok(device) => return Ok((device, kind.name().to_owned())),
                        Err(why) => last = why,
                    }
                }
                Err(problem("auto", last))
            }
        }
    }
}

/// The device after a probe: drivers are loaded lazily and a missing one panics at the first operation.
fn open(kind: Kind, index: Option<usize>, probe: &impl Fn(&Device) -> f32) -> Result<Device, DeviceProblem> {
    let Some(device) = kind.device(index) else {
        return Err(DeviceProblem::NotCompiled { feature: kind.feature() });
    };
    if kind == Kind::CpuPlain {
        model::ops::set_fused(false);
    }
    let found = quietly(|| probe(&device)).map_err(|reason| DeviceProblem::Driver { reason })?;
    // Small whole numbers: exact in single precision, in any order.
    if found == PROBED {
        Ok(device)
    } else {
        Err(DeviceProblem::Wrong { reason: format!("a product of matrices sums to {found}, not to {PROBED}") })
    }
}

/// The sum of the product of a matrix of the numbers 0 to 63 with itself.
const PROBED: f32 = 529_536.0;

/// A product goes through memory that threads share, which some drivers leave out without an error (`docs/upstream.md`).
fn probe(device: &Device) -> f32 {
    let rows = Tensor::<1, Int>::arange(0..64, device).float().reshape([8, 8]);
    rows.clone().matmul(rows).sum().into_scalar()
}

/// Runs something that may panic, on any thread, without printing the panic; the message is the error.
fn quietly<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    use std::sync::{Arc, Mutex, PoisonError};
    let first = Arc::new(Mutex::new(None::<String>));
    let seen = Arc::clone(&first);
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload_as_str().unwrap_or("panic without a message");
        let line = text.lines().next().unwrap_or(text).to_owned();
        seen.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(line);
    }));
    let outcome = catch_unwind(AssertUnwindSafe(body));
    std::panic::set_hook(hook);
    outcome.map_err(|_| {
        let message = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        message.unwrap_or_else(|| "the backend gave no reason".to_owned())
    })
}

/// What the driver of a card calls it; `None` on a processor.
#[cfg(any(feature = "cuda", feature = "vulkan", feature = "wgpu"))]
pub fn model(device: &Device) -> Option<String> {
    device.identity().map(|identity| identity.name)
}

/// What the driver of a card calls it; `None` on a processor.
#[cfg(not(any(feature = "cuda", feature = "vulkan", feature = "wgpu")))]
pub fn model(_: &Device) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed_and_printed() {
        for name in ["auto", "cpu", "cuda", "cuda:1", "wgpu:0", "vulkan", "ndarray"] {
            assert_eq!(name.parse::<DeviceSpec>().unwrap().to_string(), name);
        }
        for name in ["gpu", "cuda:x", "cpu:0", "", "cuda:-1"] {
            assert!(name.parse::<DeviceSpec>().is_err(), "{name}");
        }
    }

    #[test]
    fn a_device_that_is_not_compiled_in_says_what_is() {
        for kind in KINDS.into_iter().filter(|kind| !kind.is_compiled()) {
            let error = DeviceSpec::Named { kind, index: None }.open().unwrap_err().to_string();
            assert!(error.contains("not compiled in") && error.contains(kind.feature()), "{error}");
            assert!(compiled().iter().all(|name| error.contains(name)), "{error}");
        }
    }

    #[test]
    #[cfg(feature = "flex")]
    fn the_probe_multiplies_matrices() {
        let rows: Vec<Vec<f64>> = (0..8).map(|i| (0..8).map(|j| f64::from(8 * i + j)).collect()).collect();
        let product = |i: usize, j: usize| (0..8).map(|k| rows[i][k] * rows[k][j]).sum::<f64>();
        let sum: f64 = (0..64).map(|n| product(n / 8, n % 8)).sum();
        assert!((sum - f64::from(PROBED)).abs() < 0.5, "{sum}");
        assert!(quietly(|| probe(&Device::flex())).is_ok_and(|found| found == PROBED));
    }

    #[test]
    #[cfg(feature = "flex")]
    fn a_device_that_computes_wrongly_is_refused() {
        let cpu = DeviceSpec::Named { kind: Kind::Cpu, index: None };
        // Memory that threads share and that was left out: products are zero. Others: one product of eight is missing, no
        // number at all, and the smallest error that single precision can tell.
        for found in [0.0, PROBED - 63.0 * 63.0, f32::NAN, f32::INFINITY, PROBED.next_up(), -PROBED] {
            for spec in [cpu, DeviceSpec::Auto] {
                let error = spec.open_where(|_| found).unwrap_err();
                let reason = format!("a product of matrices sums to {found}, not to 529536");
                let told = format!(
                    "device \"{spec}\" computes wrongly ({reason}): update its driver, or take wgpu in a build without \
                     vulkan; available here: {}",
                    compiled().join(", ")
                );
                assert_eq!(error.to_string(), told);
                let EngineError::Device { why, .. } = error else { panic!("{error}") };
                assert_eq!(why, DeviceProblem::Wrong { reason });
            }
        }
        // A probe that leaves the product out is wrong on a device that is right.
        assert!(cpu.open_where(|device| Tensor::<1, Int>::arange(0..64, device).float().sum().into_scalar()).is_err());
        assert_eq!(cpu.open_where(|_| PROBED).unwrap().1, "cpu");
        assert_eq!(cpu.open().unwrap().1, "cpu");
    }

    #[test]
    fn a_panic_of_a_driver_becomes_its_first_line() {
        let error = quietly(|| panic!("no driver\nand more")).map(|()| 0).unwrap_err();
        assert_eq!(error, "no driver");
    }
}
