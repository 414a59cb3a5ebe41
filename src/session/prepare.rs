//! Getting ready for calls before they come.

use super::Session;
use super::watch::Watch;
use crate::error::{Result, try_zeroed};
use crate::image::{Format, Layout};
use crate::options::{Cancel, Phase};
use crate::sampler::{Job, Third};

impl Session {
    /// Gets ready for calls of `batch` images: plans memory for every way in which the model can draw, and calls the network on
    /// noise of its own, once (seven times for Heun's method). It draws nothing of the caller's.
    ///
    /// The next call of so many images allocates nothing, and takes its usual time. Samplers other than the model's own may still
    /// have a graph to make on CUDA, and EDM's of more steps than the default a longer list of them. Of several batch sizes the
    /// largest comes first: its memory is enough for the others, which a larger one after them would make CUDA record anew.
    ///
    /// The session's progress hears of it, and its token cancels it.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for no images, or for more than `limits.batch`; OUT_OF_MEMORY; CANCELLED.
    pub fn prepare(&mut self, batch: usize) -> Result<()> {
        let shape = self.model.shape(batch)?;
        let config = &self.model.info().config;
        self.plan.make_room(config)?;
        self.times.clear();
        self.times.resize(batch, 0.0);
        self.null_labels.clear();
        self.null_labels.resize(batch, 0);
        for guided in [true, false] {
            if !guided || config.network.null_label().is_some() {
                self.runner.plan_all(batch, config, guided)?;
            }
        }

        // All steps of a plan are alike to an executor, but for those of two calls: three of these and a last call meet every
        // place that the state can be in, as in the engine's rehearsal.
        let heun = self.plan.steps.iter().any(|step| step.third == Third::Before);
        let steps = &self.plan.steps[..if heun { self.plan.steps.len().min(7) } else { 1 }];
        let seeds: Vec<u64> = try_zeroed(batch, "seeds")?;
        let labels: Option<Vec<i32>> =
            config.network.num_classes.map(|_| try_zeroed(batch, "labels")).transpose()?;
        // The smallest format that takes the channels.
        let format = if matches!(shape[1], 1 | 3 | 4) { Format::Rgb8 } else { Format::F32Nchw };
        let layout = Layout { format, ..Layout::default() };
        let mut out: Vec<u8> = try_zeroed(layout.output_size(shape)? as usize, "images that nobody sees")?;

        let total = self.model.0.engine.ticks().saturating_mul(steps.len() as u32);
        let cancels = [self.cancel.as_ref(), None];
        let mut watch = Watch::new(Phase::Sample, total, self.progress.as_ref(), cancels);
        let job = Job {
            shape,
            steps,
            start: self.plan.start,
            seeds: Some(&seeds),
            noise: None,
            labels: labels.as_deref(),
            guidance: None,
            cancel: cancels.map(|cancel| cancel.map(Cancel::flag)),
        };
        self.runner.sample(&job, &mut self.times, &mut || watch.tick(), &layout, &mut out)?;
        watch.finish()
    }
}
