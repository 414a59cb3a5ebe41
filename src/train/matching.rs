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
use super::fresh::Drawn;
use super::learner::{Batch, Learner};
use super::level::Level;
use super::optim::Adam;
use super::run::Optimization;
use super::second::{How, Second};
use super::state::Beside;
use crate::error::{Result, try_resize};
use crate::model::Prediction;
use crate::noise;
use crate::options::Options;
use crate::sampler::Estimate;
use crate::session::{Model, Session};
use crate::weights::Checkpoint;
use std::ops::Range;

/// What memory is for.
const BATCH: &str = "a batch of images";
/// The part of all timesteps at which both are compared: next to no noise, and nothing else, say little.
const COMPARED: Range<f64> = 0.02..0.98;

/// The follower, and its teacher.
pub struct Follower {
    teacher: Session,
    /// Its prediction without labels.
    spare: Vec<f32>,
    network: Beside,
    how: How,
    /// The teacher's guidance, if it is guided.
    guidance: Option<f32>,
    prediction: Prediction,
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

impl Follower {
    /// Of a student of this teacher.
    ///
    /// # Errors
    /// Those of opening the teacher twice.
    pub fn new(
        (teacher, guidance): (&Checkpoint, Option<f32>),
        prediction: Prediction,
        options: &Options,
        optimization: &Optimization,
        how: How,
    ) -> Result<Self> {
        let model = Model::from_checkpoint(teacher, options)?;
        let network = &model.info().config.network;
        let mut learner = Learner::new(network, teacher, options.threads as usize)?;
        let adam = Adam::new(optimization.adam, learner.values().len())?;
        let teacher = model.session(options)?;
        Ok(Self {
            teacher,
            spare: Vec::new(),
            network: Beside { learner, adam },
            how,
            guidance,
            prediction,
            noised: Noised::default(),
            real: Vec::new(),
        })
    }

    /// Level and noise of each image in the draws of one purpose, of timesteps in this part of all.
    fn noise(&mut self, purpose: u32, drawn: Drawn, part: Range<f64>) -> Result<()> {
        let (how, len) = (&self.how, self.network.learner.image_len());
        let levels = drawn.slots(len).map(|slot| how.noise(purpose, (drawn.step, slot), &part));
        self.noised.fill(drawn.images, len, self.prediction, levels)
    }
}

impl Second for Follower {
    fn network(&mut self) -> &mut Beside {
        &mut self.network
    }

    fn slopes(&mut self, drawn: Drawn, gradient: &mut [f32]) -> Result<()> {
        self.noise(NOISED, drawn, COMPARED)?;
        let Drawn { labels, images, .. } = drawn;
        let Self { teacher, spare, network, how, guidance, prediction, noised, real } = self;
        try_resize(real, images.len(), BATCH)?;
        let asked = (!labels.is_empty()).then_some(labels);
        let null_label = teacher.model().info().config.network.null_label();
        let guidance = guidance.zip(null_label);
        predict(teacher, guidance, (&noised.x, &noised.times, asked), spare, real)?;
        let (len, factor) = (network.learner.image_len(), how.factor);
        network.learner.predict(Batch::of(&noised.x, &noised.times, labels), |fake| {
            for (at, level) in noised.levels.iter().enumerate() {
                let place = at * len..(at + 1) * len;
                let (x, image) = (&noised.x[place.clone()], &images[place.clone()]);
                let answers = (&real[place.clone()], &fake[place.clone()]);
                slopes(level, *prediction, (x, image), answers, factor, &mut gradient[place]);
            }
        })
    }

    fn learn(&mut self, drawn: Drawn) -> Result<()> {
        self.noise(LEARNT, drawn, 0.0..1.0)?;
        let number = (self.how.batch * self.network.learner.image_len()) as f64;
        let noised = &self.noised;
        let batch = Batch::of(&noised.x, &noised.times, drawn.labels);
        self.network.learner.accumulate(batch, |net, gradient| {
            for ((slope, &net), &target) in gradient.iter_mut().zip(net).zip(&noised.target) {
                *slope = (2.0 * f64::from(net - target) / number) as f32;
            }
        })
    }

    fn bytes(&self, images: usize) -> u64 {
        let teacher = self.teacher.model().estimate_memory(images);
        self.network.bytes() + teacher.map_or(0, |memory| memory.weights + memory.scratch)
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

/// What draws are for, beside the images themselves.
const NOISED: u32 = 1;
const LEARNT: u32 = 2;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Schedule;
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
