//! Training batches: order, workers, draws and bad files.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use data::batch::PairBatch;
use data::demographics::Demographics;
use data::error::DataError;
use data::image::augment::AugmentConfig;
use data::image::{GrayImage, encode};
use data::loader::{Loader, LoaderConfig, TopicSource};
use data::record::{Dataset, ImageSource, Phi, Split, Study};
use data::text::Tokenizer;

use crate::support::write;

const WORDS: [&str; 8] = ["heart", "lungs", "effusion", "nodule", "rib", "edema", "left", "right"];

/// Studies of two flat images and two sentences; the brightness and the words tell which one it is.
fn dataset(dir: &Path, studies: usize, broken: &[usize]) -> Dataset {
    let study = |i: usize| {
        let image = |k: usize| {
            let pixels = vec![(i * 2 + k) as u8; 24 * 20];
            let bytes = encode::png(&GrayImage { width: 24, height: 20, pixels }).unwrap();
            let bytes = if broken.contains(&i) { &bytes[..bytes.len() / 2] } else { &bytes };
            ImageSource::File(Phi::new(write(dir, &format!("{i}-{k}.png"), bytes)))
        };
        Study {
            patient_id: Phi::new(format!("p{i}")),
            study_id: Phi::new(format!("s{i}")),
            images: vec![image(0), image(1)],
            sentences: (0..2).map(|k| Phi::new(format!("{} {}", WORDS[i % 8], "no ".repeat(1 + k)))).collect(),
            labels: vec![Some(i.is_multiple_of(2)), None],
            view: String::new(),
            demographics: Demographics::default(),
            split: Split::Train,
            row: i + 1,
        }
    };
    Dataset { name: "set".into(), classes: vec!["a".into(), "b".into()], studies: (0..studies).map(study).collect() }
}

fn config() -> LoaderConfig {
    LoaderConfig {
        seed: 5,
        batch_size: 4,
        image_size: 16,
        sentences: 1,
        whole_reports: false,
        sentences_beside: 0,
        max_tokens: 16,
        augment: None,
        shuffle_pairs: false,
        num_workers: 0,
        prefetch_bytes: 1 << 20,
        topics: TopicSource::None,
        max_bad_fraction: 0.0,
    }
}

fn loader(data: &Dataset, config: LoaderConfig) -> Loader {
    Loader::new(data.clone(), 20, 1 << 20, Arc::new(Tokenizer::builtin().unwrap()), config).unwrap()
}

fn batches(loader: &Loader, from: u64, to: u64) -> Vec<PairBatch> {
    loader.run(from, to).map(Result::unwrap).collect()
}

/// All values of a batch: labels hold NaN, which no comparison of values accepts.
fn bits(batch: &PairBatch) -> [Vec<u32>; 5] {
    let raw = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect();
    let texts = &batch.texts;
    let studies = batch.studies.clone();
    [raw(&batch.images), texts.input_ids.clone(), texts.attention_mask.clone(), raw(&batch.labels), studies]
}

#[test]
fn an_epoch_shows_every_study_once_with_its_own_text_and_labels() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 12, &[]);
    let loader = loader(&data, config());
    assert_eq!((loader.steps_per_epoch(), loader.num_studies()), (3, 12));
    let tokenizer = Tokenizer::builtin().unwrap();
    let epochs = [batches(&loader, 0, 3), batches(&loader, 3, 6)];
    for epoch in &epochs {
        let mut seen: Vec<u32> = epoch.iter().flat_map(|b| b.studies.clone()).collect();
        seen.sort_unstable();
        assert_eq!(seen, (0..12).collect::<Vec<u32>>());
        for batch in epoch {
            for (i, &study) in batch.studies.iter().enumerate() {
                // The middle of the picture: the padding to a square is black.
                let value = batch.images[i * 256 + 8 * 16 + 8] * 255.0;
                let image = value.round() as u32;
                assert!(image / 2 == study, "{image} {study}");
                let ids = &batch.texts.input_ids[i * batch.texts.tokens..];
                assert_eq!(Some(ids[1]), tokenizer.id(WORDS[study as usize % 8]));
                assert_eq!(batch.labels[i * 2] > 0.5, study.is_multiple_of(2));
                assert!(batch.labels[i * 2 + 1].is_nan());
            }
        }
    }
    assert_ne!(epochs[0][0].studies, epochs[1][0].studies);
    // Both images and both sentences are drawn in 24 views: missing one has a chance of 2 * 2^-24.
    let all: Vec<&PairBatch> = epochs.iter().flatten().collect();
    let images =
        |odd: u32| all.iter().any(|b| (0..4).any(|i| (b.images[i * 256 + 136] * 255.0).round() as u32 % 2 == odd));
    assert!(images(0) && images(1));
    let lengths: Vec<u32> =
        all.iter().flat_map(|b| b.texts.attention_mask.chunks(b.texts.tokens).map(|m| m.iter().sum())).collect();
    assert!(lengths.contains(&4) && lengths.contains(&5) && lengths.len() == 24);
}

