"""Metrics and rankings beside scikit-learn and FAISS, alternately in one run on the same data.

    pip install scikit-learn faiss-cpu
    cargo build --release -p eval --example bench_metrics
    python scripts/bench_metrics.py [--rounds 5] [--tiny]

AUROC of a million scores with the interval of 1,000 resamples: scikit-learn's side is a loop of `roc_auc_score` over resampled
rows, of which `--loop` are timed and scaled to all. Neighbours: the 10 nearest of 377,110 candidates (the images of MIMIC-CXR)
with 512 dimensions for 1,000 queries, exact, against FAISS's `IndexFlatIP`. Two threads on both sides; reading, normalising and
building the index are not timed. `--tiny` shrinks everything to see that it runs; `--program` names another build.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

THREADS = 2
# Before FAISS and NumPy are loaded: no thread of theirs spins while the other side is timed.
os.environ.update(OMP_NUM_THREADS=str(THREADS), OPENBLAS_NUM_THREADS=str(THREADS), OMP_WAIT_POLICY="passive")

import faiss
import numpy as np
from sklearn.metrics import roc_auc_score

PROGRAM = Path(__file__).resolve().parents[1] / "target/release/examples/bench_metrics"


def write_data(folder, sizes):
    """Scores with labels, and rows of length 1; everything as raw little-endian numbers."""
    rng = np.random.default_rng(0)
    labels = rng.random(sizes["items"]) < 0.1
    scores = (rng.standard_normal(sizes["items"]) + labels).astype(np.float32)
    labels.astype(np.uint8).tofile(folder / "labels.u8")
    scores.tofile(folder / "scores.f32")
    rows = {}
    for name in ("candidates", "queries"):
        rows[name] = rng.standard_normal((sizes[name], sizes["dim"]), dtype=np.float32)
        faiss.normalize_L2(rows[name])
        rows[name].tofile(folder / f"{name}.f32")
    (folder / "setup.json").write_text(json.dumps(sizes))
    return scores, labels, rows["candidates"], rows["queries"]


class Program:
    """The Rust side: one process that has read the data and answers lines."""

    def __init__(self, program, folder):
        environment = dict(os.environ, RAYON_NUM_THREADS=str(THREADS))
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen([program, str(folder)], env=environment, **pipes)
        assert self.process.stdout.readline().strip() == "ready"

    def ask(self, what):
        self.process.stdin.write(what + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def sklearn_seconds(scores, labels, resamples, timed, rng):
    """Seconds of the whole loop, scaled from some of its rounds, and the AUROC of the sample."""
    start = time.perf_counter()
    value = roc_auc_score(labels, scores)
    whole = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(timed):
        rows = rng.integers(0, len(scores), len(scores))
        roc_auc_score(labels[rows], scores[rows])
    return whole + (time.perf_counter() - start) * resamples / timed, value


def told(name, ours, theirs, other):
    ratios = [t / o for t, o in zip(theirs, ours)]
    spread = lambda values: f"{statistics.median(values):.3f} s ({min(values):.3f} to {max(values):.3f})"
    print(f"{name}: {spread(ours)}, {other} {spread(theirs)}")
    print(f"  {other} / this: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}) over {len(ratios)} rounds")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--loop", type=int, default=20)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--program", default=PROGRAM)
    args = parser.parse_args()
    sizes = {"items": 1_000_000, "resamples": 1000, "candidates": 377_110, "queries": 1000, "dim": 512, "k": 10}
    if args.tiny:
        sizes.update(items=5000, resamples=50, candidates=3000, queries=70)
    with tempfile.TemporaryDirectory() as folder:
        scores, labels, candidates, queries = write_data(Path(folder), sizes)
        program = Program(args.program, Path(folder))
        index = faiss.IndexFlatIP(sizes["dim"])
        index.add(candidates)
        faiss.omp_set_num_threads(THREADS)
        rng = np.random.default_rng(1)
        times = {name: [] for name in ("auroc", "sklearn", "rank", "faiss")}
        for _ in range(args.rounds):
            found = program.ask("rank")
            times["rank"].append(found["seconds"])
            start = time.perf_counter()
            _, expected = index.search(queries, sizes["k"])
            times["faiss"].append(time.perf_counter() - start)
            # Sums in another order swap neighbours that are equal but for rounding.
            same = np.mean(np.array(found["top"]) == expected)
            assert same > 0.999, f"only {same:.2%} of the neighbours are FAISS's"
            found = program.ask("auroc")
            times["auroc"].append(found["seconds"])
            seconds, value = sklearn_seconds(scores, labels, sizes["resamples"], args.loop, rng)
            times["sklearn"].append(seconds)
            assert abs(found["interval"]["value"] - value) < 1e-9, (found["interval"], value)
    print(json.dumps(sizes))
    name = f"AUROC and {sizes['resamples']} resamples of {sizes['items']} scores"
    told(name, times["auroc"], times["sklearn"], f"scikit-learn (scaled from {args.loop} resamples)")
    told(f"{sizes['k']} nearest of {sizes['candidates']} for {sizes['queries']} queries", times["rank"], times["faiss"], "FAISS")
    print(f"{same:.4%} of the neighbours are the same in the same place")


if __name__ == "__main__":
    main()
