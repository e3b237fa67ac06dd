//! Why an image, or the path of one, is refused.

use std::io;

use thiserror::Error;

/// Why a path of a manifest is refused. The path itself is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PathFault {
    /// Nothing there.
    #[error("the path is empty: name the image, or leave the row out")]
    Empty,
    /// An absolute path.
    #[error("the path is absolute; paths must be relative to the folder of the manifest or lie in the image root")]
    Absolute,
    /// `..` leads out of the folder.
    #[error("the path leads out of its folder: name the folder that holds all images as the image root")]
    Escape,
    /// A link leads out of the folder.
    #[error("a symbolic link leads out of the folder; name the folder that it points to as the image root")]
    Link,
    /// A backslash or a NUL.
    #[error("the path holds a backslash or a NUL; write it with forward slashes")]
    Character,
    /// A name that Windows takes for a device.
    #[error("the path holds a name that Windows reserves (nul, con, com1 and the like); rename the file")]
    Device,
}

/// Why an image is refused.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImageFault {
    /// The file could not be read.
    #[error("the image file cannot be read ({0}): is it there, and may this user read it?")]
    Read(io::ErrorKind),
    /// The path is refused.
    #[error(transparent)]
    Path(#[from] PathFault),
    /// Larger than the limit.
    #[error("the image file holds {bytes} bytes, the limit is {limit}: is it a single image?")]
    FileTooLarge {
        /// Size of the file (bytes).
        bytes: u64,
        /// Limit (bytes).
        limit: u64,
    },
    /// Neither PNG nor JPEG.
    #[error("the image is neither PNG nor JPEG: convert TIFF, DICOM and others to PNG first")]
    Format,
    /// Too many pixels or a side of zero.
    #[error(
        "the image is {width} x {height}: each side must be at least 1 and the area at most {limit} pixels; scale it down, or leave the row out"
    )]
    Dimensions {
        /// Columns (px).
        width: u32,
        /// Rows (px).
        height: u32,
        /// Largest area (px).
        limit: u64,
    },
    /// Too long and thin to be a radiograph.
    #[error("the image is {width} x {height}: one side is more than {limit} times the other; leave the row out")]
    Aspect {
        /// Columns (px).
        width: u32,
        /// Rows (px).
        height: u32,
        /// Largest ratio.
        limit: u32,
    },
    /// Decoded, it takes too much memory.
    #[error("the decoded image takes more than {limit} bytes: scale it down, or write it with 8 bits and one channel")]
    Memory {
        /// Limit (bytes).
        limit: u64,
    },
    /// The file ends before the image does.
    #[error("the image file is truncated: copy or download it again")]
    Truncated,
    /// The decoder gave up.
    #[error("the image is corrupt ({0}): copy or download it again")]
    Corrupt(String),
    /// The decoder or a transform panicked.
    #[error(
        "the image made the decoder fail in an unforeseen way: write it anew with another program, or leave it out"
    )]
    Panicked,
}

impl ImageFault {
    /// One word for counts by reason.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Read(io::ErrorKind::NotFound) => "missing",
            Self::Read(_) => "unreadable",
            Self::Path(_) => "path",
            Self::FileTooLarge { .. } => "file_too_large",
            Self::Format => "format",
            Self::Dimensions { .. } => "dimensions",
            Self::Aspect { .. } => "aspect",
            Self::Memory { .. } => "memory",
            Self::Truncated => "truncated",
            Self::Corrupt(_) => "corrupt",
            Self::Panicked => "panicked",
        }
    }
}
