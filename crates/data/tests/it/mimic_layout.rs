//! Small folders in the layout of MIMIC-CXR-JPG. Patients, texts and pictures are invented.

use std::fmt::Write as _;
use std::path::Path;

use data::image::{GrayImage, encode};
use data::record::{Dataset, Split};
use data::source::mimic::{Counts, Keep, MimicSource, read};
use tempfile::TempDir;

use crate::support::write;

// The official headers.
pub(crate) const SPLIT_HEADER: &str = "dicom_id,study_id,subject_id,split";
pub(crate) const METADATA_HEADER: &str = "dicom_id,subject_id,study_id,PerformedProcedureStepDescription,ViewPosition,Rows,\
                               Columns,StudyDate,StudyTime,ProcedureCodeSequence_CodeMeaning,\
                               ViewCodeSequence_CodeMeaning,PatientOrientationCodeSequence_CodeMeaning";
pub(crate) const LABEL_HEADER: &str = "subject_id,study_id,Atelectasis,Cardiomegaly,Consolidation,Edema,\
                            Enlarged Cardiomediastinum,Fracture,Lung Lesion,Lung Opacity,No Finding,Pleural Effusion,\
                            Pleural Other,Pneumonia,Pneumothorax,Support Devices";

pub(crate) const SPLIT: &str = "mimic-cxr-2.0.0-split.csv";
pub(crate) const METADATA: &str = "mimic-cxr-2.0.0-metadata.csv";
pub(crate) const CHEXPERT: &str = "mimic-cxr-2.0.0-chexpert.csv";
pub(crate) const NEGBIO: &str = "mimic-cxr-2.0.0-negbio.csv";

pub(crate) const REPORT: &str = "                                 FINAL REPORT\n EXAMINATION:  CHEST (PA AND LAT)\n \n INDICATION:  \
                      ___ year old with cough.\n \n FINDINGS: \n \n The heart is mildly\n enlarged.  No effusion.\n \n \
                      IMPRESSION: \n \n Mild cardiomegaly. Stable.\n";

/// One image of a folder under test: name, subject, study, split, view.
pub(crate) type Row = (&'static str, u32, u32, &'static str, &'static str);

pub(crate) const ROWS: [Row; 7] = [
    ("0a-1", 10_000_032, 50_414_267, "train", "PA"),
    ("0a-2", 10_000_032, 50_414_267, "train", "LATERAL"),
    ("0b-1", 11_000_032, 53_189_527, "validate", "AP"),
    ("0b-2", 11_000_032, 53_189_527, "validate", "PA"),
    ("0c-1", 12_000_764, 57_375_967, "test", "AP"),
    ("0d-1", 10_000_032, 53_911_762, "train", "LL"),
    ("0e-1", 12_000_764, 50_771_383, "test", ""),
];

pub(crate) fn split_table(rows: &[Row]) -> String {
    rows.iter().fold(format!("{SPLIT_HEADER}\n"), |mut csv, (dicom, subject, study, split, _)| {
        writeln!(csv, "{dicom},{study},{subject},{split}").unwrap();
        csv
    })
}

pub(crate) fn metadata_table(rows: &[Row]) -> String {
    rows.iter().fold(format!("{METADATA_HEADER}\n"), |mut csv, (dicom, subject, study, _, view)| {
        let more = "3056,2544,21800506,213014.531,CHEST (PA AND LAT),postero-anterior,Erect";
        writeln!(csv, "{dicom},{subject},{study},\"CHEST, (PA AND LAT)\",{view},{more}").unwrap();
        csv
    })
}

pub(crate) fn folder_of(subject: u32, study: u32) -> String {
    format!("files/p{}/p{subject}/s{study}", subject / 1_000_000)
}

pub(crate) fn picture(dir: &Path, name: &str) {
    let pixels = (0..64).map(|i| (i * 4) as u8).collect();
    write(dir, name, &encode::png(&GrayImage { width: 8, height: 8, pixels }).unwrap());
}

/// A whole download of [`ROWS`]: labels for the first three studies, the same report for all.
pub(crate) fn download() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, SPLIT, split_table(&ROWS).as_bytes());
    write(root, METADATA, metadata_table(&ROWS).as_bytes());
    let labels = "10000032,50414267,1.0,0.0,-1.0,,,,,,,,,,,1.0\n\
                  11000032,53189527,,,,,,,,,1.0,,,,,\n\
                  12000764,57375967,,1.0,,,,,,,,,,,0.0,\n";
    write(root, CHEXPERT, format!("{LABEL_HEADER}\n{labels}").as_bytes());
    write(root, NEGBIO, format!("{LABEL_HEADER}\n10000032,50414267,0.0,1.0,1.0,,,,,,,,,,,\n").as_bytes());
    for (dicom, subject, study, _, _) in ROWS {
        picture(root, &format!("{}/{dicom}.jpg", folder_of(subject, study)));
        write(root, &format!("{}.txt", folder_of(subject, study)), REPORT.as_bytes());
    }
    dir
}

pub(crate) fn load(dir: &TempDir, change: impl FnOnce(&mut MimicSource)) -> (Dataset, Counts) {
    let mut source = MimicSource::new(dir.path());
    change(&mut source);
    read(&source, Keep::WithImage).unwrap()
}

pub(crate) fn ids(data: &Dataset) -> Vec<(&str, &str, Split, usize)> {
    data.studies
        .iter()
        .map(|s| (s.patient_id.expose().as_str(), s.study_id.expose().as_str(), s.split, s.images.len()))
        .collect()
}

pub(crate) fn texts(data: &Dataset) -> Vec<Vec<&str>> {
    data.studies.iter().map(|s| s.sentences.iter().map(|t| t.expose().as_str()).collect()).collect()
}
