"""Files as the vision-language models for radiographs publish them, with random tensors and the outputs they must give.

Networks are written from the papers and from the names and shapes of the published files. Towers are full-size but for
the number of BERT's layers, which a reader takes from the file.
"""

import argparse
import sys
import types
from contextlib import contextmanager

import timm
import torch
import torchvision
import transformers
from torch import nn
from zoo_models import (
    VOCABULARY,
    Case,
    both_precisions,
    hf_image_outputs,
    image_inputs,
    pooled,
    published,
    randomize,
    resnet_outputs,
    strict,
    text_inputs,
    vit_outputs,
)

POSITIONS = 512


def bert(layers):
    """BERT of the usual width and Bio_ClinicalBERT's vocabulary."""
    config = transformers.BertConfig(vocab_size=VOCABULARY, num_hidden_layers=layers, attn_implementation="eager")
    return transformers.BertModel(config)


def resnet50(head=None):
    """torchvision's network, ending in the features or in `head`."""
    model = torchvision.models.resnet50()
    model.fc = head or nn.Identity()
    return model


def prefixed(prefix, tensors):
    return {prefix + name: value for name, value in tensors.items()}


def position_ids(prefix):
    """The buffer that files of older transformers carry."""
    return {f"{prefix}embeddings.position_ids": torch.arange(POSITIONS)[None]}


def swin_buffers(tensors):
    """The indices that files of older transformers carry beside each table of relative positions."""
    tables = [name for name in tensors if name.endswith("relative_position_bias_table")]
    return {name.replace("bias_table", "index"): torch.arange(49 * 49).reshape(49, 49) % 169 for name in tables}


def unit(x):
    return nn.functional.normalize(x, dim=1)


@contextmanager
def foreign_class(module, name):
    """A class of a module that no reader has; it is gone again when the file is written."""
    made = type(name, (), {"__module__": module})
    names = [".".join(module.split(".")[: i + 1]) for i in range(module.count(".") + 1)]
    before = {part: sys.modules.get(part) for part in names}
    for part in names:
        sys.modules[part] = types.ModuleType(part)
    setattr(sys.modules[module], name, made)
    try:
        yield made
    finally:
        for part, value in before.items():
            if value is None:
                del sys.modules[part]
            else:
                sys.modules[part] = value


class MgcaHead(nn.Module):
    """Linear, norm, ReLU, linear, norm without factors; for local features the linear layers are 1x1 convolutions."""

    def __init__(self, width, local, hidden=2048, embed=128):
        super().__init__()
        layer = (lambda i, o: nn.Conv1d(i, o, kernel_size=1)) if local else nn.Linear
        norms = [nn.BatchNorm1d(hidden), nn.BatchNorm1d(embed, affine=False)]
        self.head = nn.Sequential(layer(width, hidden), norms[0], nn.ReLU(), layer(hidden, embed), norms[1])

    def forward(self, x):
        return unit(self.head(x))


class MgcaImage(nn.Module):
    def __init__(self, model, width, local_width):
        super().__init__()
        self.model = model
        self.global_embed = MgcaHead(width, local=False)
        self.local_embed = MgcaHead(local_width, local=True)


class MgcaAttention(nn.Module):
    """Cross-attention that each layer of MGCA's BERT holds and never uses."""

    def __init__(self, width):
        super().__init__()
        self.self = nn.ModuleDict({part: nn.Linear(width, width) for part in ["query", "key", "value"]})
        self.output = nn.ModuleDict({"dense": nn.Linear(width, width), "LayerNorm": nn.LayerNorm(width)})


class MgcaText(nn.Module):
    """BERT without types of tokens, in which every token has the position 0."""

    def __init__(self, layers):
        super().__init__()
        self.model = bert(layers)
        self.model.pooler = None
        self.model.embeddings.token_type_embeddings = None
        for layer in self.model.encoder.layer:
            layer.crossattention = MgcaAttention(768)
        self.global_embed = MgcaHead(768, local=False)
        self.local_embed = MgcaHead(768, local=True)

    def forward(self, input_ids, attention_mask):
        embeddings = self.model.embeddings
        x = embeddings.word_embeddings(input_ids) + embeddings.position_embeddings.weight[0]
        x = embeddings.LayerNorm(x)
        mask = (1.0 - attention_mask[:, None, None].to(x.dtype)) * torch.finfo(x.dtype).min
        for layer in self.model.encoder.layer:
            x = layer(x, mask)
        return x


