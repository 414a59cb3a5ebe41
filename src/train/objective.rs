//! What a run teaches.

use super::learner::Learner;
use super::state::Beside;
use crate::error::Result;

/// What is taught, and how it is tested.
pub trait Objective {
    /// Adds the gradients of this process' share of step `step`, 0 the first, and returns its part of the loss.
    ///
    /// # Errors
    /// Those of the network, and of what the objective reads.
    fn accumulate(&mut self, step: u64, learner: &mut Learner) -> Result<f64>;

    /// Whether the averaged network is tested after so many steps.
    fn test_due(&self, step: u64) -> bool {
        let _ = step;
        false
    }

    /// This process' part of the loss of the network, which holds the averaged parameters now.
    ///
    /// # Errors
    /// As `accumulate`.
    fn test(&mut self, learner: &mut Learner) -> Result<f64> {
        let _ = learner;
        Ok(0.0)
    }

    /// Whether the model that is kept is the one of the least loss in a test.
    fn keeps_best(&self) -> bool {
        true
    }

    /// A network of the same parameters that learns beside, of which a run goes on too.
    fn beside(&mut self) -> Option<&mut Beside> {
        None
    }

    /// Bytes that it takes beside the network that learns.
    fn bytes(&self) -> u64 {
        0
    }

    /// Images of a step, of all processes together.
    fn batch(&self) -> usize;
}
