//! Topics: what one half of a report tells of the other half.
//!
//! Which synonym a sentence uses is chance, and says nothing of the next sentence; what was found shows in several
//! sentences. The leading directions of the correlation between the words of two halves of each report are therefore
//! about findings and leave wording aside, without a label or a trained network: inter-battery factor analysis (Tucker,
//! "An inter-battery method of factor analysis", 1958) of a report's odd and even sentences.
//!
//! Shape letters: `N` reports, `W` telling words, `K` topics.

use std::collections::BTreeMap;

use nalgebra::{DMatrix, SymmetricEigen};

use super::words::{Denials, TellingWord, Word};

/// Words in fewer reports than this share, or in all but this share, tell nothing that could be learned.
const MIN_SHARE: f64 = 0.02;
/// A direction that varies less over the reports, of which one word alone has variance 1, is rounding and no topic.
const MIN_VARIANCE: f64 = 1e-9;

/// Topics of a collection of reports.
#[derive(Debug, Clone, PartialEq)]
pub struct Topics {
    denials: Denials,
    /// Column of each telling word.
    columns: BTreeMap<Word, usize>,
    /// What a word adds to each topic, `[W][K]`.
    loadings: Vec<Vec<f64>>,
    /// Topics of a report without a telling word, `[K]`.
    origin: Vec<f64>,
}

impl Topics {
    /// At most `count` topics of `reports` (token ids of each sentence of each); fewer where fewer words tell them apart.
    pub fn learn(reports: &[Vec<Vec<u32>>], denials: Denials, count: usize) -> Self {
        let telling = denials.telling_words(reports, MIN_SHARE, 1.0 - MIN_SHARE);
        let columns: BTreeMap<Word, usize> = telling.iter().enumerate().map(|(i, w)| (w.word, i)).collect();
        let mut topics = Self { denials, columns, loadings: Vec::new(), origin: Vec::new() };
        let directions = leading(&topics.correlation(reports), count);
        topics.fit(reports, &telling, &directions);
        topics
    }

    /// Number of topics `K`.
    pub fn count(&self) -> usize {
        self.origin.len()
    }

    /// The topics of a report, `[K]`: mean 0 and deviation 1 over the reports that they were learned from.
    pub fn of(&self, report: &[Vec<u32>]) -> Vec<f32> {
        let mut topics = self.origin.clone();
        for column in self.present(report.iter()) {
            for (topic, loading) in topics.iter_mut().zip(&self.loadings[column]) {
                *topic += loading;
            }
        }
        #[expect(clippy::cast_possible_truncation, reason = "targets of training are single precision")]
        topics.into_iter().map(|topic| topic as f32).collect()
    }

    /// Columns of the telling words of some sentences.
    fn present<'a>(&self, sentences: impl Iterator<Item = &'a Vec<u32>>) -> Vec<usize> {
        let words = self.denials.words(sentences);
        words.iter().filter_map(|word| self.columns.get(word).copied()).collect()
    }

    /// Correlation of each word of a report's odd sentences with each word of its even ones, made symmetric, `[W, W]`.
    fn correlation(&self, reports: &[Vec<Vec<u32>>]) -> DMatrix<f64> {
        let w = self.columns.len();
        let mut together = DMatrix::<f64>::zeros(w, w);
        let mut counts = [vec![0.0; w], vec![0.0; w]];
        for report in reports {
            let half = |first| self.present(report.iter().skip(first).step_by(2));
            let halves = [half(0), half(1)];
            for (count, half) in counts.iter_mut().zip(&halves) {
                for &word in half {
                    count[word] += 1.0;
                }
            }
            for &a in &halves[0] {
                for &b in &halves[1] {
                    together[(a, b)] += 1.0;
                }
            }
        }
        let n = reports.len().max(1) as f64;
        let deviation = |count: f64| (count / n * (1.0 - count / n)).sqrt();
        let correlation = DMatrix::from_fn(w, w, |a, b| {
            let (p, q) = (counts[0][a] / n, counts[1][b] / n);
            let scale = deviation(counts[0][a]) * deviation(counts[1][b]);
            // A word that only ever stands in one half, or always does, varies with nothing.
            if scale > 0.0 { (together[(a, b)] / n - p * q) / scale } else { 0.0 }
        });
        (&correlation + correlation.transpose()) * 0.5
    }

    /// Sets loadings and origin so that each direction of the standardised words has mean 0 and deviation 1.
    fn fit(&mut self, reports: &[Vec<Vec<u32>>], telling: &[TellingWord], directions: &DMatrix<f64>) {
        let (w, k) = directions.shape();
        let deviation = |share: f64| (share * (1.0 - share)).sqrt();
        let weight = DMatrix::from_fn(w, k, |i, j| directions[(i, j)] / deviation(telling[i].share));
        let mean: Vec<f64> =
            (0..k).map(|j| telling.iter().enumerate().map(|(i, word)| word.share * weight[(i, j)]).sum()).collect();
        let mut variance = vec![0.0; k];
        for report in reports {
            let present = self.present(report.iter());
            for j in 0..k {
                let value: f64 = present.iter().map(|&i| weight[(i, j)]).sum::<f64>() - mean[j];
                variance[j] += value * value / reports.len() as f64;
            }
        }
        let scale: Vec<f64> = variance.iter().map(|v| if *v > MIN_VARIANCE { v.sqrt().recip() } else { 0.0 }).collect();
        self.loadings = (0..w).map(|i| (0..k).map(|j| weight[(i, j)] * scale[j]).collect()).collect();
        self.origin = mean.iter().zip(&scale).map(|(mean, scale)| -mean * scale).collect();
    }
}

