//! Several runs side by side: figures, curves, and zero-shot scores on the same images, paired.

use std::path::PathBuf;

use engine::table::{interval, number};
use maud::{Markup, html};

use super::curves::{curve, curve_chart};
use super::figures::{Figure, all};
use super::page::{Section, chart, charts, interval_bar, table};
use super::record::RunRecord;
use super::section;
use super::subject::{Ask, Scored, Subject};
use super::{ReportData, ReportOptions};
use crate::error::{EvalError, Result};
use crate::metric::{SortedScores, macro_auroc_difference};
use crate::tasks::Tools;

/// The names of runs, numbered where two are the same.
pub(super) fn names(records: &[RunRecord]) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for record in records {
        let name = (1..).map(|n| if n == 1 { record.name.clone() } else { format!("{} ({n})", record.name) });
        names.extend(name.into_iter().find(|name| !names.contains(name)));
    }
    names
}

/// Every figure that one of the runs has, a column for each run.
pub(super) fn figures(records: &[RunRecord], names: &[String]) -> Section {
    let found: Vec<Vec<Figure>> = records.iter().map(|record| all(&record.figures)).collect();
    let mut lines: Vec<&str> = Vec::new();
    for figure in found.iter().flatten().filter(|figure| is_headline(&figure.name)) {
        if !lines.contains(&figure.name.as_str()) {
            lines.push(&figure.name);
        }
    }
    let cell = |figures: &Vec<Figure>, line: &str| match figures.iter().find(|figure| figure.name == line) {
        None => html! { "-" },
        Some(figure) => html! {
            (number(figure.value)) @if let Some((low, high)) = figure.ends {
                " " span.soft { (interval(low, high)) } br; (interval_bar(figure.value, figure.ends, figure.chance))
            }
        },
    };
    let row = |line: &&str| {
        let label = html! { (line.replace('_', " ").replace('.', " · ")) };
        std::iter::once(label).chain(found.iter().map(|figures| cell(figures, line))).collect()
    };
    let rows: Vec<Vec<Markup>> = lines.iter().map(row).collect();
    let head: Vec<&str> = std::iter::once("figure").chain(names.iter().map(String::as_str)).collect();
    let about = "Intervals that overlap do not say that two runs are alike: paired differences do.";
    section("figures", "Figures", html! { p.soft { (about) } (table(&head, &[], &rows)) })
}

/// Figures that stand for a task; those of single classes are in the reports of the runs.
fn is_headline(name: &str) -> bool {
    !name.contains("per_class") && !name.starts_with("settings")
}

/// Losses over each other where the runs minimise the same, and speeds.
pub(super) fn curves(records: &[RunRecord], names: &[String]) -> Result<Option<Section>> {
    let mut drawn = Vec::new();
    for (title, metric, y_title) in [
        ("Training loss", "train/loss", "loss"),
        ("Validation loss", "validate/loss", "loss"),
        ("Right pairs within the batch", "train/accuracy", "share"),
        ("Speed", "train/images_per_second", "images/s"),
    ] {
        let of_run = |(record, name): (&RunRecord, &String)| Some(curve(name, record.metrics.get(metric)?));
        let series: Vec<_> = records.iter().zip(names).filter_map(of_run).collect();
        if !series.is_empty() {
            let caption = format!("{title} of each run. Losses of different objectives cannot be compared.");
            drawn.push(chart(&curve_chart(title, y_title, series).svg()?, &caption));
        }
    }
    Ok((!drawn.is_empty()).then(|| section("curves", "Training", charts(&drawn))))
}

/// Differences to the first run on the same images, tasks and classes.
pub(super) fn paired(
    records: &[RunRecord],
    names: &[String],
    folders: &[PathBuf],
    options: &ReportOptions,
    tools: &Tools,
) -> Result<Option<Section>> {
    // All on what the first was tested on: figures on different images have no paired difference.
    let mut options = options.clone();
    if options.data.is_none()
        && let Some(source) = records.first().and_then(RunRecord::source)
    {
        let parts = source.parts()?;
        options.data = Some(ReportData { unseen: parts.test.clone(), parts });
    }
    let mut subjects = Vec::new();
    for (record, folder) in records.iter().zip(folders) {
        subjects.push(Subject::ask(record, folder, Ask::Scores, &options, tools)?);
    }
    let Some((first, others)) = subjects.split_first() else { return Ok(None) };
    let mut rows = Vec::new();
    for (other, name) in others.iter().zip(&names[1..]) {
        for scored in &first.scored {
            let Some(second) = other.scored.iter().find(|second| second.task == scored.task) else { continue };
            let difference = difference(first, scored, second, tools)?;
            let Some(value) = difference.value else { continue };
            rows.push(vec![
                html! { (names[0]) " minus " (name) },
                html! { (scored.task) },
                html! { (number(value)) },
                html! { @if let Some((low, high)) = difference.low.zip(difference.high) { (interval(low, high)) } },
                html! { @if let Some(p) = difference.p_value { (number(p)) } },
            ]);
        }
    }
    let head = ["runs", "task", "macro AUROC", "95 % interval", "p"];
    let about = "Differences on the same images, over the same resamples of patients. The task scores are computed for this report.";
    let body = html! { p.soft { (about) } (table(&head, &[2, 4], &rows)) };
    Ok((!rows.is_empty()).then(|| section("paired", "Paired differences", body)))
}

