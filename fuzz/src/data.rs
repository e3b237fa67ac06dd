//! Targets of crate `data`. Each takes any bytes and panics where a promise of the crate is broken.

use std::path::Path;
use std::sync::OnceLock;

use data::error::DataError;
use data::fsx::{Folder, contained};
use data::image::decode::{MAX_ASPECT, MAX_PIXELS, decode_bytes};
use data::image::encode;
use data::prepare::ManifestWriter;
use data::record::{Dataset, ImageSource, Study};
use data::report::cleaning::{Cleaning, Part, ReportRules, mgca_sentences};
use data::report::mimic::{LAST_PARAGRAPH, last, sections};
use data::report::topics::Topics;
use data::report::words::Denials;
use data::report::{TextRules, count_tokens, sections as headers, sentences};
use data::source::mimic::{Keep, MimicSource};
use data::source::mura::{self, MuraSource};
use data::source::pairs_csv::{PairsConfig, parse};
use data::split::check_leaks;
use data::text::Tokenizer;

/// Largest image that is encoded again (px), so that an input takes milliseconds.
const MAX_ENCODED: usize = 1 << 16;
/// What separates the files of an input that stands for several.
const NEXT_FILE: &[u8] = b"\n====\n";

/// What a target does with an input.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 10] = [
    ("decode_image", decode_image),
    ("manifest_csv", manifest_csv),
    ("mimic_tables", mimic_tables),
    ("mura_lists", mura_lists),
    ("path", path),
    ("report_sections", report_sections),
    ("sentence_split", sentence_split),
    ("tokenizer_file", tokenizer_file),
    ("topics", topics),
    ("wordpiece", wordpiece),
];

/// An image file: within the limits, written and read again the same, and refused where it is cut short.
pub fn decode_image(input: &[u8]) {
    let Ok(image) = decode_bytes(input) else { return };
    assert_eq!(image.pixels.len(), image.width * image.height);
    assert!(!image.pixels.is_empty() && image.pixels.len() as u64 <= MAX_PIXELS);
    assert!(image.width.max(image.height) <= image.width.min(image.height) * MAX_ASPECT as usize);
    if image.pixels.len() <= MAX_ENCODED {
        let png = encode::png(&image).unwrap();
        assert_eq!(decode_bytes(&png).unwrap(), image);
        assert!(decode_bytes(&png[..png.len() - 1]).is_err());
    }
}

/// A CSV of pairs: what is read can be written and reads back, and no patient is in two splits.
pub fn manifest_csv(input: &[u8]) {
    let file = Path::new("pairs.csv");
    let text = TextRules { min_tokens: 1, ..TextRules::default() };
    let Ok(data) = parse(file, input.to_vec(), &PairsConfig { text, ..PairsConfig::default() }) else { return };
    check_leaks(&data).unwrap();
    for image in data.studies.iter().flat_map(|study| &study.images) {
        let ImageSource::File(path) = image else { panic!("a manifest names files") };
        assert!(path.expose().starts_with("."));
    }
    written_manifest(file, &data);
}

/// Writes a data set as `prepare` does and reads it again.
pub fn written_manifest(file: &Path, data: &Dataset) {
    let mut writer = ManifestWriter::new().unwrap();
    for (i, study) in data.studies.iter().enumerate() {
        let names: Vec<String> = (0..study.images.len()).map(|j| format!("{i}-{j}.png")).collect();
        writer.add(data, study, &names.iter().map(String::as_str).collect::<Vec<_>>()).unwrap();
    }
    let content = writer.finish().unwrap();
    let shown = String::from_utf8_lossy(&content).into_owned();
    let text = TextRules { min_tokens: 1, ..TextRules::default() };
    let again = parse(file, content, &PairsConfig { text, ..PairsConfig::default() });
    let again = again.unwrap_or_else(|error| panic!("{error}: {shown}"));
    assert_eq!(again.studies.len(), data.studies.len(), "{shown}");
    for (before, after) in data.studies.iter().zip(&again.studies) {
        // A colon may have become a semicolon, so that no sentence looks like a header.
        let told = |study: &Study| -> Vec<String> {
            study.sentences.iter().map(|sentence| sentence.expose().replace(':', ";")).collect()
        };
        assert_eq!(told(before), told(after), "{shown}");
        assert_eq!(before.patient_id.expose(), after.patient_id.expose(), "{shown}");
        assert_eq!(before.study_id.expose(), after.study_id.expose(), "{shown}");
        assert_eq!((&before.view, before.split), (&after.view, after.split), "{shown}");
        assert_eq!(before.images.len(), after.images.len(), "{shown}");
        for (class, &label) in data.classes.iter().zip(&before.labels) {
            match again.classes.iter().position(|name| name == class) {
                Some(at) => assert_eq!(after.labels[at], label, "{class}: {shown}"),
                // A class that nobody has is not named.
                None => assert_ne!(label, Some(true), "{class}: {shown}"),
            }
        }
    }
}

