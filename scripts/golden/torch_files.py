"""Checkpoints as torch.save and training code write them, with the tensors that a reader must find in them.

Writes crates/model/tests/it/golden/torch/. Beside each checkpoint that holds a state dict lies `<name>.safetensors` with its
tensors. Keys of storages in the legacy format are addresses in memory, so those files differ from run to run; what they hold
does not.
"""

import argparse
import collections
import datetime
import functools
import pathlib
import sys
import types

import numpy as np
import torch
from omegaconf import OmegaConf
from safetensors.torch import save_file
from torch import nn

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "crates/model/tests/it/golden/torch"
MAX_BYTES = 200 * 1024


def randn(*shape, dtype=torch.float32):
    return torch.randn(*shape, dtype=torch.float32).to(dtype)


def every_type():
    """One tensor of every type of number, and the corners: no axes, no numbers, an axis of one."""
    return collections.OrderedDict(
        f64=randn(2, 3).double() / 3,
        f32=randn(3, 2, 2, 2),
        f16=randn(5, dtype=torch.float16),
        bf16=randn(2, 5, dtype=torch.bfloat16),
        i64=torch.tensor([[-(2**62), 3]]),
        i32=torch.tensor([-(2**31), 7], dtype=torch.int32),
        i16=torch.tensor([-300, 300], dtype=torch.int16),
        i8=torch.tensor([-128, 127], dtype=torch.int8),
        u8=torch.tensor([0, 255], dtype=torch.uint8),
        flags=torch.tensor([True, False, True]),
        scalar=torch.tensor(2.6592),
        num_batches_tracked=torch.tensor(17),
        empty=torch.zeros(0, 4),
    )


def views():
    """Tensors that share storages, lie in them out of order or repeat numbers."""
    whole = torch.arange(120, dtype=torch.float32).reshape(4, 5, 6)
    tied = nn.Parameter(randn(4, 3))
    return collections.OrderedDict(
        whole=whole,
        transposed=whole.transpose(0, 2),
        permuted=whole.permute(1, 2, 0),
        row=whole[2],
        column=whole[:, 3, 1],
        steps=whole[1::2, ::2, 1::3],
        inner=whole[:, 1:3, 2:5],
        number=whole[3, 4, 5],
        nothing=whole[:, :0],
        # One number, written out twelve times; and one row, four times.
        repeated=torch.tensor(1.5).expand(3, 4),
        rows=torch.arange(3).expand(4, 3),
        channels_last=randn(2, 3, 4, 5).contiguous(memory_format=torch.channels_last),
        **{"embed.weight": tied, "decoder.weight": tied, "decoder.weight_t": tied.t()},
    )


def save(name, what, tensors, **options):
    """Writes a checkpoint, and its tensors if it has a state dict."""
    torch.save(what, FOLDER / name, **options)
    if tensors is not None:
        plain = {key: value.detach().clone(memory_format=torch.contiguous_format) for key, value in tensors.items()}
        save_file(plain, FOLDER / f"{name}.safetensors")


def unknown_class(module, name, **attributes):
    """A class of a package that a reader does not have."""
    parts = module.split(".")
    for end in range(1, len(parts) + 1):
        sys.modules.setdefault(".".join(parts[:end]), types.ModuleType(".".join(parts[:end])))
    made = type(name, attributes.pop("bases", ()), attributes | {"__module__": module})
    setattr(sys.modules[module], name, made)
    return made


def lightning(model):
    """A checkpoint of PyTorch Lightning with classes of all kinds beside the state dict."""
    checkpoint_callback = unknown_class("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint")
    attribute_dict = unknown_class("pytorch_lightning.utilities.parsing", "AttributeDict", bases=(dict,))
    slotted = unknown_class("some_project.settings", "Slotted", __slots__=("a", "b"))()
    slotted.a, slotted.b = 1, [2]
    optimizer = torch.optim.AdamW(model.parameters())
    model(randn(2, 3)).sum().backward()
    optimizer.step()
    hyper_parameters = attribute_dict(
        img_encoder="vit_base",
        emb_dim=128,
        softmax_temperature=0.07,
        freeze_bert=False,
        stages=[2, 2, 6, 2],
        nothing=None,
        model=OmegaConf.create({"vision": {"num_heads": 12, "layers": [2, 2], "name": "swin"}, "lr": 1e-5}),
        args=argparse.Namespace(batch_size=48, seed=42, out=pathlib.PurePosixPath("/data/x")),
        function=functools.partial(print, "never printed"),
        scale=np.float64(0.5),
    )
    return {
        "epoch": 12,
        "global_step": 3400,
        "pytorch-lightning_version": "1.5.10",
        "state_dict": model.state_dict(),
        # Older releases use the class itself for a key.
        "callbacks": {checkpoint_callback: {"best_model_score": torch.tensor(0.25), "slotted": slotted}},
        "optimizer_states": [optimizer.state_dict()],
        "lr_schedulers": [],
        "hparams_name": "kwargs",
        "hyper_parameters": hyper_parameters,
        "array": np.arange(6).reshape(2, 3),
        "various": [{1, 2}, frozenset([3]), b"bytes", bytearray(b"more"), 2**70, -(2**200), 1j, datetime.date(2020, 1, 2)],
    }


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 2)

    def forward(self, x):
        return self.head(self.encoder(x))


