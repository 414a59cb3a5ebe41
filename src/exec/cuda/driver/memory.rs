//! Memory of the device, and of the host where the device reads and writes it by itself.

use super::table::CUDA_ERROR_OUT_OF_MEMORY;
use super::{Address, Gpu, Stream};
use crate::error::{Error, Result};
use std::ffi::{c_int, c_void};
use std::ptr::{NonNull, null_mut};
use std::sync::Arc;

impl Gpu {
    fn check_alloc(&self, call: &str, what: &'static str, bytes: usize, status: c_int) -> Result<()> {
        match status {
            CUDA_ERROR_OUT_OF_MEMORY => Err(Error::OutOfMemory { what, bytes: bytes as u64 }),
            _ => self.check(call, status),
        }
    }
}

/// Bytes of a device.
pub struct Memory {
    gpu: Arc<Gpu>,
    address: Address,
    bytes: usize,
}

impl Memory {
    /// So many bytes of whatever values, for `what`; none are asked for where `bytes` is 0.
    pub fn alloc(gpu: &Arc<Gpu>, bytes: usize, what: &'static str) -> Result<Self> {
        let mut address = 0;
        if bytes > 0 {
            let _entered = gpu.enter()?;
            // SAFETY: `address` outlives the call, and a context is current.
            let status = unsafe { (gpu.table().alloc)(&mut address, bytes) };
            gpu.check_alloc("cuMemAlloc", what, bytes, status)?;
        }
        Ok(Self { gpu: gpu.clone(), address, bytes })
    }

    /// A copy of `values` on the device.
    pub fn of<T: bytemuck::NoUninit>(gpu: &Arc<Gpu>, values: &[T], what: &'static str) -> Result<Self> {
        let bytes: &[u8] = bytemuck::cast_slice(values);
        let memory = Self::alloc(gpu, bytes.len(), what)?;
        if !bytes.is_empty() {
            let _entered = gpu.enter()?;
            // SAFETY: both sides have `bytes.len()` bytes, and the call returns when it has read them.
            let status = unsafe { (gpu.table().copy_in)(memory.address, bytes.as_ptr().cast(), bytes.len()) };
            gpu.check("cuMemcpyHtoD", status)?;
            // They have been read, but need not have arrived, and sessions' streams wait for no other.
            // SAFETY: null is the stream that the copy was on.
            gpu.check("cuStreamSynchronize", unsafe { (gpu.table().stream_wait)(null_mut()) })?;
        }
        Ok(memory)
    }

    /// Where it begins, a multiple of 256; 0 where it is empty.
    pub fn address(&self) -> Address {
        self.address
    }

    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if self.address != 0
            && let Ok(_entered) = self.gpu.enter()
        {
            // SAFETY: allocated by `alloc`; the driver waits for work that uses it.
            unsafe { (self.gpu.table().free)(self.address) };
        }
    }
}

/// Page-locked bytes of the host.
pub struct Pinned {
    gpu: Arc<Gpu>,
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: it owns its bytes, as a boxed slice does.
unsafe impl Send for Pinned {}

impl Pinned {
    /// So many zeroed bytes; none are asked for where `bytes` is 0.
    pub fn alloc(gpu: &Arc<Gpu>, bytes: usize) -> Result<Self> {
        if bytes == 0 {
            return Ok(Self { gpu: gpu.clone(), start: NonNull::dangling(), bytes });
        }
        let _entered = gpu.enter()?;
        let mut start = null_mut::<c_void>();
        // SAFETY: `start` outlives the call, and a context is current.
        let status = unsafe { (gpu.table().host_alloc)(&mut start, bytes, 0) };
        gpu.check_alloc("cuMemHostAlloc", "page-locked host memory", bytes, status)?;
        let failed = || Error::OutOfMemory { what: "page-locked host memory", bytes: bytes as u64 };
        let start = NonNull::new(start.cast::<u8>()).ok_or_else(failed)?;
        // SAFETY: the driver gave `bytes` writable bytes.
        unsafe { start.write_bytes(0, bytes) };
        Ok(Self { gpu: gpu.clone(), start, bytes })
    }

    /// How many there are.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// All of them.
    ///
    /// # Safety
    /// No copy of this memory is under way on any stream.
    pub unsafe fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: `alloc` got and zeroed them (none, with a dangling start, for 0), and the caller keeps the device away.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.bytes) }
    }

    /// Copies the first `bytes` to the device, some time before what is put on `stream` next.
    ///
    /// # Safety
    /// The memory is neither written nor freed before the stream has come past here, and `to` has room for it.
    pub unsafe fn copy_to(&self, bytes: usize, to: Address, stream: &Stream) -> Result<()> {
        debug_assert!(bytes <= self.bytes);
        // SAFETY: passed on.
        let status = unsafe {
            (self.gpu.table().copy_in_async)(to, self.start.as_ptr().cast(), bytes, stream.handle())
        };
        self.gpu.check("cuMemcpyHtoDAsync", status)
    }

    /// Copies `bytes` of the device to the first ones here, some time after what was put on `stream` before.
    ///
    /// # Safety
    /// The memory is neither read, written nor freed before the stream has come past here, and `from` has so many.
    pub unsafe fn copy_from(&mut self, from: Address, bytes: usize, stream: &Stream) -> Result<()> {
        debug_assert!(bytes <= self.bytes);
        // SAFETY: passed on.
        let status = unsafe {
            (self.gpu.table().copy_out_async)(self.start.as_ptr().cast(), from, bytes, stream.handle())
        };
        self.gpu.check("cuMemcpyDtoHAsync", status)
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        if self.bytes > 0
            && let Ok(_entered) = self.gpu.enter()
        {
            // SAFETY: allocated by `alloc`; who started copies of it has waited for them.
            unsafe { (self.gpu.table().host_free)(self.start.as_ptr().cast()) };
        }
    }
}
