//! Pixels of a phantom: attenuation of the body, markings, findings at their contrast, then the film.

use super::anatomy::{Anatomy, between};
use super::chest::{Broken, Chest, Site};
use super::finding::{Finding, Kind, Side};
use super::opacity::{Collapse, Field, broken, nodule};
use super::stroke::{Canvas, Stroke};
use super::{device, film, noise, vessels};
use crate::image::GrayImage;
use crate::rng::Stream;

/// Width of the surroundings of an opacity, as a fraction of the picture's width.
const SURROUNDINGS: f32 = 0.04;
/// Share of air from which a pixel counts as lung.
const LUNG: f32 = 0.5;
/// Attenuation that fills an airless lung.
const FILLED: f32 = 0.47;

/// A study being drawn at one size.
pub(super) struct Renderer<'a> {
    anatomy: &'a Anatomy,
    findings: &'a [Finding],
    size: usize,
    chest: Chest<'a>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(anatomy: &'a Anatomy, findings: &'a [Finding], size: usize) -> Self {
        Self { anatomy, findings, size, chest: Chest::new(anatomy) }
    }

    /// The body point of every pixel.
    fn sites(&self) -> Vec<Site> {
        let pixel = 1.0 / self.size as f32;
        let pose = &self.anatomy.pose;
        let [u0, v0] = pose.body(0.5 * pixel, 0.5 * pixel);
        // The map is affine: one step in each direction describes it.
        let ([ux, vx], [uy, vy]) = (pose.body(1.5 * pixel, 0.5 * pixel), pose.body(0.5 * pixel, 1.5 * pixel));
        let mut sites = Vec::with_capacity(self.size * self.size);
        for y in 0..self.size {
            let (u, v) = (u0 + (uy - u0) * y as f32, v0 + (vy - v0) * y as f32);
            for x in 0..self.size {
                sites.push(self.chest.site(u + (ux - u0) * x as f32, v + (vx - v0) * x as f32));
            }
        }
        sites
    }

    /// The picture.
    pub(super) fn picture(&self) -> GrayImage {
        let sites = self.sites();
        let texture = self.texture();
        let markings = self.markings();
        let mut attenuation = self.body(&sites, &texture, &markings);
        let tone = film::Tone::new(&self.anatomy.film, self.size);
        let opacities: Vec<(Vec<f32>, f32)> = self
            .findings
            .iter()
            .filter_map(|finding| Some((finding, Field::new(finding, self.anatomy, &self.chest)?)))
            .map(|(finding, field)| {
                let density = self.density(finding, &field, &sites, &texture, &markings);
                let mask = field_mask(&field, &sites);
                let amplitude = self.amplitude(finding, &sites, &attenuation, &density, &mask, &tone);
                (density, amplitude)
            })
            .collect();
        for (density, amplitude) in opacities {
            for (sum, d) in attenuation.iter_mut().zip(density) {
                *sum += amplitude * d;
            }
        }
        film::develop(&self.anatomy.film, &tone, &attenuation, self.size)
    }

    /// Texture of the parenchyma and of overlapping soft tissue, about unit variance.
    fn texture(&self) -> Vec<f32> {
        let mut out = vec![0.0; self.size * self.size];
        let key = self.anatomy.film.key;
        for (n, (cells, gain)) in [(10, 0.4), (24, 0.55), (54, 0.7)].into_iter().enumerate() {
            noise::field(self.size, cells, key.wrapping_add(n as u64 + 1), &mut out, gain);
        }
        out
    }

    /// Vessels.
    fn markings(&self) -> Canvas {
        let mut canvas = Canvas::new(self.size);
        for stroke in vessels::vessels(self.anatomy, &self.chest) {
            canvas.draw(&self.anatomy.pose, &stroke);
        }
        canvas
    }

    fn find(&self, wanted: impl Fn(Kind) -> bool) -> Option<&Finding> {
        self.findings.iter().find(|f| wanted(f.kind))
    }

    /// The broken rib, if there is one.
    fn broken(&self) -> Option<Broken> {
        self.findings.iter().find_map(|f| match f.kind {
            Kind::Fracture { rib } => Some(broken(f, rib, self.anatomy, &self.chest).0),
            _ => None,
        })
    }

    /// Attenuation of everything but opacities.
    fn body(&self, sites: &[Site], texture: &[f32], markings: &Canvas) -> Vec<f32> {
        let collapse = self.find(|k| k == Kind::Pneumothorax).map(|f| Collapse::new(f, self.anatomy));
        let broken = self.broken();
        let devices = self.devices();
        let grain = self.anatomy.film.texture;
        let mut out = Vec::with_capacity(sites.len());
        for (i, site) in sites.iter().enumerate() {
            let tissue = self.chest.tissue(site);
            if tissue <= 0.0 {
                out.push(devices.data[i]);
                continue;
            }
            let mut sum = tissue + self.chest.ribs(site, broken.as_ref()) + self.chest.girdle(site);
            let mut marks = site.air * (markings.data[i] + 0.017 * grain * texture[i]);
            if let Some(collapse) = &collapse {
                let (free, line) = collapse.at(site, &self.chest);
                marks *= 1.0 - free;
                sum += 0.16 * line - 0.08 * free;
            }
            sum += marks + (1.0 - site.air) * 0.010 * grain * texture[i];
            out.push(sum + devices.data[i]);
        }
        out
    }

    fn devices(&self) -> Canvas {
        let mut canvas = Canvas::new(self.size);
        if self.anatomy.film.ecg_leads {
            device::ecg_leads(self.anatomy, &mut canvas);
        }
        for finding in self.findings {
            if let Kind::SupportDevice(kind) = finding.kind {
                device::draw(finding, kind, self.anatomy, &mut canvas);
            }
        }
        canvas
    }

    /// Added density of an opacity, before its contrast is set.
    fn density(
        &self,
        finding: &Finding,
        field: &Field,
        sites: &[Site],
        texture: &[f32],
        markings: &Canvas,
    ) -> Vec<f32> {
        let rough = field.roughness();
        let mut out: Vec<f32> =
            sites.iter().zip(texture).map(|(site, t)| (field.at(site) * (1.0 + rough * t)).max(0.0)).collect();
        if finding.kind == Kind::Edema {
            let septa = self.septa(finding);
            for (i, site) in sites.iter().enumerate() {
                // Cuffed vessels and thick septa are seen beyond the haze.
                out[i] += site.air * (4.0 * markings.data[i] + 1.6 * septa.data[i] + 0.15 * texture[i].max(0.0));
            }
        }
        out
    }

    /// Kerley lines: short, at right angles to the chest wall above the costophrenic angles.
    fn septa(&self, finding: &Finding) -> Canvas {
        let mut canvas = Canvas::new(self.size);
        let mut random = Stream::new(finding.key ^ 0x5e97a);
        for (half, sign) in [(0, -1.0), (1, 1.0)] {
            for _ in 0..7 {
                let v = self.anatomy.dome[half] - between(&mut random, -0.05, 0.16);
                let (_, lateral) = self.chest.span(half, v);
                let outer = lateral - between(&mut random, 0.004, 0.016);
                let inner = outer - between(&mut random, 0.028, 0.055);
                let fall = between(&mut random, -0.006, 0.012);
                let (from, to) = ([sign * outer, v], [sign * inner, v + fall]);
                canvas.draw(&self.anatomy.pose, &Stroke { from, to, half: [0.0026; 2], density: 0.55 });
            }
        }
        canvas
    }

    /// Factor that gives an opacity its contrast: the mean change inside the mask is `contrast` standard deviations of
    /// the finding-free lung in the mask and around it, unless the lung is full before.
    fn amplitude(
        &self,
        finding: &Finding,
        sites: &[Site],
        base: &[f32],
        density: &[f32],
        mask: &[bool],
        tone: &film::Tone,
    ) -> f32 {
        let near = dilate(mask, self.size, SURROUNDINGS);
        let grey = |i: usize, amplitude: f32| tone.grey(base[i] + amplitude * density[i], i % self.size, i / self.size);
        let (mut count, mut mean, mut square) = (0.0_f32, 0.0_f32, 0.0_f32);
        for i in (0..base.len()).filter(|&i| near[i] && sites[i].air > LUNG) {
            let value = grey(i, 0.0);
            count += 1.0;
            mean += value;
            square += value * value;
        }
        mean /= count.max(1.0);
        let deviation = (square / count.max(1.0) - mean * mean).max(0.0).sqrt();
        let inside: Vec<usize> = (0..base.len()).filter(|&i| mask[i]).collect();
        let change = |amplitude: f32| {
            inside.iter().map(|&i| grey(i, amplitude) - grey(i, 0.0)).sum::<f32>() / inside.len().max(1) as f32
        };
        let target = finding.contrast * strength(finding) * deviation;
        // The change grows with the amplitude: bisection up to a filled lung.
        let (mut low, mut high) = (0.0, FILLED);
        if change(high) <= target {
            return high;
        }
        for _ in 0..7 {
            let middle = 0.5 * (low + high);
            if change(middle) < target { low = middle } else { high = middle }
        }
        low
    }

    /// Pixels of aerated lung.
    pub(super) fn lungs(&self) -> Vec<bool> {
        self.sites().iter().map(|s| s.air > LUNG).collect()
    }

    /// Pixels of a finding.
    pub(super) fn mask(&self, finding: &Finding) -> Vec<bool> {
        let sites = self.sites();
        match finding.kind {
            Kind::Cardiomegaly => sites.iter().map(|s| self.chest.in_heart(s)).collect(),
            Kind::Pneumothorax => {
                let collapse = Collapse::new(finding, self.anatomy);
                sites.iter().map(|s| collapse.at(s, &self.chest).0 > 0.5).collect()
            }
            Kind::Fracture { rib } => {
                let (broken, [a, v], extent) = broken(finding, rib, self.anatomy, &self.chest);
                let radius = 0.5 * extent;
                sites
                    .iter()
                    .map(|s| s.half == broken.half && (s.a - a).powi(2) + (s.v - v).powi(2) < radius * radius)
                    .collect()
            }
            Kind::SupportDevice(kind) => {
                let mut canvas = Canvas::new(self.size);
                device::draw(finding, kind, self.anatomy, &mut canvas);
                canvas.data.iter().map(|&d| d > 0.06).collect()
            }
            _ => Field::new(finding, self.anatomy, &self.chest)
                .map_or_else(|| vec![false; sites.len()], |field| field_mask(&field, &sites)),
        }
    }

    /// Boxes of a finding: exact for nodules and fractures, otherwise around the mask.
    pub(super) fn boxes(&self, finding: &Finding) -> Vec<[f32; 4]> {
        let pose = &self.anatomy.pose;
        let around = |half: usize, [a, v]: [f32; 2], radius: f32| {
            let [x, y] = pose.place([if half == 0 { -a } else { a }, v]);
            let [rx, ry] = pose.scale.map(|s| s * radius);
            [x - rx, y - ry, x + rx, y + ry]
        };
        match finding.kind {
            Kind::Nodule => {
                let spot = nodule(finding, self.anatomy, &self.chest);
                vec![around(spot.half, spot.centre, spot.radius[0])]
            }
            Kind::Fracture { rib } => {
                let (broken, centre, extent) = broken(finding, rib, self.anatomy, &self.chest);
                vec![around(broken.half, centre, 0.5 * extent)]
            }
            _ => {
                let mask = self.mask(finding);
                if finding.side == Side::Both && finding.is_opacity() {
                    let halves: Vec<usize> = self.sites().iter().map(|s| s.half).collect();
                    let of = |half: usize| -> Vec<bool> {
                        mask.iter().zip(&halves).map(|(m, h)| *m && *h == half).collect()
                    };
                    [0, 1].iter().filter_map(|&half| bounds(&of(half), self.size)).collect()
                } else {
                    bounds(&mask, self.size).into_iter().collect()
                }
            }
        }
    }
}

