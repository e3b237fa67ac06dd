//! Sections of MIMIC-CXR's free-text reports, by the rules of the data set's own section script.
//!
//! The rules are literal, with their quirks, so that texts agree with those that published models were trained on. For
//! reports from elsewhere, [`super::sections`] is more forgiving.
//!
//! # Source
//! methods.md, section 5.1: the script that accompanies MIMIC-CXR, which MGCA runs unchanged.

/// Name of the text before the first header.
pub const PREAMBLE: &str = "preamble";
/// Name of the only section of a report without headers.
pub const FULL_REPORT: &str = "full report";
/// Name of what follows the first blank line of the last section, where findings and impression are both missing.
pub const LAST_PARAGRAPH: &str = "last_paragraph";

/// What separates the paragraphs of a report: a line that holds one blank.
const PARAGRAPH_BREAK: &str = "\n \n";

/// Names that stand for another name.
const ALIASES: [(&str, &[&str]); 8] = [
    (
        "impression",
        &[
            "conclusion",
            "findings and impression",
            "findings/impression",
            "findings/ impression",
            "ndication",
            "impresson",
            "imprression",
            "imoression",
            "impressoin",
            "imprssion",
            "impresion",
            "imperssion",
            "mpression",
            "impession",
        ],
    ),
    (
        "findings",
        &[
            "chest, two views",
            "finding",
            "findins",
            "findindgs",
            "findgings",
            "findngs",
            "findnings",
            "finidngs",
            "reference findings",
        ],
    ),
    (
        "comparison",
        &[
            "comparisons",
            "reference exam",
            "comparison exam",
            "comparison film",
            "comparision",
            "comparsion",
            "comparrison",
            "comparisions",
        ],
    ),
    ("indication", &["reason for examination", "reason for exam", "clinical indication", "idication"]),
    ("history", &["clinical history", "clinical information", "patient history", "pfi"]),
    ("examination", &["exam", "type of examination"]),
    ("recommendations", &["recommendation", "recommendation(s)"]),
    ("wet read", &["wetread"]),
];

/// Names that a longer name is reduced to, tried in this order.
const CONTAINED: [&str; 5] = ["impression", "findings", "history", "comparison", "addendum"];

/// Parts of titles under which findings are told.
const TITLES: [&str; 18] = [
    "chest",
    "portable",
    "pa and lateral",
    "lateral and pa",
    "ap and lateral",
    "lateral and ap",
    "frontal and",
    "two views",
    "frontal view",
    "pa view",
    "ap view",
    "one view",
    "lateral view",
    "bone window",
    "frontal upright",
    "frontal semi-upright",
    "ribs",
    "pa and lat",
];

/// Studies whose text the script takes from under another heading.
const OTHER_HEADING: [u32; 23] = [
    50_913_680, 59_363_654, 59_279_892, 59_768_032, 57_936_451, 50_058_765, 53_356_173, 53_202_765, 50_808_053,
    51_966_317, 50_743_547, 56_451_190, 59_067_458, 59_215_320, 55_124_749, 54_365_831, 59_087_630, 58_157_373,
    56_482_935, 58_375_018, 54_654_948, 55_157_853, 51_491_012,
];
/// Studies whose text the script cuts out by character offsets.
const OFFSETS: [u32; 23] = [
    50_525_523, 57_564_132, 59_982_525, 53_488_209, 54_875_119, 50_196_495, 56_579_911, 52_648_681, 59_889_364,
    53_514_462, 59_505_494, 53_182_247, 51_410_602, 56_412_866, 54_986_978, 59_003_148, 57_150_433, 56_760_320,
    59_562_049, 52_674_888, 55_258_338, 59_330_497, 52_119_491,
];
/// Studies that the script lists by offsets as well, as holding no finding at all.
const NO_FINDING: [u32; 8] =
    [58_235_663, 50_798_377, 54_168_089, 53_071_062, 56_724_958, 54_231_141, 53_607_029, 52_035_334];

/// Whether the script treats a study (its number, without the prefix `s`) by a rule of its own and so leaves it out of
/// `mimic_cxr_sectioned.csv`. There are 54.
pub fn is_special(study: u32) -> bool {
    OTHER_HEADING.contains(&study) || OFFSETS.contains(&study) || NO_FINDING.contains(&study)
}

/// One section of a report.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section<'a> {
    /// Its normalised name, in lower case.
    pub name: String,
    /// Its text as it stands in the report.
    pub text: &'a str,
}

