//! The loop: noise in, one network call and one step at a time, x_0 out. The state stays on the device.

use super::{Planned, Third};
use crate::error::Result;
use crate::exec::{Executor, Flag, Step};
use crate::model::UNet;

pub use crate::model::Tick;

/// One batch to draw.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// (batch, channels, height, width)
    pub shape: [usize; 4],
    /// Network calls and steps, from a [`super::Plan`].
    pub steps: &'a [Planned],
    /// One an image; drawn from for x_T (stream 0) unless `noise` is there, and for fresh noise.
    pub seeds: Option<&'a [u64]>,
    /// What x_T, as unit noise, is multiplied with.
    pub start: f32,
    /// x_T itself.
    pub noise: Option<&'a [f32]>,
    /// One an image, for conditional networks.
    pub labels: Option<&'a [i32]>,
    /// How far each prediction is from the one for other labels, one an image too: [`super::Sampler::guidance`].
    pub guidance: Option<(f32, &'a [i32])>,
    /// Any of them cancels it.
    pub cancel: [Option<&'a Flag>; 2],
}

/// A prediction with a label and one without: p(none) + scale (p(label) - p(none)).
pub fn guided(scale: f32) -> Step {
    Step { x: scale, net: 1.0 - scale, ..Step::default() }
}

/// Runs a job on an executor. `times` has room for one an image.
pub fn run<E: Executor>(
    unet: &UNet<E>,
    exec: &mut E,
    job: &Job,
    times: &mut [f32],
    tick: Tick,
) -> Result<E::State> {
    let seeds = job.seeds.unwrap_or_default();
    exec.begin(job.cancel);
    let mut x = match job.noise {
        Some(noise) => exec.load(job.shape, &mut |out| {
            out.iter_mut().zip(noise).for_each(|(out, value)| *out = job.start * value);
        })?,
        None => exec.noise(job.shape, seeds, (0, job.start))?,
    };
    // The state that the step before began from, where the next one wants it.
    let mut before: Option<E::State> = None;
    for (i, planned) in job.steps.iter().enumerate() {
        times.fill(planned.time);
        let (mut net, spread) = match &planned.spread {
            Some(spread) => {
                let (net, variance) = unet.forward_with_variance(exec, &x, times, job.labels, tick)?;
                (net, Some((variance, spread)))
            }
            None => (unet.forward(exec, &x, times, job.labels, tick)?, None),
        };
        if let Some((scale, labels)) = job.guidance {
            let other = unet.forward(exec, &x, times, Some(labels), tick)?;
            net = exec.combine(net, &other, None, &guided(scale))?;
        }
        if job.steps.get(i + 1).is_some_and(|next| next.third == Third::Before) {
            // In the prediction's place, so that the state stays.
            let step = Step { x: planned.step.net, net: planned.step.x, ..Step::default() };
            let next = exec.combine(net, &x, None, &step)?;
            before = Some(std::mem::replace(&mut x, next));
            continue;
        }
        let third = match planned.third {
            Third::Nothing => None,
            Third::Noise(stream) => {
                let noise = exec.noise(job.shape, seeds, (stream, 1.0))?;
                Some(match &spread {
                    Some((variance, spread)) => exec.combine(noise, variance, None, spread)?,
                    None => noise,
                })
            }
            Third::Before => before.take(),
        };
        x = exec.combine(x, &net, third.as_ref(), &planned.step)?;
    }
    exec.check()?;
    Ok(x)
}
