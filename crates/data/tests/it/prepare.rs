//! `roentgen-data prepare`: a source made ready once.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use assert_cmd::Command;
use data::image::decode::decode_file;
use data::prepare::{MANIFEST, PROVENANCE, Provenance};
use data::record::{Dataset, Phi, Split, Study};
use data::source::pairs_csv::{PairsConfig, read};
use data::source::phantom::{self, Prevalence};
use serde_json::Value;

use crate::support::{films, output, shared, write};

/// Prepares with `--json`; the object that is printed.
fn prepare(args: &[&str], out: &Path) -> Value {
    let (text, _) = output(&[&["prepare"], args, &["--json", "--out", out.to_str().unwrap()]].concat(), 0);
    serde_json::from_str(&text).unwrap()
}

fn provenance(folder: &Path) -> Provenance {
    serde_json::from_slice(&std::fs::read(folder.join(PROVENANCE)).unwrap()).unwrap()
}

/// Every file below a folder with its bytes, without the empty lock.
fn tree(folder: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut open = vec![folder.to_path_buf()];
    while let Some(dir) = open.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else {
                files.insert(path.strip_prefix(folder).unwrap().to_path_buf(), std::fs::read(&path).unwrap());
            }
        }
    }
    files
}

/// A study's labels by class, its sentences and all else that a manifest tells.
type Told = (String, String, Vec<String>, BTreeMap<String, Option<bool>>, String, Split, usize);

fn told(data: &Dataset) -> Vec<Told> {
    let of = |study: &Study| {
        let labels = data.classes.iter().cloned().zip(study.labels.iter().copied()).collect();
        let sentences = study.sentences.iter().map(|s| s.expose().clone()).collect();
        let (patient, name) = (study.patient_id.expose().clone(), study.study_id.expose().clone());
        (patient, name, sentences, labels, study.view.clone(), study.split, study.images.len())
    };
    data.studies.iter().map(of).collect()
}

/// A folder of pairs: three films with a report, a truncated one and one that is missing.
fn pairs(dir: &Path) -> PathBuf {
    let films = films(4);
    for (i, film) in films.iter().enumerate() {
        let bytes = if i == 3 { &film[..film.len() / 2] } else { film };
        write(dir, &format!("films/secret-{i}.png"), bytes);
    }
    let csv = "image_path,text,labels,patient_id,study_id,view,split\n\
               films/secret-0.png,\"Impression: Clear lungs. Normal.\",,p-secret,s1,PA,train\n\
               films/secret-1.png,,,p-secret,s1,PA,train\n\
               films/secret-2.png,\"A small effusion, left.\",effusion,p2,s2,AP,test\n\
               films/secret-3.png,Nothing to see here.,,p3,s3,PA,train\n\
               films/secret-4.png,,nodule,p4,s4,PA,train\n";
    write(dir, "pairs.csv", csv.as_bytes())
}

#[test]
fn phantoms_read_back_as_they_are() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let json = prepare(&["phantom", "--count", "40", "--seed", "3", "--size", "48"], &out);
    let keys: Vec<&String> = json.as_object().unwrap().keys().collect();
    assert_eq!(keys, ["patients", "studies", "images", "texts", "skipped", "seconds"]);
    for key in &keys[..4] {
        assert_eq!(json[key.as_str()], 40, "{key}");
    }
    assert_eq!(json["skipped"], serde_json::json!({}));
    let data = read(&out.join(MANIFEST), &PairsConfig::default()).unwrap();
    let mut source = phantom::dataset(3, 0..40, Prevalence::Natural, Split::Train);
    // A study whose labels are all negative keeps them, and so does a sentence too short to be learnt from.
    assert!(source.studies.iter().any(|study| study.labels.iter().all(|l| *l == Some(false))));
    for study in &mut source.studies {
        study.sentences.retain(|s| data::report::count_tokens(s.expose()) >= 3);
    }
    assert_eq!(told(&data), told(&source));
    let image = decode_file(&out.join("images/0000/0000007-00.png")).unwrap();
    assert_eq!(image, phantom::PhantomKey { seed: 3, index: 7, prevalence: Prevalence::Natural }.study().render(48));
}

