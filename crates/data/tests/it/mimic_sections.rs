//! Sections and cleaning of MIMIC-CXR reports against the data set's own script: `scripts/golden/mimic_sections.py`.

use data::report::cleaning::mgca_sentences;
use data::report::mimic::sections;
use serde_json::Value;

use crate::support::golden_path;

#[test]
fn sections_and_sentences_are_those_of_the_scripts() {
    let golden = std::fs::read(golden_path("mimic_sections.json")).unwrap();
    let cases: Vec<Value> = serde_json::from_slice(&golden).unwrap();
    assert_eq!(cases.len(), 400);
    for case in &cases {
        let report = case["report"].as_str().unwrap();
        let expected: Vec<(String, String)> = serde_json::from_value(case["sections"].clone()).unwrap();
        let actual = sections(report).into_iter().map(|s| (s.name, s.text.to_owned()));
        assert_eq!(actual.collect::<Vec<_>>(), expected, "{report:?}");
        let expected: Vec<String> = serde_json::from_value(case["sentences"].clone()).unwrap();
        assert_eq!(mgca_sentences(report).0, expected, "{report:?}");
    }
}
