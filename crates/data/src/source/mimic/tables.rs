//! The tables of MIMIC-CXR-JPG, joined: which images and labels each study has.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path::Path;

use super::super::table::{Listing as Named, Row, Table};
use super::{LabelTable, MimicSource};
use crate::error::{DataError, Result, RowFaultKind};
use crate::record::Split;

const SPLIT: &str = "mimic-cxr-2.0.0-split.csv";
const METADATA: &str = "mimic-cxr-2.0.0-metadata.csv";
const CHEXPERT: &str = "mimic-cxr-2.0.0-chexpert.csv";
const NEGBIO: &str = "mimic-cxr-2.0.0-negbio.csv";
/// What to look at where a column is missing.
const OPTION: &str = "data.source.root: the tables there must be those of PhysioNet";

/// The studies of the split table, in its order.
pub(super) struct Tables {
    /// Name of the split table, whose rows messages name.
    pub(super) name: String,
    pub(super) studies: Vec<Listed>,
}

/// One study.
pub(super) struct Listed {
    pub(super) study: u32,
    pub(super) subject: u32,
    pub(super) split: Split,
    /// First row of the split table that names it.
    pub(super) row: usize,
    /// Images of the views that are kept.
    pub(super) images: Vec<Image>,
    /// How many images have other views.
    pub(super) other_views: usize,
    pub(super) labels: Vec<Option<bool>>,
    /// Row of the label table; 0 where it does not list the study.
    label_row: usize,
}

impl Listed {
    /// Whether the label table lists the study.
    pub(super) fn is_labelled(&self) -> bool {
        self.label_row > 0
    }
}

/// One image.
pub(super) struct Image {
    /// Its `dicom_id`.
    pub(super) id: String,
    pub(super) view: String,
    /// Row of the split table.
    pub(super) row: usize,
}

/// An image of the split table before its view is known.
struct Pending {
    study: usize,
    row: usize,
    view: String,
    /// Row of the metadata; 0 before it is found.
    view_row: usize,
}

/// Reads and joins the tables.
pub(super) fn read(source: &MimicSource, classes: &[String]) -> Result<Tables> {
    let mut split = open(&source.root, SPLIT, &["dicom_id", "study_id", "subject_id", "split"])?;
    let mut listing = Listing::read(&mut split, classes.len())?;
    split.check()?;
    let mut metadata = open(&source.root, METADATA, &["dicom_id", "subject_id", "study_id", "ViewPosition"])?;
    listing.add_views(&mut metadata, &mut split)?;
    metadata.check()?;
    split.check()?;
    let labels = match source.labels {
        LabelTable::Chexpert => Some(CHEXPERT),
        LabelTable::Negbio => Some(NEGBIO),
        LabelTable::None => None,
    };
    if let Some(name) = labels {
        let ids = ["subject_id", "study_id"].into_iter();
        let columns: Vec<&str> = ids.chain(classes.iter().map(String::as_str)).collect();
        let mut table = open(&source.root, name, &columns)?;
        listing.add_labels(&mut table, classes, source)?;
        table.check()?;
    }
    Ok(Tables { name: SPLIT.to_owned(), studies: listing.finish(&source.views) })
}

/// A table, or the same compressed.
fn open(root: &Path, name: &str, columns: &[&str]) -> Result<Table> {
    let plain = root.join(name);
    let packed = root.join(format!("{name}.gz"));
    let file = match (plain.is_file(), packed.is_file()) {
        (true, _) => plain,
        (false, true) => packed,
        (false, false) => {
            let why = "neither it nor the same with .gz is there; data.source.root must be the folder of \
                       MIMIC-CXR-JPG that holds it (data.source.labels names the label table)";
            let source = io::Error::new(io::ErrorKind::NotFound, why);
            return Err(DataError::Io { action: "read", path: plain, source });
        }
    };
    Table::read_columns(&file, &|column| columns.contains(&column))
}

