//! Devices by name, opened or refused with a reason.

use crate::kernels;
use burn::tensor::{Device, FloatDType};

/// Why a device cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeviceError {
    /// Not a device name.
    #[error("unknown device `{0}`: known are {KNOWN}")]
    Unknown(String),
    /// The program was built without this back end.
    #[error("device `{name}` needs a program built with `cargo build --release --features {feature}`")]
    NotBuilt {
        /// The device.
        name: String,
        /// The missing feature.
        feature: &'static str,
    },
    /// Driver or hardware is missing.
    #[error("device `{name}` does not work here: {why}")]
    Unavailable {
        /// The device.
        name: String,
        /// What is missing and what to do.
        why: String,
    },
}

const KNOWN: &str = "cpu, wgpu, wgpu:N (the N-th discrete GPU under Vulkan) and cuda:N";

/// Opens `cpu`, `wgpu`, `wgpu:N` or `cuda:N`.
///
/// # Errors
/// [`DeviceError`] when the name is unknown, the back end is not built in, or driver or hardware are
/// missing.
pub fn open(name: &str) -> Result<Device, DeviceError> {
    let (kind, index) = match name.split_once(':') {
        Some((kind, index)) => match index.parse() {
            Ok(index) => (kind, Some(index)),
            Err(_) => return Err(DeviceError::Unknown(name.into())),
        },
        None => (name, None),
    };
    match (kind, index) {
        ("cpu", None) => Ok(Device::flex()),
        ("wgpu", index) => wgpu(name, index),
        ("cuda", Some(index)) => cuda(name, index),
        _ => Err(DeviceError::Unknown(name.into())),
    }
}

/// What stands in a record of a run: the hardware, where it is told, and the back end.
pub fn describe(device: &Device) -> String {
    if *device == Device::flex() {
        return "CPU (Flex)".into();
    }
    #[cfg(feature = "gpu")]
    if let (Some(identity), burn::backend::DispatchDevice::Cube(cube)) = (device.identity(), device.as_dispatch()) {
        let back_end = match cube {
            burn_cubecl::CubeDevice::Cuda(_) => "CUDA",
            burn_cubecl::CubeDevice::Wgpu(_) => "wgpu",
            _ => "CubeCL",
        };
        return format!("{} ({back_end})", identity.name);
    }
    format!("{device:?}")
}

/// The dtype of the hidden states of a run in `dtype`. On a CPU bf16 is what linear layers and attention multiply,
/// rounded in the kernels; states and norms stay in f32.
pub fn states(device: &Device, dtype: FloatDType) -> FloatDType {
    match dtype {
        FloatDType::BF16 if *device == Device::flex() => FloatDType::F32,
        _ => dtype,
    }
}

/// The dtype in which the weights of a run in `dtype` are kept: on a CPU that multiplies no bf16, f32.
pub fn weights(device: &Device, dtype: FloatDType) -> FloatDType {
    match dtype {
        FloatDType::BF16 if *device == Device::flex() && !kernels::has_bf16() => FloatDType::F32,
        _ => dtype,
    }
}

#[cfg(not(feature = "wgpu"))]
fn wgpu(name: &str, _: Option<usize>) -> Result<Device, DeviceError> {
    let name = name.into();
    Err(DeviceError::NotBuilt { name, feature: "wgpu" })
}

#[cfg(not(feature = "cuda"))]
fn cuda(name: &str, _: usize) -> Result<Device, DeviceError> {
    let name = name.into();
    Err(DeviceError::NotBuilt { name, feature: "cuda" })
}

#[cfg(feature = "wgpu")]
fn wgpu(name: &str, index: Option<usize>) -> Result<Device, DeviceError> {
    use burn::tensor::DeviceKind;
    #[cfg(target_os = "linux")]
    library(
        name,
        &["libvulkan.so.1"],
        "install the Vulkan loader and a driver for the GPU",
    )?;
    let kind = index.map_or(DeviceKind::DefaultDevice, DeviceKind::DiscreteGpu);
    working(
        name,
        move || Device::wgpu(kind),
        "no Vulkan adapter answers: check `vulkaninfo`",
    )
}

#[cfg(feature = "cuda")]
fn cuda(name: &str, index: usize) -> Result<Device, DeviceError> {
    #[cfg(target_os = "linux")]
    {
        library(name, &["libcuda.so.1", "libcuda.so"], "install the NVIDIA driver")?;
        let nvrtc = ["libnvrtc.so", "libnvrtc.so.13", "libnvrtc.so.12"];
        library(
            name,
            &nvrtc,
            "install the CUDA toolkit's NVRTC and put it on the loader's path",
        )?;
    }
    working(
        name,
        move || Device::cuda(index),
        "CUDA does not start: check `nvidia-smi`, and `$CUDA_PATH/include`",
    )
}

/// Asks the loader itself for a library: the back ends load it at run time, and panic without it.
#[cfg(all(target_os = "linux", any(feature = "wgpu", feature = "cuda")))]
fn library(device: &str, names: &[&str], remedy: &str) -> Result<(), DeviceError> {
    use std::ffi::{CString, c_char, c_int, c_void};
    const RTLD_LAZY: c_int = 1;
    unsafe extern "C" {
        fn dlopen(name: *const c_char, flags: c_int) -> *mut c_void;
    }
    let loads = |name: &&str| {
        let name = CString::new(*name).expect("no NUL in a library's name");
        // SAFETY: these are system drivers, which the back end loads the same way a moment later.
        !unsafe { dlopen(name.as_ptr(), RTLD_LAZY) }.is_null()
    };
    if names.iter().any(loads) {
        return Ok(());
    }
    Err(DeviceError::Unavailable {
        name: device.into(),
        why: format!("{} is not found: {remedy}", names[0]),
    })
}

/// Opens a device and runs one operation on it: back ends start lazily, and panic where they cannot.
#[cfg(any(feature = "wgpu", feature = "cuda"))]
fn working(name: &str, open: impl FnOnce() -> Device + Send + 'static, remedy: &str) -> Result<Device, DeviceError> {
    use burn::tensor::Tensor;
    let opened = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        let device = open();
        let one = Tensor::<1>::ones([1], &device) + 1.0;
        one.try_into_data().ok().map(|_| device)
    }));
    opened.ok().flatten().ok_or_else(|| DeviceError::Unavailable {
        name: name.into(),
        why: remedy.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unknown_name_lists_the_known() {
        for name in ["gpu", "cpu:1", "cuda", "wgpu:first"] {
            let error = open(name).unwrap_err();
            assert_eq!(error, DeviceError::Unknown(name.into()));
            assert!(error.to_string().contains("cpu, wgpu"));
        }
    }

    #[test]
    fn the_cpu_is_named_in_words() {
        assert_eq!(describe(&open("cpu").unwrap()), "CPU (Flex)");
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn a_back_end_left_out_of_the_build_says_how_to_put_it_in() {
        assert!(open("cuda:0").unwrap_err().to_string().contains("--features cuda"));
    }
}
