//! The text of a COCO file, and its lists read by several workers at once.
//!
//! A file is read in parallel. So is a long list: it is cut into blocks at places that look like the start of an entry,
//! and every worker reads its block until the next begins. A cut was right if the worker before arrives exactly there;
//! if one does not (an entry may hold lists of objects itself), reading goes on from where it did arrive. So the
//! entries are those that one worker would find, and the file is walked once.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rayon::prelude::*;

use crate::coco_error::{CocoError, Found};
use crate::coco_json::{Json, JsonError};

/// A source as annotations that were read together hold it: they count their references by themselves, so that threads
/// do not wait for one another's count.
pub(crate) type SharedSource = Arc<Arc<Source>>;

/// A file's text, which its entries refer to.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) text: Vec<u8>,
}

/// Where an entry or a value stands in the text; empty where there is none. Twelve bytes for each of a million.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    start: [u32; 2],
    len: u32,
}

/// Bytes that a worker reads at a time.
const READ_BYTES: usize = 4 << 20;
/// Bytes of a list that a worker takes at first. The end of a list is not known before, so what the last workers read
/// may lie behind it.
const FIRST_BLOCK: usize = 128 << 10;
/// Bytes of a list that a worker takes at most.
const LARGEST_BLOCK: usize = 4 << 20;

impl Span {
    /// `None` from 4 GiB on.
    pub(crate) fn of(range: Range<usize>) -> Option<Self> {
        let len = u32::try_from(range.len()).ok()?;
        let start = range.start as u64;
        Some(Self { start: [start as u32, (start >> 32) as u32], len })
    }

    pub(crate) fn range(self) -> Range<usize> {
        let [low, high] = self.start.map(u64::from);
        let start = (low | high << 32) as usize;
        start..start + self.len as usize
    }

    pub(crate) fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// What one worker found.
struct Block<T> {
    entries: Vec<T>,
    /// Where it stopped: before an entry, or behind the list.
    at: usize,
    is_last: bool,
}

impl Source {
    pub(crate) fn open(path: &Path) -> Result<Self, CocoError> {
        let failed = |reason| CocoError::Read { path: path.to_owned(), reason };
        Ok(Self { path: path.to_owned(), text: read_file(path).map_err(failed)? })
    }

    /// The entries of the list that comes next, in blocks; `None` if anything is amiss, which [`Source::spans`] and
    /// [`Source::read_entries`] explain. `reader` is called once for every block.
    pub(crate) fn read_list<T: Send, R: FnMut(&mut Json<'_>) -> Result<T, Found>>(
        &self,
        json: &mut Json<'_>,
        reader: impl Fn() -> R + Sync,
    ) -> Option<Vec<Vec<T>>> {
        let mut lists = Vec::new();
        if json.take_empty_list() {
            return Some(lists);
        }
        json.enter_list().ok()?;
        let mut bytes = FIRST_BLOCK;
        loop {
            let mut starts = vec![json.position()];
            for worker in 1..rayon::current_num_threads().max(1) {
                let from = json.position() + worker * bytes;
                starts.extend(self.likely_entry(from..from + bytes));
            }
            let ends = starts.iter().skip(1).copied().chain([json.position() + starts.len() * bytes]);
            let blocks: Vec<_> = starts
                .par_iter()
                .zip(ends.collect::<Vec<_>>())
                .map(|(start, end)| self.read_block(*start, end, reader()))
                .collect();
            for (block, start) in blocks.into_iter().zip(starts) {
                if start != json.position() {
                    break;
                }
                let block = block?;
                lists.push(block.entries);
                json.go_to(block.at);
                if block.is_last {
                    return Some(lists);
                }
            }
            bytes = (bytes * 2).min(LARGEST_BLOCK);
        }
    }

    /// The first `{` after a `}` and a comma.
    fn likely_entry(&self, range: Range<usize>) -> Option<usize> {
        let text = self.text.get(range.start..range.end.min(self.text.len()))?;
        let mut closed = false;
        let mut comma = false;
        for (step, byte) in text.iter().enumerate() {
            match byte {
                b'}' => (closed, comma) = (true, false),
                b',' if closed && !comma => comma = true,
                b'{' if comma => return Some(range.start + step),
                b' ' | b'\n' | b'\r' | b'\t' => {}
                _ => (closed, comma) = (false, false),
            }
        }
        None
    }

