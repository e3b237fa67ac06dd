//! What the prototypes of a model stand for: the images and reports nearest to each, those that are assigned to it, and how
//! far the labels of its images agree.
//!
//! Wang et al., "Multi-granularity cross-modal alignment for generalized medical visual representation learning" (`MGCA`), 2022,
//! section 3.3. Here an image or report belongs to the prototype with the greatest cosine; the balanced assignment of training
//! is a matter of its batches.

pub mod record;

use data::rng::{Purpose, stream};

use crate::embed::{Embedded, TextTower};
use crate::error::{EvalError, Result};
use crate::ranking::{Embeddings, Neighbour, rank};

/// Draws of the purity that chance would give.
const DRAWS: u64 = 20;

/// How far images that belong together share a label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Purity {
    /// The label that most of them have, by its number; nothing where most have none of the labels.
    pub label: Option<usize>,
    /// Share of the images with it, of those where it is known.
    pub share: f64,
    /// Share of all images with it.
    pub base: f64,
}

/// One prototype.
#[derive(Debug, Clone, PartialEq)]
pub struct Prototype {
    /// Its number in the checkpoint.
    pub index: usize,
    /// Images that belong to it.
    pub images: usize,
    /// Reports that belong to it.
    pub reports: usize,
    /// Nothing where no image belongs to it or none has labels.
    pub purity: Option<Purity>,
    /// The nearest images, by their row among the embedded.
    pub nearest_images: Vec<Neighbour>,
    /// The nearest reports, by their place in [`Prototypes::reports`].
    pub nearest_reports: Vec<Neighbour>,
}

/// All prototypes of a model on a data set.
#[derive(Debug, Clone, PartialEq)]
pub struct Prototypes {
    /// Those with most images first, then with most reports, then by number.
    pub prototypes: Vec<Prototype>,
    /// Images embedded.
    pub images: usize,
    /// Studies with a report, by their place in the data set.
    pub reports: Vec<usize>,
    /// Share of images that belong to the same prototype as their report.
    pub agreement: Option<f64>,
    /// Mean over images of the purity of their prototype.
    pub purity: Option<f64>,
    /// The same with images dealt out at random to prototypes of the same sizes: small ones are pure by chance.
    pub purity_by_chance: Option<f64>,
}

impl Prototypes {
    /// Prototypes to which an image (or a report) belongs.
    pub fn used(&self, count: impl Fn(&Prototype) -> usize) -> usize {
        self.prototypes.iter().filter(|prototype| count(prototype) > 0).count()
    }
}

/// Compares the prototypes of a model, one a row, with images and whole reports; keeps the `top` nearest of each.
///
/// # Errors
/// Unreadable tokens or embeddings that are no numbers.
pub fn prototypes(centres: &Embeddings, set: Embedded<'_>, text: TextTower<'_>, top: usize) -> Result<Prototypes> {
    let studies = &set.dataset.studies;
    let reports: Vec<usize> = (0..studies.len()).filter(|&study| !studies[study].sentences.is_empty()).collect();
    let texts: Vec<String> = reports.iter().map(|&study| report(set, study)).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let images = &set.embeddings.embeds;
    let image_homes = homes(images, centres)?;
    let nearest_images = rank(centres, images, top, |_, _| false)?;
    let (report_homes, nearest_reports) = if reports.is_empty() {
        (Vec::new(), vec![Vec::new(); centres.rows()])
    } else {
        let reports = text.embed(&texts)?;
        (homes(&reports, centres)?, rank(centres, &reports, top, |_, _| false)?)
    };
    let labels: Vec<&[Option<bool>]> = set.images.iter().map(|&(study, _)| studies[study].labels.as_slice()).collect();
    let purities = purities(&image_homes, &labels, centres.rows());
    let count = |homes: &[usize], index: usize| homes.iter().filter(|&&home| home == index).count();
    let mut found: Vec<Prototype> = nearest_images
        .into_iter()
        .zip(nearest_reports)
        .enumerate()
        .map(|(index, (nearest_images, nearest_reports))| Prototype {
            index,
            images: count(&image_homes, index),
            reports: count(&report_homes, index),
            purity: purities[index],
            nearest_images,
            nearest_reports,
        })
        .collect();
    found.sort_by_key(|prototype| {
        std::cmp::Reverse((prototype.images, prototype.reports, std::cmp::Reverse(prototype.index)))
    });
    Ok(Prototypes {
        prototypes: found,
        images: set.images.len(),
        agreement: agreement(set, &reports, &image_homes, &report_homes),
        purity: mean_purity(&image_homes, &purities),
        purity_by_chance: purity_by_chance(&image_homes, &labels, centres.rows()),
        reports,
    })
}

/// The text of a study, as objectives that read whole reports see it.
pub(crate) fn report(set: Embedded<'_>, study: usize) -> String {
    let sentences = set.dataset.studies[study].sentences.iter().map(|sentence| sentence.expose().as_str());
    sentences.collect::<Vec<_>>().join(" ")
}

/// The nearest prototype of each row.
fn homes(rows: &Embeddings, centres: &Embeddings) -> Result<Vec<usize>> {
    let nearest = rank(rows, centres, 1, |_, _| false)?;
    Ok(nearest.into_iter().map(|nearest| nearest.first().map_or(0, |neighbour| neighbour.index)).collect())
}

