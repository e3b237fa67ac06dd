//! Architectures by name, and where published weights of them are to be had.

pub mod published;

use burn::module::Module;
use burn::tensor::Device;

use crate::card::{Architecture, Visit};
use crate::image::ImageEncoderConfig;
use crate::image::resnet::{BlockKind, ResNetConfig};
use crate::image::swin::SwinConfig;
use crate::image::vit::VitConfig;
use crate::text::TextEncoderConfig;
use crate::text::bert::{BertConfig, Pooling};
use crate::weights;

pub use published::{Published, PublishedFile};

/// An architecture with a name.
#[derive(Debug)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is known for.
    pub what: &'static str,
    /// Licence of the weights that it is known from.
    pub licence: &'static str,
    /// The architecture.
    pub model: fn() -> Architecture,
    /// Weights of it that can be fetched and checked; their licence may be another.
    pub published: Option<Published>,
}

/// All presets.
pub static PRESETS: [Preset; 8] = [
    Preset {
        name: "resnet18",
        what: "torchvision, timm; GLoRIA's small one",
        licence: "BSD-3-Clause",
        model: || resnet(BlockKind::Basic, [2, 2, 2, 2]),
        published: Some(published::RESNET18_A1),
    },
    Preset {
        name: "resnet50",
        what: "torchvision, timm; ConVIRT, MGCA, MedCLIP, GLoRIA, BioViL",
        licence: "BSD-3-Clause",
        model: || resnet(BlockKind::Bottleneck, [3, 4, 6, 3]),
        published: Some(published::RESNET50_A1),
    },
    Preset {
        name: "vit-base-16",
        what: "timm, DeiT; MGCA",
        licence: "Apache-2.0",
        model: || Architecture::ImageEncoder(ImageEncoderConfig::Vit(vit(224, 16, 768, 12, None))),
        published: None,
    },
    Preset {
        name: "dinov2-small",
        what: "DINOv2 ViT-S/14 at 518 px, layer scale",
        licence: "Apache-2.0",
        model: || Architecture::ImageEncoder(ImageEncoderConfig::Vit(vit(518, 14, 384, 6, Some(1e-5)))),
        published: Some(published::DINOV2_SMALL),
    },
    Preset {
        name: "swin-tiny",
        what: "timm, Hugging Face; MedCLIP",
        licence: "MIT",
        model: || {
            Architecture::ImageEncoder(ImageEncoderConfig::Swin(SwinConfig {
                image_size: 224,
                patch_size: 4,
                width: 96,
                stages: vec![2, 2, 6, 2],
                heads: vec![3, 6, 12, 24],
                window_size: 7,
                in_channels: 3,
            }))
        },
        published: Some(published::SWIN_TINY),
    },
    Preset {
        name: "bert-base",
        what: "BERT, Bio_ClinicalBERT (vocabulary of 28,996); ConVIRT, MedCLIP, GLoRIA",
        licence: "Apache-2.0; MIT for Bio_ClinicalBERT",
        model: || Architecture::TextEncoder(TextEncoderConfig::Bert(bert(28_996, 768, 12, Pooling::Max))),
        published: None,
    },
    Preset {
        name: "bert-base-6",
        what: "the first six layers of bert-base; MGCA",
        licence: "MIT",
        model: || Architecture::TextEncoder(TextEncoderConfig::Bert(bert(28_996, 768, 6, Pooling::Cls))),
        published: None,
    },
    Preset {
        name: "minilm-6",
        what: "all-MiniLM-L6-v2, sentence vectors by their mean",
        licence: "Apache-2.0",
        model: || Architecture::TextEncoder(TextEncoderConfig::Bert(bert(30_522, 384, 6, Pooling::Mean))),
        published: Some(published::MINILM_6),
    },
];

fn resnet(block: BlockKind, stages: [usize; 4]) -> Architecture {
    Architecture::ImageEncoder(ImageEncoderConfig::Resnet(ResNetConfig {
        block,
        stages,
        width: 64,
        in_channels: 3,
        local_stage: None,
        local_position: false,
        upsample: None,
    }))
}

fn vit(image_size: usize, patch_size: usize, hidden_size: usize, num_heads: usize, scale: Option<f64>) -> VitConfig {
    VitConfig {
        image_size,
        patch_size,
        hidden_size,
        num_layers: 12,
        num_heads,
        intermediate_size: None,
        layer_scale: scale,
        in_channels: 3,
    }
}

fn bert(vocab_size: usize, hidden_size: usize, num_layers: usize, pooling: Pooling) -> BertConfig {
    BertConfig {
        vocab_size,
        hidden_size,
        num_layers,
        num_heads: 12,
        intermediate_size: 4 * hidden_size,
        max_position_embeddings: 512,
        type_vocab_size: if num_layers == 6 && hidden_size == 768 { 0 } else { 2 },
        dropout: 0.1,
        initializer_range: 0.02,
        layer_norm_eps: 1e-12,
        pooling,
        pooled_layers: Vec::new(),
        zero_positions: false,
    }
}

