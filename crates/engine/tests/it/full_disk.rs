//! A disk that fails at any write, sync or rename of a save: what was saved before can be loaded.

use std::path::Path;

use burn::module::Module;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{GradientsParams, ModuleOptimizer};
use burn::tensor::{Device, Tensor};
use engine::device::DeviceSpec;
use engine::optim::{OptimConfig, OptimizerKind, Schedule, number_parameters};
use engine::state::store::StateStore;
use engine::state::writer::StateWriter;
use engine::state::{Origin, Snapshot, TrainState};

const POINTS: [&str; 6] = ["fsx-create", "fsx-write", "fsx-broken", "fsx-sync", "fsx-rename", "fsx-sync-dir"];

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

fn saved_names(folder: &Path) -> Vec<String> {
    std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
}

fn hidden(folder: &Path) -> usize {
    saved_names(folder).iter().filter(|name| name.starts_with('.')).count()
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
            let store = StateStore::new(folder.path(), 0);
            store.save(Snapshot::take(&layer, &optimizer, &at(1))).unwrap();
            // The call of this number fails, those before and after it do not.
            fail::cfg(point, &format!("{call}*off->1*return->off")).unwrap();
            let saved = store.save(Snapshot::take(&layer, &optimizer, &at(2)));
            fail::remove(point);
            let step = newest(&store, &device);
            let Err(error) = saved else {
                assert_eq!(step, 2, "{point}, call {call}: not saved");
                assert!(call > 0, "{point} is never reached");
                break;
            };
            failures += 1;
            assert_eq!(error.exit_code(), 4, "{point}, call {call}: {error}");
            // What comes after the state took its name is a sync and the file that names the newest.
            let renamed = saved_names(folder.path()).contains(&"step-00000002".to_owned());
            assert_eq!(step, if renamed { 2 } else { 1 }, "{point}, call {call}");
            // The next attempt works, and the next start of the run tidies up.
            store.save(Snapshot::take(&layer, &optimizer, &at(3))).unwrap();
            store.clean(3).unwrap();
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
    let store = StateStore::new(folder.path(), 0);
    let (layer, optimizer) = trained(3, &device);
    // Waits for the other test, which switches failpoints for the whole process.
    let scenario = fail::FailScenario::setup();
    let origin = Origin { data_sha256: "ab".to_owned(), ..Origin::default() };
    let state = TrainState { step: 3, skipped: vec![1], origin, ..TrainState::default() };
    store.save(Snapshot::take(&layer, &optimizer, &state)).unwrap();
    let saved = store.newest().unwrap().unwrap();
    let fresh = LinearConfig::new(3, 2).init(&device);
    let (restored, mut restored_optimizer, read) = saved.restore(fresh, &optim()).unwrap();
    assert_eq!(read, state);
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

#[test]
fn a_writer_gives_up_at_the_third_failure_in_a_row() {
    let scenario = fail::FailScenario::setup();
    let device = "cpu".parse::<DeviceSpec>().unwrap().open().unwrap().0.autodiff();
    let (layer, optimizer) = trained(1, &device);
    let folder = tempfile::tempdir().unwrap();
    let store = StateStore::new(folder.path(), 0);
    let mut writer = StateWriter::new(store.clone());
    let snapshot = |step| Snapshot::take(&layer, &optimizer, &TrainState { step, ..TrainState::default() });
    writer.save(snapshot(1)).unwrap();
    writer.finish().unwrap();
    // A success between failures starts the count again.
    for step in 2..8 {
        let action = if step == 4 { "off" } else { "return" };
        fail::cfg("fsx-write", action).unwrap();
        let saved = writer.save(snapshot(step));
        assert_eq!(saved.is_err(), step > 7, "step {step}");
        // Whether the failpoint is on is asked on the thread of the writer.
        while writer.is_busy() {
            std::thread::yield_now();
        }
    }
    let error = writer.save(snapshot(8)).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    fail::remove("fsx-write");
    assert_eq!(newest(&store, &device), 4);
    // The last one must be written.
    fail::cfg("fsx-rename", "return").unwrap();
    let mut writer = StateWriter::new(store.clone());
    writer.save(snapshot(9)).unwrap();
    assert_eq!(writer.finish().unwrap_err().exit_code(), 4);
    fail::remove("fsx-rename");
    scenario.teardown();
}

#[test]
fn marked_states_are_kept_and_the_newest_is_named() {
    let scenario = fail::FailScenario::setup();
    let device = "cpu".parse::<DeviceSpec>().unwrap().open().unwrap().0.autodiff();
    let (layer, optimizer) = trained(1, &device);
    let folder = tempfile::tempdir().unwrap();
    let store = StateStore::new(folder.path(), 4);
    for step in 1..=9 {
        store.save(Snapshot::take(&layer, &optimizer, &TrainState { step, ..TrainState::default() })).unwrap();
    }
    let mut names = saved_names(folder.path());
    names.sort();
    assert_eq!(names, ["latest", "step-00000004", "step-00000008", "step-00000009"]);
    assert_eq!(std::fs::read_to_string(folder.path().join("latest")).unwrap(), "step-00000009\n");
    scenario.teardown();
}

#[test]
fn a_run_that_cannot_be_saved_is_refused_at_its_start() {
    let folder = tempfile::tempdir().unwrap();
    let store = StateStore::new(folder.path(), 0);
    store.check_space(1 << 10).unwrap();
    let error = store.check_space(1 << 60).unwrap_err();
    assert_eq!(error.exit_code(), 4);
    assert!(error.to_string().contains("MiB are free") && error.to_string().contains("make room"), "{error}");
}