/// The sections of a report, in order; at least one.
///
/// A header is a line break, one blank, capitals (also blanks and `()/,-`), a colon and white space. The first line
/// after a header is never searched for another one. Blank impressions and findings are left out. Lines must end with
/// `\n` alone.
pub fn sections(report: &str) -> Vec<Section<'_>> {
    let mut found = Vec::new();
    let mut next = header(report, 0);
    match &next {
        Some(first) => found.push(Section { name: PREAMBLE.to_owned(), text: &report[..first.name_start] }),
        None => found.push(Section { name: FULL_REPORT.to_owned(), text: report }),
    }
    while let Some(current) = next {
        // The line break itself may begin the next header.
        let resume = current.text_start + report[current.text_start..].find('\n').unwrap_or(0);
        next = header(report, resume);
        let end = next.as_ref().map_or(report.len(), |following| following.start);
        let name = normalise(&report[current.name_start..current.name_end]);
        found.push(Section { name, text: &report[current.text_start..end] });
    }
    let is_told = |name: &str| matches!(name, "impression" | "findings");
    found.retain(|section| !(is_told(&section.name) && section.text.trim().is_empty()));
    if !found.iter().any(|section| is_told(&section.name)) {
        split_last_paragraph(&mut found);
    }
    found
}

/// Moves what follows the first paragraph of the last section into a section of its own.
fn split_last_paragraph(found: &mut Vec<Section<'_>>) {
    let Some(end) = found.last_mut() else { return };
    if let Some((first, rest)) = end.text.split_once(PARAGRAPH_BREAK) {
        end.text = first;
        found.push(Section { name: LAST_PARAGRAPH.to_owned(), text: rest });
    }
}

/// The text of the last section of a name, without surrounding space.
pub fn last<'a>(sections: &[Section<'a>], name: &str) -> Option<&'a str> {
    sections.iter().rev().find(|section| section.name == name).map(|section| section.text.trim())
}

/// Where a header and its text lie (bytes).
struct Header {
    /// The line break.
    start: usize,
    name_start: usize,
    name_end: usize,
    text_start: usize,
}

/// The first header at or after `from`.
fn header(report: &str, from: usize) -> Option<Header> {
    let line_breaks = report[from..].match_indices("\n ").map(|(at, _)| from + at);
    line_breaks.into_iter().find_map(|start| {
        let name_start = start + 2;
        let is_name = |b: &u8| b.is_ascii_uppercase() || b" ()/,-".contains(b);
        let name_end = name_start + report.as_bytes()[name_start..].iter().take_while(|b| is_name(b)).count();
        let space = report[name_end..].strip_prefix(':')?.chars().next().filter(|c| c.is_whitespace())?;
        let text_start = name_end + 1 + space.len_utf8();
        (name_end > name_start).then_some(Header { start, name_start, name_end, text_start })
    })
}

