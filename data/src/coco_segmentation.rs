//! Segmentations as they stand in a COCO file: polygons, run lengths as numbers, or run lengths as a string.

use std::path::Path;
use std::sync::Arc;

use memchr::memchr;

use crate::coco_error::SegmentationError;
use crate::coco_json::{Json, JsonError};
use crate::coco_text::{SharedSource, Span};
use crate::polygon::PolygonError;
use crate::rle::{Rle, RleError};
use crate::rle_text::RunText;

/// The text of a segmentation, inside the text of its file.
#[derive(Clone, Debug)]
pub struct Segmentation {
    source: SharedSource,
    span: Span,
}

/// A segmentation that was read.
pub(crate) enum Form<'a> {
    /// No segmentation, `null` or `[]`.
    None,
    Polygons(Vec<Vec<f64>>),
    Counts(Vec<u32>, [u32; 2]),
    Compressed(Runs<'a>, [u32; 2]),
}

/// A compressed mask's string.
pub(crate) enum Runs<'a> {
    Borrowed(RunText<'a>),
    Owned(String),
}

impl Runs<'_> {
    pub(crate) fn text(&self) -> RunText<'_> {
        match self {
            Self::Borrowed(text) => *text,
            Self::Owned(text) => RunText { bytes: text.as_bytes(), is_escaped: false },
        }
    }
}

impl Segmentation {
    pub(crate) fn at(source: &SharedSource, span: Span) -> Self {
        Self { source: Arc::clone(source), span }
    }

    /// The text, which [`Form::read`] reads.
    pub(crate) fn text(&self) -> &[u8] {
        &self.source.text[self.span.range()]
    }

    pub(crate) fn path(&self) -> &Path {
        &self.source.path
    }

    /// The pixels in an image of this size; `None` if there is no segmentation. As in pycocotools, an RLE keeps the size
    /// it says.
    ///
    /// # Errors
    /// If it is neither polygons nor an RLE that fills its size.
    pub fn rle(&self, height: u32, width: u32) -> Result<Option<Rle>, SegmentationError> {
        Ok(match Form::read(self.text())? {
            Form::None => None,
            Form::Polygons(polygons) => Some(Rle::from_polygons(&polygons, height, width)?),
            Form::Counts(counts, [height, width]) => Some(Rle::from_counts(counts, height, width)?),
            Form::Compressed(runs, [height, width]) => Some(Rle::from_text(runs.text(), height, width)?),
        })
    }
}

impl<'a> Form<'a> {
    /// Reads the text of a segmentation.
    pub(crate) fn read(text: &'a [u8]) -> Result<Self, SegmentationError> {
        let mut json = Json::new(text);
        let start = json.clone();
        match json.peek() {
            None => return Ok(Form::None),
            Some(b'n') if json.take_null() => return Ok(Form::None),
            Some(b'[') => read_polygons(json),
            Some(b'{') => read_rle(json)?,
            _ => None,
        }
        .ok_or_else(|| SegmentationError::Form { found: start.excerpt() })
    }
}

fn read_polygons(mut json: Json<'_>) -> Option<Form<'_>> {
    let mut polygons = Vec::new();
    let walked = json.list(|json| {
        polygons.push(json.numbers()?);
        Ok::<_, JsonError>(())
    });
    walked.ok()?;
    Some(if polygons.is_empty() { Form::None } else { Form::Polygons(polygons) })
}

fn read_rle(mut json: Json<'_>) -> Result<Option<Form<'_>>, SegmentationError> {
    enum Found<'a> {
        Numbers(Vec<u32>),
        Text(Runs<'a>),
    }
    let (mut size, mut runs) = (None, None);
    let mut too_long = None;
    let walked = json.object(|json, key| {
        match key {
            b"size" => {
                let mut sides = Vec::with_capacity(2);
                json.list(|json| {
                    sides.push(json.index()?);
                    Ok::<_, JsonError>(())
                })?;
                size = match sides.as_slice() {
                    &[height, width] => u32::try_from(height).ok().zip(u32::try_from(width).ok()),
                    _ => None,
                };
            }
            b"counts" if json.peek() == Some(b'[') => {
                let mut counts = Vec::new();
                json.list(|json| {
                    let count = json.index()?;
                    let run = counts.len();
                    counts.push(u32::try_from(count).unwrap_or_else(|_| {
                        let found = i64::try_from(count).unwrap_or(i64::MAX);
                        too_long.get_or_insert(RleError::RunLength { run, found });
                        0
                    }));
                    Ok::<_, JsonError>(())
                })?;
                runs = Some(Found::Numbers(counts));
            }
            b"counts" => {
                let mut ahead = json.clone();
                let bytes = ahead.string_bytes()?;
                let text = match escapes(bytes) {
                    Escapes::None => Runs::Borrowed(RunText { bytes, is_escaped: false }),
                    Escapes::Backslashes => Runs::Borrowed(RunText { bytes, is_escaped: true }),
                    Escapes::Others => Runs::Owned(json.clone().string()?.into_owned()),
                };
                *json = ahead;
                runs = Some(Found::Text(text));
            }
            _ => {
                json.skip()?;
            }
        }
        Ok::<_, JsonError>(())
    });
    if let Some(error) = too_long {
        return Err(error.into());
    }
    let (Ok(()), Some((height, width)), Some(runs)) = (walked, size, runs) else { return Ok(None) };
    Ok(Some(match runs {
        Found::Numbers(counts) => Form::Counts(counts, [height, width]),
        Found::Text(text) => Form::Compressed(text, [height, width]),
    }))
}

enum Escapes {
    None,
    Backslashes,
    Others,
}

/// Which characters are escaped in a string as it stands in a JSON text.
fn escapes(bytes: &[u8]) -> Escapes {
    let mut found = Escapes::None;
    let mut at = 0;
    while let Some(step) = memchr(b'\\', &bytes[at..]) {
        at += step + 2;
        if bytes.get(at - 1) != Some(&b'\\') {
            return Escapes::Others;
        }
        found = Escapes::Backslashes;
    }
    found
}

/// The first polygon that mmdet would not train on, or that cannot be filled; fatal if nothing is left or nothing can be
/// filled.
pub(crate) fn polygon_doubt(polygons: &[Vec<f64>]) -> Option<(PolygonError, bool)> {
    for (polygon, numbers) in polygons.iter().enumerate() {
        if let Some(&found) = numbers.iter().find(|number| !number.is_finite()) {
            return Some((PolygonError::NotFinite { polygon, found }, true));
        }
    }
    let is_outline = |numbers: &Vec<f64>| numbers.len() >= 6 && numbers.len().is_multiple_of(2);
    let polygon = polygons.iter().position(|numbers| !is_outline(numbers))?;
    let found = polygons[polygon].len();
    let fillable = polygons[0].len() > 4 && polygons.iter().all(|numbers| numbers.len() >= 2);
    let is_fatal = !fillable || !polygons.iter().any(is_outline);
    Some((PolygonError::NoOutline { polygon, found }, is_fatal))
}
