//! The hatch between arithmetic on the host and tensors that carry gradients.

use burn::prelude::*;

/// A list of numbers as a tensor.
pub(crate) fn floats(values: Vec<f32>, device: &Device) -> Tensor<1> {
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

/// A list of rows to select.
pub(crate) fn indices(values: Vec<i32>, device: &Device) -> Tensor<1, Int> {
    let length = values.len();
    Tensor::from_data(TensorData::new(values, [length]), device)
}

/// The values of a tensor, row-major. The device is waited for.
///
/// # Panics
/// When the device cannot be read.
pub(crate) fn read_floats<const D: usize>(tensor: Tensor<D>) -> Vec<f32> {
    match tensor.try_into_vec_as::<f32>() {
        Ok(values) => values,
        Err(error) => panic!("a tensor could not be read from its device: {error}"),
    }
}

/// A loss of zero whose backward pass still reaches everything that made `tensor`: a step without
/// objects then has a gradient for every parameter, all of them zero.
pub(crate) fn connected_zero<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    tensor.sum() * 0.0
}
