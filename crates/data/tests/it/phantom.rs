//! What the phantom data promises: difficulty, agreement of pictures, labels, boxes and reports, and repeatability.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::unwrap_used,
    reason = "tests: small positive numbers, and a missing class should stop the test"
)]

use std::collections::BTreeSet;

use data::image::GrayImage;
use data::prompt::Prompts;
use data::record::{ImageSource, Split};
use data::source::parts::PhantomSource;
use data::source::phantom::{
    CLASSES, Finding, FindingBox, Kind, NATURAL, PhantomKey, PhantomStudy, Prevalence, Side, dataset,
    training_sentences,
};
use rayon::prelude::*;

fn natural(seed: u64, index: u64) -> PhantomStudy {
    PhantomKey { seed, index, prevalence: Prevalence::Natural }.study()
}

fn exclusive(seed: u64, index: u64) -> PhantomStudy {
    PhantomKey { seed, index, prevalence: Prevalence::Exclusive }.study()
}

fn class(name: &str) -> usize {
    CLASSES.iter().position(|c| *c == name).unwrap()
}

#[test]
fn a_study_is_a_pure_function_of_its_key() {
    let mut pictures = BTreeSet::new();
    for index in 0..12 {
        let (a, b) = (natural(4, index), natural(4, index));
        assert_eq!(a, b);
        assert_eq!(a.render(64), b.render(64));
        assert!(pictures.insert(a.render(64).pixels), "index {index} repeats a picture");
    }
    assert!(pictures.insert(natural(5, 0).render(64).pixels), "another seed repeats a picture");
    assert!(pictures.insert(exclusive(4, 0).render(64).pixels), "another prevalence repeats a picture");
}

#[test]
fn pictures_look_the_same_at_every_size() {
    for index in 0..6 {
        let (small, large) = (natural(2, index).render(128), natural(2, index).render(256));
        let halved: Vec<f32> = (0..128 * 128)
            .map(|i| {
                let at = 2 * (i / 128) * 256 + 2 * (i % 128);
                [0, 1, 256, 257].map(|o| f32::from(large.pixels[at + o])).iter().sum::<f32>() / 4.0
            })
            .collect();
        let error: f32 = halved.iter().zip(&small.pixels).map(|(a, b)| (a - f32::from(*b)).abs()).sum();
        // The noise of single pixels (up to 2 % of the range, twice) remains; another patient differs by over 30.
        assert!(error / (128.0 * 128.0) < 5.0, "index {index}: {}", error / (128.0 * 128.0));
    }
}

#[test]
fn natural_prevalences_are_as_stated() {
    let n = 6000;
    let studies: Vec<PhantomStudy> = (0..n).map(|i| natural(8, i)).collect();
    for (c, name) in CLASSES.iter().enumerate() {
        let share = studies.iter().filter(|s| s.labels()[c]).count() as f64 / n as f64;
        // Four standard deviations of the share of a class among 6000 studies are at most 0.02.
        assert!((share - NATURAL[c]).abs() < 0.02 && (0.10..0.25).contains(&NATURAL[c]), "{name}: {share}");
    }
    let none = studies.iter().filter(|s| s.findings.is_empty()).count() as f64 / n as f64;
    assert!((0.24..0.30).contains(&none), "no finding: {none}");
    // Independent classes: of those with cardiomegaly as many have edema as of the others.
    let rate = |with: bool| {
        let group: Vec<_> = studies.iter().filter(|s| s.labels()[0] == with).collect();
        group.iter().filter(|s| s.labels()[4]).count() as f64 / group.len() as f64
    };
    assert!((rate(true) - rate(false)).abs() < 0.05);
}

#[test]
fn exclusive_studies_have_one_finding_and_every_class_in_turn() {
    for index in 0..160 {
        let labels = exclusive(3, index).labels();
        let present: Vec<usize> = (0..8).filter(|&c| labels[c]).collect();
        assert_eq!(present, [index as usize % 8]);
    }
}

