//! Images with exactly one finding, equally many of each: the sets that zero-shot classification and retrieval are asked on.
//!
//! # Source
//! `CheXpert` 8x200 (Zhang et al. 2022, section 4.2: "exclusive positivity") and the 5x200 of `GLoRIA` and `MGCA` (exactly one
//! positive label, 200 of each class). Those of `GLoRIA` leave No Finding unchecked by a slip; here every label counts, and an
//! image with an uncertain one is left out. Drawn with no patient twice as far as the images allow.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};

use super::pairs_csv::{PairsColumns, parse_findings};
use super::queries::CHEXPERT_PATH;
use super::table::{Row, Table};
use crate::error::{DataError, Result, RowFaultKind};
use crate::fsx;
use crate::label::CHEXPERT14;
use crate::rng::{Purpose, permutation};

/// Column that a selection adds.
pub const CATEGORY: &str = "category";

/// What is selected.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SelectConfig {
    /// The categories, in the order of the result.
    pub classes: Vec<String>,
    /// Images of each.
    pub count: usize,
    /// Seed of the draw.
    pub seed: u64,
    /// Columns of one label each, with 1, 0, -1 (uncertain) or blank (not mentioned, hence absent). Empty: a column
    /// `labels` of lists, else the columns that have names of the 14 observations of `CheXpert`.
    pub label_columns: Vec<String>,
    /// What separates the names of a list.
    pub label_separator: String,
    /// Column with the image; absent: `image_path`, else `Path`.
    pub image_column: Option<String>,
    /// Column with the patient; absent: `patient_id`, else the folder `patient...` in the path, as `CheXpert` has it. An image
    /// without one is of a patient of its own.
    pub patient_column: Option<String>,
    /// Columns with the value that a row must have, such as the view.
    pub only: Vec<(String, String)>,
    /// Tables whose patients and images are left out, such as an earlier selection; their columns are those of the source.
    pub exclude: Vec<PathBuf>,
}

/// How many images of a class there were and are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Drawn {
    /// Images that have the class alone.
    pub eligible: usize,
    /// Images drawn.
    pub drawn: usize,
}

/// A selection, as CSV, and its counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// The rows of the source as they are, with a column [`CATEGORY`]; by class, then in the order of the source.
    pub csv: Vec<u8>,
    /// Counts by class.
    pub classes: Vec<(String, Drawn)>,
    /// Patients of the drawn images.
    pub patients: usize,
    /// Drawn images beside another one of their patient.
    pub shared: usize,
}

/// Draws images of each class that have no other label.
///
/// # Errors
/// As [`super::pairs_csv::read`] for the table, [`DataError::Setting`] for settings that make no sense, [`DataError::TooFew`]
/// where a class has too few images.
pub fn select(file: &Path, config: &SelectConfig) -> Result<Selection> {
    let refuse = |key, value: String, why| Err(DataError::Setting { key, value, why });
    if config.count == 0 {
        return refuse("--count", "0".to_owned(), "use at least 1");
    }
    let distinct: HashSet<&String> = config.classes.iter().collect();
    if config.classes.is_empty() || distinct.len() < config.classes.len() {
        return refuse("--classes", config.classes.join(","), "name each class once");
    }
    let mut table = Table::read(file)?;
    if table.column(CATEGORY).is_some() {
        let why = "the table has a column of this name already: rename it";
        return refuse("column", CATEGORY.to_owned(), why);
    }
    let columns = Columns::find(&mut table, config)?;
    let left_out = config.exclude.iter().map(|file| identities(file, config)).collect::<Result<Vec<_>>>()?.concat();
    let left_out: HashSet<String> = left_out.into_iter().collect();
    let rows = std::mem::take(&mut table.rows);
    let mut candidates: Vec<Vec<&Row>> = vec![Vec::new(); config.classes.len()];
    for row in &rows {
        let alone = columns.alone(row, config).unwrap_or_else(|column| {
            table.fault(row.number, column, RowFaultKind::Label);
            None
        });
        let wanted = columns.only.iter().all(|(column, value)| row.fields[*column].trim() == value);
        let known = [columns.patient(row), columns.image(row)].iter().any(|identity| left_out.contains(identity));
        if let Some(class) = alone.filter(|_| wanted && !known) {
            candidates[class].push(row);
        }
    }
    table.check()?;
    let chosen = draw(&candidates, &columns, file, config)?;
    let count = |class: usize| Drawn { eligible: candidates[class].len(), drawn: chosen[class].len() };
    let classes = config.classes.iter().cloned().zip((0..config.classes.len()).map(count)).collect();
    let mut of_patient: HashMap<String, usize> = HashMap::new();
    for row in chosen.iter().flatten() {
        *of_patient.entry(columns.patient(row)).or_default() += 1;
    }
    let shared = of_patient.values().filter(|&&images| images > 1).sum();
    let csv = written(file, &table.header, &chosen, &config.classes)?;
    Ok(Selection { csv, classes, patients: of_patient.len(), shared })
}