#[test]
fn unreadable_images_are_counted_by_reason_and_named_by_row() {
    let dir = tempfile::tempdir().unwrap();
    let csv = pairs(&dir.path().join("in"));
    let out = dir.path().join("out");
    let json = prepare(&["pairs", "--root", csv.parent().unwrap().to_str().unwrap(), "--size", "32"], &out);
    assert_eq!(json["skipped"], serde_json::json!({"missing": 1, "truncated": 1}));
    // s3 has a text and no image, s4 has neither.
    let counts = ["patients", "studies", "images", "texts"].map(|key| json[key].as_u64().unwrap());
    assert_eq!(counts, [3, 3, 3, 3]);
    let found = provenance(&out);
    let skipped: Vec<_> =
        found.skipped.iter().map(|s| (s.manifest.as_str(), s.row, s.image, s.reason.as_str())).collect();
    assert_eq!(skipped, [("pairs.csv", 4, 1, "truncated"), ("pairs.csv", 5, 1, "missing")]);
    assert_eq!(found.counts.studies_without_image, 1);
    let data = read(&out.join(MANIFEST), &PairsConfig::default()).unwrap();
    assert_eq!(data.studies.iter().map(|s| s.images.len()).collect::<Vec<_>>(), [2, 1]);
    assert_eq!(data.studies[0].sentences, [Phi::new("Clear lungs.".to_owned())]);
    assert_eq!(data.studies[1].labels, [Some(true)]);
    let files = tree(&out);
    for name in files.keys() {
        assert!(!name.to_str().unwrap().contains("secret"), "{}", name.display());
    }
    let text = String::from_utf8(files[Path::new(PROVENANCE)].clone()).unwrap();
    assert!(!text.contains("secret") && !text.contains(dir.path().to_str().unwrap()), "{text}");
    let again = ["prepare", "pairs", "--root", csv.to_str().unwrap(), "--out", out.to_str().unwrap(), "--size", "32"];
    let (plain, _) = output(&again, 0);
    assert!(plain.contains("missing 1, truncated 1") && !plain.contains("secret"), "{plain}");
}

#[test]
fn two_calls_give_equal_bytes_and_known_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let csv = pairs(&dir.path().join("in"));
    let outs = ["one", "two"].map(|name| dir.path().join(name));
    for out in &outs {
        prepare(&["pairs", "--root", csv.to_str().unwrap(), "--size", "40"], out);
    }
    let files = tree(&outs[0]);
    assert_eq!(files, tree(&outs[1]));
    let found = provenance(&outs[0]);
    assert_eq!((found.size, found.images.len(), found.source.kind.as_str()), (40, 3, "pairs"));
    for (name, hash) in &found.images {
        assert_eq!(&data::fsx::sha256_hex(&files[Path::new(name)]), hash, "{name}");
    }
    assert_eq!(found.manifest_sha256, data::fsx::sha256_hex(&files[Path::new(MANIFEST)]));
}

#[test]
fn a_stopped_call_is_completed_and_nothing_else_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let args = ["phantom", "--count", "12", "--size", "32"];
    prepare(&args, &out);
    let whole = tree(&out);
    // As a kill leaves it: an image that is missing, one cut short, one without its line, a torn line, a temporary file.
    let image = |i: usize| out.join(format!("images/0000/{i:07}-00.png"));
    let lines: Vec<String> =
        std::fs::read_to_string(out.join("journal.jsonl")).unwrap().lines().map(str::to_owned).collect();
    std::fs::remove_file(image(2)).unwrap();
    let bytes = std::fs::read(image(5)).unwrap();
    write(&out, "images/0000/0000005-00.png", &bytes[..bytes.len() / 2]);
    write(&out, "journal.jsonl", format!("{}\n{}", lines[..11].join("\n"), &lines[11][..40]).as_bytes());
    write(&out, "images/0000/.0000011-00.png.tmp-1-1", b"half");
    std::fs::remove_file(out.join(PROVENANCE)).unwrap();
    let written = |i: usize| std::fs::metadata(image(i)).unwrap().modified().unwrap();
    let before: Vec<_> = [0, 1, 3, 4, 6, 7, 8, 9, 10].map(|i| (i, written(i))).to_vec();
    let json = prepare(&args, &out);
    assert_eq!(json["images"], 12);
    assert_eq!(tree(&out), whole);
    for (i, time) in before {
        assert_eq!(written(i), time, "image {i} was complete");
    }
}

