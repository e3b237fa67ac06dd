//! Queries of retrieval by category: sentences or images, each with the category that it asks for.
//!
//! # Source
//! The files of `CheXpert` 8x200 (`text-retrieval/query.csv` with the header `Variable,Text`, `image-retrieval/query.csv` with
//! `Variable,Path`; Zhang et al. 2022, section 4.2) are read as they are; sentences are kept word for word, slips included.

use std::path::Path;

use super::pairs_csv::PairsColumns;
use super::table::{Listing, Row, Table};
use crate::demographics::Demographics;
use crate::error::{DataError, Result, RowFaultKind};
use crate::fsx::Folder;
use crate::record::{Dataset, ImageSource, Phi, Split, Study};

/// Names of the column with the category: that of this project and that of `CheXpert` 8x200.
const CATEGORY: [&str; 2] = ["category", "Variable"];
/// Names of the column with the sentence.
const TEXT: [&str; 2] = ["text", "Text"];
/// Name of the column with the image in tables of `CheXpert`.
pub const CHEXPERT_PATH: &str = "Path";

/// Queries of one file, in its order.
#[derive(Debug, Clone)]
pub struct Queries {
    /// Name of the file.
    pub name: String,
    /// The category of each query.
    pub categories: Vec<String>,
    /// What asks.
    pub asked: Asked,
}

/// What the queries of a file are.
#[derive(Debug, Clone)]
pub enum Asked {
    /// Sentences.
    Texts(Vec<Phi<String>>),
    /// Images, each a study of its own. Rows without a patient are of one of their own.
    Images(Dataset),
}

/// Reads a file: a column `category` (or `Variable`), and an image (`image_path`, `Path`, or what `image_column` names) or
/// else a sentence (`text`, `Text`). Images are relative to `image_root`, or to the folder of the file; a column
/// `patient_id` names their patients.
///
/// # Errors
/// [`DataError::Io`] where the file or the root cannot be read, [`DataError::Setting`] where a column is missing,
/// [`DataError::Rows`] with all faults of the rows, [`DataError::Empty`] where there is no row.
pub fn read(file: &Path, image_column: Option<&str>, image_root: Option<&Path>) -> Result<Queries> {
    let mut table = Table::read(file)?;
    let name = file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let usual = PairsColumns::default();
    let category = first(&mut table, &CATEGORY);
    let image = first(&mut table, &image_column.map_or(vec![usual.image.as_str(), CHEXPERT_PATH], |name| vec![name]));
    let text = first(&mut table, &TEXT);
    let patient = table.column(&usual.patient);
    let (Some(category), Some(asked)) = (category, image.or(text)) else {
        let why = "a table of queries has a column `category` (or `Variable`), and one with image paths (`image_path`, \
                   `Path` or --image-column) or with sentences (`text` or `Text`)";
        return Err(DataError::Setting { key: "--queries", value: name, why });
    };
    table.identify(|row| Listing { study: None, path: image.map(|image| row.fields[image].trim()) });
    let rows = std::mem::take(&mut table.rows);
    if rows.is_empty() {
        table.check()?;
        return Err(DataError::Empty { name, what: "the table of queries has no rows: name one row per query" });
    }
    for (row, column) in rows.iter().flat_map(|row| [category, asked].map(|column| (row, column))) {
        if row.fields[column].trim().is_empty() {
            table.fault(row.number, column, RowFaultKind::Empty);
        }
    }
    let field = |row: &Row, column: usize| row.fields[column].trim().to_owned();
    let categories = rows.iter().map(|row| field(row, category)).collect();
    let asked = if let Some(image) = image {
        let studies = images(&mut table, &rows, (image, patient), image_root)?;
        Asked::Images(Dataset { name: name.clone(), classes: Vec::new(), studies })
    } else {
        Asked::Texts(rows.iter().map(|row| Phi::new(field(row, asked))).collect())
    };
    table.check()?;
    Ok(Queries { name, categories, asked })
}

