//! Numbers of a file as `f32`: halves are widened exactly, doubles rounded.

use burn::tensor::{bf16, f16};

/// How a file holds the numbers of a tensor, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FloatType {
    /// Four bytes.
    F32,
    /// Two bytes, IEEE.
    F16,
    /// Two bytes, the upper half of an `f32`.
    Bf16,
    /// Eight bytes.
    F64,
}

impl FloatType {
    /// Bytes of one number.
    pub(crate) fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::F64 => 8,
        }
    }
}

/// The numbers in `bytes`; a rest too short for a number is left out.
pub(crate) fn f32_values(bytes: Vec<u8>, from: FloatType) -> Vec<f32> {
    fn each<const SIZE: usize>(bytes: &[u8], to_f32: impl Fn([u8; SIZE]) -> f32) -> Vec<f32> {
        bytes.as_chunks::<SIZE>().0.iter().map(|&number| to_f32(number)).collect()
    }
    match from {
        FloatType::F32 => each(&bytes, f32::from_le_bytes),
        FloatType::F16 => each(&bytes, |number| f16::from_le_bytes(number).to_f32()),
        FloatType::Bf16 => each(&bytes, |number| bf16::from_le_bytes(number).to_f32()),
        FloatType::F64 => each(&bytes, |number| f64::from_le_bytes(number) as f32),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_are_widened_exactly() {
        assert_eq!(f32_values(vec![0x01, 0x00, 0x00, 0xc0], FloatType::F16), [2f32.powi(-24), -2.0]);
        assert_eq!(f32_values(vec![0x80, 0x3f], FloatType::Bf16), [1.0]);
        assert_eq!(f32_values(1.5f64.to_le_bytes().to_vec(), FloatType::F64), [1.5]);
    }
}
