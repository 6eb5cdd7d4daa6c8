//! The training engine, the same for every task: optimizer, schedule, checkpoints, and what a run leaves behind.

pub mod params;
pub(crate) mod values;

pub mod groups;
pub mod schedule;

pub mod clip;
pub mod pending;

pub mod adamw;
pub mod ema;

pub mod atomic_file;
pub mod checkpoint;
pub mod entries;
pub mod kept;
pub mod run_folder;
pub mod told;

pub mod histogram;
pub mod metrics_file;
pub mod step_log;
pub mod tensorboard;

pub mod curves;
pub mod progress;

pub mod interrupt;
pub mod seeds;
pub mod trainer;

pub(crate) mod course;
