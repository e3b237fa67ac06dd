//! Words of a report from its word pieces: which tokens are one word, and what becomes of their vectors.
//!
//! Wang et al., "Multi-granularity cross-modal alignment for generalized medical visual representation learning" (`MGCA`), 2022,
//! section 3.2: pieces of a word are added up; `[CLS]`, the first token, stands for the report and is no word.
//!
//! Shape letters: `B` reports, `T` tokens, `M` words of the longest report, `R` words of all reports, `N` heads, `D` width.

use std::ops::Range;

use burn::tensor::{Bool, Device, Int, Tensor, TensorData, assert_shape};
use serde::{Deserialize, Serialize};

/// What counts as a word, where paper and published code of `MGCA` differ.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WordRules {
    /// Whether the mark at the end of a report is a word of its own.
    pub separator_is_word: bool,
    /// Whether a report of as many tokens as a report may have loses its last word and the mark at its end.
    pub full_text_truncated: bool,
}

/// The words of a batch of reports as ranges of tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WordPlan {
    reports: Vec<Vec<Range<usize>>>,
    tokens: usize,
    rows: usize,
}

impl WordPlan {
    /// Finds the words of reports of `tokens` tokens each, row-major, 1 in the mask where there is text. `continues` tells
    /// whether a piece goes on with the word before it; `max_tokens` is the length at which reports are cut.
    pub fn new(
        input_ids: &[u32],
        attention_mask: &[u32],
        tokens: usize,
        max_tokens: usize,
        rules: WordRules,
        continues: impl Fn(u32) -> bool,
    ) -> Self {
        let reports: Vec<Vec<Range<usize>>> = input_ids
            .chunks(tokens)
            .zip(attention_mask.chunks(tokens))
            .map(|(ids, mask)| {
                words(ids, mask.iter().filter(|&&mark| mark == 1).count(), max_tokens, rules, &continues)
            })
            .collect();
        // A side of a tensor must not be zero.
        let rows = reports.iter().map(Vec::len).max().unwrap_or(0).max(1);
        Self { reports, tokens, rows }
    }

    /// The same with room for `rows` words, if that is more.
    #[must_use]
    pub fn padded_to(self, rows: usize) -> Self {
        Self { rows: self.rows.max(rows), ..self }
    }

    /// Tokens of the words of each report.
    pub fn reports(&self) -> &[Vec<Range<usize>>] {
        &self.reports
    }

    /// The words on a device.
    pub fn upload(&self, device: &Device) -> Words {
        let (b, m, t) = (self.reports.len(), self.rows, self.tokens);
        let mut membership = vec![0.0_f32; b * m * t];
        let (mut rows, mut places) = (Vec::new(), vec![0_i64; b * m]);
        for (report, words) in self.reports.iter().enumerate() {
            for (word, range) in words.iter().enumerate() {
                let row = report * m + word;
                membership[row * t..][range.clone()].fill(1.0);
                rows.push(i64::try_from(row).unwrap_or(i64::MAX));
                // Row 0 of what is spread out again is padding.
                places[row] = i64::try_from(rows.len()).unwrap_or(i64::MAX);
            }
        }
        let count = rows.len();
        let places = Tensor::<1, Int>::from_data(TensorData::new(places, [b * m]), device);
        Words {
            membership: Tensor::from_data(TensorData::new(membership, [b, m, t]), device),
            padding: places.clone().equal_scalar(0).reshape([b, m]),
            rows: Tensor::from_data(TensorData::new(rows, [count]), device),
            places,
        }
    }
}

/// Tokens of the words of one report of `length` tokens.
fn words(
    ids: &[u32],
    length: usize,
    max_tokens: usize,
    rules: WordRules,
    continues: &impl Fn(u32) -> bool,
) -> Vec<Range<usize>> {
    let separator = length.saturating_sub(1);
    let mut words: Vec<Range<usize>> = Vec::new();
    for (token, &id) in ids.iter().enumerate().take(separator).skip(1) {
        match words.last_mut() {
            Some(word) if continues(id) => word.end = token + 1,
            _ => words.push(token..token + 1),
        }
    }
    if rules.full_text_truncated && length == max_tokens {
        words.pop();
    } else if rules.separator_is_word && separator > 0 {
        words.push(separator..length);
    }
    words
}

/// The words of a batch of reports on a device.
#[derive(Debug, Clone)]
pub struct Words {
    /// 1 where a token is part of a word, `[B, M, T]`.
    membership: Tensor<3>,
    /// True where there is no word, `[B, M]`.
    pub padding: Tensor<2, Bool>,
    /// Of `B * M` places those that hold a word, `[R]`.
    rows: Tensor<1, Int>,
    /// For each of `B * M` places the number of its word, from 1; 0 at padding.
    places: Tensor<1, Int>,
}

