//! `precision` in a recipe, and what becomes of it on a device.

use std::io::Write;

use anyhow::{Result, bail};
use burn::prelude::*;
use burn::tensor::FloatDType;
use serde::{Deserialize, Serialize};

use crate::device_spec;

/// What a GPU computes linear layers and dense convolutions in, while it trains and judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// As everything else; the same as no entry.
    F32,
    /// In bfloat16, summed in f32; see [`cvx_backbone::precision`].
    Bf16,
}

impl Precision {
    /// What is to be done on `device`; a CPU computes in f32 all the same, of which `err` is told.
    ///
    /// # Errors
    /// If the device is a GPU without such numbers.
    pub(crate) fn on(
        wanted: Option<Self>,
        device: &Device,
        err: &mut dyn Write,
    ) -> Result<cvx_backbone::Precision> {
        match wanted {
            None | Some(Self::F32) => Ok(cvx_backbone::Precision::F32),
            Some(Self::Bf16) if device_spec::is_cpu(device) => {
                writeln!(err, "WARNING: precision = \"bf16\" is for GPUs; the CPU computes in f32")?;
                Ok(cvx_backbone::Precision::F32)
            }
            Some(Self::Bf16) if device.supports_dtype(FloatDType::BF16) => Ok(cvx_backbone::Precision::Bf16),
            Some(Self::Bf16) => {
                bail!("precision = \"bf16\": this device does not compute in bfloat16; possible: \"f32\"")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cpu_computes_in_f32_and_says_so_where_something_else_was_asked_for() {
        let told = |wanted| {
            let mut err = Vec::new();
            let found = Precision::on(wanted, &Device::flex().autodiff(), &mut err).unwrap();
            assert_eq!(found, cvx_backbone::Precision::F32);
            String::from_utf8(err).unwrap()
        };
        assert_eq!([told(None), told(Some(Precision::F32))], ["", ""]);
        assert!(told(Some(Precision::Bf16)).contains("computes in f32"));
    }
}
