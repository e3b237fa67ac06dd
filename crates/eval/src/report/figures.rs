//! Every figure of `eval.json` with its interval.

use engine::table::{interval, number};
use maud::{Markup, html};
use serde_json::Value;

use super::page::{Section, interval_bar, table};

/// One figure of an evaluation.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Figure {
    /// Its path, such as `linear_probe.macro_auroc`.
    pub(super) name: String,
    pub(super) value: f64,
    pub(super) ends: Option<(f64, f64)>,
    pub(super) chance: Option<f64>,
    /// Probability of so large a difference without one.
    pub(super) p_value: Option<f64>,
}

/// All figures, in the order of the file.
pub(super) fn all(figures: &Value) -> Vec<Figure> {
    let mut found = Vec::new();
    collect("", figures, &mut found);
    found
}

fn collect(path: &str, value: &Value, found: &mut Vec<Figure>) {
    let Some(object) = value.as_object() else {
        if let Some(value) = value.as_f64() {
            found.push(Figure { name: path.to_owned(), value, ends: None, chance: None, p_value: None });
        }
        return;
    };
    let get = |key: &str| object.get(key).and_then(Value::as_f64);
    if object.contains_key("value") {
        if let Some(value) = get("value") {
            let (ends, chance, p_value) = (get("low").zip(get("high")), get("chance"), get("p_value"));
            found.push(Figure { name: path.to_owned(), value, ends, chance, p_value });
        }
        return;
    }
    for (name, value) in object {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        collect(&path, value, found);
    }
}

pub(super) fn section(figures: &Value) -> Option<Section> {
    let tasks = figures.as_object()?;
    let mut body = Vec::new();
    for (task, value) in tasks.iter().filter(|(task, _)| !["timing", "memory", "settings"].contains(&task.as_str())) {
        let rows: Vec<Vec<Markup>> = all(value).iter().map(row).collect();
        if rows.is_empty() {
            continue;
        }
        let head = ["figure", "value", "95 % interval", "", "chance"];
        body.push(html! { h3 { (title(task)) } (table(&head, &[1, 4], &rows)) });
    }
    let about = "Each line of the middle column goes from 0 to 1: dot and bar are the figure and its interval, the dashed mark is \
                 what chance gives.";
    (!body.is_empty())
        .then(|| super::section("figures", "Figures", html! { p.soft { (about) } @for part in &body { (part) } }))
}

fn row(figure: &Figure) -> Vec<Markup> {
    let within = |value: f64| (0.0..=1.0).contains(&value);
    let bar = within(figure.value) && (figure.ends.is_some() || figure.chance.is_some());
    vec![
        html! { (figure.name.replace('_', " ").replace('.', " · ")) },
        html! { (written(figure)) },
        html! { @if let Some((low, high)) = figure.ends { (interval(low, high)) } },
        html! { @if bar { (interval_bar(figure.value, figure.ends, figure.chance)) } },
        html! { @if let Some(chance) = figure.chance { (number(chance)) } },
    ]
}

/// A count as such, anything else with three digits.
pub(super) fn written(figure: &Figure) -> String {
    let is_count = figure.ends.is_none() && figure.chance.is_none() && figure.value.fract() == 0.0;
    if is_count { format!("{:.0}", figure.value) } else { number(figure.value) }
}

/// `linear_probe_random` as people write it.
pub(super) fn title(name: &str) -> String {
    let words = name.replace('_', " ");
    let mut letters = words.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_figure_is_found_under_its_name() {
        let value = json!({
            "zero_shot": {"macro_auroc": {"value": 0.8, "low": 0.7, "high": 0.9, "chance": 0.5}, "n": 3},
            "none": {"auroc": {"value": null, "low": null, "high": null, "chance": 0.5}},
            "settings": {"prompts": "x"},
        });
        let found = all(&value);
        assert_eq!(found.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(), ["zero_shot.macro_auroc", "zero_shot.n"]);
        assert_eq!((found[0].ends, found[0].chance, found[1].value), (Some((0.7, 0.9)), Some(0.5), 3.0));
        let html = section(&value).unwrap().body.into_string();
        assert!(html.contains("Zero shot") && html.contains("[0.700, 0.900]") && !html.contains("Settings"), "{html}");
        assert!(section(&Value::Null).is_none() && section(&json!({"timing": {"seconds": 2.0}})).is_none());
    }
}
