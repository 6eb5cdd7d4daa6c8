//! The detector against mmdet's tensors, its sizes against the published ones, and its edges.

mod convolution;
mod gradients;
mod inference;
mod model;
mod operations;
mod reference;
mod sizes;
mod training;
