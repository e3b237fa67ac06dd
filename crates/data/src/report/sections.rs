//! Sections of a report, found by their headers.

/// Headers whose text is kept: findings, and the impression under its usual names.
const KEPT: [&str; 9] = [
    "findings and impression",
    "findings/impression",
    "findings",
    "finding",
    "impression",
    "impressions",
    "conclusion",
    "conclusions",
    "opinion",
];

/// Headers that end a kept section.
const OTHER: [&str; 23] = [
    "addendum",
    "clinical history",
    "clinical indication",
    "clinical information",
    "comparison",
    "comparisons",
    "exam",
    "examination",
    "final report",
    "history",
    "indication",
    "indications",
    "notification",
    "procedure",
    "reason for exam",
    "reason for examination",
    "reason for study",
    "recommendation",
    "recommendations",
    "study",
    "technique",
    "views",
    "wet read",
];

struct Header {
    start: usize,
    end: usize,
    kept: bool,
}

/// Whether a report has a header whose text is kept.
pub(super) fn has_kept(report: &str) -> bool {
    report.match_indices(':').filter_map(|(colon, _)| header(report, colon)).any(|header| header.kept)
}

/// The texts under the headers that are kept, in order; the whole report where it has no such header.
///
/// A header is one of the usual names before a colon, at the start of a line or sentence, or anywhere in capitals.
pub fn kept(report: &str) -> Vec<&str> {
    let headers: Vec<Header> = report.match_indices(':').filter_map(|(colon, _)| header(report, colon)).collect();
    if !headers.iter().any(|header| header.kept) {
        return vec![report];
    }
    let ends = headers.iter().skip(1).map(|next| next.start).chain([report.len()]);
    headers.iter().zip(ends).filter(|(header, _)| header.kept).map(|(header, end)| &report[header.end..end]).collect()
}

/// The header that ends with the colon at `colon`.
fn header(report: &str, colon: usize) -> Option<Header> {
    let before = report[..colon].trim_end();
    let known = KEPT.iter().map(|&name| (name, true)).chain(OTHER.iter().map(|&name| (name, false)));
    // The longest name wins: "clinical history" is not "history".
    let (name, kept) = known.filter(|(name, _)| ends_with_ignoring_case(before, name)).max_by_key(|(n, _)| n.len())?;
    let start = before.len() - name.len();
    let lead = report[..start].trim_end_matches([' ', '\t']);
    let opens = lead.is_empty() || lead.ends_with(['\n', '\r', '.', '!', '?', ':', ';']);
    let separate = start == 0 || report[..start].ends_with(char::is_whitespace);
    let capitals = before[start..].chars().all(|c| !c.is_ascii_lowercase());
    (opens || (capitals && separate)).then_some(Header { start, end: colon + 1, kept })
}

fn ends_with_ignoring_case(text: &str, name: &str) -> bool {
    let tail = text.len().checked_sub(name.len()).and_then(|start| text.get(start..));
    tail.is_some_and(|tail| tail.eq_ignore_ascii_case(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kept_sections_end_at_the_next_header() {
        let report = "EXAMINATION: Chest PA. FINDINGS: Clear. HEART: normal. COMPARISON: None. Impression: Normal.";
        assert_eq!(kept(report), [" Clear. HEART: normal. ", " Normal."]);
        assert_eq!(kept("Findings and impression : a\nTechnique: b"), [" a\n"]);
    }

    #[test]
    fn a_text_without_headers_is_kept_whole() {
        for text in ["", "No effusion.", "The main findings: none", "History: cough.", "Imaging findings: patchy"] {
            assert_eq!(kept(text), [text]);
        }
    }

    #[test]
    fn capitals_mark_a_header_anywhere() {
        assert_eq!(kept("CLINICAL HISTORY: cough FINDINGS: clear TECHNIQUE: PA"), [" clear "]);
        assert_eq!(kept("INDICATION: fever\u{e9}FINDINGS: clear"), ["INDICATION: fever\u{e9}FINDINGS: clear"]);
    }
}