/// Writes a selection.
///
/// # Errors
/// [`DataError::Io`] where the file cannot be written.
pub fn write(out: &Path, selection: &Selection) -> Result<()> {
    fsx::write_atomic(out, &selection.csv)
}

/// Where the fields are.
struct Columns {
    /// One column for each label, or one of lists.
    labels: Vec<usize>,
    lists: bool,
    /// The classes of the label columns.
    classes: Vec<Option<usize>>,
    image: usize,
    patient: Option<usize>,
    only: Vec<(usize, String)>,
}

impl Columns {
    fn find(table: &mut Table, config: &SelectConfig) -> Result<Self> {
        let usual = PairsColumns::default();
        let list = table.column(&usual.labels).filter(|_| config.label_columns.is_empty());
        let mut names = config.label_columns.clone();
        if names.is_empty() && list.is_none() {
            names.extend(CHEXPERT14.iter().map(|&name| name.to_owned()).filter(|name| table.header.contains(name)));
        }
        let labels = match list {
            Some(list) => vec![list],
            None if names.is_empty() => vec![table.require(&usual.labels, "--label-columns")?],
            None => names.iter().map(|name| table.require(name, "--label-columns")).collect::<Result<_>>()?,
        };
        let class = |name: &String| config.classes.iter().position(|class| class == name);
        if list.is_none()
            && let Some(unknown) = config.classes.iter().find(|class| !names.contains(class))
        {
            let why = "no label column has this name: mind spelling, capitals and --label-columns";
            return Err(DataError::Setting { key: "--classes", value: unknown.clone(), why });
        }
        let (image, patient) = places(table, config)?;
        let only =
            config.only.iter().map(|(name, value)| Ok((table.require(name, "--only")?, value.trim().to_owned())));
        let only = only.collect::<Result<_>>()?;
        Ok(Self { labels, lists: list.is_some(), classes: names.iter().map(class).collect(), image, patient, only })
    }

    /// The class that is the one positive label of a row, where no label is uncertain; the column of a field that is no label.
    fn alone(&self, row: &Row, config: &SelectConfig) -> Result<Option<usize>, usize> {
        if self.lists {
            let list = row.fields[self.labels[0]].split(config.label_separator.as_str());
            let names: Vec<&str> = list.map(str::trim).filter(|name| !name.is_empty()).collect();
            let (findings, _) = parse_findings(&names);
            let mut present = findings.iter().filter(|(_, present)| *present).map(|(name, _)| name);
            let only = present.next().filter(|_| present.next().is_none());
            return Ok(only.and_then(|name| config.classes.iter().position(|class| class == name)));
        }
        let (mut found, mut positive, mut uncertain) = (None, 0, 0);
        for (&column, class) in self.labels.iter().zip(&self.classes) {
            match row.fields[column].trim() {
                "" | "0" | "0.0" => {}
                "-1" | "-1.0" => uncertain += 1,
                "1" | "1.0" => (found, positive) = (*class, positive + 1),
                _ => return Err(column),
            }
        }
        Ok(found.filter(|_| positive == 1 && uncertain == 0))
    }

    fn image(&self, row: &Row) -> String {
        image_of(row, self.image)
    }

    fn patient(&self, row: &Row) -> String {
        patient_of(row, self.image, self.patient)
    }
}

/// Columns of image and patient.
fn places(table: &mut Table, config: &SelectConfig) -> Result<(usize, Option<usize>)> {
    let usual = PairsColumns::default();
    let image = match &config.image_column {
        Some(name) => table.require(name, "--image-column")?,
        None => match table.column(&usual.image).or_else(|| table.column(CHEXPERT_PATH)) {
            Some(image) => image,
            None => table.require(&usual.image, "--image-column")?,
        },
    };
    let patient = match &config.patient_column {
        Some(name) => Some(table.require(name, "--patient-column")?),
        None => table.column(&usual.patient),
    };
    Ok((image, patient))
}

