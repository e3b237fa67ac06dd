"""MGCA after its projection heads: seconds of the three losses with their gradients, beside torch, alternately in one run.

    cargo build --release -p train --example mgca_after_heads
    python scripts/bench_mgca.py [--rounds 5] [--whole]

Batch 32, 361 patches, 111 words, 128 dimensions, 500 prototypes, two threads. `--whole` times an update with ResNet-50 too and
prints the share of the losses. Torch's side computes all samples at once, as the formulas read.
"""

import argparse
import json
import statistics
import subprocess
import time
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy, log_softmax, normalize

PAIRS, PATCHES, WORDS, WIDTH, PROTOTYPES = 32, 361, 111, 128, 500
PROGRAM = Path(__file__).resolve().parents[1] / "target/release/examples/mgca_after_heads"


def side(queries, keys, weights):
    """Half of the weighted cross-entropies of tokens and contexts, both ways."""
    attention = torch.softmax(queries @ keys.transpose(1, 2) / 0.1, dim=2)
    context = normalize(attention @ keys, dim=2)
    scores = queries @ context.transpose(1, 2) / 0.1
    target = torch.arange(scores.shape[1]).expand(PAIRS, -1)
    both = cross_entropy(scores.transpose(1, 2), target, reduction="none") + cross_entropy(scores, target, reduction="none")
    return (both * weights).sum() / (2 * PAIRS)


@torch.no_grad()
def codes(cosines):
    q = torch.exp(cosines / 0.05).T
    q = q / q.sum()
    for _ in range(3):
        q = q / q.sum(dim=1, keepdim=True) / PROTOTYPES
        q = q / q.sum(dim=0, keepdim=True) / PAIRS
    return (q / q.sum(dim=0, keepdim=True)).T


def losses(image, text, words, patches, prototypes):
    logits = image @ text.T / 0.07
    target = torch.arange(PAIRS)
    total = cross_entropy(logits, target) + cross_entropy(logits.T, target)
    total = total + side(words, patches, torch.full((PAIRS, WORDS), 1 / WORDS))
    total = total + side(patches, words, torch.full((PAIRS, PATCHES), 1 / PATCHES))
    of_image, of_text = image @ prototypes.T, text @ prototypes.T
    swapped = (codes(of_text) * log_softmax(of_image / 0.2, 1)).sum() + (codes(of_image) * log_softmax(of_text / 0.2, 1)).sum()
    return total - swapped / (2 * PAIRS)


def torch_seconds():
    unit = lambda *shape: normalize(torch.randn(*shape), dim=-1).requires_grad_()
    inputs = [unit(PAIRS, WIDTH), unit(PAIRS, WIDTH), unit(PAIRS, WORDS, WIDTH), unit(PAIRS, PATCHES, WIDTH), unit(PROTOTYPES, WIDTH)]
    start = time.perf_counter()
    losses(*inputs).backward()
    return time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--whole", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(2)
    torch.manual_seed(0)
    ours, theirs = [], []
    for _ in range(options.rounds):
        theirs += [torch_seconds() for _ in range(3)][1:]
        told = json.loads(subprocess.run([PROGRAM, "3"], check=True, capture_output=True, text=True).stdout)
        ours += told["after_heads"][1:]
    for name, seconds in [("torch", theirs), ("roentgen", ours)]:
        print(f"{name:<10} {min(seconds):7.3f} {statistics.median(seconds):7.3f} {max(seconds):7.3f} s")
    print(f"ratio to torch {statistics.median(ours) / statistics.median(theirs):.2f}")
    if options.whole:
        told = json.loads(subprocess.run([PROGRAM, "--whole", "3"], check=True, capture_output=True, text=True).stdout)
        share = statistics.median(told["after_heads"]) / told["whole"]
        print(f"whole update {told['whole']:.1f} s, of which after the heads {100 * share:.1f} %")


if __name__ == "__main__":
    main()
