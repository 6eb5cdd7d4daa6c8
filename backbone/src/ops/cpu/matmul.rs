//! One thread's matrix product: a safe face on the `gemm` crate, whose tasks we cut ourselves.

use gemm::Parallelism;

/// A matrix to read: element `(row, column)` is `data[row * row_stride + column * column_stride]`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// Rows of `stride` floats, one after the other. A row may be wider than the stride: rows overlap then.
    pub fn rows(data: &'a [f32], stride: usize) -> Self {
        Self { data, row_stride: stride, column_stride: 1 }
    }

    /// The transpose of [`rows`](Self::rows).
    pub fn columns(data: &'a [f32], stride: usize) -> Self {
        Self { data, row_stride: 1, column_stride: stride }
    }

    fn holds(self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row_stride + (columns - 1) * self.column_stride < self.data.len()
    }
}

/// What a product does with what its output holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Write {
    /// Adds to it.
    Add,
    /// Replaces it.
    Replace,
}

impl Write {
    /// The term number `index`, from 0, of a sum of products: the first replaces, the others add.
    pub fn term(index: usize) -> Self {
        if index == 0 { Self::Replace } else { Self::Add }
    }
}

/// `output[rows, columns] (+)= left[rows, depth] . right[depth, columns]`, output rows `stride` floats apart.
///
/// The order of summation depends on the sizes alone.
///
/// # Panics
/// If a matrix or the output is too short for the sizes, or rows of the output overlap.
pub fn multiply(
    [rows, columns, depth]: [usize; 3],
    output: &mut [f32],
    stride: usize,
    write: Write,
    left: Matrix<'_>,
    right: Matrix<'_>,
) {
    assert!(left.holds(rows, depth), "the left matrix is too short");
    assert!(right.holds(depth, columns), "the right matrix is too short");
    assert!(rows == 0 || (rows - 1) * stride + columns <= output.len(), "the output is too short");
    assert!(columns <= stride, "output rows overlap");
    // SAFETY: the three matrices lie within their slices by the assertions above, and the output is
    // borrowed exclusively.
    unsafe {
        gemm::gemm(
            rows,
            columns,
            depth,
            output.as_mut_ptr(),
            1,
            stride as isize,
            write == Write::Add,
            left.data.as_ptr(),
            left.column_stride as isize,
            left.row_stride as isize,
            right.data.as_ptr(),
            right.column_stride as isize,
            right.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}
