"""Writes crates/eval/tests/it/golden/metrics.json: metrics by scikit-learn, NumPy and SciPy for tests of `eval`.

Needs: pip install scikit-learn. Run from the repository root: python scripts/golden/metrics.py

`null` stands for "undefined". These scikit-learn results are replaced by it: AUROC and curves with one class (NaN with a
warning), average precision and its curve without a positive (0 with a warning), shares of nothing (NaN by
`zero_division`). Inputs are rounded so that they survive decimal notation.
"""

import json
import warnings
from pathlib import Path

import numpy as np
from scipy.stats import hypergeom
from sklearn.calibration import calibration_curve
from sklearn.metrics import (
    accuracy_score,
    average_precision_score,
    brier_score_loss,
    confusion_matrix,
    f1_score,
    precision_recall_curve,
    precision_score,
    recall_score,
    roc_auc_score,
    roc_curve,
)
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
    # Long curves would fill the file.
    has_curves = weights is None and len(np.unique(scores)) <= 300
    return {
        "name": name,
        "scores": scores.tolist(),
        "labels": labels.tolist(),
        "has_curves": has_curves,
        "weights": None if weights is None else np.asarray(weights).tolist(),
        "auroc": auroc,
        "auprc": auprc,
        "roc": roc(labels, scores) if has_curves else None,
        "pr": pr(labels, scores) if has_curves else None,
        "youden": youden(labels, scores, weights),
    }


def roc(labels, scores):
    """Thresholds, false and true positive rates after the start at (0, 0)."""
    if labels.all() or not labels.any():
        return None
    alarms, found, thresholds = roc_curve(labels, scores, drop_intermediate=False)
    assert np.isinf(thresholds[0]) and alarms[0] == found[0] == 0.0
    return [thresholds[1:].tolist(), alarms[1:].tolist(), found[1:].tolist()]


def pr(labels, scores):
    """Thresholds, recall and precision from the highest score on, without the end at recall 0 that has no threshold."""
    if not labels.any():
        return None
    precision, recall, thresholds = precision_recall_curve(labels, scores)
    assert recall[-1] == 0.0 and len(precision) == len(thresholds) + 1
    return [thresholds[::-1].tolist(), recall[-2::-1].tolist(), precision[-2::-1].tolist()]


def youden(labels, scores, weights):
    """Threshold, sensitivity and specificity; of equal J, compared in integers, the highest threshold."""
    weights = np.ones(len(labels), dtype=int) if weights is None else np.asarray(weights)
    positives, negatives = int(weights[labels].sum()), int(weights[~labels].sum())
    if positives == 0 or negatives == 0:
        return None
    alarms, found, thresholds = roc_curve(labels, scores, sample_weight=weights, drop_intermediate=False)
    scaled = [round(t * positives) * negatives - round(f * negatives) * positives for f, t in zip(alarms, found)]
    # The start, above all scores, is no score; nor is a threshold that no item with a weight has.
    drawn = set(scores[weights > 0].tolist())
    places = [i for i in range(1, len(thresholds)) if float(thresholds[i]) in drawn]
    best = max(places, key=lambda i: (scaled[i], thresholds[i]))
    assert np.isclose(found[best] - alarms[best], np.max(found - alarms), atol=1e-12)
    return [float(thresholds[best]), float(found[best]), float(1.0 - alarms[best])]


def decision(name, scores, labels, threshold):
    """Counts and shares of decisions at a threshold."""
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    decided = scores >= threshold
    negatives_right, alarms, missed, found = confusion_matrix(labels, decided, labels=[False, True]).ravel().tolist()
    shares = [
        recall_score(labels, decided, zero_division=np.nan),
        recall_score(labels, decided, pos_label=False, zero_division=np.nan),
        precision_score(labels, decided, zero_division=np.nan),
        f1_score(labels, decided, zero_division=np.nan),
    ]
    return {
        "name": name,
        "scores": scores.tolist(),
        "labels": labels.tolist(),
        "threshold": threshold,
        "counts": [found, alarms, negatives_right, missed],
        "shares": [None if np.isnan(share) else float(share) for share in shares],
    }


