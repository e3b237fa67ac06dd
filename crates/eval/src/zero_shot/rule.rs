//! How the prompts of a class become the score of an image: one rule for each way that the field has.
//!
//! Shape letters: `N` images, `K` classes, `P` sentences, `E` embedding width.

use clap::ValueEnum;
use rayon::prelude::*;
use serde::Serialize;

use crate::embed::means;
use crate::error::{EvalError, Result};
use crate::ranking::Embeddings;

/// Scores of images, `[K][N]`.
pub type Scores = Vec<Vec<f64>>;

/// A rule. `cos` is the cosine of an image with a sentence, `T` the temperature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// Cosine with the mean of the positive sentences minus cosine with the mean of the negative ones, each mean of vectors
    /// of unit length.
    #[default]
    Difference,
    /// Mean over the positive sentences of cos / T (`MedCLIP` with its ensemble of prompts).
    MeanLogit,
    /// Largest of cos / T over the positive sentences (`MedCLIP` without it).
    MaxLogit,
    /// Cosine with the mean of the positive sentences' vectors of unit length, over T (CLIP).
    MeanEmbedding,
    /// Cosine with the mean of the positive sentences' vectors as the model gives them, before any is brought to unit length,
    /// over T (`BioViL`).
    MeanRawEmbedding,
    /// exp(p / T) / (exp(p / T) + exp(n / T)), where p and n are the cosines with the means of the positive and of the
    /// negative sentences (`CheXzero`, whose T is 1). For each class it orders images as `difference` does.
    Pair,
    /// Largest cosine over the positive sentences, less its mean over all images and divided by its deviation (`GLoRIA`, of
    /// whose two similarities this is the one of whole images). The score of an image depends on the others.
    ZScore,
}

impl Rule {
    /// Name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// The formula, in words.
    pub fn formula(self) -> &'static str {
        match self {
            Self::Difference => "cosine with the mean positive sentence minus cosine with the mean negative sentence",
            Self::MeanLogit => "mean of cosine / T over the positive sentences",
            Self::MaxLogit => "largest cosine / T over the positive sentences",
            Self::MeanEmbedding => "cosine / T with the mean of the positive sentences' unit vectors",
            Self::MeanRawEmbedding => "cosine / T with the mean of the positive sentences' vectors of any length",
            Self::Pair => {
                "exp(p/T) / (exp(p/T) + exp(n/T)) of the cosines with the mean positive and negative sentence"
            }
            Self::ZScore => {
                "largest cosine over the positive sentences, standardised over the images of each class (transductive)"
            }
        }
    }

    /// Whether negative sentences matter.
    pub fn uses_negatives(self) -> bool {
        matches!(self, Self::Difference | Self::Pair)
    }

    /// Whether it takes vectors as the model gives them, before they are brought to unit length.
    pub fn takes_raw_vectors(self) -> bool {
        self == Self::MeanRawEmbedding
    }

    /// What is left to do once all images have scores.
    pub fn finish(self, scores: &mut Scores) {
        if self == Self::ZScore {
            for of_class in scores {
                z_scores(of_class);
            }
        }
    }
}

/// The mean of logits; 0 of none.
pub fn mean_logit(logits: &[f64]) -> f64 {
    logits.iter().sum::<f64>() / logits.len().max(1) as f64
}

/// The largest logit; negative infinity of none.
pub fn max_logit(logits: &[f64]) -> f64 {
    logits.iter().copied().fold(f64::NEG_INFINITY, f64::max)
}

/// `exp(positive / temperature)` as a share of the sum with `exp(negative / temperature)`, without overflow.
pub fn pair_probability(positive: f64, negative: f64, temperature: f64) -> f64 {
    1.0 / (1.0 + ((negative - positive) / temperature).exp())
}

/// Subtracts the mean and divides by the deviation over all images (of the population: the sum of squares over `N`). Scores
/// that are all equal become 0.
pub fn z_scores(scores: &mut [f64]) {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / count;
    let deviation = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / count).sqrt();
    // What is left of equal scores is the rounding of their mean.
    let is_flat = deviation <= f64::EPSILON * mean.abs();
    for score in scores {
        *score = if is_flat { 0.0 } else { (*score - mean) / deviation };
    }
}

