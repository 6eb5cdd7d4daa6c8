//! Which device to compute on, as typed after `--device`.

use std::fmt;
use std::str::FromStr;

use anyhow::{Result, anyhow};
use burn::backend::DispatchDevice;
use burn::prelude::*;

/// `auto`, `cpu`, `cuda[:i]` or `wgpu[:i]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeviceSpec {
    /// The first CUDA device when this build knows CUDA and the machine has one, else the CPU.
    Auto,
    /// Burn's Flex backend.
    Cpu,
    /// The CUDA device with this index.
    Cuda(usize),
    /// The device with this index of Vulkan, Metal or DirectX 12, through wgpu.
    Wgpu(usize),
}

impl FromStr for DeviceSpec {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, index) = match text.split_once(':') {
            Some((name, index)) => (name, Some(index)),
            None => (text, None),
        };
        let place: fn(usize) -> Self = match (name, index) {
            ("auto", None) => return Ok(Self::Auto),
            ("cpu", None) => return Ok(Self::Cpu),
            ("cuda", _) => Self::Cuda,
            ("wgpu", _) => Self::Wgpu,
            _ => return Err(format!("expected one of {POSSIBLE}")),
        };
        let index = index.unwrap_or("0");
        index.parse().map(place).map_err(|_| format!("`{index}` is not a device index, as in `{name}:0`"))
    }
}

const POSSIBLE: &str = "`auto`, `cpu`, `cuda`, `cuda:INDEX`, `wgpu`, `wgpu:INDEX`";

impl fmt::Display for DeviceSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str("auto"),
            Self::Cpu => f.write_str("cpu"),
            Self::Cuda(index) => write!(f, "cuda:{index}"),
            Self::Wgpu(index) => write!(f, "wgpu:{index}"),
        }
    }
}

impl DeviceSpec {
    /// What `auto` means on this machine; the others stay what they are.
    pub fn resolve(self) -> Self {
        match self {
            Self::Auto if cuda_devices().is_ok_and(|found| !found.is_empty()) => Self::Cuda(0),
            Self::Auto => Self::Cpu,
            chosen => chosen,
        }
    }

    /// The device itself, without autodiff.
    ///
    /// # Errors
    /// If this build or this machine does not have it.
    pub fn open(self) -> Result<Device> {
        let (found, index, kind) = match self.resolve() {
            Self::Auto | Self::Cpu => return Ok(Device::flex()),
            Self::Cuda(index) => (cuda_devices(), index, "CUDA"),
            Self::Wgpu(index) => (wgpu_devices(), index, "wgpu"),
        };
        let found = found.map_err(|NotBuilt { feature }| {
            anyhow!(
                "--device {self}: this build knows no {kind}; build with `--features {feature}`, or choose `cpu`"
            )
        })?;
        let count = found.len();
        let device = found.into_iter().nth(index);
        device.ok_or_else(|| anyhow!("--device {self}: this machine shows {count} {kind} device(s)"))
    }
}

/// Whether tensors of this device are computed with on the CPU, with or without autodiff.
pub(crate) fn is_cpu(device: &Device) -> bool {
    matches!(device.clone().without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

/// Devices of a kind that was left out of this build.
struct NotBuilt {
    /// What puts it in.
    feature: &'static str,
}

#[cfg(feature = "cuda")]
fn cuda_devices() -> Result<Vec<Device>, NotBuilt> {
    Ok(Device::enumerate(burn::tensor::DeviceType::Cuda).into_iter().collect())
}

#[cfg(not(feature = "cuda"))]
fn cuda_devices() -> Result<Vec<Device>, NotBuilt> {
    Err(NotBuilt { feature: "cuda" })
}

#[cfg(feature = "wgpu")]
fn wgpu_devices() -> Result<Vec<Device>, NotBuilt> {
    Ok(Device::enumerate(burn::tensor::DeviceType::Wgpu).into_iter().collect())
}

#[cfg(not(feature = "wgpu"))]
fn wgpu_devices() -> Result<Vec<Device>, NotBuilt> {
    Err(NotBuilt { feature: "wgpu" })
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
        case("wgpu", Some(DeviceSpec::Wgpu(0)));
        case("wgpu:1", Some(DeviceSpec::Wgpu(1)));
        case("wgpu:-1", None);
        case("gpu", None);
        case("cpu:0", None);
    }
}
