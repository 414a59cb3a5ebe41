//! A second network that learns beside a student, of what the student draws, and teaches it by that: so that its images as a whole
//! become what they shall be, where a loss of pairs looks at each image alone.

use super::fresh::{Drawn, Fresh};
use super::group::Group;
use super::learner::Learner;
use super::level::Level;
use super::objective::Objective;
use super::optim::{Rate, clip_factor, norm};
use super::random::Random;
use super::run::Optimization;
use super::state::Beside;
use crate::error::Result;
use std::ops::Range;

/// How a second network teaches, and at which levels of noise.
pub struct How {
    /// What the student's gradient is multiplied with, for a value.
    pub factor: f64,
    /// Images of a step.
    pub batch: usize,
    /// Of the run's seed.
    pub random: Random,
    /// The teacher's timesteps.
    pub levels: Vec<Level>,
}

impl How {
    /// Of image `slot` in the draws of one purpose: how much noise there is, of timesteps in this part of all, and its seed.
    pub fn noise(&self, purpose: u32, (step, slot): (u64, usize), part: &Range<f64>) -> (Level, u64) {
        let random = self.random.beside(purpose);
        let at = part.start + (part.end - part.start) * random.spread(step, slot, self.batch);
        let level = self.levels[((at * self.levels.len() as f64) as usize).min(self.levels.len() - 1)];
        (level, random.draws(step, slot).noise)
    }
}

/// A network that learns beside a student.
pub trait Second {
    /// The network, which a run goes on with too.
    fn network(&mut self) -> &mut Beside;
    /// What each value of images that the student drew moves against, into `gradient`.
    ///
    /// # Errors
    /// Those of the networks.
    fn slopes(&mut self, drawn: Drawn, gradient: &mut [f32]) -> Result<()>;
    /// Adds to the second network's own gradients, by the same images.
    ///
    /// # Errors
    /// Those of the networks.
    fn learn(&mut self, drawn: Drawn) -> Result<()>;
    /// Bytes that it takes, for so many images at a time.
    fn bytes(&self, images: usize) -> u64;
}

/// What a student learns of pairs, and beside it of a second network.
pub struct WithSecond<'a, S: Second> {
    /// What it learns of pairs.
    pub pairs: Box<dyn Objective + 'a>,
    /// How it draws.
    pub fresh: Fresh,
    /// The other.
    pub second: S,
    /// Parts that a step's images are taken in.
    pub accumulate: usize,
    /// The steps of the run, which the second network's are like.
    pub optimization: Optimization,
    /// The processes of the run.
    pub group: &'a Group,
}

impl<S: Second> Objective for WithSecond<'_, S> {
    fn batch(&self) -> usize {
        self.pairs.batch()
    }

    /// The loss is that of pairs.
    fn accumulate(&mut self, step: u64, learner: &mut Learner) -> Result<f64> {
        let Self { pairs, fresh, second, .. } = self;
        second.network().learner.gradients().0.fill(0.0);
        let mine = self.group.share(pairs.batch());
        let part = mine.len() / self.accumulate;
        let taught = pairs.accumulate(step, learner).and_then(|loss| {
            for first in mine.step_by(part) {
                fresh.learn(step, first..first + part, learner, |drawn, gradient| {
                    second.slopes(drawn, gradient)
                })?;
                second.learn(fresh.drawn(step, first))?;
            }
            Ok(loss)
        });
        let Beside { learner: network, adam } = second.network();
        let (gradients, parameters) = network.gradients();
        // Every process comes to this sum, whatever became of its images.
        let mut loss = 0.0;
        self.group.sum(taught.map(|value| loss = value).map(|()| 0.0), gradients)?;
        let Optimization { rate, steps, clip, .. } = self.optimization;
        let factor = clip_factor(norm(gradients), clip) as f32;
        // It follows what moves: its rate does not fall.
        adam.step(parameters, gradients, factor, Rate { cosine_to: None, ..rate }.at(step, steps));
        Ok(loss)
    }

    fn test_due(&self, step: u64) -> bool {
        self.pairs.test_due(step)
    }

    fn test(&mut self, learner: &mut Learner) -> Result<f64> {
        self.pairs.test(learner)
    }

    fn keeps_best(&self) -> bool {
        false
    }

    fn bytes(&self) -> u64 {
        self.second.bytes(self.group.share(self.pairs.batch()).len() / self.accumulate)
    }

    fn beside(&mut self) -> Option<&mut Beside> {
        Some(self.second.network())
    }
}
