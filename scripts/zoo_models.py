"""Full-size, randomly initialised models of other libraries, as files and with the outputs that they must give.

`CASES` maps a name to a function that writes the files below a folder and returns a `Case`. `check_import.py` and
`check_convert.py` go through them; `zoo_medical.py` adds the families of this field. Values are random everywhere,
norms and running statistics too: nothing is 1 or 0 by luck.
"""

import re
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import timm
import torch
import torchvision
import transformers
from safetensors.torch import load_file, save_file

IMAGES, TEXTS, TOKENS = 2, 3, 20
VOCABULARY = 28996
# Parts of names of tensors that are added to tokens or to their similarity.
POSITIONS = ["pos_embed", "position_embeddings", "cls_token", "mask_token", "bias_table"]


@dataclass
class Case:
    """A weights file or folder, and what must come out of it."""

    # What `--weights` gets.
    path: Path
    # All tensors of the file under its own names.
    tensors: dict
    # Inputs and expected outputs of `embed`; expected in double precision, with torch's own error beside them.
    inputs: dict
    expected: dict
    single: dict
    # Arguments of `embed` besides.
    options: list = field(default_factory=list)
    # By library (torchvision, timm, hf): a function that loads an export strictly and returns outputs as above.
    loaders: dict = field(default_factory=dict)
    # The library whose names the file has; None: a family of its own.
    library: str | None = None
    # The names of an export in `library`, where they are not those of the file.
    renamed: object = None


def randomize(model, seed):
    """Random values for all floats of a model, scaled so that activations neither vanish nor explode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, value in sorted(model.state_dict().items()):
            if not value.is_floating_point():
                continue
            drawn = torch.randn(value.shape, generator=generator)
            if "embeddings.weight" in name:
                drawn *= 0.05
            elif any(part in name for part in POSITIONS):
                drawn *= 0.3
            elif value.dim() >= 2:
                drawn *= 1.2 / value[0].numel() ** 0.5
            elif name.endswith("running_var"):
                drawn = 0.5 + drawn.abs()
            elif name.endswith("weight") or "gamma" in name or "lambda" in name:
                drawn = 1.0 + 0.2 * drawn
            else:
                drawn *= 0.2
            value.copy_(drawn)
    return model.eval()


def rounded(model, dtype):
    """The same model with values that `dtype` holds exactly."""
    return model.to(dtype).float()


def image_inputs(size, count=IMAGES):
    """Smooth pictures with noise, about as large as normalised images are."""
    generator = torch.Generator().manual_seed(7)
    coarse = torch.randn(count, 3, 8, 8, generator=generator)
    smooth = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=False)
    return {"images": smooth + 0.3 * torch.randn(count, 3, size, size, generator=generator)}


def text_inputs(vocabulary=VOCABULARY):
    """Texts of different length, padded further than the longest needs."""
    generator = torch.Generator().manual_seed(8)
    lengths = torch.tensor([TOKENS - 3, 9, 4])
    mask = (torch.arange(TOKENS)[None] < lengths[:, None]).long()
    return {
        "input_ids": torch.randint(5, vocabulary, (TEXTS, TOKENS), generator=generator) * mask,
        "attention_mask": mask,
    }


def both_precisions(forward, model, inputs):
    """Outputs of `forward(model, inputs)` in double and in single precision."""
    results = []
    for dtype in [torch.float64, torch.float32]:
        cast = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs.items()}
        with torch.no_grad():
            results.append(forward(model.to(dtype), cast))
    return results


def tensors_of(model, dtype=torch.float32):
    """Copies of all tensors of a model, floats in `dtype`; none shares its memory with another."""
    return {name: value.detach().clone().contiguous() for name, value in model.to(dtype).state_dict().items()}


def resnet_outputs(model, inputs):
    """Features of torchvision's and timm's ResNet; the maps of all stages, of which `image_local` may be any."""
    x = model.maxpool(torch.relu(model.bn1(model.conv1(inputs["images"]))))
    maps = {}
    for stage in range(1, 5):
        x = getattr(model, f"layer{stage}")(x)
        maps[f"image_local.{stage}"] = x.flatten(2).transpose(1, 2)
    return {"image_features": x.mean(dim=(2, 3))} | maps


def vit_outputs(model, inputs):
    tokens = model.forward_features(inputs["images"])
    return {"image_features": tokens[:, 0], "image_local": tokens[:, 1:]}


def swin_outputs(model, inputs):
    tokens = model.forward_features(inputs["images"]).flatten(1, 2)
    return {"image_features": tokens.mean(dim=1), "image_local": tokens}


def hf_image_outputs(model, inputs):
    """Swin and DINOv2; the latter's tokens begin with the class token."""
    output = model(pixel_values=inputs["images"])
    local = output.last_hidden_state
    pooled = output.pooler_output
    return {"image_features": pooled, "image_local": local[:, 1:] if "Dinov2" in type(model).__name__ else local}


