//! Metrics against scikit-learn, `NumPy` and `SciPy` (`scripts/golden/metrics.py`).

#![expect(clippy::unwrap_used, reason = "tests on inputs of their own")]

use eval::metric::{
    Bootstrap, Clusters, Difference, Interval, PrPoint, RocPoint, SortedScores, accuracy, argmax_rows, auprc,
    auprc_interval, auroc, auroc_difference, auroc_interval, brier, brier_interval, calibration_error,
    calibration_error_interval, confusion, f1, f1_interval, macro_auroc_difference, macro_auroc_interval, macro_f1,
    macro_f1_interval, macro_mean, pr_curve, reliability, roc_curve, youden_interval, youden_point,
};
use serde::Deserialize;

/// Both sides compute in f64 and differ in the order of additions only.
pub(super) const TOLERANCE: f64 = 1e-9;

#[derive(Deserialize)]
struct Golden {
    binary: Vec<Binary>,
    multilabel: Multilabel,
    multiclass: Multiclass,
    clustered: Clustered,
    decisions: Vec<Decision>,
    probabilities: Vec<Probability>,
}

#[derive(Deserialize)]
struct Binary {
    name: String,
    scores: Vec<f64>,
    labels: Vec<bool>,
    weights: Option<Vec<u32>>,
    auroc: Option<f64>,
    auprc: Option<f64>,
    has_curves: bool,
    roc: Option<[Vec<f64>; 3]>,
    pr: Option<[Vec<f64>; 3]>,
    youden: Option<[f64; 3]>,
}

#[derive(Deserialize)]
struct Decision {
    name: String,
    scores: Vec<f64>,
    labels: Vec<bool>,
    threshold: f64,
    counts: [u64; 4],
    shares: [Option<f64>; 4],
}

#[derive(Deserialize)]
struct Probability {
    name: String,
    probabilities: Vec<f64>,
    labels: Vec<bool>,
    bins: usize,
    brier: f64,
    error: f64,
    counts: Vec<u64>,
    means: Vec<Option<f64>>,
    shares: Vec<Option<f64>>,
}

#[derive(Deserialize)]
struct Multilabel {
    scores: Vec<Vec<f64>>,
    labels: Vec<Vec<bool>>,
    macro_auroc: f64,
    macro_auprc: f64,
}

#[derive(Deserialize)]
struct Multiclass {
    num_classes: usize,
    logits: Vec<f32>,
    labels: Vec<usize>,
    predicted: Vec<usize>,
    accuracy: f64,
    macro_f1: f64,
    macro_f1_of_5: f64,
    macro_f1_without_1: f64,
    macro_f1_of_one_item: f64,
}

#[derive(Deserialize)]
struct Clustered {
    patients: Vec<u32>,
    scores: Vec<f64>,
    labels: Vec<bool>,
    by_patient: (f64, f64),
    by_image: (f64, f64),
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/metrics.json")).unwrap()
}

pub(super) fn near(found: Option<f64>, expected: Option<f64>, tolerance: f64) -> bool {
    match (found, expected) {
        (Some(a), Some(b)) => (a - b).abs() <= tolerance,
        (None, None) => true,
        _ => false,
    }
}

#[test]
fn auroc_and_auprc_equal_scikit_learn() {
    let cases = golden().binary;
    assert!(cases.len() >= 15);
    for case in cases {
        let clusters = Clusters::singletons(case.scores.len());
        let sorted = SortedScores::new(&case.scores, &case.labels, &clusters).unwrap();
        let counts = case.weights.as_deref();
        let found = (sorted.auroc(counts), sorted.auprc(counts));
        assert!(near(found.0, case.auroc, TOLERANCE), "{}: AUROC {:?} {:?}", case.name, found.0, case.auroc);
        assert!(near(found.1, case.auprc, TOLERANCE), "{}: AUPRC {:?} {:?}", case.name, found.1, case.auprc);
        if counts.is_none() {
            assert_eq!(auroc(&case.scores, &case.labels).unwrap(), found.0);
            assert_eq!(auprc(&case.scores, &case.labels).unwrap(), found.1);
        }
    }
}

