//! Numbers of one parameter's size, flat, where it is quickest to work on them: a host slice on Flex, else a tensor.

use burn::tensor::{DType, Device, Tensor, TensorData};
use rayon::prelude::*;

/// Values handled by one thread at a time. Fixed, so that sums do not depend on the number of threads.
pub(crate) const CHUNK: usize = 1 << 15;

/// Flat values: a gradient, or a moment of the optimizer.
#[derive(Clone, Debug)]
pub(crate) enum Values {
    /// On the CPU; a fused pass over slices beats ten tensor operations.
    Host(TensorData),
    /// On another device, without autodiff.
    Device(Tensor<1>),
}

impl Values {
    /// Takes a plain tensor's values.
    pub(crate) fn new<const D: usize>(plain: Tensor<D>) -> Self {
        if plain.device() == Device::flex() {
            return Self::Host(plain.into_data());
        }
        let num_values = plain.shape().num_elements();
        Self::Device(plain.reshape([num_values]))
    }

    /// Values read from a file, put where a device's gradients will lie.
    pub(crate) fn from_data(data: TensorData, device: &Device) -> Self {
        let num_values = data.num_elements();
        let flat = TensorData::from_bytes(data.into_bytes(), [num_values], DType::F32);
        if *device == Device::flex() {
            Self::Host(flat)
        } else {
            Self::Device(Tensor::from_data(flat, device))
        }
    }

    /// As many zeros as `self` has values, in the same place.
    pub(crate) fn zeros_like(&self) -> Self {
        match self {
            Self::Host(data) => Self::Host(TensorData::zeros::<f32, _>([data.num_elements()])),
            Self::Device(tensor) => Self::Device(tensor.zeros_like()),
        }
    }

    /// The values with a shape, on the host.
    pub(crate) fn to_data(&self, shape: &[usize]) -> TensorData {
        let data = match self {
            Self::Host(data) => data.clone(),
            Self::Device(tensor) => tensor.to_data(),
        };
        TensorData::from_bytes(data.into_bytes(), shape.to_vec(), DType::F32)
    }

    /// Goes the share `weight` of the way to `other`, value by value; what is there already stays, to the last bit.
    ///
    /// # Panics
    /// If the two lie in different places or differ in length.
    pub(crate) fn towards(self, other: Self, weight: f64) -> Self {
        let weight = weight as f32;
        match (self, other) {
            (Self::Host(mut from), Self::Host(to)) => {
                let (values, towards) = (slice_mut(&mut from), slice(&to));
                assert_eq!(values.len(), towards.len(), "number of values");
                let pairs = values.par_chunks_mut(CHUNK).zip(towards.par_chunks(CHUNK));
                pairs.for_each(|(values, towards)| {
                    values.iter_mut().zip(towards).for_each(|(value, to)| *value += (to - *value) * weight);
                });
                Self::Host(from)
            }
            (Self::Device(from), Self::Device(to)) => Self::Device(from.clone() + (to - from) * weight),
            _ => panic!("a parameter and its average lie on two devices"),
        }
    }

    /// Adds `other`, value by value.
    ///
    /// # Panics
    /// If the two lie in different places or differ in length.
    pub(crate) fn add(self, other: Self) -> Self {
        match (self, other) {
            (Self::Host(mut sum), Self::Host(other)) => {
                let (to, from) = (slice_mut(&mut sum), slice(&other));
                assert_eq!(to.len(), from.len(), "number of values");
                let pairs = to.par_chunks_mut(CHUNK).zip(from.par_chunks(CHUNK));
                pairs.for_each(|(to, from)| to.iter_mut().zip(from).for_each(|(to, from)| *to += from));
                Self::Host(sum)
            }
            (Self::Device(sum), Self::Device(other)) => Self::Device(sum + other),
            _ => panic!("gradients of one parameter lie on two devices"),
        }
    }
}

/// The host values of parameters, gradients and moments, which are all `f32`.
///
/// # Panics
/// If they are not.
pub(crate) fn slice(data: &TensorData) -> &[f32] {
    data.as_slice().unwrap_or_else(|e| panic!("values on the CPU are f32: {e}"))
}

/// As [`slice`], to be written.
///
/// # Panics
/// If they are not `f32`.
pub(crate) fn slice_mut(data: &mut TensorData) -> &mut [f32] {
    data.as_mut_slice().unwrap_or_else(|e| panic!("values on the CPU are f32: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_go_the_same_way_as_host_values() {
        let tensor = |values: [f32; 3]| Tensor::<1>::from_floats(values, &Device::flex());
        let (from, to) = (tensor([1.0, -2.0, 0.1]), tensor([2.0, -2.0, 7.0]));
        let host = Values::new(from.clone()).towards(Values::new(to.clone()), 0.25);
        let device = Values::Device(from).towards(Values::Device(to), 0.25);
        let (host, device) = (host.to_data(&[3]), device.to_data(&[3]));
        assert_eq!(slice(&host), [1.25, -2.0, 1.825]);
        assert_eq!(slice(&device), slice(&host));
    }
}