def pooled(hidden, mask, pooling):
    """One vector a text: the first token, or the maximum or mean of all that are no padding."""
    if pooling == "cls":
        return hidden[:, 0]
    mask = mask[:, :, None]
    if pooling == "max":
        return hidden.masked_fill(mask == 0, -torch.inf).max(dim=1).values
    return (hidden * mask).sum(dim=1) / mask.sum(dim=1)


def bert_outputs(pooling):
    def forward(model, inputs):
        hidden = getattr(model, "bert", model)(**inputs).last_hidden_state
        return {"text_hidden": hidden, "text_features": pooled(hidden, inputs["attention_mask"], pooling)}

    return forward


def case(path, model, forward, inputs, tensors, **more):
    """The `Case` of a model."""
    expected, single = both_precisions(forward, model, inputs)
    return Case(path, tensors, inputs, expected, single, **more)


def strict(create, forward):
    """Loads one file of an export into a network of torchvision or timm."""

    def load(path, inputs):
        model = create()
        model.load_state_dict(load_file(path), strict=True)
        with torch.no_grad():
            return forward(model.eval(), inputs)

    return load


def strict_hf(kind, forward):
    """Loads an exported folder into transformers: what its config.json describes, with exactly its tensors.

    transformers renames tensors while it reads, so that `load_state_dict` is not for published names; its own report
    has to be empty instead.
    """

    def load(folder, inputs):
        model, info = kind.from_pretrained(folder, output_loading_info=True, dtype=torch.float32)
        problems = {what: found for what, found in info.items() if found}
        if problems:
            raise RuntimeError(f"transformers does not take the export as it is: {problems}")
        with torch.no_grad():
            return forward(model.eval(), inputs)

    return load


def published(model):
    """The tensors of a model of transformers under the names of its files, which differ from those in memory."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        return load_file(Path(folder) / "model.safetensors")


def torchvision_resnet50(folder):
    """The old serialization of torch, one pickle after another."""
    model = randomize(torchvision.models.resnet50(), 1)
    tensors, path = tensors_of(model), folder / "resnet50.pth"
    torch.save(tensors, path, _use_new_zipfile_serialization=False)
    load = strict(torchvision.models.resnet50, resnet_outputs)
    inputs = image_inputs(224)
    return case(path, model, resnet_outputs, inputs, tensors, library="torchvision", loaders={"torchvision": load})


def create_timm(name, **options):
    return lambda: timm.create_model(name, pretrained=False, **options)


def timm_case(folder, name, seed, forward, write, dtype=torch.float32, **options):
    model = rounded(randomize(create_timm(name, **options)(), seed), dtype)
    tensors = tensors_of(model, dtype)
    path = write(folder, tensors)
    model = model.float()
    loaders = {"timm": strict(create_timm(name, **options), forward)}
    return case(path, model, forward, image_inputs(224), tensors, library="timm", loaders=loaders)


def as_safetensors(folder, tensors):
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    return folder / "model.safetensors"


def timm_resnet50(folder):
    return timm_case(folder, "resnet50", 2, resnet_outputs, as_safetensors, torch.float16)


def timm_vit(folder):
    return timm_case(folder, "vit_base_patch16_224", 3, vit_outputs, as_safetensors, torch.bfloat16)


def timm_deit(folder):
    """As DeiT's authors publish it: the tensors under `model`."""

    def write(folder, tensors):
        torch.save({"model": tensors}, folder / "deit_base_patch16_224.pth")
        return folder / "deit_base_patch16_224.pth"

    return timm_case(folder, "deit_base_patch16_224", 4, vit_outputs, write)


SWIN = "swin_tiny_patch4_window7_224"


def timm_swin(folder):
    """As a training on several cards leaves it: under `state_dict`, each name behind `module.`; also with an epoch."""

    def write(folder, tensors):
        tensors = {f"module.{name}": value for name, value in tensors.items()}
        torch.save({"epoch": 3, "arch": SWIN, "state_dict": tensors}, folder / "checkpoint.pt")
        return folder / "checkpoint.pt"

    return timm_case(folder, SWIN, 5, swin_outputs, write)


def timm_swin_features(folder):
    """Without the classifier, so that transformers' network of features can take it."""
    made = timm_case(folder, SWIN, 6, swin_outputs, as_safetensors, num_classes=0)
    made.loaders["hf"] = strict_hf(transformers.SwinModel, hf_image_outputs)
    return made


