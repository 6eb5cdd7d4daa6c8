//! Semantic segmentation: a class for every pixel.

pub mod inference;
pub mod model;
