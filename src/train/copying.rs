//! What a student is taught: to draw what its teacher drew. The loss, and its gradient.

use super::examples::Examples;
use super::group::Group;
use super::learner::{Batch, Learner};
use super::lpips::Lpips;
use super::objective::Objective;
use super::recipe::{DistillSettings, Loss, Reduction};
use super::stored::Task;
use crate::error::{Result, try_resize};
use crate::sampler::Plan;

/// See the module.
pub struct Copying<'a> {
    /// How it is learnt.
    pub settings: &'a DistillSettings,
    /// LPIPS beside the distance.
    pub lpips: Option<Lpips>,
    /// Channels, height and width.
    pub image: [usize; 3],
    /// Who learns it.
    pub group: &'a Group,
    /// What is learnt.
    pub examples: Examples,
    /// The student's calls.
    pub plan: Plan,
    /// Steps between tests.
    pub test_every: u64,
    /// Of the run.
    pub steps: u64,
    /// For a batch.
    pub buffers: Buffers,
}

/// A batch's arrays, kept for their memory.
#[derive(Default)]
pub struct Buffers {
    x: Vec<f32>,
    target: Vec<f32>,
    times: Vec<f32>,
    labels: Vec<i32>,
    /// Which of the student's calls, one an image.
    calls: Vec<usize>,
}

impl Buffers {
    fn as_batch(&self) -> Batch<'_> {
        Batch::of(&self.x, &self.times, &self.labels)
    }
}

impl Copying<'_> {
    /// Fills the buffers with `n` images of `len` floats; `fill` gets an image's number, x and target.
    fn fill(
        &mut self,
        n: usize,
        len: usize,
        fill: impl Fn(&mut Examples, usize, &mut [f32], &mut [f32]) -> Result<Task>,
    ) -> Result<()> {
        let Self { examples, buffers, plan, .. } = self;
        for values in [&mut buffers.x, &mut buffers.target] {
            try_resize(values, n.saturating_mul(len), "a batch of images")?;
        }
        buffers.times.clear();
        buffers.labels.clear();
        buffers.calls.clear();
        let images = buffers.x.chunks_exact_mut(len).zip(buffers.target.chunks_exact_mut(len));
        for (at, (x, target)) in images.enumerate() {
            let task = fill(examples, at, x, target)?;
            if task.call == 0 && plan.start != 1.0 {
                x.iter_mut().for_each(|x| *x *= plan.start);
            }
            buffers.times.push(plan.steps[task.call].time);
            buffers.labels.extend(task.label);
            buffers.calls.push(task.call);
        }
        Ok(())
    }

    /// The loss of some images, divided by `number`, and its gradient with respect to the raw prediction.
    fn loss(&self, net: &[f32], number: f64, mut gradient: Option<&mut [f32]>) -> Result<f64> {
        let Buffers { x, target, calls, .. } = &self.buffers;
        let len = net.len() / calls.len();
        let mut loss = 0.0;
        for (i, ((&x, &target), &raw)) in x.iter().zip(target).zip(net).enumerate() {
            let step = self.plan.steps[calls[i / len]].step;
            let error = f64::from(step.apply(x, raw, None) - target);
            let (value, slope) = match self.settings.loss {
                Loss::L1 => (error.abs(), sign(error)),
                Loss::L2 | Loss::Paired => (error * error, 2.0 * error),
            };
            loss += value / number;
            if let Some(gradient) = &mut gradient {
                gradient[i] = (slope * f64::from(step.net) / number) as f32;
            }
        }
        if let Some(lpips) = &self.lpips {
            loss += self.perceptual(lpips, net, number, gradient)?;
        }
        Ok(loss)
    }

    /// LPIPS of the same images, of which it is a mean where the loss is divided by `number`; its gradient is added.
    fn perceptual(
        &self,
        lpips: &Lpips,
        net: &[f32],
        number: f64,
        gradient: Option<&mut [f32]>,
    ) -> Result<f64> {
        let step = self.plan.steps[0].step;
        let [c, h, w] = self.image;
        let n = net.len() / (c * h * w);
        let of_all = n as f64 * self.number(1, c * h * w) / number;
        let factor = self.settings.lpips_weight * of_all;
        let images: Vec<f32> =
            self.buffers.x.iter().zip(net).map(|(&x, &raw)| step.apply(x, raw, None)).collect();
        let mut slopes = vec![0.0; if gradient.is_some() { net.len() } else { 0 }];
        let wanted = gradient.is_some().then_some(&mut slopes[..]);
        let loss = lpips.loss_and_gradient(&images, &self.buffers.target, [n, c, h, w], wanted)?;
        for (gradient, slope) in gradient.into_iter().flatten().zip(&slopes) {
            *gradient += (factor * f64::from(step.net * slope)) as f32;
        }
        Ok(factor * loss)
    }

    fn number(&self, images: usize, len: usize) -> f64 {
        match self.settings.reduction {
            Reduction::Sum => images as f64,
            Reduction::Mean => (images * len) as f64,
        }
    }
}

/// 1, -1, or the zero or NaN itself.
fn sign(x: f64) -> f64 {
    if x > 0.0 {
        1.0
    } else if x < 0.0 {
        -1.0
    } else {
        x
    }
}

impl Objective for Copying<'_> {
    fn batch(&self) -> usize {
        self.settings.batch
    }

    fn accumulate(&mut self, step: u64, learner: &mut Learner) -> Result<f64> {
        let (batch, len) = (self.settings.batch, learner.image_len());
        let mine = self.group.share(batch);
        self.examples.begin(step, mine.clone(), batch)?;
        let (part, number) = (mine.len() / self.settings.accumulate, self.number(batch, len));
        let mut loss = 0.0;
        for first in mine.step_by(part) {
            self.fill(part, len, |examples, at, x, target| {
                examples.fill((step, first + at, batch), x, target)
            })?;
            let mut part_loss = Ok(0.0);
            learner.accumulate(self.buffers.as_batch(), |net, gradient| {
                part_loss = self.loss(net, number, Some(gradient));
            })?;
            loss += part_loss?;
        }
        Ok(loss)
    }

    fn test_due(&self, step: u64) -> bool {
        self.examples.test_due(step, self.test_every, self.steps)
    }

    fn test(&mut self, learner: &mut Learner) -> Result<f64> {
        let (count, len) = (self.examples.test_len(), learner.image_len());
        let (mine, number) = (self.group.share(count), self.number(count, len));
        let part = self.group.share(self.settings.batch).len() / self.settings.accumulate;
        let mut loss = 0.0;
        for first in mine.clone().step_by(part) {
            let images = part.min(mine.end - first);
            self.fill(images, len, |examples, at, x, target| examples.fill_test(first + at, x, target))?;
            let mut part_loss = Ok(0.0);
            learner.predict(self.buffers.as_batch(), |net| part_loss = self.loss(net, number, None))?;
            loss += part_loss?;
        }
        Ok(loss)
    }
}
