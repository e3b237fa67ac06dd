//! A tiny grammar for sentences: `[a|b|]` is one of several texts (possibly empty, nesting allowed), `{name}` a slot.
//!
//! The same template can be drawn at random or written out in full, so that a test can compare every sentence that
//! training can show with the prompts of the evaluation.

use crate::rng::Stream;

/// One piece of a parsed template.
#[derive(Debug)]
enum Piece {
    Text(String),
    Choice(Vec<Vec<Piece>>),
}

/// A template whose slots are filled and whose alternatives are parsed.
#[derive(Debug)]
pub(super) struct Template {
    pieces: Vec<Piece>,
}

impl Template {
    /// Fills the slots of `text` (fillings may hold slots and alternatives themselves) and parses the alternatives.
    pub(super) fn new(text: &str, slot: &dyn Fn(&str) -> &'static str) -> Self {
        let mut filled = text.to_owned();
        while let Some(start) = filled.find('{') {
            let end = filled[start..].find('}').map_or(filled.len() - 1, |n| start + n);
            let value = slot(&filled[start + 1..end]);
            filled.replace_range(start..=end, value);
        }
        let mut characters = filled.chars();
        Self { pieces: sequence(&mut characters).0 }
    }

    /// One sentence at random.
    pub(super) fn draw(&self, random: &mut Stream) -> String {
        let mut out = String::new();
        draw(&self.pieces, random, &mut out);
        tidy(&out)
    }

    /// Every sentence that the template can give.
    pub(super) fn all(&self) -> Vec<String> {
        all(&self.pieces).iter().map(|s| tidy(s)).collect()
    }
}

/// Reads pieces up to the end, a bar or a closing bracket, and says which of them stopped it.
fn sequence(characters: &mut std::str::Chars<'_>) -> (Vec<Piece>, Option<char>) {
    let mut pieces = Vec::new();
    let mut text = String::new();
    loop {
        match characters.next() {
            Some('[') => {
                pieces.push(Piece::Text(std::mem::take(&mut text)));
                let mut options = Vec::new();
                loop {
                    let (option, stop) = sequence(characters);
                    options.push(option);
                    if stop != Some('|') {
                        break;
                    }
                }
                pieces.push(Piece::Choice(options));
            }
            Some(c) if c != '|' && c != ']' => text.push(c),
            stop => {
                pieces.push(Piece::Text(text));
                return (pieces, stop);
            }
        }
    }
}

fn draw(pieces: &[Piece], random: &mut Stream, out: &mut String) {
    for piece in pieces {
        match piece {
            Piece::Text(text) => out.push_str(text),
            Piece::Choice(options) => {
                if let Some(option) = random.pick(options) {
                    draw(option, random, out);
                }
            }
        }
    }
}

fn all(pieces: &[Piece]) -> Vec<String> {
    let mut texts = vec![String::new()];
    for piece in pieces {
        let endings = match piece {
            Piece::Text(text) => vec![text.clone()],
            Piece::Choice(options) => options.iter().flat_map(|o| all(o)).collect(),
        };
        texts = texts.iter().flat_map(|start| endings.iter().map(move |end| format!("{start}{end}"))).collect();
    }
    texts
}

/// Single spaces, none before a comma or a full stop, a capital at the start and a full stop at the end.
fn tidy(text: &str) -> String {
    let mut words: Vec<&str> = text.split_whitespace().collect();
    let mut tidy = String::with_capacity(text.len() + 1);
    for (i, word) in words.drain(..).enumerate() {
        if i > 0 && !word.starts_with([',', '.']) {
            tidy.push(' ');
        }
        tidy.push_str(word);
    }
    if !tidy.ends_with('.') {
        tidy.push('.');
    }
    if let Some(first) = tidy.get_mut(0..1) {
        first.make_ascii_uppercase();
    }
    tidy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(name: &str) -> &'static str {
        match name {
            "side" => "left",
            "size" => "[small|large]",
            _ => "?",
        }
    }

    #[test]
    fn every_combination_is_written_out_and_tidied() {
        let template = Template::new("[a |]{size} {side} effusion [is [seen|noted]|]", &slots);
        let mut all = template.all();
        all.sort();
        let mut expected: Vec<String> = ["A ", ""]
            .iter()
            .flat_map(|a| ["small", "large"].map(|size| format!("{a}{size}")))
            .flat_map(|start| ["", " is seen", " is noted"].map(|end| format!("{start} left effusion{end}.")))
            .map(|s| s[0..1].to_uppercase() + &s[1..])
            .collect();
        expected.sort();
        assert_eq!(all, expected);
    }

    #[test]
    fn a_drawn_sentence_is_one_of_the_written_out_ones() {
        let template = Template::new("there is [a {size}|one] {side} [nodule|mass] , [new|old]", &slots);
        let all = template.all();
        let mut random = Stream::new(5);
        let drawn: std::collections::BTreeSet<String> = (0..400).map(|_| template.draw(&mut random)).collect();
        assert!(drawn.iter().all(|s| all.contains(s)));
        assert_eq!(drawn.len(), all.len(), "400 draws reach each of the {} sentences", all.len());
        assert!(all.contains(&"There is one left mass, old.".to_owned()));
    }
}
