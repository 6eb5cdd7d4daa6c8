//! Image files to 8-bit RGB, upright: JPEG and PNG of every colour type and depth.
//!
//! The result is what `cv2.imread` gives (in RGB order), because the published detectors were
//! trained on that: alpha is dropped and not blended, 16-bit samples keep their high byte, and
//! the EXIF orientation is applied.

use std::fs::File;
use std::io::{BufReader, Cursor};
use std::path::{Path, PathBuf};

use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits, RgbImage};
use memchr::memmem;

/// Most pixels an image may claim: 134 million, a 16384 x 8192 picture, 400 MB decoded.
///
/// A PNG of a few kilobytes can claim 4 billion pixels; without a bound it takes the machine down.
pub const MAX_PIXELS: u64 = 1 << 27;

/// Widest sample the decoders hold while they work: RGBA of 16 bits.
const MAX_BYTES_PER_PIXEL: u64 = 8;

/// Why an image file did not become pixels.
#[derive(Debug, thiserror::Error)]
pub enum ImageFileError {
    /// The file system said no.
    #[error("{}: {cause}", path.display())]
    Read {
        /// The image file.
        path: PathBuf,
        /// What the operating system answered.
        cause: std::io::Error,
    },
    /// The first bytes belong to no format that is read here.
    #[error("{}: neither a JPEG nor a PNG file, {beginning}", path.display())]
    Format {
        /// The image file.
        path: PathBuf,
        /// What the file begins with, in words.
        beginning: String,
    },
    /// The header claims more pixels than are decoded.
    #[error("{}: claims {width} x {height} pixels, at most {MAX_PIXELS} are decoded", path.display())]
    TooManyPixels {
        /// The image file.
        path: PathBuf,
        /// Width in the header.
        width: u32,
        /// Height in the header.
        height: u32,
    },
    /// The file stops before its end marker.
    #[error("{}: truncated, its {bytes} bytes stop before the end-of-image marker", path.display())]
    Truncated {
        /// The image file.
        path: PathBuf,
        /// Bytes that are there.
        bytes: usize,
    },
    /// The decoder found the content wrong.
    #[error("{}: {cause}", path.display())]
    Decode {
        /// The image file.
        path: PathBuf,
        /// What the decoder says.
        cause: image::ImageError,
    },
}

/// Reads a JPEG or PNG file, whatever its extension says.
///
/// # Errors
/// When the file cannot be read, is no JPEG or PNG, is truncated or corrupt, or claims more than
/// [`MAX_PIXELS`].
pub fn read_image(path: &Path) -> Result<RgbImage, ImageFileError> {
    let bytes = std::fs::read(path).map_err(|cause| ImageFileError::Read { path: path.into(), cause })?;
    decode_image(&bytes, path)
}

/// Decodes the content of a JPEG or PNG file; `path` only names it in errors.
///
/// # Errors
/// As [`read_image`].
pub fn decode_image(bytes: &[u8], path: &Path) -> Result<RgbImage, ImageFileError> {
    let path = || path.to_path_buf();
    let decode_error = |cause| ImageFileError::Decode { path: path(), cause };
    let format = match image::guess_format(bytes) {
        Ok(format @ (ImageFormat::Jpeg | ImageFormat::Png)) => format,
        _ => return Err(ImageFileError::Format { path: path(), beginning: beginning(bytes) }),
    };
    // The JPEG decoder paints what is missing grey and reports nothing, so the end is looked for.
    if format == ImageFormat::Jpeg && !jpeg_reaches_its_end(bytes) {
        return Err(ImageFileError::Truncated { path: path(), bytes: bytes.len() });
    }

    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::no_limits();
    limits.max_alloc = Some(MAX_PIXELS * MAX_BYTES_PER_PIXEL);
    reader.limits(limits);
    let mut decoder = reader.into_decoder().map_err(decode_error)?;
    let (width, height) = decoder.dimensions();
    if u64::from(width) * u64::from(height) > MAX_PIXELS {
        return Err(ImageFileError::TooManyPixels { path: path(), width, height });
    }
    // The JPEG decoder reads all headers again for it; nearly no file of a data set has any.
    let is_plain = format == ImageFormat::Jpeg && memmem::find(bytes, b"Exif").is_none();
    let orientation = match is_plain {
        true => Orientation::NoTransforms,
        false => decoder.orientation().map_err(decode_error)?,
    };
    let mut image = DynamicImage::from_decoder(decoder).map_err(|cause| match cause {
        image::ImageError::IoError(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
            ImageFileError::Truncated { path: path(), bytes: bytes.len() }
        }
        cause => decode_error(cause),
    })?;
    image.apply_orientation(orientation);
    Ok(drop_alpha_and_depth(image))
}

