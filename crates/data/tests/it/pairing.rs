//! Images beside sentences that were never written about them: which, and that it depends on nothing but its key.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

use data::batch::PairBatch;
use data::demographics::Demographics;
use data::loader::{Loader, LoaderConfig, TopicSource};
use data::pairing::labels::{Labels, NO_FINDING, NONE, OBSERVATIONS};
use data::pairing::{Corpus, Fallback, PairingConfig, shared_patients};
use data::record::{Dataset, Phi, Split, Study};
use data::rng::{Purpose, Stream, stream};
use data::source::phantom::{self, Prevalence};
use data::source::texts::{PhantomTexts, Report, Texts, TextsConfig};
use data::text::Tokenizer;

const EDEMA: usize = 5;
const FRACTURE: usize = 12;

/// A label vector with some observations there.
fn there(classes: &[usize]) -> Labels {
    let mut labels = NONE;
    for &class in classes {
        labels[class] = Some(true);
    }
    labels
}

/// One sentence for each vector, labelled by columns.
fn texts(labels: &[Labels]) -> Texts {
    let report = |(i, labels): (usize, &Labels)| Report {
        patient_id: Phi::new(format!("text {i}")),
        sentences: vec![Phi::new(format!("sentence number {i}"))],
        labels: labels.to_vec(),
    };
    let classes = Some(data::label::CHEXPERT14.map(str::to_owned).to_vec());
    Texts { name: "texts".into(), classes, reports: labels.iter().enumerate().map(report).collect() }
}

fn none() -> Dataset {
    Dataset { name: "set".into(), ..Dataset::default() }
}

fn corpus(config: &PairingConfig, labels: &[Labels]) -> Corpus {
    static TOKENIZER: LazyLock<Tokenizer> = LazyLock::new(|| Tokenizer::builtin().unwrap());
    Corpus::new(config, Some(&texts(labels)), &none(), &TOKENIZER, 16).unwrap()
}

/// Any label vector, most entries blank.
fn any(random: &mut Stream) -> Labels {
    std::array::from_fn(|_| [None, None, None, Some(false), Some(true)][random.below(5)])
}

fn shares(image: &Labels, text: &Labels) -> bool {
    (1..OBSERVATIONS).any(|class| image[class] == Some(true) && text[class] == Some(true))
}

#[test]
fn a_sentence_shares_a_finding_wherever_one_can() {
    for case in 0..2000 {
        let random = &mut stream(31, Purpose::Control, 0, case);
        let labels: Vec<Labels> = (0..=random.below(30)).map(|_| any(random)).collect();
        let config = PairingConfig { pool_size: 1 + random.below(40), ..PairingConfig::default() };
        let corpus = corpus(&config, &labels);
        let (seed, epoch) = (random.next_u64(), random.next_u64() % 5);
        for index in 0..20 {
            let image = any(random);
            let drawn = corpus.draw(seed, epoch, index, &image);
            let text = corpus.labels(drawn);
            let known = labels.iter().any(|text| shares(&image, text));
            assert_eq!(shares(&image, text), known, "{image:?} beside {text:?}");
            if !known && labels.iter().any(|text| text[NO_FINDING] == Some(true)) {
                assert_eq!(text[NO_FINDING], Some(true), "{image:?} beside {text:?}");
            }
            assert_eq!(drawn, corpus.draw(seed, epoch, index, &image));
        }
    }
}

#[test]
fn pools_are_bounded_and_drawn_anew_in_each_epoch() {
    let labels: Vec<Labels> = (0..40).map(|_| there(&[EDEMA])).collect();
    let corpus = corpus(&PairingConfig { pool_size: 7, ..PairingConfig::default() }, &labels);
    assert_eq!((corpus.num_sentences(), corpus.counts()[EDEMA]), (40, 40));
    let mut all = BTreeSet::new();
    for epoch in 0..30 {
        let pools = corpus.pools(3, epoch);
        let pool: BTreeSet<u32> = pools[EDEMA].iter().copied().collect();
        assert_eq!((pool.len(), pools[FRACTURE].len()), (7, 0));
        // An image draws from the pool of its epoch, whatever was asked for in between.
        let drawn: BTreeSet<u32> = (0..200).map(|index| corpus.draw(3, epoch, index, &there(&[EDEMA]))).collect();
        corpus.pools(4, epoch + 1);
        assert_eq!(drawn, pool, "epoch {epoch}");
        all.extend(pool);
    }
    assert_eq!(all.len(), 40);
    assert_ne!(corpus.pools(3, 0)[EDEMA], corpus.pools(3, 1)[EDEMA]);
    assert_ne!(corpus.pools(3, 0)[EDEMA], corpus.pools(4, 0)[EDEMA]);
}