fn difference(subject: &Subject, first: &Scored, second: &Scored, tools: &Tools) -> Result<crate::metric::Difference> {
    let sorted = |scored: &Scored, class: &String| -> Result<Option<SortedScores>> {
        let Some(k) = scored.classes.iter().position(|name| name == class) else { return Ok(None) };
        Ok(Some(SortedScores::with_missing(&scored.scores[k], &scored.labels[k], &subject.clusters)?))
    };
    let (mut of_first, mut of_second) = (Vec::new(), Vec::new());
    for class in &first.classes {
        if let (Some(a), Some(b)) = (sorted(first, class)?, sorted(second, class)?) {
            of_first.push(a);
            of_second.push(b);
        }
    }
    if of_first.is_empty() {
        let what = "the runs have no class in common: compare runs on the same labels".to_owned();
        return Err(EvalError::Unfit { data: subject.test.name.clone(), what });
    }
    Ok(macro_auroc_difference(&of_first, &of_second, &subject.clusters, &tools.bootstrap))
}

/// Settings in which the runs differ.
pub(super) fn settings(records: &[RunRecord], names: &[String]) -> Section {
    let flat: Vec<Vec<(String, String)>> = records.iter().map(|record| flattened(&record.config)).collect();
    let mut keys: Vec<&String> = flat.iter().flatten().map(|(key, _)| key).collect();
    keys.sort();
    keys.dedup();
    let value =
        |of: &Vec<(String, String)>, key: &String| of.iter().find(|(k, _)| k == key).map(|(_, value)| value.clone());
    let mut rows = Vec::new();
    for key in keys {
        let values: Vec<Option<String>> = flat.iter().map(|of| value(of, key)).collect();
        if values.windows(2).any(|pair| pair[0] != pair[1]) {
            let cells = values.iter().map(|value| html! { (value.as_deref().unwrap_or("-")) });
            rows.push(std::iter::once(html! { code { (key) } }).chain(cells).collect());
        }
    }
    let head: Vec<&str> = std::iter::once("key").chain(names.iter().map(String::as_str)).collect();
    let body = if rows.is_empty() {
        html! { p { "None." } }
    } else {
        table(&head, &[], &rows)
    };
    section("settings", "Settings that differ", body)
}

/// Every value of a configuration under its whole key.
fn flattened(config: &str) -> Vec<(String, String)> {
    fn collect(path: &str, value: &toml::Value, found: &mut Vec<(String, String)>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    collect(&path, value, found);
                }
            }
            other => found.push((path.to_owned(), other.to_string())),
        }
    }
    let mut found = Vec::new();
    if let Ok(table) = config.parse::<toml::Table>() {
        collect("", &toml::Value::Table(table), &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn record(name: &str, config: &str, value: f64) -> RunRecord {
        let figures = json!({"zero_shot": {"macro_auroc": {"value": value, "low": 0.1, "high": 0.9, "chance": 0.5},
            "per_class": {"a": {"auroc": {"value": 0.5}}}}});
        let (name, config) = (name.to_owned(), config.to_owned());
        RunRecord {
            name,
            config,
            environment: None,
            figures,
            metrics: super::super::record::Metrics::new(),
            card: None,
        }
    }

    #[test]
    fn what_differs_is_shown_and_what_is_equal_is_not() {
        let records = [record("a", "[x]\nk = 1\nsame = 2\n", 0.25), record("a", "[x]\nk = 3\nsame = 2\n", 0.75)];
        let names = names(&records);
        assert_eq!(names, ["a", "a (2)"]);
        let html = settings(&records, &names).body.into_string();
        assert!(html.contains("x.k") && html.contains('3') && !html.contains("x.same"), "{html}");
        let html = figures(&records, &names).body.into_string();
        assert!(html.contains("0.250") && html.contains("0.750") && !html.contains("per class"), "{html}");
        assert!(curves(&records, &names).unwrap().is_none());
        let mut alike = records;
        alike[1].config = alike[0].config.clone();
        alike[1].figures = Value::Null;
        assert!(settings(&alike, &names).body.into_string().contains("None."));
        assert!(figures(&alike, &names).body.into_string().contains(">-<"));
    }
}
