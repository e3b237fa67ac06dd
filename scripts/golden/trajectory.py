"""Twenty Adam steps of a tiny ConVIRT model over four batches in turn: the loss before each step.

Writes crates/train/tests/it/golden/trajectory.safetensors. The script also checks that the loss falls by at least a
fifth, that single precision follows double far within the tolerance of 1e-3, and that a run with the learning rate
zero, another lambda, another temperature or a detached text tower leaves it.
"""

import sys

import numpy as np
import torch
from common import cast, state, write
from convirt import CONFIG, LAMBDA, TAU, batch, batch_tensors, loss, model, optimizer

STEPS = 20
LR = 2e-3
WEIGHT_DECAY = 1e-6
TOLERANCE = 1e-3


def losses(initial, batches, dtype=torch.float64, lr=LR, **changed):
    (dual,) = cast([initial], dtype)
    batches = cast(batches, dtype)
    steps = optimizer("adam", dual, lr, WEIGHT_DECAY)
    curve = []
    for step in range(STEPS):
        steps.zero_grad()
        total = loss(dual, batches[step % len(batches)], **changed)[0]
        total.backward()
        steps.step()
        curve.append(total.item())
    return np.array(curve)


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(9)
    initial = model(rng)
    lengths = [[5, 9, 2, 7, 4, 6], [3, 8, 6, 2, 10, 5], [4, 4, 7, 9, 3, 8], [6, 2, 5, 3, 8, 7]]
    batches = [batch(rng, each) for each in lengths]
    curve = losses(initial, batches)
    first, last = curve[: len(batches)].mean(), curve[-len(batches) :].mean()
    print(f"loss {first:.4f} -> {last:.4f} ({100 * (1 - last / first):.0f} % less)")
    if last > 0.8 * first:
        sys.exit("the loss must fall by a fifth")
    away = lambda other: np.max(np.abs(other - curve) / curve)
    single = away(losses(initial, batches, torch.float32))
    print(f"single precision is within {single:.1e} of double")
    assert single < 0.2 * TOLERANCE
    controls = {
        "learning rate 0": {"lr": 0.0},
        "lambda 0.5": {"weight": 0.5},
        "lambda 0.25": {"weight": 0.25},
        "tau 0.07": {"tau": 0.07},
        "tau 0.11": {"tau": 0.11},
        "detached text tower": {"detach_text": True},
    }
    for name, changed in controls.items():
        error = away(losses(initial, batches, **changed))
        print(f"{name}: misses by {error:.2f}")
        assert error > 10 * TOLERANCE
    tensors = state(initial, "param.") | {"losses": torch.from_numpy(curve)}
    for index, each in enumerate(batches):
        tensors |= batch_tensors(f"batch{index}.", each)
    metadata = {"config": CONFIG, "tau": TAU, "lambda": LAMBDA, "lr": LR, "weight_decay": WEIGHT_DECAY}
    write("train", "trajectory", tensors, metadata)


if __name__ == "__main__":
    main()
