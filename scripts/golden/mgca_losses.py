"""The losses of MGCA from what its encoders give, in both flavours and for both kinds of image tower.

Writes crates/train/tests/it/golden/mgca_{paper,reference}_{resnet,vit}.safetensors. Each holds the initial `param.*`
and batches of one, two and seven pairs (`b1.`, `b2.` with the heads in evaluation, `b7.` in training mode): the
encoders' outputs, the losses by name, the gradients of their sum with respect to inputs (`grad_input.*`) and parameters
(`grad.*`), the weights as they are after clipping and before the factor of each token (`word_weights`, with zeros for
padding, and `patch_weights`), the true words (`word_mask`), and after b7 the running statistics (`after.*`).

Before each batch prototypes are brought to unit length, and `grad.prototype_layer.weight` is that of the unit rows. A
parameter without gradient, such as the attention layers where they are unused, has no `grad.*`. In training mode the
gradients of biases before a batch normalisation are zero by theory, and rounding noise in practice.
"""

import numpy as np
import torch
from common import as_float, cast, gradients, randn, randomize, reference, write
from mgca import FLAVOURS, Mgca, attention_maps, check, text_batch

SIZES = {"text": 12, "hidden_size": 14, "embed_dim": 6, "prototypes": 9, "max_tokens": 9}
TOWERS = {"resnet": {"image_global": 10, "image_local": 8}, "vit": {"image_global": 10, "image_local": 10}}
PATCHES = 12
HEADS = 2
# Lengths of the reports; in b7 one fills all tokens, and its last word has two pieces.
LENGTHS = {"b1": [6], "b2": [4, 8], "b7": [5, 9, 3, 8, 4, 7, 6]}
FLAGS = {"b1": [[0, 0, 1, 0, 1, 0]], "b2": None, "b7": None}
INPUTS = ["image_global", "image_local", "image_attention", "text_hidden", "text_attention", "lengths", "continuation"]
WITH_GRADIENT = ["image_global", "image_local", "text_hidden"]
# Changes beyond the options of the other flavour that must not pass unseen.
OTHERS = {"prototype_temperature": 0.21, "sinkhorn_epsilon": 0.055, "sinkhorn_iterations": 2}


def batch(rng, name, tower):
    lengths = LENGTHS[name]
    size, tokens = len(lengths), max(lengths)
    image_global = randn(rng, size, TOWERS[tower]["image_global"])
    image_local = randn(rng, size, PATCHES, TOWERS[tower]["image_local"])
    everything = torch.ones(size, 1 + PATCHES, dtype=torch.bool)
    image_attention = attention_maps(rng, HEADS, everything) if tower == "vit" else None
    flags = FLAGS[name]
    hidden, attention, lengths, continuation = text_batch(rng, lengths, tokens, SIZES["text"], HEADS, flags)
    if name == "b7":
        continuation[1, 6:8] = torch.tensor([False, True])
    return image_global, image_local, image_attention, hidden, attention, lengths, continuation


def run(_, mgca, training, *inputs):
    inputs = dict(zip(INPUTS, inputs, strict=True))
    for name in WITH_GRADIENT:
        inputs[name].requires_grad_()
    mgca.train(training).normalize_prototypes()
    losses, details = mgca(*inputs.values())
    losses["total"].backward()
    results = {name: value.detach() for name, value in (losses | details).items()}
    results |= {f"grad_input.{name}": inputs[name].grad for name in WITH_GRADIENT}
    results |= gradients(mgca, "grad.")
    if training:
        results |= {f"after.{name}": value for name, value in mgca.state_dict().items() if "running" in name}
    return results


def distance(some, others):
    """Largest difference of losses and gradients, relative to the largest entry."""
    pairs = [(value, others[name]) for name, value in some.items() if "loss" in name or "grad" in name]
    return max(((a - b).abs().max() / a.abs().max().clamp(min=1e-3)).item() for a, b in pairs)


def controls(name, flavour, mgca, inputs, found):
    """Each option of the other flavour, another mode and prototypes of another length must be seen."""
    (other,) = [options for key, options in FLAVOURS.items() if key != flavour]
    changes = {key: value for key, value in other.items() if value != mgca.options[key]} | OTHERS
    if inputs[2] is None or mgca.options["learned_attention"]:
        del changes["raw_vit_context"]

    def misses(what, training=True, normalize=True, **options):
        changed, *copies = cast([mgca, *inputs], torch.float64)
        changed.options = mgca.options | options
        if not normalize:
            changed.normalize_prototypes = lambda: None
        results = run(None, changed, training, *copies)
        results = {each: results.get(each, torch.zeros_like(value)) for each, value in found.items()}
        gap = distance(found, results)
        print(f"{name}: {what} misses by {gap:.2f}")
        assert gap > 1e-2

    for key, value in changes.items():
        misses(f"{key} {value}", **{key: value})
    misses("evaluation", training=False)
    misses("prototypes as they are", normalize=False)


def main():
    check()
    for seed, (flavour, options) in enumerate(FLAVOURS.items()):
        for tower, widths in TOWERS.items():
            name = f"mgca_{flavour}_{tower}"
            rng = np.random.default_rng(40 + seed)
            mgca = randomize(Mgca(**widths, **SIZES, options=options).double(), rng, scale=1.4)
            floats = {key: value for key, value in mgca.state_dict().items() if value.is_floating_point()}
            tensors = {f"param.{key}": value.clone() for key, value in floats.items()}
            for prefix in LENGTHS:
                inputs = batch(rng, prefix, tower)
                training = prefix == "b7"
                found = reference(f"{name} {prefix}", run, mgca, training, *inputs)
                if training:
                    controls(name, flavour, mgca, inputs, found)
                given = {key: value for key, value in zip(INPUTS, inputs, strict=True) if value is not None}
                given |= {key: as_float(given[key]) for key in ["lengths", "continuation"]}
                tensors |= {f"{prefix}.{key}": value for key, value in (given | found).items()}
            sizes = widths | SIZES | {"patches": PATCHES, "heads": HEADS}
            write("train", name, tensors, {"options": options, "sizes": sizes, "tower": tower})


if __name__ == "__main__":
    main()
