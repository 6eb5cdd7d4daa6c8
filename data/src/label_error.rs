//! What can be wrong with a label image, and how it is said: file, value found, values possible.

use std::path::PathBuf;

use thiserror::Error;

use crate::image_file::ImageFileError;

/// A label image that cannot be used, or not be written.
#[derive(Debug, Error)]
pub enum LabelError {
    /// It cannot be read, is cut short, or claims too many pixels.
    #[error(transparent)]
    File(#[from] ImageFileError),
    /// The first bytes are not those of a PNG.
    #[error("{}: a label image is a PNG file, {beginning}", path.display())]
    Format {
        /// The file.
        path: PathBuf,
        /// What the file begins with, in words.
        beginning: String,
    },
    /// The decoder found the content wrong.
    #[error("{}: {cause}", path.display())]
    Decode {
        /// The file.
        path: PathBuf,
        /// What the decoder says.
        cause: png::DecodingError,
    },
    /// A kind of PNG that holds no labels.
    #[error("{}: {found}; possible are grey, palette-indexed and 8-bit RGB label images", path.display())]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it is.
        found: &'static str,
    },
    /// Colours, where indices were expected.
    #[error(
        "{}: an RGB image, and which colour is which class was not said: give the palette{}",
        path.display(),
        if *all_grey { " (all its pixels are grey: if their values are the classes, save it with one channel)" } else { "" }
    )]
    NoPalette {
        /// The file.
        path: PathBuf,
        /// Whether red, green and blue are the same everywhere.
        all_grey: bool,
    },
    /// An indexed file whose own palette contradicts the one given.
    #[error(
        "{}: its index {index} has the colour {found:?}, but that of class {index} was given as {given}; if the \
         indices are the classes, say so instead of the palette, otherwise save it as RGB",
        path.display()
    )]
    OtherPalette {
        /// The file.
        path: PathBuf,
        /// The first index, in the order of their values, that differs.
        index: u8,
        /// Its colour in the file.
        found: [u8; 3],
        /// The colour given, in words.
        given: String,
    },
    /// A value or colour that is no class.
    #[error(
        "{}: {value} in {}, the first in column {x}, row {y}{others}; possible are {possible}",
        path.display(), pixel_count(*pixels)
    )]
    Stray {
        /// The file.
        path: PathBuf,
        /// The value, in words.
        value: String,
        /// How many pixels have it.
        pixels: u64,
        /// Column of the first, from 0.
        x: usize,
        /// Row of the first, from 0.
        y: usize,
        /// Other values that are no class either, in words; empty when there are none.
        others: String,
        /// What there may be.
        possible: String,
    },
    /// Labels made for an image of another size.
    #[error(
        "{}: the labels are {label_width} x {label_height} pixels, the image {} is {width} x {height} \
         (a difference by a quarter turn points to an EXIF orientation)",
        path.display(), image.display()
    )]
    Size {
        /// The label image.
        path: PathBuf,
        /// The image.
        image: PathBuf,
        /// Width of the labels.
        label_width: usize,
        /// Height of the labels.
        label_height: usize,
        /// Width of the decoded, upright image.
        width: usize,
        /// Height of the decoded, upright image.
        height: usize,
    },
    /// Pixels or palette that no PNG can hold.
    #[error("{}: {reason}", path.display())]
    Encode {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: png::EncodingError,
    },
    /// The file system refused the file.
    #[error("{}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system answered.
        cause: std::io::Error,
    },
}

/// A value or colour that is no class, and where it was met.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Stray {
    /// In words.
    pub(crate) value: String,
    pub(crate) pixels: u64,
    pub(crate) x: usize,
    pub(crate) y: usize,
}

impl LabelError {
    /// The first stray values, and how many more there are.
    ///
    /// # Panics
    /// When there is none.
    pub(crate) fn strays(path: PathBuf, strays: Vec<Stray>, possible: String) -> Self {
        /// Values that are told, besides the first.
        const TOLD: usize = 3;
        let mut strays = strays.into_iter();
        let Stray { value, pixels, x, y } = strays.next().expect("some value is no class");
        let mut others: String = (&mut strays)
            .take(TOLD)
            .map(|Stray { value, pixels, .. }| format!(", {value} in {}", pixel_count(pixels)))
            .collect();
        match strays.count() {
            0 => {}
            1 => others += " and one more",
            more => others += &format!(" and {more} more"),
        }
        Self::Stray { path, value, pixels, x, y, others, possible }
    }
}

fn pixel_count(pixels: u64) -> String {
    if pixels == 1 { "1 pixel".to_owned() } else { format!("{pixels} pixels") }
}