#[test]
fn macro_means_equal_scikit_learn() {
    let Multilabel { scores, labels, macro_auroc, macro_auprc } = golden().multilabel;
    let columns = || scores.iter().zip(&labels);
    let aurocs: Vec<_> = columns().map(|(s, l)| auroc(s, l).unwrap()).collect();
    let auprcs: Vec<_> = columns().map(|(s, l)| auprc(s, l).unwrap()).collect();
    assert!(near(macro_mean(&aurocs), Some(macro_auroc), TOLERANCE));
    assert!(near(macro_mean(&auprcs), Some(macro_auprc), TOLERANCE));
    let clusters = Clusters::singletons(scores[0].len());
    let classes: Vec<_> = columns().map(|(s, l)| SortedScores::new(s, l, &clusters).unwrap()).collect();
    let interval = macro_auroc_interval(&classes, &clusters, &Bootstrap::default());
    assert!(near(interval.value, Some(macro_auroc), TOLERANCE));
    assert!(interval.low.unwrap() < macro_auroc && macro_auroc < interval.high.unwrap(), "{interval:?}");
}

#[test]
fn accuracy_equals_scikit_learn() {
    let case = golden().multiclass;
    let predicted = argmax_rows(&case.logits, case.num_classes).unwrap();
    assert_eq!(predicted, case.predicted);
    assert!(near(accuracy(&predicted, &case.labels).unwrap(), Some(case.accuracy), TOLERANCE));
}

#[test]
fn intervals_equal_those_of_a_scikit_learn_loop() {
    let Clustered { patients, scores, labels, by_patient, by_image } = golden().clustered;
    let bootstrap = Bootstrap { resamples: 20_000, ..Bootstrap::default() };
    let ends = |clusters: &Clusters| {
        let interval = auroc_interval(&scores, &labels, clusters, &bootstrap).unwrap();
        (interval.low.unwrap(), interval.high.unwrap())
    };
    // The standard deviation of the AUROC is 0.06, so the error of an end from 20,000 random resamples is 0.0012 on
    // either side: four times their joint standard deviation is 0.007.
    let close = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() < 0.007 && (a.1 - b.1).abs() < 0.007;
    let (patient, image) = (ends(&Clusters::from_keys(&patients)), ends(&Clusters::singletons(scores.len())));
    assert!(close(patient, by_patient), "{patient:?} {by_patient:?}");
    assert!(close(image, by_image), "{image:?} {by_image:?}");
    // The test can tell the two apart.
    assert!(!close(patient, by_image));
}

#[test]
fn copies_of_a_patients_image_change_nothing() {
    let Clustered { scores, labels, .. } = golden().clustered;
    let n = scores.len();
    let copies = |values: &[f64]| values.iter().flat_map(|&v| [v; 3]).collect::<Vec<_>>();
    let many_labels: Vec<bool> = labels.iter().flat_map(|&l| [l; 3]).collect();
    let patients: Vec<usize> = (0..3 * n).map(|i| i / 3).collect();
    let bootstrap = Bootstrap { resamples: 200, ..Bootstrap::default() };
    let once = auroc_interval(&scores, &labels, &Clusters::singletons(n), &bootstrap).unwrap();
    let thrice = auroc_interval(&copies(&scores), &many_labels, &Clusters::from_keys(&patients), &bootstrap).unwrap();
    assert_eq!(once, thrice);
    // Taken for independent images, they would feign precision.
    let feigned = auroc_interval(&copies(&scores), &many_labels, &Clusters::singletons(3 * n), &bootstrap).unwrap();
    let width = |interval: Interval| interval.high.unwrap() - interval.low.unwrap();
    assert!(width(feigned) < 0.75 * width(once));
}

