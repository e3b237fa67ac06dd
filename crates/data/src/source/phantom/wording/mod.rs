//! Reports of phantoms: which sentences a study gets, with their synonyms, denials, doubts and distractions.
//!
//! Everything that is said about a finding, a normal organ or the pose is true of the picture; only
//! `templates::DISTRACTING` (technique, comparison, history) has nothing to do with it.

mod grammar;
mod templates;

use std::collections::BTreeSet;

use self::grammar::Template;
use self::templates as t;
use super::finding::{Device, Finding, Kind, Severity, Side, Zone};
use super::{CLASSES, anatomy::Remarks};
use crate::rng::Stream;

/// Index into [`CLASSES`], for the denials.
const CARDIOMEGALY: usize = 0;
const EFFUSION: usize = 1;
const CONSOLIDATION: usize = 2;
const PNEUMOTHORAX: usize = 3;
const EDEMA: usize = 4;
const NODULE: usize = 5;

/// The templates of a finding: certain ones and those with doubt (empty where radiologists have none).
fn positive(finding: &Finding) -> (&'static [&'static str], &'static [&'static str]) {
    match (finding.kind, finding.side) {
        (Kind::Cardiomegaly, _) => (t::CARDIOMEGALY, t::CARDIOMEGALY_HEDGED),
        (Kind::PleuralEffusion, Side::Both) => (t::EFFUSION_BOTH, t::EFFUSION_BOTH_HEDGED),
        (Kind::PleuralEffusion, _) => (t::EFFUSION, t::EFFUSION_HEDGED),
        (Kind::Consolidation, _) => (t::CONSOLIDATION, t::CONSOLIDATION_HEDGED),
        (Kind::Pneumothorax, _) => (t::PNEUMOTHORAX, t::PNEUMOTHORAX_HEDGED),
        (Kind::Edema, _) => (t::EDEMA, t::EDEMA_HEDGED),
        (Kind::Nodule, _) => (t::NODULE, t::NODULE_HEDGED),
        (Kind::Fracture { .. }, _) => (t::FRACTURE, t::FRACTURE_HEDGED),
        (Kind::SupportDevice(Device::Pacemaker), _) => (t::PACEMAKER, &[]),
        (Kind::SupportDevice(Device::JugularLine | Device::SubclavianLine), _) => (t::LINE, &[]),
        (Kind::SupportDevice(Device::EndotrachealTube), _) => (t::ENDOTRACHEAL, &[]),
        (Kind::SupportDevice(Device::NasogastricTube), _) => (t::NASOGASTRIC, &[]),
    }
}

/// The denials of one class.
fn negative(class: usize) -> &'static [&'static str] {
    match class {
        CARDIOMEGALY => t::CARDIOMEGALY_NEGATIVE,
        EFFUSION => t::EFFUSION_NEGATIVE,
        CONSOLIDATION => t::CONSOLIDATION_NEGATIVE,
        PNEUMOTHORAX => t::PNEUMOTHORAX_NEGATIVE,
        EDEMA => t::EDEMA_NEGATIVE,
        NODULE => t::NODULE_NEGATIVE,
        6 => t::FRACTURE_NEGATIVE,
        _ => t::DEVICE_NEGATIVE,
    }
}

fn side_word(side: Side) -> &'static str {
    match side {
        Side::Left => "left",
        Side::Right => "right",
        Side::Both => "bilateral",
    }
}

/// Fillings that do not depend on a finding.
fn common_slot(name: &str) -> &'static str {
    match name {
        "seen" => t::SEEN,
        "are" => t::ARE,
        "no" => t::NO,
        "doubt" => t::DOUBT,
        _ => "",
    }
}

fn slot(finding: &Finding, name: &str) -> &'static str {
    match name {
        "side" => side_word(finding.side),
        "zone" => match finding.zone {
            Some(Zone::Upper) => "upper",
            Some(Zone::Lower) => "lower",
            _ => "[middle|mid]",
        },
        "where" => match finding.zone {
            Some(Zone::Upper) => "in the {side} [upper lobe|upper zone|upper lung zone|upper lung]",
            Some(Zone::Lower) => {
                "[in the {side} [lower lobe|lower zone|lower lung zone|lower lung]|at the {side} [base|lung base]]"
            }
            _ => "in the {side} [middle zone|mid zone|mid lung zone|mid lung]",
        },
        "rib" => match finding.kind {
            Kind::Fracture { rib } => {
                ["third", "fourth", "fifth", "sixth", "seventh"][usize::from(rib).clamp(3, 7) - 3]
            }
            _ => "",
        },
        "route" => match finding.kind {
            Kind::SupportDevice(Device::SubclavianLine) => "subclavian",
            _ => "[internal jugular|jugular]",
        },
        "degree" | "degreely" | "size" | "nsize" | "dens" | "frac" => grade(name, finding.severity, finding.kind),
        _ => common_slot(name),
    }
}

