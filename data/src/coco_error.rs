//! What can be wrong with a COCO file, and how it is said: file, entry, value found, values possible.

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::coco_check::Problem;
use crate::coco_json::{Json, JsonError};
use crate::coco_text::Source;
use crate::polygon::PolygonError;
use crate::rle::RleError;

/// A COCO annotation or result file that cannot be used.
#[derive(Debug, Error)]
pub enum CocoError {
    /// The file system said no.
    #[error("{}: {reason}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What it said.
        reason: io::Error,
    },
    /// A file without content.
    #[error("{}: the file is empty; possible is JSON", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A list where annotations are expected.
    #[error("{}: a list was found (results?); possible is an object with `images`, `categories` and `annotations`", path.display())]
    NotATruth {
        /// The file.
        path: PathBuf,
    },
    /// An object where results are expected.
    #[error("{}: an object was found (annotations?); possible is a list of results", path.display())]
    NotResults {
        /// The file.
        path: PathBuf,
    },
    /// The text stops or goes astray.
    #[error("{}: line {line}, column {column}{}: {found} where {possible} is possible", path.display(), list.map(|l| format!(" (in `{l}`)")).unwrap_or_default())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Line, from 1.
        line: usize,
        /// Byte in the line, from 1.
        column: usize,
        /// The list that was being read.
        list: Option<&'static str>,
        /// What stands there.
        found: String,
        /// What may stand there.
        possible: &'static str,
    },
    /// One of the three lists is missing.
    #[error("{}: there is no list `{list}` (other keys: {})", path.display(), if found.is_empty() { "none".into() } else { found.join(", ") })]
    NoList {
        /// The file.
        path: PathBuf,
        /// The list.
        list: &'static str,
        /// The keys that are no such list.
        found: Vec<String>,
    },
    /// An entry lacks a key.
    #[error("{}: {entry} has no `{key}`", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// The key.
        key: &'static str,
    },
    /// A key of an entry has an impossible value.
    #[error("{}: {entry}: `{key}` is {found}; possible is {possible}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// What it may be.
        possible: &'static str,
    },
    /// An entry's mask is none.
    #[error("{}: {entry}: `segmentation`: {reason}", path.display())]
    Segmentation {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// Why.
        reason: SegmentationError,
    },
    /// An id that stands for nothing.
    #[error("{}: {entry} names {key} {found}, which `{list}` of {} does not list", path.display(), truth.display())]
    Unlisted {
        /// The file.
        path: PathBuf,
        /// The entry.
        entry: String,
        /// `image_id` or `category_id`.
        key: &'static str,
        /// The id.
        found: u64,
        /// Where it would be listed.
        list: &'static str,
        /// The file that would list it.
        truth: PathBuf,
    },
    /// An id that stands for two annotations.
    #[error("{}: the annotation id {id} occurs twice", path.display())]
    Repeated {
        /// The file.
        path: PathBuf,
        /// The id.
        id: u64,
    },
    /// A class that is no category.
    #[error("{}: no category is called `{found}`; possible are {}", path.display(), possible.join(", "))]
    UnknownClass {
        /// The file.
        path: PathBuf,
        /// The name.
        found: String,
        /// The names of the categories.
        possible: Vec<String>,
    },
    /// A readable file with an entry that would break a training.
    #[error("{0}")]
    Problem(Box<Problem>),
}

