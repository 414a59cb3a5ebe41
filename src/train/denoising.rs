//! What a teacher learns: to find the noise (or the image, or the way between them) in noised images; and how images are altered, so
//! that there are more of them.

use super::draw::diffusion;
use super::group::Group;
use super::images::{Altered, Images};
use super::learner::{Batch, Learner};
use super::level::Level;
use super::objective::Objective;
use super::random::{Draws, Random, Shuffled};
use super::teacher::TeacherSettings;
use crate::error::{Error, Result, try_resize};
use crate::exec::Dropout;
use crate::model::{Config, Prediction};
use crate::noise;
use std::ops::Range;

/// What memory is for.
const BATCH: &str = "a batch of images";

/// Predicting what is in noised images.
pub struct Denoising<'a> {
    settings: &'a TeacherSettings,
    group: &'a Group,
    images: &'a Images,
    random: Random,
    /// The images that are learnt from, and those that are kept for tests.
    learnt: Vec<u32>,
    kept: Vec<u32>,
    shuffled: Shuffled,
    prediction: Prediction,
    levels: Vec<Level>,
    /// The label that stands for none.
    null_label: Option<i32>,
    buffers: Buffers,
}

/// Of the images that pass at a time.
#[derive(Default)]
struct Buffers {
    x: Vec<f32>,
    target: Vec<f32>,
    noise: Vec<f32>,
    times: Vec<f32>,
    labels: Vec<i32>,
    seeds: Vec<u64>,
}

/// An image of a batch.
struct Item {
    image: usize,
    altered: Altered,
    /// Whether it goes without its label.
    unlabelled: bool,
    timestep: usize,
    /// Seed of its noise.
    noise: u64,
}

impl<'a> Denoising<'a> {
    /// Of a model of this configuration.
    ///
    /// # Errors
    /// INVALID_ARGUMENT (`test`) where no image is left to learn from; those of the schedule.
    pub fn new(
        settings: &'a TeacherSettings,
        group: &'a Group,
        config: &Config,
        images: &'a Images,
        random: Random,
    ) -> Result<Self> {
        if settings.test >= images.len() {
            let message =
                format!("{} of {} images; some must be left to learn from", settings.test, images.len());
            return Err(Error::argument("test", message));
        }
        let (learnt, kept) = match settings.test {
            0 => ((0..images.len() as u32).collect(), Vec::new()),
            test => {
                let order = random.order(KEPT, images.len());
                (order[test..].to_vec(), order[..test].to_vec())
            }
        };
        let shuffled = Shuffled::new(random, learnt.len());
        let schedule = diffusion(config)?;
        Ok(Self {
            settings,
            group,
            images,
            random,
            learnt,
            kept,
            shuffled,
            prediction: schedule.prediction,
            levels: Level::all(schedule)?,
            null_label: config.network.null_label(),
            buffers: Buffers::default(),
        })
    }

    /// Fills the buffers with images `numbers`, which `item` describes.
    fn fill(
        &mut self,
        numbers: Range<usize>,
        len: usize,
        item: impl Fn(&mut Self, usize) -> Item,
    ) -> Result<()> {
        let values = numbers.len().saturating_mul(len);
        try_resize(&mut self.buffers.x, values, BATCH)?;
        try_resize(&mut self.buffers.target, values, BATCH)?;
        try_resize(&mut self.buffers.noise, len, BATCH)?;
        self.buffers.times.clear();
        self.buffers.labels.clear();
        self.buffers.seeds.clear();
        for (at, number) in numbers.enumerate() {
            let Item { image, altered, unlabelled, timestep, noise: seed } = item(self, number);
            let Buffers { x, target, noise, times, labels, seeds } = &mut self.buffers;
            let (x, target) = (&mut x[at * len..][..len], &mut target[at * len..][..len]);
            let level = self.levels[timestep];
            times.push(level.time);
            let null_label = self.null_label.filter(|_| unlabelled);
            labels.extend(self.images.labels.as_ref().map(|labels| null_label.unwrap_or(labels[image])));
            seeds.push(seed);
            self.images.fill(image, &altered, x);
            noise::fill(seed, 0, noise);
            for ((x, target), &eps) in x.iter_mut().zip(target).zip(&*noise) {
                (*x, *target) = level.noised(self.prediction, *x, eps);
            }
        }
        Ok(())
    }

