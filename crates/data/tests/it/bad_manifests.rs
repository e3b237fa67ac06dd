//! Manifests with every fault there is: each message as it stands in `golden/bad_manifests.txt`.

use std::fmt::Write as _;
use std::path::Path;

use data::source::pairs_csv::{PairsConfig, read};

use crate::support::{films, golden_path, unsalted, write, write_quickly};

/// A manifest, the columns of labels it is read with, and its name.
type Case = (&'static str, &'static [&'static str], Vec<u8>);

const HEADER: &str = "image_path,text,patient_id,study_id,split";

/// The usual header and some rows.
fn rows(rows: &str) -> Vec<u8> {
    format!("{HEADER}\n{rows}").into_bytes()
}

/// Faults of a file as a whole, of its header and of its quotes.
fn files() -> Vec<Case> {
    let long = "x".repeat(10 << 20);
    vec![
        ("an empty file", &[], Vec::new()),
        ("a byte order mark alone", &[], b"\xEF\xBB\xBF".to_vec()),
        ("a header alone", &[], rows("")),
        ("no column of images", &[], b"path,text\na.png,x\n".to_vec()),
        ("columns of another case", &[], b"Image_Path,text\na.png,x\n".to_vec()),
        ("semicolons", &[], b"image_path;text\na.png;x\n".to_vec()),
        ("tabs", &[], b"image_path\ttext\na.png\tx\n".to_vec()),
        ("UTF-16", &[], "image_path\na.png\n".encode_utf16().flat_map(u16::to_le_bytes).collect()),
        ("a workbook", &[], b"PK\x03\x04\x14\0\x06\0\x08\0\0\0!\0".to_vec()),
        ("a column twice", &[], b"image_path,text,image_path\na.png,x,b.png\n".to_vec()),
        ("no column of labels", &["Edema"], rows("a.png,x,p1,s1,train\n")),
        ("too few fields", &[], rows("a.png,x,p1,s1,train\nb.png,x,p2,s2\n")),
        ("too many fields", &[], rows("a.png,x, y,p1,s1,train\n")),
        ("one field too few in a table of one column more", &[], b"image_path,text,\na.png,x\n".to_vec()),
        ("a quote that is never closed", &[], rows("a.png,\"x,p1,s1,train\nb.png,x,p2,s2,train\n")),
        ("a quote that is closed late", &[], rows("a.png,\"x,p1,s1,train\nb.png,\"x\",p2,s2,train\n")),
        ("a quote within a quoted field", &[], rows("a.png,\"a \"small\" nodule\",p1,s1,train\n")),
        ("a quote in the last field", &[], b"image_path,text\na.png,\"x\nb.png,y\n".to_vec()),
        ("a quote in the header", &[], b"image_path,\"text\na.png,x\n".to_vec()),
        ("a NUL", &[], rows("a.png,x\0y,p1,s1,train\n")),
        ("a field of ten MiB", &[], rows(&format!("a.png,{long},p1,s1,train\n"))),
    ]
}

/// Faults of rows.
fn fields() -> Vec<Case> {
    let flags = |rows: &str| format!("image_path,study_id,Edema\n{rows}").into_bytes();
    vec![
        ("no path", &[], rows(",x,p1,s1,train\n")),
        ("blank fields", &[], rows(" , , , , \n")),
        ("an absolute path", &[], rows("/secret.png,x,p1,s1,train\n")),
        ("a path out of the folder", &[], rows("in/../../secret.png,x,p1,s1,train\n")),
        ("a path of another system", &[], rows("in\\secret.png,x,p1,s1,train\n")),
        ("a path with a drive", &[], rows("c:secret.png,x,p1,s1,train\n")),
        ("a path with a NUL", &[], rows("a.png\0secret,x,p1,s1,train\n")),
        ("a path of a web page", &[], rows("https://example.org/secret.png,x,p1,s1,train\n")),
        ("no such file", &[], rows("secret.png,x,p1,s1,train\n")),
        ("a folder", &[], rows("in,x,p1,s1,train\n")),
        ("an image twice", &[], rows("a.png,x,p1,s1,train\nb.png,x,p2,s2,train\na.png,x,p1,s1,train\n")),
        ("an unknown split", &[], rows("a.png,x,p1,s1,secret\nb.png,x,p2,s2,\n")),
        ("a label that is no number", &["Edema"], flags("a.png,s1,yes\nb.png,s2,1\n")),
        ("labels out of range", &["Edema"], flags("a.png,s1,2\nb.png,s2,0.5\nin/c.png,s3,-2\n")),
        ("labels that look like numbers", &["Edema"], flags("a.png,s1,1e0\nb.png,s2,NaN\nin/c.png,s3,0x1\n")),
        ("a decimal comma", &["Edema"], flags("a.png,s1,1,0\n")),
        ("a study with two texts", &[], rows("a.png,x y z,p1,s1,train\nb.png,z y x,p1,s1,train\n")),
        ("a study in two splits", &[], rows("a.png,x,p1,s1,train\nb.png,x,p1,s1,test\n")),
        ("a patient in two splits", &[], rows("a.png,x,p1,s1,train\nb.png,x,p1,s2,test\n")),
        (
            "many faults at once",
            &[],
            rows("a.png,x,p1,s1,never\n\nb.png,x\n../x,x,p2,s2,train\n,\0,p3,s3,train\na.png,\"x\"y,p,s,test\n"),
        ),
    ]
}

fn message(dir: &Path, labels: &[&str], csv: &[u8]) -> String {
    let file = write(dir, "pairs.csv", csv);
    let label_columns = labels.iter().map(|&name| name.to_owned()).collect();
    let error = read(&file, &PairsConfig { label_columns, ..PairsConfig::default() }).unwrap_err();
    assert_eq!(error.exit_code(), if error.to_string().contains("no column \"") { 2 } else { 3 }, "{error}");
    unsalted(&error.to_string()).replace(dir.to_str().unwrap(), "DIR")
}

/// A folder with three images.
fn folder() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, film) in ["a.png", "b.png", "in/c.png"].iter().zip(films(3)) {
        write(dir.path(), name, &film);
    }
    dir
}