/// Patients and images of a table.
fn identities(file: &Path, config: &SelectConfig) -> Result<Vec<String>> {
    let mut table = Table::read(file)?;
    let (image, patient) = places(&mut table, config)?;
    table.check()?;
    Ok(table.rows.iter().flat_map(|row| [patient_of(row, image, patient), image_of(row, image)]).collect())
}

fn image_of(row: &Row, image: usize) -> String {
    format!("image {}", row.fields[image].trim())
}

/// The patient of a row: what the column says, else the folder of the path, else the image itself.
fn patient_of(row: &Row, image: usize, patient: Option<usize>) -> String {
    let named = patient.map(|patient| row.fields[patient].trim()).filter(|name| !name.is_empty());
    let folder = || row.fields[image].split('/').find(|part| is_patient(part));
    named.or_else(folder).map_or_else(|| image_of(row, image), |name| format!("patient {name}"))
}

/// Whether a part of a path names a patient, as in `train/patient00001/study1/view1_frontal.jpg`.
fn is_patient(part: &str) -> bool {
    let digits = part.trim().strip_prefix("patient").unwrap_or_default();
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// The rows of each class.
fn draw<'a>(
    candidates: &[Vec<&'a Row>],
    columns: &Columns,
    file: &Path,
    config: &SelectConfig,
) -> Result<Vec<Vec<&'a Row>>> {
    let patients = |rows: &[&Row]| rows.iter().map(|row| columns.patient(row)).collect::<HashSet<_>>().len();
    // Classes with few patients choose first, so that others do not take what they need.
    let mut order: Vec<usize> = (0..candidates.len()).collect();
    order.sort_by_key(|&class| (patients(&candidates[class]), class));
    let mut used: HashSet<String> = HashSet::new();
    let mut chosen: BTreeMap<usize, Vec<&Row>> = BTreeMap::new();
    for class in order {
        let rows = &candidates[class];
        if rows.len() < config.count {
            return Err(DataError::TooFew {
                name: file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned()),
                class: config.classes[class].clone(),
                found: rows.len(),
                wanted: config.count,
            });
        }
        let shuffled = permutation(config.seed, Purpose::Selection, class as u64, rows.len());
        let (mut fresh, mut again) = (Vec::new(), Vec::new());
        for row in shuffled.into_iter().map(|place| rows[place as usize]) {
            if fresh.len() < config.count && used.insert(columns.patient(row)) {
                fresh.push(row);
            } else {
                again.push(row);
            }
        }
        fresh.extend(again);
        fresh.truncate(config.count);
        fresh.sort_by_key(|row| row.number);
        chosen.insert(class, fresh);
    }
    Ok(chosen.into_values().collect())
}

