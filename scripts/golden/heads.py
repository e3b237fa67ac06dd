"""Projection heads, small operations, the whole dual encoder and the image classifier, with gradients.

Writes crates/model/tests/it/golden/{heads,dual_encoder,classifier}.safetensors.
"""

import numpy as np
import torch
from common import (
    BasicBlock,
    DualEncoder,
    Projection,
    as_float,
    gradients,
    image_features,
    randn,
    randomize,
    reference,
    state,
    text_features,
    tiny_bert,
    tiny_resnet,
    token_batch,
    write,
)
from torch import nn
from torch.nn import functional


def operation(name, function, x, rng):
    """Output and input gradient of a function under a random weighting."""
    x = x.clone().requires_grad_()
    y = function(x)
    weights = randn(rng, *y.shape)
    (y * weights).sum().backward()
    return {f"{name}.input": x, f"{name}.weights": weights, f"{name}.output": y, f"{name}.grad_input": x.grad}


def heads(rng):
    tensors = {}
    for name, hidden in [("linear", None), ("mlp", 7), ("mlp_default", 9)]:
        head = randomize(Projection(9, hidden, 5).double(), rng, scale=1.4)
        x = randn(rng, 6, 9)
        tensors |= state(head, f"{name}.param.") | operation(name, head, x, rng) | gradients(head, f"{name}.grad.")
    grid = torch.linspace(-6.0, 6.0, 97).float().double()
    tensors |= operation("gelu", functional.gelu, grid, rng)
    tensors |= operation("l2_normalize", functional.normalize, randn(rng, 5, 8), rng)
    tensors |= operation("l2_normalize_zero", functional.normalize, torch.zeros(2, 8, dtype=torch.float64), rng)
    log_softmax = lambda x: functional.log_softmax(x, dim=1)
    # Two columns are a case of their own (a reduction over an axis of two is wrong on some GPU drivers); large logits
    # overflow without the subtraction of the maximum.
    tensors |= operation("log_softmax_two", log_softmax, randn(rng, 4, 2, scale=3.0), rng)
    tensors |= operation("log_softmax_large", log_softmax, randn(rng, 3, 7, scale=150.0), rng)
    tensors |= batch_norm_head(rng) | binary_cross_entropy(rng)
    write("model", "heads", tensors)


def run_batch_norm_head(_, head, x, weights):
    x.requires_grad_()
    results = {"eval.output": head.eval()(x).detach()}
    output = head.train()(x)
    (output * weights).sum().backward()
    after = {name: value for name, value in state(head, "after.").items() if "running" in name}
    return results | {"train.output": output.detach(), "grad_input": x.grad, **gradients(head, "grad."), **after}


def batch_norm_head(rng):
    head = randomize(Projection(9, 7, 5, batch_norm=True).double(), rng, scale=1.4)
    x, weights = randn(rng, 6, 9), randn(rng, 6, 5)
    results = reference("mlp_batch_norm", run_batch_norm_head, head, x, weights)
    results |= state(head, "param.") | {"input": x, "weights": weights}
    return {f"mlp_batch_norm.{name}": value for name, value in results.items()}


def binary_cross_entropy(rng):
    """Where a label is missing its entry counts nothing; zero and large logits are the corners of the formula."""
    logits = randn(rng, 5, 4, scale=3.0)
    logits[0] = torch.tensor([0.0, 0.0, 60.0, -60.0])
    logits[1] = torch.tensor([-60.0, 60.0, 120.0, -120.0])
    logits.requires_grad_()
    labels = torch.from_numpy(rng.integers(0, 2, size=(5, 4))).double()
    labels[0] = torch.tensor([0.0, 1.0, 0.0, 0.0])
    labels[1] = torch.tensor([1.0, 1.0, 1.0, 0.0])
    labelled = torch.from_numpy(rng.integers(0, 2, size=(5, 4))).double()
    labelled[:2] = 1.0
    total = functional.binary_cross_entropy_with_logits(logits, labels, weight=labelled, reduction="sum")
    loss = total / labelled.sum()
    loss.backward()
    results = {"logits": logits, "labels": labels, "labelled": labelled, "loss": loss, "grad_logits": logits.grad}
    return {f"bce.{name}": value for name, value in results.items()}


def run_dual_encoder(_, model, images, ids, mask, weights):
    model.eval()
    with torch.no_grad():
        embeds = model(images, ids, mask)
        results = {"eval.image_features": image_features(model.image_encoder, images), "eval.image_embeds": embeds[0]}
        results |= {"eval.text_features": text_features(model.text_encoder, ids, mask), "eval.text_embeds": embeds[1]}
    model.train()
    image_embeds, text_embeds = model(images, ids, mask)
    ((image_embeds * weights[0]).sum() + (text_embeds * weights[1]).sum()).backward()
    results |= {"train.image_embeds": image_embeds.detach(), "train.text_embeds": text_embeds.detach()}
    return results | gradients(model, "grad.")


def dual_encoder(rng):
    image = tiny_resnet(BasicBlock, [1, 1, 1, 1], width=2, in_channels=1)
    text = tiny_bert(20, 16, 1, 2, 24, 10)
    model = DualEncoder(image, text, image_size=16, text_size=16, hidden_size=11, embed_dim=6).double()
    model = randomize(model, rng, scale=1.4)
    images = randn(rng, 4, 1, 40, 36)
    ids, mask = token_batch(rng, [3, 8, 2, 5], 20)
    weights = [randn(rng, 4, 6), randn(rng, 4, 6)]
    tensors = state(model, "param.") | {"images": images, "input_ids": as_float(ids), "attention_mask": as_float(mask)}
    tensors |= {"weights.image": weights[0], "weights.text": weights[1]}
    results = reference("dual encoder", run_dual_encoder, model, images, ids, mask, weights)
    write("model", "dual_encoder", tensors | results)


class Classifier(nn.Module):
    """torchvision's encoder with a last layer beside it, as this project names them."""

    def __init__(self, encoder, size, num_classes):
        super().__init__()
        self.image_encoder = encoder
        self.fc = nn.Linear(size, num_classes)

    def forward(self, images):
        return self.fc(image_features(self.image_encoder, images))


def run_classifier(_, model, images, labels):
    results = {"eval.logits": model.eval()(images).detach()}
    logits = model.train()(images)
    loss = functional.binary_cross_entropy_with_logits(logits, labels)
    loss.backward()
    return results | {"train.logits": logits.detach(), "loss": loss.detach(), **gradients(model, "grad.")}


def classifier(rng):
    model = Classifier(tiny_resnet(BasicBlock, [1, 1, 1, 1], width=2, in_channels=3), 16, 4).double()
    model = randomize(model, rng, scale=1.4)
    images = randn(rng, 4, 3, 33, 34)
    labels = torch.from_numpy(rng.integers(0, 2, size=(4, 4))).double()
    results = reference("classifier", run_classifier, model, images, labels)
    write("model", "classifier", state(model, "param.") | {"images": images, "labels": labels} | results)


if __name__ == "__main__":
    torch.manual_seed(0)
    heads(np.random.default_rng(3))
    dual_encoder(np.random.default_rng(14))
    classifier(np.random.default_rng(6))
