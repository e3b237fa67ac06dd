//! Where a command computes and how it shows progress.

use std::path::PathBuf;

use clap::Args;
use engine::device::DeviceSpec;
use engine::interrupt::Interrupts;
use engine::progress::Ui;

use crate::error::Result;
use crate::metric::Bootstrap;
use crate::tasks::Tools;

#[derive(Debug, Args)]
pub(super) struct Compute {
    /// Images or texts encoded at once; changes speed and memory, not figures.
    #[arg(long, default_value_t = 32)]
    batch_size: usize,
    /// auto, cpu, cuda[:n], wgpu[:n], vulkan[:n] or ndarray, among those compiled in; cpu-plain is the CPU without fused operations.
    #[arg(long, default_value = "auto", env = "ROENTGEN_DEVICE")]
    device: String,
    /// auto, plain or bars.
    #[arg(long, default_value = "auto")]
    ui: Ui,
}

impl Compute {
    /// The device as it was named.
    pub(super) fn device(&self) -> &str {
        &self.device
    }

    /// Style of progress.
    pub(super) fn ui(&self) -> Ui {
        self.ui
    }

    /// The tools of a task that needs no cut-offs, with the usual intervals.
    pub(super) fn tools(&self) -> Result<Tools> {
        let (device, _) = self.device.parse::<DeviceSpec>()?.open()?;
        Ok(Tools {
            device,
            ui: self.ui,
            batch_size: self.batch_size.max(1),
            ks: Vec::new(),
            bootstrap: Bootstrap::default(),
            cache_bytes: 0,
            kept_rows: None,
            // Nothing is written before the end: a signal may end the program as it is.
            interrupts: Interrupts::default(),
        })
    }
}

/// Where rows of images are kept, for tasks that look at many.
#[derive(Debug, Args)]
pub(super) struct Keep {
    /// Folder in which what the network gives images is kept: a command that was stopped goes on, and one that asks the same
    /// network for the same of these images computes nothing again. It grows with every new image and network; it may be
    /// deleted.
    #[arg(long)]
    keep: Option<PathBuf>,
}

impl Keep {
    /// The tools with the folder.
    pub(super) fn tools(&self, tools: Tools) -> Tools {
        Tools { kept_rows: self.keep.clone(), ..tools }
    }
}
