"""The error of predicted topics and its gradient: torch's mean squared error with each study's topics repeated.

Writes crates/train/tests/it/golden/topic_error.safetensors.
"""

import numpy as np
from common import randn, reference, write
from torch.nn.functional import mse_loss


def run(_, predicted, target):
    predicted.requires_grad_()
    loss = mse_loss(predicted, target.repeat_interleave(len(predicted) // len(target), dim=0))
    loss.backward()
    return {"loss": loss.detach(), "grad": predicted.grad}


def main():
    rng = np.random.default_rng(11)
    tensors = {}
    for s in [1, 3]:
        predicted, target = randn(rng, 4 * s, 5), randn(rng, 4, 5)
        name = f"s{s}"
        results = reference(name, run, predicted, target)
        tensors |= {f"{name}.predicted": predicted, f"{name}.target": target}
        tensors |= {f"{name}.{key}": value for key, value in results.items()}
    write("train", "topic_error", tensors)


if __name__ == "__main__":
    main()
