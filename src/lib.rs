//! One-step image generators, anywhere.

mod cpu_features;
mod device;
mod engine;
pub mod error;
pub mod exec;
pub mod image;
pub mod model;
mod options;
pub mod sampler;
mod session;
pub mod weights;

pub use device::{DeviceInfo, devices};
pub use error::{Code, Error, Result};
pub use options::*;
pub use session::{Info, Memory, Model, Request, Session};