#[test]
fn what_takes_the_place_of_a_shared_finding_is_an_option() {
    let labels = [there(&[NO_FINDING]), there(&[EDEMA])];
    let drawn = |config: &PairingConfig, image: Labels| -> BTreeSet<usize> {
        let corpus = corpus(config, &labels);
        let class = |index| corpus.labels(corpus.draw(1, 0, index, &image)).iter().position(|l| *l == Some(true));
        (0..100).map(|index| class(index).unwrap()).collect()
    };
    let with =
        |without_shared, without_labels| PairingConfig { without_shared, without_labels, ..PairingConfig::default() };
    let usual = PairingConfig::default();
    assert_eq!(drawn(&usual, there(&[FRACTURE])), BTreeSet::from([NO_FINDING]));
    assert_eq!(drawn(&usual, NONE), BTreeSet::from([NO_FINDING]));
    let other = with(Fallback::Any, Fallback::NoFinding);
    assert_eq!(drawn(&other, there(&[FRACTURE])), BTreeSet::from([NO_FINDING, EDEMA]));
    assert_eq!(drawn(&other, NONE), BTreeSet::from([NO_FINDING]));
    assert_eq!(drawn(&with(Fallback::NoFinding, Fallback::Any), NONE), BTreeSet::from([NO_FINDING, EDEMA]));
    // Where nothing was found, that is no lack of a finding to share.
    assert_eq!(drawn(&with(Fallback::Any, Fallback::Any), there(&[NO_FINDING])), BTreeSet::from([NO_FINDING]));

    let images = |config: &PairingConfig| {
        let vectors = [there(&[FRACTURE]), NONE, there(&[EDEMA]), there(&[NO_FINDING])];
        let study = |(i, labels): (usize, &Labels)| Study {
            patient_id: Phi::new(format!("p{i}")),
            study_id: Phi::new(format!("s{i}")),
            images: Vec::new(),
            sentences: Vec::new(),
            labels: labels.to_vec(),
            view: String::new(),
            demographics: Demographics::default(),
            split: Split::Train,
            row: i,
        };
        let classes = data::label::CHEXPERT14.map(str::to_owned).to_vec();
        let studies = vectors.iter().enumerate().map(study).collect();
        let kept = corpus(config, &labels).observed(Dataset { name: "set".into(), classes, studies }).unwrap();
        kept.studies.iter().map(|study| study.row).collect::<Vec<_>>()
    };
    assert_eq!(images(&usual), [0, 1, 2, 3]);
    assert_eq!(images(&with(Fallback::LeaveOut, Fallback::NoFinding)), [1, 2, 3]);
    assert_eq!(images(&with(Fallback::NoFinding, Fallback::LeaveOut)), [0, 2, 3]);
}

/// Phantom images and the reports of other phantoms.
fn halves(first: u64) -> (Dataset, Texts) {
    let images = phantom::dataset(7, 0..24, Prevalence::Natural, Split::Train);
    (images, TextsConfig::Phantom(PhantomTexts { seed: 7, first, count: 24 }).read().unwrap())
}

fn loader(config: &PairingConfig, first: u64, sentences: usize, num_workers: usize, shuffled: bool) -> Loader {
    let (images, texts) = halves(first);
    let tokenizer = Arc::new(Tokenizer::builtin().unwrap());
    let corpus = Corpus::new(config, Some(&texts), &images, &tokenizer, 32).unwrap();
    let loading = LoaderConfig {
        seed: 5,
        batch_size: 6,
        image_size: 16,
        sentences,
        whole_reports: false,
        sentences_beside: 0,
        max_tokens: 32,
        augment: None,
        shuffle_pairs: shuffled,
        num_workers,
        prefetch_bytes: 1 << 20,
        topics: TopicSource::None,
        max_bad_fraction: 0.0,
    };
    Loader::unpaired(images, 16, 0, tokenizer, loading, Arc::new(corpus)).unwrap()
}

fn batches(loader: &Loader, from: u64, to: u64) -> Vec<PairBatch> {
    loader.run(from, to).map(Result::unwrap).collect()
}

/// NaN is unequal to itself: labels are compared as they are printed.
fn shown(batches: &[PairBatch]) -> String {
    format!("{batches:?}")
}

#[test]
fn batches_are_a_function_of_seed_and_step() {
    let config = PairingConfig::default();
    let inline = batches(&loader(&config, 24, 2, 0, false), 0, 9);
    for workers in [1, 3] {
        assert!(shown(&batches(&loader(&config, 24, 2, workers, false), 0, 9)) == shown(&inline), "{workers} workers");
    }
    let later = batches(&loader(&config, 24, 2, 2, false), 5, 9);
    assert!(shown(&later) == shown(&inline[5..]), "it does not go on as it went");
    // An epoch has four batches: in the next one every image stands beside another sentence, most of the time.
    let beside = |batches: &[PairBatch]| {
        let mut rows: Vec<(u32, Vec<u32>)> = batches
            .iter()
            .flat_map(|batch| {
                let tokens = batch.texts.tokens;
                let ids = batch.texts.input_ids.chunks(2 * tokens);
                let trim = |ids: &[u32]| ids[..tokens].iter().copied().filter(|&id| id != 0).collect();
                batch.studies.iter().copied().zip(ids.map(trim)).collect::<Vec<_>>()
            })
            .collect();
        rows.sort();
        rows
    };
    let (first, second) = (beside(&inline[..4]), beside(&inline[4..8]));
    let same = first.iter().zip(&second).filter(|(a, b)| a == b).count();
    assert!(first.len() == 24 && same < 12, "{same} of 24 are the same");
}

