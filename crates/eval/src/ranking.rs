//! Exact ranking of candidates by cosine similarity, on the host.
//!
//! Scores are `f32` and depend on the two rows alone: never on the block that they were computed in, on the number of
//! threads or on the machine (`tiles` says why). Equal rows therefore tie exactly, and ties have one rule: the higher score
//! first, then the lower row number.
//!
//! Shape legend: Q queries, N candidates, D width.

mod tiles;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rayon::prelude::*;

use crate::metric::QueryResult;
use tiles::{PANEL, Tiles};

/// Most queries that share one pass over the candidates: enough that laying a panel out costs little beside scoring it.
const QUERY_BLOCK: usize = 512;
/// Norms below this count as this, so that a row of zeros stays zero.
const NORM_FLOOR: f64 = 1e-12;

/// Why embeddings cannot be ranked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RankingError {
    /// The number of values does not fit the shape.
    #[error("{found} values do not fill {rows} rows of {dim}: the width must be positive and the product must match")]
    Shape {
        /// Number of rows.
        rows: usize,
        /// Width of a row.
        dim: usize,
        /// Number of values.
        found: usize,
    },
    /// A value is NaN or infinite.
    #[error("embedding {row} holds a NaN or an infinity at position {column}: look for an overflow in the model")]
    NotFinite {
        /// Row of the first such value.
        row: usize,
        /// Its position in the row.
        column: usize,
    },
    /// Queries and candidates live in different spaces.
    #[error("queries have {queries} dimensions but candidates {candidates}: embed both with the same checkpoint")]
    Width {
        /// Width of the queries.
        queries: usize,
        /// Width of the candidates.
        candidates: usize,
    },
}

/// Rows of length 1 (or 0, where the original row was all zeros).
#[derive(Debug, Clone, PartialEq)]
pub struct Embeddings {
    rows: usize,
    dim: usize,
    data: Vec<f32>,
}

/// One ranked candidate.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Neighbour {
    /// Row number of the candidate.
    pub index: usize,
    /// Cosine similarity.
    pub score: f32,
}

