//! What the reports of a source lack.

use serde::Serialize;

use super::sections;

/// What stands in a report of MIMIC-CXR for what was taken out of it.
pub(crate) const MARK: &str = "___";

/// Counts of reports, by what their reader should know of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct TextCounts {
    /// Studies whose report is blank or missing.
    pub empty: usize,
    /// Reports with neither findings nor impression under a header of their own; they are taken whole.
    pub without_findings_or_impression: usize,
    /// Reports from which something was taken out to protect the patient (`___`).
    pub with_deidentification_marks: usize,
    /// Fields that are not UTF-8 and were read as Windows-1252.
    pub fields_not_utf8: usize,
}

impl TextCounts {
    /// Counts the report of one study.
    pub fn add(&mut self, report: &str) {
        let is_empty = report.trim().is_empty();
        self.empty += usize::from(is_empty);
        self.without_findings_or_impression += usize::from(!is_empty && !sections::has_kept(report));
        self.with_deidentification_marks += usize::from(report.contains(MARK));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_report_is_counted_for_what_it_lacks() {
        let mut counts = TextCounts::default();
        for report in ["", " \n ", "FINDINGS: Clear.", "Clear lungs.", "HISTORY: ___ year old.", "IMPRESSION: ___."] {
            counts.add(report);
        }
        let expected = TextCounts {
            empty: 2,
            without_findings_or_impression: 2,
            with_deidentification_marks: 2,
            fields_not_utf8: 0,
        };
        assert_eq!(counts, expected);
    }
}
