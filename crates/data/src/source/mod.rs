//! Data sources: each reads one layout into a [`crate::record::Dataset`].

mod grouping;
pub mod image_list;
pub mod mimic;
pub mod mura;
pub mod pairs_csv;
pub mod parts;
pub mod phantom;
pub mod queries;
mod quotes;
pub(crate) mod records;
pub mod select;
mod table;
pub mod texts;
