//! Which devices this build can use on this machine, and which one a caller means.

use crate::cpu_features;
use crate::error::{Error, Result};
use std::path::Path;
#[cfg(feature = "cuda")]
use std::path::PathBuf;

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
    /// Bytes of memory free; 0 unknown. A CUDA device is opened for a moment to ask it.
    pub memory_free: u64,
}

/// Where a network runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Cpu,
    /// NVIDIA's GPU of this ordinal.
    #[cfg_attr(not(feature = "cuda"), allow(dead_code))]
    Cuda(usize),
    /// Apple's GPU of this index, through the reference executor.
    #[cfg_attr(not(all(target_os = "macos", feature = "candle")), allow(dead_code))]
    Metal(usize),
}

impl Place {
    /// What `select` takes.
    pub fn id(self) -> String {
        match self {
            Self::Cpu => "cpu".into(),
            Self::Cuda(ordinal) => format!("cuda:{ordinal}"),
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
    std::iter::once(cpu).chain(cuda()).chain(metal()).collect()
}

/// Where CUDA's libraries are looked for first: the folder asked for, else the environment's.
#[cfg(feature = "cuda")]
pub(crate) fn cuda_folder(asked: Option<&Path>) -> Option<PathBuf> {
    let of_environment = || std::env::var_os("ONESTEP_CUDA_LIBRARY_PATH").filter(|path| !path.is_empty());
    asked.map(Path::to_path_buf).or_else(|| of_environment().map(PathBuf::from))
}

#[cfg(feature = "cuda")]
fn cuda() -> Vec<DeviceInfo> {
    use crate::exec::cuda::probe;
    let folder = cuda_folder(None);
    let found = probe::devices(folder.as_deref()).unwrap_or_default().into_iter().enumerate();
    found
        .filter(|(_, gpu)| gpu.usable())
        .map(|(ordinal, gpu)| DeviceInfo {
            id: Place::Cuda(ordinal).id(),
            kind: 1,
            index: ordinal as i32,
            name: gpu.name,
            memory_total: gpu.memory,
            memory_free: probe::free_memory(folder.as_deref(), ordinal),
        })
        .collect()
}

#[cfg(not(feature = "cuda"))]
fn cuda() -> Vec<DeviceInfo> {
    Vec::new()
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

/// Where a model may be prepared, the first that works; and why no better place is among them.
pub(crate) struct Choice {
    pub places: Vec<Place>,
    pub reason: Option<String>,
}

/// The place that an id names, or none for `auto`; whether it is there is not asked.
pub(crate) fn parse(id: &str) -> Result<Option<Place>> {
    let (kind, index) = id.split_once(':').map_or((id, None), |(kind, index)| (kind, Some(index)));
    let number = index.map_or(Some(0), |index| index.parse::<u16>().ok());
    match (kind, number) {
        ("" | "auto", _) if index.is_none() => Ok(None),
        ("cpu", _) if index.is_none() => Ok(Some(Place::Cpu)),
        #[cfg(feature = "cuda")]
        ("cuda", Some(ordinal)) => Ok(Some(Place::Cuda(ordinal.into()))),
        #[cfg(not(feature = "cuda"))]
        ("cuda", Some(_)) => Err(Error::NotBuilt {
            what: "the CUDA executor",
            remedy: "build with the feature cuda, or use device auto or cpu",
        }),
        #[cfg(all(target_os = "macos", feature = "candle"))]
        ("metal", Some(index)) => Ok(Some(Place::Metal(index.into()))),
        #[cfg(not(all(target_os = "macos", feature = "candle")))]
        ("metal", Some(_)) => Err(Error::NotBuilt {
            what: "the Metal executor",
            remedy: "it is in builds for macOS with the feature candle; use device auto or cpu",
        }),
        _ => Err(Error::argument("device", format!("{id:?} is none of auto, cpu, cuda:N, metal:N"))),
    }
}

/// Where a model that asks for device `id` may be prepared. `auto` is the first CUDA device, else the CPU: Metal is not
/// chosen for anybody before it has been run. The reference executor has no CUDA.
pub(crate) fn select(id: &str, fast: bool, cuda_library_path: Option<&Path>) -> Result<Choice> {
    Ok(match parse(id)? {
        Some(place) => Choice { places: vec![place], reason: None },
        None if fast => automatic(cuda_library_path),
        None => Choice { places: vec![Place::Cpu], reason: None },
    })
}

#[cfg(feature = "cuda")]
fn automatic(cuda_library_path: Option<&Path>) -> Choice {
    let found = crate::exec::cuda::probe::devices(cuda_folder(cuda_library_path).as_deref());
    let usable = found.and_then(|gpus| {
        let place = gpus.iter().position(|gpu| gpu.usable()).map(Place::Cuda);
        place.ok_or_else(|| "no CUDA device is of compute capability 8.0 or later".to_owned())
    });
    match usable {
        Ok(place) => Choice { places: vec![place, Place::Cpu], reason: None },
        Err(reason) => Choice { places: vec![Place::Cpu], reason: Some(reason) },
    }
}

#[cfg(not(feature = "cuda"))]
fn automatic(_: Option<&Path>) -> Choice {
    Choice { places: vec![Place::Cpu], reason: None }
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
