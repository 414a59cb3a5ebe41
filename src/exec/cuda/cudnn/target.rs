//! What plans are made for: the device of a handle; in tests also a device that is described and not there.
#![allow(unsafe_code)]

use std::sync::Arc;

use super::descriptor::{Descriptor, Failure, Value};
use super::sys::{Api, Raw, attribute as at};

/// See the module. A handle is destroyed when dropped.
pub(super) enum Target {
    Handle {
        api: Arc<Api>,
        handle: Raw,
    },
    #[cfg(test)]
    Described {
        api: Arc<Api>,
        properties: Descriptor,
    },
}

// SAFETY: a handle may move between threads, as long as one at a time uses it: see `Cudnn`, which alone does.
unsafe impl Send for Target {}
// SAFETY: as above; plans share it only to keep it alive.
unsafe impl Sync for Target {}

impl Target {
    /// A handle on the current device, whose work goes to `stream`.
    ///
    /// # Safety
    /// `stream` is null or a live stream of the current context, and lives as long as the handle is used.
    pub unsafe fn new(api: Arc<Api>, stream: Raw) -> Result<Self, Failure> {
        let mut handle = std::ptr::null_mut();
        // SAFETY: `handle` is where the new handle's address goes.
        let status = unsafe { (api.create)(&mut handle) };
        Failure::check(&api, "cudnnCreate", status)?;
        let target = Target::Handle { api, handle };
        // SAFETY: the handle was just made; the stream is the caller's promise.
        let status = unsafe { (target.api().set_stream)(handle, stream) };
        Failure::check(target.api(), "cudnnSetStream", status)?;
        Ok(target)
    }

    pub fn api(&self) -> &Arc<Api> {
        match self {
            Target::Handle { api, .. } => api,
            #[cfg(test)]
            Target::Described { api, .. } => api,
        }
    }

    /// cuDNN before 9.8 cannot do without.
    pub fn of_graph(&self, graph: &mut Descriptor) -> Result<(), Failure> {
        match self {
            Target::Handle { handle, .. } => graph.set(at::GRAPH_HANDLE, &Value::Handle(*handle)),
            #[cfg(test)]
            Target::Described { .. } => Ok(()),
        }
    }

    /// A handle's device is the graph's.
    pub fn of_heuristics(&self, heuristics: &mut Descriptor) -> Result<(), Failure> {
        match self {
            Target::Handle { .. } => {
                let _ = heuristics;
                Ok(())
            }
            #[cfg(test)]
            Target::Described { properties, .. } => {
                heuristics.set(at::HEURISTICS_DEVICE, &Value::Descriptors(&[properties.raw()]))
            }
        }
    }

    pub fn of_plan(&self, plan: &mut Descriptor) -> Result<(), Failure> {
        match self {
            Target::Handle { handle, .. } => plan.set(at::PLAN_HANDLE, &Value::Handle(*handle)),
            #[cfg(test)]
            Target::Described { properties, .. } => {
                plan.set(at::PLAN_DEVICE, &Value::Descriptors(&[properties.raw()]))
            }
        }
    }

    /// Launches a finished plan.
    ///
    /// # Safety
    /// `plan` and `pack` are finished; the pack's addresses are of memory that the plan's tensors fit into, alive until
    /// the stream has done the work. No other thread is using this handle.
    pub unsafe fn execute(&self, plan: &Descriptor, pack: &Descriptor) -> Result<(), Failure> {
        match self {
            Target::Handle { api, handle } => {
                // SAFETY: the handle and both descriptors are live; the rest is the caller's promise.
                let status = unsafe { (api.execute)(*handle, plan.raw(), pack.raw()) };
                Failure::check(api, "cudnnBackendExecute", status)
            }
            #[cfg(test)]
            Target::Described { api, .. } => Failure::check(api, "cudnnBackendExecute (no device)", 3000),
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        match self {
            // SAFETY: `new` made it, and nobody else destroys it. There is nothing to do about a failure.
            Target::Handle { api, handle } => unsafe {
                (api.destroy)(*handle);
            },
            #[cfg(test)]
            Target::Described { .. } => {}
        }
    }
}
