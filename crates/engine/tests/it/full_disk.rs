//! A disk that fails at any write, sync or rename of a save: what was saved before can be loaded.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use engine::device::DeviceSpec;
use engine::optim::{OptimConfig, OptimizerKind, Schedule, number_parameters};
use engine::state::{StateStore, TrainState};

const POINTS: [&str; 5] = ["fsx-create", "fsx-write", "fsx-sync", "fsx-rename", "fsx-sync-dir"];

fn optim() -> OptimConfig {
    OptimConfig {
        kind: OptimizerKind::Adam,
        lr: 0.1,
        betas: [0.9, 0.999],
        eps: 1e-8,
        weight_decay: 0.0,
        decay_matrices_only: false,
        clip_norm: None,
        schedule: Schedule::Constant,
    }
}

/// A layer and its optimizer after some updates.
fn trained(updates: u64, device: &Device) -> (Linear, ModuleOptimizer) {
    let mut layer = number_parameters(LinearConfig::new(3, 2).init(device));
    let mut optimizer = optim().init(&layer);
    for _ in 0..updates {
        let loss = layer.forward(Tensor::<2>::ones([4, 3], device)).square().sum();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        layer = optimizer.step(0.1, layer, grads);
    }
    (layer, optimizer)
}

fn bytes(layer: &Linear) -> Vec<f32> {
    layer.valid().weight.val().into_data().iter::<f32>().collect()
}

/// The step of the newest state, after a check that it is whole and can be restored.
fn newest(store: &StateStore, device: &Device) -> u64 {
    let Some(saved) = store.newest().unwrap() else { panic!("no state is left") };
    let fresh = LinearConfig::new(3, 2).init(device);
    let (_, _, state) = saved.restore(fresh, &optim()).unwrap();
    state.step
}

fn hidden(folder: &Path) -> usize {
    let names = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.as_encoded_bytes().starts_with(b".")).count()
}

#[test]
fn a_failure_at_any_point_of_a_save_leaves_a_whole_state() {
    let scenario = fail::FailScenario::setup();
    let device = "cpu".parse::<DeviceSpec>().unwrap().open().unwrap().0.autodiff();
    let (layer, optimizer) = trained(2, &device);
    let at = |step| TrainState { step, ..TrainState::default() };
    let mut failures = 0;
    for point in POINTS {
        for call in 0.. {
            let folder = tempfile::tempdir().unwrap();
            let store = StateStore::new(folder.path());
            store.save(&layer, &optimizer, &at(1)).unwrap();
            // The call of this number fails, those before and after it do not.
            fail::cfg(point, &format!("{call}*off->1*return->off")).unwrap();
            let saved = store.save(&layer, &optimizer, &at(2));
            fail::remove(point);
            let step = newest(&store, &device);
            let Err(error) = saved else {
                assert_eq!(step, 2, "{point}, call {call}: not saved");
                assert!(call > 0, "{point} is never reached");
                break;
            };
            failures += 1;
            assert_eq!(error.exit_code(), 4, "{point}, call {call}: {error}");
            // Only the last sync comes after the state took its name.
            assert!(step == 1 || point == "fsx-sync-dir", "{point}, call {call}: step {step}");
            // The next attempt works, and the next start of the run tidies up.
            store.save(&layer, &optimizer, &at(3)).unwrap();
            store.clean().unwrap();
            assert_eq!((newest(&store, &device), hidden(folder.path())), (3, 0), "{point}, call {call}");
        }
    }
    assert!(failures >= 20, "only {failures} points were tried");
    scenario.teardown();
}

#[test]
fn what_is_restored_is_what_was_saved() {
    let device = "cpu".parse::<DeviceSpec>().unwrap().open().unwrap().0.autodiff();
    let folder = tempfile::tempdir().unwrap();
    let store = StateStore::new(folder.path());
    let (layer, optimizer) = trained(3, &device);
    // Waits for the other test, which switches failpoints for the whole process.
    let scenario = fail::FailScenario::setup();
    let state = TrainState { step: 3, skipped: vec![1], data_sha256: "ab".to_owned(), ..TrainState::default() };
    store.save(&layer, &optimizer, &state).unwrap();
    let saved = store.newest().unwrap().unwrap();
    let fresh = LinearConfig::new(3, 2).init(&device);
    let (restored, mut restored_optimizer, read) = saved.restore(fresh, &optim()).unwrap();
    assert_eq!((read.step, read.skipped, read.data_sha256.as_str()), (3, vec![1], "ab"));
    assert_eq!(bytes(&restored), bytes(&layer));
    // The next update needs the moments.
    let step = |layer: Linear, optimizer: &mut ModuleOptimizer| {
        let loss = layer.forward(Tensor::<2>::ones([4, 3], &device)).square().sum();
        let grads = GradientsParams::from_grads(loss.backward(), &layer);
        bytes(&optimizer.step(0.1, layer, grads))
    };
    let mut optimizer = optimizer;
    let expected = step(layer, &mut optimizer);
    assert_eq!(step(restored.clone(), &mut restored_optimizer), expected);
    assert_ne!(step(restored, &mut optim().init(&trained(0, &device).0)), expected, "moments make no difference");
    scenario.teardown();
}
