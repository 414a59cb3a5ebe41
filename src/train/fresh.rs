//! Images that a student draws of fresh noise while it learns.

use super::learner::{Batch, Learner};
use super::random::Random;
use crate::error::{Error, Result, try_resize};
use crate::exec::Step;
use crate::noise;
use crate::sampler::Plan;
use std::ops::Range;

/// Of images of a step.
#[derive(Clone, Copy)]
pub struct Drawn<'a> {
    /// The step, 0 the first.
    pub step: u64,
    /// The first image's place in the batch of all processes.
    pub first: usize,
    /// One an image, where there are classes.
    pub labels: &'a [i32],
    /// (image, value), as the student says them: not clamped.
    pub images: &'a [f32],
}

impl Drawn<'_> {
    /// Images' places in the batch.
    pub fn slots(&self, image: usize) -> Range<usize> {
        self.first..self.first + self.images.len() / image
    }
}

/// What noise and classes are drawn for; second networks draw beside, by other numbers.
const DRAWN: u32 = 0;

/// How a student draws.
pub struct Fresh {
    /// In one way, or in several in turn.
    plans: Vec<Plan>,
    random: Random,
    classes: Option<usize>,
    labels: Vec<i32>,
    times: Vec<f32>,
    /// What the student's last call begins from, and the step after it.
    states: Vec<f32>,
    steps: Vec<Step>,
    images: Vec<f32>,
}

/// The image that the last step of a plan makes of a raw prediction, before it is clamped: x * state + net * prediction.
fn linear(step: &Step) -> (f32, f32) {
    let clipped = step.clipped.unwrap_or_default();
    (step.x + clipped.weight * clipped.x, step.net + clipped.weight * clipped.net)
}

impl Fresh {
    /// By these plans, in a run of these numbers.
    pub fn new(plans: Vec<Plan>, random: Random, classes: Option<usize>) -> Self {
        Self {
            plans,
            random: random.beside(DRAWN),
            classes,
            labels: Vec::new(),
            times: Vec::new(),
            states: Vec::new(),
            steps: Vec::new(),
            images: Vec::new(),
        }
    }

    fn plan(&self, step: u64, slot: usize) -> &Plan {
        &self.plans[(step as usize + slot) % self.plans.len()]
    }

    /// What the last call of images `slots` begins from: noise, or what the student makes of it in the calls before.
    fn begin(&mut self, step: u64, slots: Range<usize>, learner: &mut Learner) -> Result<()> {
        let len = learner.image_len();
        try_resize(&mut self.states, slots.len().saturating_mul(len), "a batch of images")?;
        self.labels.clear();
        self.times.clear();
        self.steps.clear();
        for (at, slot) in slots.clone().enumerate() {
            let draws = self.random.draws(step, slot);
            let (start, last) = {
                let plan = self.plan(step, slot);
                (plan.start, plan.steps.last().copied())
            };
            let state = &mut self.states[at * len..][..len];
            noise::fill(draws.noise, 0, state);
            state.iter_mut().for_each(|value| *value *= start);
            self.labels.extend(self.classes.map(|classes| draws.below(classes) as i32));
            if let Some(last) = last {
                self.times.push(last.time);
                self.steps.push(last.step);
            }
        }
        let before = self.plans.iter().map(|plan| plan.steps.len() - 1).max().unwrap_or(0);
        for call in 0..before {
            let plan = |at: usize| self.plan(step, slots.start + at);
            let mine: Vec<usize> = (0..slots.len()).filter(|&at| plan(at).steps.len() > call + 1).collect();
            if mine.is_empty() {
                continue;
            }
            let state: Vec<f32> =
                mine.iter().flat_map(|at| &self.states[at * len..][..len]).copied().collect();
            let planned: Vec<_> = mine.iter().map(|&at| plan(at).steps[call]).collect();
            let times: Vec<f32> = planned.iter().map(|planned| planned.time).collect();
            let labels: Vec<i32> = mine.iter().filter_map(|&at| self.labels.get(at)).copied().collect();
            let states = &mut self.states;
            learner.predict(Batch::of(&state, &times, &labels), |net| {
                for ((at, planned), net) in mine.iter().zip(&planned).zip(net.chunks_exact(len)) {
                    let state = &mut states[at * len..][..len];
                    state.iter_mut().zip(net).for_each(|(x, &net)| *x = planned.step.apply(*x, net, None));
                }
            })?;
        }
        Ok(())
    }

    /// Draws images `slots` of a step and adds to the student's gradients; `slopes` says what each of their values moves against.
    ///
    /// # Errors
    /// Those of the network, and of `slopes`.
    pub fn learn(
        &mut self,
        step: u64,
        slots: Range<usize>,
        learner: &mut Learner,
        slopes: impl FnOnce(Drawn, &mut [f32]) -> Result<()>,
    ) -> Result<()> {
        let len = learner.image_len();
        self.begin(step, slots.clone(), learner)?;
        let Self { labels, times, states, steps, images, .. } = self;
        let mut said = Err(Error::Internal("a batch without a loss".to_owned()));
        learner.accumulate(Batch::of(states, times, labels), |net, gradient| {
            images.clear();
            for ((step, state), net) in steps.iter().zip(states.chunks_exact(len)).zip(net.chunks_exact(len))
            {
                let (x, b) = linear(step);
                images.extend(state.iter().zip(net).map(|(&state, &net)| x * state + b * net));
            }
            said = slopes(Drawn { step, first: slots.start, labels, images }, gradient);
            for (step, gradient) in steps.iter().zip(gradient.chunks_exact_mut(len)) {
                let (_, b) = linear(step);
                gradient.iter_mut().for_each(|slope| *slope *= b);
            }
        })?;
        said
    }

    /// The images of the last call of `learn`, which were those of `step` from `first` on.
    pub fn drawn(&self, step: u64, first: usize) -> Drawn<'_> {
        Drawn { step, first, labels: &self.labels, images: &self.images }
    }
}
