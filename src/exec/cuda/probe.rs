//! Which CUDA devices there are, and why there are none.

use super::driver::{Driver, Found, Gpu};
use std::path::Path;

/// A device that can be opened, or could be.
pub struct Gpus {
    /// By ordinal.
    pub found: Vec<Found>,
    /// Why there are none, for whoever asked for one.
    pub missing: Option<String>,
}

/// All CUDA devices of this machine that the kernels run on, through the driver in `folder` or the system's.
pub fn devices(folder: Option<&Path>) -> Gpus {
    match Driver::get(folder) {
        Ok(driver) => Gpus { found: driver.devices(), missing: None },
        Err(reason) => Gpus { found: Vec::new(), missing: Some(reason) },
    }
}

/// Bytes of memory that are free on a device; 0 where it does not say. Opens the device.
pub fn free_memory(folder: Option<&Path>, ordinal: usize) -> u64 {
    Gpu::open(folder, ordinal).and_then(|gpu| gpu.memory()).map_or(0, |(free, _)| free)
}
