//! Laws that the metrics keep on any input.

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests on inputs of their own")]
#![expect(clippy::float_cmp, reason = "ties are exact")]

use data::rng::Stream;
use eval::metric::{
    Bootstrap, ClusteredBins, ClusteredConfusion, Clusters, RocPoint, SortedScores, auprc, auroc, auroc_interval,
    calibration_error, confusion, roc_curve, youden_point,
};
use eval::ranking::{Embeddings, rank};
use proptest::prelude::*;

/// Scores on a grid of quarters, so that ties are frequent and sums are exact, with their labels.
fn sample() -> impl Strategy<Value = (Vec<f64>, Vec<bool>)> {
    let item = (-20i32..20).prop_map(|quarters| f64::from(quarters) / 4.0);
    prop::collection::vec((item, any::<bool>()), 0..60).prop_map(|items| items.into_iter().unzip())
}

fn both(scores: &[f64], labels: &[bool]) -> (Option<f64>, Option<f64>) {
    (auroc(scores, labels).unwrap(), auprc(scores, labels).unwrap())
}

/// Pairs counted one by one, as the definition says.
fn auroc_by_pairs(scores: &[f64], labels: &[bool]) -> Option<f64> {
    let of = |class: bool| scores.iter().zip(labels).filter(move |item| *item.1 == class).map(|item| *item.0);
    let mut points = 0.0;
    for (p, n) in of(true).flat_map(|p| of(false).map(move |n| (p, n))) {
        points += if p > n { 1.0 } else { f64::from(u8::from(p == n)) / 2.0 };
    }
    let pairs = of(true).count() * of(false).count();
    (pairs > 0).then(|| points / pairs as f64)
}

