//! The tasks from checkpoints of every known kind: each runs where the towers for it are, and else says which is missing.
//!
//! Names, types and axes are those of the real files whose lists lie in `crates/model/tests/it/golden/state_dicts`. Here a
//! network has a sixteenth of their width, two blocks in a stage and random values.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use assert_cmd::Command;
use data::image::GrayImage;
use data::image::encode::png;
use data::rng::Stream;
use data::text::BUILTIN_VOCAB;
use engine::checkpoint::Checkpoint;
use model::weights::family::FAMILIES;
use model::weights::stored::write;
use model::weights::{RawTensor, TensorInfo, WeightsFile};
use rayon::prelude::*;
use safetensors::Dtype;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::downstream::QUESTION;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Has {
    Image,
    Text,
    /// Two towers with a common space.
    Both,
}

/// Kind, list of a real file, towers.
const KINDS: [(&str, &str, Has); 15] = [
    ("mgca-resnet", "mgca-resnet50", Has::Both),
    ("mgca-vit", "mgca-vit-b16", Has::Both),
    ("medclip-resnet", "medclip-resnet50", Has::Both),
    ("medclip-swin", "medclip-swin-t", Has::Both),
    ("gloria", "gloria-resnet50", Has::Both),
    ("convirt", "convirt-edreismd", Has::Both),
    ("biovil-image", "biovil-image", Has::Image),
    ("bert-hf", "hf-bert-base", Has::Text),
    ("swin-hf", "hf-swin-t", Has::Image),
    ("dinov2-hf", "hf-dinov2-s14", Has::Image),
    ("swin-old", "timm-swin-t-old", Has::Image),
    ("swin-timm", "timm-swin-t", Has::Image),
    ("vit-timm", "timm-vit-b16-bf16", Has::Image),
    ("resnet", "timm-resnet50-f16", Has::Image),
    // The children of the same network; the list's names are changed.
    ("resnet-sequential", "torchvision-resnet50", Has::Image),
];

/// Side of the images.
const SIZE: usize = 32;

#[test]
fn no_known_kind_is_left_out() {
    let covered: Vec<&str> = KINDS.iter().map(|kind| kind.0).chain(["native"]).collect();
    let known: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
    assert_eq!(covered, known);
}

#[test]
fn tasks_run_from_every_known_kind() {
    let folder = TempDir::new().unwrap();
    write_data(folder.path());
    KINDS.par_iter().for_each(|(kind, list, has)| {
        write_weights(&folder.path().join(kind), kind, list);
        Kind { folder: folder.path(), name: kind, has: *has }.check();
    });
}

/// A checkpoint in the folder of its name.
struct Kind<'a> {
    folder: &'a Path,
    name: &'a str,
    has: Has,
}