#[test]
fn sentences_beside_a_report_are_its_own_and_change() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 12, &[]);
    let loader = loader(&data, LoaderConfig { whole_reports: true, sentences_beside: 1, ..config() });
    let all = batches(&loader, 0, 12);
    let mut lengths = BTreeSet::new();
    for batch in &all {
        assert_eq!((batch.texts.len, batch.beside.len), (4, 4));
        let reports = batch.texts.input_ids.chunks(batch.texts.tokens);
        for (report, sentence) in reports.zip(batch.beside.input_ids.chunks(batch.beside.tokens)) {
            let words: Vec<u32> = sentence.iter().copied().filter(|&id| id != 0).collect();
            let words = &words[1..words.len() - 1];
            assert!(report.windows(words.len()).any(|part| part == words), "{sentence:?} is not in {report:?}");
            lengths.insert(words.len());
        }
    }
    // Both sentences are drawn in 48 views: missing one has a chance of 2^-47.
    assert_eq!(lengths, BTreeSet::from([2, 3]));
}

#[test]
fn batches_do_not_depend_on_workers_or_on_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 13, &[]);
    let with = |num_workers, prefetch_bytes| {
        let augment = Some(AugmentConfig::default());
        loader(&data, LoaderConfig { num_workers, prefetch_bytes, augment, ..config() })
    };
    let inline = batches(&with(0, 0), 0, 20);
    assert_eq!(inline.len(), 20);
    for workers in [1, 2, 8] {
        for prefetch in [0, 10_000, 1 << 20] {
            let threaded = batches(&with(workers, prefetch), 0, 20);
            assert!(inline.iter().zip(&threaded).all(|(a, b)| bits(a) == bits(b)), "{workers} workers");
        }
    }
    let late = batches(&with(2, 1 << 20), 11, 20);
    assert!(inline[11..].iter().zip(&late).all(|(a, b)| bits(a) == bits(b)));
    assert_eq!(bits(&inline[7]), bits(&with(0, 0).batch(7).unwrap()));
    // Another seed gives other batches.
    let other = loader(&data, LoaderConfig { seed: 6, augment: Some(AugmentConfig::default()), ..config() });
    assert_ne!(bits(&inline[0]), bits(&other.batch(0).unwrap()));
}

#[test]
fn a_run_that_is_dropped_early_ends_its_workers() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 8, &[]);
    let loader = loader(&data, LoaderConfig { num_workers: 3, prefetch_bytes: 0, ..config() });
    let mut run = loader.run(0, 1_000_000);
    assert!(run.next().unwrap().is_ok());
    drop(run);
}

#[test]
fn unreadable_studies_are_replaced_and_listed() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 12, &[3, 7]);
    let tolerant = || LoaderConfig { max_bad_fraction: 0.2, ..config() };
    let one = loader(&data, tolerant());
    let shown: Vec<PairBatch> = batches(&one, 0, 6);
    assert!(shown.iter().all(|b| b.len == 4 && b.studies.len() == 4 && b.images.len() == 4 * 256));
    assert!(shown.iter().all(|b| !b.studies.contains(&3) && !b.studies.contains(&7)));
    let found: Vec<String> = one.quarantine().into_iter().map(|(sample, cause)| format!("{sample}: {cause}")).collect();
    let expected = [3, 7].map(|i: usize| {
        let study = Phi::new(format!("s{i}"));
        format!("row {}, study {study:?}: the image file is truncated: copy or download it again", i + 1)
    });
    assert_eq!(found, expected);
    // The substitutes are drawn from the keys alone.
    let two = loader(&data, LoaderConfig { num_workers: 2, ..tolerant() });
    assert!(shown.iter().zip(batches(&two, 0, 6)).all(|(a, b)| bits(a) == bits(&b)));
}

