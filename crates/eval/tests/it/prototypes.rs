//! `roentgen-eval prototypes`: figures against a computation by hand, files, refusals, and that no text leaks.

use std::path::Path;

use assert_cmd::Command;
use data::batch::TextBatch;
use data::image::decode::decode_file;
use data::source::phantom::{CLASSES, PhantomKey, Prevalence};
use data::text::Tokenizer;
use engine::checkpoint::Checkpoint;
use engine::device::DeviceSpec;
use engine::upload::texts;
use eval::embed::framed;
use model::alignment::rules::AlignmentRules;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::cli::{DATA, STUDIES, write_pairs};
use super::explain::{heads, write_towers};

const LABELS: [&str; 4] = ["--label-column", CLASSES[1], "--label-column", CLASSES[4]];

fn workplace() -> TempDir {
    let folder = TempDir::new().unwrap();
    write_pairs(folder.path());
    write_towers(&folder.path().join("aligned.safetensors"), Some(&heads(false)), Some(AlignmentRules::PUBLISHED));
    write_towers(&folder.path().join("plain.safetensors"), None, None);
    folder
}

fn run(folder: &Path, arguments: &[&str]) -> std::process::Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_roentgen-eval"));
    command.current_dir(folder).arg("prototypes").args(arguments).args(["--ui", "plain"]).output().unwrap()
}

