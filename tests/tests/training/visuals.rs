//! What TensorBoard is told, read back from the event files.

use std::fs;
use std::path::Path;

use cvx_tools::train::histogram::Histogram;
use cvx_tools::train::run_folder::Start;
use cvx_tools::train::tensorboard::EventWriter;

use crate::toy::{generator, trainer};

/// A field of a protocol buffer message.
enum Field<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..).step_by(7) {
        let (&byte, rest) = bytes.split_first().expect("a whole number");
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
    }
    unreachable!("a varint ends")
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(length);
    *bytes = rest;
    taken
}

/// The fields of a message, by number.
fn fields(mut bytes: &[u8]) -> Vec<(u64, Field<'_>)> {
    let mut fields = Vec::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let field = match key & 7 {
            0 => Field::Number(varint(&mut bytes)),
            1 => Field::Bytes(take(&mut bytes, 8)),
            2 => {
                let length = varint(&mut bytes) as usize;
                Field::Bytes(take(&mut bytes, length))
            }
            5 => Field::Bytes(take(&mut bytes, 4)),
            other => panic!("wire type {other}"),
        };
        fields.push((key >> 3, field));
    }
    fields
}

fn bytes<'a>(fields: &[(u64, Field<'a>)], number: u64) -> Option<&'a [u8]> {
    fields.iter().find_map(|(found, field)| match field {
        Field::Bytes(bytes) if *found == number => Some(*bytes),
        _ => None,
    })
}

fn number(fields: &[(u64, Field<'_>)], wanted: u64) -> Option<u64> {
    fields.iter().find_map(|(found, field)| match field {
        Field::Number(value) if *found == wanted => Some(*value),
        _ => None,
    })
}

/// `(step, tag, number of the kind, its message)` of every summary value in a folder's event files.
fn summaries(folder: &Path) -> Vec<(u64, String, u64, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let file = fs::read(entry.expect("an entry").path()).expect("a file");
        let mut rest = file.as_slice();
        while !rest.is_empty() {
            let length = u64::from_le_bytes(take(&mut rest, 8).try_into().expect("eight bytes"));
            take(&mut rest, 4);
            let event = fields(take(&mut rest, length as usize));
            take(&mut rest, 4);
            let Some(summary) = bytes(&event, 5) else { continue };
            for (_, value) in fields(summary) {
                let Field::Bytes(value) = value else { continue };
                let value = fields(value);
                let tag = String::from_utf8(bytes(&value, 1).expect("a tag").to_vec()).expect("text");
                for kind in [2, 4, 5] {
                    if let Some(message) = bytes(&value, kind) {
                        found.push((number(&event, 2).unwrap_or(0), tag.clone(), kind, message.to_vec()));
                    }
                }
            }
        }
    }
    found
}

#[test]
fn pictures_are_read_back_as_they_were_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut events = EventWriter::open_after(folder.path(), 0).expect("opens");
    events.image(7, "predictions/0", (30, 20), b"png bytes").expect("writes");
    let [(step, tag, kind, message)] = &summaries(folder.path())[..] else { panic!("one value") };
    assert_eq!((*step, tag.as_str(), *kind), (7, "predictions/0", 4));
    let image = fields(message);
    assert_eq!([1, 2, 3].map(|field| number(&image, field)), [Some(20), Some(30), Some(3)]);
    assert_eq!(bytes(&image, 4), Some(&b"png bytes"[..]));
}

#[test]
fn histograms_are_read_back_as_they_were_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut events = EventWriter::open_after(folder.path(), 0).expect("opens");
    let histogram = Histogram::of(&[-1.0, 0.5, 2.0], 1.0).expect("finite");
    events.histogram(3, "weights/a", &histogram).expect("writes");
    let [(3, _, 5, message)] = &summaries(folder.path())[..] else { panic!("one value") };
    let read = fields(message);
    let double = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    let numbers = [1, 2, 3, 4, 5].map(|field| double(bytes(&read, field).expect("there")));
    assert_eq!(numbers, [-1.0, 2.0, 3.0, 1.5, 5.25]);
    for (field, expected) in [(6, &histogram.limits), (7, &histogram.counts)] {
        let packed: Vec<f64> = bytes(&read, field).expect("there").chunks(8).map(double).collect();
        assert_eq!(&packed, expected);
    }
}

#[test]
fn weights_and_gradients_are_recorded_when_asked_for() {
    let _turn = generator();
    for is_wanted in [false, true] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut run = trainer(folder.path(), Start::Fresh, 1).expect("a run");
        run.spread_wanted(is_wanted);
        let seed = run.begin_step();
        let losses = run.model().losses(0, seed);
        run.step(losses, 4).expect("a good step");
        run.record_spread().expect("writes");
        let values = summaries(&folder.path().join("tensorboard"));
        let spread: Vec<&str> =
            values.iter().filter(|value| value.2 == 5).map(|value| value.1.as_str()).collect();
        if is_wanted {
            assert_eq!(spread.len(), 8, "{spread:?}");
            assert!(spread.contains(&"weights/first.weight") && spread.contains(&"gradients/second.bias"));
        } else {
            assert!(spread.is_empty(), "{spread:?}");
        }
    }
}
