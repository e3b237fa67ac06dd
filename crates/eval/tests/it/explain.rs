//! Maps of sentences and words against a computation by hand.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use data::batch::TextBatch;
use data::image::GrayImage;
use data::image::decode::decode_file;
use data::image::encode::png;
use data::source::phantom::{PhantomKey, Prevalence};
use data::text::Tokenizer;
use engine::checkpoint::{Architecture, Card, Checkpoint, TextCard, save};
use engine::device::DeviceSpec;
use engine::upload::{Preprocess, texts};
use eval::embed::framed;
use eval::explain::{ExplainOptions, Explainer, SentenceVector};
use model::DualEncoderConfig;
use model::alignment::attend::Gather;
use model::alignment::rules::AlignmentRules;
use model::text::words::WordRules;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Side of the images as the network sees them (px): stage 2 has 8 x 8 cells, stage 4 has 2 x 2.
pub(super) const SIZE: usize = 64;
/// Longest text (tokens).
const MAX_TOKENS: usize = 16;
/// Words of one piece and, with `hemidiaphragmatic`, of several.
pub(super) const TEXT: &str = "Hemidiaphragmatic elevation with a large effusion";

pub(super) const RULES: AlignmentRules = AlignmentRules {
    learned_attention: false,
    token_temperature: 0.07,
    words: WordRules { separator_is_word: false, full_text_truncated: false },
};

fn device() -> Device {
    "auto".parse::<DeviceSpec>().unwrap().open().unwrap().0
}

/// Two towers without training, aligned if `alignment` is given, with what the card tells of it.
pub(super) fn write_towers(path: &Path, alignment: Option<&Value>, rules: Option<AlignmentRules>) {
    let device = device();
    let lock = super::GENERATOR.lock().unwrap();
    device.seed(23);
    let tokenizer = Tokenizer::builtin().unwrap();
    let mut image = super::cli::image_config();
    image["local_stage"] = if alignment.is_some() { json!(2) } else { json!(null) };
    let config: DualEncoderConfig = serde_json::from_value(json!({
        "image": image,
        "text": {
            "kind": "bert", "vocab_size": tokenizer.vocab_size(), "hidden_size": 16, "num_layers": 1, "num_heads": 2,
            "intermediate_size": 32, "max_position_embeddings": 32, "dropout": 0.1, "pooling": "cls",
        },
        "projection": { "kind": "mlp" },
        "embed_dim": 8,
        "alignment": alignment,
    }))
    .unwrap();
    let preprocess = Preprocess { image_size: SIZE, source_size: 96, mean: vec![0.5], std: vec![0.25], framing: None };
    let mut card = Card::new("test", Architecture::DualEncoder(config.clone()), preprocess);
    let tokenizer_sha256 = tokenizer.sha256().to_owned();
    card.text = Some(TextCard { tokenizer_sha256, lowercase: true, max_tokens: MAX_TOKENS });
    card.alignment = rules;
    data::fsx::create_dir_all(path.parent().unwrap()).unwrap();
    save(path, &config.init(&device), &card).unwrap();
    drop(lock);
}

pub(super) fn heads(attention: bool) -> Value {
    json!({"hidden_size": 12, "num_prototypes": 5, "attention": attention})
}

/// A folder with aligned and other towers and one image of 120 x 90 pixels.
pub(super) fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    let learned = AlignmentRules { learned_attention: true, ..RULES };
    write_towers(&folder.path().join("aligned/model.safetensors"), Some(&heads(false)), Some(RULES));
    write_towers(&folder.path().join("learned/model.safetensors"), Some(&heads(true)), Some(learned));
    write_towers(&folder.path().join("plain/model.safetensors"), None, None);
    write_picture(&folder.path().join("film.png"));
    folder
}

fn write_picture(path: &Path) {
    let square = PhantomKey { seed: 3, index: 5, prevalence: Prevalence::Exclusive }.study().render(120);
    let image = GrayImage { width: 120, height: 90, pixels: square.pixels[..120 * 90].to_vec() };
    data::fsx::write_atomic(path, &png(&image).unwrap()).unwrap();
}

fn explainer(folder: &Path, weights: &str, options: ExplainOptions) -> Explainer {
    Explainer::new(Checkpoint::read(&folder.join(weights)).unwrap(), options, &device()).unwrap()
}

