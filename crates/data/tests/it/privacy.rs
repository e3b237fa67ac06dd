//! What messages tell of a sample: its manifest, its row and a salted hash of its study; the path on demand.

use std::path::Path;

use crate::support::{films, output, unsalted, write};

/// A manifest whose second image is cut short; `id` and `name` are the study and the start of the file names.
fn folder(dir: &Path) -> String {
    let films = films(2);
    write(dir, "secret-0.png", &films[0]);
    write(dir, "secret-1.png", &films[1][..films[1].len() / 2]);
    let csv = "image_path,text,patient_id,study_id,split\n\
               secret-0.png,secret words here,p-secret,s-secret,train\n\
               secret-1.png,secret words there,p-secret,s-other-secret,train\n";
    write(dir, "pairs.csv", csv.as_bytes()).to_str().unwrap().to_owned()
}

/// The hash that a message names a study by.
fn hash(message: &str) -> &str {
    let at = message.find("study #").unwrap() + "study ".len();
    &message[at..at + 9]
}

#[test]
fn messages_show_paths_on_demand_only() {
    let dir = tempfile::tempdir().unwrap();
    let csv = folder(dir.path());
    let sheet = dir.path().join("sheet.png");
    let show = ["show", &csv, "--out", sheet.to_str().unwrap()];
    let verify = ["verify", &csv, "--json"];
    for args in [show.as_slice(), &verify] {
        let (text, error) = output(args, 3);
        assert!(!text.contains("secret") && !error.contains("secret"), "{error}");
        assert!(unsalted(&error).contains("row 2, study #"), "{error}");
        assert!(error.contains("the image file is truncated: copy or download it again"), "{error}");
        // Another process, another salt: two of them are equal once in four thousand million.
        assert_ne!(hash(&error), hash(&output(args, 3).1));
        let (_, shown) = output(&[args, &["--show-paths"]].concat(), 3);
        let path = dir.path().join("secret-1.png");
        assert!(unsalted(&shown).contains(&format!("row 2, study #, image \"{}\"", path.display())), "{shown}");
        // The path alone: the id stays hidden, and so does the text.
        assert!(!shown.contains("other-secret") && !shown.contains("words"), "{shown}");
    }
}

#[test]
fn rows_of_one_study_have_one_hash() {
    let dir = tempfile::tempdir().unwrap();
    let csv = "image_path,study_id,split\n../x.png,s-secret,train\nx.png,s-secret,never\ny\x1b[31m.png,s-secret,train\nz.png,s2,train\n";
    let csv = write(dir.path(), "pairs.csv", csv.as_bytes());
    let (_, error) = output(&["stats", csv.to_str().unwrap(), "--show-paths"], 3);
    let lines: Vec<&str> = error.lines().filter(|line| line.contains("study #")).collect();
    assert_eq!(lines.len(), 4, "{error}");
    let hashes: Vec<&str> = lines.iter().map(|line| hash(line)).collect();
    assert!(hashes[0] == hashes[1] && hashes[1] == hashes[2] && hashes[2] != hashes[3], "{error}");
    // As the manifest names it, with what a terminal would obey spelt out.
    assert!(lines[2].contains("image \"y\\u{1b}[31m.png\", column \"image_path\""), "{error}");
    assert!(!error.contains('\x1b'), "{error:?}");
}
