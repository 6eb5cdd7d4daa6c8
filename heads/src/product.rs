//! A product of two matrices that lie anywhere in memory, by the `gemm` crate, computed by one thread.

use gemm::Parallelism;

/// A matrix to read: element `(i, j)` is `data[i * row + j * column]`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    pub(crate) data: &'a [f32],
    pub(crate) row: usize,
    pub(crate) column: usize,
}

impl Matrix<'_> {
    fn holds(self, rows: usize, columns: usize) -> bool {
        (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// `left[rows, depth] . right[depth, columns]`, computed by one thread.
pub(crate) struct Product<'a> {
    /// Rows, columns, depth.
    pub(crate) sizes: [usize; 3],
    pub(crate) left: Matrix<'a>,
    pub(crate) right: Matrix<'a>,
}

impl Product<'_> {
    /// Writes the product, rows `stride` floats apart, or adds it to what is there.
    pub(crate) fn write(self, output: &mut [f32], stride: usize, add: bool) {
        let Self { sizes: [rows, columns, depth], left, right } = self;
        if rows == 0 || columns == 0 || depth == 0 {
            return;
        }
        assert!(
            columns <= stride && (rows - 1) * stride + columns <= output.len(),
            "the output is too short"
        );
        assert!(left.holds(rows, depth), "the left factor is too short");
        assert!(right.holds(depth, columns), "the right factor is too short");
        let alpha = if add { 1.0 } else { 0.0 };
        // SAFETY: the assertions above keep every element that the product reads or writes within its
        // slice; rows of the output do not overlap.
        unsafe {
            gemm::gemm(
                rows,
                columns,
                depth,
                output.as_mut_ptr(),
                1,
                stride as isize,
                add,
                left.data.as_ptr(),
                left.column as isize,
                left.row as isize,
                right.data.as_ptr(),
                right.column as isize,
                right.row as isize,
                alpha,
                1.0,
                false,
                false,
                false,
                Parallelism::None,
            );
        }
    }
}