#[test]
fn the_data_set_holds_one_image_a_report_and_all_labels() {
    let data = dataset(6, 10..40, Prevalence::Natural, Split::Test);
    assert_eq!((data.studies.len(), data.classes.len()), (30, 8));
    for (study, index) in data.studies.iter().zip(10..) {
        let made = natural(6, index);
        assert_eq!(study.patient_id.expose(), &format!("phantom-{index}"));
        assert_eq!(study.split, Split::Test);
        assert_eq!(
            study.images,
            [ImageSource::Phantom(PhantomKey { seed: 6, index, prevalence: Prevalence::Natural })]
        );
        assert_eq!(study.labels, made.labels().map(Some));
        assert!(study.sentences.iter().map(data::record::Phi::expose).eq(&made.sentences));
    }
}

/// Words that name a class in a report.
#[test]
fn the_probe_sees_the_same_labels_however_much_is_trained_on() {
    let probed = |train: u64| {
        let studies = PhantomSource { train, probe: 20, ..PhantomSource::default() }.probed().studies;
        studies.into_iter().map(|study| (study.row, study.labels)).collect::<Vec<_>>()
    };
    assert_eq!((probed(8).len(), probed(8)), (20, probed(30)));
    let trained = PhantomSource { train: 30, ..PhantomSource::default() }.parts().train.studies;
    assert!(trained.iter().zip(&probed(8)).all(|(study, (row, labels))| (study.row, &study.labels) == (*row, labels)));
}

fn names(class: usize) -> &'static [&'static str] {
    match class {
        0 => &["cardiomegaly", "heart size", "cardiac size", "heart shadow", "cardiac", "cardiothoracic", "the heart"],
        1 => &["effusion", "pleural fluid", "costophrenic", "fluid"],
        2 => &["consolidation", "airspace", "infiltrate", "pneumonia", "opacification"],
        3 => &["pneumothorax", "pleural line", "thin line"],
        4 => &["edema", "congestion", "kerley", "interstitial markings", "pulmonary vessels", "perihilar"],
        5 => &["nodul"],
        6 => &["fracture", "cortical", "broken", "discontinuity", "disruption"],
        _ => &["pacemaker", "catheter", "tube", "line is", "line with", "line ends", "line terminates", "device"],
    }
}

/// Whether a sentence says that something is not there or normal.
fn denies(sentence: &str) -> bool {
    let lower = sentence.to_lowercase();
    let denials = ["no ", "not ", "normal", "intact", "unremarkable", "clear", "sharp", "preserved", "free of"];
    denials.iter().any(|d| lower.starts_with(d) || lower.contains(&format!(" {d}")))
        || lower.contains("within normal")
        || lower.contains("without pneumothorax")
        || lower.contains("without consolidation")
        || lower.contains("without focal")
}

/// Classes that a sentence affirms.
fn affirms(sentence: &str) -> Vec<usize> {
    let lower = sentence.to_lowercase();
    if denies(sentence) {
        return Vec::new();
    }
    let mut classes: Vec<usize> = (0..8).filter(|&c| names(c).iter().any(|n| lower.contains(n))).collect();
    // "Pleural line" and "thin line" belong to the pneumothorax, "heart" to the lead of a pacemaker.
    if classes.contains(&3) || classes.contains(&7) {
        classes.retain(|&c| c == 3 || (c == 7 && !classes_of_pleura(&lower)));
    }
    classes
}

fn classes_of_pleura(lower: &str) -> bool {
    lower.contains("pleural line") || lower.contains("thin line")
}

#[test]
fn reports_agree_with_labels() {
    for index in 0..1500 {
        let study = natural(21, index);
        let labels = study.labels();
        let mut affirmed = [false; 8];
        for sentence in &study.sentences {
            assert!(sentence.split_whitespace().count() >= 3, "{sentence}");
            assert!(
                sentence.ends_with('.') && sentence.is_ascii() && !sentence.contains(['{', '[', '|']),
                "{sentence}"
            );
            for class in affirms(sentence) {
                assert!(labels[class], "index {index}: {sentence:?} affirms {}", CLASSES[class]);
                affirmed[class] = true;
            }
            if denies(sentence) {
                for class in (0..8).filter(|&c| names(c).iter().any(|n| sentence.to_lowercase().contains(n))) {
                    assert!(!labels[class], "index {index}: {sentence:?} denies {}", CLASSES[class]);
                }
            }
        }
        assert_eq!(affirmed, labels, "index {index}: {:?}", study.sentences);
    }
}