/// The files that an input stands for; those that it lacks are empty.
fn files<const N: usize>(input: &[u8]) -> [&[u8]; N] {
    let mut rest = Some(input);
    std::array::from_fn(|_| {
        let bytes = rest.unwrap_or_default();
        let end = bytes.windows(NEXT_FILE.len()).position(|window| window == NEXT_FILE);
        rest = end.map(|end| &bytes[end + NEXT_FILE.len()..]);
        &bytes[..end.unwrap_or(bytes.len())]
    })
}

/// A folder with these files.
#[expect(clippy::disallowed_methods, reason = "files that live for a millisecond need not reach the disk")]
fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for (name, bytes) in files {
        let path = dir.path().join(name);
        data::fsx::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    dir
}

/// Split, metadata and labels of MIMIC-CXR-JPG with one report and one image: no patient is in two splits, and no error
/// shows an id.
pub fn mimic_tables(input: &[u8]) {
    let [split, metadata, labels] = files(input);
    let dir = folder(&[
        ("mimic-cxr-2.0.0-split.csv", split),
        ("mimic-cxr-2.0.0-metadata.csv", metadata),
        ("mimic-cxr-2.0.0-chexpert.csv", labels),
        ("files/p10/p10000032/s50414267.txt", b"\n FINDINGS: Lungs are clear.\n"),
        ("files/p10/p10000032/s50414267/a.jpg", b"never decoded here"),
    ]);
    let mut source = MimicSource::new(dir.path());
    source.classes = ["Edema", "Pleural Effusion"].map(str::to_owned).to_vec();
    match data::source::mimic::read(&source, Keep::WithImageOrText) {
        Ok((data, counts)) => {
            check_leaks(&data).unwrap();
            assert_eq!(counts.images, data.studies.iter().map(|study| study.images.len()).sum::<usize>());
            for study in &data.studies {
                assert_eq!(study.labels.len(), 2);
                assert!(!(study.images.is_empty() && study.sentences.is_empty()));
            }
        }
        Err(error @ DataError::Rows { .. }) => {
            let message = error.to_string();
            assert!(!message.contains("10000032") && !message.contains("50414267"), "{message}");
        }
        Err(_) => {}
    }
}

/// The four lists of MURA: studies of one patient in one part, each with a label and an image inside the folder.
pub fn mura_lists(input: &[u8]) {
    let [train, train_studies, valid, valid_studies] = files(input);
    let dir = folder(&[
        ("train_image_paths.csv", train),
        ("train_labeled_studies.csv", train_studies),
        ("valid_image_paths.csv", valid),
        ("valid_labeled_studies.csv", valid_studies),
    ]);
    let Ok(parts) = mura::read(&MuraSource::new(dir.path().to_path_buf())) else { return };
    for study in parts.iter().flat_map(|part| &part.studies) {
        assert!(study.labels[0].is_some() && !study.images.is_empty());
        for image in &study.images {
            let ImageSource::File(path) = image else { panic!("the lists name files") };
            let name = path.expose().file_name().unwrap().to_str().unwrap();
            assert!(path.expose().starts_with(dir.path()) && name.starts_with("image"), "{name}");
        }
    }
}

/// A path on each line: none leads out of its folder, and none is judged otherwise after another one.
pub fn path(input: &[u8]) {
    let dir = folder(&[("root/a/b/film.png", b""), ("secret/film.png", b"")]);
    let root = dir.path().join("root");
    #[cfg(unix)]
    for (target, link) in [("a/b", "in"), ("../secret", "out"), (".", "self"), ("..", "a/up"), ("nowhere", "gone")] {
        std::os::unix::fs::symlink(target, root.join(link)).unwrap();
    }
    let inside = root.canonicalize().unwrap();
    let mut folder = Folder::new(&root).unwrap();
    for line in String::from_utf8_lossy(input).split('\n') {
        let found = contained(&root, line);
        assert_eq!(folder.path(line), found, "{line:?}");
        if let Ok(path) = found {
            let real = path.ancestors().find_map(|part| part.canonicalize().ok()).unwrap();
            assert!(path.starts_with(&root) && real.starts_with(&inside), "{line:?}");
        }
    }
}