proptest! {
    #[test]
    fn auroc_counts_pairs((scores, labels) in sample()) {
        prop_assert_eq!(both(&scores, &labels).0, auroc_by_pairs(&scores, &labels));
    }

    #[test]
    fn increasing_transforms_change_nothing((scores, labels) in sample()) {
        // Strictly increasing, and exact on the grid or far from merging its points.
        let transforms: [fn(f64) -> f64; 3] = [|x| 8.0 * x - 3.0, f64::exp, |x| 1.0 / (1.0 + (-x).exp())];
        for transform in transforms {
            let moved: Vec<f64> = scores.iter().map(|&x| transform(x)).collect();
            prop_assert_eq!(both(&moved, &labels), both(&scores, &labels));
        }
    }

    #[test]
    fn flipped_labels_and_negated_scores_mirror_the_auroc((scores, labels) in sample()) {
        let area = both(&scores, &labels).0;
        let flipped: Vec<bool> = labels.iter().map(|label| !label).collect();
        let negated: Vec<f64> = scores.iter().map(|score| -score).collect();
        let mirrored = [both(&scores, &flipped).0, both(&negated, &labels).0];
        for other in mirrored {
            prop_assert_eq!(other.is_some(), area.is_some());
            // One rounding on each side.
            prop_assert!(area.zip(other).is_none_or(|(a, b)| (a + b - 1.0).abs() < 1e-15));
        }
        prop_assert_eq!(both(&negated, &flipped).0, area);
    }

    #[test]
    fn order_of_items_changes_nothing((scores, labels) in sample(), key in any::<u64>()) {
        let mut order: Vec<usize> = (0..scores.len()).collect();
        Stream::new(key).shuffle(&mut order);
        let shuffled: (Vec<f64>, Vec<bool>) = order.iter().map(|&i| (scores[i], labels[i])).unzip();
        prop_assert_eq!(both(&shuffled.0, &shuffled.1), both(&scores, &labels));
    }

    #[test]
    fn multiplicities_stand_for_copies((scores, labels) in sample(), key in any::<u64>()) {
        let mut stream = Stream::new(key);
        let keys: Vec<usize> = scores.iter().map(|_| stream.below(8)).collect();
        let clusters = Clusters::from_keys(&keys);
        let counts: Vec<u32> = (0..clusters.len()).map(|_| stream.below(4) as u32).collect();
        let sorted = SortedScores::new(&scores, &labels, &clusters).unwrap();
        let copies = (0..scores.len()).flat_map(|i| vec![i; counts[clusters.of(i) as usize] as usize]);
        let copied: (Vec<f64>, Vec<bool>) = copies.map(|i| (scores[i], labels[i])).unzip();
        prop_assert_eq!((sorted.auroc(Some(&counts)), sorted.auprc(Some(&counts))), both(&copied.0, &copied.1));
    }

    #[test]
    fn multiplicities_stand_for_copied_decisions((scores, labels) in sample(), key in any::<u64>()) {
        let mut stream = Stream::new(key);
        let keys: Vec<usize> = scores.iter().map(|_| stream.below(8)).collect();
        let clusters = Clusters::from_keys(&keys);
        let counts: Vec<u32> = (0..clusters.len()).map(|_| stream.below(4) as u32).collect();
        let copies = (0..scores.len()).flat_map(|i| vec![i; counts[clusters.of(i) as usize] as usize]);
        let copied: (Vec<f64>, Vec<bool>) = copies.map(|i| (scores[i], labels[i])).unzip();
        let sorted = SortedScores::new(&scores, &labels, &clusters).unwrap();
        prop_assert_eq!(sorted.youden_point(Some(&counts)), youden_point(&copied.0, &copied.1).unwrap());
        let known: Vec<Option<bool>> = labels.iter().copied().map(Some).collect();
        let decided = ClusteredConfusion::at_threshold(&scores, &known, 0.5, &clusters).unwrap();
        prop_assert_eq!(decided.value(&counts), confusion(&copied.0, &copied.1, 0.5).unwrap());
        let of = |scores: &[f64]| scores.iter().map(|x| (x + 5.0) / 10.0).collect::<Vec<f64>>();
        let bins = ClusteredBins::new(&of(&scores), &known, 7, &clusters).unwrap();
        let expected = calibration_error(&of(&copied.0), &copied.1, 7).unwrap();
        let found = bins.error(&counts);
        prop_assert_eq!(found.is_some(), expected.is_some());
        prop_assert!(found.zip(expected).is_none_or(|(a, b)| (a - b).abs() < 1e-12));
    }

    #[test]
    fn no_threshold_beats_the_operating_point((scores, labels) in sample()) {
        let point = youden_point(&scores, &labels).unwrap();
        prop_assert_eq!(point.is_some(), both(&scores, &labels).0.is_some());
        if let Some(point) = point {
            let at = |threshold: f64| confusion(&scores, &labels, threshold).unwrap().youden().unwrap();
            prop_assert!((at(point.threshold) - point.youden()).abs() < 1e-15);
            for &threshold in &scores {
                prop_assert!(at(threshold) <= point.youden() + 1e-15);
            }
        }
    }

    #[test]
    fn thinned_curves_pass_every_point((scores, labels) in sample(), columns in 1usize..6) {
        let curve = |max: usize| roc_curve(&scores, &labels, max).unwrap();
        if let Some((whole, thinned)) = curve(usize::MAX).zip(curve(4 * columns)) {
            prop_assert!(thinned.len() <= 4 * columns);
            // Level with every point there is one of the thinned curve, no farther than a column is wide.
            for point in &whole {
                let height = point.true_positive_rate;
                let distance = |w: &[RocPoint]| {
                    let (low, high) = (w[0].true_positive_rate, w[1].true_positive_rate);
                    let (left, right) = (w[0].false_positive_rate, w[1].false_positive_rate);
                    let along = if high > low { (height - low) / (high - low) } else { 0.0 };
                    let x = left + along * (right - left);
                    let to = point.false_positive_rate;
                    let level = if high > low { (x - to).abs() } else { (left - to).max(to - right).max(0.0) };
                    if (low..=high).contains(&height) { level } else { f64::INFINITY }
                };
                let nearest = thinned.windows(2).map(distance).fold(f64::INFINITY, f64::min);
                prop_assert!(nearest <= 1.0 / columns as f64 + 1e-12, "{nearest}: {point:?}");
            }
        }
    }

    #[test]
    fn intervals_are_ordered_and_within_the_unit((scores, labels) in sample()) {
        let bootstrap = Bootstrap { resamples: 40, ..Bootstrap::default() };
        let interval = auroc_interval(&scores, &labels, &Clusters::singletons(scores.len()), &bootstrap).unwrap();
        prop_assert_eq!(interval.value, both(&scores, &labels).0);
        if let (Some(low), Some(high)) = (interval.low, interval.high) {
            prop_assert!((0.0..=1.0).contains(&low) && low <= high && high <= 1.0);
        }
    }

    #[test]
    fn short_lists_are_the_heads_of_long_ones(key in any::<u64>(), rows in 1usize..90, k in 0usize..12) {
        // Small integers, so that many rows coincide in direction and tie.
        let mut stream = Stream::new(key);
        let mut draw = |rows: usize| {
            Embeddings::new(rows, 3, (0..rows * 3).map(|_| stream.below(3) as f32 - 1.0).collect()).unwrap()
        };
        let (queries, candidates) = (draw(4), draw(rows));
        let short = rank(&queries, &candidates, k, |_, c| c % 5 == 4).unwrap();
        let long = rank(&queries, &candidates, rows, |_, c| c % 5 == 4).unwrap();
        for (short, long) in short.iter().zip(&long) {
            prop_assert_eq!(long.len(), rows - rows / 5);
            prop_assert_eq!(&short[..], &long[..k.min(long.len())]);
            let ordered = |w: &[eval::ranking::Neighbour]| {
                w[0].score > w[1].score || (w[0].score == w[1].score && w[0].index < w[1].index)
            };
            prop_assert!(long.windows(2).all(ordered));
        }
    }
}
