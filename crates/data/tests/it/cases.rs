//! Properties over many random cases, drawn from the project's own streams: a case costs microseconds, so that a hundred
//! thousand of each fit into every test run.

use std::panic::{AssertUnwindSafe, catch_unwind};

use data::rng::{Purpose, Stream, stream};
use rayon::prelude::*;

/// Cases of each property.
pub(crate) const CASES: u64 = 100_000;

/// Calls `property` with a stream for each of [`CASES`] cases, on all cores. `seed` tells properties apart. A case that
/// fails is called again here, where its message is seen.
pub(crate) fn check(seed: u64, property: impl Fn(&mut Stream) + Sync) {
    let call = |case| property(&mut stream(seed, Purpose::Control, 0, case));
    let failed = (0..CASES).into_par_iter().find_any(|&case| catch_unwind(AssertUnwindSafe(|| call(case))).is_err());
    if let Some(case) = failed {
        call(case);
        panic!("case {case} failed once and then passed");
    }
}

/// One of some values.
pub(crate) fn pick<T: Copy>(draws: &mut Stream, from: &[T]) -> T {
    from[draws.below(from.len())]
}

/// Characters that rules for text tend to forget: marks and line ends of other systems, letters that change their length
/// with their case, digits that are not ASCII, marks that combine, a NUL.
const RARE: [char; 24] = [
    '\0',
    '\t',
    '\r',
    '\u{b}',
    '\u{85}',
    '\u{a0}',
    '\u{2028}',
    '\u{3000}',
    '\u{feff}',
    '\u{200d}',
    '\u{301}',
    '\u{fffd}',
    '\u{df}',
    '\u{130}',
    '\u{1e9e}',
    '\u{3b1}',
    '\u{663}',
    '\u{b2}',
    '\u{2167}',
    '\u{4e2d}',
    '\u{1f9b4}',
    '\u{201c}',
    '\u{2019}',
    '\u{2022}',
];

/// A character: mostly a visible one of ASCII, sometimes a rare one, sometimes any at all.
pub(crate) fn character(draws: &mut Stream) -> char {
    match draws.below(8) {
        0 => pick(draws, &RARE),
        1 => char::from_u32(draws.below(0x11_0000) as u32).unwrap_or('\u{fffd}'),
        _ => char::from(b' ' + draws.below(95) as u8),
    }
}

/// Text of at most `most` pieces: those given, short words, numbers and characters.
pub(crate) fn text(draws: &mut Stream, pieces: &[&str], most: usize) -> String {
    let mut text = String::new();
    for _ in 0..draws.below(most + 1) {
        match draws.below(6) {
            0 => (0..=draws.below(5)).for_each(|_| text.push(char::from(b'a' + draws.below(26) as u8))),
            1 => text.push_str(&draws.below(200).to_string()),
            2 => text.push(character(draws)),
            _ => text.push_str(pick(draws, pieces)),
        }
    }
    text
}

/// At most `most` pieces, among them single bytes of any value.
pub(crate) fn bytes(draws: &mut Stream, pieces: &[&[u8]], most: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    for _ in 0..draws.below(most + 1) {
        match draws.below(4) {
            0 => bytes.push(draws.below(256) as u8),
            _ => bytes.extend_from_slice(pick(draws, pieces)),
        }
    }
    bytes
}
