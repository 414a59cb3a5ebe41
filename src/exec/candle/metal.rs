//! Apple's GPUs, through candle's kernels and one of ours (`norm.metal`). Type-checked on Linux; **never run**: no such device was to be had.

use super::{CandleDevice, norm};
use crate::error::{Error, Result};
use candle_core::Device;
use candle_metal_kernels::metal::Device as Gpu;

/// A GPU of this machine.
pub struct Found {
    /// Its architecture, as "applegpu_g13g".
    pub name: String,
    /// What the system recommends to use at most, in bytes.
    pub memory_total: u64,
    /// That less what is allocated.
    pub memory_free: u64,
}

/// The GPUs of this machine, in the order of their indices.
pub fn found() -> Vec<Found> {
    let gpus = Gpu::all().into_iter();
    gpus.map(|gpu| {
        let total = gpu.recommended_max_working_set_size() as u64;
        let used = gpu.current_allocated_size() as u64;
        Found { name: gpu.architecture_name(), memory_total: total, memory_free: total.saturating_sub(used) }
    })
    .collect()
}

/// GPU number `index`, in f32 or with weights and activations in f16.
///
/// # Errors
/// DEVICE_UNAVAILABLE where there is no such GPU, DEVICE_FAILED where it cannot be used.
pub fn open(index: usize, half: bool) -> Result<CandleDevice> {
    let device = format!("metal:{index}");
    let count = Gpu::all().len();
    // candle takes the index for granted.
    if index >= count {
        return Err(Error::DeviceUnavailable { device, message: format!("this machine has {count} GPUs") });
    }
    let failed = |error: candle_core::Error| {
        let (device, message) = (device.clone(), error.to_string());
        Error::DeviceFailed { device, message }
    };
    let mut opened = CandleDevice::new(Device::new_metal(index).map_err(failed)?, half);
    let metal = opened.device.as_metal_device()?;
    opened.norms = Some(norm::Kernel::compile(metal, opened.dtype).map_err(failed)?);
    Ok(opened)
}
