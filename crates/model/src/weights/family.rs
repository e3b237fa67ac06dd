//! The kinds of checkpoints that are known: how each is recognised, what its tensors are called and what else it implies.
//!
//! A new kind is one entry of [`FAMILIES`]; the names of a tower are a table in `layout`.

use super::layout;
use super::rules::Layout;
use crate::card::{Architecture, Fit, Framing, Preprocess};
use crate::image::ImageEncoderConfig;
use crate::text::TextEncoderConfig;
use crate::text::bert::{BertConfig, Pooling};

/// A kind of checkpoint.
#[derive(Debug)]
pub struct Family {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it is, for people.
    pub what: &'static str,
    /// Names that it has and no kind after it in the list.
    signature: &'static [&'static str],
    /// What may stand before every name of a tower.
    prefixes: &'static [&'static str],
    /// Its names.
    pub(super) layout: fn() -> Layout,
    /// Prefixes of our names that it has a place for.
    pub(super) covers: &'static [&'static str],
    /// What its tensors do not tell of the architecture.
    pub(super) adjust: fn(&mut Architecture),
    /// Longest text in tokens that it was trained with, where that is less than it has positions for.
    pub max_tokens: usize,
    /// How it was taught to see images, given the side of its input.
    pub(super) preprocess: fn(usize) -> Preprocess,
}

const IMAGE: &[&str] = &["image_encoder."];
const TEXT: &[&str] = &["text_encoder."];
const BOTH: &[&str] = &["image_encoder.", "text_encoder.", "image_projection.", "text_projection."];
const ALIGNED: &[&str] = &["image_encoder.", "text_encoder.", "image_projection.", "text_projection.", "alignment."];

/// All kinds, the most specific first.
pub static FAMILIES: [Family; 16] = [
    Family {
        name: "mgca-resnet",
        what: "MGCA with ResNet",
        signature: &["img_encoder_q.model.conv1.weight", "text_encoder_q.model.embeddings.word_embeddings.weight"],
        layout: || mgca(layout::resnet()),
        covers: ALIGNED,
        max_tokens: 112,
        adjust: adjust_mgca,
        preprocess: of_mgca,
        ..NO_PREFIX
    },
    Family {
        name: "mgca-vit",
        what: "MGCA with ViT",
        signature: &["img_encoder_q.model.cls_token", "text_encoder_q.model.embeddings.word_embeddings.weight"],
        layout: || mgca(layout::vit()),
        covers: ALIGNED,
        max_tokens: 112,
        adjust: adjust_mgca,
        preprocess: of_mgca,
        ..NO_PREFIX
    },
    Family {
        name: "medclip-resnet",
        what: "MedCLIP with ResNet",
        signature: &["vision_model.model.conv1.weight", "text_model.model.embeddings.word_embeddings.weight"],
        layout: || {
            Layout::default()
                .rename(&[("vision_model.model.fc.*", "image_projection.fc2.*")])
                .and(medclip(layout::resnet().without("fc.*")))
        },
        covers: BOTH,
        max_tokens: 77,
        adjust: adjust_medclip,
        preprocess: of_medclip,
        ..NO_PREFIX
    },
    Family {
        name: "medclip-swin",
        what: "MedCLIP with Swin",
        signature: &["vision_model.projection_head.weight", "text_model.model.embeddings.word_embeddings.weight"],
        layout: || {
            Layout::default()
                .rename(&[("vision_model.projection_head.*", "image_projection.fc2.*")])
                .and(medclip(layout::swin_hf()))
        },
        covers: BOTH,
        max_tokens: 77,
        adjust: adjust_medclip,
        preprocess: of_medclip,
        ..NO_PREFIX
    },
    Family {
        name: "gloria",
        what: "GLoRIA",
        signature: &["gloria.img_encoder.model.conv1.weight", "gloria.img_encoder.global_embedder.weight"],
        layout: gloria,
        covers: BOTH,
        max_tokens: 97,
        adjust: |architecture| {
            enlarge(architecture);
            with_bert(architecture, |bert| {
                bert.pooling = Pooling::Mean;
                bert.pooled_layers = (bert.num_layers.saturating_sub(3).max(1)..=bert.num_layers).collect();
            });
        },
        // Trained at 224 and enlarged inside; normalised as MGCA's.
        preprocess: of_mgca,
        ..NO_PREFIX
    },
    Family {
        name: "convirt",
        what: "ConVIRT of edreisMD",
        signature: &["res_features.0.weight", "bert_model.embeddings.word_embeddings.weight"],
        layout: || {
            layout::resnet_sequential()
                .under("res_features.")
                .tower("image_encoder.")
                .and(layout::bert().under("bert_model.").tower("text_encoder."))
                .rename(&[
                    ("res_l1.*", "image_projection.fc1.*"),
                    ("res_l2.*", "image_projection.fc2.*"),
                    ("bert_l1.*", "text_projection.fc1.*"),
                    ("bert_l2.*", "text_projection.fc2.*"),
                ])
        },
        covers: BOTH,
        adjust: |architecture| with_bert(architecture, |bert| bert.pooling = Pooling::Mean),
        ..NO_PREFIX
    },
    Family {
        name: "biovil-image",
        what: "image encoder of BioViL",
        signature: &["encoder.encoder.conv1.weight", "projector.model.0.weight"],
        layout: || {
            layout::resnet()
                .under("encoder.encoder.")
                .tower("image_encoder.")
                .carry(&[("projector.*", "projection of patches"), ("classifier.*", "classifier")])
        },
        adjust: |architecture| {
            if let Architecture::ImageEncoder(ImageEncoderConfig::Resnet(resnet)) = architecture {
                resnet.local_stage = Some(4);
            }
        },
        preprocess: |_| Preprocess {
            image_size: 480,
            source_size: 1024,
            mean: vec![0.0; 3],
            std: vec![1.0; 3],
            framing: Some(Framing { fit: Fit::Crop, side: 512 }),
        },
        ..NO_PREFIX
    },
    Family {
        name: "bert-hf",
        what: "BERT of Hugging Face",
        signature: &["embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"],
        prefixes: &["", "bert.", "model."],
        layout: || layout::bert().tower("text_encoder."),
        covers: TEXT,
        ..NO_PREFIX
    },
    Family {
        name: "swin-hf",
        what: "Swin of Hugging Face",
        signature: &["embeddings.patch_embeddings.projection.weight", "embeddings.norm.weight"],
        prefixes: &["", "swin."],
        layout: || layout::swin_hf().tower("image_encoder."),
        ..NO_PREFIX
    },
    Family {
        name: "dinov2-hf",
        what: "DINOv2 of Hugging Face",
        signature: &["embeddings.cls_token", "encoder.layer.0.layer_scale1.lambda1"],
        prefixes: &["", "dinov2."],
        layout: || layout::dinov2_hf().tower("image_encoder."),
        ..NO_PREFIX
    },
    Family {
        name: "swin-old",
        what: "Swin of its authors or of timm before 0.9",
        signature: &["patch_embed.norm.weight", "layers.0.downsample.norm.weight"],
        layout: || layout::swin_old().tower("image_encoder."),
        ..NO_PREFIX
    },
    Family {
        name: "swin-timm",
        what: "Swin of timm",
        signature: &["patch_embed.norm.weight", "layers.0.blocks.0.attn.relative_position_bias_table"],
        layout: || layout::swin().tower("image_encoder."),
        ..NO_PREFIX
    },
    Family {
        name: "vit-timm",
        what: "ViT, DeiT or DINOv2 of timm",
        signature: &["cls_token", "pos_embed", "patch_embed.proj.weight"],
        layout: || layout::vit().tower("image_encoder."),
        ..NO_PREFIX
    },
    Family {
        name: "resnet",
        what: "ResNet of torchvision or timm",
        signature: &["conv1.weight", "layer1.0.conv1.weight"],
        prefixes: &["", "encoder.", "backbone."],
        layout: || layout::resnet().tower("image_encoder."),
        ..NO_PREFIX
    },
    Family {
        name: "resnet-sequential",
        what: "ResNet of torchvision as a sequence of layers",
        signature: &["0.weight", "1.running_mean", "4.0.conv1.weight"],
        layout: || layout::resnet_sequential().tower("image_encoder."),
        ..NO_PREFIX
    },
    NATIVE,
];

