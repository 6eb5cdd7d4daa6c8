//! A slice whose parts tasks fill in at places that lie scattered, as rows of several matrices do.

use std::marker::PhantomData;

/// A slice that several tasks write.
pub(crate) struct Scattered<'a> {
    values: *mut f32,
    len: usize,
    borrowed: PhantomData<&'a mut [f32]>,
}

// SAFETY: `range` is the only way to what it points to, and its callers keep tasks apart.
unsafe impl Sync for Scattered<'_> {}

impl<'a> Scattered<'a> {
    /// Of a slice that nobody else has meanwhile.
    pub(crate) fn new(values: &'a mut [f32]) -> Self {
        Self { values: values.as_mut_ptr(), len: values.len(), borrowed: PhantomData }
    }

    /// Floats `begin..begin + len`.
    ///
    /// # Panics
    /// If they are not within the slice.
    ///
    /// # Safety
    /// Nobody else may write the same floats, or read them, at the same time.
    #[expect(clippy::mut_from_ref, reason = "tasks write different parts of one slice")]
    pub(crate) unsafe fn range(&self, begin: usize, len: usize) -> &mut [f32] {
        assert!(begin <= self.len && len <= self.len - begin, "beyond the end");
        // SAFETY: within the slice that this was made of, as was just checked; the caller keeps others out.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(begin), len) }
    }
}
