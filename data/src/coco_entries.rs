//! The entries of a COCO file: where each stands in the text, and how one is read.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use rayon::prelude::*;

use crate::coco::{Annotation, Category, CocoImage};
use crate::coco_error::{CocoError, Found};
use crate::coco_json::{Json, JsonError};
use crate::coco_segmentation::Segmentation;

/// A file's text, which its entries refer to.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: Vec<u8>,
}

/// Where an entry stands in the text. Twelve bytes for each of a million entries.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Span {
    start: u64,
    len: u32,
}

impl Span {
    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.start as usize + self.len as usize
    }
}

impl Source {
    /// The entries of the three lists, in the order images, categories, annotations.
    pub(crate) fn lists(&self) -> Result<[Vec<Span>; 3], CocoError> {
        let mut found = [None, None, None];
        let mut keys = Vec::new();
        let mut json = Json::new(&self.text);
        match json.peek() {
            Some(b'{') => {}
            None => return Err(CocoError::Empty { path: self.path.clone() }),
            Some(b'[') => return Err(CocoError::NotATruth { path: self.path.clone() }),
            _ => return Err(self.syntax(json.error::<()>("an object").unwrap_err(), None)),
        }
        let mut inside = None;
        let walked = json.object(|json, key| {
            let lists: [&[u8]; 3] = [b"images", b"categories", b"annotations"];
            match lists.iter().position(|list| *list == key) {
                Some(list) => {
                    inside = Some(["images", "categories", "annotations"][list]);
                    found[list] = Some(self.spans(json)?);
                    inside = None;
                }
                None => {
                    keys.push(String::from_utf8_lossy(key).into_owned());
                    json.skip()?;
                }
            }
            Ok(())
        });
        walked.and_then(|()| json.finish()).map_err(|error| self.syntax(error, inside))?;
        for (list, name) in found.iter().zip(["images", "categories", "annotations"]) {
            if list.is_none() {
                return Err(CocoError::NoList { path: self.path.clone(), list: name, found: keys });
            }
        }
        Ok(found.map(Option::unwrap_or_default))
    }

    /// The entries of the list that comes next.
    pub(crate) fn spans(&self, json: &mut Json<'_>) -> Result<Vec<Span>, JsonError> {
        let mut spans = Vec::new();
        json.list(|json| {
            let range = json.skip()?;
            let Ok(len) = u32::try_from(range.len()) else {
                return json.error("an entry of less than 4 GiB");
            };
            spans.push(Span { start: range.start as u64, len });
            Ok(())
        })?;
        Ok(spans)
    }

    /// Reads entries in parallel; of several errors, the first in the file is reported.
    pub(crate) fn read_entries<T: Send>(
        &self,
        list: &'static str,
        spans: &[Span],
        read: impl Fn(Json<'_>) -> Result<T, Found> + Sync,
    ) -> Result<Vec<T>, CocoError> {
        let read_span = |span: &Span| read(Json::part(&self.text, span.range()));
        if let Ok(entries) = spans.par_iter().map(|span| read_span(span).map_err(drop)).collect() {
            return Ok(entries);
        }
        let read_or_explain = |(index, span): (usize, &Span)| {
            read_span(span).map_err(|found| found.in_entry(self, list, index, span.range()))
        };
        spans.iter().enumerate().map(read_or_explain).collect()
    }

    pub(crate) fn syntax(&self, error: JsonError, list: Option<&'static str>) -> CocoError {
        CocoError::syntax(&self.path, &self.text, error, list)
    }
}

pub(crate) fn read_image(mut json: Json<'_>) -> Result<CocoImage, Found> {
    let (mut id, mut file_name, mut width, mut height) = (None, None, None, None);
    json.object(|json, key| {
        let size = |json: &mut Json<'_>, key| {
            let start = json.clone();
            let size = json.index().map_err(|e| Found::value(&start, key, e))?;
            u32::try_from(size)
                .map(Some)
                .map_err(|_| Found::other(&start, key, "a whole number to 4294967295"))
        };
        match key {
            b"id" => id = Some(Found::of(json, "id", Json::index)?),
            b"file_name" => file_name = Some(Found::of(json, "file_name", Json::string)?.into_owned()),
            b"width" => width = size(json, "width")?,
            b"height" => height = size(json, "height")?,
            _ => {
                json.skip()?;
            }
        }
        Ok::<_, Found>(())
    })?;
    Ok(CocoImage {
        id: id.ok_or(Found::Missing("id"))?,
        file_name: file_name.ok_or(Found::Missing("file_name"))?,
        width: width.ok_or(Found::Missing("width"))?,
        height: height.ok_or(Found::Missing("height"))?,
    })
}

pub(crate) fn read_category(mut json: Json<'_>) -> Result<Category, Found> {
    let (mut id, mut name) = (None, None);
    json.object(|json, key| {
        match key {
            b"id" => id = Some(Found::of(json, "id", Json::index)?),
            b"name" => name = Some(Found::of(json, "name", Json::string)?.into_owned()),
            _ => {
                json.skip()?;
            }
        }
        Ok::<_, Found>(())
    })?;
    Ok(Category { id: id.ok_or(Found::Missing("id"))?, name: name.ok_or(Found::Missing("name"))? })
}

pub(crate) fn read_annotation(mut json: Json<'_>, source: &Arc<Source>) -> Result<Annotation, Found> {
    let (mut id, mut image_id, mut category_id) = (None, None, None);
    let (mut bbox, mut area, mut iscrowd, mut segmentation) = (None, None, false, None);
    json.object(|json, key| {
        match key {
            b"id" => id = Some(Found::of(json, "id", Json::index)?),
            b"image_id" => image_id = Some(Found::of(json, "image_id", Json::index)?),
            b"category_id" => category_id = Some(Found::of(json, "category_id", Json::index)?),
            b"bbox" => bbox = Some(read_box(json)?),
            b"area" => area = Some(Found::of(json, "area", Json::number)?),
            b"iscrowd" => iscrowd = Found::of(json, "iscrowd", Json::truth)?,
            b"segmentation" => {
                segmentation = Some(Segmentation::at(source, Found::of(json, "segmentation", Json::skip)?))
            }
            _ => {
                json.skip()?;
            }
        }
        Ok::<_, Found>(())
    })?;
    Ok(Annotation {
        id: id.ok_or(Found::Missing("id"))?,
        image_id: image_id.ok_or(Found::Missing("image_id"))?,
        category_id: category_id.ok_or(Found::Missing("category_id"))?,
        bbox: bbox.ok_or(Found::Missing("bbox"))?,
        area: area.ok_or(Found::Missing("area"))?,
        iscrowd,
        segmentation: segmentation.unwrap_or_else(|| Segmentation::at(source, 0..0)),
    })
}

/// A list of exactly four numbers.
pub(crate) fn read_box(json: &mut Json<'_>) -> Result<[f64; 4], Found> {
    let start = json.clone();
    let mut bbox = [0.0; 4];
    let mut count = 0;
    let walked = json.list(|json| {
        let number = json.number()?;
        if let Some(slot) = bbox.get_mut(count) {
            *slot = number;
        }
        count += 1;
        Ok(())
    });
    match walked {
        Ok(()) if count == 4 => Ok(bbox),
        Ok(()) => Err(Found::other(&start, "bbox", "a list of 4 numbers")),
        Err(error) => Err(Found::value(&start, "bbox", error)),
    }
}
