//! The segmentor against mmseg's tensors and PyTorch's updates, its sizes against the published ones, and its edges.

mod gradients;
mod inference;
mod losses;
mod operations;
mod reference;
mod sizes;
mod training;
mod trajectory;