#[test]
fn another_seed_size_or_source_file_is_never_taken_for_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = |name: &str, args: &[&str]| {
        let out = dir.path().join(name);
        prepare(args, &out);
        tree(&out)
    };
    let out = dir.path().join("out");
    prepare(&["phantom", "--count", "6", "--size", "32"], &out);
    // Fewer images than before, and other ones: what is left over disappears.
    let args = ["phantom", "--count", "4", "--size", "32", "--seed", "1"];
    prepare(&args, &out);
    assert_eq!(tree(&out), fresh("seed", &args));
    let args = ["phantom", "--count", "4", "--size", "24", "--seed", "1"];
    prepare(&args, &out);
    assert_eq!(tree(&out), fresh("size", &args));

    let csv = pairs(&dir.path().join("in"));
    let args = ["pairs", "--root", csv.to_str().unwrap(), "--size", "32"];
    let out = dir.path().join("pairs");
    prepare(&args, &out);
    // The truncated film is repaired.
    write(csv.parent().unwrap(), "films/secret-3.png", &films(4)[3]);
    let json = prepare(&args, &out);
    assert_eq!((json["images"].as_u64(), &json["skipped"]), (Some(4), &serde_json::json!({"missing": 1})));
    assert_eq!(tree(&out), fresh("repaired", &args));
}

#[test]
fn folders_of_others_and_wrong_calls_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "mine/notes.txt", b"keep");
    let mine = dir.path().join("mine");
    let (_, error) = output(&["prepare", "phantom", "--count", "2", "--out", mine.to_str().unwrap()], 2);
    assert!(error.contains("the folder holds other files"), "{error}");
    assert_eq!(tree(&mine).len(), 1);
    let out = dir.path().join("out");
    let (_, error) = output(&["prepare", "pairs", "--out", out.to_str().unwrap()], 2);
    assert!(error.contains("name them with --root") && !out.exists(), "{error}");
    output(&["prepare", "measles", "--out", out.to_str().unwrap()], 2);
    let csv = write(dir.path(), "in/pairs.csv", b"image_path\nsecret.png\n");
    let call = ["prepare", "pairs", "--root", csv.to_str().unwrap(), "--out", out.to_str().unwrap(), "--json"];
    let (text, error) = output(&call, 3);
    assert!(text.contains("\"skipped\":{\"missing\":1}") && error.contains("no image could be read"), "{text}{error}");
    assert!(!error.contains("secret"), "{error}");
}

#[test]
#[cfg(unix)]
fn a_prepared_folder_is_private_and_takes_one_call_at_a_time() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("a/out");
    prepare(&["phantom", "--count", "2", "--size", "16"], &out);
    for path in [out.clone(), out.join("images"), out.join("images/0000")] {
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o700, "{}", path.display());
    }
    let lock = std::fs::File::open(out.join(".lock")).unwrap();
    lock.lock().unwrap();
    let (_, error) = output(&["prepare", "phantom", "--count", "2", "--out", out.to_str().unwrap()], 1);
    assert!(error.contains("another process is preparing there"), "{error}");
}

#[test]
fn a_killed_call_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let args = ["prepare", "phantom", "--count", "150", "--size", "96", "--out", out.to_str().unwrap()];
    let program = Command::cargo_bin("roentgen-data").unwrap().get_program().to_owned();
    let mut child = std::process::Command::new(program).args(args).spawn().unwrap();
    let journal = out.join("journal.jsonl");
    let lines = || std::fs::read_to_string(&journal).map_or(0, |text| text.lines().count());
    while lines() < 5 && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!((5..150).contains(&lines()), "{}", lines());
    prepare(&args[1..6], &out);
    let fresh = dir.path().join("fresh");
    prepare(&args[1..6], &fresh);
    assert_eq!(tree(&out), tree(&fresh));
}

#[test]
fn real_pairs_are_prepared_whole() {
    let Some(folder) = shared("cxr-pairs") else { return };
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let json = prepare(&["pairs", "--root", folder.to_str().unwrap(), "--size", "64"], &out);
    assert_eq!((json["images"].as_u64(), json["patients"].as_u64()), (Some(233), Some(115)));
    let data = read(&out.join(MANIFEST), &PairsConfig::default()).unwrap();
    let source = read(&folder.join("pairs.csv"), &PairsConfig::default()).unwrap();
    assert_eq!((data.classes.clone(), told(&data)), (source.classes.clone(), told(&source)));
    for study in &data.studies {
        for image in &study.images {
            let data::record::ImageSource::File(path) = image else { panic!("a file") };
            let image = decode_file(path.expose()).unwrap();
            assert!(image.width.max(image.height) <= 64);
        }
    }
}