impl Kind<'_> {
    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
        command.current_dir(self.folder).timeout(Duration::from_mins(5));
        command.args(arguments).args(["--ui", "plain", "--weights", &format!("{}/weights.safetensors", self.name)]);
        command
    }

    fn figures(&self, arguments: &[&str]) -> Value {
        let output = self.command(arguments).arg("--json").output().unwrap();
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {arguments:?}: {log}", self.name);
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The task ends as a wrong setting does, with a message that names the missing tower.
    fn is_refused(&self, arguments: &[&str]) {
        let output = self.command(arguments).output().unwrap();
        let log = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{}: {arguments:?}: {log}", self.name);
        let tower = if self.has == Has::Text { "no image tower" } else { "no text tower" };
        assert!(log.contains("error: ") && log.contains(tower), "{}: {arguments:?}: {log}", self.name);
    }

    fn check(&self) {
        // Texts are cut where they were in training.
        if let Some(text) =
            Checkpoint::read(&self.folder.join(self.name).join("weights.safetensors")).unwrap().card.text
        {
            let trained = [("mgca", 112), ("medclip", 77), ("gloria", 97)];
            let longest = trained.iter().find(|(kind, _)| self.name.starts_with(kind)).map(|(_, tokens)| *tokens);
            assert_eq!(text.max_tokens, longest.unwrap_or(512), "{}", self.name);
        }
        let question = [&QUESTION[2..], &STRATIFIED].concat();
        let probe = [&["linear-probe", "--epochs", "3"], &question[..]].concat();
        let protocol = ["--head-steps", "1", "--epochs", "1", "--train-batch", "10"];
        let tune = [&["fine-tune"], &question[..], &protocol].concat();
        if self.has == Has::Text {
            self.is_refused(&probe);
            self.is_refused(&tune);
        } else {
            let scores = ["auroc", "auroc_stratified"];
            let of_random = scores.map(|score| format!("random_init.{score}"));
            let wanted: Vec<&str> =
                scores.into_iter().chain(of_random.iter().map(String::as_str)).chain(["paired_difference"]).collect();
            self.check_figures(&self.figures(&probe), &wanted);
            self.check_figures(&self.figures(&tune), &scores);
        }
        let zero_shot = ["zero-shot", "--data", "data.csv", "--prompts", "prompts.toml", "--resamples", "20"];
        if self.has == Has::Both {
            let found = self.figures(&zero_shot);
            self.check_figure(&found, "zero_shot.macro_auroc");
            self.check_figure(&found, "zero_shot.per_class.Square.auroc");
        } else {
            self.is_refused(&zero_shot);
        }
        self.check_embed();
    }

    fn check_figures(&self, found: &Value, names: &[&str]) {
        for name in names {
            self.check_figure(found, &format!("test.{name}.macro"));
            self.check_figure(found, &format!("test.{name}.per_class.Square"));
        }
    }

    fn check_figure(&self, found: &Value, path: &str) {
        let figure = path.split('.').fold(found, |value, key| &value[key]);
        for key in ["value", "low", "high"] {
            // What is not finite is null in JSON.
            assert!(figure[key].is_f64(), "{}: {path}.{key} in {found:#}", self.name);
        }
    }

    fn check_embed(&self) {
        let out = format!("{}/out.safetensors", self.name);
        let images = ["embed", "--images", "images.txt", "--out", &out];
        let texts = ["embed", "--texts", "texts.txt", "--out", &out];
        let (arguments, wanted) = match self.has {
            Has::Image => (images.to_vec(), vec!["image_features"]),
            Has::Text => (texts.to_vec(), vec!["text_features", "text_hidden"]),
            Has::Both => {
                let vectors = ["image_features", "image_embeds", "text_features", "text_embeds", "text_hidden"];
                ([&images[..], &texts[1..3]].concat(), vectors.to_vec())
            }
        };
        let told = self.figures(&arguments);
        assert_eq!((&told["weights"], &told["unreadable"]), (&json!(self.name), &json!([])));
        let found = WeightsFile::read(&self.folder.join(&out)).unwrap().tensors;
        for name in wanted {
            let tensor = found.get(name).unwrap_or_else(|| panic!("{}: no {name}", self.name));
            assert_eq!(tensor.shape[0], 3, "{}: {name}", self.name);
            let (first, others) = tensor.data.split_at(tensor.data.len() / 3);
            assert!(tensor.data.iter().all(|value| value.is_finite()), "{}: {name}", self.name);
            assert_ne!(first, &others[..first.len()], "{}: {name} is the same for all", self.name);
        }
        if self.has == Has::Both {
            assert_eq!(found["image_embeds"].shape, found["text_embeds"].shape, "{}", self.name);
        }
        match self.has {
            Has::Image => self.is_refused(&texts),
            Has::Text => self.is_refused(&images),
            Has::Both => {}
        }
    }
}

/// What is asked besides the usual question.
const STRATIFIED: [&str; 6] = ["--patient-column", "patient_id", "--stratify", "view", "--resamples", "20"];

/// Ten patients with an image of either label in each of two views; lists of images and texts; prompts.
fn write_data(folder: &Path) {
    let write = |name: &str, bytes: &[u8]| data::fsx::write_atomic(&folder.join(name), bytes).unwrap();
    let mut csv = "image_path,labels,patient_id,view,split\n".to_owned();
    for image in 0..40 {
        let (square, lying, patient) = (image % 2 == 0, image % 4 < 2, image / 4);
        let mut random = Stream::new(image);
        let mut pixels: Vec<u8> = (0..SIZE * SIZE).map(|_| u8::try_from(40 + random.below(60)).unwrap()).collect();
        let (top, left) = (random.below(SIZE - 12), random.below(SIZE - 12));
        for y in (top..top + 12).filter(|_| square) {
            pixels[y * SIZE + left..y * SIZE + left + 12].fill(200);
        }
        write(&format!("{image}.png"), &png(&GrayImage { width: SIZE, height: SIZE, pixels }).unwrap());
        let labels = if square { "Mass|Square" } else { "No Finding" };
        let view = if lying { "AP" } else { "PA" };
        let part = ["train", "validate", "test"][usize::from(patient >= 5) + usize::from(patient >= 7)];
        writeln!(csv, "{image}.png,{labels},p{patient},{view},{part}").unwrap();
    }
    write("data.csv", csv.as_bytes());
    write("images.txt", b"0.png\n1.png\n2.png\n");
    write("texts.txt", b"No pleural effusion.\nThe heart is enlarged.\nA catheter is in place.\n");
    let prompts =
        "[[class]]\nname = \"Square\"\npositive = [\"A large mass.\"]\nnegative = [\"The lungs are clear.\"]\n";
    write("prompts.toml", prompts.as_bytes());
}