/// Numbers that an architecture learns; running statistics are none of them.
pub fn num_parameters(model: &Architecture, device: &Device) -> usize {
    struct Count;
    impl Visit<usize> for Count {
        fn module<M: Module>(self, _: &str, module: &M) -> usize {
            let learned = |name: &str| !name.ends_with("running_mean") && !name.ends_with("running_var");
            let shapes = weights::shapes(module);
            shapes.iter().filter(|(name, _)| learned(name)).map(|(_, shape)| shape.iter().product::<usize>()).sum()
        }
    }
    model.with_module(device, Count)
}

/// Multiplications of one image at its usual side (224 px where any will do) and of one text of `tokens` tokens.
///
/// Convolutions, linear layers and attention are counted; what is done to single values is not. Papers call these FLOPs.
pub fn multiplications(model: &Architecture, tokens: usize) -> u64 {
    let image = model.image().map_or(0, |image| match image {
        ImageEncoderConfig::Resnet(config) => of_resnet(config),
        ImageEncoderConfig::Vit(config) => of_vit(config),
        ImageEncoderConfig::Swin(config) => of_swin(config),
    });
    let text = model.text().map_or(0, |TextEncoderConfig::Bert(config)| {
        config.num_layers * of_block(tokens, tokens, config.hidden_size, config.intermediate_size)
    });
    (image + text) as u64
}

fn of_resnet(config: &ResNetConfig) -> usize {
    let half = |side: usize| side.div_ceil(2);
    let mut side = half(config.upsample.unwrap_or(224));
    let mut sum = side * side * 49 * config.in_channels * config.width;
    side = half(side);
    let expansion = if config.block == BlockKind::Bottleneck { 4 } else { 1 };
    let mut channels = config.width;
    for (stage, blocks) in config.stages.iter().enumerate() {
        let planes = config.width << stage;
        for block in 0..*blocks {
            let before = side;
            if stage > 0 && block == 0 {
                side = half(side);
            }
            let (wide, narrow) = (before * before, side * side);
            sum += match config.block {
                BlockKind::Bottleneck => wide * channels * planes + narrow * (9 + expansion) * planes * planes,
                BlockKind::Basic => narrow * 9 * planes * (channels + planes),
            };
            if channels != planes * expansion {
                sum += narrow * channels * planes * expansion;
            }
            channels = planes * expansion;
        }
    }
    sum
}

/// One transformer block on `tokens` tokens of which each sees `seen`.
fn of_block(tokens: usize, seen: usize, width: usize, inner: usize) -> usize {
    tokens * (4 * width * width + 2 * width * inner) + 2 * tokens * seen * width
}

fn of_vit(config: &VitConfig) -> usize {
    let patches = (config.image_size / config.patch_size).pow(2);
    let inner = config.intermediate_size.unwrap_or(4 * config.hidden_size);
    let stem = patches * config.patch_size.pow(2) * config.in_channels * config.hidden_size;
    stem + config.num_layers * of_block(patches + 1, patches + 1, config.hidden_size, inner)
}

fn of_swin(config: &SwinConfig) -> usize {
    let side = config.image_size / config.patch_size;
    let stem = side * side * config.patch_size.pow(2) * config.in_channels * config.width;
    let stages = config.stages.iter().enumerate().map(|(stage, blocks)| {
        let (side, width) = (side >> stage, config.width << stage);
        let window = config.window_size.min(side);
        let merging = if stage == 0 { 0 } else { side * side * 2 * width * width };
        merging + blocks * of_block(side * side, window * window, width, 4 * width)
    });
    stem + stages.sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(name: &str) -> Architecture {
        (PRESETS.iter().find(|preset| preset.name == name).unwrap().model)()
    }

    #[test]
    fn costs_are_those_of_the_papers() {
        // He et al. 2016 (3.8 without strides in the 3x3, 4.1 with), Dosovitskiy et al. 2021, Liu et al. 2021.
        for (name, billions) in [("resnet18", 1.8), ("resnet50", 4.1), ("vit-base-16", 17.6), ("swin-tiny", 4.5)] {
            let found = multiplications(&preset(name), 0) as f64 / 1e9;
            assert!((found / billions - 1.0).abs() < 0.03, "{name}: {found}");
        }
    }

    #[test]
    fn sizes_are_those_of_torchvision_and_transformers() {
        let device = Device::flex();
        let published = [
            // Without the classifiers of 1000 classes.
            ("resnet18", 11_689_512 - 513_000),
            ("resnet50", 25_557_032 - 2_049_000),
            ("vit-base-16", 86_567_656 - 769_000),
            ("swin-tiny", 28_288_354 - 769_000),
            // BERT-base cased without its pooler.
            ("bert-base", 108_310_272 - 590_592),
        ];
        for (name, parameters) in published {
            assert_eq!(num_parameters(&preset(name), &device), parameters, "{name}");
        }
    }
}
