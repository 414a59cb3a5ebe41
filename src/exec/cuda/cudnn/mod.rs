//! Convolutions through cuDNN 9: the kernel with all that follows it up to the rounding, as one launch.
//!
//! cuDNN is found at run time. `graph` describes a convolution, `plan` has cuDNN propose kernels for it; the fastest one
//! that keeps the numerics is kept.
#![allow(unsafe_code)]

mod descriptor;
#[cfg(all(test, target_os = "linux"))]
mod deviceless;
mod graph;
mod plan;
mod shape;
mod sys;
mod target;
#[cfg(all(test, target_os = "linux"))]
mod tests;

use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use plan::Plan;
pub use shape::{Bias, ConvShape, Taps};

use crate::error::{Error, Result};
use descriptor::Failure;
use sys::Api;
use target::Target;

/// Device addresses of one run, multiples of 16 bytes. What the shape does not have is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pointers {
    /// See [`ConvShape`].
    pub x: u64,
    /// See [`ConvShape`].
    pub w: u64,
    /// See [`Bias`].
    pub bias: u64,
    /// See [`ConvShape`].
    pub residual: u64,
    /// See [`ConvShape`]. Overlaps none of the others: cuDNN promises nothing for that.
    pub y: u64,
    /// [`Plan::workspace`] bytes; while tuning, as many as the limit allows.
    pub workspace: u64,
}

/// Runs what it is given several times on the stream and gives the milliseconds of one.
pub type Timer<'a> = &'a mut dyn FnMut(&mut dyn FnMut() -> Result<()>) -> Result<f32>;

/// Where cuDNN is: in `folder`, or where the system looks (none). It can be loaded.
///
/// # Errors
/// `DEVICE_UNAVAILABLE`, with what is missing.
pub fn find(folder: Option<&Path>, device: &str) -> Result<Option<PathBuf>> {
    let place = sys::place(folder);
    Api::load(place, device)?;
    Ok(place.map(Path::to_path_buf))
}

/// cuDNN on one stream, with the plans made so far. May move between threads, serves one at a time.
pub struct Cudnn {
    target: Arc<Target>,
    device: String,
    /// Few, and looked up when a network is laid out, not when it runs.
    plans: Vec<Kept>,
    _one_thread_at_a_time: PhantomData<Cell<()>>,
}

struct Kept {
    plan: Arc<Plan>,
    tuned: bool,
}

impl Cudnn {
    /// Loads cuDNN and makes a handle on the current device. `path` is the library or the folder that has it, None the
    /// system's search; `device` goes into errors.
    ///
    /// # Errors
    /// `DEVICE_UNAVAILABLE` without cuDNN 9.0 or later, `DEVICE_FAILED` and `OUT_OF_MEMORY` from cuDNN itself.
    ///
    /// # Safety
    /// `stream` is null or a live stream of the current context. Both outlive this and every plan it makes, and the
    /// context is current in each call and in the last drop of any of them.
    pub unsafe fn open(path: Option<&Path>, device: &str, stream: *mut c_void) -> Result<Self> {
        let api = Api::load(path, device)?;
        let subject = format!("cuDNN {}", api.version_text());
        // SAFETY: the caller's promise.
        let target = unsafe { Target::new(api, stream) };
        let target = target.map_err(|failure| failure.into_error(device, &subject, 0))?;
        Ok(Self::on(target, device))
    }

    fn on(target: Target, device: &str) -> Self {
        let (target, device) = (Arc::new(target), device.to_owned());
        Self { target, device, plans: Vec::new(), _one_thread_at_a_time: PhantomData }
    }

    /// The release, as `9.28.1`.
    pub fn version(&self) -> String {
        self.target.api().version_text()
    }

    /// The kept plan of this shape, tuned or not, else the first of cuDNN's proposals that works within
    /// `workspace_limit` bytes. Runs nothing.
    ///
    /// # Errors
    /// `DEVICE_FAILED` where cuDNN has none that keeps the numerics, with its reasons; `OUT_OF_MEMORY`.
    #[cfg(test)]
    pub fn plan(&mut self, shape: &ConvShape, workspace_limit: usize) -> Result<Arc<Plan>> {
        if let Some(kept) = self.kept(shape, workspace_limit) {
            return Ok(kept.plan.clone());
        }
        let mut plans = self.candidates(shape, workspace_limit, 1)?;
        Ok(self.keep(plans.swap_remove(0), false))
    }

