//! Distribution matching (DMD: Yin et al. 2024, "One-step Diffusion with Distribution Matching Distillation"): beside what a student
//! learns of single pairs, its images as a whole become as likely as its teacher's.
//!
//! A second network, the follower, begins as the teacher and learns to denoise what the student draws: it follows the student's own
//! distribution. An image x that the student drew from fresh noise is noised, teacher and follower each say what it was, D_real and
//! D_fake, and x moves against
//!
//! (D_fake - D_real) / mean|x - D_real|,
//!
//! which is the gradient of the Kullback-Leibler divergence between both distributions at that noise, but for a factor: away from
//! what is likely for the student alone, towards what is likely for the teacher. Distances to a pair's image alone end in the mean
//! of what a small network cannot tell apart; this sharpens it.
//!
//! It takes the memory of two networks more, one of which learns.

use super::draw::predict;
use super::group::Group;
use super::learner::{Batch, Learner};
use super::level::Level;
use super::objective::Objective;
use super::optim::{Adam, Rate, clip_factor, norm};
use super::random::Random;
use super::run::Optimization;
use super::state::Beside;
use crate::error::{Result, try_resize};
use crate::exec::Step;
use crate::model::{Prediction, Schedule};
use crate::noise;
use crate::options::Options;
use crate::sampler::{Estimate, Plan};
use crate::session::{Model, Session};
use crate::weights::Checkpoint;
use std::ops::Range;

/// What memory is for.
const BATCH: &str = "a batch of images";
/// The part of all timesteps at which both are compared: next to no noise, and nothing else, say little.
const COMPARED: Range<f64> = 0.02..0.98;

/// What a student learns of pairs, and beside it to match its teacher's distribution.
pub struct Matching<'a> {
    pairs: Box<dyn Objective + 'a>,
    teacher: Session,
    /// Its prediction without labels.
    spare: Vec<f32>,
    follower: Beside,
    how: How<'a>,
    levels: Vec<Level>,
    buffers: Buffers,
}

/// How it is matched.
pub struct How<'a> {
    /// What the gradient is multiplied with.
    pub weight: f64,
    /// What it is divided by, for a value.
    pub number: f64,
    /// Parts that a step's images are taken in.
    pub accumulate: usize,
    /// The steps of the run, which the follower's are like.
    pub optimization: Optimization,
    /// How the student draws: in one way, or in several in turn.
    pub plans: Vec<Plan>,
    /// The teacher's guidance, if it is guided.
    pub guidance: Option<f32>,
    /// The teacher's process.
    pub schedule: &'a Schedule,
    /// The processes of the run.
    pub group: &'a Group,
    /// Of the run's seed.
    pub random: Random,
}

/// Of the images that pass at a time.
#[derive(Default)]
struct Buffers {
    labels: Vec<i32>,
    times: Vec<f32>,
    /// What the student's last call begins from, and the step after it.
    states: Vec<f32>,
    steps: Vec<Step>,
    images: Vec<f32>,
    noised: Noised,
    real: Vec<f32>,
}

/// Images with noise.
#[derive(Default)]
struct Noised {
    x: Vec<f32>,
    target: Vec<f32>,
    times: Vec<f32>,
    levels: Vec<Level>,
    noise: Vec<f32>,
}

impl Noised {
    /// Noises images at levels of these numbers, each with noise of its own seed.
    fn fill(
        &mut self,
        images: &[f32],
        len: usize,
        prediction: Prediction,
        levels: impl Iterator<Item = (Level, u64)>,
    ) -> Result<()> {
        try_resize(&mut self.x, images.len(), BATCH)?;
        try_resize(&mut self.target, images.len(), BATCH)?;
        try_resize(&mut self.noise, len, BATCH)?;
        self.times.clear();
        self.levels.clear();
        let places = self.x.chunks_exact_mut(len).zip(self.target.chunks_exact_mut(len));
        for (((x, target), image), (level, seed)) in places.zip(images.chunks_exact(len)).zip(levels) {
            noise::fill(seed, 0, &mut self.noise);
            for (((x, target), &x_0), &eps) in x.iter_mut().zip(target).zip(image).zip(&self.noise) {
                (*x, *target) = level.noised(prediction, x_0, eps);
            }
            self.times.push(level.time);
            self.levels.push(level);
        }
        Ok(())
    }
}

