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

/// Where a network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Cpu,
    /// Apple's GPU of this index, through the reference executor.
    #[cfg_attr(not(all(target_os = "macos", feature = "candle")), allow(dead_code))]
    Metal(usize),
}

impl Place {
    /// What `select` takes.
    pub fn id(self) -> String {
        match self {
            Self::Cpu => "cpu".into(),
            Self::Metal(index) => format!("metal:{index}"),
        }
    }
}

/// The devices that this build can use on this machine, `cpu` first.
pub fn devices() -> Vec<DeviceInfo> {
    let (memory_total, memory_free) = host_memory();
    let cpu = DeviceInfo {
        id: Place::Cpu.id(),
        kind: 0,
        index: 0,
        name: cpu_features::names(),
        memory_total,
        memory_free,
    };
    std::iter::once(cpu).chain(metal()).collect()
}

#[cfg(all(target_os = "macos", feature = "candle"))]
fn metal() -> Vec<DeviceInfo> {
    let found = crate::exec::candle::metal::found().into_iter().enumerate();
    found
        .map(|(index, gpu)| DeviceInfo {
            id: Place::Metal(index).id(),
            kind: 2,
            index: index as i32,
            name: gpu.name,
            memory_total: gpu.memory_total,
            memory_free: gpu.memory_free,
        })
        .collect()
}

#[cfg(not(all(target_os = "macos", feature = "candle")))]
fn metal() -> Vec<DeviceInfo> {
    Vec::new()
}

/// Checks a device's id and finds the device. `auto` is the CPU: Metal is not chosen for anybody before it has been run.
pub(crate) fn select(id: &str) -> Result<Place> {
    let (kind, index) = id.split_once(':').map_or((id, None), |(kind, index)| (kind, Some(index)));
    let number = index.map_or(Some(0), |index| index.parse::<u16>().ok());
    match (kind, number) {
        ("" | "auto" | "cpu", _) if index.is_none() => Ok(Place::Cpu),
        ("cuda", Some(_)) => Err(Error::NotBuilt {
            what: "the CUDA executor",
            remedy: "this version runs on the CPU; use device auto or cpu",
        }),
        #[cfg(all(target_os = "macos", feature = "candle"))]
        ("metal", Some(index)) => Ok(Place::Metal(index.into())),
        #[cfg(not(all(target_os = "macos", feature = "candle")))]
        ("metal", Some(_)) => Err(Error::NotBuilt {
            what: "the Metal executor",
            remedy: "it is in builds for macOS with the feature candle; use device auto or cpu",
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