#[test]
fn labels_of_a_batch_are_those_of_image_and_sentence() {
    let (images, _) = halves(24);
    let loader = loader(&PairingConfig::default(), 24, 2, 0, false);
    let mut shared = 0;
    for batch in batches(&loader, 0, 8) {
        assert_eq!((batch.classes, batch.sentences, batch.texts.len), (OBSERVATIONS, 2, 12));
        assert_eq!((batch.labels.len(), batch.text_labels.len()), (6 * OBSERVATIONS, 6 * OBSERVATIONS));
        for (row, &study) in batch.studies.iter().enumerate() {
            let range = row * OBSERVATIONS..(row + 1) * OBSERVATIONS;
            let (image, text) = (&batch.labels[range.clone()], &batch.text_labels[range]);
            let findings = images.studies[study as usize].labels.iter().filter(|label| **label == Some(true)).count();
            let found = image[1..].iter().filter(|label| **label > 0.5).count();
            assert_eq!(found, findings, "each class of the phantoms is one observation");
            shared += usize::from((1..OBSERVATIONS).any(|class| image[class] > 0.5 && text[class] > 0.5));
            if findings == 0 {
                assert!(image[NO_FINDING] > 0.5);
            }
        }
    }
    assert!(shared > 12, "{shared} of 48 share a finding");
}

#[test]
fn shuffled_labels_are_those_of_others_and_images_stay() {
    let config = PairingConfig::default();
    let right = batches(&loader(&config, 24, 1, 0, false), 0, 4);
    let wrong = batches(&loader(&config, 24, 1, 0, true), 0, 4);
    let mut differ = 0;
    for (right, wrong) in right.iter().zip(&wrong) {
        assert_eq!((&right.studies, &right.images), (&wrong.studies, &wrong.images));
        differ += usize::from(right.labels != wrong.labels);
    }
    assert_eq!(differ, 4);
}

#[test]
fn texts_are_part_of_the_fingerprint_and_shared_patients_are_counted() {
    let config = PairingConfig::default();
    let of = |first| loader(&config, first, 1, 0, false).fingerprint();
    assert_eq!(of(24), of(24));
    assert_ne!(of(24), of(25));
    let shared = |first| {
        let (images, texts) = halves(first);
        shared_patients(&images, &texts)
    };
    assert_eq!((shared(24), shared(20), shared(0)), (0, 4, 24));
}

#[test]
fn own_reports_are_learned_from_where_that_is_asked_for() {
    let config = PairingConfig { own_report: true, ..PairingConfig::default() };
    let (images, texts) = halves(24);
    let tokenizer = Tokenizer::builtin().unwrap();
    let both = Corpus::new(&config, Some(&texts), &images, &tokenizer, 32).unwrap();
    let alone = Corpus::new(&config, None, &images, &tokenizer, 32).unwrap();
    assert!(both.num_sentences() > alone.num_sentences());
    for corpus in [&both, &alone] {
        for study in &images.studies {
            assert_eq!(corpus.own(study).len(), study.sentences.iter().map(Phi::expose).collect::<BTreeSet<_>>().len());
        }
    }
    let apart = Corpus::new(&PairingConfig::default(), Some(&texts), &images, &tokenizer, 32).unwrap();
    assert!(images.studies.iter().all(|study| apart.own(study).is_empty()));
}

#[test]
fn what_cannot_be_used_is_refused() {
    let tokenizer = Tokenizer::builtin().unwrap();
    let config = PairingConfig::default();
    let empty = Texts { name: "texts".into(), classes: None, reports: Vec::new() };
    let message = Corpus::new(&config, Some(&empty), &none(), &tokenizer, 16).unwrap_err().to_string();
    assert!(message.contains("no sentence to learn from"), "{message}");
    let zero = PairingConfig { pool_size: 0, ..PairingConfig::default() };
    let message = Corpus::new(&zero, Some(&empty), &none(), &tokenizer, 16).unwrap_err().to_string();
    assert!(message.contains("data.pairing.pool_size = 0"), "{message}");
    let unknown = Dataset { classes: vec!["colour".to_owned()], ..none() };
    let message = corpus(&config, &[there(&[EDEMA])]).observed(unknown).unwrap_err().to_string();
    assert!(message.contains("no class of the images"), "{message}");
}
