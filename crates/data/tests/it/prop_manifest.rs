//! Properties of reading a CSV of pairs: whatever wrote it, the same fields come out.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use data::demographics::Demographics;
use data::error::DataError;
use data::record::{Dataset, ImageSource, Phi, Split, Study};
use data::report::{TextRules, sentences};
use data::rng::Stream;
use data::source::pairs_csv::{PairsConfig, parse, read};

use crate::cases::{bytes, character, check, pick, text};
use crate::fuzz_data::written_manifest;
use crate::support::{films, write_quickly};

const COLUMNS: [&str; 9] =
    ["image_path", "text", "labels", "patient_id", "study_id", "view", "split", "more", "\"odd\", name"];
/// What makes a field hard to write.
const HARD: [&str; 14] =
    ["\"", "\"\"", ",", "\n", "\r\n", "\r", ";", "\t", " ", "'", "\\", "\u{feff}", "Clear. ", "na\u{ef}ve"];

/// The fields of one row that a data set shows, without space around them.
#[derive(Debug, Clone, PartialEq)]
struct Fields {
    text: String,
    labels: Vec<String>,
    patient: String,
    study: String,
    view: String,
    split: Split,
}

fn field(draws: &mut Stream) -> String {
    text(draws, &HARD, 6).replace('\0', "")
}

fn fields(draws: &mut Stream) -> Fields {
    let trimmed = |draws: &mut Stream| field(draws).trim().to_owned();
    let names = ["Edema", "Pleural Effusion", "a \"quoted\" one", "two\nlines", "comma, here"];
    let labels = names.iter().filter(|_| draws.chance(0.3)).map(|&name| name.to_owned()).collect();
    let (text, patient, study, view) = (trimmed(draws), trimmed(draws), trimmed(draws), trimmed(draws));
    Fields { text, labels, patient, study, view, split: pick(draws, &[Split::Train, Split::Validate, Split::Test]) }
}

/// How a program may write a table.
struct Dialect {
    mark: &'static [u8],
    line_end: &'static str,
    last_line_end: &'static str,
    blank_lines: bool,
    /// Text in Windows-1252, with letters that are no UTF-8 there.
    legacy: bool,
}

fn dialect(draws: &mut Stream) -> Dialect {
    let line_end = pick(draws, &["\n", "\r\n"]);
    Dialect {
        mark: pick(draws, &[b"\xEF\xBB\xBF", b""]),
        line_end,
        last_line_end: pick(draws, &[line_end, ""]),
        blank_lines: draws.chance(0.2),
        legacy: draws.chance(0.2),
    }
}

/// A field as it stands in the file: in quotes where it must be, and where the writer likes it.
fn quoted(field: &str, draws: &mut Stream) -> String {
    let must = field.contains([',', '"', '\n', '\r']);
    if must || draws.chance(0.3) { format!("\"{}\"", field.replace('"', "\"\"")) } else { field.to_owned() }
}

fn write(table: &[Vec<String>], dialect: &Dialect, draws: &mut Stream) -> Vec<u8> {
    let mut lines: Vec<String> = Vec::new();
    for row in table {
        let row: Vec<String> = row.iter().map(|field| quoted(field, draws)).collect();
        lines.push(row.join(","));
        if dialect.blank_lines && draws.chance(0.5) {
            lines.push(String::new());
        }
    }
    let mut text = lines.join(dialect.line_end);
    text.push_str(dialect.last_line_end);
    let mut bytes = dialect.mark.to_vec();
    if dialect.legacy {
        // No byte of this text can be part of a character of UTF-8 before ASCII.
        bytes.extend(text.chars().map(|c| u8::try_from(u32::from(c)).unwrap()));
    } else {
        bytes.extend_from_slice(text.as_bytes());
    }
    bytes
}

/// The header and the rows in some order of the columns; in places a split has another name, and space stands around.
fn table(rows: &[Fields], draws: &mut Stream) -> Vec<Vec<String>> {
    let mut order: Vec<usize> = (0..COLUMNS.len()).collect();
    (0..order.len()).for_each(|i| order.swap(i, i + draws.below(COLUMNS.len() - i)));
    let pad = |text: &str, draws: &mut Stream| format!("{}{text}{}", pick(draws, &["", " "]), pick(draws, &["", "\t"]));
    let mut lines = vec![COLUMNS.map(|name| pad(name, draws)).to_vec()];
    for (i, row) in rows.iter().enumerate() {
        let split = match row.split {
            Split::Train => ["train", "TRAINING"],
            Split::Validate => ["val", "Valid"],
            Split::Test => ["test", "Testing"],
        };
        let labels = row.labels.join("|");
        let more = field(draws);
        let all = [
            &*format!("films/{i}.png"),
            &row.text,
            &labels,
            &row.patient,
            &row.study,
            &row.view,
            pick(draws, &split),
            &more,
            "",
        ];
        lines.push(all.map(|field| pad(field, draws)).to_vec());
    }
    lines.into_iter().map(|line| order.iter().map(|&i| line[i].clone()).collect()).collect()
}

/// Text that Windows-1252 can hold.
fn latin(text: &str) -> String {
    text.replace(|c: char| !c.is_ascii(), "\u{e9}")
}

/// Whether the rows put a patient into two splits.
fn leaks(rows: &[Fields]) -> bool {
    let mut parts = HashMap::new();
    rows.iter().enumerate().any(|(i, row)| *parts.entry(patient(row, i)).or_insert(row.split) != row.split)
}

fn patient(row: &Fields, i: usize) -> String {
    match (row.patient.as_str(), row.study.as_str()) {
        ("", "") => format!("row {}", i + 1),
        ("", study) => format!("study {study}"),
        (patient, _) => patient.to_owned(),
    }
}

