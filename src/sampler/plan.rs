//! Plans.
use crate::exec::Step;
/// One network call and the step after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// The timestep at which the network is called.
    pub timestep: i32,
    /// The coefficients of the step after it.
    pub step: Step,
    /// The Philox stream of the step's fresh noise, where it takes any.
    pub noise_stream: Option<u32>,
}
/// All network calls of one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order in which they run.
    pub steps: Vec<Planned>,
}
impl Plan { pub fn fill(&mut self, _c: &crate::model::Config, _s: Option<&super::Sampler>) -> crate::Result<()> { todo!() } }
