//! The driver on paper (`tests/cuda/driver.cpp`), compiled and loaded as a machine's CUDA driver would be.

#![allow(dead_code, unsafe_code)]

use libloading::Library;
use std::ffi::CString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A driver of its own, with settings and counts of its own.
pub struct Paper {
    folder: tempfile::TempDir,
    library: Library,
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

/// The compiled driver; every test program compiles it once.
fn compiled() -> &'static Path {
    static COMPILED: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = COMPILED.get_or_init(|| {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cuda");
        let folder = tempfile::tempdir().unwrap();
        let library = folder.path().join("libcuda.so.1");
        let output = Command::new("c++")
            .args([
                "-std=c++17",
                "-O2",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-Wno-unknown-pragmas",
                "-ffp-contract=off",
            ])
            .args(["-fPIC", "-shared", "-pthread", "-fno-gnu-unique", "-fvisibility-inlines-hidden", "-include"])
            .arg(source.join("emulator.hpp"))
            .arg(source.join("driver.cpp"))
            .arg("-o")
            .arg(&library)
            .output()
            .expect("c++");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (folder, library)
    });
    library
}

impl Paper {
    /// A driver 13.0 with one device like an H100.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // A copy is another library to the loader.
        let path = folder.path().join("libcuda.so.1");
        std::fs::copy(compiled(), &path).unwrap();
        // SAFETY: our own library, whose initialisers register kernels.
        let library = unsafe { Library::new(&path) }.unwrap();
        Self { folder, library }
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
