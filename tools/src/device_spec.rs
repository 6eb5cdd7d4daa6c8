//! Which device to compute on, as typed after `--device`.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use burn::prelude::*;

/// `auto`, `cpu` or `cuda[:i]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceSpec {
    /// The first CUDA device when this build knows CUDA and the machine has one, else the CPU.
    Auto,
    /// Burn's Flex backend.
    Cpu,
    /// The CUDA device with this index.
    Cuda(usize),
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once(':') {
            None if text == "auto" => Ok(Self::Auto),
            None if text == "cpu" => Ok(Self::Cpu),
            None if text == "cuda" => Ok(Self::Cuda(0)),
            Some(("cuda", index)) => index
                .parse()
                .map(Self::Cuda)
                .map_err(|_| format!("`{index}` is not a device index, as in `cuda:0`")),
            _ => Err("expected one of `auto`, `cpu`, `cuda`, `cuda:INDEX`".to_owned()),
        }
    }
}

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
        }
    }
}

impl DeviceSpec {
    /// What `auto` means on this machine; `cpu` and `cuda:i` stay what they are.
    pub fn resolve(self) -> Self {
        match self {
            Self::Auto if num_cuda_devices() > 0 => Self::Cuda(0),
            Self::Auto => Self::Cpu,
            chosen => chosen,
        }
    }

    /// The device itself, without autodiff.
    pub fn open(self) -> Result<Device> {
        match self.resolve() {
            Self::Cuda(index) => open_cuda(index),
            Self::Auto | Self::Cpu => Ok(Device::flex()),
        }
    }
}

#[cfg(feature = "cuda")]
fn num_cuda_devices() -> usize {
    Device::enumerate(burn::tensor::DeviceType::Cuda).len()
}

#[cfg(not(feature = "cuda"))]
fn num_cuda_devices() -> usize {
    0
}

#[cfg(feature = "cuda")]
fn open_cuda(index: usize) -> Result<Device> {
    let found = num_cuda_devices();
    anyhow::ensure!(index < found, "--device cuda:{index}: this machine shows {found} CUDA device(s)");
    Ok(Device::cuda(index))
}

#[cfg(not(feature = "cuda"))]
fn open_cuda(index: usize) -> Result<Device> {
    anyhow::bail!(
        "--device cuda:{index}: this build knows no CUDA; build with `--features cuda`, or choose `cpu`"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn case(text: &str, expected: Option<DeviceSpec>) {
        assert_eq!(text.parse::<DeviceSpec>().ok(), expected, "{text}");
    }

    #[test]
    fn devices_are_named_as_in_the_help() {
        case("auto", Some(DeviceSpec::Auto));
        case("cpu", Some(DeviceSpec::Cpu));
        case("cuda", Some(DeviceSpec::Cuda(0)));
        case("cuda:3", Some(DeviceSpec::Cuda(3)));
        case("cuda:x", None);
        case("gpu", None);
        case("cpu:0", None);
    }
}