/// The names of the columns of a CSV.
///
/// # Errors
/// [`DataError::Io`] where the file cannot be read.
pub fn header(file: &Path) -> Result<Vec<String>> {
    Ok(Table::read_columns(file, &|_| false)?.header)
}

/// The first of some columns that the table has.
fn first(table: &mut Table, names: &[&str]) -> Option<usize> {
    names.iter().find_map(|name| table.column(name))
}

/// A study for each row; what is wrong with its image is noted in the table.
fn images(
    table: &mut Table,
    rows: &[Row],
    (image, patient): (usize, Option<usize>),
    root: Option<&Path>,
) -> Result<Vec<Study>> {
    let beside = table.file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let root = root.unwrap_or(beside).to_path_buf();
    let missing = |source| DataError::Io { action: "read the image root", path: root.clone(), source };
    std::fs::metadata(&root).map_err(missing)?;
    let mut folder = Folder::new(&root)?;
    let mut studies = Vec::with_capacity(rows.len());
    for row in rows {
        let path = match folder.file(row.fields[image].trim()) {
            Ok((path, true)) => path,
            Ok((_, false)) => {
                table.fault(row.number, image, RowFaultKind::NoFile);
                continue;
            }
            // A blank field is a fault already.
            Err(_) if row.fields[image].trim().is_empty() => continue,
            Err(why) => {
                table.fault(row.number, image, why.into());
                continue;
            }
        };
        let own = format!("row {}", row.number);
        let patient = patient.map(|patient| row.fields[patient].trim()).filter(|patient| !patient.is_empty());
        studies.push(Study {
            patient_id: Phi::new(patient.map_or_else(|| own.clone(), str::to_owned)),
            study_id: Phi::new(own),
            images: vec![ImageSource::File(Phi::new(path))],
            sentences: Vec::new(),
            labels: Vec::new(),
            demographics: Demographics::default(),
            view: String::new(),
            split: Split::Test,
            row: row.number,
        });
    }
    Ok(studies)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fsx::write_atomic;

    fn write(folder: &Path, text: &str) -> std::path::PathBuf {
        let file = folder.join("query.csv");
        write_atomic(&file, text.as_bytes()).unwrap();
        file
    }

    #[test]
    fn files_of_chexpert_8x200_are_read_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let file =
            write(dir.path(), "Variable,Text\nEdema, abormalities of the lungs \nPleural Effusion,An effusion.\n");
        let queries = read(&file, None, None).unwrap();
        assert_eq!(queries.categories, ["Edema", "Pleural Effusion"]);
        let Asked::Texts(texts) = queries.asked else { panic!("sentences") };
        assert_eq!(texts[0].expose(), "abormalities of the lungs");
        write_atomic(&dir.path().join("a.png"), b"x").unwrap();
        let file = write(dir.path(), "Variable,Path\nEdema,a.png\n");
        let Asked::Images(images) = read(&file, None, None).unwrap().asked else { panic!("images") };
        assert_eq!(images.studies[0].patient_id.expose(), "row 1");
        assert_eq!(header(&file).unwrap(), ["Variable", "Path"]);
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let file = write(dir.path(), "category,image_path,patient_id\n,a.png,p\nEdema,,p\nEdema,../b.png,p\n");
        let text = read(&file, None, None).unwrap_err().to_string();
        for part in ["4 faults", "row 1, column \"category\"", "row 1, column \"image_path\"", "row 2, column", "row 3"]
        {
            assert!(text.contains(part), "{part}: {text}");
        }
        for (content, part) in [
            ("image_path\na.png\n", "has a column `category`"),
            ("category\nEdema\n", "or with sentences"),
            ("category,text\n", "has no rows"),
        ] {
            let text = read(&write(dir.path(), content), None, None).unwrap_err().to_string();
            assert!(text.contains(part), "{text}");
        }
    }
}
