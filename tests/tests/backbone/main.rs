//! The backbone: fused against composed operations, finite differences, and the reference's numbers.

mod operations;
mod published;