/// The name of a section for the words of its header.
fn normalise(header: &str) -> String {
    let lower = header.to_ascii_lowercase();
    let name = lower.trim();
    let alias = ALIASES.iter().find(|(_, aliases)| aliases.contains(&name)).map(|&(name, _)| name);
    let contained = || CONTAINED.into_iter().find(|part| name.contains(part));
    let title = || TITLES.into_iter().any(|part| name.contains(part)).then_some("findings");
    alias.or_else(contained).or_else(title).unwrap_or(name).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(report: &str) -> Vec<String> {
        sections(report).into_iter().map(|section| section.name).collect()
    }

    fn pairs(report: &str) -> Vec<(String, &str)> {
        sections(report).into_iter().map(|section| (section.name, section.text)).collect()
    }

    fn list<'a>(expected: &[(&str, &'a str)]) -> Vec<(String, &'a str)> {
        expected.iter().map(|&(name, text)| (name.to_owned(), text)).collect()
    }

    // "A header is: newline, one blank, a run of characters from `[A-Z ()/,-]`, a colon, one whitespace character."
    #[test]
    fn a_header_needs_line_break_blank_capitals_colon_and_space() {
        let report = "Exam\n INDICATION: Cough.\n\n FINDINGS:\nClear.\n";
        let expected = [("preamble", "Exam\n "), ("indication", "Cough.\n"), ("findings", "Clear.\n")];
        assert_eq!(pairs(report), list(&expected));
        for none in [
            " FINDINGS: at the start",
            "x\nFINDINGS: no blank",
            "x\n\tFINDINGS: a tab",
            "x\n Findings: small letters",
            "x\n FINDINGS 2: a digit",
            "x\n FINDINGS:glued",
            "x\n FINDINGS:",
            "x\n FINDINGS ",
            "x\n : nameless",
            "",
        ] {
            assert_eq!(pairs(none), list(&[("full report", none)]), "{none:?}");
        }
        assert_eq!(names("x\n   CHEST (PA/LAT), AP-VIEW: a"), ["preamble", "findings"]);
    }

    // "After each header the search resumes after the next newline, so a header on the same line is not found."
    #[test]
    fn the_first_line_after_a_header_is_not_searched() {
        assert_eq!(names("\n NOTE: a IMPRESSION: b\n TECHNIQUE: c"), ["preamble", "note", "technique"]);
        // The white space of the header is its line break: the line below counts as its first one.
        let report = "\n NOTE:\n TECHNIQUE: b\n FINDINGS: c";
        assert_eq!(pairs(report), list(&[("preamble", "\n "), ("note", " TECHNIQUE: b"), ("findings", "c")]));
    }

    // "Names are lower-cased, stripped, then mapped: exact alias table -> ..."
    #[test]
    fn every_alias_is_mapped() {
        let expected = [
            (
                "impression",
                "conclusion|findings and impression|findings/impression|findings/ impression|ndication|impresson|\
                 imprression|imoression|impressoin|imprssion|impresion|imperssion|mpression|impession",
            ),
            (
                "findings",
                "chest, two views|finding|findins|findindgs|findgings|findngs|findnings|finidngs|reference findings",
            ),
            (
                "comparison",
                "comparisons|reference exam|comparison exam|comparison film|comparision|comparsion|comparrison|\
                 comparisions",
            ),
            ("indication", "reason for examination|reason for exam|clinical indication|idication"),
            ("history", "clinical history|clinical information|patient history|pfi"),
            ("examination", "exam|type of examination"),
            ("recommendations", "recommendation|recommendation(s)"),
            ("wet read", "wetread"),
        ];
        for (name, aliases) in expected {
            for alias in aliases.split('|') {
                let report = format!("\n {} : text", alias.to_uppercase());
                assert_eq!(names(&report), ["preamble", name], "{alias}");
            }
        }
    }

    // "... if the name contains impression / findings / history / comparison / addendum (tested in that order) -> that;
    // else if it contains one of {...} -> findings; else unchanged."
    #[test]
    fn longer_names_are_reduced_in_order() {
        for (header, name) in [
            ("FINDINGS OR IMPRESSION", "impression"),
            ("CHEST FINDINGS", "findings"),
            ("COMPARISON AND HISTORY", "history"),
            ("CHEST COMPARISON", "comparison"),
            ("ADDENDUM TO CHEST", "addendum"),
            ("TECHNIQUE", "technique"),
            ("LATERAL", "lateral"),
        ] {
            assert_eq!(names(&format!("\n {header}: text")), ["preamble", name], "{header}");
        }
        let titles = "chest|portable|pa and lateral|lateral and pa|ap and lateral|lateral and ap|frontal and|two views|\
                      frontal view|pa view|ap view|one view|lateral view|bone window|frontal upright|\
                      frontal semi-upright|ribs|pa and lat";
        for title in titles.split('|') {
            let report = format!("\n THE {} X: text", title.to_uppercase());
            assert_eq!(names(&report), ["preamble", "findings"], "{title}");
        }
    }

    // "Impression/findings sections that are blank are removed." and "For each wanted name the last section with that
    // name is taken."
    #[test]
    fn blank_sections_go_and_the_last_one_counts() {
        let report = "\n CHEST, PA AND LATERAL: \n\n FINDINGS: One.\n\n FINDINGS: Two.\n\n IMPRESSION: \n";
        let all = sections(report);
        assert_eq!(all.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["preamble", "findings", "findings"]);
        assert_eq!((last(&all, "findings"), last(&all, "impression")), (Some("Two."), None));
    }

    // "If neither exists and the last section contains newline-blank-newline, everything after the first such break
    // becomes `last_paragraph`."
    #[test]
    fn the_last_paragraph_stands_in_for_both() {
        let report = "\n HISTORY: Cough.\n \n Lungs are clear.\n \n Heart is normal.\n";
        let expected = [
            ("preamble", "\n "),
            ("history", "Cough."),
            ("last_paragraph", " Lungs are clear.\n \n Heart is normal.\n"),
        ];
        assert_eq!(pairs(report), list(&expected));
        assert_eq!(names("Title\n \nText"), ["full report", "last_paragraph"]);
        assert_eq!(names("\n HISTORY: Cough.\n\nNo blank in the empty line."), ["preamble", "history"]);
        assert_eq!(names("\n FINDINGS: Clear.\n \n Normal."), ["preamble", "findings"]);
    }

    // "23 studies use another heading and 31 are cut by fixed character offsets"
    #[test]
    fn there_are_54_special_studies() {
        let mut all = [&OTHER_HEADING[..], &OFFSETS, &NO_FINDING].concat();
        all.sort_unstable();
        all.dedup();
        assert_eq!((OTHER_HEADING.len(), OFFSETS.len() + NO_FINDING.len(), all.len()), (23, 31, 54));
        assert!(all.iter().all(|&study| is_special(study) && study / 10_000_000 == 5));
        assert!(!is_special(50_414_267));
    }
}
