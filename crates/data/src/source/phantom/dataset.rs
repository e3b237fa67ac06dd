//! Phantoms as a data set.

use std::ops::Range;

use super::{CLASSES, PhantomKey, Prevalence};
use crate::demographics::Demographics;
use crate::record::{Dataset, ImageSource, Phi, Split, Study};

/// The phantoms of a range as one split: one image, one report and all eight labels for each.
pub fn dataset(seed: u64, range: Range<u64>, prevalence: Prevalence, split: Split) -> Dataset {
    let studies = range
        .map(|index| {
            let key = PhantomKey { seed, index, prevalence };
            let study = key.study();
            Study {
                patient_id: Phi::new(format!("phantom-{index}")),
                study_id: Phi::new(format!("phantom-{index}")),
                images: vec![ImageSource::Phantom(key)],
                labels: study.labels().map(Some).to_vec(),
                sentences: study.sentences.into_iter().map(Phi::new).collect(),
                view: "PA".to_owned(),
                demographics: Demographics::default(),
                split,
                row: usize::try_from(index).unwrap_or(usize::MAX),
            }
        })
        .collect();
    Dataset { name: "phantom".to_owned(), classes: CLASSES.map(str::to_owned).to_vec(), studies }
}