#[test]
fn any_table_reads_back_whoever_wrote_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pairs.csv");
    let text = TextRules { keep_sections: false, min_tokens: 1 };
    let config = PairsConfig { group_rows: false, text: text.clone(), ..PairsConfig::default() };
    check(31, |draws| {
        let dialect = dialect(draws);
        let mut rows: Vec<Fields> = (0..=draws.below(4)).map(|_| fields(draws)).collect();
        let mut table = table(&rows, draws);
        if dialect.legacy {
            table.iter_mut().flatten().for_each(|field| *field = latin(field));
            for row in &mut rows {
                for field in [&mut row.text, &mut row.patient, &mut row.study, &mut row.view] {
                    *field = latin(field);
                }
            }
        }
        let content = write(&table, &dialect, draws);
        let shown = String::from_utf8_lossy(&content).into_owned();
        let data = match parse(&file, content, &config) {
            Err(DataError::Leak { .. }) => return assert!(leaks(&rows), "{shown:?}"),
            read => read.unwrap_or_else(|error| panic!("{error}: {shown:?}")),
        };
        assert!(!leaks(&rows), "{shown:?}");
        assert_eq!(data.studies.len(), rows.len(), "{shown:?}");
        for (i, (row, study)) in rows.iter().zip(&data.studies).enumerate() {
            let ImageSource::File(path) = &study.images[0] else { panic!("a file") };
            assert_eq!(*path.expose(), dir.path().join(format!("films/{i}.png")));
            let sentences: Vec<&str> = study.sentences.iter().map(|s| s.expose().as_str()).collect();
            assert_eq!(sentences, text.sentences(&row.text), "{shown:?}");
            assert_eq!((study.patient_id.expose(), study.row), (&patient(row, i), i + 1), "{shown:?}");
            let name = if row.study.is_empty() { format!("row {}", i + 1) } else { row.study.clone() };
            assert_eq!((study.study_id.expose(), &study.view, study.split), (&name, &row.view, row.split), "{shown:?}");
            let present = data.classes.iter().zip(&study.labels).filter(|(_, label)| **label == Some(true));
            let mut present: Vec<&String> = present.map(|(name, _)| name).collect();
            let mut expected: Vec<&String> = row.labels.iter().collect();
            present.sort();
            expected.sort();
            assert_eq!(present, expected, "{shown:?}");
        }
    });
}

/// Headers with and without what else is looked for.
const HEADERS: [&[u8]; 3] = [b"image_path,split,patient_id\n", b"image_path,labels\r\n", b"image_path\n"];

/// A data set as a source gives it.
fn dataset(draws: &mut Stream) -> Dataset {
    let classes = ["a", "+b", "-c", "Pleural Effusion", "x, \"y\""].map(str::to_owned).to_vec();
    let pieces =
        ["Impression: ", "FINDINGS:", "Clear lungs. ", "\n", "1. ", "- ", "Dr. ", ". ", "\"", ", ", "x:", "(2) "];
    let study = |i: usize, draws: &mut Stream| {
        let report = text(draws, &pieces, 20).replace('\0', "");
        let label = |draws: &mut Stream| pick(draws, &[None, Some(true), Some(false)]);
        // In some studies every class is labelled.
        let whole = draws.chance(0.5);
        let labels = classes.iter().map(|_| if whole { Some(draws.chance(0.5)) } else { label(draws) }).collect();
        Study {
            patient_id: Phi::new(format!("p{i}\u{e9}, \"{}\"", character(draws)).replace('\0', "").trim().to_owned()),
            study_id: Phi::new(format!("s{i}")),
            images: vec![ImageSource::File(Phi::new(PathBuf::new())); 1 + draws.below(2)],
            sentences: sentences::split(&report).into_iter().map(|s| Phi::new(s.to_owned())).collect(),
            labels,
            view: "AP".to_owned(),
            demographics: Demographics::default(),
            split: pick(draws, &[Split::Train, Split::Validate, Split::Test]),
            row: i + 1,
        }
    };
    let studies = (0..=draws.below(3)).map(|i| study(i, draws)).collect();
    Dataset { name: String::new(), classes, studies }
}

#[test]
fn a_written_manifest_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("pairs.csv");
    check(32, |draws| written_manifest(&file, &dataset(draws)));
}

#[test]
fn any_bytes_are_a_table_or_an_error_that_shows_none_of_them() {
    let secret: &[u8] = b"jane-doe";
    let pieces: [&[u8]; 16] = [
        b",",
        b",",
        b",,,",
        b"\n",
        b"\r\n",
        b"\"",
        b"\"\"",
        b"\xEF\xBB\xBF",
        b"\0",
        b"a.png",
        b"../",
        b"/",
        b"train",
        b"|",
        b"+x|-y",
        secret,
    ];
    let file = Path::new("pairs.csv");
    check(33, |draws| {
        let mut content = bytes(draws, &pieces, 30);
        if draws.chance(0.8) {
            let header: &[u8] = pick(draws, &HEADERS);
            content.splice(0..0, header.iter().copied());
            if let Err(error) = parse(file, content, &PairsConfig::default()) {
                let message = error.to_string();
                assert!(!message.contains("jane-doe"), "{message}");
            }
        } else {
            let _ = parse(file, content, &PairsConfig::default());
        }
    });
}

#[test]
fn no_image_that_is_listed_twice_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let names: Vec<String> = (0..10).map(|i| format!("{i}.png")).collect();
    for name in &names {
        crate::support::write(dir.path(), name, &films(1)[0]);
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
