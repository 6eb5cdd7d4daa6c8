//! The published sizes of ConvNeXt V1 and V2, by name.

use core::fmt;
use core::str::FromStr;

/// A published size. V2 has global response normalization in its blocks, V1 layer scale.
///
/// Sources: ConvNeXt-V2 `models/convnextv2.py` and paper A.1; ConvNeXt `models/convnext.py`.
/// V2 Small has no official weights (timm and mmpretrain define it); V1 Atto to Nano are timm's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names say all there is to say")]
pub enum Variant {
    V2Atto,
    V2Femto,
    V2Pico,
    V2Nano,
    V2Tiny,
    V2Small,
    V2Base,
    V2Large,
    V2Huge,
    V1Atto,
    V1Femto,
    V1Pico,
    V1Nano,
    V1Tiny,
    V1Small,
    V1Base,
    V1Large,
    V1Xlarge,
}

impl Variant {
    /// Every variant: V2 before V1, small before large.
    pub const ALL: [Self; 18] = [
        Self::V2Atto,
        Self::V2Femto,
        Self::V2Pico,
        Self::V2Nano,
        Self::V2Tiny,
        Self::V2Small,
        Self::V2Base,
        Self::V2Large,
        Self::V2Huge,
        Self::V1Atto,
        Self::V1Femto,
        Self::V1Pico,
        Self::V1Nano,
        Self::V1Tiny,
        Self::V1Small,
        Self::V1Base,
        Self::V1Large,
        Self::V1Xlarge,
    ];

    /// The name in recipes and checkpoints, as in `v2-atto`.
    pub fn name(self) -> &'static str {
        match self {
            Self::V2Atto => "v2-atto",
            Self::V2Femto => "v2-femto",
            Self::V2Pico => "v2-pico",
            Self::V2Nano => "v2-nano",
            Self::V2Tiny => "v2-tiny",
            Self::V2Small => "v2-small",
            Self::V2Base => "v2-base",
            Self::V2Large => "v2-large",
            Self::V2Huge => "v2-huge",
            Self::V1Atto => "v1-atto",
            Self::V1Femto => "v1-femto",
            Self::V1Pico => "v1-pico",
            Self::V1Nano => "v1-nano",
            Self::V1Tiny => "v1-tiny",
            Self::V1Small => "v1-small",
            Self::V1Base => "v1-base",
            Self::V1Large => "v1-large",
            Self::V1Xlarge => "v1-xlarge",
        }
    }

    /// Whether the blocks carry global response normalization (V2) instead of layer scale (V1).
    pub fn is_v2(self) -> bool {
        self.name().starts_with("v2-")
    }

    /// Number of blocks of each stage.
    pub fn depths(self) -> [usize; 4] {
        match self {
            Self::V2Atto | Self::V1Atto => [2, 2, 6, 2],
            Self::V2Femto | Self::V1Femto => [2, 2, 6, 2],
            Self::V2Pico | Self::V1Pico => [2, 2, 6, 2],
            Self::V2Nano | Self::V1Nano => [2, 2, 8, 2],
            Self::V2Tiny | Self::V1Tiny => [3, 3, 9, 3],
            Self::V2Small | Self::V1Small => [3, 3, 27, 3],
            Self::V2Base | Self::V1Base => [3, 3, 27, 3],
            Self::V2Large | Self::V1Large => [3, 3, 27, 3],
            Self::V2Huge | Self::V1Xlarge => [3, 3, 27, 3],
        }
    }

    /// Number of channels of each stage.
    pub fn dims(self) -> [usize; 4] {
        let first = match self {
            Self::V2Atto | Self::V1Atto => 40,
            Self::V2Femto | Self::V1Femto => 48,
            Self::V2Pico | Self::V1Pico => 64,
            Self::V2Nano | Self::V1Nano => 80,
            Self::V2Tiny | Self::V1Tiny | Self::V2Small | Self::V1Small => 96,
            Self::V2Base | Self::V1Base => 128,
            Self::V2Large | Self::V1Large => 192,
            Self::V2Huge => 352,
            Self::V1Xlarge => 256,
        };
        [first, first * 2, first * 4, first * 8]
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no [`Variant`]; its message lists those that are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownVariant {
    /// What was asked for.
    pub name: String,
}

impl fmt::Display for UnknownVariant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is no variant, expected one of", self.name)?;
        for (index, variant) in Variant::ALL.iter().enumerate() {
            let separator = if index == 0 { " " } else { ", " };
            write!(f, "{separator}`{variant}`")?;
        }
        Ok(())
    }
}

impl core::error::Error for UnknownVariant {}

impl FromStr for Variant {
    type Err = UnknownVariant;

    fn from_str(name: &str) -> Result<Self, UnknownVariant> {
        Self::ALL
            .into_iter()
            .find(|variant| variant.name() == name)
            .ok_or_else(|| UnknownVariant { name: name.to_string() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_variant_is_read_back_from_its_name() {
        for variant in Variant::ALL {
            assert_eq!(variant.to_string().parse(), Ok(variant));
        }
    }

    #[test]
    fn an_unknown_name_is_answered_with_the_known_ones() {
        let message = "v3-tiny".parse::<Variant>().unwrap_err().to_string();
        assert!(message.starts_with("`v3-tiny` is no variant, expected one of `v2-atto`, `v2-femto`"));
        assert!(message.ends_with("`v1-large`, `v1-xlarge`"));
    }
}
