//! From noise to images: plans of coefficients (`ddim`, `ddpm`, `student`), and the loop that runs one.
//! A sampler computes timesteps and coefficients and nothing else; the state never leaves the device between
//! steps.

mod ddim;
mod ddpm;
mod estimate;
#[cfg(test)]
mod golden;
mod interpolate;
mod plan;
mod run;
mod student;
mod timesteps;

pub use interpolate::{Interpolation, interpolate};
#[doc(hidden)]
pub use plan::{Plan, Planned};
#[doc(hidden)]
pub use run::{Job, Tick, run};

use crate::model::Spacing;
use crate::names::named;

/// Which reverse process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Kind {
    /// Song et al. 2021, eta = 0 deterministic.
    #[default]
    Ddim,
    /// Ho et al. 2020, ancestral.
    Ddpm,
}

named!(Kind { "ddim" => Ddim, "ddpm" => Ddpm });

/// How a teacher samples.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampler {
    /// Which reverse process.
    pub kind: Kind,
    /// Where the timesteps lie; none: as the file says.
    pub spacing: Option<Spacing>,
    /// How many steps; none: the model's default.
    pub steps: Option<u32>,
    /// DDIM's stochasticity, 0 to 1.
    pub eta: f32,
    /// An explicit descending sequence, in place of `spacing` and `steps`.
    pub timesteps: Option<Vec<i32>>,
    /// The last step goes to the noise of this timestep, rather than to the image; in 0..T, less than the last call's.
    pub until: Option<i32>,
}
