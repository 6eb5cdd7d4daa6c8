//! COCO result files: a list of detections, taken over as pycocotools' `loadRes` does.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::coco_entries::{Source, read_box};
use crate::coco_error::{CocoError, Found};
use crate::coco_json::Json;
use crate::coco_segmentation::Segmentation;

/// The detections of a result file, masks still as text.
#[derive(Clone, Debug)]
pub struct CocoResults {
    /// Where they were read.
    pub path: PathBuf,
    /// Whether the first entry has a box. pycocotools then takes every area from the box, masks or not, and asks every
    /// entry for a box; otherwise areas and boxes come from the masks.
    pub has_boxes: bool,
    pub(crate) entries: Vec<ResultEntry>,
}

#[derive(Clone, Debug)]
pub(crate) struct ResultEntry {
    pub(crate) image_id: u64,
    pub(crate) category_id: u64,
    pub(crate) score: f64,
    pub(crate) bbox: Option<[f64; 4]>,
    pub(crate) segmentation: Option<Segmentation>,
}

impl CocoResults {
    /// Reads a result file.
    ///
    /// # Errors
    /// If it cannot be read, is not a JSON list, or an entry lacks or misuses a key.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CocoError> {
        let path = path.as_ref();
        let text = fs::read(path).map_err(|reason| CocoError::Read { path: path.to_owned(), reason })?;
        Self::from_json(path, text)
    }

    /// Reads a text as [`CocoResults::open`] reads a file; `path` is for messages.
    ///
    /// # Errors
    /// If the text is not a JSON list, or an entry lacks or misuses a key.
    pub fn from_json(path: &Path, text: Vec<u8>) -> Result<Self, CocoError> {
        let source = Arc::new(Source { path: path.to_owned(), text });
        let mut json = Json::new(&source.text);
        match json.peek() {
            None => return Err(CocoError::Empty { path: path.to_owned() }),
            Some(b'{') => return Err(CocoError::NotResults { path: path.to_owned() }),
            _ => {}
        }
        let spans = source.spans(&mut json).and_then(|spans| json.finish().map(|()| spans));
        let spans = spans.map_err(|error| source.syntax(error, None))?;
        let mut results =
            Self { path: path.to_owned(), has_boxes: false, entries: Vec::with_capacity(spans.len()) };
        results.entries = source.read_entries("results", &spans, |json| read_entry(json, &source))?;
        results.has_boxes = results.entries.first().is_some_and(|first| first.bbox.is_some());
        let lacks = |entry: &ResultEntry| match results.has_boxes {
            true => entry.bbox.is_none(),
            false => entry.segmentation.is_none(),
        };
        if let Some(index) = results.entries.iter().position(lacks) {
            let key = if results.has_boxes { "bbox" } else { "segmentation" };
            return Err(Found::Missing(key).in_entry(&source, "results", index, spans[index].range()));
        }
        Ok(results)
    }

    /// Number of detections.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no detections.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

fn read_entry(mut json: Json<'_>, source: &Arc<Source>) -> Result<ResultEntry, Found> {
    let (mut image_id, mut category_id, mut score) = (None, None, None);
    let (mut bbox, mut segmentation) = (None, None);
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
                let text = Found::of(json, "segmentation", Json::skip)?;
                segmentation = Some(Segmentation::at(source, text));
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