#[test]
fn intervals_do_not_depend_on_threads() {
    let Clustered { patients, scores, labels, .. } = golden().clustered;
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let clusters = Clusters::from_keys(&patients);
        pool.install(|| auroc_interval(&scores, &labels, &clusters, &Bootstrap::default()).unwrap())
    };
    assert_eq!(on(1), on(4));
    let other_seed = Bootstrap { seed: 98, ..Bootstrap::default() };
    let other = auroc_interval(&scores, &labels, &Clusters::from_keys(&patients), &other_seed).unwrap();
    assert_ne!(on(1).low, other.low);
}

fn all_near(found: &[f64], expected: &[f64]) -> bool {
    found.len() == expected.len() && found.iter().zip(expected).all(|(a, b)| (a - b).abs() <= TOLERANCE)
}

#[test]
fn curves_equal_scikit_learn() {
    for case in golden().binary.iter().filter(|case| case.has_curves) {
        let roc = roc_curve(&case.scores, &case.labels, usize::MAX).unwrap();
        assert_eq!(roc.is_some(), case.roc.is_some(), "{}", case.name);
        if let Some((points, [thresholds, alarms, found])) = roc.zip(case.roc.as_ref()) {
            let start = RocPoint { threshold: None, false_positive_rate: 0.0, true_positive_rate: 0.0 };
            assert_eq!(points[0], start);
            let of = |get: fn(&RocPoint) -> f64| points[1..].iter().map(get).collect::<Vec<_>>();
            assert!(all_near(&of(|p| p.threshold.unwrap()), thresholds), "{}", case.name);
            assert!(all_near(&of(|p| p.false_positive_rate), alarms), "{}", case.name);
            assert!(all_near(&of(|p| p.true_positive_rate), found), "{}", case.name);
        }
        let pr = pr_curve(&case.scores, &case.labels, usize::MAX).unwrap();
        assert_eq!(pr.is_some(), case.pr.is_some(), "{}", case.name);
        if let Some((points, [thresholds, recall, precision])) = pr.zip(case.pr.as_ref()) {
            let of = |get: fn(&PrPoint) -> f64| points.iter().map(get).collect::<Vec<_>>();
            assert!(all_near(&of(|p| p.threshold), thresholds), "{}", case.name);
            assert!(all_near(&of(|p| p.recall), recall), "{}", case.name);
            assert!(all_near(&of(|p| p.precision), precision), "{}", case.name);
        }
    }
}

#[test]
fn thinned_curves_keep_their_shape() {
    let case = golden().binary.into_iter().find(|case| case.name == "random").unwrap();
    let roc = |max: usize| roc_curve(&case.scores, &case.labels, max).unwrap().unwrap();
    let pr = |max: usize| pr_curve(&case.scores, &case.labels, max).unwrap().unwrap();
    let (whole, thinned) = (roc(usize::MAX), roc(100));
    assert!(whole.len() > 400 && thinned.len() <= 100);
    assert_eq!((thinned[0], thinned.last()), (whole[0], whole.last()));
    let area = |points: &[RocPoint]| -> f64 {
        let part = |w: &[RocPoint]| {
            let width = w[1].false_positive_rate - w[0].false_positive_rate;
            width * f64::midpoint(w[0].true_positive_rate, w[1].true_positive_rate)
        };
        points.windows(2).map(part).sum()
    };
    // The whole curve has the area by pairs; a thinned one differs by less than a column of 25.
    assert!(near(Some(area(&whole)), case.auroc, TOLERANCE));
    assert!((area(&thinned) - area(&whole)).abs() < 0.04);
    let (whole, thinned) = (pr(usize::MAX), pr(100));
    assert!(whole.len() > 400 && thinned.len() <= 100);
    assert_eq!((thinned[0], thinned.last()), (whole[0], whole.last()));
    let lowest = |points: &[PrPoint]| points.iter().map(|p| p.precision).fold(1.0, f64::min);
    assert!((lowest(&thinned) - lowest(&whole)).abs() < f64::EPSILON);
}