    /// Squared errors of raw outputs, divided by `number`, and their gradient.
    fn loss(&self, net: &[f32], number: f64, mut gradient: Option<&mut [f32]>) -> f64 {
        let mut loss = 0.0;
        for (i, (net, target)) in net.iter().zip(&self.buffers.target).enumerate() {
            let error = f64::from(net - target);
            loss += error * error / number;
            if let Some(gradient) = &mut gradient {
                gradient[i] = (2.0 * error / number) as f32;
            }
        }
        loss
    }

    fn batch<'b>(&'b self, dropout: Option<&'b Dropout>) -> Batch<'b> {
        let Buffers { x, times, labels, .. } = &self.buffers;
        Batch { dropout, ..Batch::of(x, times, labels) }
    }

    /// How an image is altered in a step.
    fn altered(&self, draws: &Draws) -> Altered {
        let TeacherSettings { flip, shift, color, .. } = *self.settings;
        let [place, tint] = draws.more;
        // From -1 to 1, in steps of 2^-15.
        let signed = |word: u32| (f64::from(word & 0xFFFF) / 32768.0 - 1.0) as f32;
        let moved =
            |word: u32| ((u64::from(word & 0xFFFF) * (2 * shift as u64 + 1)) >> 16) as isize - shift as isize;
        let color = color as f32;
        Altered {
            flip: flip && draws.flip,
            shift: (moved(place), moved(place >> 16)),
            contrast: 1.0 + color * signed(tint),
            brightness: color * signed(tint >> 16),
        }
    }
}

/// The epoch whose order says which images are kept for tests.
const KEPT: u64 = u64::MAX;

impl Objective for Denoising<'_> {
    fn batch(&self) -> usize {
        self.settings.batch
    }

    fn accumulate(&mut self, step: u64, learner: &mut Learner) -> Result<f64> {
        let (batch, len) = (self.settings.batch, learner.image_len());
        let mine = self.group.share(batch);
        let part = mine.len() / self.settings.accumulate;
        let number = (batch * len) as f64;
        let rate = self.settings.dropout as f32;
        let mut loss = 0.0;
        for first in mine.step_by(part) {
            self.fill(first..first + part, len, |this, slot| {
                let draws = this.random.draws(step, slot);
                let item = this.shuffled.item(step * batch as u64 + slot as u64);
                Item {
                    image: this.learnt[item] as usize,
                    altered: this.altered(&draws),
                    unlabelled: draws.happens(this.settings.drop_labels),
                    timestep: this.random.timestep(step, slot, batch, this.levels.len()),
                    noise: draws.noise,
                }
            })?;
            let seeds = || self.buffers.seeds.clone();
            let dropout = (rate > 0.0).then(|| Dropout { words: noise::words, rate, seeds: seeds() });
            learner.accumulate(Denoising::batch(self, dropout.as_ref()), |net, gradient| {
                loss += self.loss(net, number, Some(gradient));
            })?;
        }
        Ok(loss)
    }

    fn test_due(&self, step: u64) -> bool {
        let TeacherSettings { test_every, steps, .. } = *self.settings;
        !self.kept.is_empty() && (step.is_multiple_of(test_every.max(1)) || step == steps)
    }

    /// The images as they are, each at a timestep and with noise of its own, the same every time.
    fn test(&mut self, learner: &mut Learner) -> Result<f64> {
        let (count, len) = (self.kept.len(), learner.image_len());
        let mine = self.group.share(count);
        let part = self.group.share(self.settings.batch).len() / self.settings.accumulate;
        let number = (count * len) as f64;
        let mut loss = 0.0;
        for first in mine.clone().step_by(part) {
            self.fill(first..mine.end.min(first + part), len, |this, number| Item {
                image: this.kept[number] as usize,
                altered: Altered::default(),
                unlabelled: false,
                timestep: (2 * number + 1) * this.levels.len() / (2 * count),
                noise: this.random.draws(KEPT, number).noise,
            })?;
            learner.predict(Denoising::batch(self, None), |net| loss += self.loss(net, number, None))?;
        }
        Ok(loss)
    }

    /// The loss says whether images are learnt by heart, and little of how good samples are.
    fn keeps_best(&self) -> bool {
        false
    }
}
