//! The training engine: exact resume, damaged files and full disks, the optimizer against figures computed by hand.

mod toy;

mod checkpoints;
mod optimizer;
mod resume;
mod run_folder;
mod visuals;
