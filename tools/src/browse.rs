//! `check --browse`: samples with their truth, as the network sees them, on one sheet.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use cvx_data::{DataError, Instance, Loader, Sample};
use image::{ImageFormat, RgbImage};

use crate::draw::{self, Drawn, sheet};
use crate::train::atomic_file;

/// What was drawn.
pub(crate) struct Sheet {
    path: PathBuf,
    /// Why the first was left out of those that cannot be drawn.
    left_out: Option<DataError>,
}

/// Says where samples are drawn, or why none is; in a data set without errors, it is one that they are not.
///
/// # Errors
/// That of the drawing, unless the data set has errors of its own.
pub(crate) fn tell(
    name: &str,
    what: &str,
    drawn: Result<Sheet>,
    has_errors: bool,
    out: &mut dyn Write,
) -> Result<()> {
    match drawn {
        Ok(Sheet { path, left_out }) => {
            writeln!(out, "{name}: {what} are drawn in {}", path.display())?;
            if let Some(error) = left_out {
                writeln!(out, "  without those that cannot be: {error}")?;
            }
        }
        Err(error) if has_errors => writeln!(out, "{name}: no samples are drawn: {error:#}")?,
        Err(error) => return Err(error),
    }
    Ok(())
}

/// Draws the first `count` samples of the loader's first epoch into `folder`, as `name.png`, each over its caption.
pub(crate) fn browse(
    loader: &Loader,
    count: usize,
    draw: &dyn Fn(&Sample) -> RgbImage,
    caption: &dyn Fn(&Sample) -> String,
    folder: &Path,
    name: &str,
) -> Result<Sheet> {
    let (mut pictures, mut left_out) = (Vec::new(), None);
    'samples: for samples in loader.epoch(0, 0) {
        let samples = match samples {
            Ok(samples) => samples,
            Err(error) => {
                left_out.get_or_insert(error);
                continue;
            }
        };
        for sample in samples {
            if pictures.len() == count {
                break 'samples;
            }
            pictures.push((draw(&sample), caption(&sample)));
        }
    }
    if pictures.is_empty()
        && let Some(error) = left_out
    {
        return Err(error.into());
    }
    let path = folder.join(format!("{name}.png"));
    fs::create_dir_all(folder).with_context(|| format!("{}: cannot be created", folder.display()))?;
    let mut encoded = Cursor::new(Vec::new());
    sheet(&pictures).write_to(&mut encoded, ImageFormat::Png)?;
    atomic_file::replace(&path, |file| Ok(file.write_all(encoded.get_ref())?))?;
    Ok(Sheet { path, left_out })
}

/// The file of a sample, and its size as the network sees it.
pub(crate) fn file_and_size(sample: &Sample) -> String {
    let file = sample.file.file_name().unwrap_or_default().to_string_lossy();
    let (width, height) = sample.image.dimensions();
    format!("{file} {width}x{height}")
}

/// A sample with its objects drawn; crowd regions are called so.
pub(crate) fn with_objects(sample: &Sample, classes: &[String]) -> RgbImage {
    let drawn: Vec<Drawn> = sample
        .instances
        .iter()
        .enumerate()
        .map(|(index, Instance { class, bbox, mask, crowd })| Drawn {
            bbox: *bbox,
            mask: Some(mask.clone()),
            name: if *crowd { format!("{} (crowd)", classes[*class]) } else { classes[*class].clone() },
            score: None,
            // With one class, colours tell the objects apart; with several, the classes.
            color_index: if classes.len() == 1 { index } else { *class },
        })
        .collect();
    draw::overlay(&sample.image, &drawn)
}
