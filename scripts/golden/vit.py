"""timm's vision transformer, narrowed: class token, patches, attention of the last block and gradients, with and without
LayerScale.

Writes crates/model/tests/it/golden/{vit,vit_layer_scale}.safetensors.
"""

import numpy as np
import torch
from common import gradients, randn, randomize, reference, state, write
from timm.models.vision_transformer import VisionTransformer

SIZES = {"image_size": 12, "patch_size": 4, "hidden_size": 16, "num_layers": 2, "num_heads": 2, "in_channels": 3}


def tiny(init_values, act_layer=torch.nn.GELU):
    model = VisionTransformer(
        img_size=SIZES["image_size"],
        patch_size=SIZES["patch_size"],
        embed_dim=SIZES["hidden_size"],
        depth=SIZES["num_layers"],
        num_heads=SIZES["num_heads"],
        in_chans=SIZES["in_channels"],
        num_classes=0,
        init_values=init_values,
        act_layer=act_layer,
    ).double()
    for block in model.blocks:
        # The weights are seen only by the composed form.
        block.attn.fused_attn = False
    return model


def run(_, model, images, weights):
    """Tokens after the last normalisation, attention of the last block, gradients of a weighted sum of all."""
    seen = []
    handle = model.blocks[-1].attn.attn_drop.register_forward_hook(lambda *call: seen.append(call[2]))
    tokens = model.train().forward_features(images)
    handle.remove()
    features, local, attention = tokens[:, 0], tokens[:, 1:], seen[0]
    total = (features * weights[0]).sum() + (local * weights[1]).sum() + (attention * weights[2]).sum()
    model.zero_grad()
    total.backward()
    results = {"features": features, "local": local, "attention": attention}
    return {key: value.detach() for key, value in results.items()} | gradients(model, "grad.")


def main():
    torch.manual_seed(0)
    for name, init_values in {"vit": None, "vit_layer_scale": 0.1}.items():
        rng = np.random.default_rng(5)
        model = randomize(tiny(init_values), rng, scale=1.2)
        b, t, n, d = 3, 10, SIZES["num_heads"], SIZES["hidden_size"]
        images = randn(rng, b, 3, SIZES["image_size"], SIZES["image_size"])
        weights = [randn(rng, b, d), randn(rng, b, t - 1, d), randn(rng, b, n, t, t)]
        results = reference(name, run, model, images, weights)
        assert results["attention"].shape == (b, n, t, t)
        tensors = state(model, "param.") | results | {"images": images}
        tensors |= {f"weights.{key}": w for key, w in zip(["features", "local", "attention"], weights)}
        config = SIZES | ({} if init_values is None else {"layer_scale": init_values})
        write("model", name, tensors, {"config": config})
        # The tanh form of GELU must not pass for the exact one; small factors would hide the difference.
        other = tiny(init_values, lambda: torch.nn.GELU(approximate="tanh"))
        other.load_state_dict(model.state_dict())
        tanh = run(None, other, images, weights)
        gap = max(((tanh[k] - v).abs().max() / v.abs().max()).item() for k, v in results.items() if v.abs().max() > 1e-9)
        assert init_values or gap > 1e-3, gap


if __name__ == "__main__":
    main()
