//! From attenuation to grey values: exposure, noise, collimation and the side marker.

use super::anatomy::Film;
use super::finding::Side;
use super::noise::quantum;
use super::stroke::Canvas;
use crate::image::GrayImage;
use crate::rng::Stream;

/// Entries of the tone curve and the attenuation that they span.
const ENTRIES: usize = 1024;
const SPAN: f32 = 1.3;

/// The tone curve of a film, tabulated.
#[derive(Debug)]
pub(super) struct Tone {
    curve: Vec<f32>,
    gradient: [f32; 2],
    pixel: f32,
}

impl Tone {
    pub(super) fn new(film: &Film, size: usize) -> Self {
        let [low, high] = film.range;
        let curve = (0..ENTRIES)
            .map(|i| {
                let x = i as f32 / (ENTRIES - 1) as f32 * SPAN;
                // Film and detector compress the dense end.
                let y = 1.0 - (1.0 - 0.75 * x).max(0.0).powf(1.45);
                low + (high - low) * y.powf(film.gamma)
            })
            .collect();
        Self { curve, gradient: film.gradient, pixel: 1.0 / size as f32 }
    }

    /// Grey value (0 to 1) of an attenuation at a pixel.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the table first")]
    pub(super) fn grey(&self, attenuation: f32, x: usize, y: usize) -> f32 {
        let [gx, gy] = self.gradient;
        let exposure = 1.0 + gx * (x as f32 * self.pixel - 0.5) + gy * (y as f32 * self.pixel - 0.5);
        let at = (attenuation * exposure / SPAN * (ENTRIES - 1) as f32).clamp(0.0, (ENTRIES - 2) as f32);
        let cell = at as usize;
        let (a, b) = (self.curve[cell], self.curve[cell + 1]);
        a + (b - a) * (at - cell as f32)
    }
}

/// The finished picture of an attenuation map.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to 0..=255 first")]
pub(super) fn develop(film: &Film, tone: &Tone, attenuation: &[f32], size: usize) -> GrayImage {
    let mut noise = Stream::new(film.key ^ size as u64);
    let marker = marker(film, size);
    let mut pixels = Vec::with_capacity(size * size);
    for y in 0..size {
        for x in 0..size {
            let i = y * size + x;
            let mut grey = tone.grey(attenuation[i], x, y);
            grey += film.noise * quantum(noise.next_u64()) * (0.5 + grey);
            if let Some(marker) = &marker {
                grey = grey.max(marker.data[i]);
            }
            if let Some(border) = film.border {
                grey *= inside(border, (x as f32 + 0.5) / size as f32, (y as f32 + 0.5) / size as f32, size as f32);
            }
            pixels.push((grey * 255.0 + 0.5).clamp(0.0, 255.0) as u8);
        }
    }
    GrayImage { width: size, height: size, pixels }
}

/// 1 inside the collimated field, 0 outside, a pixel of transition.
fn inside([left, top, right, bottom]: [f32; 4], x: f32, y: f32, size: f32) -> f32 {
    let edge =
        |distance: f32, width: f32| if width > 0.0 { ((distance - width) * size + 0.5).clamp(0.0, 1.0) } else { 1.0 };
    edge(x, left) * edge(y, top) * edge(1.0 - x, right) * edge(1.0 - y, bottom)
}

/// The letter of the side marker as strokes.
fn marker(film: &Film, size: usize) -> Option<Canvas> {
    let (side, [cx, cy]) = film.marker?;
    let mut canvas = Canvas::new(size);
    // The letter in a box of one by one, y down.
    let lines: &[[f32; 4]] = match side {
        Side::Right => &[
            [0.0, 0.0, 0.0, 1.0],
            [0.0, 0.0, 0.45, 0.03],
            [0.45, 0.03, 0.55, 0.25],
            [0.55, 0.25, 0.42, 0.46],
            [0.42, 0.46, 0.0, 0.5],
            [0.28, 0.5, 0.6, 1.0],
        ],
        _ => &[[0.0, 0.0, 0.0, 1.0], [0.0, 1.0, 0.55, 1.0]],
    };
    let height = 0.042;
    for [x0, y0, x1, y1] in lines {
        let place = |x: f32, y: f32| [cx + (x - 0.3) * height, cy + (y - 0.5) * height];
        canvas.line(place(*x0, *y0), place(*x1, *y1), [0.0038; 2], 0.95);
    }
    Some(canvas)
}
