"""Twenty AdamW steps of a tiny MedCLIP over four batches in turn, in both flavours: the losses before each step.

Writes crates/train/tests/it/golden/medclip_trajectory.safetensors. Both flavours start from the same tensors (`param.*`, under
this project's names, and `log_scale`) and see the same batches: a sentence a study and its copy in other words, study by study
(`input_ids`), with labels of both sides. Three layers of the text tower are averaged, with padding (`reference`) or without.
The temperature is learned and, as in the published code, brought into its bounds before every use.

The script also checks that what the loss has above the entropy of its targets falls by at least a fifth, that single precision
follows double far within the tolerance of 1e-3, and that wrong runs leave it.
"""

import sys

import numpy as np
import torch
from common import BasicBlock, as_float, cast, image_features, randn, randomize, state, tiny_bert, tiny_resnet, token_batch, write
from medclip import FLAVOURS, LABELS, check, labels, medclip, similarity
from torch import nn
from torch.nn.functional import normalize

STEPS = 20
LR = 3e-3
WEIGHT_DECAY = 1e-2
TOLERANCE = 1e-3
START = 2.6593
VOCABULARY = 30
LAYERS = [1, 2, 3]
CONFIG = {
    "image": {"kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 2, "in_channels": 1},
    "text": {
        "kind": "bert",
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_layers": 3,
        "num_heads": 2,
        "intermediate_size": 24,
        "max_position_embeddings": 12,
        "dropout": 0.0,
        "pooled_layers": LAYERS,
    },
    "projection": {"kind": "linear", "bias": False},
    "embed_dim": 12,
}
# Lengths of a sentence and of its copy, study by study.
LENGTHS = [
    [5, 4, 9, 9, 4, 3, 7, 7, 8, 8, 6, 5],
    [4, 4, 8, 7, 6, 6, 3, 3, 9, 10, 5, 5],
    [10, 9, 4, 4, 7, 6, 9, 9, 5, 4, 8, 8],
    [6, 6, 5, 5, 5, 4, 7, 7, 8, 7, 4, 4],
]


class Head(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.fc2 = nn.Linear(width, CONFIG["embed_dim"], bias=False)


class MedClip(nn.Module):
    def __init__(self):
        super().__init__()
        self.image_encoder = tiny_resnet(BasicBlock, [1, 1, 1, 1], width=2, in_channels=1)
        self.text_encoder = tiny_bert(VOCABULARY, 16, 3, 2, 24, 12)
        self.image_projection, self.text_projection = Head(16), Head(16)
        self.log_scale = nn.Parameter(torch.tensor([START], dtype=torch.float64).float().double())

    def forward(self, images, ids, mask, pooling):
        image = normalize(self.image_projection.fc2(image_features(self.image_encoder, images)))
        hidden = self.text_encoder(input_ids=ids, attention_mask=mask.long(), output_hidden_states=True).hidden_states
        tokens = torch.stack([hidden[layer] for layer in LAYERS]).mean(0)
        counted = mask if pooling == "mean" else torch.ones_like(mask)
        mean = (tokens * counted[:, :, None]).sum(1) / counted.sum(1, keepdim=True)
        return image, normalize(self.text_projection.fc2(mean))


def batch(rng, lengths):
    studies = len(lengths) // 2
    return [randn(rng, studies, 1, 32, 32), *token_batch(rng, lengths, VOCABULARY), labels(rng, studies), labels(rng, studies)]


def curves(initial, batches, flavour, dtype=torch.float64, **changed):
    options = FLAVOURS[flavour] | changed.get("options", {})
    model, *batches = cast([initial, *batches], dtype)
    steps = torch.optim.AdamW(model.parameters(), lr=changed.get("lr", LR), weight_decay=changed.get("weight_decay", WEIGHT_DECAY))
    found = {name: [] for name in ["loss", "image_to_text", "text_to_image", "entropy"]}
    for step in range(STEPS):
        images, ids, mask, image_labels, text_labels = batches[step % len(batches)]
        steps.zero_grad()
        image, text = model(images, ids, mask, options["pooling"])
        text = text.detach() if changed.get("detach_text") else text
        if changed.get("shifted_labels"):
            text_labels = text_labels.roll(1, dims=0)
        similarities = similarity(image_labels, text_labels, options["label_similarity"], options["label_values"])
        views = [text[::2], text[1::2]] if not changed.get("without_copies") else [text[::2]]
        each = medclip(image, views, model.log_scale, similarities)
        total = each["hard"] if changed.get("hard") else each["loss"]
        total.backward()
        if changed.get("fixed_temperature"):
            model.log_scale.grad = None
        steps.step()
        for name, values in found.items():
            values.append(each[name].item())
    return {name: np.array(values) for name, values in found.items()}


def away(others, some):
    return max(np.max(np.abs(others[name] - some[name]) / some[name]) for name in some)


def controls(flavour):
    (other,) = [options for name, options in FLAVOURS.items() if name != flavour]
    changes = {
        "learning rate 0": {"lr": 0.0},
        "targets of pairs": {"hard": True},
        "labels of the next study": {"shifted_labels": True},
        "without copies": {"without_copies": True},
        "a fixed temperature": {"fixed_temperature": True},
        "detached text tower": {"detach_text": True},
        "signed labels": {"options": {"label_values": "signed"}},
    }
    for name in ["label_similarity", "pooling"]:
        changes[f"{name} {other[name]}"] = {"options": {name: other[name]}}
    return changes


def main():
    torch.manual_seed(0)
    check()
    rng = np.random.default_rng(33)
    initial = randomize(MedClip().double(), rng, scale=1.4).train()
    with torch.no_grad():
        initial.log_scale.fill_(START)
        initial.log_scale.copy_(initial.log_scale.float().double())
    batches = [batch(rng, lengths) for lengths in LENGTHS]
    tensors = {key: value for key, value in state(initial, "param.").items() if key != "param.log_scale"}
    tensors["log_scale"] = initial.log_scale.detach().clone()
    for flavour in FLAVOURS:
        found = curves(initial, batches, flavour)
        above = found["loss"] - found["entropy"]
        first, last = above[: len(batches)].mean(), above[-len(batches) :].mean()
        print(f"{flavour}: divergence {first:.4f} -> {last:.4f} ({100 * (1 - last / first):.0f} % less)")
        if last > 0.8 * first:
            sys.exit("the divergence must fall by a fifth")
        single = away(curves(initial, batches, flavour, torch.float32), found)
        print(f"{flavour}: single precision is within {single:.1e} of double")
        assert single < 0.2 * TOLERANCE
        for name, changed in controls(flavour).items():
            error = away(curves(initial, batches, flavour, **changed), found)
            print(f"{flavour}: {name} misses by {error:.3f}")
            assert error > 10 * TOLERANCE, name
        tensors |= {f"{flavour}.{name}": torch.from_numpy(values) for name, values in found.items()}
    for index, (images, ids, mask, image_labels, text_labels) in enumerate(batches):
        given = {"images": images, "input_ids": as_float(ids), "attention_mask": as_float(mask)}
        given |= {"image_labels": image_labels, "text_labels": text_labels}
        tensors |= {f"batch{index}.{name}": value for name, value in given.items()}
    metadata = {"config": CONFIG, "options": FLAVOURS, "lr": LR, "weight_decay": WEIGHT_DECAY, "labels": LABELS}
    write("train", "medclip_trajectory", tensors, metadata)


if __name__ == "__main__":
    main()