/// Position of `part` in `whole` (bytes), `None` where it is not a slice of it.
fn offset(whole: &str, part: &str) -> Option<usize> {
    let start = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    (whole.get(start..start + part.len())? == part).then_some(start)
}

/// What of `whole` lies before, between and behind its slices `parts`. Panics where they are not in order and apart.
fn gaps<'a>(whole: &'a str, parts: &[&str]) -> Vec<&'a str> {
    let mut end = 0;
    let mut gaps = Vec::new();
    for part in parts {
        let start = offset(whole, part).filter(|&start| start >= end);
        let start = start.unwrap_or_else(|| panic!("{part:?} is not a later part of {whole:?}"));
        gaps.push(&whole[end..start]);
        end = start + part.len();
    }
    gaps.push(&whole[end..]);
    gaps
}

/// A report of MIMIC-CXR: sections and headers are the whole of it, names are normal, and cleaning keeps its promises.
pub fn report_sections(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let all = sections(&text);
    let gaps = gaps(&text, &all.iter().map(|section| section.text).collect::<Vec<_>>());
    assert_eq!(gaps[0], "", "{text:?}");
    for (gap, section) in gaps[1..].iter().zip(all.iter().skip(1).map(Some).chain([None])) {
        let paragraph = section.is_some_and(|section| section.name == LAST_PARAGRAPH);
        assert!(if paragraph { gap.ends_with("\n \n") } else { is_headers(gap) }, "{gap:?} of {text:?}");
    }
    for section in &all {
        let name = section.name.as_str();
        assert!(name.trim() == name && !name.contains(|c: char| c.is_ascii_uppercase()), "{name:?}");
        let told = ["findings", "impression"].contains(&name);
        assert!(!(told && section.text.trim().is_empty()), "{text:?}");
        assert!(offset(&text, last(&all, name).unwrap()).is_some());
        // A name that is normal already stays what it is.
        if !name.is_empty() && name != LAST_PARAGRAPH {
            let again = format!("\n {}: text", name.to_ascii_uppercase());
            assert_eq!(sections(&again)[1].name, name);
        }
    }
    let told = |name: &str| all.iter().any(|section| section.name == name);
    assert!(!(told(LAST_PARAGRAPH) && (told("findings") || told("impression"))), "{text:?}");
    for (cleaning, min_tokens, join_sentences) in [(Cleaning::Convirt, 3, false), (Cleaning::Mgca, 1, true)] {
        let fallback = vec![Part::LastParagraph, Part::Comparison];
        let rules = ReportRules { cleaning, fallback, min_tokens, join_sentences, ..ReportRules::default() };
        let Ok(cleaned) = rules.clean(&text) else { continue };
        assert!(cleaned.tokens >= min_tokens && cleaned.sentences > 0);
        assert_eq!(cleaned.texts.len(), if join_sentences { 1 } else { cleaned.sentences });
        assert!(cleaned.texts.iter().all(|text| !text.contains('\n') && !text.trim().is_empty()), "{text:?}");
    }
    let (all, words) = mgca_sentences(&text);
    assert_eq!(all.iter().map(|sentence| sentence.split(' ').count()).sum::<usize>(), words);
    let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == ' ';
    assert!(all.iter().all(|sentence| sentence.chars().all(fine)), "{all:?} of {text:?}");
}

/// A text without the header at its start, `None` where there is none. The line break and the blank of the first header
/// of a report belong to what is before it.
fn behind_header(text: &str) -> Option<&str> {
    let name = text.strip_prefix("\n ").unwrap_or(text);
    let rest = name.trim_start_matches(|c: char| c.is_ascii_uppercase() || " ()/,-".contains(c));
    let mut rest = rest.strip_prefix(':').filter(|_| rest.len() < name.len())?.chars();
    rest.next().filter(|c| c.is_whitespace()).map(|_| rest.as_str())
}

/// Whether text that is in no section is headers and blank space alone.
fn is_headers(gap: &str) -> bool {
    let mut rest = gap;
    while let Some(behind) = behind_header(rest) {
        rest = behind;
        // Blank text of a section that was left out, up to the next header.
        while rest.trim_start().len() < rest.len() && behind_header(rest).is_none() {
            rest = &rest[rest.chars().next().map_or(0, char::len_utf8)..];
        }
    }
    rest.trim().is_empty()
}

