//! A hundred updates on the device under test beside the same on the CPU.

use std::ops::ControlFlow;

use burn::tensor::Device;

use crate::device::{device, name, on_cpu};
use crate::phantoms::Phantoms;
use crate::train_goldens::support::generator;

const STEPS: u64 = 100;
const LR: f64 = 3e-4;
/// Studies per batch, and batches that are shown in turn.
const BATCH_SIZE: usize = 8;
const BATCHES: usize = 32;
/// Largest relative difference of a loss.
const TOLERANCE: f64 = 1e-3;

fn losses(phantoms: &Phantoms, device: &Device, lr: f64) -> Vec<f64> {
    let mut losses = Vec::new();
    phantoms.train(device, STEPS, lr, |loss| {
        losses.push(loss);
        ControlFlow::Continue(())
    });
    losses
}

/// Largest relative difference and the step where it is.
fn distance(found: &[f64], expected: &[f64]) -> (f64, usize) {
    assert_eq!(found.len(), expected.len());
    let differences = found.iter().zip(expected).map(|(found, expected)| (found - expected).abs() / expected.abs());
    differences.zip(0..).fold((0.0, 0), |worst, this| if this.0 > worst.0 { this } else { worst })
}

#[test]
fn a_hundred_updates_follow_those_on_the_cpu() {
    let _lock = generator();
    let (batch_size, train) =
        (format!("data.batch_size={BATCH_SIZE}"), format!("data.source.train={}", BATCH_SIZE * BATCHES));
    let settings = [
        batch_size.as_str(),
        train.as_str(),
        "data.image_size=32",
        "data.source_size=36",
        "data.source.validate=8",
        "data.source.test=8",
        "data.source.probe=8",
        "model.embed_dim=16",
        "model.image.width=4",
        "model.text.hidden_size=16",
        "model.text.num_heads=2",
        "model.text.intermediate_size=32",
        "model.text.dropout=0.0",
        // Statistics of eight vectors multiply rounding errors: with them this run leaves the tolerance by rounding alone.
        "model.projection.batch_norm=false",
    ];
    let phantoms = Phantoms::new(&settings, BATCHES as u64);
    let cpu = Device::flex();
    let expected = losses(&phantoms, &cpu, LR);
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len() as f64;
    let (first, last) = (mean(&expected[..BATCHES]), mean(&expected[expected.len() - BATCHES..]));
    println!("cpu: the loss falls from {first:.3} to {last:.3}");
    assert!(last < 0.9 * first, "nothing is learned that could differ: {first} to {last}");

    let found = losses(&phantoms, &device(), LR);
    let (worst, step) = distance(&found, &expected);
    let (first, _) = distance(&found[..10], &expected[..10]);
    println!("{}: within {first:.1e} of the CPU for 10 updates, {worst:.1e} for {STEPS} (at {step})", name());
    // On the same device the order of every sum is the same.
    let tolerance = if name() == "cpu" { 0.0 } else { TOLERANCE };
    assert!(worst <= tolerance, "{}: off by {worst} at {step}: {found:?}, {expected:?}", name());

    if on_cpu() {
        // What the tolerance can tell apart: rounding stays inside, a small mistake does not.
        let (control, _) = distance(&losses(&phantoms, &cpu, 1.01 * LR), &expected);
        let (rounding, _) = distance(&losses(&phantoms.nudged(), &cpu, LR), &expected);
        println!(
            "cpu: other rounding misses by {rounding:.1e}, a learning rate that is 1 % too large by {control:.1e}"
        );
        assert!(rounding < TOLERANCE, "the run multiplies rounding errors: {rounding}");
        assert!(control > 10.0 * TOLERANCE, "a wrong learning rate passes: {control}");
    }
}
