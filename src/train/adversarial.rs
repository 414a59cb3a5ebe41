//! An adversarial loss (Goodfellow et al. 2014): a second network, the critic, learns to tell what the student draws from images of a
//! folder, and the student learns to be taken for one of them.
//!
//! The critic D is a network of the teacher's, begun from its weights, whose every output is a logit. It sees images with noise at
//! timesteps of the teacher's process, of both kinds alike (Wang et al. 2022, "Diffusion-GAN"), and learns
//!
//! softplus(D(drawn)) + softplus(-D(real)) + r (D(real) - D(real + s n))^2,
//!
//! where the last term stands for the squared norm of its gradient at real images (Lin et al. 2025, "Diffusion Adversarial Post-Training
//! for One-Step Video Generation", section 3.3), so that it does not outrun the student. The student moves against
//! softplus(-D(drawn)). Both are means over images and values.
//!
//! A loss of pairs leaves a student at the mean of what it cannot tell apart, and at best as good as its teacher's images. This pulls it
//! to the images that the teacher itself learnt from.

use super::fresh::Drawn;
use super::images::{Altered, Images};
use super::learner::{Batch, Learner};
use super::level::Level;
use super::optim::{Adam, AdamOptions};
use super::run::Optimization;
use super::second::{How, Second};
use super::state::Beside;
use crate::error::{Result, try_resize};
use crate::model::Network;
use crate::noise;
use crate::weights::Checkpoint;
use std::ops::Range;

/// The part of all timesteps at which images are told apart: with more noise there is little to see.
const NOISED: Range<f64> = 0.0..0.7;
/// r: measured on portraits of 16 x 16, where 10 left the critic blind.
const STIFFNESS: f64 = 0.2;
/// s
const NUDGE: f32 = 0.1;
/// A critic has no use for what its gradients were long ago (Karras et al. 2020).
const BETAS: [f64; 2] = [0.0, 0.99];

/// The critic, and the images that are real.
pub struct Critic {
    network: Beside,
    images: Images,
    how: How,
    seen: Seen,
}

/// What the critic sees.
#[derive(Default)]
struct Seen {
    x: Vec<f32>,
    times: Vec<f32>,
    labels: Vec<i32>,
    real: Vec<f32>,
    noise: Vec<f32>,
}

impl Seen {
    /// Room for so many images of `len` values, of which none is there yet.
    fn begin(&mut self, count: usize, len: usize) -> Result<()> {
        for (buffer, len) in [(&mut self.x, count * len), (&mut self.real, len), (&mut self.noise, len)] {
            try_resize(buffer, len, "a batch of images")?;
        }
        self.times.clear();
        self.labels.clear();
        Ok(())
    }
}

impl Critic {
    /// Of a teacher's network and weights.
    ///
    /// # Errors
    /// OUT_OF_MEMORY.
    pub fn new(
        (network, teacher): (&Network, &Checkpoint),
        images: Images,
        threads: usize,
        optimization: &Optimization,
        how: How,
    ) -> Result<Self> {
        let mut learner = Learner::new(network, teacher, threads)?;
        let options = AdamOptions { betas: BETAS, ..optimization.adam };
        let adam = Adam::new(options, learner.values().len())?;
        Ok(Self { network: Beside { learner, adam }, images, how, seen: Seen::default() })
    }
}

/// x_t of an image; values that no image has count as the nearest that one has.
fn noised(level: &Level, image: &[f32], noise: &[f32], out: &mut [f32]) {
    let (a, b) = (level.image as f32, level.noise as f32);
    for ((out, x_0), eps) in out.iter_mut().zip(image).zip(noise) {
        *out = a * x_0.clamp(-1.0, 1.0) + b * eps;
    }
}

/// 1 / (1 + e^-x), the slope of softplus.
fn sigmoid(x: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(x)).exp())
}

/// The slopes of the critic's loss for its outputs of images drawn, real, and real ones nudged; each divided by `number`.
fn slopes(net: &[f32], number: f64, gradient: &mut [f32]) {
    let third = net.len() / 3;
    let (drawn, rest) = net.split_at(third);
    let (real, nudged) = rest.split_at(third);
    for i in 0..third {
        let change = 2.0 * STIFFNESS * f64::from(real[i] - nudged[i]);
        gradient[i] = (sigmoid(drawn[i]) / number) as f32;
        gradient[third + i] = ((change - sigmoid(-real[i])) / number) as f32;
        gradient[2 * third + i] = (-change / number) as f32;
    }
}

impl Second for Critic {
    fn network(&mut self) -> &mut Beside {
        &mut self.network
    }

