//! Who is on the film and how it was taken: pose, build, organs, exposure.
//!
//! Lengths are fractions of the picture's width in a body frame with its origin at the top of the midline, x to the
//! patient's left (the right of the picture), y down. Pairs are `[patient's right, patient's left]`.

use super::finding::{Finding, Kind, Side};
use crate::rng::{Purpose, Stream, stream};

/// How the body frame lies in the picture.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Pose {
    /// Rotation in the plane of the film (rad).
    pub(super) angle: f32,
    /// Shift of the body.
    pub(super) shift: [f32; 2],
    /// Size of the body, across and along.
    pub(super) scale: [f32; 2],
}

/// Exposure and everything that is not the patient.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Film {
    pub(super) gamma: f32,
    /// Grey value of no attenuation and of the highest.
    pub(super) range: [f32; 2],
    /// Change of exposure from edge to edge, across and along.
    pub(super) gradient: [f32; 2],
    /// Amplitude of quantum noise, per pixel.
    pub(super) noise: f32,
    /// Amplitude of texture.
    pub(super) texture: f32,
    /// Dark borders of a collimated field: left, top, right, bottom.
    pub(super) border: Option<[f32; 4]>,
    /// Side marker: which letter, and where.
    pub(super) marker: Option<(Side, [f32; 2])>,
    /// Electrodes and wires on the skin.
    pub(super) ecg_leads: bool,
    /// Key of the noise.
    pub(super) key: u64,
}

/// Shape of the heart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Heart {
    /// Reach from the midline to the right and to the left of the patient.
    pub(super) reach: [f32; 2],
    /// Height of the widest level on the right and of the apex on the left.
    pub(super) level: [f32; 2],
    /// Exponent of the left border: above 1 hollow below the hilum, below 1 round.
    pub(super) waist: f32,
}

/// One patient.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Anatomy {
    pub(super) pose: Pose,
    pub(super) film: Film,
    pub(super) heart: Heart,
    /// Top of the lungs.
    pub(super) apex: f32,
    /// Top of each dome of the diaphragm.
    pub(super) dome: [f32; 2],
    /// Depth of each costophrenic angle below its dome.
    pub(super) sinus: [f32; 2],
    /// Half width of each lung field.
    pub(super) width: [f32; 2],
    /// Soft tissue beside the ribs.
    pub(super) wall: f32,
    /// Half width of the upper mediastinum.
    pub(super) mediastinum: f32,
    /// How far the aortic knob stands out.
    pub(super) knob: f32,
    /// Shift of the midline structures by rotation about the long axis.
    pub(super) turn: f32,
    /// Distance of the ribs, their fall from the spine to the side, their half thickness and density.
    pub(super) rib: Ribs,
    /// Density of breast shadows, 0 for none, and their height.
    pub(super) breast: [f32; 2],
    /// Density of the gastric bubble, 0 for none, and its width.
    pub(super) gas: [f32; 2],
    /// Lift of the outer ends of the clavicles.
    pub(super) clavicle: [f32; 2],
    /// Height of the shoulders.
    pub(super) shoulder: f32,
    /// Strength of the vascular markings.
    pub(super) vessels: f32,
    /// Attenuation of aerated lung, and what soft tissue adds towards the hila.
    pub(super) lung: f32,
    pub(super) hilar: f32,
    /// Key of the branching of the vessels and of the ribs' irregularity.
    pub(super) key: u64,
}

/// Dimensions of the ribs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ribs {
    pub(super) spacing: f32,
    pub(super) fall: f32,
    pub(super) half: f32,
    pub(super) density: f32,
}

/// What a reader may remark about pose and build without naming a finding.
#[expect(clippy::struct_excessive_bools, reason = "independent yes-or-no remarks")]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Remarks {
    pub(super) low_volume: bool,
    pub(super) rotated: Option<Side>,
    pub(super) wide_aorta: bool,
    pub(super) heart_at_limit: bool,
    pub(super) ecg_leads: bool,
}

/// A single-precision value in `[low, high)`.
#[expect(clippy::cast_possible_truncation, reason = "single precision is enough for geometry")]
pub(super) fn between(random: &mut Stream, low: f32, high: f32) -> f32 {
    random.uniform(f64::from(low), f64::from(high)) as f32
}

/// A value around `centre`, mostly within `spread`: the mean of two uniform draws on twice that range.
pub(super) fn around(random: &mut Stream, centre: f32, spread: f32) -> f32 {
    centre + spread * (between(random, -1.0, 1.0) + between(random, -1.0, 1.0))
}

/// Ratio of the heart's width to the chest's: normal below 0.5, enlarged from 0.51 on, by grade.
fn cardiothoracic_ratio(findings: &[Finding], random: &mut Stream) -> f32 {
    let normal = between(random, 0.41, 0.50);
    findings.iter().find(|f| f.kind == Kind::Cardiomegaly).map_or(normal, |f| 0.51 + 0.032 * f.grade())
}

impl Pose {
    fn sample(random: &mut Stream) -> Self {
        let size = around(random, 1.06, 0.085);
        Self {
            angle: around(random, 0.0, 0.055),
            shift: [around(random, 0.0, 0.04), around(random, 0.0, 0.04)],
            scale: [size * around(random, 1.0, 0.03), size * around(random, 1.0, 0.03)],
        }
    }