/// Words of severity.
fn grade(name: &str, severity: Severity, kind: Kind) -> &'static str {
    match (name, severity) {
        ("degree", Severity::Mild) => "[mild|slight|minimal]",
        ("degree" | "size", Severity::Moderate) => "moderate",
        ("degree", Severity::Severe) => "[severe|marked]",
        ("degreely", Severity::Mild) => "[mildly|slightly]",
        ("degreely", Severity::Moderate) => "moderately",
        ("degreely", Severity::Severe) => "[severely|markedly]",
        ("size", Severity::Mild) if kind == Kind::PleuralEffusion => "[small|trace|minimal]",
        ("size", Severity::Mild) => "[small|tiny|minimal]",
        ("size", Severity::Severe) => "[large|massive]",
        ("nsize", Severity::Mild) => "[small|tiny|subtle|faint]",
        ("nsize", Severity::Moderate) => "[round|rounded|discrete]",
        ("nsize", Severity::Severe) => "[large|prominent|well defined]",
        ("dens", Severity::Mild) => "[faint|mild|subtle|patchy]",
        ("dens", Severity::Moderate) => "[patchy|focal|moderate]",
        ("dens", Severity::Severe) => "[dense|extensive]",
        ("frac", Severity::Mild) => "[subtle|nondisplaced|minimally displaced]",
        ("frac", Severity::Moderate) => "[displaced|mildly displaced]",
        ("frac", Severity::Severe) => "[displaced|markedly displaced|widely displaced]",
        _ => "",
    }
}

/// A report under construction: sentences without repetition.
struct Writer<'a> {
    random: &'a mut Stream,
    sentences: Vec<String>,
}

impl Writer<'_> {
    /// Draws a sentence from one of the templates and keeps it if it is new.
    fn say(&mut self, templates: &[&str], fill: &dyn Fn(&str) -> &'static str) {
        if let Some(text) = self.random.pick(templates) {
            let sentence = Template::new(text, fill).draw(self.random);
            if !self.sentences.contains(&sentence) {
                self.sentences.push(sentence);
            }
        }
    }

    fn finding(&mut self, finding: &Finding, first: bool) {
        let (certain, hedged) = positive(finding);
        let fill = |name: &str| slot(finding, name);
        if finding.severity == Severity::Mild && !hedged.is_empty() && self.random.chance(0.3) {
            self.say(hedged, &fill);
        } else if matches!(finding.kind, Kind::SupportDevice(_)) && !first && self.random.chance(0.5) {
            self.say(t::ANY_DEVICE, &fill);
        } else {
            self.say(certain, &fill);
        }
    }

    /// Denials of classes that are absent, up to `total` sentences in all.
    fn denials(&mut self, present: [bool; CLASSES.len()], remarks: Remarks, total: usize) {
        let absent = |classes: &[usize]| classes.iter().all(|&c| !present[c]);
        let mut classes: Vec<usize> = (0..CLASSES.len()).filter(|&c| !present[c]).collect();
        self.random.shuffle(&mut classes);
        if absent(&[EFFUSION, PNEUMOTHORAX]) && self.random.chance(0.3) {
            let both = absent(&[CONSOLIDATION]) && self.random.chance(0.5);
            self.say(
                if both { t::NO_EFFUSION_PNEUMOTHORAX_CONSOLIDATION } else { t::NO_EFFUSION_PNEUMOTHORAX },
                &common_slot,
            );
            classes.retain(|&c| c != EFFUSION && c != PNEUMOTHORAX && !(both && c == CONSOLIDATION));
        }
        if absent(&[CONSOLIDATION, EDEMA, NODULE, PNEUMOTHORAX, EFFUSION]) && self.random.chance(0.35) {
            self.say(t::CLEAR_LUNGS, &common_slot);
        }
        if present.iter().all(|p| !p) && self.random.chance(0.8) {
            self.say(t::NORMAL, &common_slot);
        }
        for class in classes {
            if self.sentences.len() >= total {
                return;
            }
            let at_limit = class == CARDIOMEGALY && remarks.heart_at_limit && self.random.chance(0.5);
            self.say(if at_limit { t::HEART_AT_LIMIT } else { negative(class) }, &common_slot);
        }
    }

    /// Up to two sentences about pose and normal structures, or about nothing in the picture.
    fn distractions(&mut self, remarks: Remarks) {
        let rotated = |name: &str| remarks.rotated.map_or("", |side| if name == "side" { side_word(side) } else { "" });
        let mut options: Vec<&[&str]> = vec![t::DISTRACTING, t::DISTRACTING, t::MEDIASTINUM];
        options.push(if remarks.low_volume { t::LOW_VOLUME } else { t::WELL_INFLATED });
        options.extend(remarks.rotated.map(|_| t::ROTATED));
        options.extend(remarks.wide_aorta.then_some(t::WIDE_AORTA));
        options.extend(remarks.ecg_leads.then_some(t::ECG_LEADS));
        for probability in [0.5, 0.2] {
            if self.random.chance(probability)
                && let Some(&templates) = self.random.pick(&options)
            {
                self.say(templates, &rotated);
            }
        }
    }
}

