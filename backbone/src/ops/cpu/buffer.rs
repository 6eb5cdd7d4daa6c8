//! Float buffers: reused, aligned to cache lines, and split between tasks.

use core::cell::RefCell;
use core::ops::{Deref, DerefMut};
use std::sync::Mutex;

/// Sixteen floats: a cache line, and the widest vector register there is.
#[repr(C, align(64))]
#[derive(Clone, Copy)]
struct Line([f32; LINE]);

/// Floats in a cache line.
const LINE: usize = 16;

/// Memory that is not in use, largest last. Fresh pages cost a quarter of what the arithmetic on them
/// does, and every training step asks for the same sizes again.
static IDLE: Mutex<Vec<Vec<Line>>> = Mutex::new(Vec::new());

/// Buffers kept for later. More than a network's blocks hold at once would never be asked for again.
const MOST_IDLE: usize = 64;

/// Floats of unspecified value whose first lies on a cache line.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    lines: Vec<Line>,
    len: usize,
}

impl core::fmt::Debug for Line {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("..")
    }
}

impl Buffer {
    /// Room for `len` floats; what they hold is unspecified.
    pub(crate) fn new(len: usize) -> Self {
        let lines = len.div_ceil(LINE);
        if let Ok(mut idle) = IDLE.lock() {
            // Best fit, but no more than twice too large.
            let fit = idle.partition_point(|buffer| buffer.len() < lines);
            if idle.get(fit).is_some_and(|buffer| buffer.len() <= 2 * lines) {
                return Self { lines: idle.remove(fit), len };
            }
        }
        Self { lines: vec![Line([0.0; LINE]); lines], len }
    }

    /// Room for `len` floats, in place.
    fn resize(&mut self, len: usize) {
        let lines = len.div_ceil(LINE);
        if lines > self.lines.len() {
            self.lines = vec![Line([0.0; LINE]); lines];
        }
        self.len = len;
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = core::mem::take(&mut self.lines);
        if lines.is_empty() {
            return;
        }
        if let Ok(mut idle) = IDLE.lock() {
            let place = idle.partition_point(|buffer| buffer.len() < lines.len());
            idle.insert(place, lines);
            if idle.len() > MOST_IDLE {
                idle.remove(0);
            }
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
        // SAFETY: `lines` holds at least `len` floats, without gaps.
        unsafe { core::slice::from_raw_parts(self.lines.as_ptr().cast(), self.len) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as in `deref`, and the borrow is exclusive.
        unsafe { core::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.len) }
    }
}

/// Calls `work` with `N` buffers of this thread, of the given lengths and unspecified content.
pub(crate) fn with_scratch<const N: usize, R>(
    lengths: [usize; N],
    work: impl FnOnce([&mut [f32]; N]) -> R,
) -> R {
    thread_local! {
        static SCRATCH: RefCell<Vec<Buffer>> = const { RefCell::new(Vec::new()) };
    }
    // Taken out while in use: a task that starts another on this thread finds none and makes its own.
    let mut buffers = SCRATCH.take();
    if buffers.len() < N {
        buffers.resize_with(N, Buffer::default);
    }
    for (buffer, len) in buffers.iter_mut().zip(lengths) {
        buffer.resize(len);
    }
    let mut parts = buffers.iter_mut();
    let parts = lengths.map(|len| match parts.next() {
        Some(buffer) => &mut buffer[..len],
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
