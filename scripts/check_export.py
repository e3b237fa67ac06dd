"""Loads exported encoders into torchvision and transformers and compares their features with this project's.

    roentgen-eval export --weights RUN --out DIR
    python scripts/check_export.py DIR

DIR holds `image_encoder.safetensors` (torchvision's names), `text_encoder/{model.safetensors,config.json,vocab.txt}`
(a folder that transformers loads) and `check.safetensors` with inputs and outputs: `images`, `image_features`,
`input_ids`, `attention_mask`, `text_features`. Exit code 0 if both encoders load strictly and agree.
"""

import argparse
import json
import re
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet
from transformers import AutoTokenizer, BertModel

# Whole encoders in single precision, relative to the largest magnitude.
TOLERANCE = 1e-4


def resnet_like(tensors):
    """torchvision's network of the depth and width that the tensors show, ending in the features."""
    blocks = [(int(found[1]), int(found[2])) for name in tensors if (found := re.match(r"layer(\d)\.(\d+)\.", name))]
    stages = [1 + max(block for layer, block in blocks if layer == stage) for stage in range(1, 5)]
    block = Bottleneck if "layer1.0.conv3.weight" in tensors else BasicBlock
    width, in_channels = tensors["conv1.weight"].shape[:2]
    model = ResNet(block, stages)
    if width != 64:
        model.inplanes = width
        model.bn1 = nn.BatchNorm2d(width)
        for index, count in enumerate(stages):
            stage = model._make_layer(block, width << index, count, stride=1 if index == 0 else 2)
            setattr(model, f"layer{index + 1}", stage)
    if (width, in_channels) != (64, 3):
        model.conv1 = nn.Conv2d(in_channels, width, kernel_size=7, stride=2, padding=3, bias=False)
    model.fc = nn.Identity()
    print(f"image encoder: {block.__name__} {stages}, width {width}, {in_channels} input channels")
    return model


def load_image_encoder(path):
    tensors = load_file(path)
    model = resnet_like(tensors)
    # torchvision counts batches in integer buffers, which carry nothing; everything else must be there, alone.
    counters = {name: value for name, value in model.state_dict().items() if name.endswith("num_batches_tracked")}
    model.load_state_dict(counters | tensors, strict=True)
    return model.eval()


def load_text_encoder(folder):
    model, info = BertModel.from_pretrained(
        folder, add_pooling_layer=False, attn_implementation="eager", output_loading_info=True
    )
    problems = {kind: names for kind, names in info.items() if names}
    if problems:
        sys.exit(f"transformers does not take {folder} as it is: {problems}")
    return model.eval()


def compare(what, actual, expected):
    error = ((actual - expected).abs().max() / expected.abs().max()).item()
    print(f"{what}: largest error {error:.1e} of the largest feature (tolerance {TOLERANCE:.0e})")
    return error <= TOLERANCE


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="folder that `roentgen-eval export` wrote")
    folder = parser.parse_args().folder
    torch.set_num_threads(1)

    check = load_file(folder / "check.safetensors")
    image_encoder = load_image_encoder(folder / "image_encoder.safetensors")
    text_encoder = load_text_encoder(folder / "text_encoder")
    with torch.no_grad():
        images = image_encoder(check["images"].float())
        mask = check["attention_mask"].long()
        tokens = text_encoder(input_ids=check["input_ids"].long(), attention_mask=mask).last_hidden_state
        texts = tokens.masked_fill(mask[:, :, None] == 0, -torch.inf).max(dim=1).values
    pairs = {"image features": (images, check["image_features"]), "text features": (texts, check["text_features"])}
    good = [compare(what, *pair) for what, pair in pairs.items()]

    tokenizer = AutoTokenizer.from_pretrained(folder / "text_encoder")
    vocabulary = json.loads((folder / "text_encoder/config.json").read_text())["vocab_size"]
    if len(tokenizer) > vocabulary:
        sys.exit(f"the tokenizer knows {len(tokenizer)} ids, the encoder {vocabulary}")
    sys.exit(0 if all(good) else "features differ")


if __name__ == "__main__":
    main()
