//! Label images: PNG files whose samples are classes, read as the numbers they are.
//!
//! Grey and palette-indexed files of 1, 2, 4 and 8 bits give their samples, never the colours that the
//! palette shows them in; grey ones of 16 bits too, if every sample fits 8. (Pillow, and so mmseg,
//! stretches grey of 2 and 4 bits to 0..=255.) Colours become classes only through a palette that the
//! caller gives. Alpha is dropped.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{Cursor, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use png::{BitDepth, ColorType};

use crate::image_file::{ImageFileError, MAX_PIXELS, beginning};
use crate::label_encoding::color_labels;
use crate::label_error::{LabelError, Stray};
use crate::label_map::LabelMap;

/// Most bytes the decoder may need besides the pixels: a row of 16-bit RGBA, and metadata.
const DECODER_BYTES: usize = 64 << 20;

/// What a PNG file holds, before anything is made of it.
pub(crate) enum LabelPng {
    /// A sample per pixel, and the colours that an indexed file shows them in.
    Indices(LabelMap, Option<Vec<[u8; 3]>>),
    /// Colours, three bytes per pixel, row-major.
    Colors {
        /// Columns.
        width: usize,
        /// Rows.
        height: usize,
        /// Red, green, blue.
        pixels: Vec<u8>,
    },
}

/// Reads a label image as the indices it holds; a colour is the index of its entry in `palette`.
///
/// Whether the indices are classes is not known here: see [`LabelEncoding`](crate::LabelEncoding).
///
/// # Errors
/// When the file cannot be read, is no PNG, is truncated or corrupt, or claims more than
/// [`MAX_PIXELS`]; when a 16-bit sample exceeds 255; when it holds colours and there is no palette, or
/// one without that colour.
pub fn read_label_png(path: &Path, palette: Option<&[[u8; 3]]>) -> Result<LabelMap, LabelError> {
    match LabelPng::read(path)? {
        LabelPng::Indices(map, _) => Ok(map),
        LabelPng::Colors { width, height, pixels } => {
            let Some(palette) = palette else { return Err(no_palette(path, &pixels)) };
            let class_of = palette.iter().zip(0..).map(|(&color, class)| (color, class)).collect();
            color_labels(width, height, &pixels, &class_of).map_err(|strays| {
                let possible = format!("the {} colours of the palette", palette.len());
                LabelError::strays(path.into(), strays, possible)
            })
        }
    }
}

/// The size in a label image's header, `(width, height)`: no pixel is decoded.
///
/// # Errors
/// When the file cannot be read or does not begin like a PNG.
pub(crate) fn label_png_size(path: &Path) -> Result<(u32, u32), LabelError> {
    let read_error = |cause| ImageFileError::Read { path: path.into(), cause };
    let file = File::open(path).map_err(read_error)?;
    let mut decoder = png::Decoder::new(std::io::BufReader::with_capacity(64, file));
    let info = decoder.read_header_info().map_err(|cause| decode_error(path, 0, cause))?;
    Ok((info.width, info.height))
}

impl LabelPng {
    pub(crate) fn read(path: &Path) -> Result<Self, LabelError> {
        let bytes = fs::read(path).map_err(|cause| ImageFileError::Read { path: path.into(), cause })?;
        Self::decode(&bytes, path)
    }

    /// Decodes the content of a file; `path` only names it in errors.
    pub(crate) fn decode(bytes: &[u8], path: &Path) -> Result<Self, LabelError> {
        const SIGNATURE: &[u8] = b"\x89PNG\r\n\x1a\n";
        let is_cut_short = !bytes.is_empty() && SIGNATURE.starts_with(bytes);
        if !bytes.starts_with(SIGNATURE) && !is_cut_short {
            return Err(LabelError::Format { path: path.into(), beginning: beginning(bytes) });
        }
        let error = |cause| decode_error(path, bytes.len(), cause);
        let limits = png::Limits { bytes: DECODER_BYTES };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
        decoder.set_ignore_text_chunk(true);
        decoder.set_ignore_iccp_chunk(true);
        let info = decoder.read_header_info().map_err(error)?;
        let (width, height) = (info.width, info.height);
        if u64::from(width) * u64::from(height) > MAX_PIXELS {
            return Err(ImageFileError::TooManyPixels { path: path.into(), width, height }.into());
        }
        let mut reader = decoder.read_info().map_err(error)?;
        let size = reader.output_buffer_size().ok_or_else(|| error(png::DecodingError::LimitsExceeded))?;
        let mut samples = vec![0; size];
        let frame = reader.next_frame(&mut samples).map_err(error)?;
        if (frame.width, frame.height) != (width, height) {
            let found = "an animation whose first frame is smaller than itself";
            return Err(LabelError::Kind { path: path.into(), found });
        }
        let palette = reader.info().palette.as_ref().map(|bytes| {
            bytes.chunks_exact(3).map(|color| [color[0], color[1], color[2]]).collect::<Vec<_>>()
        });

        let (width, height) = (width as usize, height as usize);
        let map = |pixels| LabelMap { width, height, pixels };
        match (frame.color_type, frame.bit_depth) {
            (ColorType::Grayscale, BitDepth::Sixteen) => {
                Ok(Self::Indices(map(narrow(path, &samples, 2, width)?), None))
            }
            (ColorType::GrayscaleAlpha, BitDepth::Sixteen) => {
                Ok(Self::Indices(map(narrow(path, &samples, 4, width)?), None))
            }
            (ColorType::GrayscaleAlpha, _) => {
                Ok(Self::Indices(map(samples.chunks_exact(2).map(|pixel| pixel[0]).collect()), None))
            }
            (ColorType::Grayscale | ColorType::Indexed, depth) => {
                let pixels = unpack(samples, depth as u8, width, frame.line_size);
                let shown_in = palette.filter(|_| frame.color_type == ColorType::Indexed);
                Ok(Self::Indices(map(pixels), shown_in))
            }
            (ColorType::Rgb, BitDepth::Eight) => Ok(Self::Colors { width, height, pixels: samples }),
            (ColorType::Rgba, BitDepth::Eight) => {
                let pixels =
                    samples.chunks_exact(4).flat_map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect();
                Ok(Self::Colors { width, height, pixels })
            }
            (ColorType::Rgb | ColorType::Rgba, _) => {
                Err(LabelError::Kind { path: path.into(), found: "an RGB image of 16 bits" })
            }
        }
    }
}

