//! Which CUDA devices there are, and why there are none.

use super::driver::{Driver, Found, Gpu};
use std::path::Path;

/// All CUDA devices of this machine by ordinal, through the driver in `folder` or the system's; or why it has none.
pub fn devices(folder: Option<&Path>) -> Result<Vec<Found>, String> {
    Driver::get(folder).map(Driver::devices)
}

/// Bytes of memory that are free on a device; 0 where it does not say. Opens the device.
pub fn free_memory(folder: Option<&Path>, ordinal: usize) -> u64 {
    Gpu::open(folder, ordinal).and_then(|gpu| gpu.memory()).map_or(0, |(free, _)| free)
}
