//! The training engine: exact resume, damaged files and full disks, optimizer and schedules against the references.

mod toy;

mod checkpoints;
mod optimizer;
mod parity;
mod resume;
mod run_folder;
