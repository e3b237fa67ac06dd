//! Which labels of a data set a class of a prompt set stands for.

use data::label::to_chexpert14;
use data::prompt::{ClassPrompts, Prompts};
use data::record::Dataset;
use serde::Serialize;

use crate::error::{EvalError, Result};

/// A class of a prompt set with the labels that it is scored by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Compared {
    /// Its place in the prompt set.
    #[serde(skip)]
    pub place: usize,
    /// Its name there.
    pub name: String,
    /// Names of its labels in the data; none where it stands for the absence of all others.
    pub labels: Vec<String>,
    #[serde(skip)]
    columns: Vec<usize>,
}

impl Compared {
    /// A class whose label has its own name and stands in a column of the data.
    pub(crate) fn with_label(place: usize, name: &str, column: usize) -> Self {
        Self { place, name: name.to_owned(), labels: vec![name.to_owned()], columns: vec![column] }
    }

    /// Whether it has no label of its own, but stands for the absence of all others.
    pub fn is_derived(&self) -> bool {
        self.columns.is_empty()
    }
}

/// The classes of a prompt set that the data label, in the order of the set.
///
/// A label is that of a class if it has its name (case, blanks, `_` and `-` do not count), else if it is among the class's
/// other names, else if both are the same of the 14 observations of CheXpert, such as `Mass` and `Nodule`, which are Lung
/// Lesions. The class of a set that is marked `normal` needs no label: it is there where all others are not.
///
/// # Errors
/// If the data label no class.
pub fn compared(prompts: &Prompts, dataset: &Dataset) -> Result<Vec<Compared>> {
    let of_class = |(place, class): (usize, &ClassPrompts)| {
        let columns = columns_of(class, &dataset.classes);
        let labels = columns.iter().map(|&column| dataset.classes[column].clone()).collect();
        Compared { place, name: class.name.clone(), labels, columns }
    };
    let mut all: Vec<Compared> = prompts.classes.iter().enumerate().map(of_class).collect();
    let labelled = all.iter().any(|class| !class.is_derived());
    all.retain(|class| !class.is_derived() || prompts.classes[class.place].normal);
    if labelled {
        return Ok(all);
    }
    let names: Vec<&str> = prompts.classes.iter().map(|class| class.name.as_str()).collect();
    let what = format!(
        "none of its labels ({}) has prompts, which are of {}; give --prompts with a class of the same name, or name the \
         label columns with --label-column",
        dataset.classes.join(", "),
        names.join(", ")
    );
    Err(EvalError::Unfit { data: dataset.name.clone(), what })
}

fn columns_of(class: &ClassPrompts, labels: &[String]) -> Vec<usize> {
    let find = |is_same: &dyn Fn(&str) -> bool| -> Vec<usize> {
        (0..labels.len()).filter(|&column| is_same(&labels[column])).collect()
    };
    let exact = find(&|label| label == class.name);
    let alike = |name: &str, label: &str| plain(name) == plain(label) && !plain(name).is_empty();
    let own = |found: Vec<usize>, next: &dyn Fn() -> Vec<usize>| if found.is_empty() { next() } else { found };
    let observed = || match to_chexpert14(&class.name) {
        Some(observed) => find(&|label| to_chexpert14(label) == Some(observed)),
        None => Vec::new(),
    };
    let also = || own(find(&|label| class.labels.iter().any(|name| alike(name, label))), &observed);
    own(exact, &|| own(find(&|label| alike(&class.name, label)), &also))
}

