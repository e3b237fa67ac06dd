//! Properties of manifests: what is listed twice is always found.

use std::fmt::Write as _;

use data::error::DataError;
use data::rng::Stream;
use data::source::pairs_csv::{PairsConfig, read};

use crate::support::{films, write, write_quickly};

#[test]
fn no_image_that_is_listed_twice_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..10).map(|i| format!("{i}.png")).collect();
    for name in &names {
        write(dir.path(), name, &films(1)[0]);
    }
    let file = dir.path().join("pairs.csv");
    let config = PairsConfig { group_rows: false, ..PairsConfig::default() };
    let mut random = Stream::new(31);
    let mut found = 0;
    for _ in 0..10_000 {
        let rows: Vec<&String> = (0..=random.below(8)).map(|_| &names[random.below(10)]).collect();
        let mut csv = "image_path\n".to_owned();
        for row in &rows {
            // The same file by other ways.
            let way = ["", "./", "././"][random.below(3)];
            writeln!(csv, "{way}{row}").unwrap();
        }
        // Not to the disk ten thousand times: the content is all that matters.
        write_quickly(&file, csv.as_bytes());
        let expected: Vec<usize> = (0..rows.len()).filter(|&i| rows[..i].contains(&rows[i])).map(|i| i + 1).collect();
        let repeated: Vec<usize> = match read(&file, &config) {
            Ok(_) => Vec::new(),
            Err(DataError::Rows { faults, .. }) => faults.iter().map(|fault| fault.sample.row).collect(),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(repeated, expected, "{csv}");
        found += expected.len();
    }
    assert!(found > 5000, "{found}");
}
