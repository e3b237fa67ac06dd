//! Labels of images and sentences over the same observations.

use super::{PairingConfig, Silent, Uncertain};
use crate::error::Result;
use crate::label::names::HIERARCHY;
use crate::label::{CHEXPERT14, FindingSet, Labeler, Status, to_chexpert14};
use crate::record::Dataset;

/// Number of observations.
pub const OBSERVATIONS: usize = CHEXPERT14.len();
/// What is said of each observation of [`CHEXPERT14`]: that it is there, that it is not, or nothing.
pub type Labels = [Option<bool>; OBSERVATIONS];
/// Nothing is said.
pub const NONE: Labels = [None; OBSERVATIONS];
/// Place of "No Finding".
pub const NO_FINDING: usize = 0;
/// Place of "Support Devices", which is no disease: a film with nothing else shows no finding.
const DEVICES: usize = 13;

/// The names of the observations.
pub fn names() -> Vec<String> {
    CHEXPERT14.map(str::to_owned).to_vec()
}

fn place(name: &str) -> Option<usize> {
    let name = to_chexpert14(name)?;
    CHEXPERT14.iter().position(|known| *known == name)
}

/// From the classes of a data set to the observations.
#[derive(Debug, Clone)]
pub struct Translation {
    /// The observation of each class, `None` where there is no counterpart.
    places: Vec<Option<usize>>,
}

impl Translation {
    /// That of some classes, by their names: those of CheXpert, of NIH ChestX-ray14, of Indiana University and of
    /// phantoms.
    pub fn new(classes: &[String]) -> Self {
        Self { places: classes.iter().map(|class| place(class)).collect() }
    }

    /// Whether any class stands for an observation.
    pub fn knows_any(&self) -> bool {
        self.places.iter().any(Option::is_some)
    }

    /// Labels of the observations.
    ///
    /// Several classes can be one observation, which is there where one of them is. A finding without counterpart
    /// (hernia) still means that there is one. Without a class for it, nothing was found where every class is known to
    /// be absent.
    pub fn labels(&self, classes: &[Option<bool>]) -> Labels {
        let mut labels = NONE;
        let mut rest = None;
        for (&place, &label) in self.places.iter().zip(classes) {
            let target = place.map_or(&mut rest, |place| &mut labels[place]);
            *target = either(*target, label);
        }
        if !self.places.contains(&Some(NO_FINDING)) {
            let known = |label: &Option<bool>| label.is_some();
            let diseased =
                self.places.iter().zip(classes).any(|(place, l)| *l == Some(true) && *place != Some(DEVICES));
            labels[NO_FINDING] = match (diseased, !classes.is_empty() && classes.iter().all(known)) {
                (true, _) => Some(false),
                (false, true) => Some(true),
                (false, false) => None,
            };
        } else if rest == Some(true) {
            labels[NO_FINDING] = Some(false);
        }
        labels
    }
}

/// Images with the observations as their classes, for evaluation.
pub fn observed(images: Dataset) -> Dataset {
    let Dataset { name, classes, mut studies } = images;
    let translation = Translation::new(&classes);
    for study in &mut studies {
        study.labels = translation.labels(&study.labels).to_vec();
    }
    Dataset { name, classes: names(), studies }
}

/// What two statements on one observation come to.
fn either(a: Option<bool>, b: Option<bool>) -> Option<bool> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a || b),
        (known, other) => known.or(other),
    }
}

/// Labels with what follows from them: with `hierarchy`, an observation is there where one that it includes is.
pub fn complete(mut labels: Labels, hierarchy: bool) -> Labels {
    if hierarchy {
        for (parent, children) in HIERARCHY {
            let is_there = children.iter().any(|child| place(child).is_some_and(|at| labels[at] == Some(true)));
            if let Some(at) = place(parent).filter(|_| is_there) {
                labels[at] = Some(true);
            }
        }
    }
    labels
}

/// Labels sentences.
#[derive(Debug)]
pub struct SentenceLabeler {
    labeler: Labeler,
    /// The observation of each finding of the labeler.
    places: Vec<Option<usize>>,
    config: PairingConfig,
}

impl SentenceLabeler {
    /// The built-in labeler.
    ///
    /// # Errors
    /// None that a user can cause.
    pub fn new(config: &PairingConfig) -> Result<Self> {
        let labeler = Labeler::builtin(FindingSet::Chexpert14)?;
        let places = labeler.findings().iter().map(|name| place(name)).collect();
        Ok(Self { labeler, places, config: config.clone() })
    }

