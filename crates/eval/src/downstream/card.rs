//! The card of a fine-tuned classifier: what it is, what it is for, and how well it did on whom.

use std::fmt::Write as _;

use engine::checkpoint::Card;
use engine::table::{interval, number};
use serde_json::{Map, Value};

use super::labelled::Labelled;

/// The card as Markdown. It holds counts and figures, no names, texts or paths.
pub fn markdown(card: &Card, labelled: &Labelled, figures: &Map<String, Value>) -> String {
    let mut text = String::from("# Classifier of radiographs\n\n**For research only. Not for clinical use.**\n");
    let mut line = |content: &str| {
        text.push_str(content);
        text.push('\n');
    };
    line("\n## Intended use\n");
    line(
        "Research on the question that it was trained for, by people who know its data. It gives a probability for each of its",
    );
    line("classes, on images of the kind that it was trained on.\n");
    line(
        "Not intended: diagnosis, triage or any other decision on a patient. It was not tested in a clinic and no authority",
    );
    line("has seen it. Other scanners, hospitals, ages and diseases than those of its data can change every figure.");
    line("\n## Model\n");
    let size = card.preprocess.image_size;
    line(&format!("- Classes: {}", card.classes.join(", ")));
    line(&format!("- Images: {size} x {size} pixels; `predict` prepares them"));
    line("\n## Data\n");
    line("| part | images | patients |\n|---|---|---|");
    for (name, part) in [("train", &labelled.train), ("validate", &labelled.validate), ("test", &labelled.test)] {
        line(&format!("| {name} | {} | {} |", part.studies.len(), part.num_patients()));
    }
    line(&format!("\nNo patient is in two parts. Tested on {}.", labelled.tested_on));
    line("\n## Figures\n");
    line(
        "Intervals are 95 %, over patients of the test part.\n\n| figure | value | interval | chance |\n|---|---|---|---|",
    );
    let mut rows = String::new();
    for (name, value) in figures {
        write_rows(&mut rows, name, value);
    }
    text.push_str(&rows);
    text.push_str(
        "\nA figure on a subgroup with few patients says little, and one that is not there was not measured.\n",
    );
    text
}

fn write_rows(rows: &mut String, path: &str, value: &Value) {
    let Some(object) = value.as_object() else {
        if let Some(count) = value.as_f64() {
            let _ = writeln!(rows, "| {path} | {} | | |", number(count));
        }
        return;
    };
    if object.contains_key("value") {
        let get = |key: &str| object.get(key).and_then(Value::as_f64);
        let show = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), number);
        let ends = get("low").zip(get("high")).map_or_else(String::new, |(low, high)| interval(low, high));
        let _ = writeln!(rows, "| {path} | {} | {ends} | {} |", show(get("value")), show(get("chance")));
        return;
    }
    for (name, value) in object {
        write_rows(rows, &format!("{path} · {name}"), value);
    }
}

#[cfg(test)]
mod tests {
    use model::card::{Architecture, Preprocess};
    use model::image::ImageEncoderConfig;
    use serde_json::json;

    use super::*;
    use crate::downstream::labelled::LabelledConfig;

    #[test]
    fn a_card_says_what_it_is_for_and_how_well_it_does() {
        let labelled = LabelledConfig::default().read().unwrap();
        let encoder: ImageEncoderConfig = serde_json::from_value(
            json!({"kind": "resnet", "block": "basic", "stages": [1, 1, 1, 1], "width": 4, "in_channels": 1}),
        )
        .unwrap();
        let mut card = Card::new("fine-tune", Architecture::ImageEncoder(encoder), Preprocess::imagenet(32, 32, 1));
        card.classes = vec!["Edema".to_owned()];
        let figures = json!({"auroc": {"per_class": {"Edema": {"value": 0.75, "low": 0.7, "high": 0.8, "chance": 0.5}}},
            "images": 12});
        let text = markdown(&card, &labelled, figures.as_object().unwrap());
        for part in [
            "For research only",
            "Not intended",
            "| auroc · per_class · Edema | 0.750 | [0.700, 0.800] | 0.500 |",
            "- Classes: Edema",
        ] {
            assert!(text.contains(part), "no {part} in {text}");
        }
        let patient = labelled.test.studies[0].patient_id.expose();
        assert!(!text.contains(patient.as_str()), "a patient is named");
    }
}
