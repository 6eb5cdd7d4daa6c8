//! What the tests share: where goldens and real data are, how they are read, and the one table of tolerances.

pub mod golden;
pub mod tensors;
pub mod tolerance;

use std::path::PathBuf;

use burn::prelude::Device;
use cvx_tools::device_spec::DeviceSpec;

/// The project's root folder.
pub fn project_root() -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    tests.parent().map_or(tests.clone(), PathBuf::from)
}

/// A folder of the real data sets (`$CVX_DATA/<name>`), or `None` with a line that says what was skipped.
///
/// Real images are not part of the project, so the tests that need them skip where there are none.
pub fn real_data(name: &str) -> Option<PathBuf> {
    let folder = std::env::var_os("CVX_DATA").map(|data| PathBuf::from(data).join(name));
    match folder {
        Some(folder) if folder.is_dir() => Some(folder),
        _ => {
            println!("skipped: $CVX_DATA/{name} is not a folder");
            None
        }
    }
}

/// The device on which networks are compared with references: `$CVX_DEVICE`, written as after `--device`, else the CPU.
///
/// # Panics
/// If there is no such device: then nothing was compared on it.
pub fn device() -> Device {
    let spec = std::env::var("CVX_DEVICE").unwrap_or_else(|_| "cpu".to_owned());
    let opened = spec.parse::<DeviceSpec>().map_err(|error| format!("CVX_DEVICE={spec}: {error}"));
    opened
        .and_then(|spec| spec.open().map_err(|error| error.to_string()))
        .unwrap_or_else(|error| panic!("{error}"))
}