    /// The picture's point of a body point; both are fractions of the width.
    pub(super) fn place(&self, body: [f32; 2]) -> [f32; 2] {
        let (sin, cos) = self.angle.sin_cos();
        let (u, v) = (body[0] * self.scale[0], (body[1] - 0.5) * self.scale[1]);
        [0.5 + self.shift[0] + u * cos - v * sin, 0.5 + self.shift[1] + u * sin + v * cos]
    }

    /// The body point of a picture's point.
    pub(super) fn body(&self, x: f32, y: f32) -> [f32; 2] {
        let (sin, cos) = self.angle.sin_cos();
        let (x, y) = (x - 0.5 - self.shift[0], y - 0.5 - self.shift[1]);
        [(x * cos + y * sin) / self.scale[0], (y * cos - x * sin) / self.scale[1] + 0.5]
    }

    /// Mean size of the body in the picture.
    pub(super) fn size(&self) -> f32 {
        0.5 * (self.scale[0] + self.scale[1])
    }
}

impl Film {
    fn sample(random: &mut Stream) -> Self {
        let border = random.chance(0.25).then(|| std::array::from_fn(|_| between(random, -0.03, 0.05).max(0.0)));
        let marker = random.chance(0.5).then(|| {
            let side = if random.chance(0.7) { Side::Left } else { Side::Right };
            let x = between(random, 0.06, 0.12);
            let y = between(random, 0.05, 0.16);
            (side, [if side == Side::Left { 1.0 - x } else { x }, y])
        });
        Self {
            gamma: around(random, 1.0, 0.2),
            range: [between(random, 0.0, 0.09), between(random, 0.80, 1.0)],
            gradient: [around(random, 0.0, 0.09), around(random, 0.0, 0.09)],
            noise: between(random, 0.008, 0.020),
            texture: between(random, 0.8, 1.25),
            border,
            marker,
            ecg_leads: random.chance(0.1),
            key: random.next_u64(),
        }
    }
}

impl Anatomy {
    /// The patient of a study; only the heart depends on the findings.
    pub(super) fn sample(seed: u64, index: u64, findings: &[Finding]) -> Self {
        let random = &mut stream(seed, Purpose::Anatomy, 0, index);
        let ratio = cardiothoracic_ratio(findings, random);
        let pose = Pose::sample(random);
        let film = Film::sample(random);
        let turn = around(random, 0.0, 0.011);
        let build = around(random, 0.365, 0.018);
        let width = [build * around(random, 1.0, 0.02) - turn, build * around(random, 1.0, 0.02) + turn];
        let breath = around(random, 0.0, 0.045);
        let right = 0.705 + breath;
        let dome = [right, right + around(random, 0.022, 0.01)];
        let total = ratio * (width[0] + width[1]);
        let share = around(random, 0.665, 0.03);
        let level = around(random, 0.615, 0.012) + 0.6 * breath;
        let female = random.chance(0.4);
        let gas = random.chance(0.7);
        Self {
            pose,
            film,
            heart: Heart {
                reach: [total * (1.0 - share) - turn, total * share + turn],
                level: [level, level + around(random, 0.06, 0.012)],
                waist: around(random, 1.35, 0.18),
            },
            apex: around(random, 0.115, 0.012),
            dome,
            sinus: [around(random, 0.088, 0.01), around(random, 0.088, 0.01)],
            width,
            wall: around(random, 0.07, 0.02),
            mediastinum: around(random, 0.062, 0.007),
            knob: around(random, 0.024, 0.010),
            turn,
            rib: Ribs {
                spacing: around(random, 0.076, 0.003),
                fall: around(random, 0.155, 0.02),
                half: around(random, 0.0132, 0.0013),
                density: around(random, 0.16, 0.016),
            },
            breast: [if female { between(random, 0.03, 0.09) } else { 0.0 }, around(random, 0.64, 0.02)],
            gas: [if gas { between(random, 0.06, 0.24) } else { 0.0 }, between(random, 0.045, 0.075)],
            clavicle: [around(random, 0.07, 0.02), around(random, 0.07, 0.02)],
            shoulder: around(random, 0.03, 0.015),
            vessels: around(random, 1.0, 0.2),
            lung: around(random, 0.19, 0.045),
            hilar: between(random, 0.0, 0.12),
            key: random.next_u64(),
        }
    }

    /// What can be said of the picture.
    pub(super) fn remarks(&self) -> Remarks {
        let ratio = (self.heart.reach[0] + self.heart.reach[1]) / (self.width[0] + self.width[1]);
        Remarks {
            low_volume: self.dome[0] < 0.675,
            rotated: (self.turn.abs() > 0.012).then_some(if self.turn > 0.0 { Side::Left } else { Side::Right }),
            wide_aorta: self.knob > 0.034,
            heart_at_limit: (0.475..0.51).contains(&ratio),
            ecg_leads: self.film.ecg_leads,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pose_and_its_inverse_agree() {
        let pose = Pose { angle: 0.1, shift: [0.03, -0.02], scale: [0.9, 1.1] };
        for point in [[0.0, 0.5], [-0.3, 0.2], [0.25, 0.9]] {
            let [x, y] = pose.place(point);
            let back = pose.body(x, y);
            assert!((back[0] - point[0]).abs() < 1e-6 && (back[1] - point[1]).abs() < 1e-6);
        }
    }
}
