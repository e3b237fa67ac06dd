"""What the exporters share: tiny models, random values, a reproducible writer.

Every reference is computed in double precision from inputs that single precision holds exactly, and stored in single
precision: a golden does not depend on the machine that made it, and the error measured by a test is the error of the
code under test alone.
"""

import copy
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from transformers import BertConfig, BertModel

REPOSITORY = Path(__file__).resolve().parents[2]
MAX_BYTES = 200 * 1024
# Largest error, relative to the largest magnitude of a tensor, that torch itself may make in single precision. A case
# that loses more to cancellation would test the luck of the rounding, not the code: draw another one.
CONDITION = 1e-5

torch.set_num_threads(1)
torch.use_deterministic_algorithms(True)


def randn(rng, *shape, scale=1.0):
    """Normal values that single precision holds exactly, as doubles."""
    values = rng.standard_normal(shape).astype(np.float32) * np.float32(scale)
    return torch.from_numpy(values.astype(np.float64))


def randomize(model, rng, scale):
    """Random values for every parameter and buffer, away from the special cases (scale 1, shift 0) of a fresh model.

    Matrices are drawn with deviation `scale / sqrt(fan in)`, so that activations neither vanish nor explode; embeddings
    are as small as BERT's, so that the epsilon of the layer normalisation behind them is seen.
    """
    with torch.no_grad():
        for name, value in sorted(model.state_dict().items()):
            if not value.is_floating_point():
                continue
            drawn = randn(rng, *value.shape)
            if "embeddings.weight" in name:
                drawn = drawn * 0.02
            elif value.dim() >= 2:
                drawn = drawn * (scale / value[0].numel() ** 0.5)
            elif name.endswith("running_var"):
                drawn = 0.5 + drawn.abs()
            elif name.endswith("weight"):
                drawn = 1.0 + 0.2 * drawn
            else:
                drawn = 0.2 * drawn
            value.copy_(drawn.float().double())
    return model


def tiny_resnet(block, stages, width, in_channels, num_classes=None):
    """torchvision's own network, narrowed: stages of `width`, `2 width`, `4 width` and `8 width` channels.

    Without a number of classes it ends in the features.
    """
    model = ResNet(block, stages)
    model.inplanes = width
    model.conv1 = nn.Conv2d(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False)
    model.bn1 = nn.BatchNorm2d(width)
    for index, blocks in enumerate(stages):
        stage = model._make_layer(block, width << index, blocks, stride=1 if index == 0 else 2)
        setattr(model, f"layer{index + 1}", stage)
    model.fc = nn.Linear(8 * width * block.expansion, num_classes) if num_classes else nn.Identity()
    return model.double()


def tiny_bert(vocab_size, hidden_size, num_layers, num_heads, intermediate_size, max_positions, **options):
    """transformers' own network without dropout; options: `act`, `pooler`."""
    config = BertConfig(
        vocab_size=vocab_size,
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=intermediate_size,
        max_position_embeddings=max_positions,
        hidden_act=options.get("act", "gelu"),
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        attn_implementation="eager",
    )
    return BertModel(config, add_pooling_layer=options.get("pooler", False)).double()


