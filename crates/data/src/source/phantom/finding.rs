//! Findings of phantoms: what can be there, how often, where and how severe.

use super::Prevalence;
use crate::rng::{Purpose, Stream, stream};

/// Probability of each class at natural prevalence, in the order of [`super::CLASSES`]. The classes are drawn
/// independently, so that none can be guessed from another; about 27 % of the studies have no finding.
pub const NATURAL: [f64; 8] = [0.18, 0.18, 0.17, 0.12, 0.13, 0.14, 0.12, 0.18];

/// Side of the patient: a finding on the left is on the right of the picture.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The patient's left.
    Left,
    /// The patient's right.
    Right,
    /// On both sides, or in the midline.
    Both,
}

/// Third of a lung, from the apex to the dome of the diaphragm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Zone {
    /// Upper third.
    Upper,
    /// Middle third.
    Middle,
    /// Lower third.
    Lower,
}

/// How marked a finding is: extent and contrast grow with it, and the ranges touch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Small or slight; reports may be in doubt.
    Mild,
    /// Between the two.
    Moderate,
    /// Large or marked.
    Severe,
}

/// A support device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Device {
    /// Generator below the clavicle with a lead to the heart.
    Pacemaker,
    /// Central venous line through a jugular vein.
    JugularLine,
    /// Central venous line through a subclavian vein.
    SubclavianLine,
    /// Tube in the trachea.
    EndotrachealTube,
    /// Tube through the oesophagus into the stomach.
    NasogastricTube,
}

/// What a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Wide heart.
    Cardiomegaly,
    /// Fluid at the base of a lung or of both.
    PleuralEffusion,
    /// Ill-defined patch of airless lung.
    Consolidation,
    /// Air beside a collapsed lung.
    Pneumothorax,
    /// Haze around the hila, thick markings and Kerley lines.
    Edema,
    /// Round spot.
    Nodule,
    /// Step and gap in the back part of a rib.
    Fracture {
        /// Number of the rib, 3 to 7.
        rib: u8,
    },
    /// Foreign material.
    SupportDevice(Device),
}

/// One finding of a phantom.
#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// Where it is.
    pub side: Side,
    /// Third of the lung, for consolidations and nodules.
    pub zone: Option<Zone>,
    /// How marked it is.
    pub severity: Severity,
    /// Position within its zone or along its rib (two numbers from 0 to 1).
    pub(super) at: [f32; 2],
    /// Extent within the range of its severity, 0 to 1.
    pub(super) extent: f32,
    /// Contrast in standard deviations of the surroundings, for opacities.
    pub(super) contrast: f32,
    /// Key of its own random details.
    pub(super) key: u64,
}

/// Weights of the severities: mild, moderate, severe.
const SEVERITIES: [(Severity, f64); 3] = [(Severity::Mild, 0.3), (Severity::Moderate, 0.4), (Severity::Severe, 0.3)];

const DEVICES: [Device; 5] =
    [Device::Pacemaker, Device::JugularLine, Device::SubclavianLine, Device::EndotrachealTube, Device::NasogastricTube];

impl Finding {
    /// Index of the class in [`super::CLASSES`].
    pub fn class(&self) -> usize {
        class(self.kind)
    }

    /// Whether the finding is an opacity, whose contrast is bound to the local noise and texture.
    pub fn is_opacity(&self) -> bool {
        matches!(self.kind, Kind::PleuralEffusion | Kind::Consolidation | Kind::Edema | Kind::Nodule)
    }

    /// Severity as a number: 0 to 1 is mild, 1 to 2 moderate, 2 to 3 severe.
    pub(super) fn grade(&self) -> f32 {
        self.extent
            + match self.severity {
                Severity::Mild => 0.0,
                Severity::Moderate => 1.0,
                Severity::Severe => 2.0,
            }
    }

    /// Which halves of the chest are affected: `[right, left]` of the patient.
    pub(super) fn halves(&self) -> [bool; 2] {
        [self.side != Side::Left, self.side != Side::Right]
    }
}

fn class(kind: Kind) -> usize {
    match kind {
        Kind::Cardiomegaly => 0,
        Kind::PleuralEffusion => 1,
        Kind::Consolidation => 2,
        Kind::Pneumothorax => 3,
        Kind::Edema => 4,
        Kind::Nodule => 5,
        Kind::Fracture { .. } => 6,
        Kind::SupportDevice(_) => 7,
    }
}

#[expect(clippy::cast_possible_truncation, reason = "single precision is enough for geometry")]
fn unit(random: &mut Stream) -> f32 {
    random.unit() as f32
}

