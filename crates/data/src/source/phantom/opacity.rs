//! Fields of the findings that lie in the lungs: where they are and how dense, before their contrast is set.

use super::anatomy::{Anatomy, around};
use super::chest::{Broken, Chest, Site, hump, smooth};
use super::finding::{Finding, Kind, Severity, Zone};
use super::noise::ripple;
use super::vessels::hilum;
use crate::rng::Stream;

/// Height of a place `q` (0 top, 1 bottom) within a third of a lung.
fn height(anatomy: &Anatomy, half: usize, zone: Option<Zone>, q: f32) -> f32 {
    let third = (anatomy.dome[half] - anatomy.apex) / 3.0;
    let number = match zone {
        Some(Zone::Upper) => 0.0,
        Some(Zone::Lower) => 2.0,
        _ => 1.0,
    };
    anatomy.apex + third * (number + q)
}

/// A round or oval patch of one lung.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patch {
    pub(super) half: usize,
    /// Centre (distance from the midline, height) and radii, body frame.
    pub(super) centre: [f32; 2],
    pub(super) radius: [f32; 2],
    key: u64,
}

/// The spot of a nodule: its diameter is 3.8 to 7.5 % of the picture's width.
pub(super) fn nodule(finding: &Finding, anatomy: &Anatomy, chest: &Chest<'_>) -> Patch {
    let half = usize::from(finding.halves()[1]);
    let diameter = 0.038 + 0.0125 * finding.grade();
    let radius = 0.5 * diameter / anatomy.pose.size();
    // Upwards from the drawn height to the first level where the lung is wide enough: the heart and the apex leave
    // little room.
    let mut q = 0.25 + 0.65 * finding.at[1];
    let mut centre = [0.0; 2];
    for _ in 0..20 {
        let v = height(anatomy, half, finding.zone, q);
        let (medial, lateral) = chest.span(half, v);
        let (low, high) = (medial + radius + 0.01, lateral - radius - 0.02);
        centre = [low + (high - low).max(0.0) * finding.at[0], v];
        if high > low && v + radius < chest.diaphragm(half, centre[0]) {
            break;
        }
        q += if finding.zone == Some(Zone::Upper) { 0.04 } else { -0.04 };
    }
    Patch { half, centre, radius: [radius; 2], key: finding.key }
}

/// The patch of a consolidation.
pub(super) fn consolidation(finding: &Finding, anatomy: &Anatomy, chest: &Chest<'_>) -> Patch {
    let half = usize::from(finding.halves()[1]);
    let mut random = Stream::new(finding.key);
    let v = height(anatomy, half, finding.zone, 0.3 + 0.45 * finding.at[1]);
    let (medial, lateral) = chest.span(half, v);
    let radius = 0.068 + 0.018 * finding.grade();
    let centre = [medial + (lateral - medial) * (0.25 + 0.5 * finding.at[0]), v];
    let oval = around(&mut random, 1.0, 0.15);
    Patch { half, centre, radius: [radius * oval, radius / oval], key: random.next_u64() }
}

impl Patch {
    /// Density of a nodule: a ball with a soft edge.
    fn ball(&self, site: &Site) -> f32 {
        let r = self.distance(site);
        if r >= 1.0 { 0.0 } else { smooth((1.0 - r) / 0.3) * (1.0 - 0.25 * r * r) }
    }

    /// Density of a consolidation: an ill-defined patch with an irregular outline.
    fn cloud(&self, site: &Site) -> f32 {
        if site.half != self.half {
            return 0.0;
        }
        let (x, y) = ((site.a - self.centre[0]) / self.radius[0], (site.v - self.centre[1]) / self.radius[1]);
        let square = x * x + y * y;
        if square > 2.6 {
            return 0.0;
        }
        smooth((1.0 + 0.28 * ripple(self.key, y.atan2(x)) - square.sqrt()) / 0.55)
    }

    /// Distance from the centre in radii.
    fn distance(&self, site: &Site) -> f32 {
        if site.half != self.half {
            return 9.0;
        }
        let (x, y) = ((site.a - self.centre[0]) / self.radius[0], (site.v - self.centre[1]) / self.radius[1]);
        (x * x + y * y).sqrt()
    }
}

/// Fluid above the costophrenic angle of one half.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fluid {
    /// Depth of the fluid at the side, 0 for none.
    depth: f32,
    /// Height of the costophrenic angle.
    angle: f32,
}

/// Where the fluid is: it creeps up along the side of the chest.
fn fluid(fluids: &[Fluid; 2], site: &Site) -> f32 {
    let Fluid { depth, angle } = fluids[site.half];
    if depth == 0.0 {
        return 0.0;
    }
    let z = (site.a / site.lateral).min(1.0);
    let top = angle - depth * (0.52 + 0.48 * z.powi(4));
    smooth((site.v - top) / 0.022)
}

/// A lung that has shrunk towards its hilum.
#[derive(Debug, Clone, Copy)]
pub(super) struct Collapse {
    half: usize,
    hilum: [f32; 2],
    /// Shrinkage across and upwards; downwards it is a part of the first.
    across: f32,
    up: f32,
    low: f32,
}

