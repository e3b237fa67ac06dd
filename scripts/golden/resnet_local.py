"""Local features of ResNet: the map of each stage as vectors, row by row, and the gradient of the stem through them;
`position` is the map of stage 2 with the column and the row of each place, from -1 to 1, as further channels.

Writes crates/model/tests/it/golden/resnet_local.safetensors.
"""

import numpy as np
import torch
from common import Bottleneck, randn, randomize, reference, state, tiny_resnet, write
from torch import meshgrid
from torchvision.models.feature_extraction import create_feature_extractor

STAGES, WIDTH, IMAGES = [1, 1, 2, 1], 2, (2, 3, 34, 33)


def run(dtype, model, images, weights):
    results = {}
    for name, weight in weights.items():
        model.zero_grad()
        layer = "layer2" if name == "position" else name
        local = create_feature_extractor(model.eval(), [layer])(images)[layer]
        if name == "position":
            row, column = meshgrid(*(torch.linspace(-1, 1, n, dtype=dtype) for n in local.shape[2:]), indexing="ij")
            local = torch.cat([local, torch.stack([column, row]).expand(len(local), -1, -1, -1)], dim=1)
        local = local.flatten(2).transpose(1, 2)
        (local * weight).sum().backward()
        results |= {f"{name}.local": local.detach(), f"{name}.grad": model.conv1.weight.grad.clone()}
    return results


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(31)
    model = randomize(tiny_resnet(Bottleneck, STAGES, WIDTH, IMAGES[1]), rng, scale=1.4)
    images = randn(rng, *IMAGES)
    # 34 x 33 pixels: maps of 9 x 9, 5 x 5, 3 x 3 and 2 x 2.
    sizes = {"layer1": (81, 8), "layer2": (25, 16), "layer3": (9, 32), "layer4": (4, 64), "position": (25, 18)}
    weights = {name: randn(rng, IMAGES[0], *size) for name, size in sizes.items()}
    results = reference("resnet_local", run, model, images, weights)
    tensors = state(model, "param.") | results | {"images": images}
    tensors |= {f"{name}.weights": weight for name, weight in weights.items()}
    config = {"block": "bottleneck", "stages": STAGES, "width": WIDTH, "in_channels": IMAGES[1]}
    write("model", "resnet_local", tensors, {"config": config})


if __name__ == "__main__":
    main()
