//! Rankings against `NumPy` and `SciPy` (`scripts/golden/metrics.py`).

#![expect(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "tests on inputs of their own")]

use eval::metric::{Bootstrap, Clusters, chance_recall_at_k, retrieval};
use eval::ranking::{Embeddings, RankingError, rank, retrieve};
use serde::Deserialize;

use super::metric::{TOLERANCE, near};

#[derive(Deserialize)]
struct Golden {
    retrieval: Retrieval,
    chance_recall: Vec<(usize, usize, usize, f64)>,
}

#[derive(Deserialize)]
struct Retrieval {
    dim: usize,
    k: usize,
    queries: Vec<f32>,
    candidates: Vec<f32>,
    query_classes: Vec<u32>,
    classes: Vec<u32>,
    excluded: Vec<(usize, usize)>,
    results: Vec<Ranked>,
    precision_at_5: f64,
    recall_at_3: f64,
    median_rank: f64,
}

#[derive(Deserialize)]
struct Ranked {
    top: Vec<usize>,
    scores: Vec<f64>,
    precision_at_5: f64,
    recall_at_3: f64,
    first_rank: Option<usize>,
    num_matches: usize,
    chance_recall_at_3: f64,
}

fn golden() -> Golden {
    serde_json::from_str(include_str!("golden/metrics.json")).unwrap()
}

fn embeddings(dim: usize, data: &[f32]) -> Embeddings {
    Embeddings::new(data.len() / dim, dim, data.to_vec()).unwrap()
}

#[test]
fn rankings_equal_numpy() {
    let case = golden().retrieval;
    let (queries, candidates) = (embeddings(case.dim, &case.queries), embeddings(case.dim, &case.candidates));
    let exclude = |q: usize, c: usize| case.excluded.contains(&(q, c));
    let matches = |q: usize, c: usize| case.query_classes[q] == case.classes[c];
    let ranked = rank(&queries, &candidates, case.k, exclude).unwrap();
    // With k = 1 and 0 the best match lies below the list, and its rank comes from the second pass.
    let results = [case.k, 1, 0, 1000].map(|k| retrieve(&queries, &candidates, k, matches, exclude).unwrap());
    for (q, expected) in case.results.iter().enumerate() {
        assert_eq!(ranked[q].iter().map(|n| n.index).collect::<Vec<_>>(), expected.top, "query {q}");
        for (neighbour, score) in ranked[q].iter().zip(&expected.scores) {
            // f32 rows of width 11 against f64.
            assert!((f64::from(neighbour.score) - score).abs() < 1e-6, "query {q}: {neighbour:?} {score}");
            assert_eq!(neighbour.score.to_bits(), queries.cosine(q, &candidates, neighbour.index).to_bits());
        }
        for result in results.iter().map(|results| &results[q]) {
            let found = (result.first_rank, result.num_matches, result.num_candidates);
            assert_eq!(found, (expected.first_rank, expected.num_matches, 37), "query {q}");
            assert!(near(result.recall_at_k(3), Some(expected.recall_at_3), TOLERANCE));
            assert!(near(result.chance_recall_at_k(3), Some(expected.chance_recall_at_3), TOLERANCE));
        }
        assert_eq!(results[0][q].top, expected.top);
        assert!(near(results[0][q].precision_at_k(5), Some(expected.precision_at_5), TOLERANCE));
        assert_eq!((results[2][q].top.len(), results[3][q].top.len()), (0, 37));
    }
    let clusters = Clusters::singletons(queries.rows());
    let bootstrap = Bootstrap::default();
    let precision = retrieval::precision_interval(&results[0], 5, &clusters, &bootstrap).unwrap();
    let recall = retrieval::recall_interval(&results[0], 3, &clusters, &bootstrap).unwrap();
    let median = retrieval::median_rank_interval(&results[0], &clusters, &bootstrap).unwrap();
    assert!(near(precision.value, Some(case.precision_at_5), TOLERANCE), "{precision:?}");
    assert!(near(recall.value, Some(case.recall_at_3), TOLERANCE), "{recall:?}");
    assert!(near(median.value, Some(case.median_rank), TOLERANCE), "{median:?}");
}

#[test]
fn chances_of_a_hit_equal_scipy() {
    for (matches, candidates, k, expected) in golden().chance_recall {
        let found = chance_recall_at_k(matches, candidates, k);
        assert!(near(found, Some(expected), TOLERANCE), "{matches} of {candidates} at {k}: {found:?} {expected}");
    }
}

