//! The fast CPU executor.
//!
//! Activations are NHWC floats in slots of one arena (`arena`), planned once. A 3x3 convolution reads its
//! normalised, activated, zero-bordered input plane (`plane`). At stride 1 it runs by Winograd's algorithms
//! (`winograd`, with `filters` transformed at load); otherwise, and where memory counts more than speed, it is one
//! GEMM (`gemm`) over weights packed at load (`pack`). Attention of one head takes four products in place of six
//! (`fold`). The loops in the middle (`isa`) are the only code that names registers. A call allocates nothing, and its
//! results depend neither on the batch nor on the number of threads.
//!
//! Operands are floats, or weights are bf16, two in a word; only `isa` knows how those are multiplied.
//!
//! What was tried and left: doubling and convolving as four 2x2 phases does 2.25 times less work, Winograd on the
//! doubled plane four times less; fetching weights straight into the first cache past the second one
//! (non-temporal) reads them at half the rate; sharing transformed tiles between threads costs more than
//! transforming them twice; transforming filters at every call reads fewer bytes, and costs more than that saves
//! (measured at batch 1 and 16).

mod arena;
mod attention;
mod conv;
mod filters;
mod fold;
mod gemm;
mod isa;
mod linear;
mod math;
mod norm;
mod pack;
mod patch;
mod plane;
mod pool;
#[cfg(feature = "train")]
mod tape;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod time;
#[cfg(feature = "metrics")]
mod windowed;
mod winograd;

pub use attention::Attention;
pub use conv::Conv;
pub use isa::Operands;
pub use linear::Linear;
pub use norm::Norm;
#[cfg(feature = "train")]
pub use tape::{ParameterMap, Tape};
pub use time::{Rows, Time};
#[cfg(feature = "metrics")]
pub use windowed::{Pooling, Seen, Window, WindowConv, WindowWeights};

use super::{
    AttentionWeights, ConvWeights, Executor, Flag, Input, LinearWeights, NormActConv, NormWeights, Resize,
    Step, TimeWeights,
};
use crate::cpu_features::{Isa, vectorize};
use crate::error::{Error, Result, try_zeroed};
use crate::image::Layout;
use crate::names::Named;
use arena::{Arena, Slot};
use isa::Kernels;
use pool::Pool;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use time::TimeCache;

/// The processor, as prepared weights see it.
#[derive(Debug)]
pub struct CpuDevice {
    isa: Isa,
    operands: Operands,
    packing: Packing,
    /// Threads that prepare weights.
    threads: usize,
    /// Bytes of weights and a session's scratch memory at most.
    most: u64,
    /// Bytes of weights prepared so far.
    prepared: AtomicU64,
    /// What preparing a layer needs for itself, kept for the next.
    room: Mutex<Vec<f32>>,
}

impl CpuDevice {
    /// A device whose weights are prepared by `threads` threads, the caller among them, and whose kernels are of
    /// the level that `cpu_features::isa` chose.
    pub fn new(operands: Operands, packing: Packing, threads: usize) -> Self {
        Self::of(crate::cpu_features::isa(), operands, packing, threads)
    }

    /// The same with kernels of `isa`, or of the best level below that this processor has.
    pub fn of(isa: Isa, operands: Operands, packing: Packing, threads: usize) -> Self {
        Self {
            isa,
            operands,
            packing,
            threads: threads.max(1),
            most: u64::MAX,
            prepared: AtomicU64::new(0),
            room: Mutex::default(),
        }
    }

    /// The same device, with so many bytes at most for weights and a session's scratch memory.
    pub fn within(self, bytes: u64) -> Self {
        Self { most: bytes, ..self }
    }

    /// The level of its kernels, as `ONESTEP_ISA` spells it.
    pub fn isa_name(&self) -> &'static str {
        self.kernels().isa().name()
    }

    fn kernels(&self) -> Kernels {
        Kernels::new(self.isa, self.operands)
    }

    /// Floats to work with, as many at least, of whatever value.
    fn room(&self, len: usize) -> Result<MutexGuard<'_, Vec<f32>>> {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        if room.len() < len {
            *room = Vec::new();
            *room = try_zeroed(len, "weights on their way")?;
        }
        Ok(room)
    }

    fn count<T>(&self, layer: T, bytes: impl FnOnce(&T) -> u64) -> Result<T> {
        let bytes = bytes(&layer);
        let prepared = self.prepared.fetch_add(bytes, Ordering::Relaxed) + bytes;
        match prepared > self.most {
            true => Err(Error::OutOfMemory { what: "weights within limits.memory", bytes: prepared }),
            false => Ok(layer),
        }
    }
}

impl Default for CpuDevice {
    /// The fast one for floats, with all threads that this process may use.
    fn default() -> Self {
        Self::new(Operands::F32, Packing::Fast, crate::cpu_features::available_threads())
    }
}

/// What prepared weights may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Packing {
    /// Up to 2.4 times what their values take: Winograd's filters.
    Fast,
    /// Their values alone: direct convolutions.
    Compact,
}

/// One session's memory and threads.
pub struct Cpu {
    kernels: Kernels,
    pool: Pool,
    arena: Arena,
    time_cache: TimeCache,
    stack: Vec<Act>,
}

/// An activation: (batch, height, width, channels) floats of the arena.
pub struct Act {
    slot: Slot,
    /// (batch, channels, height, width)
    shape: [usize; 4],
    /// Where its maker has left sums of its channels for the next norm.
    sums: Option<Sums>,
}

