//! Warnings about images that become something else than their file holds, each once per process.

use std::sync::atomic::{AtomicBool, Ordering};

/// What is unusual about an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Notice {
    /// 16 bits.
    Deep,
    /// Colour.
    Colour,
    /// Inks instead of lights.
    Inks,
    /// Pixels that are not opaque.
    Transparent,
    /// Not stored upright.
    Turned,
    /// All pixels are equal.
    Blank,
}

/// How many there are.
const KINDS: usize = Notice::Blank as usize + 1;

impl Notice {
    fn text(self) -> &'static str {
        match self {
            Self::Deep => "an image has 16 bits and is scaled to 8: 65535 becomes 255, whatever the brightest pixel is",
            Self::Colour => "an image is in colour and becomes grey",
            Self::Inks => "an image is stored in inks (CMYK) and becomes grey by way of red, green and blue",
            Self::Transparent => "an image is transparent and is laid over black",
            Self::Turned => "an image is not stored upright and is turned as its EXIF data say",
            Self::Blank => "an image is blank: all its pixels are equal",
        }
    }
}

/// Which kinds have been met.
struct Once([AtomicBool; KINDS]);

impl Once {
    const fn new() -> Self {
        Self([const { AtomicBool::new(false) }; KINDS])
    }

    /// Whether a kind is met for the first time.
    fn is_first(&self, notice: Notice) -> bool {
        !self.0[notice as usize].swap(true, Ordering::Relaxed)
    }
}

/// Warns of an image where it is the first of its kind.
pub(super) fn warn_once(notice: Notice) {
    static MET: Once = Once::new();
    if MET.is_first(notice) {
        tracing::warn!("{}; further ones are not mentioned", notice.text());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_mentioned_once() {
        let met = Once::new();
        assert!(met.is_first(Notice::Deep) && met.is_first(Notice::Blank));
        assert!(!met.is_first(Notice::Deep) && !met.is_first(Notice::Blank) && met.is_first(Notice::Turned));
    }
}
