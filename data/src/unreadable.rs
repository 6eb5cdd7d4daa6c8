//! Images that cannot be read: counted, left out up to a limit, and told in the end.
//!
//! Among a million images from elsewhere some are damaged, and a run of days must not end at the first. So a sample that
//! cannot be read is replaced by the next one that can; which one that is depends on the files alone.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::sample::DataError;

/// The images of a data set that could not be read so far, and how many there may be.
#[derive(Debug)]
pub struct Unreadable {
    limit: usize,
    found: Mutex<BTreeMap<usize, String>>,
}

impl Unreadable {
    /// Leaves out up to `limit` images; with 0 the first one is an error.
    pub fn at_most(limit: usize) -> Self {
        Self { limit, found: Mutex::default() }
    }

    /// What is wrong with each image that was left out, in the order of the data set.
    pub fn messages(&self) -> Vec<String> {
        self.found().values().cloned().collect()
    }

    /// The first of the samples `index`, `index + 1`, .. that `read` can read, the first one following the last.
    ///
    /// # Errors
    /// When more images than the limit turn out to be unreadable.
    pub(crate) fn first_readable<T>(
        &self,
        index: usize,
        len: usize,
        read: impl Fn(usize) -> Result<T, DataError>,
    ) -> Result<T, DataError> {
        let mut candidates = (index..len).chain(0..index);
        loop {
            let Some(candidate) = candidates.next() else {
                // All are known to be unreadable, which the limit allowed; any of them says why.
                return read(index);
            };
            if self.found().contains_key(&candidate) {
                continue;
            }
            let error = match read(candidate) {
                Ok(sample) => return Ok(sample),
                Err(error) => error,
            };
            let mut found = self.found();
            found.insert(candidate, error.to_string());
            if found.len() > self.limit {
                // Without a limit to speak of, the error is enough.
                return Err(if self.limit == 0 {
                    error
                } else {
                    let (unreadable, limit, last) = (found.len(), self.limit, Box::new(error));
                    DataError::TooManyUnreadable { unreadable, limit, last }
                });
            }
        }
    }

    /// No code that can panic runs under the lock, so a poisoned one is as good as any.
    fn found(&self) -> MutexGuard<'_, BTreeMap<usize, String>> {
        self.found.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image_file::read_image;

    /// Samples of which only those at `good` can be read.
    fn read(good: &[usize]) -> impl Fn(usize) -> Result<usize, DataError> {
        move |index| {
            if good.contains(&index) {
                return Ok(index);
            }
            Err(read_image(format!("{index}.png").as_ref()).unwrap_err().into())
        }
    }

    #[test]
    fn the_next_readable_image_takes_the_place_of_one_that_is_not() {
        let unreadable = Unreadable::at_most(3);
        for (index, expected) in [(0, 1), (1, 1), (2, 4), (3, 4), (5, 1)] {
            assert_eq!(unreadable.first_readable(index, 6, read(&[1, 4])).unwrap(), expected);
            if index == 3 {
                assert_eq!(unreadable.messages().len(), 3, "0, 2 and 3");
                break;
            }
        }
        // Known ones are not counted again.
        assert_eq!(unreadable.first_readable(2, 6, read(&[1, 4])).unwrap(), 4);
    }

    #[test]
    fn one_more_than_the_limit_is_an_error_that_names_the_last() {
        let unreadable = Unreadable::at_most(1);
        let error = unreadable.first_readable(0, 3, read(&[])).unwrap_err().to_string();
        assert!(
            error.starts_with("2 images cannot be read, at most 1 may be left out; the last: 1.png"),
            "{error}"
        );
        let error = Unreadable::at_most(0).first_readable(2, 3, read(&[])).unwrap_err().to_string();
        assert!(error.starts_with("2.png: "), "{error}");
    }

    #[test]
    fn where_nothing_can_be_read_the_search_ends() {
        let unreadable = Unreadable::at_most(9);
        for _ in 0..2 {
            assert!(unreadable.first_readable(1, 3, read(&[])).is_err());
        }
    }
}