def modern_swin(name):
    """Names of Swin's authors as timm writes them today: the merging of patches has moved to the next stage."""
    name = re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) + 1}.downsample", name)
    return re.sub(r"^head\.(weight|bias)$", r"head.fc.\1", name)


def timm_swin_old(folder):
    """As Swin's authors publish it, under `model`: blocks carry their indices and masks too."""

    def write(folder, tensors):
        old = {}
        for name, value in tensors.items():
            name = re.sub(r"layers\.(\d)\.downsample", lambda found: f"layers.{int(found[1]) - 1}.downsample", name)
            old[name.replace("head.fc.", "head.")] = value
            if name.endswith("relative_position_bias_table"):
                old[name.replace("bias_table", "index")] = torch.arange(49 * 49).reshape(49, 49) % 169
        old["layers.0.blocks.1.attn_mask"] = -100.0 * torch.eye(49).repeat(64, 1, 1)
        tensors.clear()
        tensors.update(old)
        torch.save({"model": tensors}, folder / f"{SWIN}.pth")
        return folder / f"{SWIN}.pth"

    made = timm_case(folder, SWIN, 11, swin_outputs, write)
    made.renamed, made.loaders = modern_swin, {}
    return made


def hf_folder(folder, model):
    model.save_pretrained(folder)
    return folder


def hf_swin(folder):
    """The defaults of transformers are microsoft/swin-tiny-patch4-window7-224."""
    model = randomize(transformers.SwinModel(transformers.SwinConfig()), 7)
    loaders = {
        "hf": strict_hf(transformers.SwinModel, hf_image_outputs),
        "timm": strict(create_timm(SWIN, num_classes=0), swin_outputs),
    }
    path, tensors = hf_folder(folder, model), published(model)
    return case(path, model, hf_image_outputs, image_inputs(224), tensors, library="hf", loaders=loaders)


def hf_dinov2(folder):
    """S/14 with positions for 518 px, given images of 224 px: transformers resamples 37 x 37 positions to 16 x 16,
    bicubic, without antialias. timm resamples with antialias: its outputs differ from these."""
    config = transformers.Dinov2Config(hidden_size=384, num_attention_heads=6, image_size=518, patch_size=14)
    model = randomize(transformers.Dinov2Model(config), 8)
    loaders = {"hf": strict_hf(transformers.Dinov2Model, hf_image_outputs)}
    path, tensors = hf_folder(folder, model), published(model)
    return case(path, model, hf_image_outputs, image_inputs(224), tensors, library="hf", loaders=loaders)


def bert_config(**options):
    return transformers.BertConfig(vocab_size=VOCABULARY, **options)


def hf_bert(folder):
    """BERT-base with its pre-training heads and prefix `bert.`; tied tensors share memory in the file."""
    model = randomize(transformers.BertForPreTraining(bert_config()), 9)
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    forward = bert_outputs("max")
    loaders = {"hf": strict_hf(transformers.BertForPreTraining, forward)}
    more = {"options": ["--pooling", "max"], "library": "hf", "loaders": loaders}
    return case(folder, model, forward, text_inputs(), tensors_of(model), **more)


def modern(name):
    """Names of old files as transformers writes them today."""
    return name.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")


def hf_bert_old(folder):
    """One file without a configuration, in half precision, with the names of the first releases and the buffer of
    positions."""
    config = bert_config(num_hidden_layers=4)
    model = rounded(randomize(transformers.BertModel(config), 10), torch.float16)
    tensors = {}
    for name, value in tensors_of(model, torch.float16).items():
        old = name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        tensors[f"bert.{old}"] = value
    tensors["bert.embeddings.position_ids"] = torch.arange(512)[None]
    torch.save(tensors, folder / "pytorch_model.bin")
    more = {"options": ["--pooling", "mean"], "library": "hf", "renamed": modern}
    return case(folder / "pytorch_model.bin", model.float(), bert_outputs("mean"), text_inputs(), tensors, **more)


CASES = {
    "torchvision-resnet50": torchvision_resnet50,
    "timm-resnet50-f16": timm_resnet50,
    "timm-vit-b16-bf16": timm_vit,
    "timm-deit-b16": timm_deit,
    "timm-swin-t": timm_swin,
    "timm-swin-t-old": timm_swin_old,
    "timm-swin-t-features": timm_swin_features,
    "hf-swin-t": hf_swin,
    "hf-dinov2-s14": hf_dinov2,
    "hf-bert-base": hf_bert,
    "hf-bert-old-f16": hf_bert_old,
}