def prefixed(prefix, state):
    return {f"{prefix}.{key}": value for key, value in state.items()}


def main():
    torch.manual_seed(0)
    FOLDER.mkdir(parents=True, exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    legacy = {"_use_new_zipfile_serialization": False}
    model = Model()
    state = {key: value.clone() for key, value in model.state_dict().items()}

    numbers = every_type()
    save("types.pt", numbers, numbers)
    save("types_legacy.pth", numbers, numbers, **legacy)
    wide = {"u16": torch.tensor([1, 65535], dtype=torch.uint16), "u64": torch.tensor([2**63], dtype=torch.uint64)}
    save("unsigned.pt", wide, wide)
    shared = views()
    save("views.pt", shared, shared)
    save("views_legacy.pth", shared, shared, **legacy)
    for protocol in [1, 3, 4, 5]:
        save(f"protocol_{protocol}.pt", state, state, pickle_protocol=protocol)
        save(f"protocol_{protocol}_legacy.pth", state, state, pickle_protocol=protocol, **legacy)

    save("model.bin", {"model": state, "epoch": 3, "args": argparse.Namespace(lr=0.1)}, state)
    save("teacher.pth", {"student": prefixed("module", state), "teacher": state, "center": [0.5]}, state)
    double = prefixed("module", state)
    save("double.pth", {"model": {"state_dict": double, "epoch": 1}}, double)
    nested = {"model": {"encoder": {"0": {"weight": state["encoder.0.weight"]}}, "scale": torch.tensor(1.0), "size": [7, 7]}}
    save("nested.pt", nested, {"encoder.0.weight": state["encoder.0.weight"], "scale": torch.tensor(1.0)})
    optimizer = torch.optim.Adam(model.parameters())
    model(randn(2, 3)).sum().backward()
    optimizer.step()
    parts = {"image": state, "text": {"weight": state["head.weight"]}}
    both = prefixed("image", state) | prefixed("text", parts["text"])
    save("parts.pt", parts | {"optimizer": optimizer.state_dict(), "epoch": 9}, both)

    model = Model()
    checkpoint = lightning(model)
    save("lightning.ckpt", checkpoint, checkpoint["state_dict"])
    save("lightning_legacy.ckpt", checkpoint, checkpoint["state_dict"], **legacy)
    save("parameters.pt", dict(model.named_parameters()), dict(model.named_parameters()))
    subclass = unknown_class("fastai.torch_core", "TensorBase", bases=(torch.Tensor,))
    x = randn(2, 2)
    save("subclass.pt", {"x": x.as_subclass(subclass)}, {"x": x})

    # What must be refused.
    save("module.pt", model, None)
    save("wrapped_module.pt", {"epoch": 1, "model": model}, None)
    torch.jit.script(Model()).save(FOLDER / "script.pt")
    save("array_inside.pt", {"state_dict": {"weight": state["head.weight"], "bias": np.zeros(2)}}, None)
    save("sparse_inside.pt", {"weight": torch.eye(3).to_sparse()} | state, None)
    save("complex_inside.pt", {"weight": torch.ones(2, dtype=torch.complex64)}, None)
    save("no_state_dict.pt", {"epoch": 4, "history": [0.5, 0.25]}, None)
    save("one_tensor.pt", torch.ones(3), None)

    for path in FOLDER.iterdir():
        path.chmod(0o644)
    total = sum(path.stat().st_size for path in FOLDER.iterdir())
    if total > MAX_BYTES:
        sys.exit(f"{total} bytes are more than {MAX_BYTES}")
    print(f"{FOLDER.name}: {len(list(FOLDER.iterdir()))} files, {total} bytes")


if __name__ == "__main__":
    main()
