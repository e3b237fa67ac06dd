"""ConVIRT's loss, both directions and gradients, from embeddings that are not yet normalised.

Writes crates/train/tests/it/golden/info_nce.safetensors. The case `formula` holds embeddings given by sines and
cosines, whose loss is also known from a transcription of the paper's formula without torch: 1.554906, 1.592851,
1.564392.
"""

import numpy as np
import torch
from common import info_nce, randn, reference, write
from torch.nn.functional import normalize

TAU = 0.1
LAMBDA = 0.75


def run(_, image, text):
    image.requires_grad_(), text.requires_grad_()
    loss, image_to_text, text_to_image = info_nce(normalize(image), normalize(text), TAU, LAMBDA)
    loss.backward()
    results = {"loss": loss, "image_to_text": image_to_text, "text_to_image": text_to_image}
    results = {key: value.detach() for key, value in results.items()}
    return results | {"grad_image": image.grad, "grad_text": text.grad}


def formula():
    i, k = torch.arange(4, dtype=torch.float64)[:, None], torch.arange(5, dtype=torch.float64)[None, :]
    return torch.sin(1 + 3 * i + k), torch.cos(2 + i + 2 * k)


def main():
    rng = np.random.default_rng(7)
    cases = {f"b{b}": (randn(rng, b, 5), randn(rng, b, 5, scale=3.0)) for b in [1, 2, 7]}
    cases["formula"] = formula()
    tensors = {}
    for name, (image, text) in cases.items():
        results = reference(name, run, image, text)
        tensors |= {f"{name}.image_embeds": image, f"{name}.text_embeds": text}
        tensors |= {f"{name}.{key}": value for key, value in results.items()}
    known = {"image_to_text": 1.554906, "text_to_image": 1.592851, "loss": 1.564392}
    for key, value in known.items():
        assert abs(tensors[f"formula.{key}"].item() - value) < 1e-6, key
    write("train", "info_nce", tensors, {"tau": TAU, "lambda": LAMBDA})


if __name__ == "__main__":
    main()