#[test]
fn reports_hold_only_sentences_of_the_list_and_vary() {
    let list = training_sentences();
    let mut seen = BTreeSet::new();
    for index in 0..3000 {
        for sentence in natural(31, index).sentences {
            assert!(list.contains(&sentence), "{sentence}");
            seen.insert(sentence);
        }
    }
    assert!(seen.len() > 1500, "only {} different sentences in 3000 reports", seen.len());
    let hedged = seen.iter().filter(|s| s.contains("cannot be excluded") || s.contains("ossible")).count();
    assert!(hedged > 50, "doubt is expressed in {hedged} ways");
}

/// Mean column of the lungs: the patient's midline as the picture shows it.
fn midline(study: &PhantomStudy) -> f32 {
    let lungs = study.lungs(64);
    let columns: Vec<f32> = (0..lungs.len()).filter(|&i| lungs[i]).map(|i| ((i % 64) as f32 + 0.5) / 64.0).collect();
    columns.iter().sum::<f32>() / columns.len() as f32
}

#[test]
fn sides_in_words_and_in_the_picture_agree() {
    let mut checked = 0;
    for index in 0..400 {
        let study = exclusive(41, index);
        let finding = &study.findings[0];
        if finding.side == Side::Both || matches!(finding.kind, Kind::SupportDevice(_)) {
            continue;
        }
        let [x0, _, x1, _] = study.boxes()[0].corners;
        // The patient's left is on the right of the picture.
        let left = 0.5 * (x0 + x1) > midline(&study);
        assert_eq!(left, finding.side == Side::Left, "index {index}: {finding:?}");
        let (told, other) = if left { ("left", "right") } else { ("right", "left") };
        let own: Vec<&String> = study.sentences.iter().filter(|s| !affirms(s).is_empty()).collect();
        assert!(own.iter().all(|s| !s.to_lowercase().contains(other)), "index {index}: {own:?}");
        checked += usize::from(own.iter().any(|s| s.to_lowercase().contains(told)));
    }
    assert!(checked > 150, "only {checked} reports name the side");
}

#[test]
fn nodules_and_fractures_have_the_stated_sizes() {
    for index in 0..400 {
        for (name, low, high) in [("nodule", 0.03, 0.08), ("fracture", 0.02, 0.05)] {
            let number = class(name);
            let study = exclusive(51, index * 8 + number as u64);
            let [x0, y0, x1, y1] = study.boxes()[0].corners;
            for extent in [x1 - x0, y1 - y0] {
                assert!((low..=high).contains(&extent), "{name} of study {index} spans {extent} of the width");
            }
        }
    }
}

#[test]
fn masks_fill_their_boxes_and_opacities_lie_in_the_lungs() {
    let size = 128;
    for index in 0..240 {
        let study = exclusive(61, index);
        let (mask, lungs, boxes) = (study.mask(0, size), study.lungs(size), study.boxes());
        let inside = |b: &FindingBox, i: usize| {
            let (x, y) = ((i % size) as f32 / size as f32, (i / size) as f32 / size as f32);
            let (margin, [x0, y0, x1, y1]) = (1.5 / size as f32, b.corners);
            x >= x0 - margin && x <= x1 + margin && y >= y0 - margin && y <= y1 + margin
        };
        let pixels: Vec<usize> = (0..mask.len()).filter(|&i| mask[i]).collect();
        assert!(!pixels.is_empty(), "index {index}: {:?} has no pixel", study.findings[0]);
        assert!(pixels.iter().all(|&i| boxes.iter().any(|b| inside(b, i))), "index {index}");
        if study.findings[0].is_opacity() {
            let lung = pixels.iter().filter(|&&i| lungs[i]).count();
            assert!(lung * 10 >= pixels.len() * 6, "index {index}: {lung} of {} pixels", pixels.len());
        }
    }
}

fn mean_and_deviation(values: &[f64]) -> (f64, f64) {
    let mean = values.iter().sum::<f64>() / values.len() as f64;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt())
}