impl Embeddings {
    /// `data` (`[rows, dim]`, row-major) with every row divided by the larger of its Euclidean norm and `1e-12`.
    ///
    /// # Errors
    /// A shape that does not fit, and a value that is NaN or infinite.
    pub fn new(rows: usize, dim: usize, mut data: Vec<f32>) -> Result<Self, RankingError> {
        if dim == 0 || rows.checked_mul(dim) != Some(data.len()) {
            return Err(RankingError::Shape { rows, dim, found: data.len() });
        }
        if let Some(position) = data.iter().position(|value| !value.is_finite()) {
            return Err(RankingError::NotFinite { row: position / dim, column: position % dim });
        }
        data.par_chunks_exact_mut(dim).for_each(normalise);
        Ok(Self { rows, dim, data })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Width of a row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// All values, row-major.
    pub fn data(&self) -> &[f32] {
        &self.data
    }

    /// One row.
    ///
    /// # Panics
    /// Panics if there is no such row.
    pub fn row(&self, index: usize) -> &[f32] {
        &self.data[index * self.dim..(index + 1) * self.dim]
    }

    /// The cosine similarity of a row with a row of `other`, the very value that rankings use.
    ///
    /// # Panics
    /// Panics if there is no such row or the widths differ.
    pub fn cosine(&self, row: usize, other: &Self, other_row: usize) -> f32 {
        assert_eq!(self.dim, other.dim, "a cosine needs rows of equal width");
        tiles::score(self.row(row), other.row(other_row))
    }
}

#[expect(clippy::cast_possible_truncation, reason = "the quotient has magnitude 1 at most")]
fn normalise(row: &mut [f32]) {
    // In f64, so that rows of very large or very small values neither overflow nor vanish.
    let norm = row.iter().map(|&x| f64::from(x) * f64::from(x)).sum::<f64>().sqrt().max(NORM_FLOOR);
    for x in row {
        *x = (f64::from(*x) / norm) as f32;
    }
}

/// The best `k` candidates of every query, best first.
///
/// Candidates for which `exclude(query, candidate)` holds (the query itself, say) are left out.
///
/// # Errors
/// Widths that differ.
pub fn rank<E>(
    queries: &Embeddings,
    candidates: &Embeddings,
    k: usize,
    exclude: E,
) -> Result<Vec<Vec<Neighbour>>, RankingError>
where
    E: Fn(usize, usize) -> bool + Sync,
{
    check_widths(queries, candidates)?;
    Ok(by_query_block(queries, |block| {
        let mut best: Vec<Best> = block.clone().map(|_| Best::new(k)).collect();
        sweep(queries, &block.clone().collect::<Vec<_>>(), candidates, |slot, first, scores| {
            // Few panels hold a score that enters: find those without a branch for each candidate.
            if highest(scores) <= best[slot].bar {
                return;
            }
            let query = block.start + slot;
            for (index, &score) in (first..).zip(scores) {
                if best[slot].would_enter(score) && !exclude(query, index) {
                    best[slot].push(Neighbour { index, score });
                }
            }
        });
        best.into_iter().map(Best::into_sorted).collect()
    }))
}

/// What every query finds: its best `k` candidates and the rank of its best match among all of them.
///
/// `matches(query, candidate)` says what a hit is; `exclude` as in [`rank`]. Memory is `O(Q k)`.
///
/// # Errors
/// Widths that differ.
pub fn retrieve<M, E>(
    queries: &Embeddings,
    candidates: &Embeddings,
    k: usize,
    matches: M,
    exclude: E,
) -> Result<Vec<QueryResult>, RankingError>
where
    M: Fn(usize, usize) -> bool + Sync,
    E: Fn(usize, usize) -> bool + Sync,
{
    check_widths(queries, candidates)?;
    Ok(by_query_block(queries, |block| {
        let mut found: Vec<Found> = block.clone().map(|_| Found::new(k)).collect();
        sweep(queries, &block.clone().collect::<Vec<_>>(), candidates, |slot, first, scores| {
            let query = block.start + slot;
            for (index, &score) in (first..).zip(scores) {
                if !exclude(query, index) {
                    found[slot].see(Neighbour { index, score }, matches(query, index));
                }
            }
        });
        let mut better = vec![0; found.len()];
        // The rank of a match below the best k takes a second pass, now that its score is known.
        let late: Vec<usize> = (0..found.len()).filter(|&slot| found[slot].is_late()).collect();
        let rows: Vec<usize> = late.iter().map(|slot| block.start + slot).collect();
        sweep(queries, &rows, candidates, |position, first, scores| {
            let slot = late[position];
            if let Some(target) = found[slot].best_match {
                let ahead = |&(index, &score): &(usize, &f32)| {
                    order(Neighbour { index, score }, target).is_lt() && !exclude(rows[position], index)
                };
                better[slot] += (first..).zip(scores).filter(ahead).count();
            }
        });
        let results = found.into_iter().zip(better).enumerate();
        results
            .map(|(slot, (found, better))| found.finish(better, |index| matches(block.start + slot, index)))
            .collect()
    }))
}

fn check_widths(queries: &Embeddings, candidates: &Embeddings) -> Result<(), RankingError> {
    if queries.dim == candidates.dim {
        Ok(())
    } else {
        Err(RankingError::Width { queries: queries.dim, candidates: candidates.dim })
    }
}

/// The one order of candidates: higher score first, then lower row number.
fn order(a: Neighbour, b: Neighbour) -> Ordering {
    b.score.total_cmp(&a.score).then(a.index.cmp(&b.index))
}

/// Runs `work` on blocks of queries in parallel and joins the results in the order of the queries.
fn by_query_block<T: Send>(queries: &Embeddings, work: impl Fn(std::ops::Range<usize>) -> Vec<T> + Sync) -> Vec<T> {
    let block = queries.rows.div_ceil(rayon::current_num_threads()).clamp(1, QUERY_BLOCK);
    let starts: Vec<usize> = (0..queries.rows).step_by(block).collect();
    let parts: Vec<Vec<T>> =
        starts.into_par_iter().map(|start| work(start..(start + block).min(queries.rows))).collect();
    parts.into_iter().flatten().collect()
}

/// Scores the query `rows` against all candidates; `visit(position in rows, first candidate, scores)` sees every
/// query's candidates in ascending order, a panel at a time.
fn sweep(queries: &Embeddings, rows: &[usize], candidates: &Embeddings, mut visit: impl FnMut(usize, usize, &[f32])) {
    if rows.is_empty() {
        return;
    }
    let mut tiles = Tiles::new(rows.iter().map(|&row| queries.row(row)), queries.dim);
    for first in (0..candidates.rows).step_by(PANEL) {
        let width = PANEL.min(candidates.rows - first);
        let scores = tiles.score((first..first + width).map(|candidate| candidates.row(candidate)));
        for (position, scores) in scores.iter().take(rows.len()).enumerate() {
            visit(position, first, &scores[..width]);
        }
    }
}

/// The highest of some scores; without any, less than all scores.
fn highest(scores: &[f32]) -> f32 {
    // Not `f32::max`, whose care for NaN costs instructions: scores are finite.
    scores.iter().fold(f32::NEG_INFINITY, |highest, &score| if score > highest { score } else { highest })
}

/// The best `k` of the candidates seen so far.
struct Best {
    k: usize,
    /// What the score of the next candidate must exceed. Candidates come in ascending order, so one that ties with the last
    /// of the best stays out.
    bar: f32,
    heap: BinaryHeap<Worst>,
}

/// Orders candidates so that a heap's top is the one to drop first.
struct Worst(Neighbour);

impl Ord for Worst {
    fn cmp(&self, other: &Self) -> Ordering {
        order(self.0, other.0)
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}

impl Best {
    fn new(k: usize) -> Self {
        Self { k, bar: if k == 0 { f32::INFINITY } else { f32::NEG_INFINITY }, heap: BinaryHeap::new() }
    }

