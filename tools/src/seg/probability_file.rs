//! Probabilities of one image as a NumPy file, written band by band.

use std::path::Path;

use anyhow::Result;
use cvx_heads::Band;

use crate::train::atomic_file::Replacement;

/// Sizes of the header, of the magic bytes and the length to the line's end; NumPy aligns data to this.
const HEADER_ALIGNMENT: usize = 64;

/// A `.npy` file of little-endian float32 `[classes, height, width]` that takes its place once it is whole.
pub(super) struct ProbabilityFile {
    replacement: Replacement,
    header_bytes: usize,
    height: usize,
    width: usize,
}

impl ProbabilityFile {
    /// Begins a file that will lie at `path`; without [`ProbabilityFile::commit`] an older one stays.
    pub(super) fn begin(path: &Path, num_classes: usize, height: usize, width: usize) -> Result<Self> {
        let header = header([num_classes, height, width]);
        let mut replacement = Replacement::begin(path)?;
        replacement.write(|file| Ok(file.write_all(&header)?))?;
        Ok(Self { replacement, header_bytes: header.len(), height, width })
    }

    /// Puts some rows of all classes in their places.
    pub(super) fn write(&mut self, Band { rows, classes: _, probabilities }: &Band) -> Result<()> {
        for (class, plane) in probabilities.chunks_exact(rows.len() * self.width).enumerate() {
            let place = (class * self.height + rows.start) * self.width * size_of::<f32>();
            self.replacement.seek((self.header_bytes + place) as u64)?;
            let bytes: Vec<u8> = plane.iter().flat_map(|value| value.to_le_bytes()).collect();
            self.replacement.write(|file| Ok(file.write_all(&bytes)?))?;
        }
        Ok(())
    }

    /// Puts the file in the place of an older one.
    pub(super) fn commit(self) -> Result<()> {
        self.replacement.commit()
    }
}

/// What stands before the numbers: version 1.0 of the format, <https://numpy.org/doc/stable/reference/generated/numpy.lib.format.html>.
fn header([classes, height, width]: [usize; 3]) -> Vec<u8> {
    let mut text =
        format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({classes}, {height}, {width}), }}");
    let before = b"\x93NUMPY\x01\x00".len() + size_of::<u16>();
    let length = (before + text.len() + 1).next_multiple_of(HEADER_ALIGNMENT) - before;
    text = format!("{text:<0$}\n", length - 1);
    let mut header = b"\x93NUMPY\x01\x00".to_vec();
    header.extend((length as u16).to_le_bytes());
    header.extend(text.into_bytes());
    header
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_numbers_begin_where_numpy_aligns_them() {
        let header = header([150, 512, 683]);
        assert_eq!(header.len() % HEADER_ALIGNMENT, 0);
        assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])) + 10, header.len());
        assert!(header.ends_with(b" \n"));
    }

    #[test]
    fn bands_of_any_height_fill_the_planes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("p.npy");
        let mut file = ProbabilityFile::begin(&path, 2, 3, 1).unwrap();
        let band = |rows: std::ops::Range<usize>, probabilities: &[f32]| Band {
            rows,
            classes: Vec::new(),
            probabilities: probabilities.into(),
        };
        file.write(&band(0..2, &[1.0, 2.0, 4.0, 5.0])).unwrap();
        file.write(&band(2..3, &[3.0, 6.0])).unwrap();
        assert!(!path.exists());
        file.commit().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let values: Vec<f32> =
            bytes[bytes.len() - 24..].as_chunks().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    }
}