struct Listing {
    studies: Vec<Listed>,
    images: Vec<Pending>,
    /// Positions in `studies` by study.
    study_positions: HashMap<u32, usize>,
    /// Positions in `images` by `dicom_id`.
    image_positions: HashMap<String, usize>,
}

impl Listing {
    /// Reads the split table.
    fn read(table: &mut Table, classes: usize) -> Result<Self> {
        let [dicom, study, subject, split] =
            ["dicom_id", "study_id", "subject_id", "split"].map(|name| table.require(name, OPTION));
        let (dicom, study, subject, split) = (dicom?, study?, subject?, split?);
        table.identify(|row| named(row, study));
        let rows = std::mem::take(&mut table.rows);
        let mut listing = Self {
            studies: Vec::new(),
            images: Vec::with_capacity(rows.len()),
            study_positions: HashMap::new(),
            image_positions: HashMap::with_capacity(rows.len()),
        };
        for row in rows {
            let number = row.number;
            let ids = (image_id(table, &row, dicom), id(table, &row, study), id(table, &row, subject));
            let part = match row.fields[split].trim() {
                "train" => Some(Split::Train),
                "validate" => Some(Split::Validate),
                "test" => Some(Split::Test),
                _ => None,
            };
            if part.is_none() {
                table.fault(number, split, RowFaultKind::Split);
            }
            let ((Some(image), Some(study_id), Some(subject_id)), Some(part)) = (ids, part) else { continue };
            match listing.image_positions.entry(image.to_owned()) {
                Entry::Occupied(earlier) => {
                    table.fault(number, dicom, RowFaultKind::Repeated(listing.images[*earlier.get()].row));
                    continue;
                }
                Entry::Vacant(free) => free.insert(listing.images.len()),
            };
            let position = *listing.study_positions.entry(study_id).or_insert(listing.studies.len());
            if position == listing.studies.len() {
                listing.studies.push(Listed::new(study_id, subject_id, part, number, classes));
            }
            let known = &listing.studies[position];
            if known.subject != subject_id {
                table.fault(number, subject, RowFaultKind::Disagrees("subject", known.row));
            }
            if known.split != part {
                table.fault(number, split, RowFaultKind::Disagrees("split", known.row));
            }
            listing.images.push(Pending { study: position, row: number, view: String::new(), view_row: 0 });
        }
        Ok(listing)
    }

    /// Takes the views from the metadata, which may list more images than the split table but not fewer.
    fn add_views(&mut self, table: &mut Table, split: &mut Table) -> Result<()> {
        let [dicom, study, subject, view] =
            ["dicom_id", "study_id", "subject_id", "ViewPosition"].map(|name| table.require(name, OPTION));
        let (dicom, study, subject, view) = (dicom?, study?, subject?, view?);
        table.identify(|row| named(row, study));
        for row in std::mem::take(&mut table.rows) {
            let ids = (image_id(table, &row, dicom), id(table, &row, study), id(table, &row, subject));
            let (Some(image), Some(study_id), Some(subject_id)) = ids else { continue };
            let Some(&position) = self.image_positions.get(image) else { continue };
            let pending = &mut self.images[position];
            let listed = &self.studies[pending.study];
            if pending.view_row > 0 {
                table.fault(row.number, dicom, RowFaultKind::Repeated(pending.view_row));
            }
            if listed.study != study_id {
                table.fault(row.number, study, RowFaultKind::Differs("study", SPLIT, pending.row));
            }
            if listed.subject != subject_id {
                table.fault(row.number, subject, RowFaultKind::Differs("subject", SPLIT, pending.row));
            }
            pending.view_row = row.number;
            row.fields[view].trim().clone_into(&mut pending.view);
        }
        let column = split.column("dicom_id").unwrap_or(usize::MAX);
        for pending in self.images.iter().filter(|pending| pending.view_row == 0) {
            split.fault(pending.row, column, RowFaultKind::Unlisted(METADATA));
        }
        Ok(())
    }

