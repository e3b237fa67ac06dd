"""Writes crates/eval/tests/it/golden/metrics.json: metrics by scikit-learn, NumPy and SciPy for tests of `eval`.

Needs: pip install scikit-learn. Run from the repository root: python scripts/golden/metrics.py

`null` stands for "undefined". Two scikit-learn results are replaced by it: AUROC with one class (NaN with a warning)
and average precision without a positive (0 with a warning). Inputs are rounded so that they survive decimal notation.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import hypergeom
from sklearn.metrics import accuracy_score, average_precision_score, roc_auc_score
from sklearn.preprocessing import normalize

OUT = Path("crates/eval/tests/it/golden/metrics.json")
rng = np.random.default_rng(20240801)


def logistic(n, shift=1.0, rate=0.4):
    labels = rng.random(n) < rate
    return np.round(rng.standard_normal(n) + shift * labels, 6), labels


def binary(name, scores, labels, weights=None):
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    seen = labels if weights is None else labels[np.asarray(weights) > 0]
    auroc = auprc = None
    if seen.any() and not seen.all():
        auroc = float(roc_auc_score(labels, scores, sample_weight=weights))
    if seen.any():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            auprc = float(average_precision_score(labels, scores, sample_weight=weights))
    return {
        "name": name,
        "scores": scores.tolist(),
        "labels": labels.tolist(),
        "weights": None if weights is None else np.asarray(weights).tolist(),
        "auroc": auroc,
        "auprc": auprc,
    }


def binary_cases():
    yield binary("methods section 10", [0.9, 0.8, 0.7, 0.6, 0.4, 0.1], [1, 0, 1, 1, 0, 0])
    yield binary("random", *logistic(500))
    scores, labels = logistic(400)
    yield binary("tied", np.round(scores), labels)
    yield binary("worse than chance", *logistic(200, shift=-2.0))
    yield binary("all tied", [0.25] * 30, rng.random(30) < 0.3)
    yield binary("two, right", [0.2, 0.7], [0, 1])
    yield binary("two, wrong", [0.7, 0.2], [0, 1])
    yield binary("two, tied", [0.7, 0.7], [0, 1])
    yield binary("only positives", [0.1, 0.5, 0.5], [1, 1, 1])
    yield binary("only negatives", [0.1, 0.5, 0.5], [0, 0, 0])
    scores, _ = logistic(300)
    yield binary("one positive", scores, np.arange(300) == 137)
    yield binary("one negative", scores, np.arange(300) != 137)
    yield binary("separated", np.arange(40) - 20.0, np.arange(40) >= 25)
    yield binary("huge and tiny", [1e30, -1e30, 1e-30, -1e-30, 0.0, -0.0, 1e-30], [1, 0, 1, 0, 1, 0, 0])
    scores, labels = logistic(300)
    yield binary("weights", scores, labels, rng.poisson(1.0, 300))
    yield binary("weights and ties", np.round(scores), labels, rng.poisson(1.0, 300))
    yield binary("weights leave one class", [0.1, 0.9, 0.4], [1, 0, 1], [3, 0, 1])


def multilabel():
    labels = rng.random((120, 4)) < [0.5, 0.2, 0.05, 0.8]
    scores = np.round(rng.standard_normal((120, 4)) + labels * [1.0, 0.5, 2.0, 0.0], 6)
    assert labels.any(0).all() and not labels.all(0).any()
    return {
        "scores": scores.T.tolist(),
        "labels": labels.T.tolist(),
        "macro_auroc": float(roc_auc_score(labels, scores, average="macro")),
        "macro_auprc": float(average_precision_score(labels, scores, average="macro")),
    }


def multiclass():
    labels = rng.integers(0, 3, 90)
    # One decimal, so that some rows have two best classes; numpy.argmax takes the first.
    logits = np.round(rng.standard_normal((90, 3)) + 0.8 * np.eye(3)[labels], 1)
    predicted = logits.argmax(1)
    return {
        "num_classes": 3,
        "logits": logits.ravel().tolist(),
        "labels": labels.tolist(),
        "predicted": predicted.tolist(),
        "accuracy": float(accuracy_score(labels, predicted)),
    }


def clustered():
    """AUROC intervals from 20,000 resamples with scikit-learn, over patients and (too narrow) over images."""
    patients, scores, labels = [], [], []
    for patient in range(80):
        label = rng.random() < 0.4
        centre = rng.standard_normal() + label
        for _ in range(rng.integers(1, 8)):
            patients.append(patient)
            labels.append(bool(label))
            scores.append(round(centre + 0.2 * rng.standard_normal(), 6))
    patients, scores, labels = np.array(patients), np.array(scores), np.array(labels)
    members = [np.flatnonzero(patients == p) for p in range(80)]

    def interval(draw):
        values = []
        while len(values) < 20_000:
            rows = draw()
            if 0 < labels[rows].sum() < len(rows):
                values.append(roc_auc_score(labels[rows], scores[rows]))
        values = np.sort(values)
        return [float(values[int(0.025 * len(values)) - 1]), float(values[int(0.975 * len(values)) - 1])]

    return {
        "patients": patients.tolist(),
        "scores": scores.tolist(),
        "labels": labels.tolist(),
        "by_patient": interval(lambda: np.concatenate([members[p] for p in rng.integers(0, 80, 80)])),
        "by_image": interval(lambda: rng.integers(0, len(scores), len(scores))),
    }


def retrieval():
    """Rankings of 40 candidates for 6 queries; candidates 30 to 39 repeat 0 to 9, so that scores tie."""
    dim, k = 11, 12
    candidates = np.round(rng.standard_normal((30, dim)), 4)
    candidates = np.concatenate([candidates, candidates[:10]])
    queries = np.round(rng.standard_normal((6, dim)), 4)
    classes, query_classes = rng.integers(0, 5, 40), rng.integers(0, 5, 6)
    excluded = [[q, int(c)] for q in range(6) for c in rng.choice(40, 3, replace=False)]
    # Repeated rows must tie exactly; a product of matrices does not promise that, a sum over rows does.
    rows, columns = normalize(queries), normalize(candidates)
    cosines = np.array([[float(np.sum(a * b)) for b in columns] for a in rows])
    results = []
    for q in range(6):
        allowed = [c for c in range(40) if [q, c] not in excluded]
        order = sorted(allowed, key=lambda c: (-cosines[q, c], c))
        hits = classes[order] == query_classes[q]
        matches = int(hits.sum())
        results.append(
            {
                "top": order[:k],
                "scores": [float(cosines[q, c]) for c in order[:k]],
                "precision_at_5": float(hits[:5].mean()),
                "recall_at_3": float(hits[:3].any()),
                "first_rank": int(np.argmax(hits)) + 1 if matches else None,
                "num_matches": matches,
                "chance_recall_at_3": float(hypergeom(len(order), matches, 3).sf(0)),
            }
        )
    answered = [r for r in results if r["num_matches"]]
    return {
        "dim": dim,
        "k": k,
        "queries": queries.ravel().tolist(),
        "candidates": candidates.ravel().tolist(),
        "query_classes": query_classes.tolist(),
        "classes": classes.tolist(),
        "excluded": excluded,
        "results": results,
        "precision_at_5": float(np.mean([r["precision_at_5"] for r in answered])),
        "recall_at_3": float(np.mean([r["recall_at_3"] for r in answered])),
        "median_rank": float(np.median([r["first_rank"] for r in answered])),
    }


def chance_recall():
    cases = [(1, 10, 1), (2, 40, 5), (64, 512, 10), (64, 512, 100), (200, 1600, 50), (0, 7, 3), (7, 7, 1)]
    cases.append((3, 377110, 1000))
    return [[m, n, k, float(hypergeom(n, m, k).sf(0))] for m, n, k in cases]


OUT.parent.mkdir(parents=True, exist_ok=True)
OUT.write_text(
    json.dumps(
        {
            "binary": list(binary_cases()),
            "multilabel": multilabel(),
            "multiclass": multiclass(),
            "clustered": clustered(),
            "retrieval": retrieval(),
            "chance_recall": chance_recall(),
        },
        separators=(",", ":"),
    )
    + "\n"
)
print(f"{OUT}: {OUT.stat().st_size} bytes")
