//! A session's convolutions through cuDNN, for who asks for it. Each shape is tuned when it is first met; for a shape
//! that cuDNN has no kernel for, our own is used.

use super::cudnn::{ConvShape, Cudnn, Plan, Pointers};
use super::driver::{Gpu, Memory, Stream};
use crate::error::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Bytes that a kernel may use beside its operands. Those that want more gain little, and want hundreds of megabytes.
const WORKSPACE: usize = 64 << 20;
/// Kernels tried a shape; each takes up to half a second to compile.
const CANDIDATES: usize = 4;
/// Launches timed a kernel.
const RUNS: u32 = 5;

/// cuDNN on a session's stream.
pub struct Convolver {
    cudnn: Cudnn,
    plans: Vec<(ConvShape, Option<Arc<Plan>>)>,
    workspace: Memory,
}

impl Convolver {
    /// Loads cuDNN from `folder`, else the system's. The context is current, and is when this is dropped.
    pub fn open(gpu: &Arc<Gpu>, folder: Option<&Path>, stream: &Stream) -> Result<Self> {
        // SAFETY: the stream is the session's, which drops this first, in its context.
        let cudnn = unsafe { Cudnn::open(folder, &gpu.id, stream.handle())? };
        let workspace = Memory::alloc(gpu, WORKSPACE, "cuDNN's workspace")?;
        Ok(Self { cudnn, plans: Vec::new(), workspace })
    }

    /// Bytes held on the device.
    pub fn bytes(&self) -> u64 {
        self.workspace.bytes() as u64
    }

    /// The number of the plan of a shape, tuned on these operands when it is new; none where cuDNN has no kernel. What is
    /// at `y` is overwritten; the context is current.
    pub fn plan(&mut self, stream: &Stream, shape: &ConvShape, pointers: &Pointers) -> Result<Option<usize>> {
        let known = self.plans.iter().position(|(known, _)| known == shape);
        let place = match known {
            Some(place) => place,
            None => {
                let pointers = Pointers { workspace: self.workspace.address(), ..*pointers };
                let mut timer = |run: &mut dyn FnMut() -> Result<()>| {
                    run()?;
                    stream.wait()?;
                    let start = Instant::now();
                    (0..RUNS).try_for_each(|_| run())?;
                    stream.wait()?;
                    Ok(start.elapsed().as_secs_f32() * 1e3 / RUNS as f32)
                };
                // SAFETY: the operands are this session's memory, as large as `shape` says, and all work on them is on
                // this stream.
                let tuned = unsafe { self.cudnn.tune(shape, WORKSPACE, CANDIDATES, &pointers, &mut timer) };
                let plan = match tuned {
                    Ok(plan) => Some(plan),
                    // No kernel, or none that runs; a device that is lost says so again at once.
                    Err(Error::DeviceFailed { .. }) => None,
                    Err(error) => return Err(error),
                };
                self.plans.push((*shape, plan));
                self.plans.len() - 1
            }
        };
        Ok(self.plans[place].1.is_some().then_some(place))
    }

    /// Puts a plan on the stream.
    pub fn run(&self, plan: usize, pointers: &Pointers) -> Result<()> {
        let pointers = Pointers { workspace: self.workspace.address(), ..*pointers };
        match self.plans.get(plan) {
            // SAFETY: as in `plan`, which gave this number for a shape of these operands.
            Some((_, Some(plan))) => unsafe { self.cudnn.run(plan, &pointers) },
            _ => Err(Error::Internal(format!("no plan {plan}"))),
        }
    }
}
