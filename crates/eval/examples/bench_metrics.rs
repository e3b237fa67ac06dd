//! Seconds of an AUROC with its bootstrap, and of exact neighbours, on data that `scripts/bench_metrics.py` writes.
//!
//! `cargo run --release -p eval --example bench_metrics -- FOLDER` reads the folder, then answers every line of standard input
//! (`auroc` or `rank`) with one line of JSON: the script asks it in turn with scikit-learn and FAISS.

use std::error::Error;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;

use engine::clock::Stopwatch;
use eval::metric::{Bootstrap, Clusters, auroc_interval};
use eval::ranking::{Embeddings, rank};
use serde::Deserialize;
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Sizes of the files beside `setup.json`.
#[derive(Deserialize)]
struct Setup {
    resamples: usize,
    candidates: usize,
    queries: usize,
    dim: usize,
    k: usize,
}

/// What is measured on.
struct Data {
    setup: Setup,
    scores: Vec<f32>,
    labels: Vec<bool>,
    candidates: Embeddings,
    queries: Embeddings,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("name the folder of the data")?;
    let data = Data::read(Path::new(&folder))?;
    let mut out = std::io::stdout();
    writeln!(out, "ready")?;
    for line in std::io::stdin().lock().lines() {
        let answer = match line?.trim() {
            "auroc" => data.auroc()?,
            "rank" => data.rank()?,
            other => return Err(format!("unknown: {other}").into()),
        };
        writeln!(out, "{answer}")?;
    }
    Ok(())
}

impl Data {
    fn read(folder: &Path) -> Result<Self, Box<dyn Error>> {
        let setup: Setup = serde_json::from_slice(&std::fs::read(folder.join("setup.json"))?)?;
        let embeddings = |name: &str, rows: usize| -> Result<Embeddings, Box<dyn Error>> {
            Ok(Embeddings::new(rows, setup.dim, floats(&folder.join(name))?)?)
        };
        let candidates = embeddings("candidates.f32", setup.candidates)?;
        let queries = embeddings("queries.f32", setup.queries)?;
        let scores = floats(&folder.join("scores.f32"))?;
        let labels = std::fs::read(folder.join("labels.u8"))?.into_iter().map(|label| label == 1).collect();
        Ok(Self { setup, scores, labels, candidates, queries })
    }

    fn auroc(&self) -> Result<Value, Box<dyn Error>> {
        let bootstrap = Bootstrap { resamples: self.setup.resamples, ..Bootstrap::default() };
        let clock = Stopwatch::start();
        let clusters = Clusters::singletons(self.scores.len());
        let interval = auroc_interval(&self.scores, &self.labels, &clusters, &bootstrap)?;
        Ok(json!({ "seconds": clock.seconds(), "interval": interval }))
    }

    fn rank(&self) -> Result<Value, Box<dyn Error>> {
        let clock = Stopwatch::start();
        let found = rank(&self.queries, &self.candidates, self.setup.k, |_, _| false)?;
        let seconds = clock.seconds();
        let top: Vec<Vec<usize>> = found.iter().map(|list| list.iter().map(|n| n.index).collect()).collect();
        Ok(json!({ "seconds": seconds, "top": top }))
    }
}

/// The little-endian floats of a file, read without a second copy of it.
fn floats(file: &Path) -> Result<Vec<f32>, Box<dyn Error>> {
    let mut reader = BufReader::with_capacity(1 << 20, std::fs::File::open(file)?);
    let count = usize::try_from(std::fs::metadata(file)?.len())? / 4;
    let mut values = Vec::with_capacity(count);
    let mut bytes = [0; 4];
    for _ in 0..count {
        reader.read_exact(&mut bytes)?;
        values.push(f32::from_le_bytes(bytes));
    }
    Ok(values)
}