    fn would_enter(&self, score: f32) -> bool {
        score > self.bar
    }

    fn push(&mut self, candidate: Neighbour) {
        if self.heap.len() == self.k {
            self.heap.pop();
        }
        self.heap.push(Worst(candidate));
        if let Some(worst) = self.heap.peek().filter(|_| self.heap.len() == self.k) {
            self.bar = worst.0.score;
        }
    }

    fn into_sorted(self) -> Vec<Neighbour> {
        self.heap.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
    }
}

/// What one query has met so far.
struct Found {
    best: Best,
    best_match: Option<Neighbour>,
    num_matches: usize,
    num_candidates: usize,
}

impl Found {
    fn new(k: usize) -> Self {
        Self { best: Best::new(k), best_match: None, num_matches: 0, num_candidates: 0 }
    }

    fn see(&mut self, candidate: Neighbour, is_match: bool) {
        self.num_candidates += 1;
        self.num_matches += usize::from(is_match);
        if is_match && self.best_match.is_none_or(|best| order(candidate, best).is_lt()) {
            self.best_match = Some(candidate);
        }
        if self.best.would_enter(candidate.score) {
            self.best.push(candidate);
        }
    }

    /// Whether the best match is not among the best `k`.
    fn is_late(&self) -> bool {
        self.best_match.is_some_and(|target| self.best.heap.iter().all(|entry| entry.0.index != target.index))
    }

    /// `better` candidates precede a best match that is not among the best `k`.
    fn finish(self, better: usize, matches: impl Fn(usize) -> bool) -> QueryResult {
        let late = self.is_late();
        let top: Vec<usize> = self.best.into_sorted().into_iter().map(|neighbour| neighbour.index).collect();
        let hits: Vec<bool> = top.iter().map(|&index| matches(index)).collect();
        let early = hits.iter().position(|&hit| hit).map(|position| position + 1);
        let first_rank = if late { Some(better + 1) } else { early };
        QueryResult { top, hits, first_rank, num_matches: self.num_matches, num_candidates: self.num_candidates }
    }
}