/// What is said of a study.
pub(super) struct Report {
    /// 4 to 8, in random order.
    pub(super) sentences: Vec<String>,
    /// For each finding the first that is said of it.
    pub(super) statements: Vec<String>,
}

/// The report of a study.
pub(super) fn report(findings: &[Finding], remarks: Remarks, random: &mut Stream) -> Report {
    let mut present = [false; CLASSES.len()];
    for finding in findings {
        present[finding.class()] = true;
    }
    let mut writer = Writer { random, sentences: Vec::new() };
    for finding in findings {
        writer.finding(finding, true);
    }
    // Every class has sentences of its own, so none of these was left out as a repetition.
    let statements = writer.sentences.clone();
    // Reports dwell on what is abnormal, less so where there is a lot of it.
    let again = if findings.len() <= 2 { 0.7 } else { 0.3 };
    for finding in findings {
        if writer.sentences.len() < 6 && writer.random.chance(again) {
            writer.finding(finding, false);
        }
    }
    let told = writer.sentences.len();
    writer.distractions(remarks);
    let total = (2 * told + writer.random.below(2)).clamp(4, 8);
    let more = if findings.is_empty() { writer.random.below(3) } else { 0 };
    writer.denials(present, remarks, total + more);
    // Few findings are absent only where many are present; two true remarks then bring the report to four sentences.
    for templates in [t::MEDIASTINUM, t::DISTRACTING, t::DISTRACTING, t::DISTRACTING] {
        if writer.sentences.len() < 4 {
            writer.say(templates, &common_slot);
        }
    }
    writer.sentences.truncate(8);
    let Writer { random, mut sentences } = writer;
    random.shuffle(&mut sentences);
    Report { sentences, statements }
}

/// Every sentence that a phantom's report can hold.
pub fn training_sentences() -> BTreeSet<String> {
    let mut sentences = BTreeSet::new();
    let mut add = |templates: &[&str], fill: &dyn Fn(&str) -> &'static str| {
        for text in templates {
            sentences.extend(Template::new(text, fill).all());
        }
    };
    for finding in super::finding::every_statement() {
        let (certain, hedged) = positive(&finding);
        let fill = |name: &str| slot(&finding, name);
        add(certain, &fill);
        if finding.severity == Severity::Mild {
            add(hedged, &fill);
        }
    }
    for class in 0..CLASSES.len() {
        add(negative(class), &common_slot);
    }
    for templates in [
        t::ANY_DEVICE,
        t::HEART_AT_LIMIT,
        t::NO_EFFUSION_PNEUMOTHORAX,
        t::NO_EFFUSION_PNEUMOTHORAX_CONSOLIDATION,
        t::CLEAR_LUNGS,
        t::NORMAL,
        t::LOW_VOLUME,
        t::WELL_INFLATED,
        t::WIDE_AORTA,
        t::MEDIASTINUM,
        t::ECG_LEADS,
        t::DISTRACTING,
    ] {
        add(templates, &common_slot);
    }
    for side in ["left", "right"] {
        add(t::ROTATED, &move |_: &str| side);
    }
    sentences
}