/// Sums of an activation's channels, and of their squares: (image, line, piece of a line, [sum, sum of squares],
/// channel), of which only every `every`-th line of an image counts.
struct Sums {
    slot: Slot,
    pieces: usize,
    every: usize,
}

/// A batch of float images: (batch, channels, height, width).
pub struct State {
    slot: Slot,
    shape: [usize; 4],
}

impl Cpu {
    /// An executor of `threads` threads, the caller's among them; its workers spin `spin_us` microseconds for
    /// more work before they park.
    pub fn new(device: Arc<CpuDevice>, threads: usize, spin_us: Option<u32>) -> Result<Self> {
        Ok(Self {
            kernels: device.kernels(),
            pool: Pool::new(threads, spin_us)?,
            arena: Arena::within(device.most.saturating_sub(device.prepared.load(Ordering::Relaxed))),
            time_cache: TimeCache::default(),
            stack: Vec::new(),
        })
    }

    fn new_act(&self, shape: [usize; 4]) -> Result<Act> {
        let len = shape.iter().try_fold(1usize, |len, &side| len.checked_mul(side));
        let len = len.ok_or(Error::OutOfMemory { what: "an activation", bytes: u64::MAX })?;
        Ok(Act { slot: self.arena.alloc(len)?, shape, sums: None })
    }
}

impl Executor for Cpu {
    type Device = CpuDevice;
    type Conv = Conv;
    type Linear = Linear;
    type Norm = Norm;
    type Attention = Attention;
    type Time = Time;
    type Rows = Rows;
    type Act = Act;
    type State = State;

    fn prepare_conv(device: &CpuDevice, weights: &ConvWeights) -> Result<Conv> {
        device.count(Conv::new(device, weights)?, Conv::bytes)
    }
    fn prepare_linear(device: &CpuDevice, weights: &LinearWeights) -> Result<Linear> {
        device.count(Linear::new(device, weights)?, |linear| linear.packed.bytes())
    }
    fn prepare_norm(device: &CpuDevice, weights: &NormWeights) -> Result<Norm> {
        device.count(Norm::new(weights)?, Norm::bytes)
    }
    fn prepare_attention(device: &CpuDevice, weights: &AttentionWeights) -> Result<Attention> {
        device.count(Attention::new(device, weights)?, Attention::bytes)
    }
    fn prepare_time(device: &CpuDevice, weights: &TimeWeights) -> Result<Time> {
        device.count(Time::new(device, weights)?, Time::bytes)
    }
    fn prepared_bytes(device: &CpuDevice) -> u64 {
        *device.room.lock().unwrap_or_else(PoisonError::into_inner) = Vec::new();
        device.prepared.load(Ordering::Relaxed)
    }

    fn take_stack(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.stack)
    }
    fn keep_stack(&mut self, stack: Vec<Act>) {
        self.stack = stack;
    }

    fn plan(&mut self, work: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.arena.begin_plan();
        match work(self) {
            Ok(()) => self.arena.end_plan(),
            Err(error) => {
                self.arena.abandon_plan();
                Err(error)
            }
        }
    }
    fn scratch_bytes(&self) -> u64 {
        self.arena.bytes() + self.time_cache.bytes()
    }

    fn begin(&mut self, cancel: [Option<&Flag>; 2]) {
        self.pool.stop_at(cancel);
    }
    fn check(&mut self) -> Result<()> {
        if self.pool.stopped() { Err(Error::Cancelled) } else { Ok(()) }
    }

    fn wrong_image(&self, x: &State) -> Option<usize> {
        super::image_of(x.slot.values().iter().position(|value| !value.is_finite()), x.shape)
    }

    fn load(&mut self, shape: [usize; 4], fill: &mut dyn FnMut(&mut [f32])) -> Result<State> {
        let Act { mut slot, shape, .. } = self.new_act(shape)?;
        if !self.arena.planning() {
            fill(slot.values_mut());
        }
        Ok(State { slot, shape })
    }
    fn time(&mut self, time: &Time, times: &[f32], labels: Option<&[i32]>) -> Result<Rows> {
        self.time_rows(time, times, labels)
    }
    fn conv_in(&mut self, x: &State, conv: &Conv) -> Result<Act> {
        self.first_conv(x, conv)
    }
    fn norm_act_conv(&mut self, x: Input<Act>, op: NormActConv<Self>) -> Result<Act> {
        self.normalised_conv(x, &op)
    }
    fn pointwise(&mut self, x: Input<Act>, linear: &Linear) -> Result<Act> {
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

    fn combine(&mut self, mut x: State, net: &State, noise: Option<&State>, step: &Step) -> Result<State> {
        if net.shape != x.shape || noise.is_some_and(|noise| noise.shape != x.shape) {
            return Err(Error::Internal(format!("a step of {:?} beside {:?}", x.shape, net.shape)));
        }
        if self.arena.planning() {
            return Ok(x);
        }
        let (net, noise) = (net.slot.values(), noise.map(|noise| noise.slot.values()));
        vectorize(
            self.kernels.isa(),
            #[inline(always)]
            || combine(x.slot.values_mut(), net, noise, step),
        );
        Ok(x)
    }

    fn emit(&mut self, x: &State, layout: &Layout, out: &mut [u8]) -> Result<()> {
        if self.arena.planning() {
            return Ok(());
        }
        crate::image::write(x.slot.values(), x.shape, layout, out)
    }
}

#[inline(always)]
fn combine(x: &mut [f32], net: &[f32], noise: Option<&[f32]>, step: &Step) {
    for (i, (x, &net)) in x.iter_mut().zip(net).enumerate() {
        *x = step.apply(*x, net, noise.map(|noise| noise[i]));
    }
}