    /// The tuned plan of this shape, else the fastest of the first `candidates` proposals that work within
    /// `workspace_limit` bytes. Compiling takes up to half a second a candidate.
    ///
    /// # Errors
    /// As [`Cudnn::plan`]; the timer's own where every candidate fails.
    ///
    /// # Safety
    /// As [`Cudnn::run`], with `workspace_limit` bytes at `pointers.workspace`. What is at `y` is overwritten.
    pub unsafe fn tune(
        &mut self,
        shape: &ConvShape,
        workspace_limit: usize,
        candidates: usize,
        pointers: &Pointers,
        timer: Timer,
    ) -> Result<Arc<Plan>> {
        if let Some(kept) = self.kept(shape, workspace_limit).filter(|kept| kept.tuned) {
            return Ok(kept.plan.clone());
        }
        let mut fastest: Option<(f32, Plan)> = None;
        let mut failure = None;
        for plan in self.candidates(shape, workspace_limit, candidates.max(1))? {
            // SAFETY: the caller's promise, which covers every plan of this shape within the limit.
            match timer(&mut || unsafe { self.run(&plan, pointers) }) {
                Ok(time) => {
                    let least = fastest.as_ref().map_or(f32::INFINITY, |(least, _)| *least);
                    if time < least {
                        fastest = Some((time, plan));
                    }
                }
                Err(error) => failure = Some(error),
            }
        }
        match (fastest, failure) {
            (Some((_, plan)), _) => Ok(self.keep(plan, true)),
            (None, Some(error)) => Err(error),
            (None, None) => Err(Error::Internal(format!("{shape}: a timer that gives no number"))),
        }
    }

    /// Launches the convolution on the stream, and returns before it is done.
    ///
    /// # Errors
    /// `DEVICE_FAILED` and `OUT_OF_MEMORY` from cuDNN, which names the call and the shape.
    ///
    /// # Safety
    /// `plan` is of this `Cudnn`. Each address that the shape needs is one of device memory as large as [`ConvShape`]
    /// says, that lives, and that nobody else writes, until the stream has done the work.
    pub unsafe fn run(&self, plan: &Plan, pointers: &Pointers) -> Result<()> {
        // SAFETY: the caller's promise; `Cudnn` is not `Sync`, so no other thread is using the handle.
        unsafe { self.launch(plan, pointers) }
            .map_err(|failure| failure.into_error(&self.device, &plan.shape.to_string(), plan.workspace()))
    }

    /// # Safety
    /// As [`Cudnn::run`].
    unsafe fn launch(&self, plan: &Plan, pointers: &Pointers) -> Result<(), Failure> {
        let pack = plan.pack(self.target.api(), pointers)?;
        // SAFETY: the caller's promise; the factor's address is of the plan, and read before the call returns.
        unsafe { self.target.execute(&plan.descriptor, &pack) }
    }

    fn candidates(&self, shape: &ConvShape, workspace_limit: usize, most: usize) -> Result<Vec<Plan>> {
        shape.check()?;
        let (plans, refusals) = plan::candidates(&self.target, shape, workspace_limit, most)
            .map_err(|failure| failure.into_error(&self.device, &shape.to_string(), 0))?;
        if plans.is_empty() {
            let message = format!("{shape}: cuDNN {}: {refusals}", self.version());
            return Err(Error::DeviceFailed { device: self.device.clone(), message });
        }
        Ok(plans)
    }

    fn kept(&self, shape: &ConvShape, workspace_limit: usize) -> Option<&Kept> {
        self.plans.iter().find(|kept| kept.plan.shape == *shape && kept.plan.workspace() <= workspace_limit)
    }

    fn keep(&mut self, plan: Plan, tuned: bool) -> Arc<Plan> {
        let plan = Arc::new(plan);
        self.plans.retain(|kept| kept.plan.shape != plan.shape);
        self.plans.push(Kept { plan: plan.clone(), tuned });
        plan
    }
}

impl std::fmt::Debug for Cudnn {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        write!(f, "cuDNN {} on {}, {} plans", self.version(), self.device, self.plans.len())
    }
}