fn host<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    tensor.into_data().iter::<f32>().collect()
}

fn assert_close(found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len());
    for (found, wanted) in found.iter().zip(wanted) {
        // Sums over a few dozen values of single precision.
        assert!((found - wanted).abs() < 1e-5, "{found} for {wanted}");
    }
}

fn unit(vector: &[f32]) -> Vec<f32> {
    let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    vector.iter().map(|x| x / norm).collect()
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// Vectors of the words of [`TEXT`] in the joint space, from the towers alone.
fn words_by_hand(explainer: &Explainer) -> Vec<Vec<f32>> {
    let tokenizer = Tokenizer::builtin().unwrap();
    let batch = TextBatch::new([TEXT], &tokenizer, MAX_TOKENS).unwrap();
    let tokens = explainer.model.text_encoder.forward(texts(&batch, &device()), None).tokens;
    let width = tokens.dims()[2];
    let tokens = host(tokens);
    let mut words: Vec<Vec<f32>> = Vec::new();
    for (id, vector) in batch.input_ids.iter().zip(tokens.chunks(width)).skip(1).take(batch.tokens - 2) {
        if tokenizer.token(*id).unwrap().starts_with("##") {
            words.last_mut().unwrap().iter_mut().zip(vector).for_each(|(sum, x)| *sum += x);
        } else {
            words.push(vector.to_vec());
        }
    }
    let rows = Tensor::<2>::from_data(TensorData::new(words.concat(), [words.len(), width]), &device());
    let embeds = host(explainer.model.alignment.as_ref().unwrap().text_local.forward(rows));
    embeds.chunks(8).map(<[f32]>::to_vec).collect()
}

fn image_of(folder: &Path, explainer: &Explainer) -> data::image::Plane {
    let image = decode_file(&folder.join("film.png")).unwrap();
    framed(&data::image::transform::resize_larger_side(image, 96), &explainer.preprocess)
}

#[test]
fn aligned_maps_are_those_of_the_local_heads() {
    let folder = workplace();
    for (weights, temperature) in [("aligned", None), ("aligned", Some(0.5)), ("learned", None)] {
        let explainer = explainer(folder.path(), weights, ExplainOptions { temperature, sentence: None });
        let image = image_of(folder.path(), &explainer);
        let explained = explainer.explain(&image, TEXT).unwrap();
        let alignment = explainer.model.alignment.as_ref().unwrap();
        let local = explainer.model.image_encoder.forward(explainer.images(&[image])).local.unwrap();
        let cells = alignment.image_local.forward_all(local);
        let by_hand = words_by_hand(&explainer);
        // Six words; the first has several pieces.
        let words = explained.words.unwrap();
        assert_eq!((words.len(), by_hand.len()), (6, 6));
        assert_eq!(words[0].text.expose(), "hemidiaphragmatic");
        assert!(words.iter().all(|word| !word.is_separator));
        let gather = match &alignment.word_attention {
            Some(attention) => Gather::Learned(Box::new(attention.maps())),
            None => Gather::Similarity(temperature.unwrap_or(0.07)),
        };
        let query = Tensor::<3>::from_data(TensorData::new(by_hand.concat(), [1, 6, 8]), &device());
        let weights = host(gather.attend(query, cells.clone(), None).weights);
        let cells = host(cells);
        let middle = by_hand
            .iter()
            .fold(vec![0.0; 8], |sum: Vec<f32>, word| sum.iter().zip(word).map(|(sum, x)| sum + x).collect());
        let middle = unit(&middle);
        assert_close(&explained.sentence.values, &cells.chunks(8).map(|cell| dot(cell, &middle)).collect::<Vec<_>>());
        for (word, (wanted, vector)) in words.iter().zip(weights.chunks(64).zip(&by_hand)) {
            assert_eq!((word.grid.rows, word.grid.columns), (8, 8));
            assert_close(&word.grid.values, wanted);
            assert!((word.grid.values.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            if let Gather::Similarity(temperature) = &gather {
                // The same from the formula.
                let scores: Vec<f64> =
                    cells.chunks(8).map(|cell| (f64::from(dot(cell, vector)) / temperature).exp()).collect();
                let sum: f64 = scores.iter().sum();
                #[expect(clippy::cast_possible_truncation, reason = "a share")]
                let shares: Vec<f32> = scores.iter().map(|score| (score / sum) as f32).collect();
                assert_close(&word.grid.values, &shares);
            }
        }
    }
}

#[test]
fn a_report_is_compared_by_the_heads_of_pairs() {
    let folder = workplace();
    for (weights, sentence, side) in [("aligned", Some(SentenceVector::Report), 8), ("plain", None, 2)] {
        let explainer = explainer(folder.path(), weights, ExplainOptions { temperature: None, sentence });
        let image = image_of(folder.path(), &explainer);
        let batch = TextBatch::new([TEXT], &Tokenizer::builtin().unwrap(), MAX_TOKENS).unwrap();
        let text = host(explainer.model.encode_text(texts(&batch, &device())).embeds);
        let features = explainer.model.image_encoder.forward(explainer.images(std::slice::from_ref(&image)));
        let local = features.local.unwrap();
        let [_, p, d] = local.dims();
        let cells = if let Some(alignment) = &explainer.model.alignment {
            alignment.image_local.forward_all(local).reshape([p, 8])
        } else {
            // The cells of the last map, whose mean is the feature of the whole image.
            assert_close(&host(local.clone().mean_dim(1)), &host(features.global));
            explainer.model.image_projection.forward(local.reshape([p, d]))
        };
        let wanted: Vec<f32> = host(cells).chunks(8).map(|cell| dot(&unit(cell), &text)).collect();
        let explained = explainer.explain(&image, TEXT).unwrap();
        assert_eq!((explained.sentence.rows, explained.sentence.columns), (side, side));
        assert_close(&explained.sentence.values, &wanted);
        assert_eq!(explained.words.is_some(), weights == "aligned");
    }
}

#[test]
fn many_pairs_have_the_maps_of_each() {
    let folder = workplace();
    let sentences = ["No effusion.", TEXT, "The heart is large.", "Left effusion."];
    for weights in ["aligned", "plain"] {
        let explainer = explainer(folder.path(), weights, ExplainOptions::default());
        let plane = |index| {
            let study = PhantomKey { seed: 8, index, prevalence: Prevalence::Exclusive }.study();
            framed(&study.render(SIZE), &explainer.preprocess)
        };
        let planes: Vec<_> = (0..4).map(plane).collect();
        let together =
            explainer.sentence_maps(&explainer.cells(explainer.images(&planes)).unwrap(), &sentences).unwrap();
        assert_eq!(together.len(), 4);
        for ((plane, text), map) in planes.iter().zip(sentences).zip(&together) {
            assert_close(&map.values, &explainer.explain(plane, text).unwrap().sentence.values);
        }
        assert_ne!(together[0].values, together[3].values);
    }
}

#[test]
fn the_mark_at_the_end_is_a_word_where_the_checkpoint_says_so() {
    let folder = TempDir::new().unwrap();
    write_towers(&folder.path().join("published.safetensors"), Some(&heads(false)), Some(AlignmentRules::PUBLISHED));
    let explainer = explainer(folder.path(), "published.safetensors", ExplainOptions::default());
    let plane = data::image::Plane { width: SIZE, height: SIZE, data: vec![0.5; SIZE * SIZE] };
    let explained = explainer.explain(&plane, TEXT).unwrap();
    let words = explained.words.unwrap();
    assert_eq!(
        words.iter().map(|word| word.is_separator).collect::<Vec<_>>(),
        [false, false, false, false, false, false, true]
    );
    assert!(!explained.is_cut);
    // It is no part of what the sentence is compared as.
    let middle: Vec<f32> = words_by_hand(&explainer)
        .iter()
        .fold(vec![0.0; 8], |sum: Vec<f32>, word| sum.iter().zip(word).map(|(sum, x)| sum + x).collect());
    let cells = explainer.model.image_encoder.forward(explainer.images(std::slice::from_ref(&plane))).local.unwrap();
    let cells = host(explainer.model.alignment.as_ref().unwrap().image_local.forward_all(cells));
    assert_close(&explained.sentence.values[..1], &[dot(&cells[..8], &unit(&middle))]);
    let long = "effusion ".repeat(40);
    let explained = explainer.explain(&plane, &long).unwrap();
    // Fourteen words fit; the published code drops the last and the mark.
    assert_eq!((explained.is_cut, explained.words.unwrap().len()), (true, 13));
}
