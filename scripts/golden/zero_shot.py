"""Writes crates/eval/tests/it/golden/zero_shot.json: scores of zero-shot classification under every rule, by torch.

Needs: pip install torch. Run from the repository root: python scripts/golden/zero_shot.py

Written from the formulas that the papers and the descriptions of their code give. Everything is computed in double precision
from vectors that single precision holds exactly. Wrong variants are asserted to miss by far more than the test tolerates.
"""

import json
from pathlib import Path

import torch
import torch.nn.functional as F

OUT = Path("crates/eval/tests/it/golden/zero_shot.json")
IMAGES, SENTENCES, WIDTH = 9, 13, 8
# Two sentences of the second class are the same row: it counts twice.
CLASSES = [
    {"positive": [0, 1, 2], "negative": [3, 4]},
    {"positive": [5, 6, 6, 7], "negative": [8]},
    {"positive": [9], "negative": [10, 11, 12]},
]
TOLERANCE = 2e-6


def mean_logit(images, sentences, c, t):
    """MedCLIP with its ensemble: the mean over the prompts of a class of the logits."""
    logits = F.normalize(images) @ F.normalize(sentences).T / t
    return logits[:, c["positive"]].mean(1)


def max_logit(images, sentences, c, t):
    """MedCLIP without its ensemble: the largest logit."""
    logits = F.normalize(images) @ F.normalize(sentences).T / t
    return logits[:, c["positive"]].amax(1)


def mean_embedding(images, sentences, c, t, side="positive"):
    """CLIP: unit vectors are averaged, and their mean is brought to unit length again."""
    mean = F.normalize(F.normalize(sentences[c[side]]).mean(0), dim=0)
    return F.normalize(images) @ mean / t


def mean_raw_embedding(images, sentences, c, t):
    """BioViL: vectors are averaged as they are, then the mean is brought to unit length."""
    return F.normalize(images) @ F.normalize(sentences[c["positive"]].mean(0), dim=0) / t


def difference(images, sentences, c, t):
    """The rule of this project: cosines with the two means, subtracted."""
    return mean_embedding(images, sentences, c, 1.0) - mean_embedding(images, sentences, c, 1.0, "negative")


def pair(images, sentences, c, t):
    """CheXzero: the share of the positive template in the sum of exponentials of the two cosines."""
    both = [mean_embedding(images, sentences, c, t, side) for side in ("positive", "negative")]
    return torch.softmax(torch.stack(both), 0)[0]


def z_score(images, sentences, c, t):
    """GLoRIA: the largest similarity, standardised over the images with the deviation of the population."""
    best = max_logit(images, sentences, c, 1.0)
    return (best - best.mean()) / best.std(unbiased=False)


RULES = [
    ("difference", difference, 1.0),
    ("mean-logit", mean_logit, 0.07),
    ("max-logit", max_logit, 0.07),
    ("mean-embedding", mean_embedding, 0.01),
    ("mean-raw-embedding", mean_raw_embedding, 0.01),
    ("pair", pair, 1.0),
    ("pair", pair, 0.07),
    ("z-score", z_score, 1.0),
]


def scores(rule, images, sentences, t):
    return torch.stack([rule(images, sentences, c, t) for c in CLASSES])


def check_controls(images, sentences):
    """What a slip would compute is far from the reference."""

    def unnormalised_mean(images, sentences, c, t):
        return F.normalize(images) @ F.normalize(sentences[c["positive"]]).mean(0) / t

    def of_sample(images, sentences, c, t):
        best = max_logit(images, sentences, c, 1.0)
        return (best - best.mean()) / best.std(unbiased=True)

    def once(images, sentences, c, t):
        return mean_logit(images, sentences, {"positive": sorted(set(c["positive"]))}, t)

    controls = [
        (mean_embedding, unnormalised_mean, 0.01),
        (mean_embedding, mean_raw_embedding, 0.01),
        (mean_embedding, mean_logit, 0.01),
        (mean_logit, max_logit, 0.07),
        (mean_logit, once, 0.07),
        (z_score, of_sample, 1.0),
        (z_score, max_logit, 1.0),
        (pair, difference, 1.0),
    ]
    for right, wrong, t in controls:
        # Of cosines: a temperature enlarges a difference, but not what it is worth.
        gap = (scores(right, images, sentences, t) - scores(wrong, images, sentences, t)).abs().max().item() * t
        assert gap > 1000 * TOLERANCE, (right.__name__, wrong.__name__, gap)


def main():
    generator = torch.Generator().manual_seed(20240907)
    images = torch.randn(IMAGES, WIDTH, generator=generator).double()
    lengths = torch.rand(SENTENCES, 1, generator=generator) * 4 + 0.25
    sentences = (torch.randn(SENTENCES, WIDTH, generator=generator) * lengths).double()
    check_controls(images, sentences)
    cases = []
    for name, rule, t in RULES:
        found = scores(rule, images, sentences, t)
        single = scores(rule, images.float(), sentences.float(), t)
        loss = (single - found).abs().max().item() * t
        assert loss < TOLERANCE, (name, t, loss)
        cases.append({"rule": name, "temperature": t, "scores": found.tolist()})
    golden = {
        "width": WIDTH,
        "images": images.flatten().tolist(),
        "sentences": sentences.flatten().tolist(),
        "classes": CLASSES,
        "cases": cases,
    }
    OUT.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
    print(f"{OUT}: {OUT.stat().st_size} bytes")


main()
