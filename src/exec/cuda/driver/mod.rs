//! CUDA's driver API as owned things: a device with its context, memory, streams, events, kernels, graphs. Each is
//! released when it is dropped, and every status that is not success becomes an [`Error`] with the driver's own words.
//!
//! An own table of forty functions (`table`), and not a crate of bindings: those that load at run time end the program
//! where a symbol is missing, and cannot be told where the library is.

mod launch;
mod memory;
mod stream;
mod table;

pub use launch::{Function, Launch, Launches};
pub use memory::{Memory, Pinned};
pub use stream::{Event, Graph, Stream, blocks};
pub use table::{Address, Handle};

use crate::error::{Error, Result};
use bytemuck::NoUninit;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};
use std::ptr::null_mut;
use std::sync::{Arc, Mutex, PoisonError};
use table::*;

/// Compute capability of the oldest devices that the kernels run on: asynchronous copies and bf16 tensor cores.
const OLDEST_DEVICE: (i32, i32) = (8, 0);

/// The driver, initialised. Never unloaded: its threads may outlive any handle.
pub struct Driver {
    table: Table,
}

/// What there is to know of a device without opening it.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its own name.
    pub name: String,
    /// Bytes.
    pub memory: u64,
    /// Compute capability.
    pub capability: (i32, i32),
}

impl Found {
    /// Whether the kernels run on it.
    pub fn usable(&self) -> bool {
        self.capability >= OLDEST_DEVICE
    }
}

