//! Model, Session, Request: what every caller uses.

use crate::error::Result;
use crate::image::Layout;
use crate::model::{Config, Role};
use crate::sampler::Sampler;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What long work is doing, for progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i32)]
pub enum Phase {
    /// Reading a file.
    Open = 0,
    /// Packing weights; counted in tensors.
    Prepare = 1,
    /// Sampling; counted in network blocks, all steps together.
    Sample = 2,
    /// Writing a file.
    Write = 3,
}

/// Called on the calling thread with (phase, done, total); `Break` cancels.
pub type Progress = Arc<dyn Fn(Phase, u32, u32) -> ControlFlow<()> + Send + Sync>;

/// A sticky cancel token: once triggered, every call that carries it ends with CANCELLED until it is reset.
/// Clones share the state; any thread may trigger it.
#[derive(Clone, Debug, Default)]
pub struct Cancel(Arc<AtomicBool>);

impl Cancel {
    /// A token that has not been triggered.
    pub fn new() -> Self {
        Self::default()
    }
    /// Cancels every call that carries this token, now and later.
    pub fn trigger(&self) {
        self.0.store(true, Ordering::Release);
    }
    /// Makes the token usable again.
    pub fn reset(&self) {
        self.0.store(false, Ordering::Release);
    }
    /// Whether it was triggered.
    pub fn is_triggered(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// The arithmetic that a caller asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum Precision {
    /// The device's default (CPU: f32).
    #[default]
    Auto = 0,
    /// 32-bit floats throughout.
    F32 = 1,
    /// bfloat16 operands.
    Bf16 = 2,
    /// half-precision operands.
    F16 = 3,
}

/// Which implementation runs the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutorKind {
    /// The library's own.
    #[default]
    Fast,
    /// Plain candle calls, the oracle.
    Reference,
}

/// Whether samplers clamp their estimate of x_0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClipSample {
    /// As the file says.
    #[default]
    File,
    /// Always, to [-1, 1] where the file names no range.
    On,
    /// Never.
    Off,
}

/// Speed or size, where they conflict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryMode {
    /// Packed weights may take more room than the file's.
    #[default]
    Fast,
    /// As little as possible.
    Low,
}

/// Bounds on what files and callers may ask for; beyond them, a clear error before anything is allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest weight file.
    pub file_bytes: u64,
    /// Most parameters of a network.
    pub parameters: u64,
    /// Most pixels (height times width) of an image.
    pub pixels: u64,
    /// Most images a call.
    pub batch: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { file_bytes: 16 << 30, parameters: 4_000_000_000, pixels: 4096 * 4096, batch: 4096 }
    }
}

/// How to open a model and run a session.
#[derive(Clone, Default)]
pub struct Options {
    /// `auto`, `cpu`, `cuda:N`, `metal:N`; empty means `auto`.
    pub device: String,
    /// Threads of a session; 0: the share of the process's cgroup.
    pub threads: u32,
    /// The arithmetic.
    pub precision: Precision,
    /// The role; none: what the file says, else teacher.
    pub role: Option<Role>,
    /// Which implementation.
    pub executor: ExecutorKind,
    /// Clamping of x_0.
    pub clip_sample: ClipSample,
    /// Speed or size.
    pub memory: MemoryMode,
    /// How long, in microseconds, an idle worker spins before it parks; none: the pool's default.
    pub spin_us: Option<u32>,
    /// Bounds.
    pub limits: Limits,
    /// Progress of opening.
    pub progress: Option<Progress>,
    /// Cancels opening, and every call of a session made with it.
    pub cancel: Option<Cancel>,
}

/// What a model is.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Network, schedule and role.
    pub config: Config,
    /// `unet2d`, the only architecture so far.
    pub architecture: &'static str,
    /// Parameters of the network.
    pub parameters: u64,
    /// Bytes of the weights as stored in the file.
    pub weight_bytes: u64,
    /// The device chosen.
    pub device: String,
    /// The precision chosen; never `Auto`.
    pub precision: Precision,
    /// The executor chosen.
    pub executor: ExecutorKind,
    /// Free text of the file about where the weights come from, and warnings about them.
    pub notes: Vec<String>,
}

/// Memory that a model and one session of it take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Prepared weights, shared by all sessions.
    pub weights: u64,
    /// A session's scratch at the batch size asked for.
    pub scratch: u64,
    /// Both, plus what opening needs beside them for a moment.
    pub host_peak: u64,
}

/// A model: immutable, cheap to clone, shared by any number of sessions and threads.
#[derive(Clone)]
pub struct Model {}

/// One caller's scratch memory and threads; one call at a time.
pub struct Session {}

/// What to sample.
#[derive(Clone, Default)]
pub struct Request {
    /// One seed an image; image i depends on seed i alone.
    pub seeds: Option<Vec<u64>>,
    /// x_T itself, NCHW; seeds beside it feed the fresh noise of stochastic samplers.
    pub noise: Option<Vec<f32>>,
    /// One label an image, for conditional models.
    pub labels: Option<Vec<i32>>,
    /// How a teacher samples; none: the model's default.
    pub sampler: Option<Sampler>,
    /// Progress of the call.
    pub progress: Option<Progress>,
    /// Cancels the call, checked once a network block.
    pub cancel: Option<Cancel>,
}

#[allow(missing_docs, unused_variables)]
impl Model {
    /// A native file, or a diffusers folder.
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        todo!()
    }
    /// A native file's bytes; needed during the call alone.
    pub fn from_bytes(bytes: &[u8], options: &Options) -> Result<Self> {
        todo!()
    }
    /// The student inside the library.
    pub fn open_default(options: &Options) -> Result<Self> {
        todo!()
    }
    pub fn info(&self) -> &Info {
        todo!()
    }
    /// What `batch` images a call take.
    pub fn estimate_memory(&self, batch: usize) -> Result<Memory> {
        todo!()
    }
    /// Bytes of a batch under a layout; checks the layout.
    pub fn output_size(&self, batch: usize, layout: &Layout) -> Result<u64> {
        todo!()
    }
    /// x_T of each seed (stream 0), NCHW.
    pub fn noise(&self, seeds: &[u64], out: &mut [f32]) -> Result<()> {
        todo!()
    }
    /// A session; threads, progress and cancel are read from the options.
    pub fn session(&self, options: &Options) -> Result<Session> {
        todo!()
    }
}

#[allow(missing_docs, unused_variables)]
impl Session {
    pub fn model(&self) -> &Model {
        todo!()
    }
    /// Draws a batch into `out`, of at least `Model::output_size` bytes.
    pub fn sample(&mut self, request: &Request, layout: &Layout, out: &mut [u8]) -> Result<()> {
        todo!()
    }
    /// The bare network: raw prediction at one timestep (and label) an image; NCHW in and out.
    pub fn predict(
        &mut self,
        x: &[f32],
        timesteps: &[i32],
        labels: Option<&[i32]>,
        out: &mut [f32],
    ) -> Result<()> {
        todo!()
    }
}

/// A device of this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceInfo {
    /// `cpu`, `cuda:0`, `metal:0`.
    pub id: String,
    /// CPU 0, CUDA 1, METAL 2.
    pub kind: i32,
    /// Index within its kind.
    pub index: i32,
    /// The device's own name.
    pub name: String,
    /// Bytes of memory; 0 unknown.
    pub memory_total: u64,
    /// Bytes of memory free; 0 unknown.
    pub memory_free: u64,
}

/// The devices that this build can use on this machine, `cpu` first.
pub fn devices() -> Vec<DeviceInfo> {
    todo!()
}
