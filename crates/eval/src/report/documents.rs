//! What a run is in words: overview, data card, model card, configuration.

use data::record::Dataset;
use maud::{Markup, html};
use model::card::Architecture;
use serde_json::Value;

use super::page::{Section, table, tiles};
use super::record::RunRecord;
use super::section;
use super::subject::Subject;

/// What stands under the heading.
pub(super) fn subtitle(record: &RunRecord) -> Markup {
    let objective =
        record.setting("objective.kind").or_else(|| record.card.as_ref().map(|card| card.objective.clone()));
    html! { p.soft { @if let Some(objective) = objective { "Objective " (objective) ". " }
    @if let Some(env) = &record.environment { "Version " (env.version) ", Burn " (env.burn) ", device " (env.device) "." } } }
}

/// The first things that people ask for.
pub(super) fn overview(record: &RunRecord) -> Section {
    let mut pairs = Vec::new();
    let figure = |path: &[&str]| path.iter().try_fold(&record.figures, |value, key| value.get(*key));
    for (name, path) in [
        ("zero-shot macro AUROC", &["zero_shot", "macro_auroc", "value"][..]),
        ("linear probe macro AUROC", &["linear_probe", "macro_auroc", "value"]),
        ("text-image P@10", &["retrieval", "text_to_image", "precision_at_10", "value"]),
        ("supervised macro AUROC", &["supervised", "macro_auroc", "value"]),
        ("test macro AUROC", &["test", "auroc", "macro", "value"]),
    ] {
        if let Some(value) = figure(path).and_then(Value::as_f64) {
            pairs.push((name, format!("{value:.3}")));
        }
    }
    if let Some(seconds) = figure(&["timing", "seconds"]).and_then(Value::as_f64) {
        pairs.push(("time", format!("{:.1} min", seconds / 60.0)));
    }
    if let Some(speed) = figure(&["timing", "images_per_second"]).and_then(Value::as_f64) {
        pairs.push(("speed", format!("{speed:.0} images/s")));
    }
    if let Some(bytes) = figure(&["memory", "peak_bytes"]).and_then(Value::as_f64) {
        pairs.push(("peak memory", format!("{:.2} GiB", bytes / f64::from(1 << 30))));
    }
    for (name, key) in [("updates", "run.steps"), ("seed", "run.seed"), ("batch", "data.batch_size")] {
        pairs.extend(record.setting(key).map(|value| (name, value)));
    }
    let finished = !record.figures.is_null();
    section(
        "overview",
        "Overview",
        html! { (tiles(&pairs)) @if !finished { p { "This run has not been evaluated: it is still going on or was stopped." } } },
    )
}

/// How many there are of what.
pub(super) fn data_card(subject: &Subject, shows: &str) -> Section {
    let parts = [("train", &subject.train), ("validate", &subject.validate), ("test", &subject.test)];
    let rows: Vec<Vec<Markup>> = parts.iter().map(|(name, part)| counts(name, part)).collect();
    let head = ["part", "studies", "patients", "images", "sentences"];
    let labels = subject.test.classes.iter().enumerate().map(|(class, name)| {
        let count =
            |sought| subject.test.studies.iter().filter(|study| study.labels.get(class) == Some(&sought)).count();
        let cells = [count(Some(true)), count(Some(false)), count(None)];
        std::iter::once(html! { (name) }).chain(cells.map(|n| html! { (n) })).collect()
    });
    let labels: Vec<Vec<Markup>> = labels.collect();
    let body = html! {
        p.soft { (shows) }
        (table(&head, &[1, 2, 3, 4], &rows))
        @if !labels.is_empty() {
            h3 { "Labels of the test part" }
            (table(&["label", "positive", "negative", "not labelled"], &[1, 2, 3], &labels))
        }
    };
    section("data", "Data", body)
}

fn counts(name: &str, part: &Dataset) -> Vec<Markup> {
    let images: usize = part.studies.iter().map(|study| study.images.len()).sum();
    let sentences: usize = part.studies.iter().map(|study| study.sentences.len()).sum();
    let numbers = [part.studies.len(), part.num_patients(), images, sentences];
    std::iter::once(html! { (name) }).chain(numbers.map(|n| html! { (n) })).collect()
}

/// What the weights are, what they are for and what they are not for.
pub(super) fn model_card(record: &RunRecord) -> Option<Section> {
    let card = record.card.as_ref()?;
    let kind = match &card.model {
        Architecture::DualEncoder(_) => "an image encoder and a text encoder with a joint space",
        Architecture::ImageClassifier(_) => "a classifier of images",
        Architecture::ImageEncoder(_) => "an image encoder",
        Architecture::TextEncoder(_) => "a text encoder",
    };
    let size = card.preprocess.image_size;
    let channels = card.preprocess.mean.len();
    let provenance = &card.provenance;
    Some(section(
        "model",
        "Model card",
        html! {
            p { "The weights hold " (kind) ", trained with the objective " b { (card.objective) } ". Images are seen at " (size) " x " (size) " pixels in " (channels) " " (if channels == 1 { "channel" } else { "channels" }) "." }
            @if !card.classes.is_empty() { p { "Classes: " (card.classes.join(", ")) "." } }
            @if !provenance.data.is_empty() { p { "Trained on: " (provenance.data.join(", ")) "." } }
            @if let Some(licence) = &provenance.licence { p { "Licence of the weights: " (licence) "." } }
            h3 { "Intended use" }
            p { "Research on the learning of images and text, by people who know the data that the figures were measured on. Figures on generated phantoms say that a method works, not how well it would do on radiographs." }
            h3 { "Not intended" }
            p { "Diagnosis, triage or any other clinical decision. Nothing here was tested on patients or cleared by an authority. Other scanners, hospitals, ages and diseases than those of the data can change every figure; the subgroups above show how much of that was seen." }
            p { "A model can memorise what it was trained on: treat weights like the data." }
            details { summary { "Architecture" } pre { (serde_json::to_string_pretty(&card.model).unwrap_or_default()) } }
        },
    ))
}

/// The configuration and where it ran.
pub(super) fn configuration(record: &RunRecord) -> Option<Section> {
    let environment = record.environment.as_ref().and_then(|env| serde_json::to_string_pretty(env).ok());
    if record.config.is_empty() && environment.is_none() {
        return None;
    }
    Some(section(
        "configuration",
        "Configuration",
        html! {
            @if !record.config.is_empty() { details { summary { "config.toml" } pre { (record.config) } } }
            @if let Some(environment) = environment { details { summary { "env.json" } pre { (environment) } } }
        },
    ))
}
