//! Labels of pixels as tensors that can be computed with.

use burn::prelude::*;

/// The truth of a batch: `[batch, 1, height, width]` each.
#[derive(Clone, Debug)]
pub(crate) struct Truth {
    /// The class of each pixel, class 0 where it is ignored.
    pub(crate) classes: Tensor<4, Int>,
    /// One, or zero where it is ignored.
    pub(crate) counted: Tensor<4>,
}

impl Truth {
    /// From `[batch, height, width]`.
    pub(crate) fn new(labels: Tensor<3, Int>, ignore_label: usize) -> Self {
        let labels = labels.unsqueeze_dim::<4>(1);
        let ignored = labels.clone().equal_elem(ignore_label as i32);
        Self { classes: labels.mask_fill(ignored.clone(), 0), counted: ignored.bool_not().float() }
    }

    /// One where a pixel is of a class, else zero, and zero throughout where it is ignored:
    /// `[batch, classes, height, width]`.
    pub(crate) fn one_hot(&self, num_classes: usize) -> Tensor<4> {
        let device = self.counted.device();
        let indices =
            Tensor::<1, Int>::arange(0..num_classes as i64, &device).reshape([1, num_classes, 1, 1]);
        self.classes.clone().equal(indices).float() * self.counted.clone()
    }
}
