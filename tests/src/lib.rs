//! What the tests share: where goldens and real data are, how they are read, and the one table of tolerances.

pub mod golden;
pub mod tensors;
pub mod tolerance;

use std::path::PathBuf;

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
