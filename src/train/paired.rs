//! The paired consistency loss (Lee, Lin and Fanti 2024, "Improving the Training of Rectified Flows"): a student of a teacher's pairs
//! learns, at every level of noise between them, the way to the pair's own image. One call from noise alone is then a good image, and
//! more calls are better ones.
//!
//! Of a pair (z, x) the student sees x_k = sqrt(a_k) x + sqrt(1 - a_k) z, and its output F stands for z - x ([`Prediction::Flow`]), so
//! that its estimate of the image is D = (x_k - sqrt(1 - a_k) F) / (sqrt(a_k) + sqrt(1 - a_k)): a network of epsilon is a good one to
//! begin with where there is little noise, and D(z, T - 1) is the paper's z - F. With t = sigma / (1 + sigma), sigma^2 = (1 - a) / a,
//! D - x = -t (F - (z - x)), and x_k is a multiple of the straight way's (1 - t) x + t z. The loss of an image is
//!
//! (1 - t) h(F - (z - x)) + d(D, x) / t,    h(e) = (sqrt(|e|^2 + c^2) - c) / n,    c = 0.00054 n,
//!
//! for n values, where d is h(D - x), or LPIPS. t is drawn with a density of e^4t + e^-4t: most at both ends.

use super::examples::Examples;
use super::group::Group;
use super::learner::{Batch, Learner};
use super::level::Level;
use super::lpips::Lpips;
use super::objective::Objective;
use super::random::Random;
use super::recipe::DistillSettings;
use crate::error::{Error, Result, try_resize};
use crate::model::Schedule;
use std::ops::Range;

/// Of a pseudo-Huber distance, for each of its values.
const C: f64 = 0.00054;
/// Both ends that t keeps away from.
const LEAST: f64 = 1e-5;
/// How fast the density of t rises towards them.
const STEEPNESS: f64 = 4.0;

/// t for a number uniform in [0, 1): the inverse of the integral of e^4t + e^-4t, which is sinh(4 t) / 2.
fn time(uniform: f64) -> f64 {
    let (low, high) = ((STEEPNESS * LEAST).sinh(), (STEEPNESS * (1.0 - LEAST)).sinh());
    ((high - low) * uniform + low).asinh() / STEEPNESS
}

/// What the loss asks of a timestep.
impl Level {
    /// sigma / (1 + sigma)
    fn t(&self) -> f64 {
        self.noise / (self.image + self.noise)
    }

    /// What the network sees of a pair's values, noise alone where it is `first`; and the output whose estimate is the image.
    fn between(&self, noise: f64, image: f64, first: bool) -> (f64, f64) {
        let seen = if first { noise } else { self.image * image + self.noise * noise };
        (seen, (seen - (self.image + self.noise) * image) / self.noise)
    }

    /// The image that an output stands for.
    fn estimate(&self, seen: f64, output: f64) -> f64 {
        (seen - self.noise * output) / (self.image + self.noise)
    }
}

/// Teaching a student by pairs.
pub struct Paired<'a> {
    settings: &'a DistillSettings,
    lpips: Option<Lpips>,
    image: [usize; 3],
    group: &'a Group,
    examples: Examples,
    levels: Vec<Level>,
    random: Random,
    test_every: u64,
    steps: u64,
    buffers: Buffers,
}

/// Of the images that pass at a time.
#[derive(Default)]
struct Buffers {
    /// What the network sees.
    x: Vec<f32>,
    /// The images.
    images: Vec<f32>,
    /// What it shall say: F for which D is the image.
    target: Vec<f32>,
    times: Vec<f32>,
    labels: Vec<i32>,
    levels: Vec<Level>,
}

impl<'a> Paired<'a> {
    /// Of examples of one call, of a teacher with this schedule.
    ///
    /// # Errors
    /// INVALID_ARGUMENT (`loss`) for examples that are no pairs of one call; OUT_OF_MEMORY.
    pub fn new(
        settings: &'a DistillSettings,
        (lpips, image): (Option<Lpips>, [usize; 3]),
        group: &'a Group,
        examples: Examples,
        schedule: &Schedule,
        (test_every, steps): (u64, u64),
    ) -> Result<Self> {
        if matches!(examples, Examples::Halving(_)) {
            return Err(Error::argument("loss", "paired: halving has no pairs of noise and image"));
        }
        let levels = Level::all(schedule)?;
        let random = Random(settings.seed);
        let buffers = Buffers::default();
        Ok(Self { settings, lpips, image, group, examples, levels, random, test_every, steps, buffers })
    }

    /// The level whose t is nearest. The last is where samples begin, from noise alone.
    fn level(&self, t: f64) -> usize {
        let after = self.levels.partition_point(|level| level.t() < t);
        match after {
            0 => 0,
            after if after == self.levels.len() => after - 1,
            after if t - self.levels[after - 1].t() < self.levels[after].t() - t => after - 1,
            after => after,
        }
    }