/// A narrow network of a kind, its configuration and its vocabulary.
fn write_weights(folder: &Path, kind: &str, list: &str) {
    data::fsx::create_dir_all(folder).unwrap();
    let infos = narrow(kind, list);
    let mut bytes = Vec::new();
    write(&mut bytes, &infos, &BTreeMap::new(), |name| -> std::io::Result<RawTensor> {
        Ok(random_tensor(name, infos[name].clone()))
    })
    .unwrap();
    let write = |name: &str, bytes: &[u8]| data::fsx::write_atomic(&folder.join(name), bytes).unwrap();
    write("weights.safetensors", &bytes);
    // No published network has these widths; the side is for windows of two patches.
    write("config.json", json!({ "num_attention_heads": 4, "image_size": 2 * SIZE }).to_string().as_bytes());
    write("vocab.txt", BUILTIN_VOCAB.as_bytes());
    if kind == "biovil-image" {
        // Its own input of 480 pixels would take longer than all others together.
        let small = json!({ "size": 112, "do_center_crop": true, "crop_size": 96, "do_normalize": false });
        write("preprocessor_config.json", small.to_string().as_bytes());
    }
}

/// The tensors of a real file, smaller.
fn narrow(kind: &str, list: &str) -> BTreeMap<String, TensorInfo> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../model/tests/it/golden/state_dicts");
    let text = std::fs::read_to_string(path.join(format!("{list}.txt"))).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let tensor = |line: &str| {
        let [dtype, shape, name] = line.split(' ').collect::<Vec<_>>().try_into().unwrap();
        let dtype = match dtype {
            "F32" => Dtype::F32,
            "F16" => Dtype::F16,
            "BF16" => Dtype::BF16,
            "I64" => Dtype::I64,
            other => panic!("{other}"),
        };
        let sizes = shape.split('x').filter(|size| *size != "-");
        let shape = sizes.map(|size| narrower(name, size.parse().unwrap())).collect();
        let name = if kind == "resnet-sequential" { in_sequence(name)? } else { name.to_owned() };
        (!is_deep(&name)).then_some((name, TensorInfo { dtype, shape }))
    };
    lines.filter_map(tensor).collect()
}

/// The size of an axis in the small network.
fn narrower(name: &str, size: usize) -> usize {
    match size {
        28_996 => BUILTIN_VOCAB.lines().count(),
        // Windows of two patches: three offsets along each of two axes.
        169 => 9,
        49 if name.contains("relative_position") => 4,
        // Positions for a class token and two patches along a side.
        197 | 1370 => 5,
        // Text positions, more than any of the networks was trained with.
        512 if name.contains("position") => 512,
        64.. => size / 16,
        small => small,
    }
}

/// Whether a tensor belongs to the third or a later block of a stage.
fn is_deep(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    let stages: BTreeSet<&str> =
        ["layer", "blocks", "layer1", "layer2", "layer3", "layer4", "4", "5", "6", "7"].into_iter().collect();
    parts.windows(2).any(|pair| stages.contains(pair[0]) && pair[1].parse::<usize>().is_ok_and(|block| block > 1))
}

/// The name of a `ResNet`'s tensor in the sequence of its children, without the classifier.
fn in_sequence(name: &str) -> Option<String> {
    let (child, rest) = name.split_once('.').unwrap();
    let children = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"];
    let place = children.iter().position(|name| *name == child)?;
    Some(format!("{place}.{rest}"))
}

/// Values that keep signals in bounds.
fn random_tensor(name: &str, TensorInfo { dtype, shape }: TensorInfo) -> RawTensor {
    let mut random = Stream::new(name.bytes().fold(1, |hash, byte| 31_u64.wrapping_mul(hash) ^ u64::from(byte)));
    let is_factor = shape.len() == 1 && !name.ends_with("bias") && !name.ends_with("beta");
    let spread = (shape.iter().skip(1).product::<usize>().max(1) as f64).sqrt().recip();
    let mut value = || match (name.ends_with("running_mean"), is_factor) {
        (true, _) => 0.0,
        (false, true) => 1.0 + 0.1 * random.normal().abs(),
        (false, false) => spread * random.normal(),
    };
    let mut bytes = Vec::new();
    for _ in 0..shape.iter().product() {
        #[expect(clippy::cast_possible_truncation, reason = "small values")]
        let number = value() as f32;
        match dtype {
            Dtype::F16 => bytes.extend(burn::tensor::f16::from_f32(number).to_le_bytes()),
            Dtype::BF16 => bytes.extend(burn::tensor::bf16::from_f32(number).to_le_bytes()),
            Dtype::F32 => bytes.extend(number.to_le_bytes()),
            _ => bytes.extend(1_i64.to_le_bytes()),
        }
    }
    RawTensor { dtype, shape, bytes }
}
