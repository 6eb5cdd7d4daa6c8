//! COCO result files: a list of detections, taken over as pycocotools' `loadRes` does.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::coco_entries::{read_box, too_long};
use crate::coco_error::{CocoError, Found};
use crate::coco_json::Json;
use crate::coco_text::{Source, Span};

/// The detections of a result file, masks still as text.
#[derive(Clone, Debug)]
pub struct CocoResults {
    /// Where they were read.
    pub path: PathBuf,
    /// Whether the first entry has a box. pycocotools then takes every area from the box, masks or not, and asks every
    /// entry for a box; otherwise areas and boxes come from the masks.
    pub has_boxes: bool,
    /// What the entries' segmentations refer to; empty if there are none.
    pub(crate) text: Arc<Vec<u8>>,
    /// In the order of the file.
    pub(crate) blocks: Vec<Vec<ResultEntry>>,
}

#[derive(Clone, Debug)]
pub(crate) struct ResultEntry {
    pub(crate) image_id: u64,
    pub(crate) category_id: u64,
    pub(crate) score: f64,
    pub(crate) bbox: Option<[f64; 4]>,
    pub(crate) segmentation: Span,
}

impl CocoResults {
    /// Reads a result file.
    ///
    /// # Errors
    /// If it cannot be read, is not a JSON list, or an entry lacks or misuses a key.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CocoError> {
        Self::read(Source::open(path.as_ref())?)
    }

    /// Reads a text as [`CocoResults::open`] reads a file; `path` is for messages.
    ///
    /// # Errors
    /// If the text is not a JSON list, or an entry lacks or misuses a key.
    pub fn from_json(path: &Path, text: Vec<u8>) -> Result<Self, CocoError> {
        Self::read(Source { path: path.to_owned(), text })
    }

    fn read(source: Source) -> Result<Self, CocoError> {
        let mut json = Json::new(&source.text);
        match json.peek() {
            None => return Err(CocoError::Empty { path: source.path }),
            Some(b'{') => return Err(CocoError::NotResults { path: source.path }),
            _ => {}
        }
        let blocks = read_quickly(&source);
        let blocks = match blocks {
            Some(blocks) => blocks,
            None => {
                let spans = source.spans(&mut json).and_then(|spans| json.finish().map(|()| spans));
                let spans = spans.map_err(|error| source.syntax(error, None))?;
                vec![source.read_entries("results", &spans, read_entry)?]
            }
        };
        let has_boxes = blocks.iter().flatten().next().is_some_and(|first| first.bbox.is_some());
        let lacks = |entry: &ResultEntry| match has_boxes {
            true => entry.bbox.is_none(),
            false => entry.segmentation.is_empty(),
        };
        if let Some(index) = blocks.iter().flatten().position(lacks) {
            let key = if has_boxes { "bbox" } else { "segmentation" };
            let span = source
                .spans(&mut Json::new(&source.text))
                .map_err(|error| source.syntax(error, None))?[index];
            return Err(Found::Missing(key).in_entry(&source, "results", index, span.range()));
        }
        let has_masks = blocks.iter().flatten().any(|entry| !entry.segmentation.is_empty());
        let Source { path, text } = source;
        let text = Arc::new(if has_masks { text } else { Vec::new() });
        Ok(Self { path, has_boxes, text, blocks })
    }

    /// Number of detections.
    pub fn len(&self) -> usize {
        self.blocks.iter().map(Vec::len).sum()
    }

    /// Whether there are no detections.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// `None` if anything is amiss.
fn read_quickly(source: &Source) -> Option<Vec<Vec<ResultEntry>>> {
    let mut json = Json::new(&source.text);
    let blocks = source.read_list(&mut json, || read_entry)?;
    json.finish().ok()?;
    Some(blocks)
}

fn read_entry(json: &mut Json<'_>) -> Result<ResultEntry, Found> {
    let (mut image_id, mut category_id, mut score) = (None, None, None);
    let (mut bbox, mut segmentation) = (None, Span::default());
    json.object(|json, key| {
        match key {
            b"image_id" => image_id = Some(Found::of(json, "image_id", Json::index)?),
            b"category_id" => category_id = Some(Found::of(json, "category_id", Json::index)?),
            b"score" => {
                let start = json.clone();
                let found = Found::of(json, "score", Json::number)?;
                if !found.is_finite() {
                    return Err(Found::other(&start, "score", "a finite number"));
                }
                score = Some(found);
            }
            b"bbox" => {
                let start = json.clone();
                if !json.take_empty_list() {
                    let found = read_box(json)?;
                    if !found.iter().all(|value| value.is_finite()) {
                        return Err(Found::other(&start, "bbox", "a list of 4 finite numbers"));
                    }
                    bbox = Some(found);
                }
            }
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
    Ok(ResultEntry {
        image_id: image_id.ok_or(Found::Missing("image_id"))?,
        category_id: category_id.ok_or(Found::Missing("category_id"))?,
        score: score.ok_or(Found::Missing("score"))?,
        bbox,
        segmentation,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CocoResults, CocoError> {
        CocoResults::from_json("r.json".as_ref(), text.as_bytes().to_vec())
    }

    #[test]
    fn the_first_entry_decides_what_the_file_holds() {
        let both =
            r#"{"image_id": 1, "category_id": 2, "score": 0.5, "bbox": [1, 2, 3, 4], "segmentation": [[]]}"#;
        let mask = r#"{"image_id": 1, "category_id": 2, "score": 1, "bbox": [ ], "segmentation": {}}"#;
        assert!(parse(&format!("[{both}]")).unwrap().has_boxes);
        assert!(!parse(&format!("[{mask}, {both}]")).unwrap().has_boxes);
        assert_eq!(parse("[]").unwrap().len(), 0);
        let error = parse(&format!("[{both}, {mask}]")).unwrap_err().to_string();
        assert_eq!(error, "r.json: results[1] has no `bbox`");
    }

    #[test]
    fn errors_name_the_entry() {
        #[track_caller]
        fn case(text: &str, expected: &str) {
            assert_eq!(parse(text).unwrap_err().to_string(), expected);
        }
        let start = r#"[{"image_id": 1, "category_id": 2"#;
        case(" ", "r.json: the file is empty; possible is JSON");
        case("{}", "r.json: an object was found (annotations?); possible is a list of results");
        case("3", "r.json: line 1, column 1: `3` where a list is possible");
        case(
            start,
            "r.json: line 1, column 34: the end of the file (cut short?) where a closing bracket is possible",
        );
        case(&format!("{start}}}]"), "r.json: results[0] has no `score`");
        case(&format!("{start}, \"score\": 1}}]"), "r.json: results[0] has no `segmentation`");
        case(
            &format!("{start}, \"score\": NaN}}]"),
            "r.json: results[0]: `score` is `NaN`; possible is a finite number",
        );
        let infinite = format!("{start}, \"score\": 1, \"bbox\": [1, 2, Infinity, 4]}}]");
        case(
            &infinite,
            "r.json: results[0]: `bbox` is `[1, 2, Infinity, 4]`; possible is a list of 4 finite numbers",
        );
    }
}