/// Why a segmentation has no pixels.
#[derive(Clone, Debug, Error, PartialEq)]
pub enum SegmentationError {
    /// Impossible polygons.
    #[error(transparent)]
    Polygon(#[from] PolygonError),
    /// An impossible RLE.
    #[error(transparent)]
    Rle(#[from] RleError),
    /// Neither of the two.
    #[error("{found} was found; possible are a list of polygons or an object with `size` and `counts`")]
    Form {
        /// How the text begins.
        found: String,
    },
    /// A mask of another size than its image, or than the mask it is compared with.
    #[error("the mask is {found_height} x {found_width} (height x width); possible is {height} x {width}")]
    Size {
        /// Rows of the mask.
        found_height: u32,
        /// Columns of the mask.
        found_width: u32,
        /// Rows it should have.
        height: u32,
        /// Columns it should have.
        width: u32,
    },
    /// A mask that is there and holds nothing.
    #[error("no pixel is set, so the object is learnt as background")]
    Empty,
    /// No pixels where pixels are needed.
    #[error("there is none, and masks are asked for")]
    Absent,
}

/// What was found while reading one entry, before it is known which entry that is.
#[derive(Debug)]
pub(crate) enum Found {
    Missing(&'static str),
    Value { key: &'static str, text: String, possible: &'static str },
    Syntax(JsonError),
}

impl From<JsonError> for Found {
    fn from(error: JsonError) -> Self {
        Self::Syntax(error)
    }
}

impl Found {
    /// Reads the value of a key.
    pub(crate) fn of<'a, T>(
        json: &mut Json<'a>,
        key: &'static str,
        read: impl FnOnce(&mut Json<'a>) -> Result<T, JsonError>,
    ) -> Result<T, Self> {
        read(json).map_err(|error| Self::value(json, key, error))
    }

    /// The value at `start` is not what `error` says is possible.
    pub(crate) fn value(start: &Json<'_>, key: &'static str, error: JsonError) -> Self {
        Self::other(start, key, error.possible)
    }

    /// The value at `start` is not `possible`.
    pub(crate) fn other(start: &Json<'_>, key: &'static str, possible: &'static str) -> Self {
        Self::Value { key, text: start.excerpt(), possible }
    }

    pub(crate) fn in_entry(
        self,
        source: &Source,
        list: &'static str,
        index: usize,
        span: Range<usize>,
    ) -> CocoError {
        let path = source.path.clone();
        let entry = entry_name(list, index, Json::part(&source.text, span).id());
        match self {
            Self::Missing(key) => CocoError::NoKey { path, entry, key },
            Self::Value { key, text, possible } => {
                CocoError::Value { path, entry, key, found: text, possible }
            }
            Self::Syntax(error) => source.syntax(error, Some(list)),
        }
    }
}

/// `annotations[3] (id 17)`, the way an entry is named in messages.
pub(crate) fn entry_name(list: &str, index: usize, id: Option<u64>) -> String {
    match id {
        Some(id) => format!("{list}[{index}] (id {id})"),
        None => format!("{list}[{index}]"),
    }
}

impl Json<'_> {
    /// How the next value begins.
    pub(crate) fn excerpt(&self) -> String {
        let mut ahead = self.clone();
        let text = ahead.peek().and_then(|_| ahead.skip().ok()).map(|range| ahead.text_of(range));
        match text {
            Some(text) if text.chars().count() > 60 => {
                format!("`{}..`", text.chars().take(60).collect::<String>())
            }
            Some(text) => format!("`{text}`"),
            None => "nothing".into(),
        }
    }

    /// The `id` of the entry that comes next, if it has one that can be read.
    fn id(&self) -> Option<u64> {
        let mut id = None;
        let walked = self.clone().object(|json, key| {
            if key == b"id" {
                id = Some(json.index()?)
            } else {
                json.skip().map(drop)?
            };
            Ok::<_, JsonError>(())
        });
        walked.ok().and(id).or(id)
    }
}

impl CocoError {
    pub(crate) fn syntax(path: &Path, text: &[u8], error: JsonError, list: Option<&'static str>) -> Self {
        let before = &text[..error.at.min(text.len())];
        let line_start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        let found = match text.get(error.at) {
            Some(&byte) => format!("`{}`", char::from(byte).escape_debug()),
            None => "the end of the file (cut short?)".into(),
        };
        Self::Syntax {
            path: path.to_owned(),
            line: before.iter().filter(|&&byte| byte == b'\n').count() + 1,
            column: before.len() - line_start + 1,
            list,
            found,
            possible: error.possible,
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: {}", self.path.display(), self.entry, self.what)
    }
}