/// The eigenvectors of the largest eigenvalues of a symmetric matrix as columns, `[W, K]`, the largest first; the entry
/// of largest magnitude is positive in each.
fn leading(symmetric: &DMatrix<f64>, count: usize) -> DMatrix<f64> {
    let w = symmetric.nrows();
    if w == 0 {
        return DMatrix::zeros(0, 0);
    }
    let eigen = SymmetricEigen::new(symmetric.clone());
    let mut order: Vec<usize> = (0..w).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    order.truncate(count);
    let columns: Vec<_> = order
        .iter()
        .map(|&i| {
            let vector = eigen.eigenvectors.column(i);
            vector * vector[vector.iamax()].signum()
        })
        .collect();
    if columns.is_empty() { DMatrix::zeros(w, 0) } else { DMatrix::from_columns(&columns) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Stream;
    use crate::text::Tokenizer;

    fn denials() -> Denials {
        Denials::new(&Tokenizer::builtin().unwrap()).unwrap()
    }

    /// Reports about two findings, four sentences each: a sentence names a finding by one of three words, beside three
    /// words of eight that mean nothing.
    fn reports(n: usize) -> Vec<Vec<Vec<u32>>> {
        let mut random = Stream::new(3);
        let sentence = |finding: usize, present: bool, random: &mut Stream| {
            let name = 1000 + 10 * u32::try_from(2 * finding + usize::from(present)).unwrap();
            let mut words = vec![name + u32::try_from(random.below(3)).unwrap()];
            words.extend((0..3).map(|_| 2000 + u32::try_from(random.below(8)).unwrap()));
            words
        };
        let report = |_| {
            let findings = [random.chance(0.5), random.chance(0.3)];
            (0..4).map(|i| sentence(i / 2, findings[i / 2], &mut random)).collect()
        };
        (0..n).map(report).collect()
    }

    #[test]
    fn words_of_findings_load_and_others_hardly_do() {
        let reports = reports(2000);
        let topics = Topics::learn(&reports, denials(), 2);
        let load = |column: usize| topics.loadings[column].iter().map(|l| l.abs()).fold(0.0, f64::max);
        let (noise, names): (Vec<_>, Vec<_>) = topics.columns.iter().partition(|(word, _)| word.0 >= 2000);
        let most_noise = noise.iter().map(|(_, column)| load(**column)).fold(0.0, f64::max);
        let least_name = names.iter().map(|(_, column)| load(**column)).fold(f64::MAX, f64::min);
        assert!(3.0 * most_noise < least_name, "{most_noise} {least_name}");
    }

    #[test]
    fn topics_have_mean_zero_and_deviation_one() {
        let reports = reports(300);
        let topics = Topics::learn(&reports, denials(), 4);
        let values: Vec<Vec<f32>> = reports.iter().map(|report| topics.of(report)).collect();
        for j in 0..4 {
            let mean = values.iter().map(|v| f64::from(v[j])).sum::<f64>() / 300.0;
            let variance = values.iter().map(|v| f64::from(v[j]).powi(2)).sum::<f64>() / 300.0;
            assert!(mean.abs() < 1e-5 && (variance - 1.0).abs() < 1e-5, "{j}: {mean} {variance}");
        }
    }

    #[test]
    fn there_are_no_more_topics_than_words_and_none_without_words() {
        let reports = [vec![vec![1, 2], vec![2]], vec![vec![1]], vec![vec![1, 3]], vec![vec![1, 2]]];
        assert_eq!(Topics::learn(&reports, denials(), 16).count(), 2, "words 2 and 3 tell");
        let same = vec![vec![vec![1_u32]]; 3];
        let none = Topics::learn(&same, denials(), 16);
        assert_eq!((none.count(), none.of(&same[0])), (0, Vec::new()));
        assert_eq!(Topics::learn(&[], denials(), 16).count(), 0);
    }
}
