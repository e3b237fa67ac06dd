//! Encoders, projection heads and their weights.
//!
//! Shape letters: `B` batch, `C` channels, `H`/`W` pixels, `T` tokens, `D` width of a feature, `E` width of an embedding.

pub mod alignment;
pub mod card;
pub mod dual_encoder;
pub mod error;
pub mod head;
pub mod image;
pub mod ops;
pub mod projection;
pub mod text;
pub mod weights;
pub mod zoo;

pub use dual_encoder::{DualEncoder, DualEncoderConfig};
pub use error::{ModelError, Result};
