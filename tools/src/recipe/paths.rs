//! Paths in a recipe: relative to the current folder, or below `$CVX_DATA/`.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The one variable a recipe's path may begin with.
const DATA_PREFIX: &str = "$CVX_DATA/";

/// The file or folder that `text` of the recipe's entry `key` means.
pub fn resolve(key: &str, text: &str) -> Result<PathBuf> {
    let Some(rest) = text.strip_prefix(DATA_PREFIX) else {
        anyhow::ensure!(
            !text.starts_with('$'),
            "{key} = \"{text}\": of all variables a path may only begin with `{DATA_PREFIX}`"
        );
        return Ok(PathBuf::from(text));
    };
    let root = env::var_os("CVX_DATA").filter(|root| !root.is_empty()).with_context(|| {
        format!(
            "{key} = \"{text}\": the environment variable CVX_DATA is not set; set it to the folder that holds `{}`",
            rest.split('/').next().unwrap_or(rest)
        )
    })?;
    Ok(PathBuf::from(root).join(rest))
}

/// As [`resolve`], of a folder that must be there.
///
/// # Errors
/// Also if it is not.
pub(crate) fn folder(key: &str, text: &str) -> Result<PathBuf> {
    there(key, text, "folder", Path::is_dir)
}

/// As [`resolve`], of a file that must be there.
///
/// # Errors
/// Also if it is not.
pub(crate) fn file(key: &str, text: &str) -> Result<PathBuf> {
    there(key, text, "file", Path::is_file)
}

/// As [`resolve`], of a file or a folder that must be there.
///
/// # Errors
/// Also if it is not.
pub(crate) fn file_or_folder(key: &str, text: &str) -> Result<PathBuf> {
    there(key, text, "file or folder", Path::exists)
}

fn there(key: &str, text: &str, what: &str, is_there: impl Fn(&Path) -> bool) -> Result<PathBuf> {
    let path = resolve(key, text)?;
    let meant = if path == Path::new(text) { String::new() } else { format!(" ({})", path.display()) };
    // Whoever may not look into a folder is told so, and not that there is nothing.
    if let Err(error) = path.try_exists() {
        return Err(error).with_context(|| format!("{key} = \"{text}\"{meant}"));
    }
    ensure!(is_there(&path), "{key} = \"{text}\": no such {what}{meant}");
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_path_stays_as_it_is() {
        let path = resolve("data.coco.train_images", "images/train").expect("plain");
        assert_eq!(path, PathBuf::from("images/train"));
    }

    #[test]
    fn other_variables_are_named_as_unknown() {
        let error = resolve("data.coco.train_images", "$HOME/train").unwrap_err();
        assert!(error.to_string().contains("$CVX_DATA/"), "{error}");
    }
}