/// One byte for each sample of `depth` bits; rows begin at whole bytes, the first sample in the highest bits.
fn unpack(samples: Vec<u8>, depth: u8, width: usize, line_size: usize) -> Vec<u8> {
    if depth == 8 {
        return samples;
    }
    let per_byte = usize::from(8 / depth);
    let mask = (1u8 << depth) - 1;
    let rows = samples.chunks_exact(line_size.max(1));
    rows.flat_map(|row| {
        (0..width).map(move |x| {
            let shift = 8 - depth * (x % per_byte + 1) as u8;
            (row[x / per_byte] >> shift) & mask
        })
    })
    .collect()
}

/// The first 16-bit sample of each `stride` bytes, in 8 bits.
fn narrow(path: &Path, samples: &[u8], stride: usize, width: usize) -> Result<Vec<u8>, LabelError> {
    let values = || samples.chunks_exact(stride).map(|pixel| u16::from_be_bytes([pixel[0], pixel[1]]));
    let mut wide: BTreeMap<u16, (usize, u64)> = BTreeMap::new();
    for (at, value) in values().enumerate().filter(|(_, value)| *value > 255) {
        wide.entry(value).or_insert((at, 0)).1 += 1;
    }
    if wide.is_empty() {
        return Ok(values().map(|value| value as u8).collect());
    }
    let mut wide: Vec<_> = wide.into_iter().collect();
    wide.sort_unstable_by_key(|(_, (at, _))| *at);
    let stray = |(value, (at, pixels)): (u16, (usize, u64))| Stray {
        value: format!("the 16-bit value {value}"),
        pixels,
        x: at % width,
        y: at / width,
    };
    Err(LabelError::strays(path.into(), wide.into_iter().map(stray).collect(), "0 to 255".into()))
}

fn decode_error(path: &Path, bytes: usize, cause: png::DecodingError) -> LabelError {
    match cause {
        png::DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            ImageFileError::Truncated { path: path.into(), bytes }.into()
        }
        cause => LabelError::Decode { path: path.into(), cause },
    }
}

/// Colours where the caller knows of none.
pub(crate) fn no_palette(path: &Path, pixels: &[u8]) -> LabelError {
    let all_grey = pixels.chunks_exact(3).all(|pixel| pixel[0] == pixel[1] && pixel[1] == pixel[2]);
    LabelError::NoPalette { path: path.into(), all_grey }
}

/// Writes labels as an 8-bit indexed PNG that viewers show in the colours of `palette`. Classes beyond it
/// are black, ignored pixels the beige of PASCAL VOC's outlines. The file is there whole or not at all.
///
/// # Errors
/// When a side is zero or the file cannot be written.
///
/// # Panics
/// When the map does not hold `width` x `height` pixels.
pub fn write_label_png(path: &Path, labels: &LabelMap, palette: &[[u8; 3]]) -> Result<(), LabelError> {
    let bytes = encode_label_png(path, labels, palette)?;
    let temporary = temporary_name(path);
    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).map_err(|cause| {
        // The reason of the failure is what matters; where this fails too, the file has a telling name.
        let _ = fs::remove_file(&temporary);
        LabelError::Write { path: path.into(), cause }
    })
}

/// The content of such a file; `path` only names it in errors.
pub(crate) fn encode_label_png(
    path: &Path,
    labels: &LabelMap,
    palette: &[[u8; 3]],
) -> Result<Vec<u8>, LabelError> {
    assert_eq!(labels.pixels.len(), labels.width * labels.height, "a class for every pixel");
    /// The label 255 of PASCAL VOC.
    const IGNORED_COLOR: [u8; 3] = [224, 224, 192];
    let mut colors = [[0; 3]; 256];
    for (entry, color) in colors.iter_mut().zip(palette) {
        *entry = *color;
    }
    colors[usize::from(LabelMap::IGNORED)] = IGNORED_COLOR;

    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, labels.width as u32, labels.height as u32);
    encoder.set_color(ColorType::Indexed);
    encoder.set_depth(BitDepth::Eight);
    encoder.set_palette(colors.as_flattened());
    let encode = |mut encoder: png::Writer<_>| {
        encoder.write_image_data(&labels.pixels)?;
        encoder.finish()
    };
    let encoded = encoder.write_header().and_then(encode);
    encoded.map_err(|reason| LabelError::Encode { path: path.into(), reason })?;
    Ok(bytes)
}

/// A name beside `path` that no other process or thread writes to.
fn temporary_name(path: &Path) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let mut name = OsString::from(".");
    name.push(path.file_name().unwrap_or_default());
    name.push(format!(".partial-{}-{number}", std::process::id()));
    path.with_file_name(name)
}
