"""Cross-entropy of classes that exclude each other, with its gradient; one row has no class and does not count.

Writes crates/model/tests/it/golden/cross_entropy.safetensors.
"""

import numpy as np
import torch
from common import randn, reference, write
from torch.nn import functional

NOTHING = -100


def run(_, logits, answers):
    logits.requires_grad_()
    loss = functional.cross_entropy(logits, answers, ignore_index=NOTHING)
    loss.backward()
    return {"loss": loss.detach(), "grad_logits": logits.grad}


def main():
    rng = np.random.default_rng(41)
    logits = randn(rng, 5, 3, scale=3.0)
    logits[0] = torch.tensor([90.0, -90.0, 60.0])
    answers = torch.tensor([2, 0, 1, NOTHING, 2])
    targets = torch.zeros(5, 3, dtype=torch.float64)
    for row, answer in enumerate(answers.tolist()):
        if answer != NOTHING:
            targets[row, answer] = 1.0
    write("model", "cross_entropy", reference("cross_entropy", run, logits, answers) | {"logits": logits, "targets": targets})


if __name__ == "__main__":
    main()
