//! The CUDA executor.
//!
//! Nothing of CUDA is linked: the driver is loaded when a device is asked for (`driver`, `probe`), so the library starts
//! and runs on the CPU where there is none. Kernels are this folder's own (`kernels/*.cuh`), compiled to PTX that is
//! committed beside them, which the driver compiles for the device at hand.
//!
//! Activations are channels-last, in bf16, f16 or f32, in slots of one allocation (`arena`), planned once; sums, norms,
//! the time embedding and the sampler's state are f32. An operation notes its kernels (`recorder`); where the sampler
//! needs their result they are launched together, as a graph that is made once a batch size, node by node: a process whose
//! other threads use CUDA is not disturbed, as by a capture. Noise is drawn on the device, with the host's bits, and pixels
//! are made there.
//!
//! Results do not depend on the batch: every sum has an order of its own. A session has one stream, and sessions on one
//! device run side by side, which is how a job keeps a device busy while pixels are copied.
//!
//! Convolutions of 1x1 and 3x3, and with them q, k, v and every other linear layer, are one kernel (`kernels/conv.cuh`), so
//! there is no cuBLASLt. cuDNN's convolutions (`convolver`, `cudnn`) are for who asks: whose kernel is the fastest is not
//! measured yet, and cuDNN's take a few seconds a batch size to be compiled and tuned, and differ in the last bits from one
//! batch size to the next.
//!
//! `engine/check.rs` compares a device's answers with the CPU's before a process first draws on it.
//!
//! A cancelled call ends before its next network call; up to four may be under way.
//!
//! Predicted for 50,000 CIFAR-10 images on one H200, and to be measured: 1.6 to 2 s. Convolutions some 1.2 to 1.6 s, bound by
//! shared memory's port and by `mma.sync`, which reaches some 0.6 of what `wgmma` does, each within a tenth of the other;
//! norms 0.2 to 0.3 s, attention and both ends 0.15 s. What would come next: weights through the first cache, which two
//! blocks side by side may share; pixels copied to shared memory once for all nine taps, with their border; `wgmma` fed by
//! bulk copies, for sm_90a; sums of the next norm in the convolution's epilogue.
//!
//! Verified without a GPU, see `tests/library/cuda.rs`: the kernels' own source runs on an emulator of CUDA's execution model,
//! below a driver on paper, and gives what the reference executor gives; the PTX is assembled for
//! sm_80 to sm_120, by CUDA 13.0's assembler and by the oldest driver's. **Not run on a GPU yet, and no speed is measured.**
#![allow(unsafe_code)]

mod arena;
mod convolver;
mod cudnn;
mod driver;
mod emit;
mod kernels;
mod layers;
pub mod probe;
mod recorder;
mod time;
mod upload;
mod weights;

pub use kernels::Element;
pub use time::{Rows, Time};
pub use weights::{Attention, Conv, CudaDevice, Identity, Norm};

use super::{
    AttentionWeights, ConvWeights, Executor, Flag, Input, LinearWeights, NormActConv, NormWeights, Resize,
    Step, TimeWeights,
};
use crate::error::{Error, Result};
use crate::image::Layout;
use arena::{Arena, Slot};
use convolver::Convolver;
use driver::{Memory, Stream, blocks};
use emit::Output;
use kernels::int;
use recorder::Recorder;
use std::sync::Arc;
use time::Embedding;
use upload::Upload;

/// Uploads of timesteps and seeds under way at most, and so how many network calls the host may be ahead.
const AHEAD: usize = 4;

/// One session's stream and memory.
pub struct Cuda {
    blocks_wanted: u32,
    recorder: Recorder,
    /// Where cuDNN was asked for.
    convolver: Option<Convolver>,
    arena: Arena,
    embedding: Embedding,
    output: Output,
    /// Timesteps, labels and seeds.
    small: Upload,
    /// Noise that the caller gives.
    large: Upload,
    /// A call's seeds.
    seeds: Memory,
    planned: Planned,
    stack: Vec<Act>,
    // Late, so that all the memory above is freed, which waits for its work, while there is a stream; and the kernels
    // after the graphs of them.
    stream: Stream,
    device: Arc<CudaDevice>,
}

