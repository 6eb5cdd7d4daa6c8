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

/// The values of a tensor of whole numbers below 256, row-major. The device is waited for.
///
/// # Panics
/// If one is larger, and when the device cannot be read.
pub(crate) fn read_bytes<const D: usize>(tensor: Tensor<D, Int>) -> Vec<u8> {
    match tensor.try_into_vec_as::<i32>() {
        Ok(values) => values.into_iter().map(|value| u8::try_from(value).expect("a byte")).collect(),
        Err(error) => panic!("a tensor could not be read from its device: {error}"),
    }
}

/// A loss of zero whose backward pass still reaches everything that made `tensor`: a step without
/// objects then has a gradient for every parameter, all of them zero.
pub(crate) fn connected_zero<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    tensor.sum() * 0.0
}

/// The class of each pixel, row-major, nothing where a label is `ignored`. The device is waited for.
///
/// # Panics
/// If a label is neither a class nor `ignored`, and when the device cannot be read.
pub(crate) fn read_labels(labels: Tensor<3, Int>, ignored: usize, num_classes: usize) -> Vec<Option<u32>> {
    let class = |label: i32| {
        if label as usize == ignored {
            return None;
        }
        assert!((0..num_classes as i32).contains(&label), "label {label} of {num_classes} classes");
        Some(label as u32)
    };
    match labels.try_into_vec_as::<i32>() {
        Ok(labels) => labels.into_iter().map(class).collect(),
        Err(error) => panic!("labels could not be read from their device: {error}"),
    }
}
