//! The names of findings and how those of other collections translate.

/// The 14 observations of CheXpert, in the order of `MedCLIP`.
pub const CHEXPERT14: [&str; 14] = [
    "No Finding",
    "Enlarged Cardiomediastinum",
    "Cardiomegaly",
    "Lung Lesion",
    "Lung Opacity",
    "Edema",
    "Consolidation",
    "Pneumonia",
    "Atelectasis",
    "Pneumothorax",
    "Pleural Effusion",
    "Pleural Other",
    "Fracture",
    "Support Devices",
];

/// The 14 findings of NIH ChestX-ray14, in the order of the collection of Indiana University.
pub const NIH14: [&str; 14] = [
    "Atelectasis",
    "Cardiomegaly",
    "Effusion",
    "Infiltration",
    "Mass",
    "Nodule",
    "Pneumonia",
    "Pneumothorax",
    "Consolidation",
    "Edema",
    "Emphysema",
    "Fibrosis",
    "Pleural_Thickening",
    "Hernia",
];

/// Names of other collections and the observation of CheXpert that stands for each; compared without regard to case,
/// `_`, `-` and spaces.
const TRANSLATED: [(&str, &str); 11] = [
    ("effusion", "Pleural Effusion"),
    ("infiltration", "Lung Opacity"),
    ("infiltrate", "Lung Opacity"),
    ("mass", "Lung Lesion"),
    ("nodule", "Lung Lesion"),
    ("pleuralthickening", "Pleural Other"),
    ("normal", "No Finding"),
    ("supportdevice", "Support Devices"),
    ("oedema", "Edema"),
    ("airspaceopacity", "Lung Opacity"),
    ("enlargedcardiomediastinalsilhouette", "Enlarged Cardiomediastinum"),
];

/// Parents and their children: a parent is positive when a child is, where the hierarchy is switched on.
pub const HIERARCHY: [(&str, &[&str]); 2] = [
    ("Lung Opacity", &["Edema", "Consolidation", "Pneumonia", "Lung Lesion", "Atelectasis"]),
    ("Enlarged Cardiomediastinum", &["Cardiomegaly"]),
];

/// The observation of CheXpert for a name of NIH ChestX-ray14, of Indiana University, of the phantoms or of CheXpert
/// itself; `None` where it has no counterpart, as Emphysema, Fibrosis and Hernia.
///
/// # Source
/// `MedCLIP` joins collections over these observations; the table is this project's.
///
/// # Examples
/// ```
/// assert_eq!(data::label::to_chexpert14("Pleural_Thickening"), Some("Pleural Other"));
/// assert_eq!(data::label::to_chexpert14("Hernia"), None);
/// ```
pub fn to_chexpert14(name: &str) -> Option<&'static str> {
    let plain = plain(name);
    let same = CHEXPERT14.iter().find(|known| self::plain(known) == plain).copied();
    same.or_else(|| TRANSLATED.iter().find(|(from, _)| *from == plain).map(|&(_, to)| to))
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Which findings get a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FindingSet {
    /// [`CHEXPERT14`].
    Chexpert14,
    /// [`NIH14`].
    Nih14,
}

impl FindingSet {
    /// Its name, which is that of its file of rules too.
    pub fn name(self) -> &'static str {
        match self {
            Self::Chexpert14 => "chexpert14",
            Self::Nih14 => "nih14",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_translate_as_the_documents_say() {
        for name in CHEXPERT14 {
            assert_eq!(to_chexpert14(name), Some(name));
        }
        let none: Vec<&str> = NIH14.into_iter().filter(|name| to_chexpert14(name).is_none()).collect();
        assert_eq!(none, ["Emphysema", "Fibrosis", "Hernia"]);
        let pairs = [
            ("Effusion", "Pleural Effusion"),
            ("Infiltration", "Lung Opacity"),
            ("Mass", "Lung Lesion"),
            ("nodule", "Lung Lesion"),
            ("Pleural_Thickening", "Pleural Other"),
            ("normal", "No Finding"),
            ("cardiomegaly", "Cardiomegaly"),
            ("pleural_effusion", "Pleural Effusion"),
            ("support_device", "Support Devices"),
            ("fracture", "Fracture"),
        ];
        for (from, to) in pairs {
            assert_eq!(to_chexpert14(from), Some(to), "{from}");
        }
        assert_eq!(to_chexpert14(""), None);
    }

    #[test]
    fn parents_and_children_are_observations() {
        let all = HIERARCHY.iter().flat_map(|(parent, children)| [parent].into_iter().chain(children.iter()));
        assert!(all.into_iter().all(|name| CHEXPERT14.contains(name)));
    }
}
