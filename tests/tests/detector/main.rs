//! The heads of the detector: convolutions, gradients, sizes, and batches at the edges. Their numbers are in `parity`.

mod convolution;
mod gradients;
mod model;
mod sizes;
