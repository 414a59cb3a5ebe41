//! The driver on paper (`tests/cuda/driver.cpp`), compiled and loaded as a machine's CUDA driver would be.

#![allow(dead_code, unsafe_code)]

use crate::common::driver::compiled;
use libloading::Library;
use std::ffi::CString;
use std::path::Path;

/// A driver of its own, with settings and counts of its own.
pub struct Paper {
    folder: tempfile::TempDir,
    library: Library,
    cudnn: Option<Library>,
}

/// What `fake_cuda_count` counts.
#[derive(Clone, Copy)]
pub enum Count {
    Allocations,
    Launches,
    GraphLaunches,
    Graphs,
    BytesHeld,
    Handles,
}

impl Paper {
    /// A driver 13.0 with one device like an H100.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A copy is another library to the loader.
        let path = folder.path().join("libcuda.so.1");
        std::fs::copy(compiled("driver.cpp"), &path).unwrap();
        // SAFETY: our own library, whose initialisers register kernels.
        let library = unsafe { Library::new(&path) }.unwrap();
        Self { folder, library, cudnn: None }
    }

    /// Puts a cuDNN on paper beside it, whose two engines compute at once what cuDNN would launch, on this driver's streams.
    pub fn with_cudnn(mut self) -> Self {
        let path = self.folder.path().join("libcudnn.so.9");
        std::fs::copy(compiled("cudnn.cpp"), &path).unwrap();
        // SAFETY: our own library, and the functions' types in `cudnn.cpp` and `driver.cpp`.
        unsafe {
            let library = Library::new(&path).unwrap();
            let enqueue = self.library.get::<*const ()>(b"fake_cuda_enqueue").unwrap();
            let set = library.get::<unsafe extern "C" fn(*const ())>(b"fake_enqueue").unwrap();
            set(*enqueue);
            let engine =
                library.get::<unsafe extern "C" fn(i32, i64, u32, i32, i64)>(b"fake_engine").unwrap();
            for index in 1..3 {
                engine(3, index, 2, 0, 131);
            }
            self.cudnn = Some(library);
        }
        self
    }

    /// Convolutions that cuDNN was asked for.
    pub fn convolutions(&self) -> i32 {
        // SAFETY: the function's type in `cudnn.cpp`.
        unsafe {
            let cudnn = self.cudnn.as_ref().unwrap();
            let executed = cudnn.get::<unsafe extern "C" fn(i64) -> i32>(b"fake_executed").unwrap();
            executed(1) + executed(2)
        }
    }

    /// What `cuda_library_path` and `ONESTEP_CUDA_LIBRARY_PATH` take.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Changes what it pretends to be: version, devices, major, minor, memory, init, shared.
    pub fn set(&self, key: &str, value: i64) {
        let key = CString::new(key).unwrap();
        // SAFETY: the function's type in `driver.cpp`.
        unsafe {
            let set = self.library.get::<unsafe extern "C" fn(*const i8, i64)>(b"fake_cuda_set").unwrap();
            set(key.as_ptr().cast(), value);
        }
    }

    /// Lets `function` fail with `status` after so many calls; 0 mends it.
    pub fn fail(&self, function: &str, after: i64, status: i64) {
        let function = CString::new(function).unwrap();
        // SAFETY: the function's type in `driver.cpp`.
        unsafe {
            let fail =
                self.library.get::<unsafe extern "C" fn(*const i8, i64, i64)>(b"fake_cuda_fail").unwrap();
            fail(function.as_ptr().cast(), after, status);
        }
    }

    /// How often, or how many now.
    pub fn count(&self, what: Count) -> i64 {
        // SAFETY: the function's type in `driver.cpp`.
        unsafe {
            let count = self.library.get::<unsafe extern "C" fn(i32) -> i64>(b"fake_cuda_count").unwrap();
            count(what as i32)
        }
    }
}
