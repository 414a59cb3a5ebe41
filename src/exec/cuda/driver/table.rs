//! The functions of CUDA's driver, found by name when a program first asks for a CUDA device: nothing of CUDA is linked.
//! `scripts/ptx.sh --check` compares their types, and the numbers below, with NVIDIA's header.

use libloading::Library;
use std::ffi::{c_char, c_int, c_uint, c_void};
use std::mem::offset_of;
use std::path::Path;

/// A context, stream, event, module, function or graph.
pub type Handle = *mut c_void;
/// An address of the device's memory.
pub type Address = u64;

pub const CUDA_ERROR_OUT_OF_MEMORY: c_int = 2;
pub const CUDA_ERROR_NO_DEVICE: c_int = 100;
pub const CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT: c_int = 16;
pub const CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR: c_int = 75;
pub const CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR: c_int = 76;
pub const CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN: c_int = 97;
pub const CU_JIT_ERROR_LOG_BUFFER: c_int = 5;
pub const CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES: c_int = 6;
pub const CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: c_int = 8;
pub const CU_STREAM_NON_BLOCKING: c_uint = 1;
pub const CU_STREAM_CAPTURE_MODE_RELAXED: c_int = 2;
pub const CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES: c_int = 1;
pub const CU_EVENT_DISABLE_TIMING: c_uint = 2;

/// What [`Table`] and the committed PTX ask for: CUDA 11.7, driver 515.
pub const OLDEST: c_int = 11070;

/// `CUDA_KERNEL_NODE_PARAMS_v1`: a launch in a graph.
#[repr(C)]
pub struct KernelNode {
    pub function: Handle,
    pub blocks: [c_uint; 3],
    pub threads: [c_uint; 3],
    pub shared: c_uint,
    pub parameters: *mut *mut c_void,
    pub extra: *mut *mut c_void,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(
    offset_of!(KernelNode, blocks) == 8
        && offset_of!(KernelNode, threads) == 20
        && offset_of!(KernelNode, shared) == 32
        && offset_of!(KernelNode, parameters) == 40
        && offset_of!(KernelNode, extra) == 48
        && size_of::<KernelNode>() == 56,
    "as scripts/driver_table.py finds it"
);

macro_rules! table {
    ($($name:ident = $symbol:literal ($($argument:ty),*);)*) => {
        /// One pointer a function of the driver, all there.
        pub struct Table {
            $(pub $name: unsafe extern "system" fn($($argument),*) -> c_int,)*
            /// Keeps the functions where they are.
            _library: Library,
        }

        impl Table {
            /// Every function of `library`, or the name of the first that it lacks.
            fn of(library: Library) -> Result<Self, &'static str> {
                Ok(Self {
                    $(
                        // SAFETY: the type is this function's in CUDA's driver API since 11.7, and the pointer is used as
                        // long as `_library` keeps it loaded.
                        $name: unsafe { *library.get($symbol.as_bytes()).map_err(|_| $symbol)? },
                    )*
                    _library: library,
                })
            }
        }
    };
}

table! {
    init = "cuInit" (c_uint);
    driver_version = "cuDriverGetVersion" (*mut c_int);
    error_name = "cuGetErrorName" (c_int, *mut *const c_char);
    error_string = "cuGetErrorString" (c_int, *mut *const c_char);
    device_count = "cuDeviceGetCount" (*mut c_int);
    device = "cuDeviceGet" (*mut c_int, c_int);
    device_name = "cuDeviceGetName" (*mut c_char, c_int, c_int);
    device_memory = "cuDeviceTotalMem_v2" (*mut usize, c_int);
    device_attribute = "cuDeviceGetAttribute" (*mut c_int, c_int, c_int);
    context_retain = "cuDevicePrimaryCtxRetain" (*mut Handle, c_int);
    context_release = "cuDevicePrimaryCtxRelease_v2" (c_int);
    context_push = "cuCtxPushCurrent_v2" (Handle);
    context_pop = "cuCtxPopCurrent_v2" (*mut Handle);
    memory_info = "cuMemGetInfo_v2" (*mut usize, *mut usize);
    alloc = "cuMemAlloc_v2" (*mut Address, usize);
    free = "cuMemFree_v2" (Address);
    host_alloc = "cuMemHostAlloc" (*mut *mut c_void, usize, c_uint);
    host_free = "cuMemFreeHost" (*mut c_void);
    copy_in = "cuMemcpyHtoD_v2" (Address, *const c_void, usize);
    copy_in_async = "cuMemcpyHtoDAsync_v2" (Address, *const c_void, usize, Handle);
    copy_out_async = "cuMemcpyDtoHAsync_v2" (*mut c_void, Address, usize, Handle);
    module_load = "cuModuleLoadDataEx" (*mut Handle, *const c_void, c_uint, *mut c_int, *mut *mut c_void);
    module_unload = "cuModuleUnload" (Handle);
    module_function = "cuModuleGetFunction" (*mut Handle, Handle, *const c_char);
    function_attribute = "cuFuncGetAttribute" (*mut c_int, c_int, Handle);
    set_function_attribute = "cuFuncSetAttribute" (Handle, c_int, c_int);
    launch = "cuLaunchKernel" (
        Handle, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, c_uint, Handle, *mut *mut c_void, *mut *mut c_void
    );
    stream_create = "cuStreamCreate" (*mut Handle, c_uint);
    stream_destroy = "cuStreamDestroy_v2" (Handle);
    stream_wait = "cuStreamSynchronize" (Handle);
    exchange_capture_mode = "cuThreadExchangeStreamCaptureMode" (*mut c_int);
    graph_create = "cuGraphCreate" (*mut Handle, c_uint);
    graph_add_kernel = "cuGraphAddKernelNode" (*mut Handle, Handle, *const Handle, usize, *const KernelNode);
    graph_instantiate = "cuGraphInstantiateWithFlags" (*mut Handle, Handle, u64);
    graph_destroy = "cuGraphDestroy" (Handle);
    graph_launch = "cuGraphLaunch" (Handle, Handle);
    graph_exec_destroy = "cuGraphExecDestroy" (Handle);
    event_create = "cuEventCreate" (*mut Handle, c_uint);
    event_record = "cuEventRecord" (Handle, Handle);
    event_wait = "cuEventSynchronize" (Handle);
    event_destroy = "cuEventDestroy_v2" (Handle);
}

/// Names of the driver's library, the system's own way of finding it first.
#[cfg(windows)]
const NAMES: &[&str] = &["nvcuda.dll"];
#[cfg(not(windows))]
const NAMES: &[&str] = &["libcuda.so.1", "libcuda.so"];

impl Table {
    /// The driver in `folder`, else the system's; or a sentence that says what is missing.
    pub fn load(folder: Option<&Path>) -> Result<Self, String> {
        let mut tried = Vec::new();
        let inside = folder.into_iter().flat_map(|folder| NAMES.iter().map(move |name| folder.join(name)));
        for path in inside.chain(NAMES.iter().map(|&name| name.into())) {
            // SAFETY: the library is CUDA's driver by its name, whose initialisers are made to be run in any program.
            match unsafe { Library::new(&path) } {
                Ok(library) => {
                    return Self::of(library).map_err(|symbol| {
                        let path = path.display();
                        format!(
                            "{path} has no function {symbol}: the driver is older than CUDA 11.7 (driver 515)"
                        )
                    });
                }
                Err(_) => tried.push(path.display().to_string()),
            }
        }
        Err(format!("CUDA's driver is not installed (none of {} can be loaded)", tried.join(", ")))
    }
}