def token_batch(rng, lengths, vocab_size):
    """Ids `[B, T]` padded with 0 to the longest text, and the mask of true tokens."""
    ids = np.zeros((len(lengths), max(lengths)), dtype=np.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = rng.integers(1, vocab_size, size=length)
    ids = torch.from_numpy(ids)
    mask = torch.arange(ids.shape[1])[None, :] < torch.tensor(lengths)[:, None]
    return ids, mask


def max_pool(tokens, mask):
    """Maximum over the tokens of each text, without padding."""
    return tokens.masked_fill(~mask[:, :, None], -torch.inf).max(dim=1).values


def image_features(model, images):
    """Everything of torchvision's forward pass but its last layer."""
    fc, model.fc = model.fc, nn.Identity()
    features = model(images)
    model.fc = fc
    return features


def text_features(model, ids, mask):
    """Max-pooled features."""
    return max_pool(model(input_ids=ids, attention_mask=mask.long()).last_hidden_state, mask)


class Projection(nn.Module):
    """A projection head; without a hidden size it is linear."""

    def __init__(self, in_size, hidden_size, embed_dim, batch_norm=False):
        super().__init__()
        self.fc1 = nn.Linear(in_size, hidden_size) if hidden_size else None
        self.bn1 = nn.BatchNorm1d(hidden_size) if batch_norm else nn.Identity()
        self.fc2 = nn.Linear(hidden_size or in_size, embed_dim)
        self.bn2 = nn.BatchNorm1d(embed_dim) if batch_norm else nn.Identity()

    def forward(self, x):
        return self.bn2(self.fc2(x if self.fc1 is None else torch.relu(self.bn1(self.fc1(x)))))


class DualEncoder(nn.Module):
    """Two towers and two heads under this project's names."""

    def __init__(self, image, text, image_size, text_size, hidden_size, embed_dim):
        super().__init__()
        self.image_encoder = image
        self.text_encoder = text
        self.image_projection = Projection(image_size, hidden_size, embed_dim)
        self.text_projection = Projection(text_size, hidden_size, embed_dim)

    def forward(self, images, ids, mask):
        image = self.image_projection(image_features(self.image_encoder, images))
        text = self.text_projection(text_features(self.text_encoder, ids, mask))
        return nn.functional.normalize(image), nn.functional.normalize(text)


def info_nce(image_embeds, text_embeds, tau=0.1, weight=0.75):
    """The loss of ConVIRT from unit rows, with its two directions: total, image to text, text to image."""
    logits = image_embeds @ text_embeds.T / tau
    target = torch.arange(len(logits))
    image_to_text = nn.functional.cross_entropy(logits, target)
    text_to_image = nn.functional.cross_entropy(logits.T, target)
    return weight * image_to_text + (1.0 - weight) * text_to_image, image_to_text, text_to_image


def reference(name, run, *arguments):
    """What `run` returns in double precision, after a check that single precision does not lose it.

    `run` takes a dtype and the arguments, copied and cast to it, and returns tensors by name.
    """
    results = [run(dtype, *cast(arguments, dtype)) for dtype in [torch.float64, torch.float32]]
    worst = (0.0, "")
    overall = max(value.abs().max().item() for value in results[0].values()) or 1.0
    for key, exact in results[0].items():
        size = exact.abs().max().item()
        # Zero by theory, such as the gradient of a key's bias: noise in either precision.
        error = (exact - results[1][key].double()).abs().max().item() / (size if size > 1e-9 * overall else overall)
        worst = max(worst, (error, key))
    print(f"{name}: single precision is within {worst[0]:.1e} of double ({worst[1]})", flush=True)
    if worst[0] > CONDITION:
        sys.exit(f"{name}: the case is badly conditioned, use another seed")
    return results[0]


def cast(values, dtype):
    """Copies of models and float tensors in another precision."""
    if isinstance(values, (list, tuple)):
        return [cast(value, dtype) for value in values]
    if isinstance(values, nn.Module):
        return copy.deepcopy(values).to(dtype)
    if isinstance(values, torch.Tensor) and values.is_floating_point():
        return values.detach().clone().to(dtype)
    return values


def state(model, prefix):
    """All tensors of a model, integer counters too, so that a reader meets them as in a real file."""
    return {prefix + name: value.detach().clone() for name, value in model.state_dict().items()}


def gradients(model, prefix):
    """Gradients of all parameters that have one."""
    return {prefix + name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def write(crate, name, tensors, metadata=None):
    """Writes `crates/<crate>/tests/it/golden/<name>.safetensors`; the same tensors always give the same bytes."""
    arrays = {}
    for key, value in tensors.items():
        value = torch.as_tensor(value).detach().contiguous().cpu()
        if value.is_floating_point():
            value = value.float()
            if not torch.isfinite(value).all():
                sys.exit(f"{name}: {key} is not finite")
        arrays[key] = value.numpy()
    data = encode(arrays, {key: json.dumps(value) for key, value in (metadata or {}).items()})
    if len(data) > MAX_BYTES:
        sys.exit(f"{name}: {len(data)} bytes are more than {MAX_BYTES}")
    path = REPOSITORY / "crates" / crate / "tests/it/golden" / f"{name}.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    print(f"{path.relative_to(REPOSITORY)}: {len(arrays)} tensors, {len(data)} bytes")


def encode(arrays, metadata):
    """The bytes of a safetensors file; the library's own writer orders metadata at random."""
    header, offset = {"__metadata__": dict(sorted(metadata.items()))}, 0
    for key, array in sorted(arrays.items()):
        dtype = {np.dtype("<f4"): "F32", np.dtype("<i8"): "I64"}[array.dtype]
        header[key] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": [offset, offset + array.nbytes]}
        offset += array.nbytes
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(array.tobytes() for _, array in sorted(arrays.items()))


def as_float(ids):
    """Ids and masks as floats: the reader of weights files takes float tensors alone."""
    return ids.double()


__all__ = [name for name in dir() if not name.startswith("_")]
