"""Local features of ResNet: the map of each stage as vectors, row by row, and the gradient of the stem through them.

Writes crates/model/tests/it/golden/resnet_local.safetensors.
"""

import numpy as np
import torch
from common import Bottleneck, randn, randomize, reference, state, tiny_resnet, write
from torchvision.models.feature_extraction import create_feature_extractor

STAGES, WIDTH, IMAGES = [1, 1, 2, 1], 2, (2, 3, 34, 33)


def run(_, model, images, weights):
    layers = [f"layer{stage}" for stage in range(1, 5)]
    results = {}
    for layer, weight in zip(layers, weights):
        model.zero_grad()
        local = create_feature_extractor(model.eval(), [layer])(images)[layer].flatten(2).transpose(1, 2)
        (local * weight).sum().backward()
        results |= {f"{layer}.local": local.detach(), f"{layer}.grad": model.conv1.weight.grad.clone()}
    return results


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(31)
    model = randomize(tiny_resnet(Bottleneck, STAGES, WIDTH, IMAGES[1]), rng, scale=1.4)
    images = randn(rng, *IMAGES)
    # 34 x 33 pixels: maps of 9 x 9, 5 x 5, 3 x 3 and 2 x 2.
    sizes = [(81, 8), (25, 16), (9, 32), (4, 64)]
    weights = [randn(rng, IMAGES[0], positions, channels) for positions, channels in sizes]
    results = reference("resnet_local", run, model, images, weights)
    tensors = state(model, "param.") | results | {"images": images}
    tensors |= {f"layer{stage}.weights": weight for stage, weight in enumerate(weights, 1)}
    config = {"block": "bottleneck", "stages": STAGES, "width": WIDTH, "in_channels": IMAGES[1]}
    write("model", "resnet_local", tensors, {"config": config})


if __name__ == "__main__":
    main()
