//! Images per second of the step that `cargo run --release -p train` takes.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use crate::device::{device, name};
use crate::phantoms::Phantoms;
use crate::train_goldens::support::generator;

const BATCH_SIZES: [usize; 4] = [16, 48, 128, 384];
/// Updates before the clock starts: kernels are compiled and memory is taken.
const WARM: usize = 2;
/// Updates that are timed at most.
const TIMED: usize = 20;
/// No update is begun after this time, nor a larger batch where one update takes a quarter of it.
const PATIENCE: Duration = Duration::from_secs(4);

/// Seconds of one update.
fn seconds(phantoms: &Phantoms) -> f64 {
    let mut read = Vec::new();
    phantoms.train(&device(), (WARM + TIMED + 1) as u64, 1e-3, |loss| {
        assert!(loss.is_finite());
        // A loss is read after the update before it and before its own: two readings are one update apart.
        read.push(Instant::now());
        let enough = read.len() > WARM + 1 && read[WARM].elapsed() > PATIENCE;
        if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let updates = read.len() - 1 - WARM;
    (read[WARM + updates] - read[WARM]).as_secs_f64() / updates as f64
}

#[test]
fn images_per_second_of_the_default_step() {
    let _lock = generator();
    for size in BATCH_SIZES {
        let batch_size = format!("data.batch_size={size}");
        let train = format!("data.source.train={size}");
        let small = ["data.source.validate=8", "data.source.test=8", "data.source.probe=8"];
        let phantoms = Phantoms::new(&[&[batch_size.as_str(), train.as_str()], &small[..]].concat(), 1);
        let seconds = seconds(&phantoms);
        println!("throughput: {}, batch {size}: {:.1} images/s", name(), size as f64 / seconds);
        if seconds > PATIENCE.as_secs_f64() / 4.0 {
            break;
        }
    }
}