#[test]
fn each_message_says_what_where_why_and_what_next() {
    let dir = folder();
    let mut cases = files();
    cases.extend(fields());
    assert!(cases.len() >= 40, "{}", cases.len());
    let mut all = String::new();
    for (name, labels, csv) in cases {
        let text = message(dir.path(), labels, &csv);
        // No value of a row is private to this test but those that say so.
        assert!(!text.contains("secret"), "{name}: {text}");
        writeln!(all, "== {name}\n{text}\n").unwrap();
    }
    let found = Path::new(env!("CARGO_TARGET_TMPDIR")).join("bad_manifests.txt");
    write_quickly(&found, all.as_bytes());
    let expected = std::fs::read_to_string(golden_path("bad_manifests.txt")).unwrap_or_default();
    assert!(all == expected, "other messages than in the golden file: compare it with {}", found.display());
}

#[test]
fn marks_line_ends_and_encodings_of_other_systems_are_no_faults() {
    let dir = folder();
    let plain = rows("a.png,\"one, \"\"two\"\"\",p1,s1,train\nb.png,na\u{ef}ve words here,p2,s2,test\n");
    let text = String::from_utf8(plain.clone()).unwrap();
    let crlf = text.replace('\n', "\r\n");
    let marked = format!("\u{feff}{crlf}");
    let unended = text.trim_end();
    let legacy: Vec<u8> = text.chars().map(|c| c as u8).collect();
    let spaced = text.replace(",train", ", Training ").replace("image_path", " image_path ");
    let quoted = text.replace("a.png", "\"a.png\"").replace("p1", "\"p1\"").replace("image_path", "\"image_path\"");
    let cr = text.replace('\n', "\r");
    let told = |csv: &[u8]| {
        let data = read(&write(dir.path(), "pairs.csv", csv), &PairsConfig::default()).unwrap();
        let study = |s: &data::record::Study| format!("{:?} {:?} {:?} {:?}", s.study_id, s.sentences, s.split, s.row);
        data.studies.iter().map(study).collect::<Vec<String>>()
    };
    let expected = told(&plain);
    assert_eq!(expected.len(), 2);
    let texts = [&crlf, &marked, unended, &spaced, &quoted, &cr].map(str::as_bytes);
    for csv in texts.into_iter().chain([legacy.as_slice()]) {
        assert_eq!(told(csv), expected, "{}", String::from_utf8_lossy(csv));
    }
}

/// As many rows as MIMIC-CXR-JPG has. Timed in an optimised build:
/// `cargo test -p data --release -- --ignored as_many_rows_as_mimic --nocapture`.
#[test]
#[cfg(target_os = "linux")]
#[ignore = "it measures an optimised build"]
fn as_many_rows_as_mimic_are_read_in_three_seconds() {
    const ROWS: usize = 377_110;
    let dir = folder();
    // A thousand files, listed under as many names of their folder as it takes.
    for i in 0..1000 {
        write_quickly(&dir.path().join(format!("in/{i}.png")), b"");
    }
    for i in 0..=ROWS / 1000 {
        std::os::unix::fs::symlink("in", dir.path().join(format!("p{i}"))).unwrap();
    }
    let mut csv = format!("{HEADER}\n");
    for i in 0..ROWS {
        let report = "The heart size is normal. The lungs are clear, without effusion or pneumothorax.";
        let (folder, file) = (i / 1000, i % 1000);
        writeln!(csv, "p{folder}/{file}.png,\"{report} Study {}.\",p{},s{},train", i / 2, i / 6, i / 2).unwrap();
    }
    let file = write(dir.path(), "pairs.csv", csv.as_bytes());
    // What this thread has run, in ns: time spent waiting for a busy machine is not counted.
    let run = || {
        let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
        told.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    let (start, before) = (std::time::Instant::now(), run());
    let data = read(&file, &PairsConfig::default()).unwrap();
    let seconds = (run() - before) as f64 * 1e-9;
    println!("{ROWS} rows in {seconds:.2} s, {:.2} s by the clock", start.elapsed().as_secs_f64());
    assert_eq!((data.studies.len(), data.studies[0].sentences.len()), (ROWS.div_ceil(2), 3));
    assert!(seconds < 3.0, "{seconds}");
}