fn plain(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Labels of images by class, `[K][N]`.
///
/// Of several labels one that is positive makes the class positive, and it is negative where all are. A class that stands
/// for the absence of all others is positive where these are negative, and negative where one of them is positive.
pub fn labels(dataset: &Dataset, images: &[(usize, usize)], classes: &[Compared]) -> Vec<Vec<Option<bool>>> {
    let of_study = |study: usize, class: &Compared| {
        let labels = &dataset.studies[study].labels;
        any(class.columns.iter().map(|&column| labels.get(column).copied().flatten()))
    };
    let others = |study: usize| any(classes.iter().filter(|c| !c.is_derived()).map(|class| of_study(study, class)));
    let of_class = |class: &Compared| {
        let label = |&(study, _): &(usize, usize)| {
            if class.is_derived() { others(study).map(|found| !found) } else { of_study(study, class) }
        };
        images.iter().map(label).collect()
    };
    classes.iter().map(of_class).collect()
}

/// Whether one of several is there: unknown where none is known to be and some are unknown.
fn any(labels: impl Iterator<Item = Option<bool>>) -> Option<bool> {
    let mut found = Some(false);
    for label in labels {
        match label {
            Some(true) => return label,
            None => found = None,
            Some(false) => {}
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use data::demographics::Demographics;
    use data::prompt::PromptSet;
    use data::record::{Phi, Split, Study};

    use super::*;

    fn data_of(classes: &[&str], rows: &[&[Option<bool>]]) -> Dataset {
        let study = |(row, labels): (usize, &&[Option<bool>])| Study {
            patient_id: Phi::new(row.to_string()),
            study_id: Phi::new(row.to_string()),
            images: Vec::new(),
            sentences: Vec::new(),
            labels: labels.to_vec(),
            view: String::new(),
            demographics: Demographics::default(),
            split: Split::Test,
            row,
        };
        let classes = classes.iter().map(|&name| name.to_owned()).collect();
        Dataset { name: "data".to_owned(), classes, studies: rows.iter().enumerate().map(study).collect() }
    }

    fn pairs(set: &str, labels: &[&str]) -> Vec<(String, Vec<String>)> {
        let prompts = PromptSet::open(set.as_ref()).unwrap().prompts;
        let found = compared(&prompts, &data_of(labels, &[])).unwrap();
        found.into_iter().map(|class| (class.name, class.labels)).collect()
    }

    fn pair(name: &str, labels: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), labels.iter().map(|&label| label.to_owned()).collect())
    }

    #[test]
    fn names_of_other_collections_are_matched() {
        let nih = ["Nodule", "Effusion", "Mass", "Hernia", "Pleural_Thickening", "Infiltration", "Edema"];
        let expected = [
            pair("Edema", &["Edema"]),
            pair("Pleural Effusion", &["Effusion"]),
            pair("Lung Lesion", &["Nodule", "Mass"]),
            pair("Lung Opacity", &["Infiltration"]),
            pair("Pleural Other", &["Pleural_Thickening"]),
        ];
        assert_eq!(pairs("chexpert", &nih), expected);
        assert_eq!(pairs("gloria", &["pleural_effusion", "edema"]).len(), 2);
        assert_eq!(pairs("phantom", &["Nodule", "Mass", "Support Devices"])[0], pair("nodule", &["Nodule"]));
        // The name goes before other names, of which all are taken.
        assert_eq!(pairs("rsna", &["Lung Opacity", "Pneumonia"])[1], pair("Pneumonia", &["Pneumonia"]));
        assert_eq!(
            pairs("rsna", &["Lung Opacity", "Edema"]),
            [pair("Normal", &[]), pair("Pneumonia", &["Lung Opacity"])]
        );
        assert_eq!(pairs("covid", &["COVID", "Normal"]), [pair("Normal", &["Normal"]), pair("COVID-19", &["COVID"])]);
        let prompts = PromptSet::open("covid".as_ref()).unwrap().prompts;
        let message = compared(&prompts, &data_of(&["Hernia"], &[])).unwrap_err().to_string();
        assert!(
            message.contains("none of its labels (Hernia) has prompts, which are of Normal, COVID-19"),
            "{message}"
        );
    }

    #[test]
    fn labels_of_several_columns_and_of_none() {
        let [yes, no, unknown] = [Some(true), Some(false), None];
        let rows: [&[Option<bool>]; 5] = [&[yes, unknown], &[no, no], &[no, unknown], &[unknown, yes], &[unknown; 2]];
        let data = data_of(&["Mass", "Nodule"], &rows);
        let text = "[[class]]\nname = 'Lung Lesion'\npositive = ['x']\n[[class]]\nname = 'none'\nnormal = true\npositive = ['y']";
        let classes = compared(&Prompts::parse(text).unwrap(), &data).unwrap();
        let images: Vec<(usize, usize)> = (0..rows.len()).map(|study| (study, 0)).collect();
        let found = labels(&data, &images, &classes);
        assert_eq!(found[0], [yes, no, unknown, yes, unknown]);
        assert_eq!(found[1], [no, yes, unknown, no, unknown]);
    }
}