/// Contrast of an opacity: mean change inside its mask over the standard deviation of the picture without it, among the
/// pixels of lung within 4 % of the width of the mask. Nothing but lung counts: the edges of heart and diaphragm are
/// neither noise nor texture, and would make any contrast look small.
fn contrast(study: &PhantomStudy, number: usize, with: &GrayImage, size: usize) -> f64 {
    let without = study.without(number).render(size);
    let (mask, lungs) = (study.mask(number, size), study.lungs(size));
    let reach = (0.04 * size as f64).round() as usize;
    let near = |i: usize| {
        let (x, y) = (i % size, i / size);
        (y.saturating_sub(reach)..(y + reach + 1).min(size))
            .any(|v| mask[v * size + x.saturating_sub(reach)..v * size + (x + reach + 1).min(size)].contains(&true))
    };
    let surroundings: Vec<f64> =
        (0..mask.len()).filter(|&i| lungs[i] && near(i)).map(|i| f64::from(without.pixels[i])).collect();
    let change: Vec<f64> = (0..mask.len())
        .filter(|&i| mask[i])
        .map(|i| f64::from(with.pixels[i]) - f64::from(without.pixels[i]))
        .collect();
    mean_and_deviation(&change).0 / mean_and_deviation(&surroundings).1
}

#[test]
fn opacities_stay_within_three_deviations_of_their_surroundings() {
    for (size, studies) in [(128, 400), (256, 160)] {
        let all: Vec<(usize, f64)> = (0..studies)
            .into_par_iter()
            .flat_map_iter(|index| {
                // Both prevalences: alone, and beside other findings.
                let study = if index % 2 == 0 { natural(71, index) } else { exclusive(71, index / 2) };
                let with = study.render(size);
                let opacities: Vec<usize> =
                    (0..study.findings.len()).filter(|&n| Finding::is_opacity(&study.findings[n])).collect();
                opacities
                    .into_iter()
                    .map(|n| (study.findings[n].class(), contrast(&study, n, &with, size)))
                    .collect::<Vec<_>>()
            })
            .collect();
        for name in ["pleural_effusion", "consolidation", "edema", "nodule"] {
            let ratios: Vec<f64> = all.iter().filter(|(c, _)| *c == class(name)).map(|(_, r)| *r).collect();
            let highest = ratios.iter().copied().fold(0.0, f64::max);
            let (mean, _) = mean_and_deviation(&ratios);
            println!("{name} at {size} px: {} opacities, mean {mean:.2}, highest {highest:.2}", ratios.len());
            assert!(ratios.len() >= 10, "{name}: too few to judge");
            assert!(highest <= 3.0, "{name} at {size} px reaches {highest} deviations");
            // And they are there.
            assert!(ratios.iter().all(|r| *r > 0.3), "{name} at {size} px vanishes");
        }
    }
}

/// Thumbnails of 16 by 16 pixels (means of 8 by 8), one row for each study.
fn thumbnails(seed: u64, count: u64) -> (Vec<Vec<f32>>, Vec<[bool; 8]>) {
    let size = 128;
    (0..count)
        .into_par_iter()
        .map(|index| {
            let study = natural(seed, index);
            let picture = study.render(size);
            let mut row = vec![0.0; 256];
            for (i, p) in picture.pixels.iter().enumerate() {
                row[i / size / 8 * 16 + i % size / 8] += f32::from(*p) / 64.0;
            }
            (row, study.labels())
        })
        .unzip()
}

/// Weights (bias last) of an L2-regularised logistic regression by accelerated gradient descent.
fn logistic_regression(rows: &[Vec<f32>], labels: &[bool], penalty: f32, step: f32, rounds: usize) -> Vec<f32> {
    let width = rows[0].len();
    let (mut weights, mut ahead) = (vec![0.0_f32; width + 1], vec![0.0_f32; width + 1]);
    for round in 0..rounds {
        let mut gradient = vec![0.0_f32; width + 1];
        for (row, &label) in rows.iter().zip(labels) {
            let error = 1.0 / (1.0 + (-score(&ahead, row)).exp()) - f32::from(u8::from(label));
            for (g, x) in gradient.iter_mut().zip(row) {
                *g += error * x;
            }
            gradient[width] += error;
        }
        let momentum = round as f32 / (round as f32 + 3.0);
        for i in 0..=width {
            let decay = if i < width { penalty * ahead[i] } else { 0.0 };
            let next = ahead[i] - step * (gradient[i] / rows.len() as f32 + decay);
            ahead[i] = next + momentum * (next - weights[i]);
            weights[i] = next;
        }
    }
    weights
}

