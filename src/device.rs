//! Which devices this build can use on this machine, and which one a caller means.

use crate::cpu_features;
use crate::error::{Error, Result};

/// A device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// `cpu`, `cuda:0`, `metal:0`.
    pub id: String,
    /// CPU 0, CUDA 1, METAL 2.
    pub kind: i32,
    /// Index within its kind.
    pub index: i32,
    /// The device's own name.
    pub name: String,
    /// Bytes of memory; 0 unknown.
    pub memory_total: u64,
    /// Bytes of memory free; 0 unknown.
    pub memory_free: u64,
}

/// The devices that this build can use on this machine, `cpu` first.
pub fn devices() -> Vec<DeviceInfo> {
    let (memory_total, memory_free) = host_memory();
    vec![DeviceInfo {
        id: "cpu".into(),
        kind: 0,
        index: 0,
        name: cpu_features::names(),
        memory_total,
        memory_free,
    }]
}

/// Checks a device's id and finds the device: so far there is the CPU.
pub(crate) fn select(id: &str) -> Result<()> {
    let (kind, index) = id.split_once(':').map_or((id, None), |(kind, index)| (kind, Some(index)));
    let index_is_sound = index.is_none_or(|index| index.parse::<u16>().is_ok());
    match kind {
        "" | "auto" | "cpu" if index.is_none() => Ok(()),
        "cuda" if index_is_sound => Err(Error::NotBuilt {
            what: "the CUDA executor",
            remedy: "this version runs on the CPU; use device auto or cpu",
        }),
        "metal" if index_is_sound => Err(Error::NotBuilt {
            what: "the Metal executor",
            remedy: "this version runs on the CPU; use device auto or cpu",
        }),
        _ => Err(Error::argument("device", format!("{id:?} is none of auto, cpu, cuda:N, metal:N"))),
    }
}

/// Total and available bytes, from the kernel's own file; zeros elsewhere.
fn host_memory() -> (u64, u64) {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.trim().strip_suffix(" kB")?.parse::<u64>().ok()).unwrap_or(0)
    };
    (kib("MemTotal:") << 10, kib("MemAvailable:") << 10)
}