impl Collapse {
    pub(super) fn new(finding: &Finding, anatomy: &Anatomy) -> Self {
        let half = usize::from(finding.halves()[1]);
        let grade = finding.grade();
        let low = if finding.severity == Severity::Mild { 0.15 } else { 0.75 };
        Self { half, hilum: hilum(anatomy, half), across: 0.13 + 0.08 * grade, up: 0.19 + 0.065 * grade, low }
    }

    /// Signed depth below the surface of the collapsed lung: negative in the air outside.
    fn depth(&self, site: &Site, chest: &Chest<'_>) -> f32 {
        let above = ((self.hilum[1] - site.v) / 0.2).clamp(-1.0, 1.0) * 0.5 + 0.5;
        let across = 1.0 - self.across * (self.low + (1.0 - self.low) * smooth(above));
        let a = self.hilum[0] + (site.a - self.hilum[0]) / across;
        let dv = site.v - self.hilum[1];
        let v = self.hilum[1] + if dv < 0.0 { dv / (1.0 - self.up) } else { dv };
        let (medial, lateral) = chest.span(self.half, v);
        // Above the lung the two borders meet at the apex.
        let top = v - chest.apex() + 0.004;
        (lateral - a).min(a - medial + 0.03).min(top) * across
    }

    /// Share of free air, and the density of the pleural line.
    pub(super) fn at(&self, site: &Site, chest: &Chest<'_>) -> (f32, f32) {
        if site.half != self.half || site.air == 0.0 {
            return (0.0, 0.0);
        }
        let depth = self.depth(site, chest);
        (smooth(0.5 - depth / 0.008) * site.air, hump(depth / 0.0065) * site.air.min(1.0))
    }
}

/// The broken rib of a fracture, the centre of the break and its extent, 4.1 to 4.7 % of the picture's width.
pub(super) fn broken(finding: &Finding, rib: u8, anatomy: &Anatomy, chest: &Chest<'_>) -> (Broken, [f32; 2], f32) {
    let half = usize::from(finding.halves()[1]);
    // The heart hides the inner parts of the lower left ribs.
    let low = if half == 1 && rib >= 6 { 0.68 } else { 0.48 };
    let mut s = low + (0.86 - low) * finding.at[0];
    let mut centre = chest.on_rib(half, rib, s);
    // Towards the spine until the break is above the diaphragm.
    while centre[1] > chest.diaphragm(half, centre[0]) - 0.03 && s > 0.3 {
        s -= 0.04;
        centre = chest.on_rib(half, rib, s);
    }
    let extent = (0.041 + 0.002 * finding.grade()) / anatomy.pose.size();
    let sign = if finding.key & 1 == 0 { 1.0 } else { -1.0 };
    let step = sign * anatomy.rib.half * (0.25 + 0.18 * finding.grade());
    (Broken { half, rib, a: centre[0], reach: 0.5 * extent, step }, centre, extent)
}

/// The field of one opacity.
#[derive(Debug)]
pub(super) enum Field {
    Fluid([Fluid; 2]),
    Cloud(Patch),
    Ball(Patch),
    Haze { hila: [[f32; 2]; 2], reach: f32 },
}

impl Field {
    /// The field of a finding, `None` if it is no opacity.
    pub(super) fn new(finding: &Finding, anatomy: &Anatomy, chest: &Chest<'_>) -> Option<Self> {
        match finding.kind {
            Kind::PleuralEffusion => {
                let mut random = Stream::new(finding.key);
                let halves = finding.halves();
                Some(Self::Fluid([0, 1].map(|half| {
                    let grade = (finding.grade() + around(&mut random, 0.0, 0.15)).max(0.0);
                    let depth = if halves[half] { 0.12 + 0.070 * grade } else { 0.0 };
                    Fluid { depth, angle: anatomy.dome[half] + anatomy.sinus[half] }
                })))
            }
            Kind::Consolidation => Some(Self::Cloud(consolidation(finding, anatomy, chest))),
            Kind::Nodule => Some(Self::Ball(nodule(finding, anatomy, chest))),
            Kind::Edema => {
                Some(Self::Haze { hila: [hilum(anatomy, 0), hilum(anatomy, 1)], reach: 0.17 + 0.02 * finding.grade() })
            }
            _ => None,
        }
    }

    /// Density at a site, 0 to 1; outside aerated lung there is none.
    pub(super) fn at(&self, site: &Site) -> f32 {
        if site.air == 0.0 {
            return 0.0;
        }
        site.air
            * match self {
                Self::Fluid(fluids) => fluid(fluids, site),
                Self::Cloud(patch) => patch.cloud(site),
                Self::Ball(patch) => patch.ball(site),
                Self::Haze { hila, reach } => {
                    let [a, v] = hila[site.half];
                    let (x, y) = ((site.a - a) / reach, (site.v - v - 0.05) / (reach * 1.35));
                    (-(x * x + y * y)).exp()
                }
            }
    }

    /// How much the lung's texture shows in the density.
    pub(super) fn roughness(&self) -> f32 {
        match self {
            Self::Fluid(_) => 0.05,
            Self::Ball(_) => 0.08,
            Self::Cloud(_) | Self::Haze { .. } => 0.28,
        }
    }
}
