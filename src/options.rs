//! How a caller asks: options of opening and of sessions, progress, cancellation, limits.

use crate::cpu_features::Isa;
use crate::error::{Error, Result};
use crate::model::{Config, Role};
use crate::names::named;
use std::ops::ControlFlow;
use std::path::PathBuf;
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
    /// For executors, which look at it in the middle of an operation.
    pub(crate) fn flag(&self) -> &Arc<AtomicBool> {
        &self.0
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
    /// The device's default (CPU and Metal: f32; CUDA: bf16).
    #[default]
    Auto = 0,
    /// 32-bit floats throughout.
    F32 = 1,
    /// Weights are rounded to bfloat16, and what they are multiplied with too where the processor multiplies pairs of
    /// bfloat16 fast; sums stay f32, and on the CPU activations do. Results differ from f32's by 1 % or so (relative RMS), and prepared
    /// weights take half the memory.
    Bf16 = 2,
    /// Weights and activations in half precision: CUDA, Metal, and the reference executor. The CPU's own executor has none.
    F16 = 3,
}

named!(Precision { "auto" => Auto, "f32" => F32, "bf16" => Bf16, "f16" => F16 });

/// Which implementation runs the network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ExecutorKind {
    /// The library's own.
    #[default]
    Fast,
    /// Plain loops in f64, slow: the oracle. On Metal, and in half precision, candle calls.
    Reference,
}

named!(ExecutorKind { "fast" => Fast, "reference" => Reference });

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

named!(ClipSample { "file" => File, "true" => On, "false" => Off });

impl ClipSample {
    /// Whether to clamp, where that is not left to the file.
    #[cfg(feature = "train")]
    pub(crate) fn asked(self) -> Option<bool> {
        match self {
            ClipSample::File => None,
            ClipSample::On => Some(true),
            ClipSample::Off => Some(false),
        }
    }

    /// The bound to clamp to, given the file's.
    pub(crate) fn apply(self, file: Option<f32>) -> Option<f32> {
        match self {
            ClipSample::File => file,
            ClipSample::On => file.or(Some(1.0)),
            ClipSample::Off => None,
        }
    }
}

/// Speed or size, where they conflict.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MemoryMode {
    /// Packed weights may take up to 2.4 times what their values take as f32.
    #[default]
    Fast,
    /// They take 1.1 times at most; calls take twice as long or so.
    Low,
    /// Of a packed file (`onestep pack`) alone: its weights are used where they lie in the file, which is mapped into memory
    /// and shared by all processes that map it. Nobody may change or cut that file while it is open: on Unix a process that
    /// reads what was cut off is killed (SIGBUS). A file that replaces it, as a rename does, is another one, and harmless.
    Map,
}

named!(MemoryMode { "fast" => Fast, "low" => Low, "map" => Map });

/// Whose kernels convolve on a CUDA device.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CudaConvolutions {
    /// This library's: nothing but the driver is needed, and an image's bits do not depend on its batch.
    #[default]
    Own,
    /// cuDNN 9's, tuned for each shape when it is first met, which takes seconds a batch size. Which kernel is the fastest
    /// may change from one run to the next, and the last bits with it. 16-bit precisions only.
    Cudnn,
}

named!(CudaConvolutions { "own" => Own, "cudnn" => Cudnn });

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
    /// Most bytes of a model's prepared weights and a session's scratch memory together, on the CPU.
    pub memory: u64,
}

impl Limits {
    /// Refuses a model beyond these bounds before anything of its size is allocated.
    pub(crate) fn check(&self, file: &str, config: &Config, parameters: u64) -> Result<()> {
        let (height, width) = config.network.size;
        let pixels = (height * width) as u64;
        for (what, found, limit, key) in [
            ("parameters", parameters, self.parameters, "limits.parameters"),
            ("pixels an image", pixels, self.pixels, "limits.pixels"),
        ] {
            if found > limit {
                return Err(Error::bad_model(file, format!("{found} {what}, {key} is {limit}")));
            }
        }
        // No arithmetic takes less a weight.
        let bytes = parameters.saturating_mul(2);
        match bytes > self.memory {
            true => Err(Error::OutOfMemory { what: "weights within limits.memory", bytes }),
            false => Ok(()),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let file_bytes = 16 << 30;
        Self { file_bytes, parameters: 4_000_000_000, pixels: 4096 * 4096, batch: 4096, memory: u64::MAX }
    }
}

/// How to open a model and run a session.
#[derive(Clone, Default)]
pub struct Options {
    /// `auto`, `cpu`, `cuda:N`, `metal:N`; empty means `auto`: `cuda:0` where it can be used, else the CPU.
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
    /// Which of the processor's instruction sets the CPU's kernels use; none: what `ONESTEP_ISA` says, else the best. Results
    /// differ from one to another in their last bits.
    pub isa: Option<Isa>,
    /// How long, in microseconds, an idle worker spins before it parks; none: the pool's default.
    pub spin_us: Option<u32>,
    /// Where CUDA's libraries are looked for before the system's places; none: the folder that the environment's
    /// `ONESTEP_CUDA_LIBRARY_PATH` names, if it does.
    pub cuda_library_path: Option<PathBuf>,
    /// Who convolves on CUDA.
    pub cuda_convolutions: CudaConvolutions,
    /// Bounds.
    pub limits: Limits,
    /// Progress of opening.
    pub progress: Option<Progress>,
    /// Cancels opening, and every call of a session made with it.
    pub cancel: Option<Cancel>,
}