/// What most kinds share: an image encoder as `ImageNet` is seen, names without a prefix.
const NO_PREFIX: Family = Family {
    name: "",
    what: "",
    signature: &[],
    prefixes: &[""],
    layout: Layout::default,
    covers: IMAGE,
    adjust: |_| {},
    max_tokens: usize::MAX,
    preprocess: of_imagenet,
};

/// Files of this project, recognised by their card.
const NATIVE: Family = Family {
    name: "native",
    what: "Roentgen",
    // No file has this name: the card decides.
    signature: &["\0"],
    layout: || {
        Layout::default().carry(&[("carried.*", "carried")]).rename(&[
            ("image_encoder.*", "image_encoder.*"),
            ("text_encoder.*", "text_encoder.*"),
            ("image_projection.*", "image_projection.*"),
            ("text_projection.*", "text_projection.*"),
            ("alignment.*", "alignment.*"),
            ("fc.*", "fc.*"),
        ])
    },
    covers: ALIGNED,
    ..NO_PREFIX
};

impl Family {
    /// The kind of a name.
    pub fn named(name: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.name == name)
    }

    /// Whether it has a place for a text tower.
    pub fn covers_text(&self) -> bool {
        self.covers.iter().any(|tower| TEXT.contains(tower))
    }

    /// The kind of a file by the names of its tensors, and what stands before those of its towers.
    pub(super) fn detect(has: impl Fn(&str) -> bool) -> Option<(&'static Self, &'static str)> {
        FAMILIES.iter().find_map(|family| {
            let all = |prefix: &&&str| family.signature.iter().all(|name| has(&format!("{prefix}{name}")));
            Some((family, *family.prefixes.iter().find(all)?))
        })
    }
}