/// The largest state that rehearsals have met.
#[derive(Clone, Copy, Default)]
struct Planned {
    /// Images.
    batch: usize,
    /// Bytes.
    state: usize,
    /// Bytes of all channels of one row.
    row: usize,
}

/// An activation: (batch, height, width, channels) elements.
pub struct Act {
    slot: Slot,
    /// (batch, channels, height, width)
    shape: [usize; 4],
}

/// A batch of float images: (batch, channels, height, width) floats.
pub struct State {
    slot: Slot,
    shape: [usize; 4],
}

impl Cuda {
    /// A session's executor.
    pub fn new(device: Arc<CudaDevice>) -> Result<Self> {
        let blocks_wanted = device.gpu.multiprocessors;
        Self::occupying(device, blocks_wanted)
    }

    /// One whose convolutions have the largest tiles of which there are `blocks_wanted`; the tile changes no bit.
    pub fn occupying(device: Arc<CudaDevice>, blocks_wanted: u32) -> Result<Self> {
        let gpu = &device.gpu;
        let stream = Stream::new(gpu)?;
        let entered = gpu.enter()?;
        let convolver = device.cudnn.as_ref().map(|folder| Convolver::open(gpu, folder.as_deref(), &stream));
        let convolver = convolver.transpose()?;
        drop(entered);
        Ok(Self {
            blocks_wanted,
            recorder: Recorder::default(),
            convolver,
            arena: Arena::new(gpu)?,
            embedding: Embedding::new(gpu)?,
            output: Output::new(gpu)?,
            small: Upload::new(gpu, AHEAD),
            large: Upload::new(gpu, 1),
            seeds: Memory::alloc(gpu, 0, "seeds")?,
            planned: Planned::default(),
            stack: Vec::new(),
            stream,
            device,
        })
    }

    fn new_slot(&self, shape: [usize; 4], element: usize) -> Result<Slot> {
        let bytes = shape.iter().try_fold(element, |bytes, &side| bytes.checked_mul(side));
        self.arena.alloc(bytes.ok_or(Error::OutOfMemory { what: "an activation", bytes: u64::MAX })?)
    }

    fn new_act(&self, shape: [usize; 4]) -> Result<Act> {
        Ok(Act { slot: self.new_slot(shape, self.device.element.bytes())?, shape })
    }

    fn new_state(&mut self, shape: [usize; 4]) -> Result<State> {
        let slot = self.new_slot(shape, size_of::<f32>())?;
        let bytes = |sides: &[usize]| size_of::<f32>() * sides.iter().product::<usize>();
        let Planned { batch, state, row } = &mut self.planned;
        *batch = shape[0].max(*batch);
        *state = bytes(&shape).max(*state);
        *row = bytes(&[shape[1], shape[3]]).max(*row);
        Ok(State { slot, shape })
    }

    /// Puts what was noted on the stream; the context is current.
    fn flush(&mut self) -> Result<()> {
        self.recorder.flush(&self.device.gpu, &self.stream, self.convolver.as_ref())
    }

    /// Puts an elementwise kernel on the stream, after all that was noted.
    fn launch<A: bytemuck::NoUninit>(
        &mut self,
        function: driver::Function<A>,
        items: u64,
        arguments: &A,
    ) -> Result<()> {
        self.flush()?;
        self.stream.launch(&function.launch(blocks(items, 256)?, 256, 0, arguments))
    }