#[test]
fn operating_points_equal_scikit_learn() {
    for case in golden().binary {
        let sorted = SortedScores::new(&case.scores, &case.labels, &Clusters::singletons(case.scores.len())).unwrap();
        let found = sorted.youden_point(case.weights.as_deref());
        assert_eq!(found.is_some(), case.youden.is_some(), "{}", case.name);
        if let Some((found, expected)) = found.zip(case.youden) {
            let found = [found.threshold, found.sensitivity, found.specificity];
            assert!(all_near(&found, &expected), "{}: {found:?} {expected:?}", case.name);
        }
    }
}

#[test]
fn decisions_equal_scikit_learn() {
    for case in golden().decisions {
        let found = confusion(&case.scores, &case.labels, case.threshold).unwrap();
        let counts = [found.true_positives, found.false_positives, found.true_negatives, found.false_negatives];
        assert_eq!(counts, case.counts, "{}", case.name);
        let shares = [found.sensitivity(), found.specificity(), found.precision(), found.f1()];
        for (share, expected) in shares.into_iter().zip(case.shares) {
            assert!(near(share, expected, TOLERANCE), "{}: {shares:?} {:?}", case.name, case.shares);
        }
        assert_eq!(f1(&case.scores, &case.labels, case.threshold).unwrap(), shares[3]);
    }
}

#[test]
fn calibration_equals_scikit_learn() {
    for case in golden().probabilities {
        let (probabilities, labels) = (&case.probabilities, &case.labels);
        let found = brier(probabilities, labels).unwrap();
        assert!(near(found, Some(case.brier), TOLERANCE), "{}: Brier {found:?} {}", case.name, case.brier);
        let found = calibration_error(probabilities, labels, case.bins).unwrap();
        assert!(near(found, Some(case.error), TOLERANCE), "{}: ECE {found:?} {}", case.name, case.error);
        let bins = reliability(probabilities, labels, case.bins).unwrap();
        assert_eq!(bins.iter().map(|bin| bin.count).collect::<Vec<_>>(), case.counts, "{}", case.name);
        for (bin, (mean, share)) in bins.iter().zip(case.means.iter().zip(&case.shares)) {
            assert!(near(bin.mean_probability, *mean, TOLERANCE), "{}: {bin:?} {mean:?}", case.name);
            assert!(near(bin.positive_share, *share, TOLERANCE), "{}: {bin:?} {share:?}", case.name);
        }
    }
}

#[test]
fn macro_f1_equals_scikit_learn() {
    let case = golden().multiclass;
    let of = |predicted: &[usize], labels: &[usize], classes| macro_f1(predicted, labels, classes).unwrap();
    let without: Vec<usize> = case.predicted.iter().map(|&class| if class == 1 { 0 } else { class }).collect();
    for (found, expected) in [
        (of(&case.predicted, &case.labels, 3), case.macro_f1),
        (of(&case.predicted, &case.labels, 5), case.macro_f1_of_5),
        (of(&without, &case.labels, 3), case.macro_f1_without_1),
        (of(&case.predicted[..1], &case.labels[..1], 3), case.macro_f1_of_one_item),
    ] {
        assert!(near(found, Some(expected), TOLERANCE), "{found:?} {expected}");
    }
}

