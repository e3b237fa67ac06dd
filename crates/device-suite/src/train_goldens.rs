//! Losses, optimizer steps and trajectories against torch: the golden tests of `train` on the device under test.

#[cfg_attr(
    not(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "ndarray")),
    expect(dead_code, reason = "a build for the CPU alone takes the device and the lock from it")
)]
#[path = "../../train/tests/it/support.rs"]
pub(crate) mod support;

#[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "ndarray"))]
#[path = "../../train/tests/it/info_nce.rs"]
mod info_nce;
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "ndarray"))]
#[path = "../../train/tests/it/step.rs"]
mod step;
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "ndarray"))]
#[path = "../../train/tests/it/topic_error.rs"]
mod topic_error;
#[cfg(any(feature = "cuda", feature = "wgpu", feature = "vulkan", feature = "ndarray"))]
#[path = "../../train/tests/it/trajectory.rs"]
mod trajectory;
