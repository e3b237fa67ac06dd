"""Writes crates/data/tests/it/golden/augment.safetensors: resizing and ConVIRT's augmentations by torchvision.

Needs: pip install torch torchvision safetensors. Run from the repository root: python scripts/golden/augment.py

All steps run on float tensors with fixed parameters. The crops that torchvision draws at random are stored as means and
standard deviations of many draws.
"""

from pathlib import Path

import torch
from safetensors.torch import save
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

OUT = Path("crates/data/tests/it/golden/augment.safetensors")
SIZE = 32
HEIGHT, WIDTH = 40, 52

# Crops: top, left, height, width.
CROPS = [(3, 5, 30, 40), (0, 0, 40, 52), (11, 20, 17, 21), (8, 1, 31, 26)]
# Affine maps: degrees, shift right, shift down, scale.
AFFINES = [(20.0, 3, -2, 1.05), (-13.5, -3, 3, 0.95), (0.0, 2, 1, 1.0), (7.25, 0, 0, 1.0), (170.0, 0, 5, 0.5)]
# Kernel, sigma.
BLURS = [(3, 0.3), (5, 1.3), (13, 3.0), (13, 0.1)]
# Whole chains: crop, flip, affine, brightness, contrast, contrast first, kernel, sigma.
CHAINS = [
    (CROPS[0], 1, AFFINES[0], 1.3, 0.7, 0, 5, 1.3),
    (CROPS[3], 0, AFFINES[1], 0.65, 1.4, 1, 3, 2.5),
]


def source() -> torch.Tensor:
    """A structured 8-bit image: edges, gradients and noise reach every part of the filters."""
    generator = torch.Generator().manual_seed(7)
    y, x = torch.meshgrid(torch.arange(HEIGHT), torch.arange(WIDTH), indexing="ij")
    image = 110 + 70 * torch.sin(x / 5.0) * torch.cos(y / 7.0) + 30 * ((x // 9 + y // 6) % 2)
    image = image + 25 * torch.randn(HEIGHT, WIDTH, generator=generator)
    return image.clamp(0, 255).round().to(torch.uint8)


def affine(image, degrees, right, down, scale):
    return F.affine(image, angle=degrees, translate=[right, down], scale=scale, shear=[0.0, 0.0],
                    interpolation=InterpolationMode.BILINEAR, fill=0)


def resized_crop(image, box, size):
    return F.resized_crop(image, *box, size=size, interpolation=InterpolationMode.BILINEAR, antialias=True)


def chain(image, crop, flip, warp, brightness, contrast, contrast_first, kernel, sigma):
    image = resized_crop(image, crop, [SIZE, SIZE])
    image = F.horizontal_flip(image) if flip else image
    image = affine(image, *warp)
    steps = [lambda i: F.adjust_brightness(i, brightness), lambda i: F.adjust_contrast(i, contrast)]
    for step in reversed(steps) if contrast_first else steps:
        image = step(image)
    return F.gaussian_blur(image, [kernel, kernel], [sigma, sigma])


def crop_moments(height, width, scale, ratio):
    """Mean and standard deviation of top, left, height and width over many draws."""
    torch.manual_seed(11)
    crop = v2.RandomResizedCrop(SIZE, scale=scale, ratio=ratio)
    image = torch.zeros(1, height, width)
    draws = [crop.make_params([image]) for _ in range(20_000)]
    table = torch.tensor([[d["top"], d["left"], d["height"], d["width"]] for d in draws], dtype=torch.float64)
    return torch.stack([table.mean(0), table.std(0)])


def main():
    gray = source()
    image = gray.float().div(255).unsqueeze(0)
    tensors = {"source": gray}
    for name, size in {"down": [20, 31], "up": [61, 70], "mixed": [64, 24]}.items():
        tensors[f"resize.{name}"] = F.resize(image, size, interpolation=InterpolationMode.BILINEAR, antialias=True)
    for k, box in enumerate(CROPS):
        tensors[f"crop.{k}.box"] = torch.tensor(box, dtype=torch.float64)
        tensors[f"crop.{k}"] = resized_crop(image, box, [SIZE, SIZE])
    small = tensors["crop.0"]
    for k, warp in enumerate(AFFINES):
        tensors[f"affine.{k}.map"] = torch.tensor(warp, dtype=torch.float64)
        tensors[f"affine.{k}"] = affine(small, *warp)
    for k, (kernel, sigma) in enumerate(BLURS):
        tensors[f"blur.{k}.kernel"] = torch.tensor([kernel, sigma], dtype=torch.float64)
        tensors[f"blur.{k}"] = F.gaussian_blur(small, [kernel, kernel], [sigma, sigma])
    for k, factor in enumerate([0.6, 1.4]):
        tensors[f"brightness.{k}"] = F.adjust_brightness(small, factor)
        tensors[f"contrast.{k}"] = F.adjust_contrast(small, factor)
    for k, (crop, flip, warp, *rest) in enumerate(CHAINS):
        tensors[f"chain.{k}.params"] = torch.tensor([*crop, flip, *warp, *rest], dtype=torch.float64)
        tensors[f"chain.{k}"] = chain(image, crop, flip, warp, *rest)
    # Padded to a square of 52, then resized.
    tensors["letterbox"] = F.resize(F.pad(image, [0, 6, 0, 6], fill=0), [SIZE, SIZE], antialias=True)
    tensors["moments.0"] = crop_moments(100, 80, (0.6, 1.0), (3 / 4, 4 / 3))
    # Long images often exhaust the ten tries and take the central fallback.
    tensors["moments.1"] = crop_moments(40, 100, (0.6, 1.0), (3 / 4, 4 / 3))
    tensors["moments.2"] = crop_moments(100, 60, (0.5, 0.9), (0.5, 0.8))
    OUT.write_bytes(save({name: tensor.squeeze(0).contiguous() for name, tensor in tensors.items()}))
    print(f"{OUT}: {len(tensors)} tensors, {OUT.stat().st_size} bytes")


if __name__ == "__main__":
    main()
