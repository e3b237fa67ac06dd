//! Figures as a table.

use engine::table::{Align, Table, interval, number};
use serde_json::Value;

/// Every figure with its interval and chance, in the order of the JSON, aligned.
pub fn table(figures: &Value) -> String {
    let mut table = Table::new(&[
        ("figure", Align::Left),
        ("value", Align::Right),
        ("95 % interval", Align::Left),
        ("chance", Align::Right),
    ]);
    let mut sections = figures.as_object().into_iter().flatten().peekable();
    while let Some((name, value)) = sections.next() {
        rows(&mut table, name, value);
        if sections.peek().is_some() {
            table.rule();
        }
    }
    table.to_string()
}

/// A shape, or the same figure of several repetitions.
fn list(values: &Value) -> String {
    let values: Vec<&Value> = values.as_array().into_iter().flatten().collect();
    let texts = |text: fn(&Value) -> String| values.iter().map(|value| text(value)).collect::<Vec<_>>();
    if values.iter().any(|value| value.is_f64()) {
        texts(|value| value.as_f64().map_or_else(|| "-".to_owned(), number)).join(", ")
    } else {
        texts(Value::to_string).join(" x ")
    }
}

fn rows(table: &mut Table, path: &str, value: &Value) {
    let Some(object) = value.as_object() else {
        let text = match value.as_f64() {
            None if value.is_array() => list(value),
            Some(bytes) if path.ends_with("_bytes") => format!("{:.2} GiB", bytes / f64::from(1 << 30)),
            Some(plain) => number(plain),
            None => "-".to_owned(),
        };
        table.row([path.to_owned(), text, String::new(), String::new()]);
        return;
    };
    if object.contains_key("value") {
        let get = |key: &str| object.get(key).and_then(Value::as_f64);
        let text = |key: &str| get(key).map_or_else(|| "-".to_owned(), number);
        let range = get("low").zip(get("high")).map_or_else(String::new, |(low, high)| interval(low, high));
        table.row([path.to_owned(), text("value"), range, text("chance")]);
        return;
    }
    for (name, value) in object {
        rows(table, &format!("{path}.{name}"), value);
    }
}