def decision_cases():
    scores, labels = logistic(300)
    for threshold in (-1.0, 0.0, 0.5, 1.5):
        yield decision(f"random at {threshold}", scores, labels, threshold)
    yield decision("tied with the threshold", np.round(scores), labels, 1.0)
    yield decision("nothing found", scores, labels, 99.0)
    yield decision("all positive", scores, labels, -99.0)
    yield decision("all equal", [0.5] * 9, [1, 0, 0, 1, 0, 0, 0, 1, 0], 0.5)
    yield decision("only positives", [0.2, 0.7], [1, 1], 0.5)
    yield decision("only negatives, none decided for", [0.2, 0.3], [0, 0], 0.5)
    yield decision("only negatives, one decided for", [0.2, 0.7], [0, 0], 0.5)
    yield decision("one positive", [0.7], [1], 0.5)
    yield decision("one negative", [0.1], [0], 0.5)


def probability(name, probabilities, labels, bins):
    """Brier score, and the calibration error from counts and the bins of scikit-learn."""
    p, labels = np.asarray(probabilities, dtype=np.float64), np.asarray(labels, dtype=bool)
    shares, means = calibration_curve(labels, p, n_bins=bins, strategy="uniform")
    # Which bin an item falls into, as calibration_curve has it.
    place = np.searchsorted(np.linspace(0.0, 1.0, bins + 1)[1:-1], p)
    counts = np.bincount(place, minlength=bins)
    filled = counts > 0
    assert filled.sum() == len(shares)
    spread = lambda values: [float(values[filled[:i].sum()]) if filled[i] else None for i in range(bins)]
    return {
        "name": name,
        "probabilities": p.tolist(),
        "labels": labels.tolist(),
        "bins": bins,
        "brier": float(brier_score_loss(labels, p, pos_label=True)),
        "error": float(np.sum(counts[filled] * np.abs(shares - means)) / len(p)),
        "counts": counts.tolist(),
        "means": spread(means),
        "shares": spread(shares),
    }


def probability_cases():
    labels = rng.random(400) < 0.3
    p = np.round(1.0 / (1.0 + np.exp(-(rng.standard_normal(400) + 2.0 * labels - 1.5))), 6)
    yield probability("random", p, labels, 15)
    yield probability("overconfident", np.round(p > 0.5, 0) * 0.98 + 0.01, labels, 15)
    yield probability("ties on the edges", np.round(p, 1), labels, 10)
    yield probability("fifteenths", rng.integers(0, 16, 200) * (1.0 / 15.0), rng.random(200) < 0.5, 15)
    yield probability("few bins", p, labels, 1)
    yield probability("constant", [0.25] * 40, np.arange(40) < 10, 15)
    yield probability("certain and right", [0.0, 1.0, 1.0, 0.0], [0, 1, 1, 0], 15)
    yield probability("certain and wrong", [1.0, 0.0], [0, 1], 15)
    yield probability("only positives", [0.2, 0.9, 1.0], [1, 1, 1], 15)
    yield probability("only negatives", [0.2, 0.9, 0.0], [0, 0, 0], 15)
    yield probability("one item", [0.7], [1], 15)


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
        "macro_f1": macro_f1(labels, predicted, 3),
        # A class that never occurs, one that is never decided for, one item.
        "macro_f1_of_5": macro_f1(labels, predicted, 5),
        "macro_f1_without_1": macro_f1(labels, np.where(predicted == 1, 0, predicted), 3),
        "macro_f1_of_one_item": macro_f1(labels[:1], predicted[:1], 3),
    }


def macro_f1(labels, predicted, classes):
    return float(f1_score(labels, predicted, average="macro", labels=range(classes), zero_division=0))


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
            # Last, so that the draws above stay what they were.
            "decisions": list(decision_cases()),
            "probabilities": list(probability_cases()),
        },
        separators=(",", ":"),
    )
    + "\n"
)
print(f"{OUT}: {OUT.stat().st_size} bytes")