/// Width and height of a JPEG or PNG file, upright, from its header: nothing is decoded.
///
/// # Errors
/// When the file cannot be read, or is no JPEG or PNG.
pub fn image_size(path: &Path) -> Result<(u32, u32), ImageFileError> {
    let read_error = |cause| ImageFileError::Read { path: path.into(), cause };
    let decode_error = |cause| ImageFileError::Decode { path: path.into(), cause };
    let file = BufReader::new(File::open(path).map_err(read_error)?);
    // By its first bytes, whatever its extension says.
    let reader = ImageReader::new(file).with_guessed_format().map_err(read_error)?;
    if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::Png)) {
        let bytes = std::fs::read(path).map_err(read_error)?;
        return Err(ImageFileError::Format { path: path.into(), beginning: beginning(&bytes) });
    }
    let mut decoder = reader.into_decoder().map_err(decode_error)?;
    let (width, height) = decoder.dimensions();
    let is_turned = matches!(
        decoder.orientation().map_err(decode_error)?,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    );
    Ok(if is_turned { (height, width) } else { (width, height) })
}

/// RGB of 8 bits as OpenCV makes it: the high byte of 16, alpha ignored.
fn drop_alpha_and_depth(image: DynamicImage) -> RgbImage {
    fn convert<S: Copy>(
        (width, height): (u32, u32),
        samples: &[S],
        channels: usize,
        to_u8: impl Fn(S) -> u8,
    ) -> RgbImage {
        let mut pixels = Vec::with_capacity(width as usize * height as usize * 3);
        for pixel in samples.chunks_exact(channels) {
            // One or two channels are grey, three or four colour.
            let (green, blue) = if channels < 3 { (0, 0) } else { (1, 2) };
            pixels.extend([to_u8(pixel[0]), to_u8(pixel[green]), to_u8(pixel[blue])]);
        }
        RgbImage::from_raw(width, height, pixels).expect("three bytes were written for each pixel")
    }
    let high_byte = |sample: u16| (sample >> 8) as u8;
    let same = |sample: u8| sample;
    let size = (image.width(), image.height());
    match image {
        DynamicImage::ImageRgb8(image) => image,
        DynamicImage::ImageLuma8(image) => convert(size, &image, 1, same),
        DynamicImage::ImageLumaA8(image) => convert(size, &image, 2, same),
        DynamicImage::ImageRgba8(image) => convert(size, &image, 4, same),
        DynamicImage::ImageLuma16(image) => convert(size, &image, 1, high_byte),
        DynamicImage::ImageLumaA16(image) => convert(size, &image, 2, high_byte),
        DynamicImage::ImageRgb16(image) => convert(size, &image, 3, high_byte),
        DynamicImage::ImageRgba16(image) => convert(size, &image, 4, high_byte),
        other => other.to_rgb8(),
    }
}

/// Whether a JPEG's markers lead to its end-of-image marker; what follows that does not matter.
fn jpeg_reaches_its_end(bytes: &[u8]) -> bool {
    const END_OF_IMAGE: u8 = 0xD9;
    if bytes.ends_with(&[0xFF, END_OF_IMAGE]) {
        return true;
    }
    let mut at = 2; // past the start-of-image marker
    while let Some(found) = bytes.get(at..).and_then(|rest| rest.iter().position(|&b| b == 0xFF)) {
        at += found + 1;
        match bytes.get(at) {
            None => return false,
            Some(&END_OF_IMAGE) => return true,
            // Stuffed zeros, restarts and fill bytes lie inside the coded data.
            Some(0x00 | 0x01 | 0xD0..=0xD8) => at += 1,
            Some(0xFF) => {}
            Some(_) => match bytes.get(at + 1..at + 3) {
                Some(&[high, low]) => at += 1 + usize::from(u16::from_be_bytes([high, low])),
                _ => return false,
            },
        }
    }
    false
}

