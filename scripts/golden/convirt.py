"""The tiny ConVIRT model that `step.py` and `trajectory.py` train: sizes, batches and one pass."""

import torch
from common import BasicBlock, DualEncoder, as_float, info_nce, randn, randomize, tiny_bert, tiny_resnet, token_batch

TAU = 0.1
LAMBDA = 0.75
VOCABULARY = 30
CONFIG = {
    "image": {"kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 2, "in_channels": 1},
    "text": {
        "kind": "bert",
        "vocab_size": VOCABULARY,
        "hidden_size": 16,
        "num_layers": 2,
        "num_heads": 2,
        "intermediate_size": 32,
        "max_position_embeddings": 12,
        "dropout": 0.0,
    },
    "projection": {"kind": "mlp"},
    "embed_dim": 12,
}


def model(rng):
    """The model that `CONFIG`, a `DualEncoderConfig`, describes, with random values."""
    image = tiny_resnet(BasicBlock, [1, 1, 1, 1], width=2, in_channels=1)
    text = tiny_bert(VOCABULARY, 16, 2, 2, 32, 12)
    dual = DualEncoder(image, text, image_size=16, text_size=16, hidden_size=16, embed_dim=12).double()
    return randomize(dual, rng, scale=1.4).train()


def batch(rng, lengths):
    """Images `[B, 1, 32, 32]`, ids and mask `[B, T]`."""
    return randn(rng, len(lengths), 1, 32, 32), *token_batch(rng, lengths, VOCABULARY)


def batch_tensors(prefix, batch):
    images, ids, mask = batch
    return {f"{prefix}images": images, f"{prefix}input_ids": as_float(ids), f"{prefix}attention_mask": as_float(mask)}


def loss(dual, batch, tau=TAU, weight=LAMBDA, detach_text=False):
    image, text = dual(*batch)
    return info_nce(image, text.detach() if detach_text else text, tau, weight)


def optimizer(kind, dual, lr, weight_decay):
    """torch's Adam (decay added to the gradient) or AdamW (decay apart from it), its defaults written out."""
    kinds = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    return kinds[kind](dual.parameters(), lr=lr, betas=(0.9, 0.999), eps=1e-8, weight_decay=weight_decay)