/// Rows of the sentences of a class.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sides {
    /// Those that say that the finding is there.
    pub positive: Vec<usize>,
    /// Those that say that it is not.
    pub negative: Vec<usize>,
}

/// What images are compared with.
#[derive(Debug, Clone)]
pub struct Targets {
    rule: Rule,
    temperature: f64,
    vectors: Embeddings,
    classes: Vec<Sides>,
}

impl Targets {
    /// Vectors of sentences, `[P, E]` row-major, under a rule; of unit length unless [`Rule::takes_raw_vectors`].
    ///
    /// # Errors
    /// A vector that is not finite, or values that do not fill rows.
    pub fn new(rule: Rule, temperature: f64, width: usize, vectors: &[f32], classes: &[Sides]) -> Result<Self> {
        let sentences = || Embeddings::new(vectors.len() / width.max(1), width, vectors.to_vec());
        if matches!(rule, Rule::MeanLogit | Rule::MaxLogit | Rule::ZScore) {
            return Ok(Self { rule, temperature, vectors: sentences()?, classes: classes.to_vec() });
        }
        let groups: Vec<Vec<usize>> =
            classes.iter().flat_map(|class| [class.positive.clone(), class.negative.clone()]).collect();
        let rows = if rule.takes_raw_vectors() {
            means(vectors, width, &groups)
        } else {
            means(sentences()?.data(), width, &groups)
        };
        let side = |row: usize| Sides { positive: vec![2 * row], negative: vec![2 * row + 1] };
        let classes: Vec<Sides> = (0..classes.len()).map(side).collect();
        Ok(Self { rule, temperature, vectors: Embeddings::new(groups.len(), width, rows)?, classes })
    }

    /// Scores of images, before [`Rule::finish`].
    ///
    /// # Errors
    /// If images and sentences are of different widths.
    pub fn scores(&self, images: &Embeddings) -> Result<Scores> {
        if images.dim() != self.vectors.dim() {
            let what = format!("images have {} dimensions, sentences {}", images.dim(), self.vectors.dim());
            return Err(EvalError::Unfit { data: "the checkpoint".to_owned(), what });
        }
        let of_class = |class: &Sides| {
            (0..images.rows()).into_par_iter().map(|image| self.score(images, image, class)).collect::<Vec<f64>>()
        };
        Ok(self.classes.iter().map(of_class).collect())
    }