/// Share of images in the prototype of their report.
fn agreement(set: Embedded<'_>, reports: &[usize], images: &[usize], texts: &[usize]) -> Option<f64> {
    let mut of_study = vec![None; set.dataset.studies.len()];
    for (&study, &home) in reports.iter().zip(texts) {
        of_study[study] = Some(home);
    }
    let pairs: Vec<bool> =
        set.images.iter().zip(images).filter_map(|(&(study, _), &home)| Some(of_study[study]? == home)).collect();
    share(pairs.iter().filter(|&&same| same).count(), pairs.len())
}

fn share(part: usize, whole: usize) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// Whether an image has a label (by its number) or, without a number, none of them; nothing where that is not known.
fn has(labels: &[Option<bool>], label: Option<usize>) -> Option<bool> {
    match label {
        Some(label) => labels[label],
        None if labels.contains(&Some(true)) => Some(false),
        None => labels.iter().all(Option::is_some).then_some(!labels.is_empty()),
    }
}

/// Purity of the images of each prototype, given the prototype and the labels of every image.
fn purities(homes: &[usize], labels: &[&[Option<bool>]], prototypes: usize) -> Vec<Option<Purity>> {
    let count = labels.first().map_or(0, |labels| labels.len());
    if count == 0 {
        return vec![None; prototypes];
    }
    // Positive and known images of each prototype, and of all in the last place.
    let mut best: Vec<Option<Purity>> = vec![None; prototypes];
    for label in (0..count).map(Some).chain([None]) {
        let mut counts = vec![(0_usize, 0_usize); prototypes + 1];
        for (&home, labels) in homes.iter().zip(labels) {
            if let Some(positive) = has(labels, label) {
                for place in [home, prototypes] {
                    counts[place].0 += usize::from(positive);
                    counts[place].1 += 1;
                }
            }
        }
        let base = share(counts[prototypes].0, counts[prototypes].1).unwrap_or(0.0);
        for (best, &(positive, known)) in best.iter_mut().zip(&counts) {
            if let Some(share) = share(positive, known)
                && best.is_none_or(|best| share > best.share)
            {
                *best = Some(Purity { label, share, base });
            }
        }
    }
    best
}

/// Mean over images of the purity of their prototype.
fn mean_purity(homes: &[usize], purities: &[Option<Purity>]) -> Option<f64> {
    let known: Vec<f64> = homes.iter().filter_map(|&home| Some(purities[home]?.share)).collect();
    (!known.is_empty()).then(|| known.iter().sum::<f64>() / known.len() as f64)
}

fn purity_by_chance(homes: &[usize], labels: &[&[Option<bool>]], prototypes: usize) -> Option<f64> {
    let mut homes = homes.to_vec();
    let mut sum = 0.0;
    for draw in 0..DRAWS {
        stream(0, Purpose::Control, 0, draw).shuffle(&mut homes);
        sum += mean_purity(&homes, &purities(&homes, labels, prototypes))?;
    }
    Some(sum / DRAWS as f64)
}

/// The error of a model without prototypes.
pub(crate) fn none_of_them() -> EvalError {
    let what = "it has no prototypes: give weights that MGCA trained".to_owned();
    EvalError::Unfit { data: "the checkpoint".to_owned(), what }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YES: Option<bool> = Some(true);
    const NO: Option<bool> = Some(false);

    #[test]
    fn purity_is_the_share_of_the_most_frequent_label() {
        let labels: [&[Option<bool>]; 6] = [&[YES, NO], &[YES, NO], &[NO, YES], &[NO, NO], &[NO, NO], &[None, YES]];
        let homes = [0, 0, 0, 1, 1, 3];
        let found = purities(&homes, &labels, 4);
        // Two of three have the first label; two of five of all whose first label is known.
        assert_eq!(found[0], Some(Purity { label: Some(0), share: 2.0 / 3.0, base: 0.4 }));
        // Neither has a label, as two of all six: the last has one, whatever the other is.
        assert_eq!(found[1], Some(Purity { label: None, share: 1.0, base: 2.0 / 6.0 }));
        assert_eq!(found[2], None);
        assert_eq!(found[3], Some(Purity { label: Some(1), share: 1.0, base: 2.0 / 6.0 }));
        let mean = mean_purity(&homes, &found).unwrap();
        assert!((mean - (3.0 * 2.0 / 3.0 + 2.0 + 1.0) / 6.0).abs() < 1e-12, "{mean}");
        assert_eq!(purities(&homes, &[[].as_slice(); 6], 4), vec![None; 4]);
    }

    #[test]
    fn chance_lies_between_the_commonest_label_and_what_labels_explain() {
        let (a, b): (&[Option<bool>], &[Option<bool>]) = (&[YES, NO], &[NO, YES]);
        let labels: Vec<&[Option<bool>]> = (0..64).map(|i| if i < 32 { a } else { b }).collect();
        let homes: Vec<usize> = (0..64).map(|i| i / 16).collect();
        assert_eq!(mean_purity(&homes, &purities(&homes, &labels, 4)), Some(1.0));
        let chance = purity_by_chance(&homes, &labels, 4).unwrap();
        assert!(chance > 0.5 && chance < 0.75, "{chance}");
        // Prototypes of one image each are pure, and that says nothing.
        let alone: Vec<usize> = (0..64).collect();
        assert_eq!(purity_by_chance(&alone, &labels, 64), Some(1.0));
    }
}
