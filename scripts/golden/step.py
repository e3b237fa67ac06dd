"""Whole optimiser steps of a tiny ConVIRT model in training mode: Adam, AdamW, clipping by the global norm.

Writes crates/train/tests/it/golden/{step,step_variants}.safetensors. `step` holds a batch (`a.*`), the initial
tensors (`param.*`), the loss and its two directions, the gradients (`grad.*`), their global norm, and all tensors after
one step of Adam (`after.*`). `step_variants` holds another batch (`b.*`) and for each of `VARIANTS` but plain Adam the
tensors after three steps on batches a, b, a (`<variant>.after.*`) with the losses and gradient norms before each.
Adam's first step hardly depends on the size of a gradient, which is why clipping and decay are seen only after several.

The update of an element whose gradient is zero by theory (`attention.self.key.bias`: softmax ignores it) is the sign of
rounding noise, up to one learning rate per step, in torch as anywhere: a test leaves those tensors out.
"""

import numpy as np
import torch
from common import cast, gradients, reference, state, write
from convirt import CONFIG, LAMBDA, TAU, batch, batch_tensors, loss, model, optimizer
from torch.nn.utils import clip_grad_norm_

LR = 1e-3
VARIANTS = {
    "adam": {"kind": "adam", "weight_decay": 1e-6, "max_norm": None},
    "adam_l2": {"kind": "adam", "weight_decay": 5e-2, "max_norm": None},
    "adamw": {"kind": "adamw", "weight_decay": 5e-1, "max_norm": None},
    "adam_clipped": {"kind": "adam", "weight_decay": 1e-6, "max_norm": 1.0},
}


def floats(dual):
    return {name: value for name, value in state(dual, "after.").items() if value.is_floating_point()}


def gradients_of(_, dual, images, ids, mask):
    total, image_to_text, text_to_image = loss(dual, (images, ids, mask))
    total.backward()
    norm = clip_grad_norm_(dual.parameters(), torch.inf)
    results = {"loss": total, "image_to_text": image_to_text, "text_to_image": text_to_image, "grad_norm": norm}
    return {name: value.detach() for name, value in results.items()} | gradients(dual, "grad.")


def train(dual, batches, kind, weight_decay, max_norm, dtype=torch.float64):
    """Losses, gradient norms and the tensors after the last step."""
    dual, batches = cast([dual, batches], dtype)
    steps = optimizer(kind, dual, LR, weight_decay)
    losses, norms = [], []
    for each in batches:
        steps.zero_grad()
        total = loss(dual, each)[0]
        total.backward()
        norms.append(clip_grad_norm_(dual.parameters(), max_norm or torch.inf))
        steps.step()
        losses.append(total.detach())
    return {"losses": torch.stack(losses), "grad_norms": torch.stack(norms), **floats(dual)}


def distance(some, others):
    """Largest difference of two results of `train` in learning rates, and where; key biases are left out."""
    names = [name for name in some if name.startswith("after.") and not name.endswith("key.bias")]
    return max(((some[name].double() - others[name].double()).abs().max().item() / LR, name) for name in names)


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(18)
    initial = model(rng)
    a, b = batch(rng, [5, 9, 2, 7, 4, 6]), batch(rng, [3, 8, 6, 2, 10, 5])
    first = reference("step", gradients_of, initial, *a)
    tensors = state(initial, "param.") | batch_tensors("a.", a) | first
    after = train(initial, [a], **VARIANTS["adam"])
    tensors |= {name: value for name, value in after.items() if name.startswith("after.")}
    metadata = {"config": CONFIG, "tau": TAU, "lambda": LAMBDA, "lr": LR, "variants": VARIANTS}
    write("train", "step", tensors, metadata)

    results = {name: train(initial, [a, b, a], **variant) for name, variant in VARIANTS.items()}
    assert (results["adam_clipped"]["grad_norms"] > 1.0).all(), "nothing would be clipped"
    for name, variant in VARIANTS.items():
        for batches in [[a], [a, b, a]]:
            pair = [train(initial, batches, **variant, dtype=dtype) for dtype in [torch.float64, torch.float32]]
            error, where = distance(*pair)
            print(f"{name}: after {len(batches)} steps single precision is {error:.1e} learning rates off ({where})")
    # One variant must not pass for another: somewhere each differs from plain Adam by a good part of a step.
    for name in ["adam_l2", "adamw", "adam_clipped"]:
        gap, where = distance(results[name], results["adam"])
        print(f"{name} differs from adam by {gap:.2f} learning rates ({where})")
        assert gap > 0.1
    tensors = {f"{name}.{key}": value for name in results if name != "adam" for key, value in results[name].items()}
    tensors |= batch_tensors("b.", b)
    write("train", "step_variants", tensors, metadata)


if __name__ == "__main__":
    main()