fn score(weights: &[f32], row: &[f32]) -> f32 {
    row.iter().zip(weights).map(|(x, w)| x * w).sum::<f32>() + weights[row.len()]
}

/// Area under the ROC curve: the share of pairs that are in order, ties counting half.
fn auroc(scores: &[f32], labels: &[bool]) -> f64 {
    let of = |wanted: bool| scores.iter().zip(labels).filter(move |(_, l)| **l == wanted).map(|(s, _)| *s);
    let (mut sum, mut pairs) = (0.0, 0.0);
    for positive in of(true) {
        for negative in of(false) {
            pairs += 1.0;
            sum += if positive > negative {
                1.0
            } else if positive < negative {
                0.0
            } else {
                0.5
            };
        }
    }
    sum / pairs
}

/// Largest eigenvalue of the rows' second moments, by power iteration: the curvature that bounds the step.
fn curvature(rows: &[Vec<f32>]) -> f32 {
    let mut vector = vec![1.0_f32; rows[0].len()];
    let mut value = 0.0;
    for _ in 0..20 {
        let mut next = vec![0.0_f32; vector.len()];
        for row in rows {
            let dot: f32 = row.iter().zip(&vector).map(|(x, v)| x * v).sum();
            next.iter_mut().zip(row).for_each(|(n, x)| *n += dot * x / rows.len() as f32);
        }
        value = next.iter().map(|n| n * n).sum::<f32>().sqrt();
        vector = next.iter().map(|n| n / value).collect();
    }
    value
}

#[test]
fn a_linear_model_of_thumbnails_finds_little() {
    let ((mut train, train_labels), (mut test, test_labels)) = (thumbnails(81, 1500), thumbnails(82, 1000));
    for i in 0..256 {
        let column: Vec<f64> = train.iter().map(|row| f64::from(row[i])).collect();
        let (mean, deviation) = mean_and_deviation(&column);
        for row in train.iter_mut().chain(&mut test) {
            row[i] = (row[i] - mean as f32) / (deviation as f32 + 1e-3);
        }
    }
    let step = 1.0 / (0.25 * curvature(&train) + 1.0);
    let of = |labels: &[[bool; 8]], c: usize| -> Vec<bool> { labels.iter().map(|l| l[c]).collect() };
    let areas: Vec<f64> = (0..8)
        .into_par_iter()
        .map(|c| {
            // scikit-learn's C = 1 / (penalty * rows) is about 1 here.
            let weights = logistic_regression(&train, &of(&train_labels, c), 7e-4, step, 400);
            let scores: Vec<f32> = test.iter().map(|row| score(&weights, row)).collect();
            auroc(&scores, &of(&test_labels, c))
        })
        .collect();
    let macro_average = areas.iter().sum::<f64>() / 8.0;
    for (name, area) in CLASSES.iter().zip(&areas) {
        println!("{name}: {area:.3}");
    }
    println!("macro: {macro_average:.3}");
    assert!(macro_average <= 0.75, "thumbnails give {macro_average}: {areas:?}");
    assert!(macro_average > 0.55, "thumbnails give {macro_average}: the pictures or the model are broken");
}

fn plain(sentence: &str) -> String {
    sentence.to_lowercase().chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').collect()
}

#[test]
fn half_of_the_prompts_never_occur_in_reports_and_their_words_do() {
    let training: BTreeSet<String> = training_sentences().iter().map(|s| plain(s)).collect();
    let words: BTreeSet<&str> = training.iter().flat_map(|s| s.split(' ')).collect();
    for class in &Prompts::phantom().classes {
        for (kind, prompts) in
            [("positive", &class.positive), ("negative", &class.negative), ("queries", &class.queries)]
        {
            let new = prompts.iter().filter(|p| !training.contains(&plain(p))).count();
            assert!(2 * new >= prompts.len(), "{} {kind}: {new} of {} are new", class.name, prompts.len());
            for word in prompts.iter().flat_map(|p| plain(p).split(' ').map(str::to_owned).collect::<Vec<_>>()) {
                assert!(words.contains(word.as_str()), "{} {kind}: {word:?} is in no report", class.name);
            }
        }
    }
}