#[test]
fn intervals_surround_their_figures() {
    let Clustered { patients, scores, labels, .. } = golden().clustered;
    let clusters = Clusters::from_keys(&patients);
    let bootstrap = Bootstrap { resamples: 300, ..Bootstrap::default() };
    let probabilities: Vec<f64> = scores.iter().map(|score| 1.0 / (1.0 + (-score).exp())).collect();
    let classes: Vec<usize> = labels.iter().map(|&label| usize::from(label)).collect();
    let decided: Vec<usize> = scores.iter().map(|&score| usize::from(score >= 0.5)).collect();
    let found = [
        (auprc_interval(&scores, &labels, &clusters, &bootstrap), auprc(&scores, &labels).unwrap()),
        (f1_interval(&scores, &labels, 0.5, &clusters, &bootstrap), f1(&scores, &labels, 0.5).unwrap()),
        (macro_f1_interval(&decided, &classes, 2, &clusters, &bootstrap), macro_f1(&decided, &classes, 2).unwrap()),
        (brier_interval(&probabilities, &labels, &clusters, &bootstrap), brier(&probabilities, &labels).unwrap()),
        (
            calibration_error_interval(&probabilities, &labels, 15, &clusters, &bootstrap),
            calibration_error(&probabilities, &labels, 15).unwrap(),
        ),
        (
            youden_interval(&scores, &labels, &clusters, &bootstrap),
            youden_point(&scores, &labels).unwrap().map(|point| point.youden()),
        ),
    ];
    for (number, (interval, value)) in found.into_iter().enumerate() {
        let interval = interval.unwrap();
        assert!(near(interval.value, value, 1e-12), "{number}: {interval:?} {value:?}");
        let (low, high) = (interval.low.unwrap(), interval.high.unwrap());
        // 80 patients: wide, but not as wide as the unit.
        assert!(
            low < high && high - low < 0.5 && low <= value.unwrap() && value.unwrap() <= high,
            "{number}: {interval:?}"
        );
    }
}

#[test]
fn paired_differences_see_what_single_intervals_cannot() {
    let Clustered { patients, scores, labels, .. } = golden().clustered;
    let clusters = Clusters::from_keys(&patients);
    let bootstrap = Bootstrap::default();
    // The second model is the first one with a small independent error on every image.
    let worse: Vec<f64> = scores.iter().enumerate().map(|(i, s)| s + 0.5 * (i as f64 * 2.399).sin()).collect();
    let paired = auroc_difference(&scores, &worse, &labels, &clusters, &bootstrap).unwrap();
    let value = auroc(&scores, &labels).unwrap().unwrap() - auroc(&worse, &labels).unwrap().unwrap();
    assert!(near(paired.value, Some(value), 1e-12));
    let width = paired.high.unwrap() - paired.low.unwrap();
    let single = auroc_interval(&scores, &labels, &clusters, &bootstrap).unwrap();
    assert!(width < 0.5 * (single.high.unwrap() - single.low.unwrap()), "{paired:?} {single:?}");
    // An oracle beats its opposite in every resample: 2 * (0 + 1) / 1001. A model does not differ from itself.
    let oracle = |sign: f64| labels.iter().map(|&label| sign * f64::from(u8::from(label))).collect::<Vec<_>>();
    let certain = auroc_difference(&oracle(1.0), &oracle(-1.0), &labels, &clusters, &bootstrap).unwrap();
    assert_eq!((certain.value, certain.low, certain.high), (Some(1.0), Some(1.0), Some(1.0)));
    assert!(near(certain.p_value, Some(2.0 / 1001.0), 1e-15), "{certain:?}");
    let same = Difference { value: Some(0.0), low: Some(0.0), high: Some(0.0), p_value: Some(1.0) };
    assert_eq!(auroc_difference(&scores, &scores, &labels, &clusters, &bootstrap).unwrap(), same);
    let class = [SortedScores::new(&scores, &labels, &clusters).unwrap()];
    let other = [SortedScores::new(&worse, &labels, &clusters).unwrap()];
    assert_eq!(macro_auroc_difference(&class, &other, &clusters, &bootstrap), paired);
}

#[test]
fn intervals_are_written_with_four_keys() {
    let interval = Interval { value: Some(0.75), low: None, high: Some(0.875), chance: None };
    let text = r#"{"value":0.75,"low":null,"high":0.875,"chance":null}"#;
    assert_eq!(serde_json::to_string(&interval).unwrap(), text);
    assert_eq!(serde_json::from_str::<Interval>(text).unwrap(), interval);
}
