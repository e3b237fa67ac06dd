"""What other systems' towers add: ways of pooling texts, positions that are all the first, enlarged images, heads.

Writes crates/model/tests/it/golden/towers.safetensors.
"""

import numpy as np
import torch
from common import as_float, gradients, max_pool, randn, randomize, reference, state, tiny_bert, token_batch, write
from torch import nn
from torch.nn import functional

SIZES = {
    "vocab_size": 40,
    "hidden_size": 16,
    "num_layers": 3,
    "num_heads": 4,
    "intermediate_size": 32,
    "max_positions": 10,
}


def mean(hidden, mask):
    """Mean over the tokens of each text."""
    return (hidden * mask[:, :, None]).sum(1) / mask.sum(1, keepdim=True)


# By name: layers whose mean is pooled, and how.
POOLINGS = {
    "max": ([3], max_pool),
    "mean": ([3], mean),
    "padded_mean": ([3], lambda hidden, _: hidden.mean(1)),
    "cls": ([3], lambda hidden, _: hidden[:, 0]),
    "medclip": ([1, 2, 3], lambda hidden, _: hidden.mean(1)),
    "gloria": ([2, 3], mean),
}


def pooled(_, model, ids, mask, weights, name, positions):
    """Features and the gradient of the word embeddings and of the first layer."""
    layers, pool = POOLINGS[name]
    model.zero_grad()
    outputs = model.train()(
        input_ids=ids, attention_mask=mask.long(), position_ids=positions, output_hidden_states=True
    )
    hidden = torch.stack([outputs.hidden_states[layer] for layer in layers]).mean(0)
    features = pool(hidden, mask)
    (features * weights).sum().backward()
    grads = gradients(model, "grad.")
    kept = [name for name in grads if "word_embeddings" in name or "layer.0.attention.self.query" in name]
    return {"features": features.detach(), **{name: grads[name] for name in kept}}


def texts(rng):
    model = randomize(tiny_bert(**SIZES), rng, scale=1.5)
    ids, mask = token_batch(rng, [8, 3, 5], SIZES["vocab_size"])
    weights = randn(rng, 3, 16)
    tensors = state(model, "bert.param.") | {"input_ids": as_float(ids), "attention_mask": as_float(mask)}
    tensors["weights"] = weights
    for name in POOLINGS:
        found = reference(name, pooled, model, ids, mask, weights, name, None)
        tensors |= {f"bert.{name}.{key}": value for key, value in found.items()}
    # Every token at the first position, no segments: their table added to nothing.
    with torch.no_grad():
        model.embeddings.token_type_embeddings.weight.zero_()
    found = reference("zero positions", pooled, model, ids, mask, weights, "cls", torch.zeros_like(ids))
    return tensors | {f"bert.zero_positions.{key}": value for key, value in found.items()}


def enlarged(_, images, weights, size):
    images = images.clone().requires_grad_()
    larger = functional.interpolate(images, size=(size, size), mode="bilinear", align_corners=True)
    (larger * weights).sum().backward()
    return {"output": larger.detach(), "grad_input": images.grad}


def head(_, model, x, weights):
    x = x.clone().requires_grad_()
    model.zero_grad()
    y = model.train()(x)
    (y * weights).sum().backward()
    return {"output": y.detach(), "grad_input": x.grad, **gradients(model, "grad.")}


def main():
    rng = np.random.default_rng(31)
    tensors = texts(rng)
    images, weights = randn(rng, 2, 1, 5, 7), randn(rng, 2, 1, 9, 9)
    found = reference("enlarged", enlarged, images, weights, 9)
    tensors |= {"resize.input": images, "resize.weights": weights} | {f"resize.{k}": v for k, v in found.items()}
    heads = {
        "medclip_head": nn.Sequential(nn.Linear(6, 4, bias=False)),
        "mgca_head": nn.Sequential(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4), nn.BatchNorm1d(4, affine=False)
        ),
    }
    names = {"0": "fc1", "1": "bn1", "3": "fc2", "4": "bn2"}
    for name, model in heads.items():
        model = randomize(model.double(), rng, scale=1.5)
        renamed = names if len(model) > 1 else {"0": "fc2"}

        def ours(key, renamed=renamed):
            """A tensor's name in a projection head: `grad.0.weight` is `grad.fc1.weight`."""
            return ".".join(renamed.get(part, part) for part in key.split("."))

        x, weights = randn(rng, 5, 6), randn(rng, 5, 4)
        before = {ours(key): value for key, value in state(model, "param.").items()}
        found = reference(name, head, model, x, weights)
        found = {ours(key): value for key, value in found.items()}
        tensors |= {f"{name}.{key}": value for key, value in (before | found).items()}
        tensors |= {f"{name}.input": x, f"{name}.weights": weights}
    config = {key: value for key, value in SIZES.items() if key != "max_positions"}
    config |= {"max_position_embeddings": SIZES["max_positions"], "dropout": 0.0}
    write("model", "towers", tensors, {"config": config})


if __name__ == "__main__":
    main()
