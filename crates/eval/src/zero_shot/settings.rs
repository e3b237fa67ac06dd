//! By which settings figures of zero-shot classification can be had again, for machines and for people.

use std::fmt::Write as _;

use engine::checkpoint::Checkpoint;
use engine::upload::Preprocess;
use model::card::Fit;
use serde_json::{Map, Value, json};

use super::draw::{Draw, NumPrompts};
use super::matching::Compared;
use super::task::{Against, ZeroShotTask, counts_padding};
use crate::tasks::Tools;

/// The settings of a task. Sentences are quoted where the task shows them.
pub(super) fn settings(
    task: &ZeroShotTask,
    checkpoint: &Checkpoint,
    classes: &[Compared],
    draws: &[Draw<'_>],
    tools: &Tools,
) -> Map<String, Value> {
    let (card, sampling) = (&checkpoint.card, task.sampling);
    let counted = |(place, class): (usize, &Compared)| {
        let sides = draws.first().map(|draw| &draw.classes[place]);
        let [positive, negative] =
            [sides.map_or(0, |sides| sides.positive.len()), sides.map_or(0, |sides| sides.negative.len())];
        json!({ "name": class.name, "labels": class.labels, "positive": positive, "negative": negative })
    };
    let max_tokens = card.text.as_ref().map(|text| text.max_tokens);
    let padding = if counts_padding(&card.model) { "each list of sentences to its longest" } else { "none" };
    let mut prompts = json!({
        "set": task.set.name,
        "sha256": task.set.sha256,
        "per_list": match sampling.num_prompts {
            NumPrompts::All => json!("all"),
            NumPrompts::Some(count) => json!(count),
        },
        "max_tokens": max_tokens,
        "padding": padding,
        "classes": classes.iter().enumerate().map(counted).collect::<Vec<Value>>(),
    });
    if task.show_text {
        prompts["drawn"] = draws.iter().map(|draw| quoted(draw, classes)).collect();
    }
    let bootstrap = tools.bootstrap;
    let all = json!({
        "weights": checkpoint.weights.family.name,
        "preprocessing": preprocessing(&card.preprocess),
        "prompts": prompts,
        "rule": { "name": task.rule, "formula": task.rule.formula() },
        "temperature": task.temperature,
        "seed": sampling.seed,
        "samplings": sampling.samplings,
        "bootstrap": { "resamples": bootstrap.resamples, "seed": bootstrap.seed, "unit": "patient" },
    });
    if let Value::Object(all) = all { all } else { Map::new() }
}

/// What another model is.
pub(super) fn against(other: &Against) -> Value {
    match other {
        Against::Random => json!({ "weights": "random" }),
        Against::Checkpoint(other) => {
            let (name, preprocess) = (other.weights.family.name, &other.card.preprocess);
            json!({ "weights": name, "preprocessing": preprocessing(preprocess) })
        }
    }
}

/// The sentences of a draw by class.
fn quoted(draw: &Draw<'_>, classes: &[Compared]) -> Value {
    let flat: Vec<&str> = draw.lists.concat();
    let texts = |rows: &[usize]| rows.iter().map(|&row| flat[row]).collect::<Vec<&str>>();
    let of_class = |(class, sides): (&Compared, &super::rule::Sides)| {
        let sides = json!({ "positive": texts(&sides.positive), "negative": texts(&sides.negative) });
        (class.name.clone(), sides)
    };
    Value::Object(classes.iter().zip(&draw.classes).map(of_class).collect())
}

fn preprocessing(preprocess: &Preprocess) -> Value {
    json!({
        "image_size": preprocess.image_size,
        "source_size": preprocess.source_size,
        "resize": resize(preprocess),
        "channels": preprocess.mean.len(),
        "mean": decimal(&preprocess.mean),
        "std": decimal(&preprocess.std),
    })
}

/// Numbers as they were written, without the digits that single precision adds to them.
fn decimal(values: &[f32]) -> Vec<f64> {
    values.iter().map(|value| value.to_string().parse().unwrap_or_else(|_| f64::from(*value))).collect()
}

fn resize(preprocess: &Preprocess) -> String {
    let size = preprocess.image_size;
    match preprocess.framing {
        None => format!("padded with black to a square, scaled to {size} px"),
        Some(framing) => {
            let side = framing.side.max(size);
            let first = match framing.fit {
                Fit::Pad => format!("padded with black to a square, scaled to {side} px"),
                Fit::Crop => format!("shorter side scaled to {side} px"),
            };
            format!("{first}, centre of {size} px")
        }
    }
}

/// The settings in some lines.
pub(crate) fn told(settings: &Value) -> String {
    let text = |value: &Value| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let list = |value: &Value| value.as_array().into_iter().flatten().map(text).collect::<Vec<_>>().join(", ");
    let (images, prompts) = (&settings["preprocessing"], &settings["prompts"]);
    let mut lines = String::new();
    let _ = writeln!(
        lines,
        "Images: {}; channels: {}, mean {}, std {}.",
        text(&images["resize"]),
        images["channels"],
        list(&images["mean"]),
        list(&images["std"])
    );
    let classes = prompts["classes"].as_array().into_iter().flatten().map(|class| {
        let labels = match class["labels"].as_array() {
            Some(labels) if labels.is_empty() => " (no other class)".to_owned(),
            Some(labels) if labels.len() == 1 && labels[0] == class["name"] => String::new(),
            _ => format!(" ({})", list(&class["labels"])),
        };
        format!("{}{labels} {}+{}", text(&class["name"]), class["positive"], class["negative"])
    });
    let _ = writeln!(
        lines,
        "Prompts: {}, sha256 {}, {} of each list; padding: {}.\nClasses (their labels), positive + negative sentences: {}.",
        text(&prompts["set"]),
        text(&prompts["sha256"]),
        text(&prompts["per_list"]),
        text(&prompts["padding"]),
        classes.collect::<Vec<_>>().join(", ")
    );
    let (rule, temperature) = (&settings["rule"], &settings["temperature"]);
    let _ = writeln!(lines, "Rule: {}, {}; T = {temperature}.", text(&rule["name"]), text(&rule["formula"]));
    let (bootstrap, samplings) = (&settings["bootstrap"], &settings["samplings"]);
    let _ = writeln!(
        lines,
        "Seed {}, samplings: {samplings}; intervals: {} resamples of patients, seed {}.",
        settings["seed"], bootstrap["resamples"], bootstrap["seed"]
    );
    if let Some(other) = settings.get("against") {
        let _ = writeln!(lines, "Against: {} weights.", text(&other["weights"]));
    }
    for (draw, number) in prompts["drawn"].as_array().into_iter().flatten().zip(1..) {
        for (class, sides) in draw.as_object().into_iter().flatten() {
            for (name, side) in sides.as_object().into_iter().flatten() {
                for sentence in side.as_array().into_iter().flatten() {
                    let _ = writeln!(lines, "sampling {number}, {class}, {name}: {}", text(sentence));
                }
            }
        }
    }
    lines
}
