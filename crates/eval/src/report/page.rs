//! The page: one file with its style in it, readable from 400 pixels on, in print and without scripts.

use maud::{DOCTYPE, Markup, PreEscaped, html};

/// One part of a page.
#[derive(Debug)]
pub struct Section {
    /// Anchor.
    pub id: &'static str,
    /// Heading.
    pub title: &'static str,
    /// Content.
    pub body: Markup,
}

const STYLE: &str = "
:root { color-scheme: light; --ink: #1d2329; --soft: #5b6672; --line: #d9dee3; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; font: 16px/1.5 Helvetica, Arial, sans-serif; color: var(--ink); background: #fff; }
header, main, footer { max-width: 1000px; margin: 0 auto; padding: 0 16px; }
header { padding-top: 24px; }
h1 { margin: 0 0 4px; font-size: 1.7rem; overflow-wrap: anywhere; }
h2 { margin: 40px 0 8px; padding-bottom: 4px; border-bottom: 2px solid var(--line); font-size: 1.25rem; }
h3 { margin: 20px 0 4px; font-size: 1rem; }
p { margin: 6px 0; max-width: 75ch; }
.soft, figcaption, caption { color: var(--soft); font-size: 0.875rem; text-align: left; }
.warning { padding: 8px 12px; border-left: 4px solid #d55e00; background: #fdf3ec; }
nav { display: flex; flex-wrap: wrap; gap: 4px 16px; margin-top: 12px; font-size: 0.9rem; }
a { color: var(--accent); }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(150px, 1fr)); gap: 8px; padding: 0; margin: 12px 0; }
.tiles div { padding: 8px 12px; border: 1px solid var(--line); border-radius: 6px; }
.tiles dt { color: var(--soft); font-size: 0.8rem; }
.tiles dd { margin: 0; font-size: 1.1rem; overflow-wrap: anywhere; }
.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 320px), 1fr)); gap: 16px; }
figure { margin: 8px 0; min-width: 0; }
figure svg, figure img { max-width: 100%; height: auto; display: block; }
.pictures { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 8px; }
.pictures figure { margin: 0; }
.pictures img, .pictures svg { width: 100%; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.875rem; font-variant-numeric: tabular-nums; }
th, td { padding: 3px 12px 3px 0; text-align: left; white-space: nowrap; vertical-align: middle; }
thead th { border-bottom: 1px solid var(--ink); }
tbody th { font-weight: normal; }
tr.rule td, tr.rule th { border-top: 1px solid var(--line); }
td.number, th.number { text-align: right; }
pre { overflow-x: auto; padding: 12px; background: #f5f7f9; font-size: 0.8rem; }
summary { cursor: pointer; color: var(--accent); }
footer { margin: 48px auto 24px; color: var(--soft); font-size: 0.85rem; }
.hit { outline: 3px solid #009e73; outline-offset: -3px; }
.miss { outline: 3px solid #d55e00; outline-offset: -3px; }
@media print { nav { display: none; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } }
";

/// A whole page.
pub fn page(title: &str, about: &Markup, sections: &[Section]) -> String {
    html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                // Nothing may be fetched, whatever stands in the file.
                meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'";
                title { (title) }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { (title) }
                    (about)
                    p.warning { "For research only. Not for clinical use: no figure here is a diagnosis." }
                    nav aria-label="Sections" {
                        @for section in sections { a href={ "#" (section.id) } { (section.title) } }
                    }
                }
                main {
                    @for section in sections {
                        section id=(section.id) { h2 { (section.title) } (section.body) }
                    }
                }
                footer { "Made by roentgen-eval " (env!("CARGO_PKG_VERSION")) ". Intervals are 95 %, over patients." }
            }
        }
    }
    .into_string()
}

/// A chart with what it says, for people who do not see it too.
pub fn chart(svg: &str, caption: &str) -> Markup {
    // The namespace is an address that nothing fetches; a chart within a page does without.
    let svg = svg.replacen(" xmlns=\"http://www.w3.org/2000/svg\"", "", 1);
    let svg = svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", escaped(caption)), 1);
    html! { figure { (PreEscaped(svg)) figcaption { (caption) } } }
}

