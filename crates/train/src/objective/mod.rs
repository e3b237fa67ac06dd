//! Training methods. Each is one file; a new one is that file, a variant here and a recipe.

pub mod convirt;
pub mod flavour;
pub mod medclip;
pub mod mgca;
pub mod topics;