/// What a call prints as JSON.
fn printed(folder: &Path, out: &str, more: &[&str]) -> Value {
    let arguments = [&["--weights", "aligned.safetensors", "--out", out, "--json"], &DATA[..], more].concat();
    let output = run(folder, &arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Cosines of images or reports with the five prototypes, study by study.
fn by_hand(folder: &Path, reports: bool) -> Vec<Vec<f32>> {
    let (device, _) = "auto".parse::<DeviceSpec>().unwrap().open().unwrap();
    let checkpoint = Checkpoint::read(&folder.join("aligned.safetensors")).unwrap();
    let model = checkpoint.dual_encoder(&device).unwrap();
    let preprocess = &checkpoint.card.preprocess;
    let centres: Vec<f32> = model.alignment.as_ref().unwrap().prototypes.val().into_data().iter::<f32>().collect();
    let norm = |vector: &[f32]| vector.iter().map(|x| x * x).sum::<f32>().sqrt();
    let of_study = |index: u64| {
        let embeds = if reports {
            let text = PhantomKey { seed: 5, index, prevalence: Prevalence::Exclusive }.study().sentences.join(" ");
            let batch = TextBatch::new([text.as_str()], &Tokenizer::builtin().unwrap(), 16).unwrap();
            model.encode_text(texts(&batch, &device)).embeds
        } else {
            let plane = framed(&decode_file(&folder.join(format!("{index}.png"))).unwrap(), preprocess);
            model.encode_image(preprocess.images(&plane.data, 1, preprocess.image_size, &device)).embeds
        };
        let embeds: Vec<f32> = embeds.into_data().iter::<f32>().collect();
        let cosine = |centre: &[f32]| centre.iter().zip(&embeds).map(|(a, b)| a * b).sum::<f32>() / norm(centre);
        centres.chunks(8).map(cosine).collect()
    };
    (0..STUDIES).map(of_study).collect()
}

fn greatest(values: &[f32]) -> usize {
    (1..values.len()).fold(0, |best, i| if values[i] > values[best] { i } else { best })
}

#[test]
fn figures_are_those_of_a_computation_by_hand() {
    let folder = workplace();
    let found = printed(folder.path(), "out", &[&LABELS[..], &["--top", "3"]].concat());
    let (images, reports) = (by_hand(folder.path(), false), by_hand(folder.path(), true));
    let homes = |rows: &[Vec<f32>]| rows.iter().map(|row| greatest(row)).collect::<Vec<_>>();
    let (image_homes, report_homes) = (homes(&images), homes(&reports));
    let same = image_homes.iter().zip(&report_homes).filter(|(image, report)| image == report).count();
    assert_eq!((&found["images"], &found["reports"]), (&json!(48), &json!(48)));
    assert_eq!(found["agreement"], json!(same as f64 / 48.0));
    let prototypes = found["prototypes"].as_array().unwrap();
    assert_eq!(prototypes.len(), 5);
    let counts: Vec<u64> = prototypes.iter().map(|prototype| prototype["images"].as_u64().unwrap()).collect();
    assert!(counts.is_sorted_by(|a, b| a >= b) && counts.iter().sum::<u64>() == 48, "{counts:?}");
    let (mut seen, mut pure) = (Vec::new(), 0.0);
    for prototype in prototypes {
        let index = usize::try_from(prototype["prototype"].as_u64().unwrap()).unwrap();
        seen.push(index);
        let members: Vec<usize> = (0..48).filter(|&study| image_homes[study] == index).collect();
        assert_eq!(prototype["images"], json!(members.len()));
        assert_eq!(prototype["reports"], json!(report_homes.iter().filter(|&&home| home == index).count()));
        for (name, rows) in [("nearest_images", &images), ("nearest_reports", &reports)] {
            let nearest = prototype[name].as_array().unwrap();
            assert_eq!(nearest.len(), 3);
            let mut cosines: Vec<f32> = rows.iter().map(|row| row[index]).collect();
            for neighbour in nearest {
                let row = usize::try_from(neighbour["row"].as_u64().unwrap()).unwrap();
                let cosine = neighbour["cosine"].as_f64().unwrap();
                assert!((cosine - f64::from(rows[row - 1][index])).abs() < 1e-5);
                // No other is nearer, but for rounding; those before are out.
                let best = cosines.iter().copied().fold(f32::MIN, f32::max);
                assert!(cosine > f64::from(best) - 1e-5, "{cosine} but {best}");
                cosines[row - 1] = f32::MIN;
            }
        }
        if members.is_empty() {
            assert_eq!(prototype["purity"], json!(null));
            continue;
        }
        // Every eighth study has the finding of its number; three of them have a column.
        let shares = [0, 1, 4].map(|class| members.iter().filter(|&&study| study % 8 == class).count());
        let none = members.len() - shares.iter().sum::<usize>();
        let most = shares.into_iter().max().unwrap().max(none) as f64 / members.len() as f64;
        let purity = &prototype["purity"];
        assert!((purity["share"].as_f64().unwrap() - most).abs() < 1e-12, "{purity} for {most}");
        let base = if purity["label"] == "(none)" { 5.0 } else { 1.0 } / 8.0;
        assert_eq!(purity["share_of_all"], json!(base));
        pure += most * members.len() as f64 / 48.0;
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    assert!((found["purity"].as_f64().unwrap() - pure).abs() < 1e-9);
    // Five of eight have none of the three labels, wherever they are dealt.
    assert!(found["purity_by_chance"].as_f64().unwrap() >= 5.0 / 8.0 - 1e-9);
}

#[test]
fn files_hold_rows_and_no_text_unless_asked() {
    let folder = workplace();
    let place = folder.path();
    let arguments = [&["--weights", "aligned.safetensors", "--out", "out", "--top", "4"], &DATA[..]].concat();
    let output = run(place, &arguments);
    assert!(output.status.success(), "{output:?}");
    let sheet = decode_file(&place.join("out/prototypes.png")).unwrap();
    assert_eq!((sheet.width, sheet.height), (4 * 98 + 2, 5 * 98 + 2));
    let text = |name: &str| std::fs::read_to_string(place.join("out").join(name)).unwrap();
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), text("prototypes.txt"));
    let told = [text("prototypes.txt"), text("prototypes.json"), String::from_utf8(output.stderr).unwrap()].concat();
    let study = PhantomKey { seed: 5, index: 0, prevalence: Prevalence::Exclusive }.study();
    assert!(!told.contains(&study.sentences[0]) && !told.contains(".png") && !told.contains("p12"), "{told}");
    assert!(!told.to_lowercase().contains(" the ") && !told.contains("\"text\""), "{told}");
    // Some of the prototypes, with text; the reports are whole.
    let found = printed(place, "shown", &["--count", "2", "--top", "2", "--show-text"]);
    assert_eq!(found["prototypes"].as_array().unwrap().len(), 2);
    assert_eq!(found["num_prototypes"], 5);
    let nearest = &found["prototypes"][0]["nearest_reports"][0];
    let index = nearest["row"].as_u64().unwrap() - 1;
    let study = PhantomKey { seed: 5, index, prevalence: Prevalence::Exclusive }.study();
    assert_eq!(nearest["text"], json!(study.sentences.join(" ")));
    assert_eq!(decode_file(&place.join("shown/prototypes.png")).unwrap().height, 2 * 98 + 2);
    let table = std::fs::read_to_string(place.join("shown/prototypes.txt")).unwrap();
    assert!(table.contains("nearest report") && table.contains(&study.sentences[0][..20]), "{table}");
}

#[test]
fn images_without_reports_have_prototypes_too() {
    let folder = workplace();
    let arguments = ["--weights", "aligned.safetensors", "--out", "out", "--json", "--data", "pairs.csv"];
    let output = run(folder.path(), &[&arguments[..], &["--image-column", "file", "--part", "test"]].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&found["images"], &found["reports"]), (&json!(8), &json!(0)));
    assert_eq!([&found["agreement"], &found["purity"], &found["purity_by_chance"]], [&json!(null); 3]);
    assert_eq!(found["prototypes"][0]["nearest_reports"], json!([]));
}

#[test]
fn what_has_no_prototypes_is_named() {
    let folder = workplace();
    let place = folder.path();
    super::cli::write_weights_locked(place);
    let refused = |weights: &str, more: &[&str], code| {
        let output = run(place, &[&["--weights", weights, "--out", "out"], &DATA[..], more].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{message}");
        assert!(output.stdout.is_empty() && !message.contains("fault of the program"), "{message}");
        message
    };
    for weights in ["plain.safetensors", "classifier.safetensors"] {
        let message = refused(weights, &[], 2);
        assert!(message.contains("no prototypes: give weights that MGCA trained"), "{message}");
    }
    assert!(refused("aligned.safetensors", &["--top", "0"], 2).contains("--top"));
    std::fs::remove_file(place.join("5.png")).unwrap();
    let message = refused("aligned.safetensors", &[], 3);
    assert!(message.contains("row 6") && !message.contains("5.png"), "{message}");
}