fn escaped(text: &str) -> String {
    html! { (text) }.into_string()
}

/// Charts beside each other where there is room.
pub fn charts(all: &[Markup]) -> Markup {
    html! { div.charts { @for chart in all { (chart) } } }
}

/// A value under its name.
pub fn tiles(pairs: &[(&str, String)]) -> Markup {
    html! { dl.tiles { @for (name, value) in pairs { div { dt { (name) } dd { (value) } } } } }
}

/// A table that scrolls where it is wider than the page. Columns that `numbers` names are aligned right.
pub fn table(head: &[&str], numbers: &[usize], rows: &[Vec<Markup>]) -> Markup {
    html! {
        div.wide tabindex="0" {
            table {
                thead { tr { @for (i, name) in head.iter().enumerate() { th.number[numbers.contains(&i)] scope="col" { (name) } } } }
                tbody {
                    @for row in rows {
                        tr {
                            @for (i, cell) in row.iter().enumerate() {
                                @if i == 0 { th scope="row" { (cell) } } @else { td.number[numbers.contains(&i)] { (cell) } }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// A PNG within the page.
pub fn picture(png: &[u8], description: &str) -> Markup {
    use base64::Engine as _;
    let data = base64::engine::general_purpose::STANDARD.encode(png);
    html! { img alt=(description) src={ "data:image/png;base64," (data) }; }
}

/// Width of [`interval_bar`] (px).
const BAR: f64 = 150.0;

/// A figure from 0 to 1 with its interval and chance, drawn in a line of a table.
pub fn interval_bar(value: f64, ends: Option<(f64, f64)>, chance: Option<f64>) -> Markup {
    let at = |share: f64| format!("{:.1}", 4.0 + (BAR - 8.0) * share.clamp(0.0, 1.0));
    html! {
        svg width=(BAR) height="14" viewBox={ "0 0 " (BAR) " 14" } aria-hidden="true" {
            line x1="4" x2=(BAR - 4.0) y1="7" y2="7" stroke="#e1e6ea" stroke-width="2" {}
            @if let Some(chance) = chance { line x1=(at(chance)) x2=(at(chance)) y1="1" y2="13" stroke="#6e6e6e" stroke-dasharray="2 2" {} }
            @if let Some((low, high)) = ends { line x1=(at(low)) x2=(at(high)) y1="7" y2="7" stroke="#0072b2" stroke-width="3" {} }
            circle cx=(at(value)) cy="7" r="4" fill="#0072b2" {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_fetches_nothing_and_escapes_what_it_shows() {
        let chart = chart("<svg width=\"4\" xmlns=\"http://www.w3.org/2000/svg\"></svg>", "a < b & \"c\"");
        let rows = [vec![html! { "<script>alert(1)</script>" }, html! { "2" }]];
        let body = html! { (chart) (table(&["name", "value"], &[1], &rows)) (picture(&[1, 2, 3], "an image")) };
        let html = page("x <y>", &html! {}, &[Section { id: "one", title: "One", body }]);
        assert!(!html.contains("<script") && !html.contains("://"), "{html}");
        for part in [
            "x &lt;y&gt;",
            "a &lt; b &amp; &quot;c&quot;",
            "href=\"#one\"",
            "data:image/png;base64,AQID",
            "role=\"img\"",
        ] {
            assert!(html.contains(part), "{part} is not in {html}");
        }
    }

    #[test]
    fn a_bar_shows_the_interval_where_it_is() {
        let bar = interval_bar(0.5, Some((0.25, 1.5)), Some(0.0)).into_string();
        for part in ["cx=\"75.0\"", "x1=\"39.5\"", "x2=\"146.0\"", "x1=\"4.0\""] {
            assert!(bar.contains(part), "{part} is not in {bar}");
        }
    }
}
