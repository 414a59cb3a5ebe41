//! What runs on a device in order: kernels, and graphs of them.

use super::launch::{Grid, Launch};
use super::table::{CU_EVENT_DISABLE_TIMING, CU_STREAM_NON_BLOCKING, KernelNode};
use super::{Gpu, Handle};
use crate::error::{Error, Result};
use std::ffi::c_void;
use std::ptr::null_mut;
use std::sync::Arc;

/// Work of one session, in order.
pub struct Stream {
    gpu: Arc<Gpu>,
    handle: Handle,
}

// SAFETY: the driver's handles belong to no thread.
unsafe impl Send for Stream {}

impl Stream {
    /// An empty one, which waits for no other stream's work.
    pub fn new(gpu: &Arc<Gpu>) -> Result<Self> {
        let _entered = gpu.enter()?;
        let mut handle = null_mut();
        // SAFETY: `handle` outlives the call, and a context is current.
        let status = unsafe { (gpu.table().stream_create)(&mut handle, CU_STREAM_NON_BLOCKING) };
        gpu.check("cuStreamCreate", status)?;
        Ok(Self { gpu: gpu.clone(), handle })
    }

    /// For libraries that put work on it.
    pub fn handle(&self) -> Handle {
        self.handle
    }

    /// Puts a kernel on the stream; the context is current. A kernel's faults are the device's: later calls report them.
    pub fn launch(&self, launch: &Launch) -> Result<()> {
        let Launch { grid: Grid { function, blocks, threads, shared }, arguments } = *launch;
        let mut parameters = [arguments.as_ptr().cast_mut().cast::<c_void>()];
        // SAFETY: `arguments` is the structure that the kernel takes, as its `Function` says, and the driver copies it
        // before it returns; kernels read and write the device's memory alone.
        let status = unsafe {
            (self.gpu.table().launch)(
                function,
                blocks,
                1,
                1,
                threads,
                1,
                1,
                shared,
                self.handle,
                parameters.as_mut_ptr(),
                null_mut(),
            )
        };
        self.gpu.check("cuLaunchKernel", status)
    }

    /// Puts a graph on the stream.
    pub fn launch_graph(&self, graph: &Graph) -> Result<()> {
        // SAFETY: both are alive, and a context is current.
        self.gpu.check("cuGraphLaunch", unsafe { (self.gpu.table().graph_launch)(graph.handle, self.handle) })
    }

    /// Waits until all that was put on it is done, and reports what went wrong on the way.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: the stream is alive, and a context is current.
        self.gpu.check("cuStreamSynchronize", unsafe { (self.gpu.table().stream_wait)(self.handle) })
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        if let Ok(_entered) = self.gpu.enter() {
            // SAFETY: made by `new`; the driver lets its work finish first.
            unsafe { (self.gpu.table().stream_destroy)(self.handle) };
        }
    }
}

/// Kernels that are launched with one call.
pub struct Graph {
    gpu: Arc<Gpu>,
    handle: Handle,
}

impl Graph {
    /// Of launches one after the other; the context is current.
    ///
    /// Node by node, and not captured from a stream: a capture fails, and so does the other call, where another thread of
    /// the process happens to synchronise the device.
    pub fn chain<'a>(gpu: &Arc<Gpu>, launches: impl IntoIterator<Item = Launch<'a>>) -> Result<Self> {
        let table = gpu.table();
        let (mut nodes, mut handle) = (null_mut(), null_mut());
        // SAFETY: `nodes` outlives the call, and no flags are defined.
        gpu.check("cuGraphCreate", unsafe { (table.graph_create)(&mut nodes, 0) })?;
        let mut last = null_mut();
        let added = launches.into_iter().try_for_each(|launch| {
            let Launch { grid: Grid { function, blocks, threads, shared }, arguments } = launch;
            let mut parameters = [arguments.as_ptr().cast_mut().cast::<c_void>()];
            let node = KernelNode {
                function,
                blocks: [blocks, 1, 1],
                threads: [threads, 1, 1],
                shared,
                parameters: parameters.as_mut_ptr(),
                extra: null_mut(),
            };
            let before = last;
            // SAFETY: as for `Stream::launch`; `before` is the node that this graph got last, if any.
            let status = unsafe {
                (table.graph_add_kernel)(&mut last, nodes, &before, usize::from(!before.is_null()), &node)
            };
            gpu.check("cuGraphAddKernelNode", status)
        });
        let made = added.and_then(|()| {
            // SAFETY: `nodes` was made above, and `handle` outlives the call.
            let status = unsafe { (table.graph_instantiate)(&mut handle, nodes, 0) };
            gpu.check("cuGraphInstantiate", status)
        });
        // SAFETY: made above and not used any more.
        unsafe { (table.graph_destroy)(nodes) };
        made.map(|()| Self { gpu: gpu.clone(), handle })
    }
}

// SAFETY: as for `Stream`.
unsafe impl Send for Graph {}

impl Drop for Graph {
    fn drop(&mut self) {
        if let Ok(_entered) = self.gpu.enter() {
            // SAFETY: made by `chain`; who drops it has waited for the stream that it runs on.
            unsafe { (self.gpu.table().graph_exec_destroy)(self.handle) };
        }
    }
}

/// A mark on a stream that the host can wait for.
pub struct Event {
    gpu: Arc<Gpu>,
    handle: Handle,
}

// SAFETY: as for `Stream`.
unsafe impl Send for Event {}

impl Event {
    /// One that counts as reached until it is recorded.
    pub fn new(gpu: &Arc<Gpu>) -> Result<Self> {
        let _entered = gpu.enter()?;
        let mut handle = null_mut();
        // SAFETY: `handle` outlives the call, and a context is current.
        let status = unsafe { (gpu.table().event_create)(&mut handle, CU_EVENT_DISABLE_TIMING) };
        gpu.check("cuEventCreate", status)?;
        Ok(Self { gpu: gpu.clone(), handle })
    }

    /// Marks the end of what was put on `stream` so far.
    pub fn record(&self, stream: &Stream) -> Result<()> {
        // SAFETY: both are alive.
        self.gpu
            .check("cuEventRecord", unsafe { (self.gpu.table().event_record)(self.handle, stream.handle) })
    }

    /// Waits until the stream has come to the mark.
    pub fn wait(&self) -> Result<()> {
        // SAFETY: the event is alive.
        self.gpu.check("cuEventSynchronize", unsafe { (self.gpu.table().event_wait)(self.handle) })
    }
}

impl Drop for Event {
    fn drop(&mut self) {
        if let Ok(_entered) = self.gpu.enter() {
            // SAFETY: made by `new`.
            unsafe { (self.gpu.table().event_destroy)(self.handle) };
        }
    }
}

/// Blocks that give each of `items` a thread, `threads` a block.
pub fn blocks(items: u64, threads: u64) -> Result<u32> {
    let blocks = items.div_ceil(threads);
    // The largest grid; one dimension is enough for every kernel here.
    i32::try_from(blocks).map(|blocks| blocks as u32).map_err(|_| {
        Error::argument(
            "batch",
            format!("{items} elements in one call are more than a CUDA grid holds; use a smaller batch"),
        )
    })
}
