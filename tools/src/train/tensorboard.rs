//! TensorBoard event files: scalars, images and histograms.
//!
//! A file is a sequence of TFRecords (`length u64, masked crc of length, bytes, masked crc of bytes`, little-endian,
//! CRC-32C), each an `Event` protocol buffer of `tensorflow/core/util/event.proto`. The few fields used are written
//! by hand.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result};

use crate::train::histogram::Histogram;

/// `crc32c::Mask` of TensorFlow: a crc stored beside its data is rotated and shifted.
const MASK_DELTA: u32 = 0xa282_ead8;

/// Field numbers of `Event`, `Summary`, `Summary.Value` and `SessionLog`, and wire types. Those of an image and of a
/// histogram stand where they are written.
mod field {
    pub(super) const WALL_TIME: u64 = 1;
    pub(super) const STEP: u64 = 2;
    pub(super) const FILE_VERSION: u64 = 3;
    pub(super) const SUMMARY: u64 = 5;
    pub(super) const SESSION_LOG: u64 = 7;
    pub(super) const SUMMARY_VALUE: u64 = 1;
    pub(super) const TAG: u64 = 1;
    pub(super) const SIMPLE_VALUE: u64 = 2;
    pub(super) const IMAGE: u64 = 4;
    pub(super) const HISTOGRAM: u64 = 5;
    pub(super) const STATUS: u64 = 1;
    pub(super) const VARINT: u64 = 0;
    pub(super) const FIXED64: u64 = 1;
    pub(super) const BYTES: u64 = 2;
    pub(super) const FIXED32: u64 = 5;
}

/// `SessionLog.START`: TensorBoard forgets what it read at this step and later.
const SESSION_START: u64 = 1;

/// An event file that is being written.
#[derive(Debug)]
pub struct EventWriter {
    path: PathBuf,
    file: File,
}

impl EventWriter {
    /// Starts a new file in `folder` for steps after `step`; values that an interrupted run wrote for later steps
    /// are taken back.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn open_after(folder: &Path, step: usize) -> Result<Self> {
        let seconds = wall_time() as u64;
        let name = format!("events.out.tfevents.{seconds:010}.cvx.{}.{step:09}", std::process::id());
        let path = folder.join(name);
        let open = || {
            fs::create_dir_all(folder)?;
            File::create(&path)
        };
        let file = open().with_context(|| path.display().to_string())?;
        let mut writer = Self { path, file };
        let mut event = Message::event(0);
        event.bytes(field::FILE_VERSION, b"brain.Event:2");
        writer.write(&event)?;
        let mut session = Message::default();
        session.varint(field::STATUS, SESSION_START);
        let mut event = Message::event(step as u64 + 1);
        event.bytes(field::SESSION_LOG, &session.0);
        writer.write(&event)?;
        Ok(writer)
    }

    /// Adds the values of one step.
    ///
    /// # Errors
    /// If the disk is full, for example.
    pub fn scalars<'a>(
        &mut self,
        step: usize,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let mut summary = Message::default();
        for (tag, value) in values {
            let mut one = Message::default();
            one.bytes(field::TAG, tag.as_bytes());
            one.float(field::SIMPLE_VALUE, value as f32);
            summary.bytes(field::SUMMARY_VALUE, &one.0);
        }
        let mut event = Message::event(step as u64);
        event.bytes(field::SUMMARY, &summary.0);
        self.write(&event)
    }

    /// Adds a picture of one step, a PNG of this width and height.
    ///
    /// # Errors
    /// As [`EventWriter::scalars`].
    pub fn image(&mut self, step: usize, tag: &str, (width, height): (u32, u32), png: &[u8]) -> Result<()> {
        /// Red, green and blue.
        const CHANNELS: u64 = 3;
        let mut image = Message::default();
        image.varint(1, u64::from(height));
        image.varint(2, u64::from(width));
        image.varint(3, CHANNELS);
        image.bytes(4, png);
        self.summary(step, tag, field::IMAGE, &image)
    }

    /// Adds how values of one step are spread.
    ///
    /// # Errors
    /// As [`EventWriter::scalars`].
    pub fn histogram(&mut self, step: usize, tag: &str, histogram: &Histogram) -> Result<()> {
        let Histogram { min, max, count, sum, sum_squares, limits, counts } = histogram;
        let mut message = Message::default();
        for (number, value) in (1..).zip([min, max, count, sum, sum_squares]) {
            message.double(number, *value);
        }
        for (number, values) in [(6, limits), (7, counts)] {
            let packed: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
            message.bytes(number, &packed);
        }
        self.summary(step, tag, field::HISTOGRAM, &message)
    }

    /// Adds one value of a kind that is a message itself.
    fn summary(&mut self, step: usize, tag: &str, kind: u64, message: &Message) -> Result<()> {
        let mut value = Message::default();
        value.bytes(field::TAG, tag.as_bytes());
        value.bytes(kind, &message.0);
        let mut summary = Message::default();
        summary.bytes(field::SUMMARY_VALUE, &value.0);
        let mut event = Message::event(step as u64);
        event.bytes(field::SUMMARY, &summary.0);
        self.write(&event)
    }

    /// One write a record, so that a reader meets whole records.
    fn write(&mut self, event: &Message) -> Result<()> {
        self.file.write_all(&record(&event.0)).with_context(|| self.path.display().to_string())
    }
}

fn wall_time() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |elapsed| elapsed.as_secs_f64())
}

fn record(data: &[u8]) -> Vec<u8> {
    let length = (data.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(data.len() + 16);
    bytes.extend(length);
    bytes.extend(masked_crc(&length).to_le_bytes());
    bytes.extend(data);
    bytes.extend(masked_crc(data).to_le_bytes());
    bytes
}

fn masked_crc(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(MASK_DELTA)
}

/// A protocol buffer message, encoded as it grows.
#[derive(Default)]
struct Message(Vec<u8>);

impl Message {
    fn event(step: u64) -> Self {
        let mut event = Self::default();
        event.key(field::WALL_TIME, field::FIXED64);
        event.0.extend(wall_time().to_le_bytes());
        event.varint(field::STEP, step);
        event
    }

    fn key(&mut self, number: u64, wire_type: u64) {
        self.raw_varint(number << 3 | wire_type);
    }

    fn varint(&mut self, number: u64, value: u64) {
        self.key(number, field::VARINT);
        self.raw_varint(value);
    }

    fn float(&mut self, number: u64, value: f32) {
        self.key(number, field::FIXED32);
        self.0.extend(value.to_le_bytes());
    }

    fn double(&mut self, number: u64, value: f64) {
        self.key(number, field::FIXED64);
        self.0.extend(value.to_le_bytes());
    }

    fn bytes(&mut self, number: u64, bytes: &[u8]) {
        self.key(number, field::BYTES);
        self.raw_varint(bytes.len() as u64);
        self.0.extend(bytes);
    }

    fn raw_varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_the_castagnoli_one() {
        // RFC 3720, B.4: 32 bytes of zeros.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn a_varint_has_seven_bits_a_byte() {
        let mut message = Message::default();
        message.varint(2, 300);
        assert_eq!(message.0, [0x10, 0xac, 0x02]);
    }

    #[test]
    fn a_record_frames_its_bytes() {
        let bytes = record(b"abc");
        assert_eq!(bytes.len(), 8 + 4 + 3 + 4);
        assert_eq!(bytes[..8], [3, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(bytes[12..15], *b"abc");
    }
}
