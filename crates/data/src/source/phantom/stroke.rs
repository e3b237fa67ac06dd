//! Thin soft lines on a picture: vessels, wires, tubes, pleural and septal lines.

use super::anatomy::Pose;

/// A line between two body points that may taper.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stroke {
    pub(super) from: [f32; 2],
    pub(super) to: [f32; 2],
    /// Half width at both ends, fractions of the picture's width.
    pub(super) half: [f32; 2],
    pub(super) density: f32,
}

/// A square picture that strokes are drawn on; where they cross the denser one counts.
#[derive(Debug)]
pub(super) struct Canvas {
    pub(super) size: usize,
    pub(super) data: Vec<f32>,
}

impl Canvas {
    pub(super) fn new(size: usize) -> Self {
        Self { size, data: vec![0.0; size * size] }
    }

    /// Draws a stroke given in body points.
    pub(super) fn draw(&mut self, pose: &Pose, stroke: &Stroke) {
        let scale = pose.size();
        let half = stroke.half.map(|h| h * scale);
        self.line(pose.place(stroke.from), pose.place(stroke.to), half, stroke.density);
    }

    /// Draws a line between two points of the picture (unit coordinates).
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped to the picture first")]
    pub(super) fn line(&mut self, from: [f32; 2], to: [f32; 2], half: [f32; 2], density: f32) {
        let size = self.size as f32;
        let pixel = 1.0 / size;
        // A line thinner than a pixel keeps its integral: it is drawn a pixel wide and fainter.
        let margin = half[0].max(half[1]).max(0.5 * pixel) + pixel;
        let low = |a: f32, b: f32| ((a.min(b) - margin) * size).floor().clamp(0.0, size) as usize;
        let high = |a: f32, b: f32| ((a.max(b) + margin) * size).ceil().clamp(0.0, size) as usize;
        let (dx, dy) = (to[0] - from[0], to[1] - from[1]);
        let length = (dx * dx + dy * dy).max(1e-9);
        for y in low(from[1], to[1])..high(from[1], to[1]) {
            let py = (y as f32 + 0.5) * pixel - from[1];
            for x in low(from[0], to[0])..high(from[0], to[0]) {
                let px = (x as f32 + 0.5) * pixel - from[0];
                let t = ((px * dx + py * dy) / length).clamp(0.0, 1.0);
                let (ex, ey) = (px - t * dx, py - t * dy);
                let h = half[0] + (half[1] - half[0]) * t;
                let shown = h.max(0.5 * pixel);
                let distance = (ex * ex + ey * ey).sqrt();
                let cover = ((shown - distance) * size + 0.5).clamp(0.0, 1.0) * (h / shown);
                let value = &mut self.data[y * self.size + x];
                *value = value.max(cover * density);
            }
        }
    }

    /// Draws a smooth curve through body points with round joints.
    pub(super) fn curve(&mut self, pose: &Pose, points: &[[f32; 2]], half: f32, density: f32) {
        let smooth = spline(points);
        for pair in smooth.windows(2) {
            self.draw(pose, &Stroke { from: pair[0], to: pair[1], half: [half; 2], density });
        }
    }
}

/// Points along the Catmull-Rom spline through `points`.
fn spline(points: &[[f32; 2]]) -> Vec<[f32; 2]> {
    const PARTS: usize = 6;
    let mut out = Vec::with_capacity(points.len() * PARTS);
    for i in 0..points.len().saturating_sub(1) {
        let point = |j: usize| points[j.min(points.len() - 1)];
        let (p0, p1, p2, p3) = (point(i.saturating_sub(1)), point(i), point(i + 1), point(i + 2));
        for part in 0..PARTS {
            let t = part as f32 / PARTS as f32;
            out.push(std::array::from_fn(|c| {
                let (a, b) = (p2[c] - p0[c], 2.0 * p0[c] - 5.0 * p1[c] + 4.0 * p2[c] - p3[c]);
                let d = 3.0 * p1[c] - p0[c] - 3.0 * p2[c] + p3[c];
                p1[c] + 0.5 * t * (a + t * (b + t * d))
            }));
        }
    }
    out.extend(points.last());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_covers_its_area_at_every_size() {
        for size in [64, 128, 256] {
            let mut canvas = Canvas::new(size);
            canvas.line([0.2, 0.3], [0.8, 0.3], [0.004; 2], 2.0);
            let area = canvas.data.iter().sum::<f32>() / (size * size) as f32;
            // 0.6 long, 0.008 wide, density 2; round ends and pixel edges add a little.
            assert!((area - 0.0096).abs() < 0.0016, "{size}: {area}");
        }
    }

    #[test]
    fn a_spline_passes_through_its_points() {
        let points = [[0.0, 0.0], [0.2, 0.1], [0.3, 0.5]];
        let smooth = spline(&points);
        assert!(points.iter().all(|p| smooth.contains(p)));
    }
}
