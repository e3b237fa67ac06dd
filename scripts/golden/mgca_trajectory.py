"""Twenty AdamW steps of a tiny MGCA over four batches in turn, in both flavours: the losses before each step.

Writes crates/train/tests/it/golden/mgca_trajectory.safetensors. Both flavours start from the same tensors (`param.*`,
under the names of MGCA's state dict and with the encoders as `*.model.*`) and see the same batches; `<flavour>.<loss>`
are the twenty values of each loss. Local features of images are the third stage, row by row; `reference` takes the
first position for every token. Heads and encoders are in training mode, without dropout.

Before each pass the prototypes are brought to unit length. In the first round over the batches (`frozen_steps`) their
gradient is dropped. As in torch, a tensor without gradient is left alone, decay included, and its moments and their
step count begin with its first gradient: so it is with the prototypes, and with the attention layers of `reference`.

The script also checks that the sum of the losses falls by at least a fifth, that single precision follows double far
within the tolerance of 1e-3, and that wrong runs leave it.
"""

import sys

import numpy as np
import torch
from common import BasicBlock, as_float, cast, randn, randomize, state, tiny_bert, tiny_resnet, write
from mgca import FLAVOURS, Mgca, check

STEPS = 20
FROZEN_STEPS = 4
LR = 8e-4
WEIGHT_DECAY = 0.05
TOLERANCE = 1e-3
# Wrong runs that twenty small steps hardly show: they leave the tolerance, but not by far.
FAINT = {"prototypes normalised once": {"normalized_steps": 1}, "no weight decay": {"weight_decay": 0.0}}
LOSSES = ["instance_loss", "word_loss", "patch_loss", "token_loss", "prototype_loss", "total"]
CLS, SEP, WORDS, VOCABULARY = 1, 2, 3, 30
# Ids from here on continue a word.
PIECES = 22
MAX_TOKENS = 10
CONFIG = {
    "image": {"kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 2, "in_channels": 1},
    "text": {
        "kind": "bert",
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 12,
        "dropout": 0.0,
    },
}
SIZES = {"image_global": 16, "image_local": 8, "text": 16, "hidden_size": 12, "embed_dim": 24, "prototypes": 9}
SIZES["max_tokens"] = MAX_TOKENS
LENGTHS = [[5, 10, 4, 7, 8, 6], [4, 8, 6, 3, 9, 5], [10, 4, 7, 9, 5, 8], [6, 5, 5, 7, 8, 4]]


def model(rng):
    mgca = Mgca(**SIZES, options=None)
    mgca.img_encoder_q.model = tiny_resnet(BasicBlock, [1, 1, 1, 1], width=2, in_channels=1)
    mgca.text_encoder_q.model = tiny_bert(VOCABULARY, 16, 2, 2, 24, 12)
    return randomize(mgca.double(), rng, scale=1.4).train()


def batch(rng, lengths):
    """Images of 3x3 local features, ids, lengths."""
    ids = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = [CLS, *rng.integers(WORDS, VOCABULARY, size=length - 2), SEP]
        ids[row, 1] = rng.integers(WORDS, PIECES)
    return randn(rng, len(lengths), 1, 33, 33), torch.from_numpy(ids), torch.tensor(lengths)


def mask(ids, lengths):
    return torch.arange(ids.shape[1])[None, :] < lengths[:, None]


def losses(mgca, batch, zero_positions, detach_text):
    images, ids, lengths = batch
    resnet, bert = mgca.img_encoder_q.model, mgca.text_encoder_q.model
    x = resnet.maxpool(torch.relu(resnet.bn1(resnet.conv1(images))))
    third = resnet.layer3(resnet.layer2(resnet.layer1(x)))
    features = resnet.layer4(third).mean((2, 3))
    outputs = bert(
        input_ids=ids,
        attention_mask=mask(ids, lengths).long(),
        position_ids=torch.zeros_like(ids) if zero_positions else None,
        output_attentions=True,
    )
    hidden = outputs.last_hidden_state.detach() if detach_text else outputs.last_hidden_state
    patches = third.flatten(2).transpose(1, 2)
    return mgca(features, patches, None, hidden, outputs.attentions[-1], lengths, ids >= PIECES)[0]


def curves(initial, batches, flavour, dtype=torch.float64, **changed):
    """Losses by name before each step. Whatever is trained, `total` is the sum of all three."""
    weights = {"instance_loss": 1.0, "token_loss": 1.0, "prototype_loss": 1.0} | changed.get("weights", {})
    mgca, *batches = cast([initial, *batches], dtype)
    mgca.options = FLAVOURS[flavour] | changed.get("options", {})
    lr, decay = changed.get("lr", LR), changed.get("weight_decay", WEIGHT_DECAY)
    steps = torch.optim.AdamW(mgca.parameters(), lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
    found = {name: [] for name in LOSSES}
    for step in range(STEPS):
        steps.zero_grad()
        if step < changed.get("normalized_steps", STEPS):
            mgca.normalize_prototypes()
        positions = changed.get("zero_positions", flavour == "reference")
        each = losses(mgca, batches[step % len(batches)], positions, changed.get("detach_text", False))
        sum(weight * each[name] for name, weight in weights.items()).backward()
        if step < changed.get("frozen_steps", FROZEN_STEPS):
            mgca.prototype_layer.weight.grad = None
        steps.step()
        for name in LOSSES:
            found[name].append(each[name].item())
    return {name: np.array(values) for name, values in found.items()}


def away(others, some):
    return max(np.max(np.abs(others[name] - some[name]) / some[name]) for name in LOSSES)


def controls(flavour):
    (other,) = [options for name, options in FLAVOURS.items() if name != flavour]
    changes = {
        "learning rate 0": {"lr": 0.0},
        "prototypes never frozen": {"frozen_steps": 0},
        "prototypes always frozen": {"frozen_steps": STEPS},
        "prototypes never normalised": {"normalized_steps": 0},
        "other positions": {"zero_positions": flavour == "paper"},
        "detached text tower": {"detach_text": True},
    }
    for name in ["instance_loss", "token_loss", "prototype_loss"]:
        changes[f"without {name}"] = {"weights": {name: 0.0}}
    for name in [key for key, value in FLAVOURS[flavour].items() if value != other[key] and key != "raw_vit_context"]:
        changes[f"{name} {other[name]}"] = {"options": {name: other[name]}}
    return changes


def neighbours(initial):
    """Starts a few roundings of single precision away: the reference must not hang on a rounding of its own."""
    for seed in range(3):
        (other,) = cast([initial], torch.float64)
        rng = np.random.default_rng(seed)
        with torch.no_grad():
            for value in other.parameters():
                value.mul_(1.0 + randn(rng, *value.shape, scale=3e-7))
        yield other


def main():
    torch.manual_seed(0)
    check()
    rng = np.random.default_rng(74)
    initial = model(rng)
    batches = [batch(rng, lengths) for lengths in LENGTHS]
    tensors = state(initial, "param.")
    for flavour in FLAVOURS:
        found = curves(initial, batches, flavour)
        first, last = found["total"][: len(batches)].mean(), found["total"][-len(batches) :].mean()
        print(f"{flavour}: total {first:.4f} -> {last:.4f} ({100 * (1 - last / first):.0f} % less)")
        if last > 0.8 * first:
            sys.exit("the loss must fall by a fifth")
        single = away(curves(initial, batches, flavour, torch.float32), found)
        print(f"{flavour}: single precision is within {single:.1e} of double")
        assert single < 0.2 * TOLERANCE
        disturbed = max(away(curves(other, batches, flavour), found) for other in neighbours(initial))
        print(f"{flavour}: a start disturbed by roundings stays within {disturbed:.1e}")
        assert disturbed < 0.2 * TOLERANCE
        for name, changed in controls(flavour).items():
            error = away(curves(initial, batches, flavour, **changed), found)
            print(f"{flavour}: {name} misses by {error:.3f}")
            assert error > 10 * TOLERANCE
        for name, changed in FAINT.items():
            error = away(curves(initial, batches, flavour, **changed), found)
            print(f"{flavour}: {name} misses by {error:.4f}")
            assert error > TOLERANCE
        tensors |= {f"{flavour}.{name}": torch.from_numpy(values) for name, values in found.items()}
    for index, (images, ids, lengths) in enumerate(batches):
        given = {"images": images, "input_ids": as_float(ids), "attention_mask": as_float(mask(ids, lengths))}
        given |= {"lengths": as_float(lengths), "continuation": as_float(ids >= PIECES)}
        tensors |= {f"batch{index}.{name}": value for name, value in given.items()}
    metadata = {"config": CONFIG, "sizes": SIZES, "options": FLAVOURS, "frozen_steps": FROZEN_STEPS}
    write("train", "mgca_trajectory", tensors, metadata | {"lr": LR, "weight_decay": WEIGHT_DECAY})


if __name__ == "__main__":
    main()