/// The image that the last step of a plan makes of a raw prediction, before it is clamped: x * state + net * prediction.
fn linear(step: &Step) -> (f32, f32) {
    let clipped = step.clipped.unwrap_or_default();
    (step.x + clipped.weight * clipped.x, step.net + clipped.weight * clipped.net)
}

impl<'a> Matching<'a> {
    /// Beside an objective of a student of this teacher.
    ///
    /// # Errors
    /// Those of opening the teacher twice.
    pub fn new(
        pairs: Box<dyn Objective + 'a>,
        teacher: &Checkpoint,
        options: &Options,
        how: How<'a>,
    ) -> Result<Self> {
        let model = Model::from_checkpoint(teacher, options)?;
        let network = &model.info().config.network;
        let mut learner = Learner::new(network, teacher, options.threads as usize)?;
        let adam = Adam::new(how.optimization.adam, learner.values().len())?;
        let teacher = model.session(options)?;
        let levels = Level::all(how.schedule)?;
        Ok(Self {
            pairs,
            teacher,
            spare: Vec::new(),
            follower: Beside { learner, adam },
            how,
            levels,
            buffers: Buffers::default(),
        })
    }

    /// Level and noise of image `slot` in the draws of one purpose, of timesteps in this part of all.
    fn level(&self, purpose: u32, (step, slot): (u64, usize), part: Range<f64>) -> (Level, u64) {
        let random = self.how.random.beside(purpose);
        let batch = self.pairs.batch();
        let at = part.start + (part.end - part.start) * random.spread(step, slot, batch);
        let level = self.levels[((at * self.levels.len() as f64) as usize).min(self.levels.len() - 1)];
        (level, random.draws(step, slot).noise)
    }

    /// What the last call of images `slots` begins from: fresh noise, or what the student makes of it in the calls before.
    fn begin(&mut self, step: u64, slots: Range<usize>, learner: &mut Learner) -> Result<()> {
        let len = learner.image_len();
        let random = self.how.random.beside(DRAWN);
        let classes = self.teacher.model().info().config.network.num_classes;
        let Buffers { labels, times, states, steps, .. } = &mut self.buffers;
        try_resize(states, slots.len().saturating_mul(len), BATCH)?;
        labels.clear();
        times.clear();
        steps.clear();
        for (state, slot) in states.chunks_exact_mut(len).zip(slots.clone()) {
            let draws = random.draws(step, slot);
            noise::fill(draws.noise, 0, state);
            labels.extend(classes.map(|classes| draws.below(classes) as i32));
            let plan = &self.how.plans[(step as usize + slot) % self.how.plans.len()];
            state.iter_mut().for_each(|value| *value *= plan.start);
            if let Some(last) = plan.steps.last() {
                times.push(last.time);
                steps.push(last.step);
            }
        }
        let before = self.how.plans.iter().map(|plan| plan.steps.len() - 1).max().unwrap_or(0);
        for call in 0..before {
            let plan = |slot: usize| &self.how.plans[(step as usize + slot) % self.how.plans.len()];
            let mine: Vec<usize> =
                (0..slots.len()).filter(|at| plan(slots.start + at).steps.len() > call + 1).collect();
            let state: Vec<f32> = mine.iter().flat_map(|at| &states[at * len..][..len]).copied().collect();
            let planned: Vec<_> = mine.iter().map(|at| plan(slots.start + at).steps[call]).collect();
            let times: Vec<f32> = planned.iter().map(|planned| planned.time).collect();
            let labels: Vec<i32> = mine.iter().filter_map(|&at| labels.get(at)).copied().collect();
            if mine.is_empty() {
                continue;
            }
            learner.predict(Batch::of(&state, &times, &labels), |net| {
                for ((at, planned), net) in mine.iter().zip(&planned).zip(net.chunks_exact(len)) {
                    let state = &mut states[at * len..][..len];
                    state.iter_mut().zip(net).for_each(|(x, &net)| *x = planned.step.apply(*x, net, None));
                }
            })?;
        }
        Ok(())
    }

