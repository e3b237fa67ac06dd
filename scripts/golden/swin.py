"""timm's Swin transformer, narrowed: two stages, shifted windows in the first; last map, its mean and gradients.

Writes crates/model/tests/it/golden/swin.safetensors.
"""

import numpy as np
import torch
from common import gradients, randn, randomize, reference, state, write
from timm.models.swin_transformer import SwinTransformer

SIZES = {"image_size": 32, "patch_size": 4, "width": 8, "stages": [2, 2], "heads": [2, 4], "window_size": 4, "in_channels": 3}


def tiny(act_layer=torch.nn.GELU):
    model = SwinTransformer(
        img_size=SIZES["image_size"],
        patch_size=SIZES["patch_size"],
        in_chans=SIZES["in_channels"],
        num_classes=0,
        embed_dim=SIZES["width"],
        depths=SIZES["stages"],
        num_heads=SIZES["heads"],
        window_size=SIZES["window_size"],
        drop_path_rate=0.0,
    ).double()
    for module in model.modules():
        if hasattr(module, "act"):
            module.act = act_layer()
    return model


def run(_, model, images, weights):
    """Tokens after the last normalisation, their mean, gradients of a weighted sum of both."""
    model.zero_grad()
    local = model.train().forward_features(images).flatten(1, 2)
    features = local.mean(dim=1)
    ((features * weights[0]).sum() + (local * weights[1]).sum()).backward()
    return {"features": features.detach(), "local": local.detach(), **gradients(model, "grad.")}


def main():
    torch.manual_seed(0)
    rng = np.random.default_rng(8)
    model = randomize(tiny(), rng, scale=1.2)
    # Every second block of the first stage moves its windows; the second stage is one window.
    shifts = [[block.shift_size for block in stage.blocks] for stage in model.layers]
    assert shifts == [[(0, 0), (2, 2)], [(0, 0), (0, 0)]], shifts
    images = randn(rng, 2, 3, SIZES["image_size"], SIZES["image_size"])
    weights = [randn(rng, 2, 16), randn(rng, 2, 16, 16)]
    results = reference("swin", run, model, images, weights)
    parameters = {name for name, _ in model.named_parameters()}
    tensors = {key: value for key, value in state(model, "param.").items() if key.removeprefix("param.") in parameters}
    tensors |= results | {"images": images, "weights.features": weights[0], "weights.local": weights[1]}
    write("model", "swin", tensors, {"config": SIZES})
    # The tanh form of GELU must not pass for the exact one.
    other = tiny(lambda: torch.nn.GELU(approximate="tanh"))
    other.load_state_dict(model.state_dict())
    tanh = run(None, other, images, weights)
    gap = max(((tanh[k] - v).abs().max() / v.abs().max()).item() for k, v in results.items() if v.abs().max() > 1e-9)
    assert gap > 1e-3, gap


if __name__ == "__main__":
    main()