#[test]
fn too_many_unreadable_studies_end_in_a_table() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 12, &[3, 7]);
    // A tenth of 12 studies allows one; so does any fraction above zero.
    for (max_bad_fraction, allowed) in [(0.1, 1), (0.001, 1), (0.0, 0)] {
        let loader = loader(&data, LoaderConfig { max_bad_fraction, ..config() });
        let error = loader.run(0, 3).find_map(Result::err).unwrap();
        assert_eq!(error.exit_code(), 3);
        let DataError::TooManyBad { bad, total, limit, causes, .. } = error else { panic!("{error}") };
        assert_eq!((bad, total, limit), (allowed + 1, 12, allowed));
        let rows: Vec<usize> = causes.iter().flat_map(|(_, rows)| rows.iter().map(|sample| sample.row)).collect();
        assert!(rows.len() == bad && rows.iter().all(|r| [4, 8].contains(r)), "{rows:?}");
    }
}

/// Studies of one image each, which share two files: a sound one and one that is cut short.
fn many(dir: &Path, studies: usize, broken: &[usize]) -> Dataset {
    let bytes = encode::png(&GrayImage { width: 8, height: 8, pixels: (0..64).collect() }).unwrap();
    let good = ImageSource::File(Phi::new(write(dir, "good.png", &bytes)));
    let bad = ImageSource::File(Phi::new(write(dir, "bad.png", &bytes[..bytes.len() - 5])));
    let study = |i: usize| Study {
        patient_id: Phi::new(format!("p{i}")),
        study_id: Phi::new("s1".to_owned()),
        images: vec![if broken.contains(&i) { bad.clone() } else { good.clone() }],
        sentences: Vec::new(),
        labels: Vec::new(),
        view: String::new(),
        demographics: Demographics::default(),
        split: Split::Train,
        row: i + 1,
    };
    Dataset { name: "many.csv".into(), classes: Vec::new(), studies: (0..studies).map(study).collect() }
}

#[test]
fn a_thousandth_of_bad_studies_is_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let config =
        |seed| LoaderConfig { seed, batch_size: 50, image_size: 8, sentences: 0, max_bad_fraction: 0.001, ..config() };
    // 0.05 % of 2000: the epoch is shown to its end, and the one study is named.
    let few = many(dir.path(), 2000, &[700]);
    let loader = Loader::new(few, 8, 0, Arc::new(Tokenizer::builtin().unwrap()), config(1)).unwrap();
    assert_eq!(batches(&loader, 0, 40).len(), 40);
    let found: Vec<usize> = loader.quarantine().iter().map(|(sample, _)| sample.row).collect();
    assert_eq!(found, [701]);
    // 0.2 %: the third one met is one too many.
    let bad = [3, 700, 1200, 1999];
    for seed in 1..4 {
        let data = many(dir.path(), 2000, &bad);
        let loader = Loader::new(data, 8, 0, Arc::new(Tokenizer::builtin().unwrap()), config(seed)).unwrap();
        let error = loader.run(0, 40).find_map(Result::err).unwrap();
        assert_eq!(error.exit_code(), 3);
        let text = error.to_string();
        assert!(text.starts_with("many.csv: 3 of 2000 studies cannot be read, more than the allowed 2. "), "{text}");
        assert!(text.contains("\n  3 x the image file is truncated: copy or download it again (row "), "{text}");
        let DataError::TooManyBad { bad: count, total, limit, causes, .. } = error else { panic!("{text}") };
        assert_eq!((count, total, limit, causes.len()), (3, 2000, 2, 1));
        let rows: Vec<usize> = causes[0].1.iter().map(|sample| sample.row).collect();
        assert!(rows.len() == 3 && rows.iter().all(|row| bad.contains(&(row - 1))), "{rows:?}");
    }
}

#[test]
fn a_substitute_is_never_in_the_batch_already() {
    let dir = tempfile::tempdir().unwrap();
    // Two studies more than a batch holds: most draws would hit one that is in it.
    for broken in [[0, 5], [2, 3]] {
        let data = dataset(dir.path(), 8, &broken);
        let tolerant = LoaderConfig { batch_size: 6, max_bad_fraction: 0.5, ..config() };
        let one = loader(&data, tolerant.clone());
        let shown = batches(&one, 0, 60);
        for batch in &shown {
            let distinct: BTreeSet<u32> = batch.studies.iter().copied().collect();
            assert_eq!(distinct.len(), 6, "{:?}", batch.studies);
            assert!(broken.iter().all(|&study| !distinct.contains(&(study as u32))));
        }
        let two = loader(&data, LoaderConfig { num_workers: 2, ..tolerant });
        assert!(shown.iter().zip(batches(&two, 0, 60)).all(|(a, b)| bits(a) == bits(&b)));
    }
}

