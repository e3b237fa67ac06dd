//! Phantoms: frontal chest radiographs made of a number, with paired reports, labels, boxes and masks.
//!
//! A study is a pure function of `(seed, index)`. The pictures are schematic, but they are no toy: pose, build, breath,
//! exposure, noise and distracting objects vary, opacities stay within three standard deviations of the noise and
//! texture around them, and a linear model of small thumbnails finds little (tests hold all of that).

mod anatomy;
mod chest;
mod dataset;
mod device;
mod film;
mod finding;
mod noise;
mod opacity;
mod render;
mod stroke;
mod vessels;
mod wording;

pub use self::dataset::dataset;
pub use self::finding::{Device, Finding, Kind, NATURAL, Severity, Side, Zone};
pub use self::wording::training_sentences;

use self::anatomy::Anatomy;
use self::render::Renderer;
use self::wording::Report;
use crate::image::GrayImage;
use crate::rng::{Purpose, stream};

/// Names of the findings, in the order of all label vectors.
pub const CLASSES: [&str; 8] = [
    "cardiomegaly",
    "pleural_effusion",
    "consolidation",
    "pneumothorax",
    "edema",
    "nodule",
    "fracture",
    "support_device",
];

/// Size at which the boxes of irregular findings are measured (px).
const BOX_SIZE: usize = 128;

/// How often findings occur.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prevalence {
    /// Independently, with the probabilities of [`NATURAL`].
    Natural,
    /// Exactly one finding, of class `index % 8`.
    Exclusive,
}

/// What a phantom is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PhantomKey {
    /// Seed of the data set.
    pub seed: u64,
    /// Number of the study.
    pub index: u64,
    /// How often findings occur.
    pub prevalence: Prevalence,
}

/// Where a finding is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FindingBox {
    /// Index into [`CLASSES`].
    pub class: usize,
    /// Left, top, right and bottom as fractions of the picture.
    pub corners: [f32; 4],
}

/// A study: findings and report, and all that its picture is drawn from.
#[derive(Debug, Clone, PartialEq)]
pub struct PhantomStudy {
    /// The findings, in the order of their classes, at most one of each.
    pub findings: Vec<Finding>,
    /// The sentences of the report, 4 to 8.
    pub sentences: Vec<String>,
    /// For each finding the first thing that the report says of it.
    pub statements: Vec<String>,
    anatomy: Anatomy,
}

impl PhantomKey {
    /// The study of this key. No pixels are drawn, so this takes microseconds.
    pub fn study(&self) -> PhantomStudy {
        // Natural and exclusive studies of one number are different patients.
        let seed = match self.prevalence {
            Prevalence::Natural => self.seed,
            Prevalence::Exclusive => !self.seed,
        };
        let findings = finding::findings(seed, self.index, self.prevalence);
        let anatomy = Anatomy::sample(seed, self.index, &findings);
        let mut random = stream(seed, Purpose::Wording, 0, self.index);
        let Report { sentences, statements } = wording::report(&findings, anatomy.remarks(), &mut random);
        PhantomStudy { findings, sentences, statements, anatomy }
    }
}

impl PhantomStudy {
    /// Which classes are present, in the order of [`CLASSES`].
    pub fn labels(&self) -> [bool; CLASSES.len()] {
        let mut labels = [false; CLASSES.len()];
        for finding in &self.findings {
            labels[finding.class()] = true;
        }
        labels
    }

    /// The radiograph, `size` by `size` pixels. Geometry and texture are the same at every size; only the noise per
    /// pixel differs.
    pub fn render(&self, size: usize) -> GrayImage {
        Renderer::new(&self.anatomy, &self.findings, size).picture()
    }

    /// Boxes of the findings, in their order; a finding on both sides has one for each side.
    pub fn boxes(&self) -> Vec<FindingBox> {
        let renderer = Renderer::new(&self.anatomy, &self.findings, BOX_SIZE);
        self.findings
            .iter()
            .flat_map(|finding| {
                let class = finding.class();
                renderer.boxes(finding).into_iter().map(move |corners| FindingBox { class, corners })
            })
            .collect()
    }

    /// Pixels of finding number `finding` in a picture of `size` by `size` pixels, row-major.
    ///
    /// # Panics
    /// Panics if there are not so many findings.
    pub fn mask(&self, finding: usize, size: usize) -> Vec<bool> {
        Renderer::new(&self.anatomy, &self.findings, size).mask(&self.findings[finding])
    }

    /// Pixels of aerated lung in a picture of `size` by `size` pixels, row-major, as if there were no finding in it.
    pub fn lungs(&self, size: usize) -> Vec<bool> {
        Renderer::new(&self.anatomy, &self.findings, size).lungs()
    }

    /// The same patient and film without finding number `finding`, for measuring what the finding changes. The heart
    /// keeps its size and the report its sentences.
    #[must_use]
    pub fn without(&self, finding: usize) -> Self {
        let mut other = self.clone();
        if finding < other.findings.len() {
            other.findings.remove(finding);
            other.statements.remove(finding);
        }
        other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_says_something_of_every_finding_and_is_short() {
        for index in 0..200 {
            let study = PhantomKey { seed: 5, index, prevalence: Prevalence::Natural }.study();
            assert!((4..=8).contains(&study.sentences.len()), "{index}: {}", study.sentences.len());
            assert_eq!(study.statements.len(), study.findings.len(), "{index}");
            assert!(study.statements.iter().all(|told| study.sentences.contains(told)), "{index}");
        }
    }

    #[test]
    fn the_purposes_of_a_study_do_not_share_numbers() {
        let natural = PhantomKey { seed: 1, index: 8, prevalence: Prevalence::Natural }.study();
        let exclusive = PhantomKey { seed: 1, index: 8, prevalence: Prevalence::Exclusive }.study();
        assert_ne!(natural.anatomy, exclusive.anatomy);
    }
}