    /// Entries from `start` until one begins at or after `end`, or the list ends.
    fn read_block<T>(
        &self,
        start: usize,
        end: usize,
        mut read: impl FnMut(&mut Json<'_>) -> Result<T, Found>,
    ) -> Option<Block<T>> {
        let mut json = Json::part(&self.text, start..self.text.len());
        let mut entries = Vec::new();
        loop {
            json.peek();
            if json.position() >= end {
                return Some(Block { entries, at: json.position(), is_last: false });
            }
            entries.push(read(&mut json).ok()?);
            if entries.len() == 1 {
                let bytes = (json.position() - start).max(1);
                entries.reserve(end.saturating_sub(start) / bytes);
            }
            if json.leave_list().ok()? {
                return Some(Block { entries, at: json.position(), is_last: true });
            }
        }
    }

    /// Where the entries of the list that comes next stand.
    pub(crate) fn spans(&self, json: &mut Json<'_>) -> Result<Vec<Span>, JsonError> {
        let mut spans = Vec::new();
        json.list(|json| {
            let range = json.skip()?;
            match Span::of(range) {
                Some(span) => spans.push(span),
                None => return json.error("an entry of less than 4 GiB"),
            }
            Ok(())
        })?;
        Ok(spans)
    }

    /// Reads entries one by one, and names the first that cannot be read.
    pub(crate) fn read_entries<T>(
        &self,
        list: &'static str,
        spans: &[Span],
        mut read: impl FnMut(&mut Json<'_>) -> Result<T, Found>,
    ) -> Result<Vec<T>, CocoError> {
        let read_or_explain = |(index, span): (usize, &Span)| {
            read(&mut Json::part(&self.text, span.range()))
                .map_err(|found| found.in_entry(self, list, index, span.range()))
        };
        spans.iter().enumerate().map(read_or_explain).collect()
    }

    pub(crate) fn syntax(&self, error: JsonError, list: Option<&'static str>) -> CocoError {
        CocoError::syntax(&self.path, &self.text, error, list)
    }
}

/// The bytes of a file; of a long one, by several workers, who touch their share of the memory first.
fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    let len = usize::try_from(metadata.len()).unwrap_or(usize::MAX);
    if !metadata.is_file() || len <= READ_BYTES {
        return fs::read(path);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileExt;
        let mut text = vec![0; len];
        let read =
            |(index, block): (usize, &mut [u8])| file.read_exact_at(block, (index * READ_BYTES) as u64);
        text.par_chunks_mut(READ_BYTES).enumerate().try_for_each(read)?;
        Ok(text)
    }
    #[cfg(not(unix))]
    fs::read(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The whole numbers in the entries of a list, read in blocks.
    fn ids(text: &str) -> Option<Vec<u64>> {
        let source = Source { path: "t.json".into(), text: text.as_bytes().to_vec() };
        let mut json = Json::new(&source.text);
        let reader = || {
            |json: &mut Json<'_>| {
                let mut id = 0;
                json.object(|json, key| {
                    if key == b"id" {
                        id = json.index()?
                    } else {
                        json.skip().map(drop)?
                    };
                    Ok::<_, Found>(())
                })?;
                Ok(id)
            }
        };
        let lists = source.read_list(&mut json, reader)?;
        json.finish().ok()?;
        Some(lists.into_iter().flatten().collect())
    }

    #[test]
    fn blocks_hold_every_entry_once_and_in_order() {
        for count in [0, 1, 2, 70_000] {
            let plain = |id: u64| format!("{{\"id\": {id}, \"a\": \"}}, {{\"}}");
            let nested = |id: u64| format!("{{\"a\": [{{\"id\": 3}} , {{\"id\": 4}},\n{{}}], \"id\":{id}}}");
            for entry in [&plain as &dyn Fn(u64) -> String, &nested] {
                let entries: Vec<String> = (0..count).map(entry).collect();
                let expected: Vec<u64> = (0..count).collect();
                assert_eq!(ids(&format!(" [{} ] ", entries.join(" ,"))), Some(expected));
            }
        }
    }

    #[test]
    fn anything_amiss_is_left_to_be_explained() {
        let entries = "{\"id\": 1},".repeat(60_000);
        assert!(ids(&format!("[{entries}{{}}]")).is_some());
        for end in ["", "]", "{}", "{]", "{}]]", "{\"id\": -1}]"] {
            assert_eq!(ids(&format!("[{entries}{end}")), None, "{end}");
        }
    }

    #[test]
    fn a_span_reaches_beyond_four_gigabytes() {
        let range = (5usize << 32) + 7..(5usize << 32) + 9;
        assert_eq!(Span::of(range.clone()).map(Span::range), Some(range));
        assert_eq!(Span::of(0..1 << 32), None);
    }
}
