//! One-step image generators, anywhere.
//!
//! Luhman & Luhman (2021) distil a deterministic DDIM *teacher* into a *student* of the same architecture that
//! draws an image in one network call, x_0 = x_T - eps(x_T, T - 1). This library runs both, from Rust, from C
//! (`include/onestep.h`) and as a command (`cli/`).
//!
//! ```
//! # #[cfg(feature = "embedded-model")] {
//! use onestep::{Layout, Model, Options, Request, image::Format};
//!
//! let model = Model::open_default(&Options::default())?;
//! let mut session = model.session(&Options::default())?;
//! let layout = Layout { format: Format::Rgba8, ..Layout::default() };
//! let request = Request { seeds: Some(vec![1, 2]), labels: Some(vec![0, 5]), ..Request::default() };
//! let mut pixels = vec![0; model.output_size(2, &layout)? as usize];
//! session.sample(&request, &layout, &mut pixels)?; // two portraits, 16 x 16 RGBA
//! # }
//! # Ok::<(), onestep::Error>(())
//! ```
//!
//! # The house
//!
//! Rooms, and what each may import (`tests/library/architecture.rs` holds it):
//!
//! | room | what it is | imports |
//! |---|---|---|
//! | [`error`], [`image`], `names`, `npy`, `staged` | one variant a failure; floats to pixels; names of values; NumPy's headers; files that appear whole | - |
//! | `signals`, `threads`, `float_mode` | threads of its own, which the program's signals do not reach; rounding as Rust has it | - |
//! | `cpu_features`, `fused` | instruction-set level, detected once; a multiply-add that rounds once everywhere | - |
//! | [`noise`] | standard normals from a seed, the same bits everywhere | `cpu_features` |
//! | `exec` | the operations of the network, and the executors that implement them | `noise`, `cpu_features`, `threads` |
//! | [`model`] | the only U-Net, generic over an executor | `exec` |
//! | [`sampler`] | timesteps, coefficients, the loop | `model`, `exec`, `noise` |
//! | [`weights`] | formats: native, diffusers folders, the paper's Keras files, state dicts of DDPM's, OpenAI's and EDM's | `model`, `exec`, `staged` |
//! | `device` | the devices of this machine, which one an id means, and what `auto` may be | `exec`, `cpu_features` |
//! | `engine` | a prepared network with its executor's type erased | `device`, `exec`, `model`, `sampler`, `cpu_features`, [`log`] |
//! | `session` | [`Model`], [`Session`], [`Request`] | all above |
//! | `archive` | zip archives | - |
//! | `pictures` | PNG, JPEG and WebP files, and folders and archives of them | `archive`, [`log`] |
//! | `metrics` | Inception's features; FID, IS, KID, precision and recall | `session`, `weights`, `pictures`, `archive`, `exec`, `cpu_features` |
//! | `train` | teachers, pairs, students; a run that goes on to the bit | `session`, `weights`, `pictures`, `sampler`, `model`, `exec` |
//! | `ffi` | the C functions | `session` |
//! | [`log`] | the one sink for messages, none by default | - |
//!
//! The training executor lives beside the CPU's, in `exec/cpu/tape`, whose slots, threads and kernels it shares; `train`
//! holds what is not a kernel. Inception's operations live beside the network's, in `exec/cpu/windowed`, for the same reason.
//!
//! `unsafe` lives in `ffi`, in `cpu_features` (one dispatcher), in `exec/cpu/{isa, pool.rs, patch.rs, arena.rs}` in
//! `exec/cuda`, and in `weights/mapped.rs`; it is denied elsewhere.
//!
//! `exec`, and what runs a network or a plan on an executor, is public for this project's own tests and benches alone: not
//! documented, and no part of what a version promises.
//!
//! # Features
//!
//! `cuda` (the CUDA executor, which links nothing of CUDA) and `embedded-model` (the portraits' student) are on by default;
//! `formats` (files of other libraries), `metrics` (evaluation), `train`, `train-mpi` (training by several processes) and
//! `candle` (for Metal, and LPIPS) are not. `Cargo.toml` has a paragraph on each.

#[cfg(any(feature = "train", feature = "metrics"))]
mod archive;
mod cpu_features;
mod device;
mod engine;
pub mod error;
#[doc(hidden)]
pub mod exec;
pub mod ffi;
mod float_mode;
mod fused;
pub mod image;
pub mod log;
#[cfg(feature = "metrics")]
pub mod metrics;
pub mod model;
mod names;
pub mod noise;
#[doc(hidden)]
pub mod npy;
mod options;
#[cfg(any(feature = "train", feature = "metrics"))]
mod pictures;
pub mod sampler;
mod session;
#[doc(hidden)]
pub mod signals;
#[doc(hidden)]
pub mod staged;
mod threads;
#[cfg(feature = "train")]
pub mod train;
pub mod weights;

pub use cpu_features::{Isa, available_threads, isa};
pub use device::{DeviceInfo, devices};
pub use error::{Code, Error, Result};
pub use image::Layout;
pub use names::Named;
pub use options::*;
pub use session::{Info, Memory, Model, Request, Session};
