//! The segmentor's gradients and sizes. Its numbers are in `parity`.

mod gradients;
mod sizes;