    fn score(&self, images: &Embeddings, image: usize, class: &Sides) -> f64 {
        let cosine = |row: usize| images.cosine(image, &self.vectors, row);
        let side = |rows: &[usize]| rows.first().map_or(0.0, |&row| cosine(row));
        let logits =
            |scale: f64| class.positive.iter().map(|&row| f64::from(cosine(row)) / scale).collect::<Vec<f64>>();
        match self.rule {
            Rule::Difference => f64::from(side(&class.positive) - side(&class.negative)),
            Rule::MeanLogit => mean_logit(&logits(self.temperature)),
            Rule::MaxLogit => max_logit(&logits(self.temperature)),
            Rule::MeanEmbedding | Rule::MeanRawEmbedding => f64::from(side(&class.positive)) / self.temperature,
            Rule::Pair => {
                let [positive, negative] = [&class.positive, &class.negative].map(|rows| f64::from(side(rows)));
                pair_probability(positive, negative, self.temperature)
            }
            Rule::ZScore => max_logit(&logits(1.0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLASS: [&[usize]; 2] = [&[0, 1], &[2]];

    /// Scores of the images (1, 0) and (0.6, 0.8) for a class with the sentences (1, 0) and (0, 2) against (-3, 4).
    fn scores(rule: Rule, temperature: f64) -> Vec<f64> {
        let unit = !rule.takes_raw_vectors();
        let sentences: [f32; 6] = if unit { [1.0, 0.0, 0.0, 1.0, -0.6, 0.8] } else { [1.0, 0.0, 0.0, 2.0, -3.0, 4.0] };
        let classes = [Sides { positive: CLASS[0].to_vec(), negative: CLASS[1].to_vec() }];
        let images = Embeddings::new(2, 2, vec![1.0, 0.0, 0.6, 0.8]).unwrap();
        let mut scores = Targets::new(rule, temperature, 2, &sentences, &classes).unwrap().scores(&images).unwrap();
        rule.finish(&mut scores);
        scores.remove(0)
    }

    fn assert_near(found: &[f64], wanted: [f64; 2]) {
        for (found, wanted) in found.iter().zip(wanted) {
            assert!((found - wanted).abs() < 1e-6, "{found} for {wanted}");
        }
    }

    #[test]
    fn rules_by_hand() {
        // Cosines with the sentences: image 1: 1, 0 and -0.6; image 2: 0.6, 0.8 and 0.28.
        assert_near(&scores(Rule::MeanLogit, 0.5), [1.0, 1.4]);
        assert_near(&scores(Rule::MaxLogit, 0.5), [2.0, 1.6]);
        // The mean of (1, 0) and (0, 1) points along (1, 1): cosines 1 / sqrt 2 and 1.4 / sqrt 2.
        let half = 0.5_f64.sqrt();
        assert_near(&scores(Rule::MeanEmbedding, 1.0), [half, 1.4 * half]);
        // That of (1, 0) and (0, 2) along (1, 2): 1 / sqrt 5 and (0.6 + 1.6) / sqrt 5.
        let fifth = 0.2_f64.sqrt();
        assert_near(&scores(Rule::MeanRawEmbedding, 1.0), [fifth, 2.2 * fifth]);
        let differences = [half + 0.6, 1.4 * half - 0.28];
        assert_near(&scores(Rule::Difference, 1.0), differences);
        let pair = |t: f64| differences.map(|d| (d / t).exp() / ((d / t).exp() + 1.0));
        assert_near(&scores(Rule::Pair, 1.0), pair(1.0));
        assert_near(&scores(Rule::Pair, 0.1), pair(0.1));
        // Largest cosines 1 and 0.8: 0.1 from their mean, and so is their deviation.
        assert_near(&scores(Rule::ZScore, 1.0), [1.0, -1.0]);
    }

    #[test]
    fn parts_by_hand() {
        assert!((mean_logit(&[1.0, 2.0, 6.0]) - 3.0).abs() < 1e-15);
        assert!((max_logit(&[-3.0, -1.0, -2.0]) + 1.0).abs() < 1e-15);
        // exp(0.2) / (exp(0.2) + exp(-0.1)) = 1 / (1 + exp(-0.3)).
        assert!((pair_probability(0.2, -0.1, 1.0) - 0.574_442_516_811_659).abs() < 1e-12);
        // Far beyond what exp holds.
        assert!(pair_probability(1.0, -1.0, 1e-4) <= 1.0 && pair_probability(-1.0, 1.0, 1e-4) >= 0.0);
        // Mean 3, deviation sqrt((4 + 1 + 9) / 3).
        let mut scores = [1.0, 2.0, 6.0];
        z_scores(&mut scores);
        let deviation = (14.0_f64 / 3.0).sqrt();
        for (found, wanted) in scores.iter().zip([-2.0, -1.0, 3.0]) {
            assert!((found - wanted / deviation).abs() < 1e-15);
        }
        let mut flat = [0.1 + 0.2; 7];
        z_scores(&mut flat);
        assert!(flat.iter().all(|score| *score == 0.0), "no deviation: {flat:?}");
        z_scores(&mut []);
    }

    #[test]
    fn a_class_without_negatives_is_compared_with_nothing() {
        let images = Embeddings::new(1, 2, vec![0.6, 0.8]).unwrap();
        let classes = [Sides { positive: vec![0], negative: Vec::new() }];
        let targets = Targets::new(Rule::Difference, 1.0, 2, &[1.0, 0.0], &classes).unwrap();
        assert!((targets.scores(&images).unwrap()[0][0] - 0.6).abs() < 1e-6);
        let wide = Embeddings::new(1, 3, vec![1.0; 3]).unwrap();
        assert!(targets.scores(&wide).unwrap_err().to_string().contains("3 dimensions, sentences 2"));
    }

    #[test]
    fn names_are_those_of_the_command_line() {
        let names: Vec<String> = Rule::value_variants().iter().map(|rule| rule.name()).collect();
        assert_eq!(
            names,
            ["difference", "mean-logit", "max-logit", "mean-embedding", "mean-raw-embedding", "pair", "z-score"]
        );
        for rule in Rule::value_variants() {
            assert_eq!(serde_json::to_value(rule).unwrap(), rule.name());
        }
    }
}
