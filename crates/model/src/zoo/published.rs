//! Weights that others published: where they are, of which commit, under which licence, and what every byte must hash to.
//!
//! Hashes stand here only where several parties that hold the file agree on commit and hash. Where architecture and
//! preparation follow from the tensors, no configuration lies beside them.

/// A file of a repository.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishedFile {
    /// Its name, in the repository and in the folder that it is written to.
    pub name: &'static str,
    /// SHA-256 of its bytes, as 64 lower-case hexadecimal digits.
    pub sha256: &'static str,
}

/// Weights that somebody published, with the files that belong to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// Repository on the Hugging Face hub.
    pub source: &'static str,
    /// Commit of the repository.
    pub revision: &'static str,
    /// Licence that the repository names (SPDX).
    pub licence: &'static str,
    /// Weights, configuration and tokenizer.
    pub files: &'static [PublishedFile],
}

const fn file(name: &'static str, sha256: &'static str) -> PublishedFile {
    PublishedFile { name, sha256 }
}

/// `ResNet`-18 of Wightman et al. 2021 ("`ResNet` strikes back", recipe A1), trained on `ImageNet`.
pub const RESNET18_A1: Published = Published {
    source: "timm/resnet18.a1_in1k",
    revision: "491b427b45c94c7fb0e78b5474cc919aff584bbf",
    licence: "Apache-2.0",
    files: &[file("model.safetensors", "80c49dee3da4822c009c5a7fe591e9223c5a2cfcf95a4067ca4dfb5a7b89c612")],
};

/// `ResNet`-50 of the same recipe.
pub const RESNET50_A1: Published = Published {
    source: "timm/resnet50.a1_in1k",
    revision: "767268603ca0cb0bfe326fa87277f19c419566ef",
    licence: "Apache-2.0",
    files: &[file("model.safetensors", "773525d5821de224f8f30c33377b7a795d7863e08522698200d3217d3f2a41bb")],
};

/// `DINOv2` ViT-S/14 of Oquab et al. 2023.
pub const DINOV2_SMALL: Published = Published {
    source: "facebook/dinov2-small",
    revision: "ed25f3a31f01632728cabb09d1542f84ab7b0056",
    licence: "Apache-2.0",
    files: &[
        file("config.json", "1809f83e3bdb1609a501a610ad4a742f4fd8ae44d72ca4aa0df52d1f2ac8628d"),
        file("preprocessor_config.json", "14e780d86fa1861f8751f868d7f45425b5feb55c38ca26f152ca5097ab30f828"),
        file("model.safetensors", "ae1e99fcefd534ed978cdeb8326f08030c96e28b7a81ffcbc98a857c84d14be1"),
    ],
};

/// Swin-T of Liu et al. 2021, trained on `ImageNet`.
pub const SWIN_TINY: Published = Published {
    source: "timm/swin_tiny_patch4_window7_224.ms_in1k",
    revision: "4cc3a7275b50b53a7bec45f32c236ebe64227cff",
    licence: "MIT",
    files: &[file("model.safetensors", "fb01861f793143135fa0d6cd97b1631e4b33eaa3ee162bbea9e62de1c76ebac1")],
};

/// `MiniLM` (Wang et al. 2020) of six layers, trained for vectors of sentences.
pub const MINILM_6: Published = Published {
    source: "sentence-transformers/all-MiniLM-L6-v2",
    revision: "1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    licence: "Apache-2.0",
    files: &[
        file("config.json", "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41"),
        file("tokenizer.json", "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037"),
        file("vocab.txt", "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3"),
        file("model.safetensors", "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"),
    ],
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_entry_pins_commit_and_content() {
        let hexadecimal = |text: &str| text.chars().all(|c| matches!(c, '0'..='9' | 'a'..='f'));
        let mut hashes = std::collections::BTreeSet::new();
        for published in crate::zoo::PRESETS.iter().filter_map(|preset| preset.published) {
            let Published { source, revision, licence, files } = published;
            assert!(source.split('/').count() == 2 && !licence.is_empty(), "{source}");
            assert!(revision.len() == 40 && hexadecimal(revision), "{source} {revision}");
            assert!(files.iter().any(|file| file.name == "model.safetensors"), "{source} without weights");
            for file in files {
                assert!(!file.name.contains(['/', '\\']) && !file.name.starts_with('.'), "{source} {}", file.name);
                assert!(file.sha256.len() == 64 && hexadecimal(file.sha256), "{source} {}", file.name);
                assert!(hashes.insert(file.sha256), "{source} {} has the hash of another file", file.name);
            }
        }
        assert!(!hashes.is_empty());
    }
}
