//! Vascular markings: trees that branch from each hilum and thin out towards the periphery.

use super::anatomy::{Anatomy, around, between};
use super::chest::Chest;
use super::stroke::Stroke;
use crate::rng::Stream;

/// Direction and calibre of a branch that is about to grow.
#[derive(Debug, Clone, Copy)]
struct Branch {
    from: [f32; 2],
    /// Angle from the outward horizontal, positive downwards (rad).
    angle: f32,
    length: f32,
    half: f32,
    generation: u32,
}

/// The hilum of one half: distance from the midline and height. The left one is a little higher.
pub(super) fn hilum(anatomy: &Anatomy, half: usize) -> [f32; 2] {
    [anatomy.mediastinum + 0.025, if half == 0 { 0.435 } else { 0.415 } + 0.35 * (anatomy.dome[half] - 0.71)]
}

/// Vessels of both lungs as strokes in the body frame.
pub(super) fn vessels(anatomy: &Anatomy, chest: &Chest<'_>) -> Vec<Stroke> {
    let mut random = Stream::new(anatomy.key);
    let mut strokes = Vec::with_capacity(260);
    for half in [0, 1] {
        let root = hilum(anatomy, half);
        // Upwards, outwards and, thicker, downwards.
        for (centre, half_width) in [
            (-1.30, 0.0062),
            (-0.85, 0.0060),
            (-0.35, 0.0056),
            (0.15, 0.0064),
            (0.60, 0.0076),
            (0.95, 0.0090),
            (1.25, 0.0098),
        ] {
            let from = [around(&mut random, root[0], 0.008), around(&mut random, root[1], 0.022)];
            let angle = around(&mut random, centre, 0.12);
            let branch = Branch {
                from,
                angle,
                length: around(&mut random, 0.085, 0.012),
                half: half_width * around(&mut random, 1.0, 0.12),
                generation: 0,
            };
            grow(&mut random, chest, half, &branch, anatomy.vessels, &mut strokes);
        }
    }
    strokes
}

fn grow(random: &mut Stream, chest: &Chest<'_>, half: usize, branch: &Branch, gain: f32, out: &mut Vec<Stroke>) {
    let (sin, cos) = branch.angle.sin_cos();
    let to = [branch.from[0] + branch.length * cos, branch.from[1] + branch.length * sin];
    let thin = branch.half * 0.72;
    let sign = if half == 0 { -1.0 } else { 1.0 };
    out.push(Stroke {
        from: [sign * branch.from[0], branch.from[1]],
        to: [sign * to[0], to[1]],
        half: [branch.half, thin],
        // A thicker vessel is longer along the ray too.
        density: gain * (0.035 + 11.0 * branch.half),
    });
    let (_, lateral) = chest.span(half, to[1]);
    if branch.generation >= 3 || to[0] > lateral - 0.02 || to[1] > chest.diaphragm(half, to[0]) {
        return;
    }
    let children = if branch.generation == 0 || random.chance(0.7) { 2 } else { 1 };
    let spread = between(random, 0.22, 0.42);
    for child in 0..children {
        let turn = if children == 1 { around(random, 0.0, 0.15) } else { spread * if child == 0 { 1.0 } else { -0.8 } };
        let next = Branch {
            from: to,
            // Branches straighten towards the periphery.
            angle: branch.angle * 0.97 + turn + around(random, 0.0, 0.07),
            length: branch.length * between(random, 0.62, 0.85),
            half: thin * if child == 0 { 0.88 } else { 0.7 },
            generation: branch.generation + 1,
        };
        grow(random, chest, half, &next, gain, out);
    }
}
