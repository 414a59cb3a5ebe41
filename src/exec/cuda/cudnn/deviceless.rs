//! The real cuDNN without a GPU: does it take the descriptions, and does it have kernels for them? It is told of a device
//! by JSON, which cuDNN 9.8 and later take, and stands on a driver that does nothing (`tests/cuda/no_driver.c`).
//!
//! Ignored by default; `scripts/cudnn-check.sh` fetches cuDNN and runs it.

use std::ffi::CString;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use super::descriptor::{Descriptor, Value};
use super::shape::{Bias, ConvShape, Taps};
use super::sys::{Api, attribute as at, kind};
use super::target::Target;
use super::{Cudnn, Pointers, graph, plan};
use crate::error::Code;
use crate::exec::cuda::kernels::Element;

/// An H100 SXM's numbers, by cuDNN's names for them.
const H100: &str = r#"{"deviceName":"NVIDIA H100 80GB HBM3","deviceVer":900,"driverVer":13000,"cudaDeviceId":0,
"multiProcessorCount":132,"smCountOrigin":0,"warpSize":32,"maxGridSize":[2147483647,65535,65535],
"maxBlockSize":[1024,1024,64],"maxThreadsPerBlock":1024,"maxThreadsPerSM":2048,"maxCtasPerSM":32,"regsPerBlock":65536,
"maxRegistersPerSM":65536,"maxSharedMemoryPerBlock":49152,"maxSharedMemoryPerBlockOptin":232448,
"oversizedSharedMemoryPerBlock":0,"reservedSharedMemoryPerBlock":1024,"smClockRateKHz":1980000,
"memClockRateKHz":2619000,"memoryBusWidth":5120,"l2CacheSize":52428800,"totalGlobalMem":85000000000,"pciDeviceId":0,
"isTccDriver":0,"supportCoopLaunch":1}"#;

const WORKSPACE: usize = 64 << 20;

/// `candidates` of one shape: engine and workspace of each, or why there is none.
fn proposals(target: &Arc<Target>, shape: &ConvShape, most: usize) -> Result<Vec<(i64, usize)>, String> {
    let (plans, refusals) =
        plan::candidates(target, shape, WORKSPACE, most).map_err(|failure| failure.to_string())?;
    if plans.is_empty() {
        return Err(refusals.to_string());
    }
    for plan in &plans {
        // Any address will do: nothing runs.
        let pointers = Pointers { x: 4096, w: 4096, bias: 4096, residual: 4096, y: 4096, workspace: 4096 };
        plan.pack(target.api(), &pointers).map_err(|failure| failure.to_string())?;
    }
    Ok(plans.iter().map(|plan| (plan.engine(), plan.workspace())).collect())
}

#[test]
#[ignore = "needs ONESTEP_CUDNN, a folder with the real cuDNN 9.8 or later"]
fn the_real_library_has_kernels_for_every_recorded_convolution() {
    let folder = std::env::var_os("ONESTEP_CUDNN").expect("ONESTEP_CUDNN");
    let target = Arc::new(deviceless(Path::new(&folder)));
    println!("cuDNN {}", target.api().version_text());
    // SAFETY: no stream is given.
    let error = unsafe { Cudnn::open(Some(Path::new(&folder)), "cuda:0", std::ptr::null_mut()) }.unwrap_err();
    println!("{error}");
    assert_eq!(error.code(), Code::DeviceFailed);
    let mut problems = Vec::new();
    for shape in graph::tests::recorded_shapes() {
        match proposals(&target, &shape, 2) {
            Ok(found) => println!("{shape}: {found:?}"),
            Err(why) => problems.push(format!("{shape}: {why}")),
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));

    // What `ConvShape` says cuDNN lacks: a release that has it is news.
    let shape = ConvShape {
        batch: 4,
        height: 32,
        width: 32,
        c_in: 128,
        c_out: 128,
        taps: Taps::Three,
        stride: 1,
        pad_before: 1,
        pad_after: 1,
        element: Element::F32,
        bias: Bias::PerImage { stride: 128 },
        residual: false,
        scale: 1.0,
    };
    let why = proposals(&target, &shape, 1).unwrap_err();
    println!("{shape}: {why}");
    // First and last convolution of a network.
    for (element, c_in, c_out) in [(Element::Bf16, 3, 128), (Element::Bf16, 128, 3), (Element::F32, 3, 128)] {
        let shape = ConvShape { element, c_in, c_out, bias: Bias::Shared(element), ..shape };
        println!("{shape}: {:?}", proposals(&target, &shape, 2).unwrap());
    }
}

fn deviceless(folder: &Path) -> Target {
    let built = tempfile::tempdir().unwrap();
    let driver = built.path().join("libcuda.so.1");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda/no_driver.c");
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o"]).arg(&driver).arg(source);
    assert!(compiler.status().expect("a C compiler").success());
    // SAFETY: the file was just built, and its initialisers do nothing. cuDNN finds it by its SONAME from now on.
    std::mem::forget(unsafe { libloading::Library::new(&driver) }.unwrap());

    let api = Api::load(Some(folder), "described").unwrap();
    let mut properties = Descriptor::new(&api, kind::DEVICE_PROPERTIES).unwrap();
    let json = CString::new(H100).unwrap();
    properties.set(at::DEVICE_JSON, &Value::Text(&json)).unwrap();
    properties.finalize().unwrap();
    Target::Described { api, properties }
}
