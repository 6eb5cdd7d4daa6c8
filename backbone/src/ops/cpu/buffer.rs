//! Float buffers: reused, aligned to cache lines, and split between tasks.

use core::cell::RefCell;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use std::sync::Mutex;

use rayon::prelude::*;

/// Zeros, written by all threads: memory that is used again has to be cleared, and one thread would keep the others waiting.
pub fn zeroed(len: usize) -> Vec<f32> {
    /// Floats that one task clears.
    const CHUNK: usize = 1 << 16;
    let mut values = Vec::with_capacity(len);
    let room = &mut values.spare_capacity_mut()[..len];
    room.par_chunks_mut(CHUNK).for_each(|chunk| chunk.fill(MaybeUninit::new(0.0)));
    // SAFETY: the first `len` values were just written.
    unsafe { values.set_len(len) };
    values
}

/// Sixteen floats: a cache line, and the widest vector register there is.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; LINE]);

/// Floats in a cache line.
const LINE: usize = 16;

impl core::fmt::Debug for Line {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("..")
    }
}

fn lines(count: usize) -> Vec<Line> {
    vec![Line([0.0; LINE]); count]
}

/// Memory lent out and returned. Fresh pages cost a quarter of what the arithmetic on them does, and
/// every training step asks for the same sizes again.
struct Pool {
    /// What was returned, oldest first.
    idle: Vec<Vec<Line>>,
    /// Lines that are idle, lent out, and were lent out at most at any time.
    idle_lines: usize,
    lent_lines: usize,
    most_lent: usize,
}

static POOL: Mutex<Pool> = Mutex::new(Pool { idle: Vec::new(), idle_lines: 0, lent_lines: 0, most_lent: 0 });

impl Pool {
    /// Takes the smallest buffer of `count` lines or more, if one is no more than twice too large.
    fn lend(&mut self, count: usize) -> Option<Vec<Line>> {
        let fitting = self.idle.iter().enumerate();
        let fitting = fitting.filter(|(_, lines)| (count..=2 * count).contains(&lines.len()));
        let found = fitting.min_by_key(|(_, lines)| lines.len()).map(|(index, _)| index);
        let lines = found.map(|index| self.idle.remove(index));
        let taken = lines.as_ref().map_or(0, Vec::len);
        self.idle_lines -= taken;
        self.lent_lines += taken.max(count);
        self.most_lent = self.most_lent.max(self.lent_lines);
        self.forget();
        lines
    }

    fn take_back(&mut self, lines: Vec<Line>) {
        self.lent_lines = self.lent_lines.saturating_sub(lines.len());
        self.idle_lines += lines.len();
        self.idle.push(lines);
        self.forget();
    }

    /// Idle memory never makes the whole larger than what was once needed at a time.
    fn forget(&mut self) {
        let mut oldest = 0;
        while oldest < self.idle.len() && self.idle_lines + self.lent_lines > self.most_lent {
            self.idle_lines -= self.idle[oldest].len();
            oldest += 1;
        }
        self.idle.drain(..oldest);
    }
}

/// Floats of unspecified value whose first lies on a cache line.
#[derive(Debug)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl Buffer {
    /// Room for `len` floats; what they hold is unspecified.
    pub(crate) fn new(len: usize) -> Self {
        let count = len.div_ceil(LINE);
        let lent = POOL.lock().ok().and_then(|mut pool| pool.lend(count));
        Self { lines: lent.unwrap_or_else(|| lines(count)), len }
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = core::mem::take(&mut self.lines);
        if let Ok(mut pool) = POOL.lock() {
            pool.take_back(lines);
        }
    }
}

impl Clone for Buffer {
    fn clone(&self) -> Self {
        let mut copy = Self::new(self.len);
        copy.copy_from_slice(self);
        copy
    }
}

impl Deref for Buffer {
    type Target = [f32];

    fn deref(&self) -> &[f32] {
        &floats(&self.lines)[..self.len]
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        &mut floats_mut(&mut self.lines)[..self.len]
    }
}

fn floats(lines: &[Line]) -> &[f32] {
    // SAFETY: a line is sixteen floats without gaps.
    unsafe { core::slice::from_raw_parts(lines.as_ptr().cast(), lines.len() * LINE) }
}

fn floats_mut(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: as in `floats`, and the borrow is exclusive.
    unsafe { core::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * LINE) }
}

/// Calls `work` with `N` buffers of this thread, of the given lengths and unspecified content.
pub(crate) fn with_scratch<const N: usize, R>(
    lengths: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<Vec<Line>>> = const { RefCell::new(Vec::new()) };
    }
    // Taken out while in use: a task that starts another on this thread finds none and makes its own.
    let mut buffers = SCRATCH.take();
    if buffers.len() < N {
        buffers.resize_with(N, Vec::new);
    }
    let mut unused = buffers.iter_mut();
    let parts = lengths.map(|len| match unused.next() {
        Some(buffer) => {
            if buffer.len() * LINE < len {
                *buffer = lines(len.div_ceil(LINE));
            }
            &mut floats_mut(buffer)[..len]
        }
        None => unreachable!("there are N buffers"),
    });
    let result = work(parts);
    SCRATCH.set(buffers);
    result
}

/// A mutable slice handed to several tasks, each of which writes its own part.
#[derive(Clone, Copy)]
pub(crate) struct Shared {
    start: *mut f32,
    len: usize,
}

// SAFETY: access goes through `part`, whose callers promise that parts in use do not overlap.
unsafe impl Send for Shared {}
// SAFETY: as above.
unsafe impl Sync for Shared {}

impl Shared {
    pub(crate) fn new(slice: &mut [f32]) -> Self {
        Self { start: slice.as_mut_ptr(), len: slice.len() }
    }

    /// The floats `start..start + len`.
    ///
    /// # Safety
    /// The slice behind must be alive, and no other part in use may overlap this one.
    pub(crate) unsafe fn part<'a>(self, start: usize, len: usize) -> &'a mut [f32] {
        assert!(start + len <= self.len, "a part ends beyond its buffer");
        // SAFETY: in bounds by the assertion, exclusive by the caller's promise.
        unsafe { core::slice::from_raw_parts_mut(self.start.add(start), len) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn idle_memory_is_used_again_and_bounded_by_what_was_needed_at_once() {
        let mut pool = Pool { idle: Vec::new(), idle_lines: 0, lent_lines: 0, most_lent: 0 };
        for count in [10, 6] {
            assert!(pool.lend(count).is_none());
        }
        pool.take_back(lines(10));
        pool.take_back(lines(6));
        assert_eq!((pool.idle_lines, pool.lent_lines, pool.most_lent), (16, 0, 16));
        assert_eq!(pool.lend(5).map(|lines| lines.len()), Some(6));
        // Nothing fits: the oldest makes room.
        assert!(pool.lend(9).is_some_and(|lines| lines.len() == 10));
        pool.take_back(lines(10));
        assert!(pool.lend(2).is_none());
        assert_eq!((pool.idle_lines, pool.lent_lines), (0, 8));
    }
}
