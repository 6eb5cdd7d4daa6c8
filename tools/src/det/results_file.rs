//! Detections as a file in COCO's results format.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use cvx_data::Detection;
use serde::Serialize;

/// One detection; the order of keys is that of the COCO format page.
#[derive(Serialize)]
struct Entry {
    image_id: u64,
    category_id: u64,
    bbox: [f64; 4],
    #[serde(skip_serializing_if = "Option::is_none")]
    segmentation: Option<Segmentation>,
    score: f64,
}

/// A compressed RLE.
#[derive(Serialize)]
struct Segmentation {
    /// Height and width.
    size: [u32; 2],
    counts: String,
}

/// Writes `detections`, one a line, numbers to the last digit.
pub(super) fn write(path: &Path, detections: &[Detection]) -> Result<()> {
    let cannot_write = || format!("{}: cannot be written", path.display());
    let mut file = BufWriter::new(File::create(path).with_context(cannot_write)?);
    let mut separator = "[\n";
    for Detection { image_id, category_id, score, bbox, mask } in detections {
        let segmentation = mask
            .as_ref()
            .map(|rle| Segmentation { size: [rle.height, rle.width], counts: rle.to_compressed() });
        let entry = Entry {
            image_id: *image_id,
            category_id: *category_id,
            bbox: *bbox,
            segmentation,
            score: *score,
        };
        write!(file, "{separator}{}", serde_json::to_string(&entry)?).with_context(cannot_write)?;
        separator = ",\n";
    }
    let end = if detections.is_empty() { "[]\n" } else { "\n]\n" };
    file.write_all(end.as_bytes()).and_then(|()| file.flush()).with_context(cannot_write)
}