#[test]
fn a_data_set_without_a_substitute_left_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 6, &[1]);
    let loader = loader(&data, LoaderConfig { batch_size: 6, max_bad_fraction: 0.5, ..config() });
    let error = loader.batch(0).unwrap_err();
    assert_eq!(error.exit_code(), 3);
    assert!(error.to_string().starts_with("set: no study is left to take the place of one that cannot"), "{error}");
}

#[test]
fn images_of_one_study_are_never_in_one_batch() {
    let dir = tempfile::tempdir().unwrap();
    // Each image is a sample of its own: 24 samples of 8 studies, three each, one of which is broken throughout.
    let mut data = dataset(dir.path(), 24, &[0, 8, 16]);
    for (i, study) in data.studies.iter_mut().enumerate() {
        study.patient_id = Phi::new(format!("p{}", i % 4));
        study.study_id = Phi::new(format!("s{}", i % 8 / 4));
    }
    let ungrouped = LoaderConfig { max_bad_fraction: 0.2, ..config() };
    let one = loader(&data, ungrouped.clone());
    let shown = batches(&one, 0, 120);
    for batch in &shown {
        let studies: BTreeSet<u32> = batch.studies.iter().map(|study| study % 8).collect();
        assert_eq!(studies.len(), 4, "{:?}", batch.studies);
    }
    let two = loader(&data, LoaderConfig { num_workers: 2, ..ungrouped.clone() });
    assert!(batches(&two, 60, 120).iter().zip(&shown[60..]).all(|(a, b)| bits(a) == bits(b)));
    // 24 samples in batches of 12 are two batches, and a study has three samples.
    let tokenizer = Arc::new(Tokenizer::builtin().unwrap());
    let refused = Loader::new(data, 20, 0, tokenizer, LoaderConfig { batch_size: 12, ..ungrouped }).unwrap_err();
    assert!(refused.to_string().contains("data.batch_size = 12: a study has more images than"), "{refused}");
}

#[test]
fn shuffled_pairs_never_show_a_study_its_own_text() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 8, &[]);
    let tokenizer = Tokenizer::builtin().unwrap();
    let loader = loader(&data, LoaderConfig { shuffle_pairs: true, ..config() });
    for batch in batches(&loader, 0, 4) {
        for (i, &study) in batch.studies.iter().enumerate() {
            let id = batch.texts.input_ids[i * batch.texts.tokens + 1];
            assert_ne!(Some(id), tokenizer.id(WORDS[study as usize]));
        }
    }
}

#[test]
fn settings_are_checked_before_the_first_batch() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 6, &[]);
    let tokenizer = Arc::new(Tokenizer::builtin().unwrap());
    let refuse = |config| Loader::new(data.clone(), 20, 0, Arc::clone(&tokenizer), config).unwrap_err().to_string();
    assert!(refuse(LoaderConfig { batch_size: 7, ..config() }).contains("data.batch_size = 7"));
    assert!(refuse(LoaderConfig { batch_size: 0, ..config() }).contains("data.batch_size = 0"));
    assert!(refuse(LoaderConfig { max_tokens: 2, ..config() }).contains("max_length = 2"));
    let augment = Some(AugmentConfig { flip: 2.0, ..AugmentConfig::default() });
    assert!(refuse(LoaderConfig { augment, ..config() }).contains("augment.flip"));
}

#[test]
fn images_beyond_the_cache_are_read_again() {
    let dir = tempfile::tempdir().unwrap();
    let data = dataset(dir.path(), 8, &[]);
    let tokenizer = Arc::new(Tokenizer::builtin().unwrap());
    let make = |bytes| Loader::new(data.clone(), 20, bytes, Arc::clone(&tokenizer), config()).unwrap();
    let (none, all) = (make(0), make(1 << 20));
    let done = std::sync::atomic::AtomicUsize::new(0);
    all.store().prefill(|n| {
        done.fetch_max(n, std::sync::atomic::Ordering::Relaxed);
    });
    assert_eq!((done.into_inner(), all.store().len()), (16, 16));
    // With all images in memory the files are not needed any more.
    let expected = batches(&none, 0, 4);
    dir.close().unwrap();
    assert!(batches(&all, 0, 4).iter().zip(&expected).all(|(a, b)| bits(a) == bits(b)));
    assert!(none.batch(0).is_err());
}