    /// Fills the buffers with images `numbers` of `count`: `fill` gives an image's pair, and `uniform` where in the range of t it is.
    fn fill(
        &mut self,
        numbers: Range<usize>,
        fill: impl Fn(&mut Examples, usize, &mut [f32], &mut [f32]) -> Result<super::stored::Task>,
        uniform: impl Fn(usize) -> f64,
    ) -> Result<()> {
        let len: usize = self.image.iter().product();
        let values = numbers.len().saturating_mul(len);
        let Buffers { x, images, target, .. } = &mut self.buffers;
        for buffer in [x, images, target] {
            try_resize(buffer, values, "a batch of images")?;
        }
        self.buffers.times.clear();
        self.buffers.labels.clear();
        self.buffers.levels.clear();
        for (at, number) in numbers.enumerate() {
            let number_of_level = self.level(time(uniform(number)));
            let level = self.levels[number_of_level];
            let Buffers { x, images, target, times, labels, levels } = &mut self.buffers;
            let place = at * len..(at + 1) * len;
            let (x, image, target) = (&mut x[place.clone()], &mut images[place.clone()], &mut target[place]);
            let task = fill(&mut self.examples, number, x, image)?;
            let first = number_of_level + 1 == self.levels.len();
            for ((x, target), &image) in x.iter_mut().zip(target).zip(&*image) {
                let (seen, output) = level.between(f64::from(*x), f64::from(image), first);
                (*x, *target) = (seen as f32, output as f32);
            }
            times.push(level.time);
            labels.extend(task.label);
            levels.push(level);
        }
        Ok(())
    }

    fn as_batch(&self) -> Batch<'_> {
        Batch::of(&self.buffers.x, &self.buffers.times, &self.buffers.labels)
    }

    /// The loss of raw predictions, divided by `number`, and its gradient.
    fn loss(&self, net: &[f32], number: f64, mut gradient: Option<&mut [f32]>) -> Result<f64> {
        let len: usize = self.image.iter().product();
        let pixels = self.lpips.is_none();
        let mut loss = 0.0;
        let targets = self.buffers.target.chunks_exact(len);
        for (i, ((net, target), level)) in
            net.chunks_exact(len).zip(targets).zip(&self.buffers.levels).enumerate()
        {
            let squares = |(net, target): (&f32, &f32)| f64::from(net - target).powi(2);
            let square: f64 = net.iter().zip(target).map(squares).sum();
            let (value, slope) = of_image(square, len, level.t(), pixels);
            loss += value / number;
            if let Some(gradient) = &mut gradient {
                let gradient = &mut gradient[i * len..][..len];
                for ((gradient, net), target) in gradient.iter_mut().zip(net).zip(target) {
                    *gradient = (slope * f64::from(net - target) / number) as f32;
                }
            }
        }
        if let Some(lpips) = &self.lpips {
            loss += self.perceptual(lpips, net, number, gradient)?;
        }
        Ok(loss)
    }

    /// LPIPS of the estimates, by image, with its gradient added to `gradient`.
    fn perceptual(
        &self,
        lpips: &Lpips,
        net: &[f32],
        number: f64,
        mut gradient: Option<&mut [f32]>,
    ) -> Result<f64> {
        let [c, h, w] = self.image;
        let len = c * h * w;
        let mut loss = 0.0;
        let (mut estimate, mut slopes) = (vec![0.0; len], vec![0.0; len]);
        for (i, (net, level)) in net.chunks_exact(len).zip(&self.buffers.levels).enumerate() {
            let (x, image) = (&self.buffers.x[i * len..][..len], &self.buffers.images[i * len..][..len]);
            for ((estimate, &x), &net) in estimate.iter_mut().zip(x).zip(net) {
                *estimate = level.estimate(f64::from(x), f64::from(net)) as f32;
            }
            let wanted = gradient.is_some().then_some(&mut slopes[..]);
            let distance = lpips.loss_and_gradient(&estimate, image, [1, c, h, w], wanted)?;
            loss += self.settings.lpips_weight * distance / level.t() / number;
            if let Some(gradient) = &mut gradient {
                // dD / dF = -t, which the division takes away again.
                let factor = -self.settings.lpips_weight / number;
                for (gradient, &slope) in gradient[i * len..][..len].iter_mut().zip(&slopes) {
                    *gradient += (factor * f64::from(slope)) as f32;
                }
            }
        }
        Ok(loss)
    }
}

/// The loss of an image of `len` values whose output is off by a square of `square`, at `t`; and what each value's error is
/// multiplied with in its gradient. Without `pixels` the distance of the estimates is somebody else's.
fn of_image(square: f64, len: usize, t: f64, pixels: bool) -> (f64, f64) {
    let n = len as f64;
    let c = C * n;
    let huber = |square: f64| {
        let root = (square + c * c).sqrt();
        ((root - c) / n, 1.0 / (n * root))
    };
    let (velocity, slope) = huber(square);
    let (mut value, mut factor) = ((1.0 - t) * velocity, (1.0 - t) * slope);
    if pixels {
        // |D - x| = t |F - (z - x)|.
        let (estimate, slope) = huber(t * t * square);
        value += estimate / t;
        factor += t * slope;
    }
    (value, factor)
}