class Mgca(nn.Module):
    def __init__(self, image, text_layers):
        super().__init__()
        self.img_encoder_q = image
        self.text_encoder_q = MgcaText(text_layers)
        self.patch_local_atten_layer = nn.MultiheadAttention(128, 1)
        self.word_local_atten_layer = nn.MultiheadAttention(128, 1)
        self.prototype_layer = nn.Linear(128, 500, bias=False)

    def forward(self, inputs):
        image = self.img_encoder_q
        if isinstance(image.model, torchvision.models.ResNet):
            size, how = (299, 299), {"mode": "bilinear", "align_corners": True}
            enlarged = nn.functional.interpolate(inputs["images"], size=size, **how)
            outputs = resnet_outputs(image.model, {"images": enlarged})
            outputs = {"image_features": outputs["image_features"], "image_local": outputs["image_local.3"]}
        else:
            outputs = vit_outputs(image.model, inputs)
        hidden = self.text_encoder_q(inputs["input_ids"], inputs["attention_mask"])
        return outputs | {
            "image_embeds": image.global_embed(outputs["image_features"]),
            "text_hidden": hidden,
            # The class token stands for the report.
            "text_features": hidden[:, 0],
            "text_embeds": self.text_encoder_q.global_embed(hidden[:, 0]),
        }


def finish(model, path, inputs, tensors, **more):
    expected, single = both_precisions(lambda model, inputs: model(inputs), model, inputs)
    return Case(path, tensors, inputs, expected, single, **more)


def copies(model):
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


def mgca(folder, image, seed, text_layers, name, loaders):
    """A checkpoint of Lightning: settings as a namespace of argparse, a callback of a class that no reader knows, the
    state of an optimizer."""
    model = randomize(Mgca(image, text_layers), seed)
    tensors = copies(model) | position_ids("text_encoder_q.model.")
    path = folder / f"{name}.ckpt"
    with foreign_class("pytorch_lightning.callbacks.model_checkpoint", "ModelCheckpoint") as callback:
        settings = {"img_encoder": name, "emb_dim": 128, "lambda_1": 1.0, "gpus": [0, 1], "deterministic": True}
        moments = {0: {"step": 7, "exp_avg": torch.randn(16), "exp_avg_sq": torch.rand(16)}}
        contents = {
            "epoch": 17,
            "global_step": 4242,
            "pytorch-lightning_version": "1.5.8",
            "state_dict": tensors,
            "callbacks": {callback: {"best_model_score": torch.tensor(3.5), "best_model_path": "epoch=17.ckpt"}},
            "optimizer_states": [{"state": moments, "param_groups": [{"lr": 2e-5, "params": [0]}]}],
            "lr_schedulers": [{"T_0": 20, "last_epoch": 17}],
            "hyper_parameters": argparse.Namespace(**settings),
        }
        torch.save(contents, path)
    return finish(model, path, image_inputs(224) | text_inputs(), tensors, loaders=loaders)


def mgca_resnet(folder):
    loaders = {"torchvision": strict(resnet50, resnet_outputs_at_299)}
    return mgca(folder, MgcaImage(resnet50(), 2048, 1024), 21, 2, "resnet_50", loaders)


def resnet_outputs_at_299(model, inputs):
    enlarged = nn.functional.interpolate(inputs["images"], size=(299, 299), mode="bilinear", align_corners=True)
    return {"image_features": resnet_outputs(model, {"images": enlarged})["image_features"]}


def mgca_vit(folder):
    def vit():
        return timm.create_model("vit_base_patch16_224", pretrained=False, num_classes=0)

    return mgca(folder, MgcaImage(vit(), 768, 768), 22, 6, "vit_base", {"timm": strict(vit, vit_outputs)})


class MedClip(nn.Module):
    """Bias-free projections; texts are the mean of three layers over all positions, padding too."""

    def __init__(self, vision, text_layers):
        super().__init__()
        self.vision_model, self.text_model = nn.Module(), nn.Module()
        self.vision_model.model = vision
        if not isinstance(vision, torchvision.models.ResNet):
            self.vision_model.projection_head = nn.Linear(768, 512, bias=False)
        self.text_model.model = bert(text_layers)
        self.text_model.projection_head = nn.Linear(768, 512, bias=False)
        self.logit_scale = nn.Parameter(torch.tensor(2.65926))

    def forward(self, inputs):
        vision = self.vision_model
        if hasattr(vision, "projection_head"):
            outputs, project = hf_image_outputs(vision.model, inputs), vision.projection_head
        else:
            outputs = {"image_features": resnet_outputs(vision.model, inputs)["image_features"]}
            project = vision.model.fc
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        states = self.text_model.model(input_ids=ids, attention_mask=mask, output_hidden_states=True).hidden_states
        features = torch.stack([states[1], states[2], states[-1]]).mean(dim=(0, 2))
        return outputs | {
            "image_embeds": unit(project(outputs["image_features"])),
            "text_hidden": states[-1],
            "text_features": features,
            "text_embeds": unit(self.text_model.projection_head(features)),
        }


def medclip(folder, vision, seed, more):
    model = randomize(MedClip(vision, text_layers=3), seed)
    tensors = copies(model) | position_ids("text_model.model.")
    tensors = more(model, tensors)
    torch.save(tensors, folder / "pytorch_model.bin")
    return finish(model, folder / "pytorch_model.bin", image_inputs(224) | text_inputs(), tensors)


def medclip_resnet(folder):
    return medclip(folder, resnet50(nn.Linear(2048, 512, bias=False)), 23, lambda _, tensors: tensors)


