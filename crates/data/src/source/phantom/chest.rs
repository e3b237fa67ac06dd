//! The chest as functions of a body point: outlines, air, soft tissue and bones.
//!
//! What depends on the height alone or on the distance from the midline alone is tabulated once per patient, which
//! leaves a few operations per pixel.

use super::anatomy::Anatomy;

/// Entries of a table, and the range of heights that it covers.
const ENTRIES: usize = 1024;
const FIRST: f32 = -0.3;
const STEP: f32 = 1.6 / 1024.0;
/// Distance of the lungs' apices from the midline.
const APEX: f32 = 0.125;
/// Level at which the chest is widest.
const WIDEST: f32 = 0.62;

/// Outlines at one height, on one side.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// Outer and inner border of the lung.
    lateral: f32,
    medial: f32,
    /// Skin.
    torso: f32,
    /// Reach of the heart, 0 above and below it.
    heart: f32,
}

/// Values at one distance from the midline, on one side.
#[derive(Debug, Clone, Copy, Default)]
struct Reach {
    diaphragm: f32,
    shoulder: f32,
    clavicle: f32,
    central: f32,
}

/// A body point and what is there.
#[derive(Debug, Clone, Copy)]
pub(super) struct Site {
    /// 0 for the patient's right, 1 for the left.
    pub(super) half: usize,
    /// Distance from the midline and height.
    pub(super) a: f32,
    pub(super) v: f32,
    /// Outer border of the lung at this height, and of the diaphragm at this distance.
    pub(super) lateral: f32,
    pub(super) diaphragm: f32,
    /// How much of the ray passes aerated lung, 0 to 1.
    pub(super) air: f32,
}

/// Tables of one patient.
#[derive(Debug)]
pub(super) struct Chest<'a> {
    anatomy: &'a Anatomy,
    levels: [Vec<Level>; 2],
    reaches: [Vec<Reach>; 2],
    /// Irregularity of each rib: shift and density.
    jitter: [[f32; 2]; 24],
}

/// Smooth step from 0 at `x <= 0` to 1 at `x >= 1`.
pub(super) fn smooth(x: f32) -> f32 {
    let x = x.clamp(0.0, 1.0);
    x * x * (3.0 - 2.0 * x)
}

