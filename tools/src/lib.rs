//! The commands, and the training engine behind them: where data, backbone and heads meet.
//!
//! This crate alone opens recipes, prints, and picks a device.

pub mod args;
pub mod bench;
pub(crate) mod browse;
pub(crate) mod check;
pub mod classify;
pub mod cls;
pub mod collate;
pub mod compare;
pub(crate) mod counting;
pub mod det;
pub mod device_spec;
pub mod draw;
pub(crate) mod environment;
pub mod exit;
pub(crate) mod findings;
pub(crate) mod floats;
pub(crate) mod flops;
pub(crate) mod image_files;
pub(crate) mod initial;
pub mod memory;
pub(crate) mod page;
pub mod precision;
pub mod pretrain;
pub mod recipe;
pub mod report;
pub(crate) mod run_report;
pub mod safetensors_file;
pub mod schedule;
pub mod seg;
pub(crate) mod summary;
pub mod sweep;
pub mod train;
pub mod verbosity;
pub(crate) mod verdict;
pub(crate) mod waiting;
pub mod weights;
pub(crate) mod wording;