    /// Takes the labels from a table, which may list other studies than the split table.
    fn add_labels(&mut self, table: &mut Table, classes: &[String], source: &MimicSource) -> Result<()> {
        let study = table.require("study_id", OPTION)?;
        let subject = table.require("subject_id", OPTION)?;
        let columns = classes.iter().map(|class| table.require(class, OPTION)).collect::<Result<Vec<usize>>>()?;
        table.identify(|row| named(row, study));
        for row in std::mem::take(&mut table.rows) {
            let mut labels = Vec::with_capacity(columns.len());
            for &column in &columns {
                match label(&row.fields[column], source) {
                    Some(label) => labels.push(label),
                    None => table.fault(row.number, column, RowFaultKind::Label),
                }
            }
            let (Some(study_id), Some(subject_id)) = (id(table, &row, study), id(table, &row, subject)) else {
                continue;
            };
            let Some(&position) = self.study_positions.get(&study_id) else { continue };
            let listed = &mut self.studies[position];
            if listed.label_row > 0 {
                table.fault(row.number, study, RowFaultKind::RepeatedStudy(listed.label_row));
            }
            if listed.subject != subject_id {
                table.fault(row.number, subject, RowFaultKind::Differs("subject", SPLIT, listed.row));
            }
            if labels.len() == columns.len() {
                listed.labels = labels;
            }
            listed.label_row = row.number;
        }
        Ok(())
    }

    /// The studies with their images of the given views, or of all views where none is given.
    fn finish(mut self, views: &[String]) -> Vec<Listed> {
        let mut ids: Vec<String> = vec![String::new(); self.images.len()];
        for (id, position) in self.image_positions {
            ids[position] = id;
        }
        for (pending, id) in self.images.into_iter().zip(ids) {
            let study = &mut self.studies[pending.study];
            if views.is_empty() || views.iter().any(|view| view.eq_ignore_ascii_case(&pending.view)) {
                study.images.push(Image { id, view: pending.view, row: pending.row });
            } else {
                study.other_views += 1;
            }
        }
        self.studies
    }
}

impl Listed {
    fn new(study: u32, subject: u32, split: Split, row: usize, classes: usize) -> Self {
        let labels = vec![None; classes];
        Self { study, subject, split, row, images: Vec::new(), other_views: 0, labels, label_row: 0 }
    }
}

/// What a row lists, for messages; the path of an image follows from its ids.
fn named(row: &Row, study: usize) -> Named<'_> {
    Named { study: Some(row.fields[study].trim().to_owned()), path: None }
}

/// The number of a patient or study; notes a fault where it is none.
fn id(table: &mut Table, row: &Row, column: usize) -> Option<u32> {
    let field = row.fields[column].trim();
    // Folders are named by the first two digits, so that a leading zero would change their name.
    let plain = (2..=9).contains(&field.len()) && !field.starts_with('0') && field.bytes().all(|b| b.is_ascii_digit());
    let id = field.parse().ok().filter(|_| plain);
    if id.is_none() {
        table.fault(row.number, column, RowFaultKind::Id);
    }
    id
}

/// The name of an image; notes a fault where it could lead out of its folder.
fn image_id<'a>(table: &mut Table, row: &'a Row, column: usize) -> Option<&'a str> {
    let field = row.fields[column].trim();
    let fine = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if !field.is_empty() && field.bytes().all(fine) {
        return Some(field);
    }
    table.fault(row.number, column, RowFaultKind::ImageId);
    None
}

/// A label, `None` for anything that is none.
#[expect(clippy::option_option, reason = "the outer one is an error, the inner one a missing label")]
fn label(field: &str, source: &MimicSource) -> Option<Option<bool>> {
    match field.trim() {
        "" => Some(source.blank_is_negative.then_some(false)),
        "-1" | "-1.0" => Some(source.uncertain.label()),
        "0" | "0.0" => Some(Some(false)),
        "1" | "1.0" => Some(Some(true)),
        _ => None,
    }
}
