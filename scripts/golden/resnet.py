"""ResNet, basic and bottleneck: features, gradients and updated statistics, BatchNorm in evaluation and in training.

Writes crates/model/tests/it/golden/resnet_{basic,bottleneck}.safetensors.
"""

import numpy as np
import torch
from common import BasicBlock, Bottleneck, gradients, image_features, randn, randomize, reference, state
from common import tiny_resnet, write

CASES = {
    # 33 x 34 pixels end in a map of 2 x 2; odd sizes meet the edges of every strided layer.
    "basic": {"seed": 20, "block": BasicBlock, "stages": [2, 1, 1, 1], "width": 3, "images": (2, 1, 33, 34)},
    "bottleneck": {"seed": 21, "block": Bottleneck, "stages": [1, 2, 1, 1], "width": 2, "images": (3, 1, 33, 34)},
}


def run(_, model, images, weights, mode):
    images.requires_grad_()
    model.train(mode == "train")
    features = image_features(model, images)
    (features * weights).sum().backward()
    tensors = {"features": features.detach(), "grad_images": images.grad, **gradients(model, "grad.")}
    running = {name: value for name, value in state(model, "after.").items() if "running" in name}
    return tensors | (running if mode == "train" else {})


def export(name, seed, block, stages, width, images):
    rng = np.random.default_rng(seed)
    model = tiny_resnet(block, stages, width, images[1], num_classes=2)
    randomize(model, rng, scale=1.4)
    batch = randn(rng, *images)
    tensors = {**state(model, "param."), "images": batch}
    for mode in ["eval", "train"]:
        weights = randn(rng, images[0], 8 * width * block.expansion)
        tensors[f"{mode}.weights"] = weights
        results = reference(f"{name} {mode}", run, model, batch, weights, mode)
        tensors |= {f"{mode}.{key}": value for key, value in results.items()}
    # The biased variance must not pass for the unbiased one: it has to differ by far more than the tolerance.
    old, new = tensors["param.layer4.0.bn2.running_var"], tensors["train.after.layer4.0.bn2.running_var"]
    n = images[0] * 4
    biased = 0.9 * old + (new - 0.9 * old) * (n - 1) / n
    assert (biased - new).abs().max() > 1e-3 * new.abs().max()
    config = {"block": name, "stages": stages, "width": width, "in_channels": images[1]}
    write("model", f"resnet_{name}", tensors, {"config": config})


if __name__ == "__main__":
    torch.manual_seed(0)
    for name, case in CASES.items():
        export(name, **case)
