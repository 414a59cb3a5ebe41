//! One-step image generators, anywhere.

pub mod error;
pub mod exec;
mod cpu_features;
pub mod image;
pub mod model;
pub mod sampler;
mod session;

pub use error::{Code, Error, Result};
pub use session::*;
