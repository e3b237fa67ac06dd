"""ConVIRT's loss with a learned temperature: gradients of it and of the embeddings, and five steps of Adam under which
the logarithm of its inverse runs into its upper bound, ln 100.

Writes crates/train/tests/it/golden/logit_scale.safetensors.
"""

import math

import numpy as np
import torch
from common import info_nce, randn, reference, write
from torch.nn.functional import normalize

LIMIT = math.log(100.0)


def run(_, image, text, log_scale):
    image.requires_grad_(), text.requires_grad_(), log_scale.requires_grad_()
    loss, _, _ = info_nce(normalize(image), normalize(text), 1.0 / log_scale.exp())
    loss.backward()
    grads = {"grad_image": image.grad, "grad_text": text.grad, "grad_log_scale": log_scale.grad}
    return {"loss": loss.detach()[None] if loss.dim() == 0 else loss.detach()} | grads


def steps(dtype, image, text, log_scale):
    parameter = torch.nn.Parameter(log_scale.clone())
    adam = torch.optim.Adam([parameter], lr=0.3)
    values = []
    for _ in range(5):
        adam.zero_grad()
        info_nce(normalize(image), normalize(text), 1.0 / parameter.exp())[0].backward()
        adam.step()
        with torch.no_grad():
            parameter.clamp_(0.0, LIMIT)
        values.append(parameter.detach().clone())
    return {"log_scales": torch.cat(values)}


def main():
    rng = np.random.default_rng(11)
    tensors = {}
    for name, temperature in {"clip": 0.07, "floor": 0.01}.items():
        image, text = randn(rng, 6, 5), randn(rng, 6, 5)
        log_scale = torch.tensor([-math.log(temperature)], dtype=torch.float64).float().double()
        results = reference(name, run, image, text, log_scale)
        tensors |= {f"{name}.image_embeds": image, f"{name}.text_embeds": text, f"{name}.log_scale": log_scale}
        tensors |= {f"{name}.{key}": value for key, value in results.items()}
    # Texts like their images: a sharper softmax is better.
    image = randn(rng, 6, 5)
    text = (image + 0.5 * randn(rng, 6, 5)).float().double()
    start = torch.tensor([3.5], dtype=torch.float64)
    results = reference("steps", steps, image, text, start)
    assert abs(results["log_scales"][-1].item() - LIMIT) < 1e-12 and results["log_scales"][0] < LIMIT
    tensors |= {"steps.image_embeds": image, "steps.text_embeds": text, "steps.log_scale": start}
    tensors |= {f"steps.{key}": value for key, value in results.items()}
    write("train", "logit_scale", tensors, {})


if __name__ == "__main__":
    main()
