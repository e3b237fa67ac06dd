//! Key tables of encoders: how other projects name the tensors of a tower. Tables alone, no logic.

use super::rules::Layout;

/// torchvision and timm: our own names.
pub(super) fn resnet() -> Layout {
    Layout::default()
        .carry(&[("fc.*", "classifier"), ("*.num_batches_tracked", "counters of batches")])
        .rename(&[("conv1.*", "conv1.*"), ("bn1.*", "bn1.*")])
        .rename(&[
            ("layer1.*", "layer1.*"),
            ("layer2.*", "layer2.*"),
            ("layer3.*", "layer3.*"),
            ("layer4.*", "layer4.*"),
        ])
}

/// The children of a torchvision `ResNet` in a `Sequential`, as edreisMD's `ConVIRT` holds them.
pub(super) fn resnet_sequential() -> Layout {
    Layout::default()
        .carry(&[("*.num_batches_tracked", "counters of batches")])
        .rename(&[("0.*", "conv1.*"), ("1.*", "bn1.*")])
        .rename(&[("4.*", "layer1.*"), ("5.*", "layer2.*"), ("6.*", "layer3.*"), ("7.*", "layer4.*")])
}

/// timm (`DeiT` and `DINOv2`'s own files as well): our own names.
pub(super) fn vit() -> Layout {
    Layout::default()
        .carry(&[
            ("head.*", "classifier"),
            ("fc_norm.*", "normalisation of a classifier"),
            ("mask_token", "token of masked patches"),
        ])
        .rename(&[("cls_token", "cls_token"), ("pos_embed", "pos_embed"), ("patch_embed.*", "patch_embed.*")])
        .rename(&[("blocks.*", "blocks.*"), ("norm.*", "norm.*")])
}

/// `Dinov2Model` of Hugging Face.
pub(super) fn dinov2_hf() -> Layout {
    let attention = "encoder.layer.{}.attention.attention";
    let fused = ["query", "key", "value"].map(|part| format!("{attention}.{part}.*"));
    let [query, key, value] = &fused;
    Layout::default()
        .carry(&[("embeddings.mask_token", "token of masked patches"), ("classifier.*", "classifier")])
        .fuse([query, key, value], "blocks.{}.attn.qkv.*")
        .rename(&[
            ("embeddings.cls_token", "cls_token"),
            ("embeddings.position_embeddings", "pos_embed"),
            ("embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
            ("encoder.layer.{}.norm1.*", "blocks.{}.norm1.*"),
            ("encoder.layer.{}.attention.output.dense.*", "blocks.{}.attn.proj.*"),
            ("encoder.layer.{}.layer_scale1.lambda1", "blocks.{}.ls1.gamma"),
            ("encoder.layer.{}.norm2.*", "blocks.{}.norm2.*"),
            ("encoder.layer.{}.mlp.*", "blocks.{}.mlp.*"),
            ("encoder.layer.{}.layer_scale2.lambda1", "blocks.{}.ls2.gamma"),
            ("layernorm.*", "norm.*"),
        ])
}

/// What every Swin in timm's names shares.
fn swin_body() -> Layout {
    Layout::default()
        .carry(&[
            ("head.*", "classifier"),
            ("*.attn.relative_position_index", "index of relative positions"),
            ("*.attn_mask", "mask of shifted windows"),
        ])
        .rename(&[("patch_embed.*", "patch_embed.*"), ("norm.*", "norm.*")])
}

/// timm 0.9 and later: our own names.
pub(super) fn swin() -> Layout {
    swin_body().rename(&[("layers.*", "layers.*")])
}

/// timm before 0.9 and the authors' own files: a stage ends with its merging of patches.
pub(super) fn swin_old() -> Layout {
    merged_at_the_end("layers.{}.downsample.*", swin_body()).rename(&[("layers.{}.blocks.*", "layers.{}.blocks.*")])
}

/// Stages that end with the merging of patches, with which the next one begins here.
fn merged_at_the_end(pattern: &str, layout: Layout) -> Layout {
    (0..7).fold(layout, |layout, stage: usize| {
        let there = pattern.replacen("{}", &stage.to_string(), 1);
        let here = format!("layers.{}.downsample.*", stage + 1);
        layout.rename(&[(&there, &here)])
    })
}

/// `SwinModel` of Hugging Face.
pub(super) fn swin_hf() -> Layout {
    let attention = "encoder.layers.{}.blocks.{}.attention.self";
    let fused = ["query", "key", "value"].map(|part| format!("{attention}.{part}.*"));
    let [query, key, value] = &fused;
    let body = Layout::default()
        .carry(&[
            ("*.attention.self.relative_position_index", "index of relative positions"),
            ("classifier.*", "classifier"),
        ])
        .fuse([query, key, value], "layers.{}.blocks.{}.attn.qkv.*")
        .rename(&[
            ("embeddings.patch_embeddings.projection.*", "patch_embed.proj.*"),
            ("embeddings.norm.*", "patch_embed.norm.*"),
            ("encoder.layers.{}.blocks.{}.layernorm_before.*", "layers.{}.blocks.{}.norm1.*"),
            (
                "encoder.layers.{}.blocks.{}.attention.self.relative_position_bias_table",
                "layers.{}.blocks.{}.attn.relative_position_bias_table",
            ),
            ("encoder.layers.{}.blocks.{}.attention.output.dense.*", "layers.{}.blocks.{}.attn.proj.*"),
            ("encoder.layers.{}.blocks.{}.layernorm_after.*", "layers.{}.blocks.{}.norm2.*"),
            ("encoder.layers.{}.blocks.{}.intermediate.dense.*", "layers.{}.blocks.{}.mlp.fc1.*"),
            ("encoder.layers.{}.blocks.{}.output.dense.*", "layers.{}.blocks.{}.mlp.fc2.*"),
            ("layernorm.*", "norm.*"),
        ]);
    merged_at_the_end("encoder.layers.{}.downsample.*", body)
}

/// `BertModel` of Hugging Face: our own names.
pub(super) fn bert() -> Layout {
    Layout::default()
        .carry(&[
            ("pooler.*", "pooler"),
            ("embeddings.position_ids", "numbers of positions"),
            ("encoder.layer.{}.crossattention.*", "cross-attention, never used on text"),
            ("cls.*", "language-model heads"),
            ("cls_projection_head.*", "projection of BioViL"),
            ("classifier.*", "classifier"),
        ])
        .rename(&[("embeddings.*", "embeddings.*"), ("encoder.layer.{}.*", "encoder.layer.{}.*")])
        .alias(&[
            ("embeddings.LayerNorm.gamma", "embeddings.LayerNorm.weight"),
            ("embeddings.LayerNorm.beta", "embeddings.LayerNorm.bias"),
            ("encoder.layer.{}.attention.output.LayerNorm.gamma", "encoder.layer.{}.attention.output.LayerNorm.weight"),
            ("encoder.layer.{}.attention.output.LayerNorm.beta", "encoder.layer.{}.attention.output.LayerNorm.bias"),
            ("encoder.layer.{}.output.LayerNorm.gamma", "encoder.layer.{}.output.LayerNorm.weight"),
            ("encoder.layer.{}.output.LayerNorm.beta", "encoder.layer.{}.output.LayerNorm.bias"),
            // An older spelling inside MGCA's files.
            ("encoder.blocks.{}.*", "encoder.layer.{}.*"),
        ])
}
