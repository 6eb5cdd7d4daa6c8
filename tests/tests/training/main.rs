//! The training engine: exact resume, damaged files and full disks, averages and the optimizer against figures computed by
//! hand, parts that are frozen, ends before the end.

mod toy;

mod averages;
mod checkpoints;
mod disks;
mod endings;
mod frozen;
mod kept;
mod optimizer;
mod resume;
mod run_folder;
#[cfg(unix)]
mod signals;
mod visuals;
