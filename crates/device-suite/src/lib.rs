//! What a device has to pass before it may train: tests in one program that needs no file, so that it can be copied to the
//! machine that has the device.
//!
//! `ROENTGEN_DEVICE` names the device (`cuda`, `vulkan:1`, ...), as for every program here; without it the first that works
//! is taken. There are the goldens of `model` and `train`, within 1e-3 of torch's double precision on a graphics card; a
//! hundred updates beside the CPU; and images per second. `CONTRIBUTING.md` has the commands.

#[cfg(test)]
mod device;
#[cfg(test)]
mod model_goldens;
#[cfg(test)]
mod phantoms;
#[cfg(test)]
mod throughput;
#[cfg(test)]
mod train_goldens;
#[cfg(test)]
mod training;
