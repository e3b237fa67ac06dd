//! Maps with their channels last in memory, `[B, H, W, C]`, behind the shape `[B, C, H, W]` that everything else sees.

use burn_flex::FlexTensor;

use super::cpu::{filled, for_rows, tensor, values, vectorised};

/// The sizes of a map.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Map {
    pub(super) batch: usize,
    pub(super) channels: usize,
    pub(super) height: usize,
    pub(super) width: usize,
}

impl Map {
    pub(super) fn of(map: &FlexTensor) -> Self {
        let shape = map.layout().shape();
        Self { batch: shape[0], channels: shape[1], height: shape[2], width: shape[3] }
    }

    /// Places of all images.
    pub(super) fn places(&self) -> usize {
        self.batch * self.height * self.width
    }

    pub(super) fn len(&self) -> usize {
        self.places() * self.channels
    }
}

/// The map with its channels last in memory: itself where it has them there already. Seen with the shape `[B, H, W, C]`.
#[expect(unsafe_code, reason = "memory that is not cleared")]
pub(super) fn channels_last(map: &FlexTensor) -> FlexTensor {
    let Map { batch, channels, height, width } = Map::of(map);
    let seen = map.clone().with_layout(map.layout().permute(&[0, 2, 3, 1]));
    if seen.is_contiguous() || map.layout().strides().iter().any(|stride| *stride < 0) {
        return seen.to_contiguous();
    }
    let places = height * width;
    let map = map.to_contiguous();
    let from = values(&map);
    // SAFETY: each place is written whole.
    let turned = unsafe {
        filled(from.len(), |out| {
            for_rows(out, channels, |first, out| {
                vectorised(
                    #[inline(always)]
                    || {
                        for (place, out) in (first..).zip(out.chunks_exact_mut(channels)) {
                            let at = place / places * places * channels + place % places;
                            for (channel, value) in out.iter_mut().enumerate() {
                                *value = from[at + channel * places];
                            }
                        }
                    },
                );
            });
        })
    };
    tensor(turned, [batch, height, width, channels])
}

/// Values with channels last as a map.
pub(super) fn as_map(values: Vec<f32>, map: Map) -> FlexTensor {
    let last = tensor(values, [map.batch, map.height, map.width, map.channels]);
    let layout = last.layout().permute(&[0, 3, 1, 2]);
    last.with_layout(layout)
}
