//! Linear probes of made-up features: what is in them is found whatever their scale, and what is not there is not.

use burn::tensor::Device;
use data::demographics::Demographics;
use data::record::{Dataset, Phi, Split, Study};
use data::rng::Stream;
use engine::device::DeviceSpec;
use eval::linear_probe::{ProbeConfig, ProbeSet, probe_scores};
use eval::metric::auroc;

const WIDTH: usize = 16;

/// Made-up images: a label and features for each.
struct Part {
    dataset: Dataset,
    images: Vec<(usize, usize)>,
    features: Vec<f32>,
}

impl Part {
    /// `signal` is how much, in deviations, the first feature of positive images exceeds that of negative ones.
    #[expect(clippy::cast_possible_truncation, reason = "a few deviations")]
    fn new(random: &mut Stream, count: usize, signal: f64) -> Self {
        let mut features = Vec::new();
        let studies = (0..count).map(|row| {
            let label = random.chance(0.5);
            let shift = |column| if column == 0 && label { signal } else { 0.0 };
            features.extend((0..WIDTH).map(|column| (random.normal() + shift(column)) as f32));
            Study {
                patient_id: Phi::new(format!("p{row}")),
                study_id: Phi::new(format!("s{row}")),
                images: Vec::new(),
                sentences: Vec::new(),
                labels: vec![Some(label)],
                view: String::new(),
                demographics: Demographics::default(),
                split: Split::Train,
                row,
            }
        });
        let studies = studies.collect();
        let dataset = Dataset { name: "made up".to_owned(), classes: vec!["A".to_owned()], studies };
        Self { dataset, images: (0..count).map(|row| (row, 0)).collect(), features }
    }

    /// The same features in other units.
    fn scaled(&self, scale: &dyn Fn(usize, f32) -> f32) -> Self {
        let features = self.features.iter().enumerate().map(|(i, value)| scale(i % WIDTH, *value)).collect();
        Self { dataset: self.dataset.clone(), images: self.images.clone(), features }
    }

    fn set(&self) -> ProbeSet<'_> {
        ProbeSet { dataset: &self.dataset, images: &self.images, features: &self.features, width: WIDTH }
    }
}

fn device() -> Device {
    "auto".parse::<DeviceSpec>().unwrap().open().unwrap().0
}

fn parts(seed: u64, signal: f64) -> [Part; 3] {
    let mut random = Stream::new(seed);
    [160, 60, 60].map(|count| Part::new(&mut random, count, signal))
}

/// Scores and AUROC of the test images.
fn tested([train, validate, test]: &[Part; 3], seed: u64) -> (Vec<f32>, f64) {
    // The layer and its dropout are drawn from Burn's one generator.
    let _lock = super::GENERATOR.lock().unwrap();
    let config = ProbeConfig { lr: 1e-2, batch_size: 16, seed, ..ProbeConfig::default() };
    let scores = probe_scores(&train.set(), &validate.set(), &test.set(), &config, &device()).unwrap().scores;
    let labels: Vec<bool> = test.dataset.studies.iter().map(|study| study.labels[0] == Some(true)).collect();
    let found = auroc(&scores[0], &labels).unwrap().unwrap();
    (scores.into_iter().next().unwrap(), found)
}

#[test]
fn features_that_hardly_differ_are_read_all_the_same() {
    for seed in 0..6 {
        let plain = parts(seed, 3.0);
        // As features of a network whose blocks add next to nothing to a common token: 1e-5 of their size.
        let faint = plain.each_ref().map(|part| part.scaled(&|column, value| 1.0 + 0.1 * column as f32 + 1e-5 * value));
        for (name, parts) in [("plain", &plain), ("faint", &faint)] {
            let (_, found) = tested(parts, seed);
            // Two normal distributions three deviations apart: 0.983.
            assert!(found > 0.93, "{name}, seed {seed}: {found}");
        }
    }
}

#[test]
fn units_change_no_score() {
    let plain = parts(7, 1.0);
    // Powers of two are exact, so that sums and quotients round alike.
    let other = plain.each_ref().map(|part| part.scaled(&|column, value| value * [0.0625, 1.0, 512.0][column % 3]));
    let [(first, _), (second, _)] = [&plain, &other].map(|parts| tested(parts, 7));
    for (a, b) in first.iter().zip(&second) {
        assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{a} and {b}");
    }
}

#[test]
fn noise_scores_chance_and_not_less() {
    let found: Vec<f64> = (0..60).map(|seed| tested(&parts(100 + seed, 0.0), seed).1).collect();
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    // An AUROC of 30 against 30 has a deviation of 0.075 where there is nothing to know: of 60 the mean has 0.0097.
    assert!((mean - 0.5).abs() < 0.035, "{mean}");
}

#[test]
fn a_probe_without_epochs_is_refused() {
    let [train, validate, test] = parts(1, 1.0);
    let config = ProbeConfig { max_epochs: 0, ..ProbeConfig::default() };
    let error = probe_scores(&train.set(), &validate.set(), &test.set(), &config, &device()).unwrap_err();
    assert!(error.to_string().contains("epochs of the probe = 0"), "{error}");
    assert_eq!(error.exit_code(), 2);
}