    /// What a sentence says of the observations. It says that nothing was found where it denies all that it names.
    pub fn label(&self, sentence: &str) -> Labels {
        let said = self.labeler.sentence(sentence);
        let mut labels = NONE;
        if said.mentions.is_empty() {
            labels[NO_FINDING] = (self.config.silent == Silent::NoFinding).then_some(true);
            return labels;
        }
        for (&place, &status) in self.places.iter().zip(&said.statuses) {
            let Some(place) = place else { continue };
            labels[place] = match status {
                Some(Status::Positive) => Some(true),
                Some(Status::Negative) => Some(false),
                Some(Status::Uncertain) => (self.config.uncertain == Uncertain::Positive).then_some(true),
                None => None,
            };
        }
        let open = said.mentions.iter().any(|mention| mention.status != Status::Negative);
        let found = |at: usize| at != NO_FINDING && at != DEVICES && labels[at] == Some(true);
        if (0..OBSERVATIONS).any(found) {
            labels[NO_FINDING] = None;
        } else if !open {
            labels[NO_FINDING] = Some(true);
        }
        complete(labels, self.config.hierarchy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(name: &str) -> usize {
        place(name).unwrap()
    }

    /// Names of the observations that are there, and of those that are known not to be.
    fn told(labels: &Labels) -> (Vec<&'static str>, usize) {
        let there = (0..OBSERVATIONS).filter(|&i| labels[i] == Some(true)).map(|i| CHEXPERT14[i]).collect();
        (there, labels.iter().filter(|label| **label == Some(false)).count())
    }

    fn classes(names: &[&str]) -> Translation {
        Translation::new(&names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn classes_of_other_collections_become_observations() {
        let nih =
            classes(&["Effusion", "Infiltration", "Mass", "Nodule", "Pleural_Thickening", "Hernia", "No Finding"]);
        let of = |present: &[usize]| nih.labels(&(0..7).map(|i| Some(present.contains(&i))).collect::<Vec<_>>());
        assert_eq!(told(&of(&[0])), (vec!["Pleural Effusion"], 4));
        // One of two that are the same observation is enough.
        assert_eq!(told(&of(&[3])), (vec!["Lung Lesion"], 4));
        assert_eq!(told(&of(&[1, 4])), (vec!["Lung Opacity", "Pleural Other"], 3));
        assert_eq!(told(&of(&[6])), (vec!["No Finding"], 4));
        // A finding without counterpart is neither one of the others nor none.
        assert_eq!(told(&of(&[5])), (vec![], 5));
        assert_eq!(nih.labels(&[None; 7]), NONE);
    }

    #[test]
    fn nothing_was_found_where_every_class_is_absent() {
        let phantoms = classes(&crate::source::phantom::CLASSES);
        let of = |present: &[usize]| phantoms.labels(&(0..8).map(|i| Some(present.contains(&i))).collect::<Vec<_>>());
        assert_eq!(of(&[])[NO_FINDING], Some(true));
        assert_eq!(told(&of(&[5])), (vec!["Lung Lesion"], 8));
        assert_eq!(told(&of(&[7])), (vec!["No Finding", "Support Devices"], 7));
        assert_eq!(phantoms.labels(&[None; 8]), NONE);
        let mut one = [Some(false); 8];
        one[2] = None;
        assert_eq!(phantoms.labels(&one)[NO_FINDING], None);
        assert!(!classes(&["Hernia", "colour"]).knows_any());
    }

    #[test]
    fn a_parent_is_there_where_a_child_is() {
        let mut labels = NONE;
        labels[at("Edema")] = Some(true);
        assert_eq!(complete(labels, false), labels);
        assert_eq!(told(&complete(labels, true)).0, ["Lung Opacity", "Edema"]);
        labels = NONE;
        labels[at("Cardiomegaly")] = Some(true);
        assert_eq!(told(&complete(labels, true)).0, ["Enlarged Cardiomediastinum", "Cardiomegaly"]);
    }

    #[test]
    fn sentences_say_what_is_there_what_is_not_and_nothing() {
        let plain = SentenceLabeler::new(&PairingConfig::default()).unwrap();
        assert_eq!(told(&plain.label("There is a large left pleural effusion.")).0, ["Pleural Effusion"]);
        let denied = plain.label("No pneumothorax.");
        assert_eq!((denied[at("Pneumothorax")], denied[NO_FINDING]), (Some(false), Some(true)));
        assert_eq!(plain.label("Comparison to the prior film."), NONE);
        let reference = PairingConfig { silent: Silent::NoFinding, ..PairingConfig::default() };
        let silent = SentenceLabeler::new(&reference).unwrap().label("Comparison to the prior film.");
        assert_eq!(told(&silent).0, ["No Finding"]);
        let doubt = "Possible pneumonia.";
        assert_eq!(plain.label(doubt)[at("Pneumonia")], None);
        assert_ne!(plain.label(doubt)[NO_FINDING], Some(true));
        let bold = PairingConfig { uncertain: Uncertain::Positive, ..PairingConfig::default() };
        assert_eq!(SentenceLabeler::new(&bold).unwrap().label(doubt)[at("Pneumonia")], Some(true));
    }
}
