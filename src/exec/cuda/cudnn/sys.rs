//! cuDNN's own names: the functions, found at run time, and the few numbers of its headers that are used here.
#![allow(unsafe_code)]

use std::ffi::{CStr, c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use libloading::Library;

use crate::error::{Error, Result};

/// `cudnnStatus_t`; 0 is success, thousands are the category.
pub(super) type Status = i32;
/// `cudnnHandle_t`, `cudnnBackendDescriptor_t` and `cudaStream_t` are all pointers to what is cuDNN's.
pub(super) type Raw = *mut c_void;

pub(super) const ALLOCATION_FAILED: [Status; 2] = [4003, 4004];

/// `cudnnBackendDescriptorType_t`.
pub(super) mod kind {
    pub const POINTWISE: i32 = 0;
    pub const CONVOLUTION: i32 = 1;
    pub const ENGINE: i32 = 2;
    pub const ENGINE_CONFIG: i32 = 3;
    pub const HEURISTICS: i32 = 4;
    pub const EXECUTION_PLAN: i32 = 5;
    pub const CONVOLUTION_FORWARD: i32 = 10;
    pub const POINTWISE_OPERATION: i32 = 13;
    pub const OPERATION_GRAPH: i32 = 15;
    pub const VARIANT_PACK: i32 = 16;
    pub const TENSOR: i32 = 17;
    #[cfg(test)]
    pub const DEVICE_PROPERTIES: i32 = 38;
}

/// `cudnnBackendAttributeName_t`.
pub(super) mod attribute {
    pub const POINTWISE_MODE: i32 = 0;
    pub const POINTWISE_COMPUTE: i32 = 1;
    pub const CONVOLUTION_COMPUTE: i32 = 100;
    pub const CONVOLUTION_MODE: i32 = 101;
    pub const CONVOLUTION_DILATIONS: i32 = 102;
    pub const CONVOLUTION_STRIDES: i32 = 103;
    pub const CONVOLUTION_PAD_AFTER: i32 = 104;
    pub const CONVOLUTION_PAD_BEFORE: i32 = 105;
    pub const CONVOLUTION_SPATIAL_DIMS: i32 = 106;
    pub const HEURISTICS_MODE: i32 = 200;
    pub const HEURISTICS_GRAPH: i32 = 201;
    pub const HEURISTICS_RESULTS: i32 = 202;
    #[cfg(test)]
    pub const HEURISTICS_DEVICE: i32 = 204;
    pub const ENGINE_CONFIG_ENGINE: i32 = 300;
    pub const PLAN_HANDLE: i32 = 400;
    pub const PLAN_ENGINE_CONFIG: i32 = 401;
    pub const PLAN_WORKSPACE: i32 = 402;
    #[cfg(test)]
    pub const PLAN_DEVICE: i32 = 407;
    pub const FORWARD_ALPHA: i32 = 700;
    pub const FORWARD_BETA: i32 = 701;
    pub const FORWARD_CONVOLUTION: i32 = 702;
    pub const FORWARD_W: i32 = 703;
    pub const FORWARD_X: i32 = 704;
    pub const FORWARD_Y: i32 = 705;
    pub const OPERATION_POINTWISE: i32 = 750;
    pub const OPERATION_X: i32 = 751;
    pub const OPERATION_B: i32 = 752;
    pub const OPERATION_Y: i32 = 753;
    pub const GRAPH_HANDLE: i32 = 800;
    pub const GRAPH_OPERATIONS: i32 = 801;
    pub const TENSOR_ALIGNMENT: i32 = 900;
    pub const TENSOR_DATA_TYPE: i32 = 901;
    pub const TENSOR_DIMENSIONS: i32 = 902;
    pub const TENSOR_STRIDES: i32 = 903;
    pub const TENSOR_UID: i32 = 906;
    pub const TENSOR_IS_VIRTUAL: i32 = 907;
    pub const TENSOR_IS_BY_VALUE: i32 = 908;
    pub const PACK_UIDS: i32 = 1000;
    pub const PACK_POINTERS: i32 = 1001;
    pub const PACK_WORKSPACE: i32 = 1003;
    pub const ENGINE_INDEX: i32 = 1301;
    pub const ENGINE_NOTES: i32 = 1303;
    #[cfg(test)]
    pub const DEVICE_JSON: i32 = 2702;
}

/// `cudnnBackendAttributeType_t`.
pub(super) mod tag {
    pub const HANDLE: i32 = 0;
    pub const DATA_TYPE: i32 = 1;
    pub const BOOLEAN: i32 = 2;
    pub const INT64: i32 = 3;
    pub const FLOAT: i32 = 4;
    pub const VOID_PTR: i32 = 6;
    pub const CONVOLUTION_MODE: i32 = 7;
    pub const HEURISTIC_MODE: i32 = 8;
    pub const NUMERICAL_NOTE: i32 = 11;
    pub const POINTWISE_MODE: i32 = 14;
    pub const DESCRIPTOR: i32 = 15;
    #[cfg(test)]
    pub const CHAR: i32 = 24;
}

/// `cudnnDataType_t`.
pub(super) mod data_type {
    pub const F32: i32 = 0;
    pub const F16: i32 = 2;
    pub const BF16: i32 = 9;
}

/// `cudnnConvolutionMode_t`: the kernel is not mirrored.
pub(super) const CROSS_CORRELATION: i32 = 1;
/// `cudnnPointwiseMode_t`.
pub(super) const POINTWISE_ADD: i32 = 0;
pub(super) const POINTWISE_MUL: i32 = 1;
/// `cudnnBackendHeurMode_t`: what cuDNN thinks fastest, and what works in any case.
pub(super) const HEURISTIC_A: i32 = 3;
pub(super) const HEURISTIC_FALLBACK: i32 = 2;

/// `cudnnBackendNumericalNote_t`.
pub(super) mod note {
    pub const TENSOR_CORE: i32 = 0;
    pub const DOWN_CONVERT_INPUTS: i32 = 1;
    pub const REDUCED_PRECISION_REDUCTION: i32 = 2;
    pub const NONDETERMINISTIC: i32 = 4;
    /// How many there can be, with room for those of newer releases.
    pub const COUNT: usize = 32;
}

macro_rules! functions {
    ($($field:ident, $symbol:literal, ($($argument:ty),*) -> $result:ty;)*) => {
        /// cuDNN's functions, all of them found.
        pub(super) struct Api {
            $(pub $field: unsafe extern "system" fn($($argument),*) -> $result,)*
            last_error: Option<unsafe extern "system" fn(*mut c_char, usize)>,
        }

        impl Api {
            fn resolve(library: &Library, file: &Path, device: &str) -> Result<Self> {
                $(
                    // SAFETY: the type is that of the function's declaration in cuDNN 9's headers.
                    let $field = unsafe { library.get($symbol) }
                        .map_err(|error| missing_symbol(device, file, $symbol, &error))?;
                    let $field: libloading::Symbol<unsafe extern "system" fn($($argument),*) -> $result> = $field;
                )*
                // SAFETY: as above. A release without it has shorter messages.
                let last_error = unsafe { library.get(b"cudnnGetLastErrorString\0") }.ok().map(|found| *found);
                Ok(Self { $($field: *$field,)* last_error })
            }
        }
    };
}

functions! {
    version, b"cudnnGetVersion\0", () -> usize;
    error_string, b"cudnnGetErrorString\0", (Status) -> *const c_char;
    create, b"cudnnCreate\0", (*mut Raw) -> Status;
    destroy, b"cudnnDestroy\0", (Raw) -> Status;
    set_stream, b"cudnnSetStream\0", (Raw, Raw) -> Status;
    create_descriptor, b"cudnnBackendCreateDescriptor\0", (i32, *mut Raw) -> Status;
    destroy_descriptor, b"cudnnBackendDestroyDescriptor\0", (Raw) -> Status;
    set_attribute, b"cudnnBackendSetAttribute\0", (Raw, i32, i32, i64, *const c_void) -> Status;
    get_attribute, b"cudnnBackendGetAttribute\0", (Raw, i32, i32, i64, *mut i64, *mut c_void) -> Status;
    finalize, b"cudnnBackendFinalize\0", (Raw) -> Status;
    execute, b"cudnnBackendExecute\0", (Raw, Raw, Raw) -> Status;
}

impl Api {
    /// Loads cuDNN 9: `path` is the library or the folder that has it, None the system's search.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` where there is none, where a function is missing, and for an older release.
    pub fn load(path: Option<&Path>, device: &str) -> Result<Arc<Self>> {
        let file = library_file(path);
        // SAFETY: cuDNN's initialisers ask nothing of the caller; another library of this name is the user's choice.
        let library = unsafe { Library::new(&file) }.map_err(|error| {
            unavailable(
                device,
                format!("cuDNN 9 could not be loaded from {}: {}", file.display(), reason(&error)),
            )
        })?;
        let api = Self::resolve(&library, &file, device)?;
        // SAFETY: it takes nothing and may be called at any time.
        let version = unsafe { (api.version)() };
        if version < 90_000 {
            return Err(unavailable(
                device,
                format!("{} is cuDNN {}, 9.0 or later is needed", file.display(), dotted(version)),
            ));
        }
        // cuDNN starts threads and registers exit handlers: unmapping its code under them would crash.
        std::mem::forget(library);
        Ok(Arc::new(api))
    }

    /// The release, as `9.28.1`.
    pub fn version_text(&self) -> String {
        // SAFETY: it takes nothing and may be called at any time.
        dotted(unsafe { (self.version)() })
    }

    /// What cuDNN says about a status: its name, and what the last failed call of this thread added.
    pub fn describe(&self, status: Status) -> String {
        // SAFETY: it takes any number and gives a string that is never freed.
        let name = unsafe { CStr::from_ptr((self.error_string)(status)) }.to_string_lossy().into_owned();
        let mut buffer = [0; 1024];
        if let Some(last_error) = self.last_error {
            // SAFETY: the buffer has as many bytes as are said; cuDNN ends its message within them.
            unsafe { last_error(buffer.as_mut_ptr(), buffer.len() - 1) };
        }
        // SAFETY: the last byte is 0, since cuDNN was told of one byte less.
        let detail = unsafe { CStr::from_ptr(buffer.as_ptr()) }.to_string_lossy();
        match detail.trim() {
            "" => name,
            detail => format!("{name}: {detail}"),
        }
    }
}

/// Where cuDNN is looked for: `folder` if it is there, else the system's places.
pub fn place(folder: Option<&Path>) -> Option<&Path> {
    folder.filter(|folder| library_file(Some(folder)).exists())
}

fn library_file(path: Option<&Path>) -> PathBuf {
    let name = if cfg!(windows) { "cudnn64_9.dll" } else { "libcudnn.so.9" };
    match path {
        Some(folder) if folder.is_dir() => folder.join(name),
        Some(file) => file.to_owned(),
        None => name.into(),
    }
}

fn missing_symbol(device: &str, file: &Path, symbol: &[u8], error: &libloading::Error) -> Error {
    let symbol = String::from_utf8_lossy(&symbol[..symbol.len() - 1]);
    unavailable(device, format!("{} has no {symbol}: {}", file.display(), reason(error)))
}

fn unavailable(device: &str, message: String) -> Error {
    Error::DeviceUnavailable { device: device.into(), message }
}

/// The system's own words where libloading only says which call failed.
fn reason(error: &libloading::Error) -> String {
    match std::error::Error::source(error) {
        Some(source) => source.to_string(),
        None => error.to_string(),
    }
}

/// cuDNN 8 counted in thousands, cuDNN 9 in ten thousands.
fn dotted(version: usize) -> String {
    let unit = if version < 90_000 { 1_000 } else { 10_000 };
    format!("{}.{}.{}", version / unit, version % unit / 100, version % 100)
}
