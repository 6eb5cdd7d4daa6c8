//! The backbone's operations: fused against composed ones, and finite differences. Its numbers are in `parity`.

mod masking;
mod operations;
mod precision;