/// Share of its contrast that a finding uses: haze over both lungs is fainter than an opacity with a border.
fn strength(finding: &Finding) -> f32 {
    if finding.kind == Kind::Edema { 0.26 + 0.07 * finding.grade() } else { 1.0 }
}

/// Pixels where a field has at least 35 % of its peak.
fn field_mask(field: &Field, sites: &[Site]) -> Vec<bool> {
    let values: Vec<f32> = sites.iter().map(|s| field.at(s)).collect();
    let threshold = 0.35 * values.iter().copied().fold(0.0, f32::max);
    values.iter().map(|&v| v > threshold).collect()
}

/// Grows a mask by `reach` (a fraction of the width) in each direction.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small positive number of pixels")]
pub(super) fn dilate(mask: &[bool], size: usize, reach: f32) -> Vec<bool> {
    let r = ((reach * size as f32).round() as usize).max(1);
    let spread = |lines: &[bool]| -> Vec<bool> {
        let mut out = vec![false; lines.len()];
        for (line, grown) in lines.chunks_exact(size).zip(out.chunks_exact_mut(size)) {
            for x in (0..size).filter(|&x| line[x]) {
                grown[x.saturating_sub(r)..(x + r + 1).min(size)].fill(true);
            }
        }
        out
    };
    let transpose = |m: &[bool]| -> Vec<bool> { (0..m.len()).map(|i| m[(i % size) * size + i / size]).collect() };
    transpose(&spread(&transpose(&spread(mask))))
}

/// Smallest rectangle around the set pixels in unit coordinates, `None` if there are none.
pub(super) fn bounds(mask: &[bool], size: usize) -> Option<[f32; 4]> {
    let (mut low, mut high) = ([size, size], [0, 0]);
    for i in (0..mask.len()).filter(|&i| mask[i]) {
        let at = [i % size, i / size];
        for c in 0..2 {
            low[c] = low[c].min(at[c]);
            high[c] = high[c].max(at[c] + 1);
        }
    }
    let unit = |n: usize| n as f32 / size as f32;
    (high[0] > 0).then(|| [unit(low[0]), unit(low[1]), unit(high[0]), unit(high[1])])
}