/// The first bytes in words, for a reader who wonders what the file is.
pub(crate) fn beginning(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "it is empty".into();
    }
    let hex: Vec<String> = bytes.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("it begins with bytes {}", hex.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::codecs::jpeg::JpegEncoder;
    use image::{ExtendedColorType, ImageEncoder, Rgb};

    fn png(samples: &[u8], width: u32, height: u32, color: ExtendedColorType) -> Vec<u8> {
        let mut bytes = Vec::new();
        image::codecs::png::PngEncoder::new(&mut bytes).write_image(samples, width, height, color).unwrap();
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<RgbImage, ImageFileError> {
        decode_image(bytes, Path::new("picture"))
    }

    fn jpeg() -> Vec<u8> {
        let image = RgbImage::from_fn(40, 24, |x, y| Rgb([x as u8 * 6, y as u8 * 10, 99]));
        let mut bytes = Vec::new();
        JpegEncoder::new_with_quality(&mut bytes, 90).encode_image(&image).unwrap();
        bytes
    }

    #[test]
    fn grey_becomes_three_equal_channels() {
        let image = decode(&png(&[7, 200], 2, 1, ExtendedColorType::L8)).unwrap();
        assert_eq!(image.as_raw(), &[7, 7, 7, 200, 200, 200]);
    }

    #[test]
    fn alpha_is_dropped_and_not_blended() {
        let image = decode(&png(&[9, 0], 1, 1, ExtendedColorType::La8)).unwrap();
        assert_eq!(image.as_raw(), &[9, 9, 9]);
        let image = decode(&png(&[10, 20, 30, 0], 1, 1, ExtendedColorType::Rgba8)).unwrap();
        assert_eq!(image.as_raw(), &[10, 20, 30]);
    }

    #[test]
    fn sixteen_bits_keep_their_high_byte() {
        // The encoder takes native byte order. 0x12ff would round to 0x13.
        let samples: Vec<u8> = [0x12ffu16, 0xff00, 0x0080].iter().flat_map(|s| s.to_ne_bytes()).collect();
        let image = decode(&png(&samples, 1, 1, ExtendedColorType::Rgb16)).unwrap();
        assert_eq!(image.as_raw(), &[0x12, 0xff, 0x00]);
        let image = decode(&png(&samples[..2], 1, 1, ExtendedColorType::L16)).unwrap();
        assert_eq!(image.as_raw(), &[0x12, 0x12, 0x12]);
    }

    #[test]
    fn the_exif_orientation_turns_the_image_upright() {
        let plain = jpeg();
        // Orientation 6: the stored rows are the columns of the upright image.
        let exif: &[u8] = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0";
        let length = (exif.len() as u16 + 2).to_be_bytes();
        let mut bytes = plain[..2].to_vec();
        bytes.extend([0xFF, 0xE1, length[0], length[1]]);
        bytes.extend(exif);
        bytes.extend(&plain[2..]);
        let upright = decode(&bytes).unwrap();
        assert_eq!(upright.dimensions(), (24, 40));
        let stored = decode(&plain).unwrap();
        assert_eq!(upright.get_pixel(23, 0), stored.get_pixel(0, 0));
    }

    #[test]
    fn every_truncation_of_a_jpeg_is_an_error() {
        let bytes = jpeg();
        assert!(decode(&bytes).is_ok(), "the whole file decodes");
        for end in 0..bytes.len() - 1 {
            assert!(decode(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn bytes_after_the_end_of_a_jpeg_do_not_matter() {
        let mut bytes = jpeg();
        bytes.extend(b"appended by a camera");
        assert!(decode(&bytes).is_ok());
    }

    #[test]
    fn every_truncation_of_png_pixels_is_an_error() {
        let samples: Vec<u8> = (0..30 * 20 * 3).map(|i| (i * 31 % 251) as u8).collect();
        let bytes = png(&samples, 30, 20, ExtendedColorType::Rgb8);
        assert!(decode(&bytes).is_ok(), "the whole file decodes");
        // The last 16 bytes are a checksum and the IEND chunk, after all pixels.
        for end in 0..bytes.len() - 16 {
            assert!(decode(&bytes[..end]).is_err(), "{end} of {} bytes", bytes.len());
        }
    }

    #[test]
    fn a_claim_of_four_billion_pixels_is_refused_before_decoding() {
        let mut bytes = png(&[0], 1, 1, ExtendedColorType::L8);
        bytes[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
        // The header's checksum covers its type and content: bytes 12..29.
        let checksum = crc32(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&checksum);
        let message = decode(&bytes).unwrap_err().to_string();
        assert_eq!(message, "picture: claims 65535 x 65535 pixels, at most 134217728 are decoded");
    }

    #[test]
    fn other_files_are_named_by_their_first_bytes() {
        let message = decode(b"GIF89a").unwrap_err().to_string();
        assert_eq!(message, "picture: neither a JPEG nor a PNG file, it begins with bytes 47 49 46 38 39 61");
        let message = decode(b"").unwrap_err().to_string();
        assert_eq!(message, "picture: neither a JPEG nor a PNG file, it is empty");
    }

    fn crc32(bytes: &[u8]) -> u32 {
        !bytes.iter().fold(!0, |crc: u32, &byte| {
            (0..8).fold(
                crc ^ u32::from(byte),
                |crc, _| {
                    if crc & 1 == 1 { crc >> 1 ^ 0xEDB8_8320 } else { crc >> 1 }
                },
            )
        })
    }
}