def medclip_swin(folder):
    def renamed(model, tensors):
        prefix = "vision_model.model."
        files = published(model.vision_model.model)
        others = {name: value for name, value in tensors.items() if not name.startswith(prefix)}
        return others | prefixed(prefix, files | swin_buffers(files))

    return medclip(folder, transformers.SwinModel(transformers.SwinConfig()), 24, renamed)


class Gloria(nn.Module):
    def __init__(self, text_layers):
        super().__init__()
        self.img_encoder, self.text_encoder = nn.Module(), nn.Module()
        self.img_encoder.model = resnet50()
        self.img_encoder.global_embedder = nn.Linear(2048, 768)
        self.img_encoder.local_embedder = nn.Conv2d(1024, 768, kernel_size=1, bias=False)
        self.text_encoder.model = bert(text_layers)

    def forward(self, inputs):
        enlarged = nn.functional.interpolate(inputs["images"], size=(299, 299), mode="bilinear", align_corners=True)
        outputs = resnet_outputs(self.img_encoder.model, {"images": enlarged})
        text = self.text_encoder.model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"])
        return {
            "image_features": outputs["image_features"],
            "image_local": outputs["image_local.3"],
            "image_embeds": unit(self.img_encoder.global_embedder(outputs["image_features"])),
            "text_hidden": text.last_hidden_state,
        }


def gloria(folder):
    """Settings are an object of OmegaConf."""
    model = randomize(Gloria(text_layers=4), 25)
    tensors = prefixed("gloria.", copies(model) | position_ids("text_encoder.model."))
    with foreign_class("omegaconf.dictconfig", "DictConfig") as config:
        settings = config()
        settings._content = {"model": {"vision": {"model_name": "resnet_50"}}, "lightning": {"trainer": {"lr": 5e-5}}}
        contents = {"epoch": 9, "global_step": 77, "state_dict": tensors, "hyper_parameters": settings}
        torch.save(contents, folder / "chexpert_resnet50.ckpt")
    return finish(model, folder / "chexpert_resnet50.ckpt", image_inputs(224) | text_inputs(), tensors)


class BioViL(nn.Module):
    """The patches of the last stage. Its projection is carried, not modelled: there is no text tower of its joint space here."""

    def __init__(self):
        super().__init__()
        self.encoder, self.projector = nn.Module(), nn.Module()
        self.encoder.encoder = torchvision.models.resnet50()
        layers = [nn.Conv2d(2048, 128, 1, bias=False), nn.BatchNorm2d(128), nn.ReLU(), nn.Conv2d(128, 128, 1)]
        self.projector.model = nn.Sequential(*layers)

    def forward(self, inputs):
        outputs = resnet_outputs(self.encoder.encoder, inputs)
        return {"image_features": outputs["image_features"], "image_local": outputs["image_local.4"]}


def biovil(folder):
    model = randomize(BioViL(), 26)
    path = folder / "biovil_image_resnet50_proj_size_128.pt"
    tensors = copies(model)
    torch.save(tensors, path)
    return finish(model, path, image_inputs(480), tensors)


class Convirt(nn.Module):
    """edreisMD's: the children of ResNet in a row, one-hidden-layer projections, texts the mean without padding."""

    def __init__(self, text_layers):
        super().__init__()
        self.bert_model = bert(text_layers)
        self.bert_l1, self.bert_l2 = nn.Linear(768, 768), nn.Linear(768, 512)
        self.res_features = nn.Sequential(*list(torchvision.models.resnet50().children())[:-1])
        self.res_l1, self.res_l2 = nn.Linear(2048, 2048), nn.Linear(2048, 512)

    def forward(self, inputs):
        features = self.res_features(inputs["images"]).flatten(1)
        mask = inputs["attention_mask"]
        hidden = self.bert_model(input_ids=inputs["input_ids"], attention_mask=mask).last_hidden_state
        text = pooled(hidden, mask, "mean")
        return {
            "image_features": features,
            "image_embeds": unit(self.res_l2(torch.relu(self.res_l1(features)))),
            "text_hidden": hidden,
            "text_features": text,
            "text_embeds": unit(self.bert_l2(torch.relu(self.bert_l1(text)))),
        }


def convirt(folder):
    model = randomize(Convirt(text_layers=2), 27)
    tensors = copies(model) | position_ids("bert_model.")
    torch.save(tensors, folder / "model.pt")
    loaders = {"torchvision": strict(resnet50, lambda model, inputs: {"image_features": model(inputs["images"])})}
    return finish(model, folder / "model.pt", image_inputs(224) | text_inputs(), tensors, loaders=loaders)


CASES = {
    "mgca-resnet50": mgca_resnet,
    "mgca-vit-b16": mgca_vit,
    "medclip-resnet50": medclip_resnet,
    "medclip-swin-t": medclip_swin,
    "gloria-resnet50": gloria,
    "biovil-image": biovil,
    "convirt-edreismd": convirt,
}