    fn slopes(&mut self, drawn: Drawn, gradient: &mut [f32]) -> Result<()> {
        let Drawn { step, labels, images, .. } = drawn;
        let len = self.network.learner.image_len();
        self.seen.begin(images.len() / len, len)?;
        let mut factors = Vec::with_capacity(images.len() / len);
        for ((at, slot), image) in drawn.slots(len).enumerate().zip(images.chunks_exact(len)) {
            let (level, seed) = self.how.noise(SHOWN, (step, slot), &NOISED);
            let Seen { x, times, noise, .. } = &mut self.seen;
            noise::fill(seed, 0, noise);
            noised(&level, image, noise, &mut x[at * len..][..len]);
            times.push(level.time);
            factors.push(level.image);
        }
        let factor = self.how.factor;
        let Seen { x, times, .. } = &self.seen;
        self.network.learner.slope(
            Batch::of(x, times, labels),
            |net, gradient| {
                for (slope, &net) in gradient.iter_mut().zip(net) {
                    *slope = (-factor * sigmoid(-net)) as f32;
                }
            },
            |slopes| {
                let images = images.chunks_exact(len).zip(slopes.chunks_exact(len));
                for (((image, slopes), to), noised) in
                    images.zip(gradient.chunks_exact_mut(len)).zip(&factors)
                {
                    for ((&value, &slope), to) in image.iter().zip(slopes).zip(to) {
                        // What was clamped moves back alone.
                        let moves = value.abs() <= 1.0 || (value > 0.0) == (slope > 0.0);
                        *to = if moves { (noised * f64::from(slope)) as f32 } else { 0.0 };
                    }
                }
            },
        )
    }

    fn learn(&mut self, drawn: Drawn) -> Result<()> {
        let Drawn { step, labels, images, .. } = drawn;
        let len = self.network.learner.image_len();
        let count = images.len() / len;
        self.seen.begin(3 * count, len)?;
        let [picked, nudges] = [PICKED, NUDGED].map(|purpose| self.how.random.beside(purpose));
        self.seen.labels.extend(labels);
        for ((at, slot), image) in drawn.slots(len).enumerate().zip(images.chunks_exact(len)) {
            let (level, seed) = self.how.noise(TOLD, (step, slot), &NOISED);
            let draws = picked.draws(step, slot);
            let index = draws.below(self.images.len());
            let Seen { x, times, labels, real, noise } = &mut self.seen;
            noise::fill(seed, 0, noise);
            noised(&level, image, noise, &mut x[at * len..][..len]);
            self.images.fill(index, &Altered::default(), real);
            noise::fill(draws.noise, 0, noise);
            noised(&level, real, noise, &mut x[(count + at) * len..][..len]);
            noise::fill(nudges.draws(step, slot).noise, 0, noise);
            let (before, nudged) = x.split_at_mut((2 * count + at) * len);
            let real = &before[(count + at) * len..][..len];
            for ((nudged, real), noise) in nudged.iter_mut().zip(real).zip(&*noise) {
                *nudged = real + NUDGE * noise;
            }
            times.push(level.time);
            labels.extend(self.images.labels.as_ref().map(|labels| labels[index]));
        }
        let Seen { x, times, labels, .. } = &mut self.seen;
        times.extend_from_within(..);
        times.extend_from_within(..count);
        labels.extend_from_within(labels.len() / 2..);
        let number = (self.how.batch * len) as f64;
        let batch = Batch::of(x, times, labels);
        self.network.learner.accumulate(batch, |net, gradient| slopes(net, number, gradient))
    }

    fn bytes(&self, _: usize) -> u64 {
        self.network.bytes() + (self.images.len() * self.network.learner.image_len()) as u64
    }
}

/// What draws are for, beside the images themselves.
const SHOWN: u32 = 3;
const TOLD: u32 = 4;
const PICKED: u32 = 5;
const NUDGED: u32 = 6;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_those_of_the_critics_loss() {
        let softplus = |x: f64| x.exp().ln_1p();
        let loss = |net: &[f64]| {
            let [drawn, real, nudged] = [0, 1, 2].map(|part| &net[2 * part..][..2]);
            (0..2)
                .map(|i| softplus(drawn[i]) + softplus(-real[i]) + STIFFNESS * (real[i] - nudged[i]).powi(2))
                .sum::<f64>()
                / 7.0
        };
        let net = [0.5, -2.0, 1.5, -0.25, 1.0, 0.75];
        let mut found = [0.0; 6];
        slopes(&net.map(|value: f64| value as f32), 7.0, &mut found);
        for i in 0..6 {
            let moved = |by: f64| {
                let mut net = net;
                net[i] += by;
                loss(&net)
            };
            let expected = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            assert!((f64::from(found[i]) - expected).abs() < 1e-6, "{i}: {} {expected}", found[i]);
        }
    }
}
