//! Dot products of many rows with many rows, at the speed of a matrix product and equal to the last bit wherever computed.
//!
//! A score is one chain of fused multiply-adds in the order of the dimensions, starting at 0: `f32::mul_add` rounds once on
//! every machine, so neither the tile that a score falls into nor the width of the vector units shows in it. What is left
//! free is which scores are computed side by side: [`STRIP`] queries with [`PANEL`] candidates, whose sums fill the registers
//! of AVX2 and NEON, and [`DEPTH`] dimensions at a time, so that a panel stays in the first cache while all queries pass.
//! Sums wait in memory between two blocks of dimensions and go on where they stopped, which rounds nothing.
//!
//! A processor without fused multiply-adds (x86-64 before 2013) computes them in software, correctly and slowly.
//!
//! # Source
//! The blocking of Goto and van de Geijn, "Anatomy of high-performance matrix multiplication", ACM TOMS 34 (2008), without
//! its partial sums.

use macerator::{AutoArch, Simd, WithSimd};

/// Queries of one tile.
const STRIP: usize = 6;
/// Candidates that are scored together.
pub(super) const PANEL: usize = 16;
/// Dimensions of one pass: a panel of them has 16 KiB.
const DEPTH: usize = 256;

/// Queries laid out in strips, with room for a panel of candidates and for their scores.
pub(super) struct Tiles {
    dim: usize,
    /// `[Q / STRIP, D]`, filled up with zeros.
    strips: Vec<[f32; STRIP]>,
    /// `[D]`.
    panel: Vec<[f32; PANEL]>,
    /// `[Q / STRIP]`.
    sums: Vec<[[f32; PANEL]; STRIP]>,
}

impl Tiles {
    /// Queries of width `dim`.
    pub(super) fn new<'a>(queries: impl ExactSizeIterator<Item = &'a [f32]>, dim: usize) -> Self {
        let strips = queries.len().div_ceil(STRIP);
        let mut tiles = Self {
            dim,
            strips: vec![[0.0; STRIP]; strips * dim],
            panel: vec![[0.0; PANEL]; dim],
            sums: vec![[[0.0; PANEL]; STRIP]; strips],
        };
        for (position, query) in queries.enumerate() {
            let strip = &mut tiles.strips[position / STRIP * dim..][..dim];
            strip.iter_mut().zip(query).for_each(|(values, &value)| values[position % STRIP] = value);
        }
        tiles
    }

    /// The scores of every query, and of some rows without a meaning after the last, with at most [`PANEL`] candidates;
    /// places beyond their number have no meaning either.
    pub(super) fn score<'a>(&mut self, candidates: impl Iterator<Item = &'a [f32]>) -> &[[f32; PANEL]] {
        for (lane, candidate) in candidates.enumerate() {
            self.panel.iter_mut().zip(candidate).for_each(|(column, &value)| column[lane] = value);
        }
        self.sums.fill([[0.0; PANEL]; STRIP]);
        let (strips, panel, sums) = (&self.strips, &self.panel, &mut self.sums);
        AutoArch::new().dispatch(Pass { dim: self.dim, strips, panel, sums });
        self.sums.as_flattened()
    }
}

/// The dot product of two rows, the same that [`Tiles`] finds.
pub(super) fn score(row: &[f32], other: &[f32]) -> f32 {
    let mut sums = [[[0.0]]];
    let pass = Pass { dim: row.len(), strips: row.as_chunks().0, panel: other.as_chunks().0, sums: &mut sums };
    AutoArch::new().dispatch(pass);
    sums[0][0][0]
}

/// All strips (`[Q / S, D]`) with one panel (`[D]`).
struct Pass<'a, const S: usize, const P: usize> {
    dim: usize,
    strips: &'a [[f32; S]],
    panel: &'a [[f32; P]],
    sums: &'a mut [[[f32; P]; S]],
}

impl<const S: usize, const P: usize> WithSimd for Pass<'_, S, P> {
    type Output = ();

    #[expect(clippy::inline_always, reason = "into a function that may use all vector instructions of the machine")]
    #[inline(always)]
    fn with_simd<V: Simd>(self) {
        for start in (0..self.dim).step_by(DEPTH) {
            let depth = start..self.dim.min(start + DEPTH);
            let panel = &self.panel[depth.clone()];
            for (strip, sums) in self.strips.chunks_exact(self.dim).zip(&mut *self.sums) {
                add_products(&strip[depth.clone()], panel, sums);
            }
        }
        for sum in self.sums.as_flattened_mut().as_flattened_mut() {
            // A product that underflows below zero leaves -0.0, which would order before 0.0.
            *sum += 0.0;
        }
    }
}

/// Goes on with the sums of one tile.
#[expect(clippy::inline_always, reason = "as above: compiled apart, it would be for the oldest machine")]
#[inline(always)]
fn add_products<const S: usize, const P: usize>(strip: &[[f32; S]], panel: &[[f32; P]], sums: &mut [[f32; P]; S]) {
    // A copy that is known to lie apart from the operands, and so in registers.
    let mut local = *sums;
    for (values, column) in strip.iter().zip(panel) {
        for (sums, value) in local.iter_mut().zip(values) {
            for (sum, &other) in sums.iter_mut().zip(column) {
                *sum = value.mul_add(other, *sum);
            }
        }
    }
    *sums = local;
}

#[cfg(test)]
mod tests {
    use data::rng::Stream;

    use super::*;

    /// As the module says it.
    fn chain(row: &[f32], other: &[f32]) -> f32 {
        row.iter().zip(other).fold(0.0, |sum: f32, (a, b)| a.mul_add(*b, sum)) + 0.0
    }

    #[test]
    #[expect(clippy::cast_possible_truncation, reason = "values of any kind do")]
    fn scores_are_chains_in_any_tile() {
        // Widths around a block of dimensions, numbers around a strip and a panel.
        let mut stream = Stream::new(5);
        for (dim, rows, lanes) in [(1, 1, 1), (3, 7, 5), (DEPTH, STRIP, PANEL), (2 * DEPTH + 1, STRIP + 1, PANEL - 1)] {
            let mut draw = |rows: usize| -> Vec<Vec<f32>> {
                (0..rows).map(|_| (0..dim).map(|_| stream.unit() as f32 - 0.5).collect()).collect()
            };
            let (queries, candidates) = (draw(rows), draw(lanes));
            let mut tiles = Tiles::new(queries.iter().map(Vec::as_slice), dim);
            // Twice, since sums start anew.
            for _ in 0..2 {
                let scores = tiles.score(candidates.iter().map(Vec::as_slice));
                for (query, scores) in queries.iter().zip(scores) {
                    for (candidate, found) in candidates.iter().zip(scores) {
                        let expected = chain(query, candidate).to_bits();
                        assert_eq!((found.to_bits(), score(query, candidate).to_bits()), (expected, expected));
                    }
                }
            }
        }
    }

    #[test]
    fn no_score_is_a_negative_zero() {
        // -1e-60 rounds to -0.0.
        assert_eq!(score(&[1e-30], &[-1e-30]).to_bits(), 0);
        assert_eq!(score(&[0.0], &[-1.0]).to_bits(), 0);
    }
}
