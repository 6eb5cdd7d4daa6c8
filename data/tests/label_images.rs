//! Label images of every kind, whole and broken: indices, colours, wrong values, hostile files.

use std::fs;
use std::path::{Path, PathBuf};

use cvx_data::{
    LabelEncoding, LabelEncodingError, LabelMap, ZeroLabel, read_label_png, voc_palette, write_label_png,
};
use png::{BitDepth, ColorType};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// An empty folder for one test, removed at its end.
struct Workplace(PathBuf);

impl Workplace {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("cvx-label-images-{}-{name}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// Writes a file and says where.
    fn file(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.0.join(name);
        // Some file systems wait for the disk when a file is written over.
        let _ = fs::remove_file(&path);
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Reads a file by an encoding and gives the message of the error, without the folder.
    fn refusal(&self, path: &Path, encoding: &LabelEncoding, num_classes: usize) -> String {
        let message = encoding.read(path, num_classes).unwrap_err().to_string();
        message.replace(&format!("{}/", self.0.display()), "")
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn png(
    width: u32,
    height: u32,
    color: ColorType,
    depth: BitDepth,
    samples: &[u8],
    palette: &[u8],
) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, width, height);
    encoder.set_color(color);
    encoder.set_depth(depth);
    if !palette.is_empty() {
        encoder.set_palette(palette.to_vec());
    }
    let mut writer = encoder.write_header().unwrap();
    writer.write_image_data(samples).unwrap();
    writer.finish().unwrap();
    bytes
}

fn grey(width: u32, height: u32, values: &[u8]) -> Vec<u8> {
    png(width, height, ColorType::Grayscale, BitDepth::Eight, values, &[])
}

fn rgb(width: u32, height: u32, colors: &[[u8; 3]]) -> Vec<u8> {
    png(width, height, ColorType::Rgb, BitDepth::Eight, colors.as_flattened(), &[])
}

fn index() -> LabelEncoding {
    LabelEncoding::Index { zero: ZeroLabel::Class, ignored: Vec::new() }
}

const RED: [u8; 3] = [255, 0, 0];
const BLUE: [u8; 3] = [0, 0, 255];
const WHITE: [u8; 3] = [255, 255, 255];

fn red_and_blue() -> LabelEncoding {
    LabelEncoding::Palette { colors: vec![RED, BLUE], ignored: vec![WHITE] }
}

#[test]
fn samples_of_every_depth_are_read_as_they_are() {
    let work = Workplace::new("depths");
    #[track_caller]
    fn case(work: &Workplace, color: ColorType, depth: BitDepth, samples: &[u8], expected: &[u8]) {
        let palette =
            if color == ColorType::Indexed { &[9; 48][..3 << (depth as u8).min(4)] } else { &[][..] };
        let path = work.file("a.png", &png(5, 2, color, depth, samples, palette));
        let labels = read_label_png(&path, None).unwrap();
        assert_eq!((labels.width, labels.height), (5, 2));
        assert_eq!(labels.pixels, expected, "{color:?} of {depth:?}");
    }
    for color in [ColorType::Grayscale, ColorType::Indexed] {
        // Rows begin at whole bytes, and what is left of the last byte does not matter.
        let samples = [0b1011_0111, 0b0100_1000];
        case(&work, color, BitDepth::One, &samples, &[1, 0, 1, 1, 0, 0, 1, 0, 0, 1]);
        let samples = [0b00_01_10_11, 0b10_000000, 0b11_11_00_01, 0b00_111111];
        case(&work, color, BitDepth::Two, &samples, &[0, 1, 2, 3, 2, 3, 3, 0, 1, 0]);
        let samples = [0x0f, 0x1e, 0x70, 0x12, 0x34, 0x5f];
        case(&work, color, BitDepth::Four, &samples, &[0, 15, 1, 14, 7, 1, 2, 3, 4, 5]);
        let samples = [0, 255, 3, 200, 1, 9, 8, 7, 6, 5];
        case(&work, color, BitDepth::Eight, &samples, &samples);
    }
    let wide: Vec<u8> = (0..10).flat_map(|value| [0, value * 28]).collect();
    let expected: Vec<u8> = (0..10).map(|value| value * 28).collect();
    case(&work, ColorType::Grayscale, BitDepth::Sixteen, &wide, &expected);
    let alpha: Vec<u8> = (0..10).flat_map(|value| [value, 255 - value]).collect();
    case(&work, ColorType::GrayscaleAlpha, BitDepth::Eight, &alpha, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
    let alpha: Vec<u8> = (0..10).flat_map(|value| [0, value, 7, 7]).collect();
    case(&work, ColorType::GrayscaleAlpha, BitDepth::Sixteen, &alpha, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
}

#[test]
fn sixteen_bits_must_fit_eight() {
    let work = Workplace::new("wide");
    let samples: Vec<u8> = [3u16, 300, 255, 65535, 300, 7].iter().flat_map(|v| v.to_be_bytes()).collect();
    let path = work.file("a.png", &png(3, 2, ColorType::Grayscale, BitDepth::Sixteen, &samples, &[]));
    let expected = "a.png: the 16-bit value 300 in 2 pixels, the first in column 1, row 0, the 16-bit value 65535 in 1 \
                    pixel; possible are 0 to 255";
    assert_eq!(work.refusal(&path, &index(), 9), expected);
}

#[test]
fn colours_become_classes_through_the_palette_given() {
    let work = Workplace::new("colours");
    let path = work.file("a.png", &rgb(3, 2, &[RED, RED, BLUE, WHITE, BLUE, RED]));
    assert_eq!(read_label_png(&path, Some(&[RED, BLUE, WHITE])).unwrap().pixels, [0, 0, 1, 2, 1, 0]);
    assert_eq!(red_and_blue().read(&path, 2).unwrap().pixels, [0, 0, 1, 255, 1, 0]);
    let expected = "a.png: an RGB image, and which colour is which class was not said: give the palette";
    assert_eq!(work.refusal(&path, &index(), 2), expected);
    assert_eq!(
        read_label_png(&path, None).unwrap_err().to_string(),
        format!("{}/{expected}", work.0.display())
    );
    // With alpha, which is dropped.
    let samples = [RED, BLUE].map(|[r, g, b]| [r, g, b, 9]);
    let bytes = png(2, 1, ColorType::Rgba, BitDepth::Eight, samples.as_flattened(), &[]);
    assert_eq!(red_and_blue().read(&work.file("b.png", &bytes), 2).unwrap().pixels, [0, 1]);
}

#[test]
fn unknown_colours_are_named_with_count_and_place() {
    let work = Workplace::new("unknown");
    let odd = [254, 0, 1];
    let path = work.file("a.png", &rgb(3, 2, &[RED, RED, odd, WHITE, [1, 1, 1], odd]));
    let expected = "a.png: the colour [254, 0, 1] in 2 pixels, the first in column 2, row 0, the colour [1, 1, 1] in 1 \
                    pixel; possible are the 2 colours of the classes and the one that is ignored";
    assert_eq!(work.refusal(&path, &red_and_blue(), 2), expected);
    let grey = work.file("b.png", &rgb(2, 1, &[[3; 3], [4; 3]]));
    let message = work.refusal(&grey, &index(), 9);
    assert!(
        message.ends_with(
            "(all its pixels are grey: if their values are the classes, save it with one channel)"
        )
    );
}

#[test]
fn an_indexed_file_may_not_contradict_the_palette() {
    let work = Workplace::new("contradiction");
    let file = |name, palette: &[[u8; 3]]| {
        let bytes = png(2, 2, ColorType::Indexed, BitDepth::Eight, &[1, 0, 255, 1], palette.as_flattened());
        work.file(name, &bytes)
    };
    let agrees = file("agrees.png", &[RED, BLUE, [7, 7, 7]]);
    assert_eq!(red_and_blue().read(&agrees, 2).unwrap().pixels, [1, 0, 255, 1]);
    let swapped = file("swapped.png", &[BLUE, RED]);
    let expected = "swapped.png: its index 0 has the colour [0, 0, 255], but that of class 0 was given as [255, 0, 0]; \
                    if the indices are the classes, say so instead of the palette, otherwise save it as RGB";
    assert_eq!(work.refusal(&swapped, &red_and_blue(), 2), expected);
    assert_eq!(
        index().read(&swapped, 2).unwrap().pixels,
        [1, 0, 255, 1],
        "indices never go through a palette"
    );
}

#[test]
fn values_that_are_no_class_are_named_with_count_and_place() {
    let work = Workplace::new("range");
    let path = work.file("a.png", &grey(4, 2, &[0, 1, 255, 200, 2, 200, 7, 0]));
    let expected = "a.png: the value 200 in 2 pixels, the first in column 3, row 0, the value 7 in 1 pixel; possible \
                    are 0 to 2, and 255 for ignored pixels";
    assert_eq!(work.refusal(&path, &index(), 3), expected);
    let ignoring = LabelEncoding::Index { zero: ZeroLabel::Class, ignored: vec![200, 7] };
    assert_eq!(ignoring.read(&path, 3).unwrap().pixels, [0, 1, 255, 255, 2, 255, 255, 0]);
    let reduced = LabelEncoding::Index { zero: ZeroLabel::Ignored, ignored: vec![200] };
    let expected = "a.png: the value 7 in 1 pixel, the first in column 2, row 1; possible are 1 to 6, and 0, 200, 255 \
                    for ignored pixels";
    assert_eq!(work.refusal(&path, &reduced, 6), expected);
    assert_eq!(reduced.read(&path, 7).unwrap().pixels, [255, 0, 255, 255, 1, 255, 6, 255]);
}

#[test]
fn classes_may_have_values_of_their_own() {
    let work = Workplace::new("values");
    let path = work.file("a.png", &grey(4, 1, &[0, 255, 255, 7]));
    let binary = LabelEncoding::Values { values: vec![0, 255], ignored: vec![7] };
    assert_eq!(binary.read(&path, 2).unwrap().pixels, [0, 1, 1, 255]);
    let binary = LabelEncoding::Values { values: vec![0, 255], ignored: vec![] };
    let expected = "a.png: the value 7 in 1 pixel, the first in column 3, row 0; possible are 0, 255";
    assert_eq!(work.refusal(&path, &binary, 2), expected);
    let ids = LabelEncoding::Values { values: vec![7, 0], ignored: vec![] };
    assert_eq!(ids.read(&path, 2).unwrap().pixels, [1, 255, 255, 0]);
}

#[test]
fn an_encoding_that_cannot_name_the_classes_is_refused() {
    let values = |values: &[u8], ignored: &[u8]| LabelEncoding::Values {
        values: values.into(),
        ignored: ignored.into(),
    };
    let reduced = LabelEncoding::Index { zero: ZeroLabel::Ignored, ignored: Vec::new() };
    let message = |encoding: &LabelEncoding, classes| match encoding.check(classes) {
        Err(reason) => LabelEncodingError::to_string(&reason),
        Ok(()) => String::new(),
    };
    assert_eq!(message(&index(), 0), "0 classes; possible are 1 to 255");
    assert_eq!(message(&index(), 256), "256 classes; possible are 1 to 255");
    assert_eq!(message(&index(), 255), "");
    assert_eq!(message(&reduced, 255), "255 classes; possible are 1 to 254 where 0 is ignored");
    assert_eq!(message(&values(&[1, 2], &[]), 3), "2 values for 3 classes; each class has one");
    let twice = "is listed twice, among the classes or among what is ignored; it can stand for one thing";
    assert_eq!(message(&values(&[1, 2], &[2]), 2), format!("the value 2 {twice}"));
    let palette = LabelEncoding::Palette { colors: vec![RED, RED], ignored: vec![] };
    assert_eq!(message(&palette, 2), format!("the colour [255, 0, 0] {twice}"));
}

#[test]
fn what_is_written_is_read_back_and_shown_in_the_palette() {
    let work = Workplace::new("written");
    let path = work.0.join("prediction.png");
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    for (width, height) in [(1, 1), (13, 7), (300, 2)] {
        let pixels = (0..width * height).map(|_| rng.random()).collect();
        let labels = LabelMap { width, height, pixels };
        write_label_png(&path, &labels, &voc_palette(21)).unwrap();
        assert_eq!(read_label_png(&path, None).unwrap(), labels);
    }
    let labels = LabelMap { width: 3, height: 1, pixels: vec![1, 20, 255] };
    write_label_png(&path, &labels, &voc_palette(21)).unwrap();
    let shown = cvx_data::read_image(&path).unwrap();
    assert_eq!(shown.as_raw(), &[128, 0, 0, 0, 64, 128, 224, 224, 192]);
    assert_eq!(fs::read_dir(&work.0).unwrap().count(), 1, "no temporary file is left");
    let nowhere = work.0.join("absent/prediction.png");
    let message = write_label_png(&nowhere, &labels, &[]).unwrap_err().to_string();
    assert!(message.starts_with(&nowhere.display().to_string()), "{message}");
    let empty = LabelMap { width: 0, height: 0, pixels: Vec::new() };
    assert!(write_label_png(&path, &empty, &[]).is_err());
}

#[test]
fn other_files_are_refused_by_what_they_begin_with() {
    let work = Workplace::new("format");
    let jpeg = work.file("a.png", &[0xff, 0xd8, 0xff, 0xe0, 0, 0x10]);
    assert_eq!(
        work.refusal(&jpeg, &index(), 2),
        "a.png: a label image is a PNG file, it begins with bytes ff d8 ff e0 00 10"
    );
    let empty = work.file("b.png", b"");
    assert_eq!(work.refusal(&empty, &index(), 2), "b.png: a label image is a PNG file, it is empty");
    let wide = png(1, 1, ColorType::Rgb, BitDepth::Sixteen, &[0; 6], &[]);
    assert_eq!(
        work.refusal(&work.file("c.png", &wide), &index(), 2),
        "c.png: an RGB image of 16 bits; possible are grey, palette-indexed and 8-bit RGB label images"
    );
    assert!(work.refusal(&work.0.join("absent.png"), &index(), 2).starts_with("absent.png: "));
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

#[test]
fn a_claim_of_too_many_pixels_is_refused_before_decoding() {
    let work = Workplace::new("bomb");
    for (width, height) in [(65535u32, 65535u32), (u32::MAX >> 1, 1), (1, u32::MAX >> 1), (20000, 20000)] {
        let mut bytes = grey(1, 1, &[0]);
        bytes[16..20].copy_from_slice(&width.to_be_bytes());
        bytes[20..24].copy_from_slice(&height.to_be_bytes());
        let checksum = crc32(&bytes[12..29]).to_be_bytes();
        bytes[29..33].copy_from_slice(&checksum);
        let message = work.refusal(&work.file("a.png", &bytes), &index(), 2);
        let expected = format!("a.png: claims {width} x {height} pixels, at most 134217728 are decoded");
        assert_eq!(message, expected);
    }
}

#[test]
fn every_truncation_is_an_error_and_no_damage_is_a_panic() {
    let work = Workplace::new("damage");
    let mut rng = ChaCha8Rng::seed_from_u64(2);
    let samples: Vec<u8> = (0..40 * 30).map(|_| rng.random_range(0..12)).collect();
    let packed: Vec<u8> = samples.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect();
    let colors: Vec<[u8; 3]> = samples.iter().map(|&sample| [sample; 3]).collect();
    let palette = voc_palette(16).into_flattened();
    for (kind, bytes) in [
        grey(40, 30, &samples),
        png(40, 30, ColorType::Indexed, BitDepth::Four, &packed, &palette),
        rgb(40, 30, &colors),
    ]
    .into_iter()
    .enumerate()
    {
        let gray_palette: Vec<[u8; 3]> = (0..12).map(|value| [value; 3]).collect();
        let read = |bytes: &[u8]| read_label_png(&work.file("a.png", bytes), Some(&gray_palette));
        assert_eq!(read(&bytes).unwrap().pixels, samples);
        // The last 16 bytes are a checksum and the IEND chunk, after all pixels.
        for end in 0..bytes.len() - 16 {
            assert!(read(&bytes[..end]).is_err(), "{end} of {} bytes of kind {kind}", bytes.len());
        }
        for _ in 0..300 {
            let mut damaged = bytes.clone();
            for _ in 0..rng.random_range(1..4) {
                let at = rng.random_range(8..damaged.len());
                // Not the high bytes of the sides: zeroing 100 MB is slow, and tested on its own.
                if !matches!(at, 16..=18 | 20..=22) {
                    damaged[at] = rng.random();
                }
            }
            // Checksums catch nearly all; with the header's mended, the decoder has to.
            let _ = read(&damaged);
            let checksum = crc32(&damaged[12..29]).to_be_bytes();
            damaged[29..33].copy_from_slice(&checksum);
            if let Ok(labels) = read(&damaged) {
                assert_eq!(labels.pixels.len(), labels.width * labels.height);
            }
        }
    }
}