/// A head of MGCA's; `layer` is what its two layers are called here.
fn head(there: &str, here: &str, layer: &str) -> Layout {
    let pairs =
        [("0", format!("{layer}1")), ("1", "bn1".to_owned()), ("3", format!("{layer}2")), ("4", "bn2".to_owned())];
    pairs.iter().fold(Layout::default(), |layout, (from, to)| {
        layout.rename(&[(&format!("{there}.head.{from}.*"), &format!("{here}.{to}.*"))])
    })
}

/// Attention of torch's `MultiheadAttention`.
fn attention(there: &str, here: &str) -> Layout {
    Layout::default().rename(&[
        (&format!("{there}.in_proj_weight"), &format!("{here}.in_proj.weight")),
        (&format!("{there}.in_proj_bias"), &format!("{here}.in_proj.bias")),
        (&format!("{there}.out_proj.*"), &format!("{here}.out_proj.*")),
    ])
}

/// MGCA: `methods.md` 4.6.
fn mgca(image: Layout) -> Layout {
    Layout::default()
        .carry(&[("*.num_batches_tracked", "counters of batches")])
        .and(image.under("img_encoder_q.model.").tower("image_encoder."))
        .and(layout::bert().under("text_encoder_q.model.").tower("text_encoder."))
        .and(head("img_encoder_q.global_embed", "image_projection", "fc"))
        .and(head("text_encoder_q.global_embed", "text_projection", "fc"))
        .and(head("img_encoder_q.local_embed", "alignment.image_local", "conv"))
        .and(head("text_encoder_q.local_embed", "alignment.text_local", "conv"))
        .and(attention("word_local_atten_layer", "alignment.word_attention"))
        .and(attention("patch_local_atten_layer", "alignment.patch_attention"))
        .rename(&[("prototype_layer.weight", "alignment.prototypes.weight")])
}

fn medclip(image: Layout) -> Layout {
    Layout::default()
        .carry(&[("logit_scale", "temperature")])
        .and(image.under("vision_model.model.").tower("image_encoder."))
        .and(layout::bert().under("text_model.model.").tower("text_encoder."))
        .rename(&[("text_model.projection_head.*", "text_projection.fc2.*")])
}

fn gloria() -> Layout {
    Layout::default()
        .carry(&[
            ("gloria.img_encoder.local_embedder.*", "local head"),
            ("gloria.text_encoder.emb_global.*", "global head of texts"),
            ("gloria.text_encoder.emb_local.*", "local head of texts"),
        ])
        .and(layout::resnet().under("gloria.img_encoder.model.").tower("image_encoder."))
        .and(layout::bert().under("gloria.text_encoder.model.").tower("text_encoder."))
        .rename(&[("gloria.img_encoder.global_embedder.*", "image_projection.fc2.*")])
}

fn with_bert(architecture: &mut Architecture, change: impl Fn(&mut BertConfig)) {
    match architecture {
        Architecture::DualEncoder(config) => {
            let TextEncoderConfig::Bert(bert) = &mut config.text;
            change(bert);
        }
        Architecture::TextEncoder(TextEncoderConfig::Bert(bert)) => change(bert),
        Architecture::ImageClassifier(_) | Architecture::ImageEncoder(_) => {}
    }
}

/// Images enlarged to 299 inside a `ResNet`, local features of its third stage: MGCA and `GLoRIA`.
fn enlarge(architecture: &mut Architecture) {
    if let Architecture::DualEncoder(config) = architecture
        && let ImageEncoderConfig::Resnet(resnet) = &mut config.image
    {
        resnet.upsample = Some(299);
        resnet.local_stage = Some(3);
    }
}

/// `methods.md` 2.1 and 2.3: the class token, and no positions.
fn adjust_mgca(architecture: &mut Architecture) {
    enlarge(architecture);
    with_bert(architecture, |bert| {
        bert.pooling = Pooling::Cls;
        bert.zero_positions = true;
    });
}

/// `methods.md` 3.1: layers 1, 2 and the last, padding included.
fn adjust_medclip(architecture: &mut Architecture) {
    with_bert(architecture, |bert| {
        bert.pooling = Pooling::PaddedMean;
        bert.pooled_layers = vec![1, 2.min(bert.num_layers), bert.num_layers];
    });
}

/// Shorter side to 8/7 of the input, its centre, `ImageNet`'s mean and deviation.
fn of_imagenet(size: usize) -> Preprocess {
    let side = size * 8 / 7;
    let framing = Some(Framing { fit: Fit::Crop, side });
    Preprocess { framing, ..Preprocess::imagenet(size, 2 * side, 3) }
}

/// `methods.md` 2.4: longer side to 256, padded, the centre of 224.
fn of_mgca(size: usize) -> Preprocess {
    let framing = Some(Framing { fit: Fit::Pad, side: size * 8 / 7 });
    Preprocess { image_size: size, source_size: 2 * size, mean: vec![0.5; 3], std: vec![0.5; 3], framing }
}

/// `methods.md` 3.4: padded to a square, then scaled.
fn of_medclip(size: usize) -> Preprocess {
    let (mean, std) = (vec![0.586_278_6; 3], vec![0.279_500_9; 3]);
    Preprocess { image_size: size, source_size: 2 * size, mean, std, framing: None }
}
