//! Images of a data set, decoded once and kept as 8-bit grey within a bound in bytes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use rayon::prelude::*;

use crate::error::{DataError, ImageFault, Result};
use crate::image::transform::{letterbox, resize_larger_side};
use crate::image::{GrayImage, Plane, decode};
use crate::record::{Dataset, ImageSource, SampleRef};

/// The images of one data set.
#[derive(Debug)]
pub struct ImageStore {
    name: String,
    images: Vec<Vec<Slot>>,
    /// How messages name the studies.
    studies: Vec<SampleRef>,
    source_size: usize,
    cache_bytes: usize,
    used_bytes: AtomicUsize,
}

#[derive(Debug)]
struct Slot {
    source: ImageSource,
    cached: OnceLock<Arc<GrayImage>>,
}

impl ImageStore {
    /// A store whose images are scaled so that the larger side is `source_size` (px), of which at most `cache_bytes`
    /// are kept in memory.
    pub fn new(dataset: &Dataset, source_size: usize, cache_bytes: usize) -> Self {
        let slot = |source: &ImageSource| Slot { source: source.clone(), cached: OnceLock::new() };
        Self {
            name: dataset.name.clone(),
            images: dataset.studies.iter().map(|study| study.images.iter().map(slot).collect()).collect(),
            studies: dataset.studies.iter().map(|study| study.sample(None)).collect(),
            source_size,
            cache_bytes,
            used_bytes: AtomicUsize::new(0),
        }
    }

    /// Number of images of a study.
    pub fn num_images(&self, study: usize) -> usize {
        self.images[study].len()
    }

    /// An image of a study.
    ///
    /// # Errors
    /// [`DataError::Sample`] names the data set and the row where it cannot be read, also where decoding panics.
    pub fn load(&self, study: usize, image: usize) -> Result<Arc<GrayImage>> {
        let slot = &self.images[study][image];
        if let Some(image) = slot.cached.get() {
            return Ok(Arc::clone(image));
        }
        let decoded = catch_unwind(AssertUnwindSafe(|| self.read(&slot.source))).unwrap_or(Err(ImageFault::Panicked));
        let image = Arc::new(decoded.map_err(|fault| self.failed(study, image, fault))?);
        let bytes = image.pixels.len();
        if self.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes <= self.cache_bytes {
            // Losing a race only means that the same image was decoded twice.
            let _ = slot.cached.set(Arc::clone(&image));
        } else {
            self.used_bytes.fetch_sub(bytes, Ordering::Relaxed);
        }
        Ok(image)
    }

    /// The error of an image that cannot be used.
    pub(crate) fn failed(&self, study: usize, image: usize, fault: ImageFault) -> DataError {
        let path = match &self.images[study][image].source {
            ImageSource::File(path) => Some(path.clone()),
            ImageSource::Phantom(_) => None,
        };
        DataError::Sample {
            manifest: self.name.clone(),
            sample: SampleRef { path, ..self.studies[study].clone() },
            fault,
        }
    }

    fn read(&self, source: &ImageSource) -> Result<GrayImage, ImageFault> {
        // Tests let it panic, as a decoder might.
        fail::fail_point!("image-read");
        match source {
            ImageSource::File(path) => Ok(resize_larger_side(decode::decode_file(path.expose())?, self.source_size)),
            ImageSource::Phantom(key) => Ok(key.study().render(self.source_size)),
        }
    }

    /// An image as models see it when nothing is drawn at random: padded to a square with black, then scaled.
    ///
    /// # Errors
    /// As [`ImageStore::load`].
    pub fn load_square(&self, study: usize, image: usize, size: usize) -> Result<Plane> {
        Ok(letterbox(self.load(study, image)?.as_ref(), size))
    }

    /// Decodes every image that fits into the cache, on all cores; `progress` is called after each with the number done.
    ///
    /// Unreadable images are left for the loader to report.
    pub fn prefill(&self, progress: impl Fn(usize) + Sync) {
        let done = AtomicUsize::new(0);
        let all: Vec<(usize, usize)> =
            self.images.iter().enumerate().flat_map(|(s, slots)| (0..slots.len()).map(move |i| (s, i))).collect();
        all.par_iter().for_each(|&(study, image)| {
            if self.used_bytes.load(Ordering::Relaxed) < self.cache_bytes {
                let _ = self.load(study, image);
            }
            progress(done.fetch_add(1, Ordering::Relaxed) + 1);
        });
    }

    /// Memory that the images take which are kept.
    pub fn cached_bytes(&self) -> usize {
        self.used_bytes.load(Ordering::Relaxed)
    }

    /// Number of images.
    pub fn len(&self) -> usize {
        self.images.iter().map(Vec::len).sum()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
