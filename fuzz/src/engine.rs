//! Targets of crate `engine`. Each takes any bytes and panics where a promise of the crate is broken.

use engine::config::{Layer, Layered, Source, flat, sha256, to_toml};

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 1] = [("config_merge", config_merge)];

/// What separates the layers of an input.
const NEXT_LAYER: &str = "\n====\n";

/// Layers of TOML, the last a `--set`: a merge that is accepted is printed and read as the same, and its hash does not
/// depend on how it came about.
pub fn config_merge(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut layered = Layered::new();
    let mut texts = text.split(NEXT_LAYER).peekable();
    while let Some(text) = texts.next() {
        let layer = if texts.peek().is_none() && text.contains('=') && !text.contains('\n') {
            Layer::set(text)
        } else {
            Layer::text(Source::Preset("layer".to_owned()), text)
        };
        let Ok(layer) = layer else { return };
        layered.push(&layer);
    }
    let table = layered.table();
    let Ok(printed) = to_toml(table) else { return };
    let mut again = Layered::new();
    again.push(&Layer::text(Source::Preset("printed".to_owned()), &printed).unwrap());
    assert_eq!(flat(again.table()).unwrap(), flat(table).unwrap(), "{printed}");
    assert_eq!(sha256(again.table()).unwrap(), sha256(table).unwrap());
    assert_eq!(layered.annotate(table).unwrap().lines().count(), flat(table).unwrap().len());
}