/// Smooth hump: 1 at 0, 0 beyond 1.
pub(super) fn hump(x: f32) -> f32 {
    let y = (1.0 - x * x).max(0.0);
    y * y
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the table first")]
fn entry(x: f32) -> usize {
    ((x - FIRST) / STEP).clamp(0.0, (ENTRIES - 1) as f32) as usize
}

fn level(anatomy: &Anatomy, half: usize, v: f32) -> Level {
    let (sign, width) = (if half == 0 { -1.0 } else { 1.0 }, anatomy.width[half]);
    let t = (v - anatomy.apex) / (WIDEST - anatomy.apex);
    let lateral = if t < 1.0 {
        APEX + (width - APEX) * (1.0 - (1.0 - t.max(0.0)).powf(2.3)).max(0.0).sqrt()
    } else {
        width - 0.35 * (v - WIDEST) * (v - WIDEST)
    };
    let turn = sign * anatomy.turn;
    let base = anatomy.mediastinum * if half == 0 { 0.85 } else { 1.0 };
    let heart = heart_reach(anatomy, half, base, v);
    let knob = if half == 0 { 0.3 * hump((v - 0.40) / 0.08) } else { hump((v - 0.295) / 0.055) } * anatomy.knob;
    let trunk = if half == 1 { 0.014 * hump((v - 0.385) / 0.06) } else { 0.0 };
    let closing = (1.0 - t.max(0.0) / 0.2).max(0.0);
    let neck = 0.016 * smooth((0.23 - v) / 0.13);
    let inner = (base + knob + trunk + neck + turn).max(heart);
    let torso = width + anatomy.wall + 0.36 * (-(v / 0.235) * (v / 0.235).abs()).exp() + 0.03 * smooth((v - 0.5) * 2.0);
    Level { lateral, medial: inner + (APEX - inner).max(0.0) * closing * closing, torso, heart }
}

/// Reach of the heart from the midline at a height.
fn heart_reach(anatomy: &Anatomy, half: usize, base: f32, v: f32) -> f32 {
    let heart = &anatomy.heart;
    let (reach, level) = (heart.reach[half], heart.level[half]);
    if half == 0 {
        let z = (v - level) / if v < level { 0.20 } else { 0.30 };
        return if z.abs() < 1.0 { 0.03 + (reach - 0.03) * (1.0 - z * z).powf(0.55) } else { 0.0 };
    }
    let top = 0.375;
    if v < top {
        0.0
    } else if v < level {
        let w = (v - top) / (level - top);
        base + (reach - base) * (w * std::f32::consts::FRAC_PI_2).sin().powf(heart.waist)
    } else {
        let z = (v - level) / 0.19;
        if z < 1.0 { base * z + (reach - base * z) * (1.0 - z * z).sqrt() } else { 0.0 }
    }
}

fn reach(anatomy: &Anatomy, half: usize, a: f32) -> Reach {
    let crest = 0.17;
    let diaphragm = anatomy.dome[half]
        + if a > crest {
            let z = (a - crest) / (anatomy.width[half] - crest);
            anatomy.sinus[half] * z.min(1.15).powf(2.3)
        } else {
            0.028 * ((crest - a) / crest).powi(2)
        };
    let shoulder = anatomy.shoulder - 0.30 * (1.0 - smooth((a - 0.06) / 0.15)) + 0.11 * smooth((a - 0.13) / 0.33);
    let along = (a - 0.03) / 0.34;
    let clavicle = if (0.0..1.0).contains(&along) {
        0.205 - anatomy.clavicle[half] * along.powf(0.8) + 0.011 * (along * std::f32::consts::TAU).sin()
    } else {
        -9.0
    };
    Reach { diaphragm, shoulder, clavicle, central: (-(a / 0.16).powi(2)).exp() }
}

impl<'a> Chest<'a> {
    pub(super) fn new(anatomy: &'a Anatomy) -> Self {
        let at = |i: usize| FIRST + (i as f32 + 0.5) * STEP;
        let mut random = crate::rng::Stream::new(anatomy.key ^ 0x51b5);
        Self {
            anatomy,
            levels: [0, 1].map(|half| (0..ENTRIES).map(|i| level(anatomy, half, at(i))).collect()),
            reaches: [0, 1].map(|half| (0..ENTRIES).map(|i| reach(anatomy, half, at(i))).collect()),
            jitter: std::array::from_fn(|_| {
                [super::anatomy::around(&mut random, 0.0, 0.003), super::anatomy::around(&mut random, 1.0, 0.13)]
            }),
        }
    }

    /// Outlines and air at a body point.
    pub(super) fn site(&self, u: f32, v: f32) -> Site {
        let half = usize::from(u >= 0.0);
        let a = u.abs();
        let level = &self.levels[half][entry(v)];
        let diaphragm = self.reaches[half][entry(a)].diaphragm;
        let mut air = 0.0;
        if v > self.anatomy.apex && v < diaphragm && a > level.medial && a < level.lateral {
            let side = ((level.lateral - a) / 0.04).min(1.0);
            air = side * (2.0 - side) * smooth((a - level.medial) / 0.018) * smooth((diaphragm - v) / 0.010);
        }
        Site { half, a, v, lateral: level.lateral, diaphragm, air }
    }

    /// Height of the lungs' apices.
    pub(super) fn apex(&self) -> f32 {
        self.anatomy.apex
    }

    /// Whether a site lies in the shadow of the heart.
    pub(super) fn in_heart(&self, site: &Site) -> bool {
        site.v > 0.37 && site.v < site.diaphragm && site.a < self.levels[site.half][entry(site.v)].heart
    }

    /// Border of the lung at a height: `(medial, lateral)`.
    pub(super) fn span(&self, half: usize, v: f32) -> (f32, f32) {
        let level = &self.levels[half][entry(v)];
        (level.medial, level.lateral)
    }

    /// Height of the diaphragm at a distance from the midline.
    pub(super) fn diaphragm(&self, half: usize, a: f32) -> f32 {
        self.reaches[half][entry(a)].diaphragm
    }

    /// Attenuation of everything but lung markings, findings and bones.
    pub(super) fn tissue(&self, site: &Site) -> f32 {
        let Site { half, a, v, air, .. } = *site;
        let level = &self.levels[half][entry(v)];
        let reach = &self.reaches[half][entry(a)];
        let body = skin((level.torso - a) / 0.11) * skin((v - reach.shoulder) / 0.10);
        if body <= 0.0 {
            return 0.0;
        }
        let belly = smooth((v - 0.60) / 0.2);
        let mut tissue = 0.44 + 0.27 * reach.central * (1.0 - 0.5 * belly) + 0.25 * belly;
        if a < level.heart {
            let z = a / level.heart;
            tissue += 0.10 * (1.0 - z * z) * (1.0 - belly) * smooth((v - 0.38) / 0.12);
        }
        tissue = (tissue + self.midline(half, a, v)) * body;
        tissue -= self.gas(half, a, v);
        let lung = self.anatomy.lung + 0.05 * smooth((v - 0.3) / 0.4) + self.anatomy.hilar * reach.central;
        let breast = self.breast(a, v);
        tissue + breast + (lung - tissue) * air
    }

    /// Trachea and spine, added to the soft tissue.
    fn midline(&self, half: usize, a: f32, v: f32) -> f32 {
        let u = if half == 0 { -a } else { a } - self.anatomy.turn * 0.8;
        let mut sum = 0.0;
        if u.abs() < 0.045 {
            let beat = (v - 0.02) / 0.058;
            let disc = hump((beat - beat.round()) / 0.22);
            let flank = hump((u.abs() - 0.033) / 0.010);
            sum += smooth((0.045 - u.abs()) / 0.02)
                * (0.075 - 0.045 * disc + 0.03 * flank)
                * (1.0 - 0.6 * smooth((v - 0.4) * 3.0));
        }
        if v < 0.45 && u.abs() < 0.12 {
            let fork = (v - 0.37).max(0.0);
            let centre = fork * 1.1;
            let half_width = 0.019 - 0.05 * fork;
            let lumen = hump(((u.abs() - centre) / half_width).clamp(-1.0, 1.0));
            sum -= 0.15 * lumen * smooth((0.45 - v) / 0.08) * smooth((v + 0.05) / 0.12);
        }
        sum
    }

    /// Gas in the stomach, under the left dome.
    fn gas(&self, half: usize, a: f32, v: f32) -> f32 {
        let [density, width] = self.anatomy.gas;
        if half == 0 || density == 0.0 {
            return 0.0;
        }
        let top = self.diaphragm(1, a) + 0.014;
        let (x, y) = ((a - 0.17) / width, (v - top - 0.03) / 0.034);
        density * smooth(1.8 * (1.0 - x * x - y * y))
    }

    fn breast(&self, a: f32, v: f32) -> f32 {
        let [density, height] = self.anatomy.breast;
        if density == 0.0 {
            return 0.0;
        }
        let (x, y) = ((a - 0.2) / 0.15, (v - height) / 0.13);
        let r = x * x + y * y;
        if r > 1.0 { 0.0 } else { density * smooth((1.0 - r) * 2.5) * smooth((y + 1.0) * 0.8) }
    }

    /// Attenuation of the ribs, and of a broken one if `broken` names its half, number, place and look.
    pub(super) fn ribs(&self, site: &Site, broken: Option<&Broken>) -> f32 {
        let ribs = &self.anatomy.rib;
        let s = site.a / (site.lateral + 0.016);
        if s >= 0.999 || site.a < 0.03 || site.v < self.anatomy.apex - 0.03 {
            return 0.0;
        }
        let q = (1.0 - s * s).sqrt();
        let hidden = if site.v > site.diaphragm { 0.10 } else { 0.40 };
        let visible = hidden + (1.0 - hidden) * site.air;
        let ends = smooth((site.a - 0.03) / 0.02);
        // The back part falls towards the side; the front part goes on from there, fainter, towards the sternum.
        let back = ribs.fall * (1.0 - q) + 0.045 * s;
        let slope = (ribs.fall * s / q + 0.045) / site.lateral;
        let (k, across) = self.nearest(site, back);
        let norm = (1.0 + slope * slope).sqrt();
        let mut sum = 0.0;
        if (0.0..11.0).contains(&k) {
            let [shift, density] = self.jitter[rib_index(k)];
            let r = (across - shift) / norm;
            let whole = profile(r, ribs.half);
            let shown = match broken {
                Some(b) if b.half == site.half && (k + 1.0 - f32::from(b.rib)).abs() < 0.6 => {
                    b.profile(r, (site.a - b.a) * norm, ribs.half, whole)
                }
                _ => whole,
            };
            sum += shown * density * ends;
        }
        let front = ribs.fall + 0.085 + 0.125 * q;
        let slope = -0.125 * s / q / site.lateral;
        let (k, across) = self.nearest(site, front);
        if (0.0..7.5).contains(&k) && s > 0.34 {
            let [shift, density] = self.jitter[rib_index(k) + 12];
            let r = (across - shift) / (1.0 + slope * slope).sqrt();
            sum += 0.55 * hump(r / (ribs.half * 1.35)) * density * smooth((s - 0.34) / 0.12);
        }
        sum * ribs.density * visible
    }

    /// Nearest rib of a family (0 is the first) and the signed distance from it along the body.
    #[expect(clippy::cast_possible_truncation, reason = "a handful of ribs")]
    fn nearest(&self, site: &Site, offset: f32) -> (f32, f32) {
        let t = (site.v - (self.anatomy.apex - 0.012) - offset) / self.anatomy.rib.spacing;
        // Truncation serves as rounding: no rib is drawn where `t` is far below zero.
        let k = ((t + 8.5) as i32 - 8) as f32;
        (k, (t - k) * self.anatomy.rib.spacing)
    }

    /// Distance from the midline and height of a point on the back part of a rib.
    pub(super) fn on_rib(&self, half: usize, rib: u8, s: f32) -> [f32; 2] {
        let ribs = &self.anatomy.rib;
        let back = ribs.fall * (1.0 - (1.0 - s * s).sqrt()) + 0.045 * s;
        let [shift, _] = self.jitter[rib_index(f32::from(rib) - 1.0)];
        let v = self.anatomy.apex - 0.012 + back + (f32::from(rib) - 1.0) * ribs.spacing + shift;
        [s * (self.span(half, v).1 + 0.016), v]
    }

    /// Attenuation of clavicles, shoulder blades and the heads of the upper arms.
    pub(super) fn girdle(&self, site: &Site) -> f32 {
        let Site { half, a, v, .. } = *site;
        if v > 0.5 {
            return 0.0;
        }
        let clavicle = self.reaches[half][entry(a)].clavicle;
        let mut sum = 0.0;
        let r = (v - clavicle).abs();
        if r < 0.03 {
            sum += 0.13 * profile(r, 0.0125) * smooth((a - 0.03) / 0.02) * smooth((0.37 - a) / 0.02);
        }
        let lift = self.anatomy.clavicle[half] - 0.07;
        let (x, y) = ((a - 0.425 - 0.12 * (v - 0.3)) / 0.105, (v - 0.275 + lift) / 0.155);
        let blade = x * x + y * y;
        if blade < 1.0 {
            sum += 0.045 * smooth((1.0 - blade) * 4.0) + 0.05 * hump((blade - 0.9) / 0.1);
        }
        let (x, y) = (a - 0.465, v - 0.165 + lift);
        let head = (x * x + y * y) / (0.052 * 0.052);
        if head < 1.0 {
            sum += 0.15 * smooth((1.0 - head) * 3.0);
        }
        sum
    }
}

/// Cross-section of a bone: denser margins around a flat middle.
fn profile(r: f32, half: f32) -> f32 {
    let z = r.abs() / half;
    if z > 1.2 { 0.0 } else { smooth((1.2 - z) / 0.4) * (0.8 + 0.3 * z * z) }
}

/// Thickness of the body near the skin, from 0 outside to 1.
fn skin(x: f32) -> f32 {
    let x = x.clamp(0.0, 1.0);
    (x * (2.0 - x)).sqrt()
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "ribs are numbered 0 to 11")]
fn rib_index(k: f32) -> usize {
    k.clamp(0.0, 11.0) as usize
}

/// A broken rib: its fragments slide past each other and overlap.
#[derive(Debug, Clone, Copy)]
pub(super) struct Broken {
    pub(super) half: usize,
    /// 1 for the first rib.
    pub(super) rib: u8,
    /// Distance of the break from the midline.
    pub(super) a: f32,
    /// Half of its extent along the rib.
    pub(super) reach: f32,
    /// Displacement of each fragment at the break, signed.
    pub(super) step: f32,
}

impl Broken {
    /// Cross-section at `r` across and `along` the rib, whose unbroken cross-section is `whole`.
    fn profile(&self, r: f32, along: f32, half: f32, whole: f32) -> f32 {
        let z = along / self.reach;
        if z.abs() >= 1.0 {
            return whole;
        }
        // The ends are oblique, and both fragments return to the line of the rib away from the break.
        let lean = self.step * (1.0 - z * z);
        let oblique = z + 0.25 * r / half;
        let inner = profile(r + lean, half) * smooth((0.70 - oblique) / 0.30);
        let outer = profile(r - lean, half) * smooth((oblique + 0.70) / 0.30);
        // Compact ends are denser than the shaft.
        (1.0 + 0.55 * (1.0 - z * z)) * (inner + outer)
    }
}
