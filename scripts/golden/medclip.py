"""MedCLIP's semantic matching loss: both directions, the entropy of its targets, the mean over a sentence and its copy, the
ordinary contrast beside it, and gradients of every input and of the temperature.

Writes crates/train/tests/it/golden/medclip_losses.safetensors. Written from the formulas (`methods.md` 3.3), whose values on
given numbers are known apart from torch: 2.542092, 2.814784, 2.678438, 2.592520 and 1.866866.

Labels are 1 (there), -1 (denied) and 0 (not told of). `positive` takes what is denied as not told of, `signed` does not.
"""

import math

import numpy as np
import torch
from common import randn, reference, write
from torch.nn.functional import log_softmax, normalize, softmax

LABELS = 14
# Each flavour's options by the names of the recipe's keys.
FLAVOURS = {
    "paper": {"label_similarity": "cosine", "label_values": "positive", "pooling": "mean"},
    "reference": {"label_similarity": "dot", "label_values": "positive", "pooling": "padded_mean"},
}
FLOOR, CEILING = 0.0, math.log(100.0)


def similarity(image, text, kind, values):
    if values == "positive":
        image, text = image.clamp(min=0.0), text.clamp(min=0.0)
    if kind == "cosine":
        # A vector without any label stays one.
        image, text = normalize(image), normalize(text)
    return image @ text.T


def cross_entropy(logits, targets):
    return -(targets * log_softmax(logits, dim=1)).sum(dim=1).mean()


def entropy(similarities):
    return -(softmax(similarities, dim=1) * log_softmax(similarities, dim=1)).sum(dim=1).mean()


def soft_loss(logits, similarities):
    """Image to text and text to image."""
    rows = cross_entropy(logits, softmax(similarities, dim=1))
    return rows, cross_entropy(logits.T, softmax(similarities.T, dim=1))


def hard_loss(logits):
    target = torch.arange(len(logits))
    rows = torch.nn.functional.cross_entropy(logits, target)
    return 0.5 * (rows + torch.nn.functional.cross_entropy(logits.T, target))


def medclip(image, texts, log_scale, similarities):
    """The loss of unit rows with a sentence and its copies, by name; the raw temperature is brought into its bounds in place."""
    with torch.no_grad():
        log_scale.clamp_(FLOOR, CEILING)
    logits = [log_scale.exp() * image @ text.T for text in texts]
    rows, columns = zip(*(soft_loss(each, similarities) for each in logits))
    rows, columns = sum(rows) / len(rows), sum(columns) / len(columns)
    return {
        "loss": 0.5 * (rows + columns),
        "image_to_text": rows,
        "text_to_image": columns,
        "entropy": 0.5 * (entropy(similarities) + entropy(similarities.T)),
        "hard": hard_loss(logits[0]),
    }


def run(kind, values):
    def inner(_, image, text, copy, log_scale, image_labels, text_labels):
        leaves = [image, text, copy, log_scale]
        for leaf in leaves:
            leaf.requires_grad_()
        similarities = similarity(image_labels, text_labels, kind, values)
        found = medclip(normalize(image), [normalize(text), normalize(copy)], log_scale, similarities)
        found["loss"].backward()
        names = ["grad_image", "grad_text", "grad_copy", "grad_log_scale"]
        return {key: value.detach().reshape(-1) for key, value in found.items()} | {
            name: leaf.grad for name, leaf in zip(names, leaves)
        }

    return inner


def labels(rng, b):
    """Few labels a row, a row without any, two rows alike where there is room."""
    drawn = rng.choice([1.0, -1.0, 0.0], size=(b, LABELS), p=[0.15, 0.2, 0.65])
    if b > 2:
        drawn[1] = 0.0
        drawn[2] = drawn[0]
    return torch.from_numpy(drawn)


def formula():
    i, k = torch.arange(4, dtype=torch.float64)[:, None], torch.arange(5, dtype=torch.float64)[None, :]
    image, text = torch.sin(1 + 3 * i + k), torch.cos(2 + i + 2 * k)
    image_labels = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=torch.float64)
    text_labels = torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [1, 0, 0, 1]], dtype=torch.float64)
    return normalize(image), normalize(text), image_labels, text_labels


def check():
    """The numbers that are known from elsewhere."""
    image, text, image_labels, text_labels = formula()
    scale = torch.tensor([-math.log(0.07)], dtype=torch.float64)
    of = lambda kind: medclip(image, [text], scale.clone(), similarity(image_labels, text_labels, kind, "positive"))
    found = of("dot")
    known = {"image_to_text": 2.542092, "text_to_image": 2.814784, "loss": 2.678438, "hard": 1.866866}
    for name, value in known.items():
        assert abs(found[name].item() - value) < 1e-6, (name, found[name].item())
    assert abs(of("cosine")["loss"].item() - 2.592520) < 1e-6
    # Without labels targets are uniform: their entropy is that of the batch.
    nothing = torch.zeros(4, 4, dtype=torch.float64)
    assert abs(medclip(image, [text], scale, nothing)["entropy"].item() - math.log(4.0)) < 1e-12


def main():
    check()
    rng = np.random.default_rng(21)
    tensors, options = {}, {}
    scales = {"b1": 2.6593, "b2": 1.0, "b7": 2.6593, "empty": 2.0, "above": 5.5, "below": -0.75}
    sizes = {"b1": 1, "b2": 2, "b7": 7}
    for name, scale in scales.items():
        b = sizes.get(name, 5)
        given = [randn(rng, b, 6), randn(rng, b, 6, scale=3.0), randn(rng, b, 6)]
        given.append(torch.tensor([scale], dtype=torch.float64).float().double())
        given += [torch.zeros(b, LABELS, dtype=torch.float64)] * 2 if name == "empty" else [labels(rng, b), labels(rng, b)]
        keys = ["image_embeds", "text_embeds", "copy_embeds", "log_scale", "image_labels", "text_labels"]
        tensors |= {f"{name}.{key}": value.clone() for key, value in zip(keys, given)}
        for kind in ["dot", "cosine"]:
            for values in ["positive", "signed"]:
                case = f"{name}.{kind}.{values}"
                results = reference(case, run(kind, values), *given)
                tensors |= {f"{case}.{key}": value for key, value in results.items()}
                options[case] = {"label_similarity": kind, "label_values": values}
    # Wrong losses miss by far more than a test tolerates.
    of = lambda kind, values: tensors[f"b7.{kind}.{values}.loss"].item()
    right = of("dot", "positive")
    for other in [of("cosine", "positive"), of("dot", "signed"), tensors["b7.dot.positive.hard"].item()]:
        assert abs(other - right) > 1e-3 * right, (other, right)
    write("train", "medclip_losses", tensors, {"options": options})


if __name__ == "__main__":
    main()