/// A clinical text: sentences are parts of it in order, no word is between them, and each is one sentence.
pub fn sentence_split(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let split = sentences::split(&text);
    assert!(gaps(&text, &split).into_iter().all(is_no_word), "{text:?}");
    for sentence in split {
        assert!(sentence.contains(char::is_alphanumeric) && sentence.trim() == sentence, "{text:?}");
        assert_eq!(sentences::split(sentence), [sentence], "{text:?}");
    }
    gaps(&text, &headers::kept(&text));
    for min_tokens in [1, 4] {
        let kept = TextRules { keep_sections: true, min_tokens }.sentences(&text);
        gaps(&text, &kept);
        assert!(kept.iter().all(|sentence| count_tokens(sentence) >= min_tokens), "{text:?}");
    }
}

/// Whether a text that belongs to no sentence holds no word: marks, space, and numbers of lists alone.
fn is_no_word(gap: &str) -> bool {
    let mut rest = gap;
    while let Some(at) = rest.find(char::is_alphanumeric) {
        let number = rest[at..].trim_start_matches(|c: char| c.is_ascii_digit());
        let digits = rest.len() - at - number.len();
        if !(1..=2).contains(&digits) || !number.starts_with(['.', ')']) {
            return false;
        }
        rest = number;
    }
    true
}

fn builtin() -> &'static Tokenizer {
    static TOKENIZER: OnceLock<Tokenizer> = OnceLock::new();
    TOKENIZER.get_or_init(|| Tokenizer::builtin().unwrap())
}

/// A tokenizer's file, `vocab.txt` or (after a brace) `tokenizer.json`: one that loads gives ids that it has room for.
pub fn tokenizer_file(input: &[u8]) {
    let name = if input.trim_ascii_start().starts_with(b"{") { "tokenizer.json" } else { "vocab.txt" };
    let Ok(tokenizer) = Tokenizer::from_bytes(Path::new(name), input, true) else { return };
    assert!((tokenizer.pad_id() as usize) < tokenizer.vocab_size() && tokenizer.vocab_size() <= 1 << 22);
    for text in ["", "No effusion, 2.5 cm.", "na\u{ef}ve \u{4e2d} \u{fffd}\0", "[PAD] [CLS]<pad>"] {
        let Ok(pieces) = tokenizer.pieces(text) else { continue };
        assert!(pieces.iter().all(|&id| (id as usize) < tokenizer.vocab_size()), "{text:?}");
        if let Ok(encoded) = tokenizer.encode(text, 6) {
            assert!(encoded.input_ids.len() <= 6, "{text:?}");
            assert!(encoded.input_ids.iter().all(|&id| (id as usize) < tokenizer.vocab_size()), "{text:?}");
        }
    }
}

/// Text for the tokenizer that ships with the crate: frames stay where text is cut, and ids fit.
pub fn wordpiece(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let tokenizer = builtin();
    let pieces = tokenizer.pieces(&text).unwrap();
    assert!(pieces.iter().all(|&id| (id as usize) < tokenizer.vocab_size()));
    let [first, last] = ["[CLS]", "[SEP]"].map(|name| tokenizer.id(name).unwrap());
    for max_length in [3, 8, usize::MAX] {
        let ids = tokenizer.encode(&text, max_length).unwrap().input_ids;
        let kept = pieces.len().min(max_length - 2);
        assert_eq!(ids, [&[first], &pieces[..kept], &[last]].concat(), "{text:?}");
    }
}

/// A report on each line: topics are finite, as many as told, and of size 1 over their reports.
pub fn topics(input: &[u8]) {
    static DENIALS: OnceLock<Denials> = OnceLock::new();
    let denials = DENIALS.get_or_init(|| Denials::new(builtin()).unwrap());
    let text = String::from_utf8_lossy(&input[..input.len().min(2048)]);
    let report = |line: &str| -> Vec<Vec<u32>> {
        sentences::split(line).into_iter().map(|sentence| builtin().pieces(sentence).unwrap()).collect()
    };
    let reports: Vec<Vec<Vec<u32>>> = text.lines().map(report).collect();
    let topics = Topics::learn(&reports, denials.clone(), 4);
    assert!(topics.count() <= 4);
    let mut squares = vec![0.0; topics.count()];
    for report in &reports {
        let values = topics.of(report);
        assert_eq!(values.len(), topics.count());
        for (square, value) in squares.iter_mut().zip(values) {
            assert!(value.is_finite());
            *square += f64::from(value * value) / reports.len() as f64;
        }
    }
    // Deviation 1 over the reports, up to single precision; 0 where a topic is the same in all of them.
    assert!(squares.iter().all(|square| *square < 1e-6 || (square - 1.0).abs() < 1e-3), "{squares:?}");
}