    /// Gets what the rehearsal counted.
    fn end_plan(&mut self) -> Result<()> {
        let gpu = self.device.gpu.clone();
        let _entered = gpu.enter()?;
        // What is replaced may still be in use.
        self.stream.wait()?;
        if self.arena.end_plan()? {
            self.recorder.forget();
        }
        let Planned { batch, state, row } = self.planned;
        self.embedding.reserve(&mut self.small)?;
        // Whether noise comes as seeds or as floats, from one call to the next.
        self.small.reserve(size_of::<u64>() * batch)?;
        self.large.reserve(state)?;
        if self.seeds.bytes() < size_of::<u64>() * batch {
            self.seeds = Memory::alloc(&gpu, size_of::<u64>() * batch, "seeds on the device")?;
        }
        self.output.reserve(state, row)
    }
}

impl Executor for Cuda {
    type Device = CudaDevice;
    type Conv = Conv;
    type Linear = Conv;
    type Norm = Norm;
    type Attention = Attention;
    type Time = Time;
    type Rows = Rows;
    type Act = Act;
    type State = State;

    fn prepare_conv(device: &CudaDevice, weights: &ConvWeights) -> Result<Conv> {
        Conv::new(device, weights)
    }
    fn prepare_linear(device: &CudaDevice, weights: &LinearWeights) -> Result<Conv> {
        Conv::stacked(device, std::slice::from_ref(weights))
    }
    fn prepare_norm(device: &CudaDevice, weights: &NormWeights) -> Result<Norm> {
        Norm::new(device, weights)
    }
    fn prepare_attention(device: &CudaDevice, weights: &AttentionWeights) -> Result<Attention> {
        Attention::new(device, weights)
    }
    fn prepare_time(device: &CudaDevice, weights: &TimeWeights) -> Result<Time> {
        Time::new(device, weights)
    }
    fn prepared_bytes(device: &CudaDevice) -> u64 {
        device.prepared_bytes()
    }