impl Driver {
    /// The driver in `folder`, else the system's, loaded and initialised once a folder; or a sentence that says why it
    /// cannot be used.
    pub fn get(folder: Option<&Path>) -> Result<&'static Self, String> {
        type Loaded = BTreeMap<Option<PathBuf>, Result<&'static Driver, String>>;
        static LOADED: Mutex<Loaded> = Mutex::new(BTreeMap::new());
        let mut loaded = LOADED.lock().unwrap_or_else(PoisonError::into_inner);
        let key = folder.map(Path::to_path_buf);
        loaded
            .entry(key)
            .or_insert_with(|| Self::load(folder).map(|driver| &*Box::leak(Box::new(driver))))
            .clone()
    }

    fn load(folder: Option<&Path>) -> Result<Self, String> {
        let driver = Self { table: Table::load(folder)? };
        let mut version = 0;
        // SAFETY: `version` outlives the call, which may come before `cuInit`.
        let status = unsafe { (driver.table.driver_version)(&mut version) };
        if status == 0 && version < OLDEST {
            let (major, minor) = (version / 1000, version % 1000 / 10);
            return Err(format!(
                "CUDA's driver is of version {major}.{minor}; 11.7 (driver 515) or later is needed"
            ));
        }
        // SAFETY: no flags are defined.
        match unsafe { (driver.table.init)(0) } {
            0 => Ok(driver),
            CUDA_ERROR_NO_DEVICE => Err("CUDA's driver is installed and finds no device".to_owned()),
            status => Err(format!("CUDA's driver cannot be initialised: {}", driver.words(status))),
        }
    }

    /// The driver's name and sentence for a status.
    fn words(&self, status: c_int) -> String {
        let text = |get: unsafe extern "system" fn(c_int, *mut *const c_char) -> c_int| {
            let mut text = std::ptr::null();
            // SAFETY: `text` outlives the call.
            let known = unsafe { get(status, &mut text) } == 0 && !text.is_null();
            // SAFETY: the driver gave a NUL-terminated string of its own, which lives as long as it.
            known.then(|| unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
        };
        match (text(self.table.error_name), text(self.table.error_string)) {
            (Some(name), Some(sentence)) => format!("{name} ({status}): {sentence}"),
            (Some(name), None) => format!("{name} ({status})"),
            _ => format!("status {status}"),
        }
    }

    /// Success, or the device's failure.
    fn check(&self, device: &str, call: &str, status: c_int) -> Result<()> {
        match status {
            0 => Ok(()),
            _ => {
                let message = format!("{call}: {}", self.words(status));
                Err(Error::DeviceFailed { device: device.to_owned(), message })
            }
        }
    }

    /// Every device, by its ordinal; one that does not answer ends the list.
    pub fn devices(&self) -> Vec<Found> {
        let mut count = 0;
        // SAFETY: `count` outlives the call.
        if unsafe { (self.table.device_count)(&mut count) } != 0 {
            return Vec::new();
        }
        (0..count).map_while(|ordinal| self.found(ordinal).ok()).collect()
    }

    fn found(&self, ordinal: c_int) -> Result<Found> {
        let id = format!("cuda:{ordinal}");
        let (mut device, mut memory, mut name) = (0, 0, [0 as c_char; 256]);
        // SAFETY: the results outlive the calls, and `name` is as long as said.
        unsafe {
            self.check(&id, "cuDeviceGet", (self.table.device)(&mut device, ordinal))?;
            let status = (self.table.device_name)(name.as_mut_ptr(), name.len() as c_int, device);
            self.check(&id, "cuDeviceGetName", status)?;
            self.check(&id, "cuDeviceTotalMem", (self.table.device_memory)(&mut memory, device))?;
        }
        let name: Vec<u8> = name.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
        let number = |attribute| self.attribute(&id, device, attribute);
        let major = number(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?;
        let capability = (major, number(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?);
        Ok(Found { name: String::from_utf8_lossy(&name).into_owned(), memory: memory as u64, capability })
    }

    fn attribute(&self, id: &str, device: c_int, attribute: c_int) -> Result<i32> {
        let mut value = 0;
        // SAFETY: `value` outlives the call.
        let status = unsafe { (self.table.device_attribute)(&mut value, attribute, device) };
        self.check(id, "cuDeviceGetAttribute", status).map(|()| value)
    }
}

/// An open device: its primary context, which this library shares with whatever else in the process uses CUDA.
pub struct Gpu {
    driver: &'static Driver,
    /// `cuda:0`
    pub id: String,
    ordinal: c_int,
    context: Handle,
    /// Streaming multiprocessors.
    pub multiprocessors: u32,
    /// Bytes of shared memory that a block may ask for.
    pub shared_limit: u32,
}

// SAFETY: the driver's functions may be called from any thread, and its handles belong to no thread.
unsafe impl Send for Gpu {}
// SAFETY: as above; nothing in it changes.
unsafe impl Sync for Gpu {}

impl Gpu {
    /// The device `cuda:ordinal`, or DEVICE_UNAVAILABLE with the reason.
    pub fn open(folder: Option<&Path>, ordinal: usize) -> Result<Arc<Self>> {
        let id = format!("cuda:{ordinal}");
        let unavailable = |message: String| Error::DeviceUnavailable { device: id.clone(), message };
        let driver = Driver::get(folder).map_err(unavailable)?;
        let devices = driver.devices();
        let Some(found) = devices.get(ordinal) else {
            return Err(unavailable(format!("there are {} CUDA devices", devices.len())));
        };
        if !found.usable() {
            let (major, minor) = found.capability;
            let message =
                format!("{} is of compute capability {major}.{minor}; 8.0 or later is needed", found.name);
            return Err(unavailable(message));
        }
        let (mut ordinal, mut context) = (ordinal as c_int, null_mut());
        // SAFETY: the results outlive the calls.
        unsafe {
            driver.check(&id, "cuDeviceGet", (driver.table.device)(&mut ordinal, ordinal))?;
            let status = (driver.table.context_retain)(&mut context, ordinal);
            driver.check(&id, "cuDevicePrimaryCtxRetain", status)?;
        }
        let number = |attribute, otherwise| {
            driver.attribute(&id, ordinal, attribute).map_or(otherwise, |value| value.max(0) as u32)
        };
        let multiprocessors = number(CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 1);
        let shared_limit = number(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, 48 << 10);
        Ok(Arc::new(Self { driver, id, ordinal, context, multiprocessors, shared_limit }))
    }

    /// Makes the context this thread's, until the guard is dropped. Till then another thread of the process may capture
    /// its own streams, and this one allocate and copy as it needs: it touches none of them.
    pub fn enter(&self) -> Result<Entered<'_>> {
        // SAFETY: `context` was retained by `open` and is released by `drop` alone.
        let status = unsafe { (self.driver.table.context_push)(self.context) };
        self.check("cuCtxPushCurrent", status)?;
        let mut entered = Entered { gpu: self, mode: CU_STREAM_CAPTURE_MODE_RELAXED };
        entered.exchange_capture_mode();
        Ok(entered)
    }

    /// Another one for another driver of this process.
    pub fn driver_number(&self) -> usize {
        std::ptr::from_ref(self.driver).addr()
    }

    /// Bytes free, and in all.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let _entered = self.enter()?;
        let (mut free, mut total) = (0, 0);
        // SAFETY: the results outlive the call, and a context is current.
        let status = unsafe { (self.driver.table.memory_info)(&mut free, &mut total) };
        self.check("cuMemGetInfo", status)?;
        Ok((free as u64, total as u64))
    }

    fn check(&self, call: &str, status: c_int) -> Result<()> {
        self.driver.check(&self.id, call, status)
    }

    fn table(&self) -> &Table {
        &self.driver.table
    }
}

