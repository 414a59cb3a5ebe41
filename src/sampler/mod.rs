//! From noise to images: plans of coefficients (`ddim`, `ddpm`, `student`), and the loop that runs one.
//! A sampler computes timesteps and coefficients and nothing else; the state never leaves the device between
//! steps.

mod consistency;
mod ddim;
mod ddpm;
mod edm;
mod estimate;
#[cfg(test)]
mod golden;
mod interpolate;
mod plan;
mod run;
mod student;
mod timesteps;

#[cfg(feature = "train")]
pub(crate) use estimate::Estimate;
pub use interpolate::{Interpolation, interpolate};
#[doc(hidden)]
pub use plan::{Plan, Planned, Third};
#[doc(hidden)]
pub use run::{Job, Tick, guided, run};

use crate::model::Spacing;
use crate::names::named;

/// Which reverse process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Song et al. 2021, eta = 0 deterministic.
    Ddim,
    /// Ho et al. 2020, ancestral.
    Ddpm,
    /// Song et al. 2023, for consistency models alone.
    Consistency,
    /// Euler's method over noise levels, for EDM alone (Karras et al. 2022).
    Euler,
    /// Heun's method, of two calls a step but the last, for EDM alone (Karras et al. 2022).
    Heun,
}

named!(Kind {
    "ddim" => Ddim,
    "ddpm" => Ddpm,
    "consistency" => Consistency,
    "euler" => Euler,
    "heun" => Heun,
});

/// How a model samples that draws in several calls.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sampler {
    /// Which reverse process; none: the model's own, DDIM's where it is a diffusion model.
    pub kind: Option<Kind>,
    /// Where the timesteps lie; none: as the file says.
    pub spacing: Option<Spacing>,
    /// How many steps; none: the model's default.
    pub steps: Option<u32>,
    /// DDIM's stochasticity, 0 to 1.
    pub eta: f32,
    /// An explicit sequence from noise to image, in place of `spacing` and `steps`: descending timesteps, or ascending noise
    /// levels of a consistency model, of which 0 has the most noise.
    pub timesteps: Option<Vec<i32>>,
    /// The last step goes to the noise of this timestep, rather than to the image; in 0..T, less than the last call's.
    pub until: Option<i32>,
    /// Classifier-free guidance (Ho and Salimans 2022): each prediction is p(none) + guidance (p(label) - p(none)), at two network
    /// calls a step; none, or 1: p(label). For conditional models that were taught without labels too.
    pub guidance: Option<f32>,
}

impl Sampler {
    /// The guidance, where it makes a difference.
    pub(crate) fn guided(&self) -> Option<f32> {
        self.guidance.filter(|&scale| scale != 1.0)
    }
}