    fn take_stack(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.stack)
    }
    fn keep_stack(&mut self, stack: Vec<Act>) {
        self.stack = stack;
    }

    fn plan(&mut self, work: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.recorder.clear();
        let before = (self.planned, self.embedding.planned());
        self.arena.begin_plan();
        let planned = match work(self) {
            Ok(()) => self.end_plan(),
            Err(error) => {
                self.arena.abandon_plan();
                Err(error)
            }
        };
        // What there was no memory for is not asked for again with less.
        planned.inspect_err(|_| {
            self.planned = before.0;
            self.embedding.restore(before.1);
        })
    }
    fn scratch_bytes(&self) -> u64 {
        let workspace = self.convolver.as_ref().map_or(0, Convolver::bytes);
        self.arena.bytes() + self.embedding.bytes() + self.output.bytes() + workspace
    }
    fn begin(&mut self, _: [Option<&Flag>; 2]) {
        self.recorder.clear();
    }

    fn load(&mut self, shape: [usize; 4], fill: &mut dyn FnMut(&mut [f32])) -> Result<State> {
        let state = self.new_state(shape)?;
        let bytes = size_of::<f32>() * shape.iter().product::<usize>();
        if self.arena.planning() {
            return Ok(state);
        }
        let gpu = self.device.gpu.clone();
        let _entered = gpu.enter()?;
        self.flush()?;
        self.large
            .send(bytes, state.slot.address(), &self.stream, |bytes| fill(bytemuck::cast_slice_mut(bytes)))?;
        Ok(state)
    }

    fn noise(&mut self, shape: [usize; 4], seeds: &[u64], (stream, scale): (u32, f32)) -> Result<State> {
        let state = self.new_state(shape)?;
        let [batch, rest @ ..] = shape;
        if self.arena.planning() {
            return Ok(state);
        }
        if seeds.len() != batch {
            return Err(Error::Internal(format!("{} seeds for {batch} images", seeds.len())));
        }
        let gpu = self.device.gpu.clone();
        let _entered = gpu.enter()?;
        // What was noted may use the memory that the state got.
        self.flush()?;
        self.small.send(size_of_val(seeds), self.seeds.address(), &self.stream, |bytes| {
            bytes.copy_from_slice(bytemuck::cast_slice(seeds));
        })?;
        let elements: usize = rest.iter().product();
        let arguments = kernels::Noise {
            seeds: self.seeds.address(),
            out: state.slot.address(),
            batch: int(batch)?,
            elements: int(elements)?,
            stream,
            scale,
        };
        self.launch(self.device.kernels.noise, (batch * elements.div_ceil(4)) as u64, &arguments)?;
        Ok(state)
    }

    fn time(&mut self, time: &Time, times: &[f32], labels: Option<&[i32]>) -> Result<Rows> {
        if self.arena.planning() {
            return Ok(self.embedding.plan(time, times.len()));
        }
        let gpu = self.device.gpu.clone();
        let _entered = gpu.enter()?;
        // What was noted may read the rows of another call.
        self.flush()?;
        self.embedding.rows(&self.device, (&self.stream, &mut self.small), time, times, labels)
    }

    fn conv_in(&mut self, x: &State, conv: &Conv) -> Result<Act> {
        self.first_conv(x, conv)
    }
    fn norm_act_conv(&mut self, x: Input<Act>, op: NormActConv<Self>) -> Result<Act> {
        self.normalised_conv(x, &op)
    }
    fn pointwise(&mut self, x: Input<Act>, linear: &Conv) -> Result<Act> {
        self.linear(x, linear)
    }
    fn attention(&mut self, x: &Act, attention: &Attention) -> Result<Act> {
        self.self_attention(x, attention)
    }
    fn resize(&mut self, x: &Act, resize: Resize) -> Result<Act> {
        self.resized(x, resize)
    }
    fn downsample(&mut self, x: &Act, conv: &Conv) -> Result<Act> {
        self.resample(x, conv)
    }
    fn upsample(&mut self, x: &Act, conv: &Conv) -> Result<Act> {
        self.resample(x, conv)
    }
    fn conv_out(&mut self, x: &Act, norm: &Norm, conv: &Conv) -> Result<State> {
        self.last_conv(x, norm, conv)
    }

    fn combine(&mut self, x: State, net: &State, noise: Option<&State>, step: &Step) -> Result<State> {
        if net.shape != x.shape || noise.is_some_and(|noise| noise.shape != x.shape) {
            return Err(Error::Internal(format!("a step of {:?} beside {:?}", x.shape, net.shape)));
        }
        if self.arena.planning() {
            return Ok(x);
        }
        let clipped = step.clipped.unwrap_or_default();
        let ((x_factor, net_factor), kind) = match step.spread {
            Some(spread) => (spread, 2),
            None => ((step.x, step.net), step.clipped.is_some().into()),
        };
        let arguments = kernels::Combine {
            x: x.slot.address(),
            net: net.slot.address(),
            fresh: noise.map_or(0, |noise| noise.slot.address()),
            count: x.shape.iter().product::<usize>() as u64,
            x_factor,
            net_factor,
            fresh_factor: step.noise,
            clipped_x: clipped.x,
            clipped_net: clipped.net,
            limit: clipped.limit,
            weight: clipped.weight,
            kind,
        };
        let gpu = self.device.gpu.clone();
        let _entered = gpu.enter()?;
        self.launch(self.device.kernels.combine, arguments.count, &arguments)?;
        Ok(x)
    }

    fn emit(&mut self, x: &State, layout: &Layout, out: &mut [u8]) -> Result<()> {
        if self.arena.planning() {
            return Ok(());
        }
        let gpu = self.device.gpu.clone();
        let _entered = gpu.enter()?;
        self.flush()?;
        self.output.write(&self.device, &self.stream, x, layout, out)
    }
}

impl Drop for Cuda {
    fn drop(&mut self) {
        // A cancelled call leaves work under way.
        if let Ok(_entered) = self.device.gpu.enter() {
            let _ = self.stream.wait();
            // cuDNN wants its context.
            self.convolver = None;
        }
    }
}
