//! Support devices, and the electrodes that are none.

use super::anatomy::{Anatomy, Pose, around, between};
use super::finding::{Device, Finding, Side};
use super::stroke::Canvas;
use crate::rng::Stream;

/// Half width of a catheter, a tube's wall and a wire.
const CATHETER: f32 = 0.0048;
const WALL: f32 = 0.0032;

/// Draws a support device on a canvas of added attenuation.
pub(super) fn draw(finding: &Finding, device: Device, anatomy: &Anatomy, canvas: &mut Canvas) {
    let random = &mut Stream::new(finding.key);
    let pose = &anatomy.pose;
    let sign = if finding.side == Side::Right { -1.0 } else { 1.0 };
    let turn = anatomy.turn;
    let density = between(random, 0.26, 0.40);
    // The superior vena cava, right of the midline.
    let cava = [around(random, -0.046, 0.005) + turn, between(random, 0.38, 0.45)];
    let entry = [cava[0] + 0.006, 0.285];
    match device {
        Device::Pacemaker => {
            let centre = [sign * around(random, 0.255, 0.025), around(random, 0.255, 0.02)];
            generator(random, pose, centre, canvas);
            let tip = [anatomy.heart.reach[1] * around(random, 0.5, 0.1), anatomy.heart.level[1] + 0.01];
            let near = [centre[0] - sign * 0.05, centre[1] - 0.035];
            let bend = [sign * 0.12, 0.205 + around(random, 0.0, 0.01)];
            let top = [if sign > 0.0 { 0.03 } else { -0.07 } + turn, 0.235];
            let atrium = [cava[0] - 0.006, 0.52];
            canvas.curve(pose, &[near, bend, top, entry, cava, atrium, [0.0, 0.63], tip], 0.0042, 0.34);
            let end = [tip[0] - 0.02, tip[1] - 0.004];
            canvas.curve(pose, &[end, tip], 0.007, 0.36);
        }
        Device::JugularLine => {
            let start = [sign * around(random, 0.075, 0.008), -0.05];
            let neck = [sign * around(random, 0.068, 0.006), 0.09];
            let inlet = [sign * 0.055 + turn, 0.19];
            canvas.curve(pose, &[start, neck, inlet, entry, cava], CATHETER, density);
        }
        Device::SubclavianLine => {
            let start = [sign * around(random, 0.36, 0.03), around(random, 0.27, 0.02)];
            let vein = [sign * 0.20, 0.195 + around(random, 0.0, 0.012)];
            let inlet = [sign * 0.07 + turn, 0.215];
            canvas.curve(pose, &[start, vein, inlet, entry, cava], CATHETER, density);
        }
        Device::EndotrachealTube => {
            let tip = between(random, 0.24, 0.33);
            let lean = around(random, 0.0, 0.006);
            for wall in [-0.0095, 0.0095] {
                let x = turn + wall;
                canvas.curve(pose, &[[x + lean, -0.1], [x + 0.5 * lean, 0.12], [x, tip]], WALL, density);
            }
            canvas.curve(pose, &[[turn - 0.0095, tip], [turn + 0.0095, tip + 0.01]], WALL, density);
            canvas.curve(pose, &[[turn + lean - 0.004, -0.1], [turn - 0.004, tip]], 0.0022, density * 1.2);
        }
        Device::NasogastricTube => {
            let x = turn + around(random, 0.012, 0.005);
            let stomach = [between(random, 0.10, 0.2), anatomy.dome[1] + between(random, 0.09, 0.14)];
            let hiatus = [x + 0.016, anatomy.dome[1] + 0.01];
            let points = [[x - 0.008, -0.1], [x - 0.004, 0.2], [x, 0.45], hiatus, [0.06, hiatus[1] + 0.07], stomach];
            canvas.curve(pose, &points, CATHETER, density);
            let last = [stomach[0] - 0.03, stomach[1] - 0.004];
            canvas.curve(pose, &[last, stomach], CATHETER * 1.3, density * 1.2);
        }
    }
}

/// The generator of a pacemaker: a rounded metal box with a denser rim.
fn generator(random: &mut Stream, pose: &Pose, centre: [f32; 2], canvas: &mut Canvas) {
    let (width, height) = (between(random, 0.030, 0.040), between(random, 0.026, 0.034));
    let tilt = around(random, 0.0, 0.25);
    let (sin, cos) = tilt.sin_cos();
    let at = |x: f32, y: f32| [centre[0] + x * cos - y * sin, centre[1] + x * sin + y * cos];
    for row in -2..=2_i8 {
        let y = f32::from(row) / 2.0 * height * 0.72;
        let x = width * if row.abs() == 2 { 0.55 } else { 0.75 };
        canvas.curve(pose, &[at(-x, y), at(x, y)], height * 0.30, 0.46);
    }
    canvas.curve(pose, &[at(-width * 0.4, -height), at(width * 0.3, -height * 1.1)], height * 0.35, 0.38);
}

/// Electrodes and wires of a monitor: distracting, and no support device.
pub(super) fn ecg_leads(anatomy: &Anatomy, canvas: &mut Canvas) {
    let random = &mut Stream::new(anatomy.film.key ^ 0xec6);
    for [x, y, far] in [[-0.33, 0.16, -0.62], [0.34, 0.15, 0.62], [0.25, 0.86, 0.62]] {
        let pad = [around(random, x, 0.025), around(random, y, 0.025)];
        let exit = [far, pad[1] + between(random, 0.05, 0.25)];
        let middle = [0.5 * (pad[0] + exit[0]), pad[1] + between(random, 0.02, 0.1)];
        canvas.curve(&anatomy.pose, &[pad, middle, exit], 0.0016, 0.16);
        canvas.curve(&anatomy.pose, &[pad, [pad[0] + 0.002, pad[1]]], 0.010, 0.10);
        canvas.curve(&anatomy.pose, &[pad, [pad[0] + 0.001, pad[1]]], 0.004, 0.24);
    }
}