/// The findings of a study, in the order of their classes.
pub(super) fn findings(seed: u64, index: u64, prevalence: Prevalence) -> Vec<Finding> {
    // One stream per class: the details of a finding do not depend on which others are there.
    let of_class = |class: u64| stream(seed, Purpose::Finding, class + 1, index);
    match prevalence {
        Prevalence::Natural => {
            let mut presence = stream(seed, Purpose::Finding, 0, index);
            let present = NATURAL.map(|p| presence.chance(p));
            (0..8_u64).zip(present).filter(|(_, p)| *p).map(|(c, _)| finding(c, &mut of_class(c))).collect()
        }
        Prevalence::Exclusive => vec![finding(index % 8, &mut of_class(index % 8))],
    }
}

fn finding(class: u64, random: &mut Stream) -> Finding {
    let mut rest = random.unit();
    let mut severity = Severity::Severe;
    for (candidate, weight) in SEVERITIES {
        if rest < weight {
            severity = candidate;
            break;
        }
        rest -= weight;
    }
    let one_side = if random.chance(0.5) { Side::Left } else { Side::Right };
    let both = random.chance(0.3);
    let zone = [Zone::Upper, Zone::Middle, Zone::Lower][random.below(3)];
    let rib = [3, 4, 5, 6, 7][random.below(5)];
    let device = DEVICES[random.below(DEVICES.len())];
    let (kind, side, zone) = match class {
        0 => (Kind::Cardiomegaly, Side::Both, None),
        1 => (Kind::PleuralEffusion, if both { Side::Both } else { one_side }, None),
        2 => (Kind::Consolidation, one_side, Some(zone)),
        3 => (Kind::Pneumothorax, one_side, None),
        4 => (Kind::Edema, Side::Both, None),
        5 => (Kind::Nodule, one_side, Some(zone)),
        6 => (Kind::Fracture { rib }, one_side, None),
        _ => {
            let midline = matches!(device, Device::EndotrachealTube | Device::NasogastricTube);
            (Kind::SupportDevice(device), if midline { Side::Both } else { one_side }, None)
        }
    };
    let contrast = match severity {
        Severity::Mild => 2.3,
        Severity::Moderate => 2.45,
        Severity::Severe => 2.6,
    } + 0.2 * unit(random);
    let at = [unit(random), unit(random)];
    Finding { kind, side, zone, severity, at, extent: unit(random), contrast, key: random.next_u64() }
}

/// One finding for every statement that a report can make, without geometry.
pub(super) fn every_statement() -> Vec<Finding> {
    let mut all = Vec::new();
    let sides = [Side::Left, Side::Right];
    let mut add = |kind: Kind, sides: &[Side], zones: &[Option<Zone>]| {
        for &side in sides {
            for &zone in zones {
                for (severity, _) in SEVERITIES {
                    let (at, extent, contrast, key) = ([0.5; 2], 0.5, 0.0, 0);
                    all.push(Finding { kind, side, zone, severity, at, extent, contrast, key });
                }
            }
        }
    };
    let zones = [Some(Zone::Upper), Some(Zone::Middle), Some(Zone::Lower)];
    add(Kind::Cardiomegaly, &[Side::Both], &[None]);
    add(Kind::PleuralEffusion, &[Side::Left, Side::Right, Side::Both], &[None]);
    add(Kind::Consolidation, &sides, &zones);
    add(Kind::Pneumothorax, &sides, &[None]);
    add(Kind::Edema, &[Side::Both], &[None]);
    add(Kind::Nodule, &sides, &zones);
    for rib in 3..=7 {
        add(Kind::Fracture { rib }, &sides, &[None]);
    }
    for device in DEVICES {
        add(Kind::SupportDevice(device), &sides, &[None]);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exclusive_study_has_the_class_of_its_index() {
        for index in 0..64 {
            let found = findings(3, index, Prevalence::Exclusive);
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].class() as u64, index % 8);
        }
    }

    #[test]
    fn severities_have_their_weights_and_grade_grows_with_them() {
        let found: Vec<Finding> = (0..3000).flat_map(|i| findings(1, i * 8 + 5, Prevalence::Exclusive)).collect();
        for (severity, weight) in SEVERITIES {
            let share = found.iter().filter(|f| f.severity == severity).count() as f64 / found.len() as f64;
            // Four standard deviations of a share of 0.4 among 3000.
            assert!((share - weight).abs() < 0.036, "{severity:?} {share}");
        }
        let lowest = |s: Severity| found.iter().filter(|f| f.severity == s).map(Finding::grade).fold(9.0, f32::min);
        assert!(lowest(Severity::Mild) < lowest(Severity::Moderate));
        assert!(lowest(Severity::Moderate) < lowest(Severity::Severe));
    }
}
