//! The entries of an annotation file, and how one is read.

use std::sync::Arc;

use crate::coco::{Annotation, Category, CocoImage, Frequency};
use crate::coco_error::{CocoError, Found};
use crate::coco_json::{Json, JsonError};
use crate::coco_segmentation::Segmentation;
use crate::coco_text::{SharedSource, Source, Span};

impl Source {
    /// The entries of the three lists, in the order images, categories, annotations.
    fn lists(&self) -> Result<[Vec<Span>; 3], CocoError> {
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
}

/// What stops the quick walk: the slow one will say it.
struct Amiss;

impl From<JsonError> for Amiss {
    fn from(_: JsonError) -> Self {
        Self
    }
}

/// What the three lists hold.
pub(crate) type Lists = (Vec<CocoImage>, Vec<Category>, Vec<Annotation>);

/// The entries of all three lists, read in parallel. Of several errors, the first in the file is reported.
pub(crate) fn read_lists(source: &Arc<Source>) -> Result<Lists, CocoError> {
    if let Some(lists) = read_quickly(source) {
        return Ok(lists);
    }
    let [images, categories, annotations] = source.lists()?;
    let shared = Arc::new(Arc::clone(source));
    Ok((
        source.read_entries("images", &images, read_image)?,
        source.read_entries("categories", &categories, read_category)?,
        source.read_entries("annotations", &annotations, |json| read_annotation(json, &shared))?,
    ))
}

/// `None` if anything is amiss.
fn read_quickly(source: &Arc<Source>) -> Option<Lists> {
    let (mut images, mut categories, mut annotations) = (None, None, None);
    let mut json = Json::new(&source.text);
    // A counter of its own for each worker: one that all workers change is slow.
    let annotation_reader = || {
        let shared = Arc::new(Arc::clone(source));
        move |json: &mut Json<'_>| read_annotation(json, &shared)
    };
    let walked = json.object(|json, key| {
        match key {
            b"images" => images = Some(source.read_list(json, || read_image).ok_or(Amiss)?),
            b"categories" => categories = Some(source.read_list(json, || read_category).ok_or(Amiss)?),
            b"annotations" => annotations = Some(source.read_list(json, annotation_reader).ok_or(Amiss)?),
            _ => {
                json.skip()?;
            }
        }
        Ok::<_, Amiss>(())
    });
    walked.ok()?;
    json.finish().ok()?;
    Some((joined(images?), joined(categories?), joined(annotations?)))
}

fn joined<T>(blocks: Vec<Vec<T>>) -> Vec<T> {
    let mut all = Vec::with_capacity(blocks.iter().map(Vec::len).sum());
    blocks.into_iter().for_each(|block| all.extend(block));
    all
}

fn read_image(json: &mut Json<'_>) -> Result<CocoImage, Found> {
    let (mut id, mut file_name, mut width, mut height) = (None, None, None, None);
    let (mut coco_url, mut absent, mut not_exhaustive) = (None, Vec::new(), Vec::new());
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
            b"coco_url" => {
                let mut ahead = json.clone();
                coco_url = ahead.string().ok().map(|url| url.into_owned());
                json.skip()?;
            }
            b"neg_category_ids" => absent = Found::of(json, "neg_category_ids", Json::indices)?,
            b"not_exhaustive_category_ids" => {
                not_exhaustive = Found::of(json, "not_exhaustive_category_ids", Json::indices)?;
            }
            _ => {
                json.skip()?;
            }
        }
        Ok::<_, Found>(())
    })?;
    Ok(CocoImage {
        id: id.ok_or(Found::Missing("id"))?,
        // LVIS names its files by their address.
        file_name: file_name
            .or_else(|| coco_url?.rsplit('/').next().map(str::to_owned))
            .ok_or(Found::Missing("file_name"))?,
        width: width.ok_or(Found::Missing("width"))?,
        height: height.ok_or(Found::Missing("height"))?,
        neg_category_ids: absent,
        not_exhaustive_category_ids: not_exhaustive,
    })
}

fn read_category(json: &mut Json<'_>) -> Result<Category, Found> {
    let (mut id, mut name, mut frequency) = (None, None, None);
    json.object(|json, key| {
        match key {
            b"id" => id = Some(Found::of(json, "id", Json::index)?),
            b"name" => name = Some(Found::of(json, "name", Json::string)?.into_owned()),
            b"frequency" => {
                // Other data sets may mean something else by the word.
                frequency = match json.clone().string().as_deref() {
                    Ok("r") => Some(Frequency::Rare),
                    Ok("c") => Some(Frequency::Common),
                    Ok("f") => Some(Frequency::Frequent),
                    _ => None,
                };
                json.skip()?;
            }
            _ => {
                json.skip()?;
            }
        }
        Ok::<_, Found>(())
    })?;
    Ok(Category { id: id.ok_or(Found::Missing("id"))?, name: name.ok_or(Found::Missing("name"))?, frequency })
}

fn read_annotation(json: &mut Json<'_>, source: &SharedSource) -> Result<Annotation, Found> {
    let (mut id, mut image_id, mut category_id) = (None, None, None);
    let (mut bbox, mut area, mut iscrowd, mut segmentation) = (None, None, false, Span::default());
    json.object(|json, key| {
        match key {
            b"id" => id = Some(Found::of(json, "id", Json::index)?),
            b"image_id" => image_id = Some(Found::of(json, "image_id", Json::index)?),
            b"category_id" => category_id = Some(Found::of(json, "category_id", Json::index)?),
            b"bbox" => bbox = Some(read_box(json)?),
            b"area" => area = Some(Found::of(json, "area", Json::number)?),
            b"iscrowd" => iscrowd = Found::of(json, "iscrowd", Json::truth)?,
            b"segmentation" => {
                let range = Found::of(json, "segmentation", Json::skip)?;
                segmentation = Span::of(range).ok_or_else(|| too_long(json, "segmentation"))?;
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
        segmentation: Segmentation::at(source, segmentation),
    })
}

/// A value that [`Span`] cannot hold.
pub(crate) fn too_long(json: &Json<'_>, key: &'static str) -> Found {
    Found::other(json, key, "a text of less than 4 GiB")
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