    /// Matches images `slots` of a step, and teaches the follower by them.
    fn part(&mut self, step: u64, slots: Range<usize>, learner: &mut Learner) -> Result<()> {
        let len = learner.image_len();
        self.begin(step, slots.clone(), learner)?;
        let mut buffers = std::mem::take(&mut self.buffers);
        let Buffers { labels, times, states, steps, images, noised, real } = &mut buffers;
        let batch = Batch::of(states, times, labels);
        let mut matched = Ok(());
        learner.accumulate(batch, |net, gradient| {
            images.clear();
            for (at, step) in steps.iter().enumerate() {
                let (x, b) = linear(step);
                let place = at * len..(at + 1) * len;
                let state = &states[place.clone()];
                images.extend(state.iter().zip(&net[place]).map(|(&state, &net)| x * state + b * net));
            }
            matched = self.compare(step, slots.clone(), (labels, images), (noised, real), gradient);
            for (step, gradient) in steps.iter().zip(gradient.chunks_exact_mut(len)) {
                let (_, b) = linear(step);
                gradient.iter_mut().for_each(|slope| *slope *= b);
            }
        })?;
        matched?;
        let prediction = self.how.schedule.prediction;
        let levels = slots.map(|slot| self.level(LEARNT, (step, slot), 0.0..1.0));
        noised.fill(images, len, prediction, levels)?;
        let number = (self.pairs.batch() * len) as f64;
        let batch = Batch::of(&noised.x, &noised.times, labels);
        self.follower.learner.accumulate(batch, |net, gradient| {
            for ((slope, &net), &target) in gradient.iter_mut().zip(net).zip(&noised.target) {
                *slope = (2.0 * f64::from(net - target) / number) as f32;
            }
        })?;
        self.buffers = buffers;
        Ok(())
    }

    /// The gradient for each value of images that the student drew.
    fn compare(
        &mut self,
        step: u64,
        slots: Range<usize>,
        (labels, images): (&[i32], &[f32]),
        (noised, real): (&mut Noised, &mut Vec<f32>),
        gradient: &mut [f32],
    ) -> Result<()> {
        let len = images.len() / slots.len();
        let prediction = self.how.schedule.prediction;
        let levels = slots.map(|slot| self.level(NOISED, (step, slot), COMPARED));
        noised.fill(images, len, prediction, levels)?;
        try_resize(real, images.len(), BATCH)?;
        let asked = (!labels.is_empty()).then_some(labels);
        let null_label = self.teacher.model().info().config.network.null_label();
        let guidance = self.how.guidance.zip(null_label);
        predict(&mut self.teacher, guidance, (&noised.x, &noised.times, asked), &mut self.spare, real)?;
        let factor = self.how.weight / self.how.number;
        self.follower.learner.predict(Batch::of(&noised.x, &noised.times, labels), |fake| {
            for (at, level) in noised.levels.iter().enumerate() {
                let place = at * len..(at + 1) * len;
                let (x, image) = (&noised.x[place.clone()], &images[place.clone()]);
                let answers = (&real[place.clone()], &fake[place.clone()]);
                slopes(level, prediction, (x, image), answers, factor, &mut gradient[place]);
            }
        })
    }
}

