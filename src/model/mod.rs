//! The network: its configuration, and its one definition, generic over an executor.

mod blocks;
mod config;
mod generator;
mod schedule;
mod unet;

pub use config::{
    Config, Heads, Level, LevelAttention, Network, Prediction, Resample, Role, Schedule, Spacing,
    StudentOutput, Variance,
};
pub use generator::{Consistency, Edm, Generator, Preconditioning};
#[doc(hidden)]
pub use unet::{Tick, UNet};

pub use crate::exec::{Activation, ClassUse};

use crate::error::Result;
use crate::exec::Weight;

/// Where a network's parameters come from.
#[doc(hidden)]
pub trait Params {
    /// The tensor of this name (diffusers' naming) and shape; a missing or differently shaped one is an error.
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight<'_>>;
}