fn written(file: &Path, header: &[String], chosen: &[Vec<&Row>], classes: &[String]) -> Result<Vec<u8>> {
    let failed = |error: csv::Error| DataError::Io {
        action: "copy the rows of",
        path: file.to_path_buf(),
        source: std::io::Error::other(error),
    };
    let mut table = csv::Writer::from_writer(Vec::new());
    table.write_record(header.iter().map(String::as_str).chain([CATEGORY])).map_err(failed)?;
    for (rows, class) in chosen.iter().zip(classes) {
        for row in rows {
            table.write_record(row.fields.iter().map(String::as_str).chain([class.as_str()])).map_err(failed)?;
        }
    }
    table.into_inner().map_err(|error| failed(csv::Error::from(error.into_error())))
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use super::*;

    fn config(classes: &[&str], count: usize) -> SelectConfig {
        SelectConfig {
            classes: classes.iter().map(|&class| class.to_owned()).collect(),
            count,
            label_separator: "|".to_owned(),
            ..SelectConfig::default()
        }
    }

    fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
        let file = dir.join(name);
        fsx::write_atomic(&file, text.as_bytes()).unwrap();
        file
    }

    /// Rows of a selection without the header.
    fn rows(selection: &Selection) -> Vec<String> {
        String::from_utf8(selection.csv.clone()).unwrap().lines().skip(1).map(str::to_owned).collect()
    }

    #[test]
    fn exactly_one_label_is_positive_and_none_uncertain() {
        let dir = tempfile::tempdir().unwrap();
        let table = "Path,Frontal/Lateral,No Finding,Edema,Fracture\n\
                     train/patient1/a.jpg,Frontal,,1.0,\n\
                     train/patient2/a.jpg,Frontal,,1.0,-1.0\n\
                     train/patient3/a.jpg,Frontal,1.0,1.0,0.0\n\
                     train/patient4/a.jpg,Lateral,,1.0,0.0\n\
                     train/patient5/a.jpg,Frontal,,0.0,1.0\n";
        let table = file(dir.path(), "t.csv", table);
        let both = select(&table, &config(&["Edema", "Fracture"], 1)).unwrap();
        assert_eq!(both.classes[0], ("Edema".to_owned(), Drawn { eligible: 2, drawn: 1 }));
        let frontal = vec![("Frontal/Lateral".to_owned(), "Frontal".to_owned())];
        let one = select(&table, &SelectConfig { only: frontal, ..config(&["Edema", "Fracture"], 1) }).unwrap();
        let expected = ["train/patient1/a.jpg,Frontal,,1.0,,Edema", "train/patient5/a.jpg,Frontal,,0.0,1.0,Fracture"];
        assert_eq!(rows(&one), expected);
        assert_eq!((one.patients, one.shared), (2, 0));
        let message = select(&table, &config(&["Edema"], 3)).unwrap_err().to_string();
        assert!(message.contains("t.csv: 2 images have \"Edema\" and nothing else, 3 are asked for"), "{message}");
    }

    #[test]
    fn no_patient_is_drawn_twice_as_far_as_the_images_allow() {
        let dir = tempfile::tempdir().unwrap();
        // Patients 0 to 9 have an image of both; 10 to 29 only one of A.
        let mut table = "image_path,patient_id,labels\n".to_owned();
        for patient in 0..30 {
            writeln!(table, "{patient}a.png,p{patient},A").unwrap();
            if patient < 10 {
                writeln!(table, "{patient}b.png,p{patient},+B|-A").unwrap();
            }
        }
        let table = file(dir.path(), "t.csv", &table);
        let ten = select(&table, &config(&["A", "B"], 10)).unwrap();
        assert_eq!((ten.patients, ten.shared, rows(&ten).len()), (20, 0, 20));
        assert_eq!(select(&table, &config(&["A", "B"], 10)).unwrap(), ten, "the seed decides");
        assert_ne!(select(&table, &SelectConfig { seed: 1, ..config(&["A", "B"], 10) }).unwrap(), ten);
        // Who was drawn is left out of a second draw, with all images.
        let first = file(dir.path(), "first.csv", std::str::from_utf8(&ten.csv).unwrap());
        let second = select(&table, &SelectConfig { exclude: vec![first], ..config(&["A"], 10) }).unwrap();
        let patients = |selection: &Selection| -> HashSet<String> {
            rows(selection).iter().map(|row| row.split(',').nth(1).unwrap().to_owned()).collect()
        };
        assert!(patients(&second).is_disjoint(&patients(&ten)) && second.patients == 10);
        // The order of the classes takes no patient from the one that needs it.
        let many = select(&table, &SelectConfig { classes: vec!["B".into(), "A".into()], ..config(&[], 10) });
        assert_eq!(many.unwrap().shared, 0);
        let mut wide = config(&["A", "B"], 10);
        wide.only = vec![("labels".to_owned(), "A".to_owned())];
        assert!(matches!(select(&table, &wide), Err(DataError::TooFew { found: 0, .. })));
    }

    #[test]
    fn what_cannot_be_selected_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let table = file(dir.path(), "t.csv", "image_path,Edema\na.png,1\nb.png,2\n");
        let message = |config: &SelectConfig| select(&table, config).unwrap_err().to_string();
        assert!(message(&config(&["Edema"], 0)).contains("--count = 0"));
        assert!(message(&config(&["Edema", "Edema"], 1)).contains("name each class once"));
        assert!(message(&config(&["Fracture"], 1)).contains("--classes = Fracture"));
        assert!(message(&config(&["Edema"], 1)).contains("row 2, column \"Edema\": the label must be"));
        let view = vec![("view".to_owned(), "PA".to_owned())];
        assert!(message(&SelectConfig { only: view, ..config(&["Edema"], 1) }).contains("no column \"view\""));
        let again = file(dir.path(), "u.csv", "image_path,Edema,category\na.png,1,x\n");
        assert!(select(&again, &config(&["Edema"], 1)).unwrap_err().to_string().contains("column = category"));
    }
}