impl Objective for Paired<'_> {
    fn batch(&self) -> usize {
        self.settings.batch
    }

    fn accumulate(&mut self, step: u64, learner: &mut Learner) -> Result<f64> {
        let batch = self.settings.batch;
        let mine = self.group.share(batch);
        self.examples.begin(step, mine.clone(), batch)?;
        let part = mine.len() / self.settings.accumulate;
        let random = self.random;
        let mut loss = 0.0;
        for first in mine.step_by(part) {
            self.fill(
                first..first + part,
                |examples, slot, x, image| examples.fill((step, slot, batch), x, image),
                |slot| random.spread(step, slot, batch),
            )?;
            let mut part_loss = Ok(0.0);
            learner.accumulate(self.as_batch(), |net, gradient| {
                part_loss = self.loss(net, batch as f64, Some(gradient));
            })?;
            loss += part_loss?;
        }
        Ok(loss)
    }

    fn test_due(&self, step: u64) -> bool {
        self.examples.test_due(step, self.test_every, self.steps)
    }

    /// At times that are spread as those of training are.
    fn test(&mut self, learner: &mut Learner) -> Result<f64> {
        let count = self.examples.test_len();
        let mine = self.group.share(count);
        let part = self.group.share(self.settings.batch).len() / self.settings.accumulate;
        let mut loss = 0.0;
        for first in mine.clone().step_by(part) {
            self.fill(
                first..mine.end.min(first + part),
                |examples, number, x, image| examples.fill_test(number, x, image),
                |number| (number as f64 + 0.5) / count as f64,
            )?;
            let mut part_loss = Ok(0.0);
            learner.predict(self.as_batch(), |net| part_loss = self.loss(net, count as f64, None))?;
            loss += part_loss?;
        }
        Ok(loss)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The integral of the density, by the trapezoid rule.
    fn share(from: f64, to: f64) -> f64 {
        let density = |t: f64| (STEEPNESS * t).exp() + (-STEEPNESS * t).exp();
        let n = 2000;
        let h = (to - from) / f64::from(n);
        (0..n)
            .map(|i| (density(from + f64::from(i) * h) + density(from + f64::from(i + 1) * h)) / 2.0 * h)
            .sum()
    }

    #[test]
    fn times_have_the_density_of_the_paper() {
        let (count, bins) = (100_000, 20);
        let mut histogram = vec![0usize; bins];
        for i in 0..count {
            let t = time((i as f64 + 0.5) / count as f64);
            assert!((LEAST..=1.0 - LEAST).contains(&t));
            histogram[(t * bins as f64) as usize] += 1;
        }
        let whole = share(0.0, 1.0);
        for (bin, &found) in histogram.iter().enumerate() {
            let expected = share(bin as f64 / bins as f64, (bin + 1) as f64 / bins as f64) / whole;
            assert!((found as f64 / count as f64 / expected - 1.0).abs() < 2e-3, "{bin}: {found} {expected}");
        }
        assert_eq!((time(0.0), time(1.0)), (LEAST, 1.0 - LEAST));
    }

    /// `tests/golden/paired.py`: the formula as the paper has it, by PyTorch.
    #[test]
    fn losses_and_gradients_are_pytorchs() {
        let golden = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/paired.json");
        let cases: Vec<serde_json::Value> =
            serde_json::from_str(&std::fs::read_to_string(golden).unwrap()).unwrap();
        let levels = Level::all(&Schedule::default()).unwrap();
        for case in cases {
            let values = |key: &str| -> Vec<f64> {
                case[key].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect()
            };
            let close = |found: f64, expected: f64, what: &str| {
                let bound = 1e-5 * expected.abs().max(1e-2);
                assert!((found - expected).abs() < bound, "{what}: {found}, {expected} expected: {case}");
            };
            let level = levels[case["timestep"].as_u64().unwrap() as usize];
            close(level.t(), case["t"].as_f64().unwrap(), "t");
            let (noise, image, output) = (values("noise"), values("image"), values("output"));
            let mut square = 0.0;
            let mut errors = Vec::new();
            for i in 0..noise.len() {
                let (seen, target) = level.between(noise[i], image[i], false);
                close(seen, values("seen")[i], "seen");
                close(target, noise[i] - image[i], "target");
                close(level.estimate(seen, output[i]), values("estimate")[i], "estimate");
                errors.push(output[i] - target);
                square += (output[i] - target).powi(2);
            }
            let (loss, slope) = of_image(square, noise.len(), level.t(), true);
            close(loss, case["loss"].as_f64().unwrap(), "loss");
            for (error, expected) in errors.iter().zip(values("gradient")) {
                close(slope * error, expected, "gradient");
            }
            let (loss, _) = of_image(square, noise.len(), level.t(), false);
            close(loss, case["velocity_loss"].as_f64().unwrap(), "velocity");
        }
        // Where samples begin, the estimate of the right output is the image nevertheless.
        let last = levels[levels.len() - 1];
        let (seen, target) = last.between(1.25, -0.5, true);
        assert_eq!(seen, 1.25);
        close_to(last.estimate(seen, target), -0.5);
        assert_eq!(of_image(0.0, 5, 0.5, true).0, 0.0);
    }

    fn close_to(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-12, "{found}, {expected} expected");
    }
}