/// What an image's values move against, times `factor`: (D_fake - D_real) / mean|x - D_real|.
fn slopes(
    level: &Level,
    prediction: Prediction,
    (noised, image): (&[f32], &[f32]),
    (real, fake): (&[f32], &[f32]),
    factor: f64,
    out: &mut [f32],
) {
    let estimate = Estimate::new(prediction, level.image * level.image).x_0;
    let x_0 = |x: f32, net: f32| estimate.x * f64::from(x) + estimate.net * f64::from(net);
    let mut distance = 0.0;
    for ((out, (&x, &image)), (&real, &fake)) in
        out.iter_mut().zip(noised.iter().zip(image)).zip(real.iter().zip(fake))
    {
        let real = x_0(x, real);
        distance += (f64::from(image) - real).abs();
        *out = (x_0(x, fake) - real) as f32;
    }
    // An image that is its own estimate is as likely as can be.
    let mean = (distance / noised.len() as f64).max(1e-6);
    out.iter_mut().for_each(|slope| *slope = (factor * f64::from(*slope) / mean) as f32);
}

/// What draws are for.
const DRAWN: u32 = 0;
const NOISED: u32 = 1;
const LEARNT: u32 = 2;

impl Objective for Matching<'_> {
    fn batch(&self) -> usize {
        self.pairs.batch()
    }

    /// The loss is that of pairs: the divergence itself is not known, its gradient alone.
    fn accumulate(&mut self, step: u64, learner: &mut Learner) -> Result<f64> {
        self.follower.learner.gradients().0.fill(0.0);
        let mine = self.how.group.share(self.pairs.batch());
        let part = mine.len() / self.how.accumulate;
        let taught = self.pairs.accumulate(step, learner).and_then(|loss| {
            for first in mine.step_by(part) {
                self.part(step, first..first + part, learner)?;
            }
            Ok(loss)
        });
        let Beside { learner: follower, adam } = &mut self.follower;
        let (gradients, parameters) = follower.gradients();
        // Every process comes to this sum, whatever became of its images.
        let mut loss = 0.0;
        self.how.group.sum(taught.map(|value| loss = value).map(|()| 0.0), gradients)?;
        let Optimization { rate, steps, clip, .. } = self.how.optimization;
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

    /// The teacher, prepared; the follower's values, gradients and moments, and what it passes through.
    fn bytes(&self) -> u64 {
        let follower = 4 * 4 * self.follower.adam.moments[0].len() as u64;
        let part = self.how.group.share(self.pairs.batch()).len() / self.how.accumulate;
        let teacher =
            self.teacher.model().estimate_memory(part).map_or(0, |memory| memory.weights + memory.scratch);
        teacher + follower + self.follower.learner.scratch_bytes()
    }

    fn beside(&mut self) -> Option<&mut Beside> {
        Some(&mut self.follower)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::names::Named;

    /// `tests/golden/matching.py`: the paper's scores and weight, whose derivative PyTorch takes.
    #[test]
    fn gradients_are_the_papers() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/matching.json");
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
        let levels = Level::all(&Schedule::default()).unwrap();
        for case in cases {
            let values = |key: &str| -> Vec<f32> {
                case[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap() as f32).collect()
            };
            let level = levels[case["timestep"].as_u64().unwrap() as usize];
            let name = case["prediction"].as_str().unwrap();
            let prediction = Prediction::NAMES.iter().find(|(known, _)| *known == name).unwrap().1;
            let (image, noised, expected) = (values("image"), values("noised"), values("gradient"));
            let (real, fake) = (values("real"), values("fake"));
            let mut found = vec![0.0; image.len()];
            slopes(&level, prediction, (&noised, &image), (&real, &fake), 3.0, &mut found);
            for (found, expected) in found.iter().zip(&expected) {
                let bound = 1e-4 * expected.abs().max(1e-2);
                assert!((found / 3.0 - expected).abs() < bound, "{found} {expected}: {case}");
            }
        }
    }

    #[test]
    fn an_image_that_is_its_own_estimate_does_not_move() {
        let level = Level { time: 5.0, image: 1.0, noise: 0.0 };
        let image = [0.5, -0.25];
        let mut found = [1.0; 2];
        slopes(&level, Prediction::Sample, (&image, &image), (&image, &image), 1.0, &mut found);
        assert_eq!(found, [0.0; 2]);
    }
}