#[test]
fn rankings_do_not_depend_on_threads_or_blocks() {
    // 600 queries make several blocks and 77 candidates several panels, the last ones partly filled.
    let mut stream = data::rng::Stream::new(11);
    let mut draw = |rows: usize| (0..rows * 19).map(|_| stream.normal() as f32).collect::<Vec<_>>();
    let (queries, candidates) = (embeddings(19, &draw(600)), embeddings(19, &draw(77)));
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| rank(&queries, &candidates, 77, |q, c| q == c).unwrap())
    };
    let ranked = on(1);
    assert_eq!(ranked, on(3));
    for (q, list) in ranked.iter().enumerate() {
        let mut expected: Vec<usize> = (0..77).filter(|&c| c != q).collect();
        let score = |c: usize| queries.cosine(q, &candidates, c);
        expected.sort_by(|&a, &b| score(b).total_cmp(&score(a)).then(a.cmp(&b)));
        assert_eq!(list.iter().map(|n| n.index).collect::<Vec<_>>(), expected, "query {q}");
    }
}

#[test]
fn rankings_equal_brute_force_with_ties() {
    // Wider than a block of dimensions; a third of the candidates repeat others, so that their scores must tie.
    let dim = 300;
    let mut stream = data::rng::Stream::new(23);
    let mut draw = |rows: usize| (0..rows * dim).map(|_| stream.normal() as f32).collect::<Vec<_>>();
    let (queries, mut rows) = (embeddings(dim, &draw(9)), draw(100));
    rows.extend_from_within(20 * dim..70 * dim);
    let candidates = embeddings(dim, &rows);
    let chain = |q: usize, c: usize| {
        let pairs = queries.row(q).iter().zip(candidates.row(c));
        pairs.fold(0.0, |sum: f32, (a, b)| a.mul_add(*b, sum)) + 0.0
    };
    let exclude = |q: usize, c: usize| (q + c).is_multiple_of(11);
    let ranked = rank(&queries, &candidates, 40, exclude).unwrap();
    for (q, list) in ranked.iter().enumerate() {
        let mut expected: Vec<(usize, f32)> = (0..150).filter(|&c| !exclude(q, c)).map(|c| (c, chain(q, c))).collect();
        expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let found: Vec<(usize, u32)> = list.iter().map(|n| (n.index, n.score.to_bits())).collect();
        assert_eq!(found, expected[..40].iter().map(|n| (n.0, n.1.to_bits())).collect::<Vec<_>>(), "query {q}");
        let repeated = list.windows(2).filter(|w| w[0].score.to_bits() == w[1].score.to_bits()).count();
        assert!(repeated > 5, "only {repeated} ties in the list of query {q}");
    }
}

#[test]
fn equal_scores_rank_by_row_number() {
    // Rows 0, 2 and 4 point exactly the same way, whatever their length; row 3 is zero and scores 0.
    let (tiny, huge) = (2f32.powi(-30), 2f32.powi(100));
    let rows = [[3.0, 4.0], [-1.0, 0.0], [3.0 * tiny, 4.0 * tiny], [0.0, 0.0], [3.0 * huge, 4.0 * huge]];
    let candidates = embeddings(2, rows.as_flattened());
    let query = embeddings(2, &[1.0, 0.0]);
    let order = |k: usize| {
        let ranked = rank(&query, &candidates, k, |_, _| false).unwrap();
        ranked[0].iter().map(|n| (n.index, n.score)).collect::<Vec<_>>()
    };
    assert_eq!(order(2), [(0, 0.6), (2, 0.6)]);
    assert_eq!(order(9), [(0, 0.6), (2, 0.6), (4, 0.6), (3, 0.0), (1, -1.0)]);
    // The rank of the only match counts the equal rows before it.
    let found = retrieve(&query, &candidates, 1, |_, c| c == 4, |_, c| c == 2).unwrap();
    assert_eq!((found[0].first_rank, found[0].num_candidates), (Some(2), 4));
    let nothing = retrieve(&query, &candidates, 3, |_, c| c == 2, |_, c| c == 2).unwrap();
    assert_eq!((nothing[0].first_rank, nothing[0].precision_at_k(3), nothing[0].recall_at_k(3)), (None, None, None));
}

#[test]
fn what_cannot_be_ranked_is_an_error() {
    assert_eq!(Embeddings::new(2, 3, vec![0.0; 5]), Err(RankingError::Shape { rows: 2, dim: 3, found: 5 }));
    assert_eq!(Embeddings::new(0, 0, Vec::new()), Err(RankingError::Shape { rows: 0, dim: 0, found: 0 }));
    let broken = Embeddings::new(2, 2, vec![0.0, 1.0, 2.0, f32::NAN]);
    assert_eq!(broken, Err(RankingError::NotFinite { row: 1, column: 1 }));
    let (narrow, wide) = (embeddings(1, &[1.0]), embeddings(2, &[1.0, 0.0]));
    assert_eq!(rank(&narrow, &wide, 1, |_, _| false), Err(RankingError::Width { queries: 1, candidates: 2 }));
    let none = Embeddings::new(0, 2, Vec::new()).unwrap();
    assert_eq!(rank(&none, &wide, 1, |_, _| false), Ok(Vec::new()));
    assert_eq!(rank(&wide, &none, 1, |_, _| false), Ok(vec![Vec::new()]));
}