impl Words {
    /// One vector per word, the sum of those of its tokens; zero at padding.
    ///
    /// # Shapes
    /// `[B, T, D]` to `[B, M, D]`.
    ///
    /// # Panics
    /// If the tokens are not those of the reports.
    pub fn merge(&self, tokens: Tensor<3>) -> Tensor<3> {
        let [b, _, t] = self.membership.dims();
        assert_shape!(tokens, [b, t, _]);
        self.membership.clone().matmul(tokens)
    }

    /// What `[CLS]` pays to each word: the sum over its tokens of the mean over the heads of a layer's attention, without a
    /// gradient. Where it is `shifted`, a token has the share of the one after it, as in the published code.
    ///
    /// # Shapes
    /// `[B, N, T, T]` to `[B, M]`.
    ///
    /// # Panics
    /// If the tokens are not those of the reports.
    pub fn attention(&self, attention: Tensor<4>, shifted: bool) -> Tensor<2> {
        let [b, m, t] = self.membership.dims();
        let heads = attention.dims()[1];
        assert_shape!(attention, [b, heads, t, t]);
        let share = attention.detach().narrow(2, 0, 1).mean_dim(1).reshape([b, t]);
        let share = if shifted {
            let none = Tensor::zeros([b, 1], &share.device());
            Tensor::cat(vec![share.narrow(1, 1, t - 1), none], 1)
        } else {
            share
        };
        self.membership.clone().matmul(share.reshape([b, t, 1])).reshape([b, m])
    }

    /// The rows of true words alone.
    ///
    /// # Shapes
    /// `[B, M, D]` to `[R, D]`.
    pub fn gather(&self, words: Tensor<3>) -> Tensor<2> {
        let [b, m, d] = words.dims();
        words.reshape([b * m, d]).select(0, self.rows.clone())
    }

    /// The inverse of [`Words::gather`], with zeros at padding.
    ///
    /// # Shapes
    /// `[R, D]` to `[B, M, D]`.
    pub fn spread(&self, rows: Tensor<2>) -> Tensor<3> {
        let ([b, m], [_, d]) = (self.padding.dims(), rows.dims());
        let none = Tensor::zeros([1, d], &rows.device());
        Tensor::cat(vec![none, rows], 0).select(0, self.places.clone()).reshape([b, m, d])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLS: u32 = 2;
    const SEP: u32 = 3;
    const PUBLISHED: WordRules = WordRules { separator_is_word: true, full_text_truncated: true };

    /// Words of one report whose pieces from 100 on go on with the word before.
    fn plan(ids: &[u32], length: usize, max_tokens: usize, rules: WordRules) -> Vec<Range<usize>> {
        let mask: Vec<u32> = (0..ids.len()).map(|t| u32::from(t < length)).collect();
        WordPlan::new(ids, &mask, ids.len(), max_tokens, rules, |id| id >= 100).reports()[0].clone()
    }

    #[test]
    fn pieces_join_the_word_before_them() {
        let ids = [CLS, 7, 100, 101, 8, SEP, 0, 0];
        assert_eq!(plan(&ids, 6, 8, WordRules::default()), [1..4, 4..5]);
        assert_eq!(plan(&ids, 6, 8, PUBLISHED), [1..4, 4..5, 5..6]);
        // A piece with nothing before it begins a word: `[CLS]` is none.
        assert_eq!(plan(&[CLS, 100, 8, SEP], 4, 9, WordRules::default()), [1..2, 2..3]);
    }

    #[test]
    fn a_full_report_loses_its_end_in_the_published_code() {
        let ids = [CLS, 7, 8, 100, SEP];
        let kept = plan(&ids, 5, 5, PUBLISHED);
        assert_eq!((kept.len(), kept[0].clone()), (1, 1..2));
        assert_eq!(plan(&ids, 5, 6, PUBLISHED), [1..2, 2..4, 4..5]);
        assert_eq!(plan(&ids, 5, 5, WordRules::default()), [1..2, 2..4]);
    }

    #[test]
    fn texts_without_a_word_have_none() {
        for length in 0..3 {
            assert!(plan(&[CLS, SEP, 0], length, 3, WordRules::default()).is_empty());
        }
        let plan = WordPlan::new(&[CLS, SEP], &[1, 1], 2, 9, WordRules::default(), |_| false);
        assert_eq!(plan.rows, 1);
    }
}