impl Drop for Gpu {
    fn drop(&mut self) {
        // SAFETY: `open` retained it once, and all that lived in it held this `Gpu` and is gone.
        unsafe { (self.driver.table.context_release)(self.ordinal) };
    }
}

/// A context made current.
pub struct Entered<'a> {
    gpu: &'a Gpu,
    /// The thread's mode of capture before.
    mode: c_int,
}

impl Entered<'_> {
    fn exchange_capture_mode(&mut self) {
        // SAFETY: `mode` outlives the call, which cannot fail: it holds a mode, the first time relaxed.
        unsafe { (self.gpu.driver.table.exchange_capture_mode)(&mut self.mode) };
    }
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        self.exchange_capture_mode();
        // SAFETY: undoes the push of `enter` on this thread: the guard is neither sent nor leaked.
        unsafe { (self.gpu.driver.table.context_pop)(null_mut()) };
    }
}

/// Compiled kernels.
pub struct Module {
    gpu: Arc<Gpu>,
    handle: Handle,
    /// Bytes of what each kernel takes.
    takes: BTreeMap<String, usize>,
}

// SAFETY: as for `Gpu`.
unsafe impl Send for Module {}
// SAFETY: as for `Gpu`.
unsafe impl Sync for Module {}

impl Module {
    /// Lets the driver compile `ptx`.
    pub fn load(gpu: &Arc<Gpu>, ptx: &str) -> Result<Self> {
        let _entered = gpu.enter()?;
        let text = CString::new(ptx).map_err(|_| Error::Internal("PTX with a NUL".into()))?;
        let mut handle = null_mut();
        // What the driver's compiler has to say, if it refuses.
        let mut log = [0_u8; 2048];
        let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
        let mut values = [log.as_mut_ptr().cast::<c_void>(), (log.len() - 1) as *mut c_void];
        // SAFETY: the text is NUL-terminated PTX that outlives the call, as the log does, which is longer than said; a
        // context is current.
        let status = unsafe {
            let (options, values) = (options.as_mut_ptr(), values.as_mut_ptr());
            (gpu.table().module_load)(&mut handle, text.as_ptr().cast(), 2, options, values)
        };
        let log = CStr::from_bytes_until_nul(&log).map(CStr::to_string_lossy).unwrap_or_default();
        gpu.check(format!("cuModuleLoadDataEx {}", log.trim()).trim_end(), status)?;
        Ok(Self { gpu: gpu.clone(), handle, takes: argument_bytes(ptx) })
    }

    /// The kernel `name`, which takes an `A`, with leave to use all shared memory there is.
    pub fn function<A: NoUninit>(&self, name: &str) -> Result<Function<A>> {
        let (takes, given) = (self.takes.get(name).copied(), size_of::<A>());
        if takes != Some(given) {
            let message = format!("the kernel {name} takes {takes:?} bytes, its arguments are {given}");
            return Err(Error::Internal(message));
        }
        let _entered = self.gpu.enter()?;
        let table = self.gpu.table();
        let text = CString::new(name).map_err(|_| Error::Internal("a kernel's name with a NUL".into()))?;
        let (mut handle, mut own) = (null_mut(), 0);
        // SAFETY: the name is NUL-terminated and the results outlive the calls; a context is current.
        unsafe {
            let status = (table.module_function)(&mut handle, self.handle, text.as_ptr());
            self.gpu.check(&format!("cuModuleGetFunction({name})"), status)?;
            // What a kernel has of its own comes off the limit.
            let status = (table.function_attribute)(&mut own, CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES, handle);
            self.gpu.check(&format!("cuFuncGetAttribute({name})"), status)?;
            let rest = self.gpu.shared_limit as c_int - own;
            let attribute = CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
            let status = (table.set_function_attribute)(handle, attribute, rest);
            self.gpu.check(&format!("cuFuncSetAttribute({name})"), status)?;
        }
        Ok(Function::new(handle))
    }
}

/// What the kernels of `ptx` take: `.entry name(.param .align 8 .b8 name_param_0[136])`.
fn argument_bytes(ptx: &str) -> BTreeMap<String, usize> {
    let entries = ptx.split(".entry ").skip(1);
    let kernel = |entry: &str| {
        let (name, parameters) = entry.split_once('(')?;
        let bytes = parameters.split_once('[')?.1.split_once(']')?.0.parse().ok()?;
        Some((name.trim().to_owned(), bytes))
    };
    entries.filter_map(kernel).collect()
}

impl Drop for Module {
    fn drop(&mut self) {
        if let Ok(_entered) = self.gpu.enter() {
            // SAFETY: loaded by `load`, and nothing launches its kernels any more: who does holds the module.
            unsafe { (self.gpu.table().module_unload)(self.handle) };
        }
    }
}
