//! What whoever runs a training is told of it.

use super::folder::Line;
use super::run::Outcome;
use crate::error::Result;
use crate::weights::Checkpoint;

/// What happens in a run.
pub enum Event<'a> {
    /// The run begins, or goes on after this step.
    Begun {
        /// Steps already made.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
    },
    /// What a run would take, as a few of its steps have shown.
    Measured {
        /// Parameters of the network.
        parameters: usize,
        /// Bytes of parameters, gradients, moments and averages, and of what a step's images need.
        bytes: u64,
        /// Images a second, of all processes together.
        images_per_second: f64,
        /// What the whole run would take, without tests, scores and pictures.
        seconds: f64,
    },
    /// Something that whoever runs this should know.
    Noted(&'a str),
    /// A step was made.
    Step(&'a Line),
    /// A line of the log was written.
    Logged(&'a Line),
    /// The averaged network was tested.
    Tested {
        /// After how many steps.
        step: u64,
        /// Its loss.
        loss: f64,
        /// Whether that is the least so far.
        best: bool,
    },
    /// It is time for a picture; the averaged network as a model.
    Sample {
        /// After how many steps.
        step: u64,
        /// The model.
        model: &'a Checkpoint<'static>,
    },
    /// It is time for a score: lower is better.
    Score {
        /// After how many steps.
        step: u64,
        /// The averaged network as a model.
        model: &'a Checkpoint<'static>,
        /// Where the score goes.
        score: &'a mut f64,
    },
    /// The model was scored.
    Scored {
        /// After how many steps.
        step: u64,
        /// How.
        score: f64,
        /// Whether that is the least so far.
        best: bool,
    },
    /// A checkpoint was written, and the folder has a model.
    Saved(&'a Outcome),
}

/// Sees what happens; an error ends the run.
pub type Watch<'a> = &'a mut dyn FnMut(Event) -> Result<()>;
