//! A session's convolutions through cuDNN, for who asks for it. Each shape is tuned when it is first met; for a shape
//! that cuDNN has no kernel for, our own is used.

use super::Cuda;
use super::cudnn::{Bias, ConvShape, Cudnn, Plan, Pointers, Taps};
use super::driver::{Gpu, Memory, Stream, blocks};
use super::kernels::{Conv, Element, ImageBias};
use super::layers::eights;
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

impl Cuda {
    /// Notes a convolution for cuDNN, if it was asked for and takes this one: of 16-bit elements, from one activation to
    /// another, as large as it is in memory.
    pub(super) fn convolved_by_cudnn(&mut self, arguments: &Conv, timed: bool) -> Result<bool> {
        let Some(convolver) = &mut self.convolver else { return Ok(false) };
        let a = arguments;
        let plain = a.planes_in == 0 && a.planes_out == 0 && a.channels_b == 0 && a.doubled == 0;
        if !plain || self.device.element == Element::F32 || !eights(a.channels_a) || !eights(a.out_channels) {
            return Ok(false);
        }
        let size = |value: i32| value as usize;
        let bias = if timed {
            Some(self.arena.alloc(size_of::<f32>() * size(a.batch) * size(a.out_channels))?)
        } else {
            None
        };
        if self.arena.planning() {
            return Ok(true);
        }
        let shape = ConvShape {
            batch: size(a.batch),
            height: size(a.height),
            width: size(a.width),
            c_in: size(a.channels_a),
            c_out: size(a.out_channels),
            taps: if a.taps == 9 { Taps::Three } else { Taps::One },
            stride: size(a.stride),
            pad_before: size(a.pad),
            // A stride of 2 has a border on the right and below, whether or not it has another one.
            pad_after: if a.stride == 2 { 1 } else { size(a.pad) },
            element: self.device.element,
            bias: match bias {
                Some(_) => Bias::PerImage { stride: size(a.out_channels) },
                None => Bias::Shared(Element::F32),
            },
            residual: a.residual != 0,
            scale: a.scale,
        };
        let pointers = Pointers {
            x: a.a,
            w: a.weight,
            bias: bias.as_ref().map_or(a.bias, |bias| bias.address()),
            residual: a.residual,
            y: a.out,
            workspace: 0,
        };
        let gpu = self.device.gpu.clone();
        let _entered = gpu.enter()?;
        let Some(plan) = convolver.plan(&self.stream, &shape, &pointers)? else { return Ok(false) };
        if let Some(bias) = bias {
            let arguments = ImageBias {
                bias: a.bias,
                rows: a.rows,
                row_of: a.row_of,
                out: bias.address(),
                batch: a.batch,
                channels: a.out_channels,
                row_stride: a.row_stride,
                row_offset: a.row_offset,
            };
            let values = a.batch as u64 * a.out_channels as u64;
            self.recorder.note(self.device.kernels.image_bias, blocks(values, 256)?, 256, 0, &arguments);
        }
        self.recorder.note_convolution(plan, pointers);
        Ok(true)
    }
}
