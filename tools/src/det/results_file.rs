//! Detections as a file in COCO's results format.

use std::path::Path;

use anyhow::Result;
use cvx_data::Detection;
use serde::Serialize;

use crate::train::atomic_file::Replacement;

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

/// A file of detections that takes its place once it is whole.
pub(super) struct ResultsFile {
    replacement: Replacement,
    entries: usize,
}

impl ResultsFile {
    /// Begins a file that will lie at `path`; without [`ResultsFile::commit`] an older one stays.
    pub(super) fn begin(path: &Path) -> Result<Self> {
        Ok(Self { replacement: Replacement::begin(path)?, entries: 0 })
    }

    /// Appends `detections`, one a line, numbers to the last digit.
    pub(super) fn add(&mut self, detections: &[Detection]) -> Result<()> {
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
            let separator = if self.entries == 0 { "[\n" } else { ",\n" };
            let line = serde_json::to_string(&entry)?;
            self.replacement.write(|file| Ok(write!(file, "{separator}{line}")?))?;
            self.entries += 1;
        }
        Ok(())
    }

    /// Puts the file in its place, and returns the number of detections in it.
    pub(super) fn commit(mut self) -> Result<usize> {
        let end = if self.entries == 0 { "[]\n" } else { "\n]\n" };
        self.replacement.write(|file| Ok(file.write_all(end.as_bytes())?))?;
        self.replacement.commit()?;
        Ok(self.entries)
    }
}
