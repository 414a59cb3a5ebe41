//! The loop that draws a job batch by batch into an output.

use crate::args::{Machine, ModelPath, Sampling, Threads};
use crate::interrupt;
use crate::meter::Meter;
use crate::output::{Output, Sheet, Sink, Target};
use onestep::sampler::Sampler;
use onestep::{Error, Model, Options, Request, Result};
use std::time::{Duration, Instant};

/// One image to draw.
pub struct Item<'a> {
    /// Its file's name in a folder, without the extension.
    pub name: String,
    /// Feeds its noise.
    pub seed: u64,
    /// Its class, for conditional models.
    pub label: Option<i32>,
    /// x_T, where it is not the seed's own.
    pub noise: Option<&'a [f32]>,
}

/// All images to draw.
pub struct Job<'a> {
    /// How many.
    pub count: usize,
    /// Image i.
    pub item: &'a dyn Fn(usize) -> Item<'a>,
}

/// How images are drawn, and where they go: the arguments of every subcommand that draws.
#[derive(clap::Args)]
pub struct Drawing {
    /// Images a network call; more is faster and takes more memory
    #[arg(short, long, value_name = "B", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..))]
    batch: u32,
    #[command(flatten)]
    output: Output,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    threads: Threads,
}

/// An open model with what a drawing needs beside it.
pub struct Studio {
    /// The model.
    pub model: Model,
    target: Target,
    options: Options,
    meter: Meter,
}

impl Drawing {
    /// Checks the output's form, and opens the model under a progress bar that Ctrl-C ends.
    pub fn open(&self, model: &ModelPath) -> Result<Studio> {
        let target = self.output.target()?;
        let meter = Meter::new(self.output.quiet);
        let options =
            self.machine.interactive_options(self.threads.threads, self.sampling.clip_sample, &meter)?;
        Ok(Studio { model: model.open(&options)?, target, options, meter })
    }
}

impl Studio {
    /// Draws every image of the job, finishes the output and says how long that took.
    pub fn draw(&self, drawing: &Drawing, job: &Job, sheet: Sheet) -> Result<()> {
        let sink = drawing.output.sink(&self.target, &self.model, sheet)?;
        let how = (drawing.batch as usize, drawing.sampling.sampler());
        let took = fill(&self.model, &self.options, how, job, sink, &self.meter)?;
        self.meter.finish(&summary(job.count, took, &drawing.output.name()));
        Ok(())
    }
}

/// Draws a job into a sink, `batch` images at a time, and finishes it; image i depends on item i alone.
pub fn fill(
    model: &Model,
    options: &Options,
    (batch, sampler): (usize, Option<Sampler>),
    job: &Job,
    mut sink: Box<dyn Sink>,
    meter: &Meter,
) -> Result<Duration> {
    let mut session = model.session(options)?;
    let layout = sink.layout();
    let batch = batch.clamp(1, job.count.max(1));
    let mut pixels = zeroed(model.output_size(batch, &layout)?)?;
    meter.restart();
    let start = Instant::now();
    for first in (0..job.count).step_by(batch) {
        let items: Vec<Item> = (first..job.count.min(first + batch)).map(job.item).collect();
        let noise: Vec<&[f32]> = items.iter().filter_map(|item| item.noise).collect();
        let request = Request {
            seeds: Some(items.iter().map(|item| item.seed).collect()),
            noise: (!noise.is_empty()).then(|| noise.concat()),
            labels: items.iter().map(|item| item.label).collect(),
            sampler: sampler.clone(),
            progress: Some(meter.progress()),
            cancel: options.cancel.clone(),
        };
        meter.begin(first, items.len(), job.count);
        // The last batch may be short.
        let bytes = model.output_size(items.len(), &layout)? as usize;
        session.sample(&request, &layout, &mut pixels[..bytes])?;
        interrupt::check(options.cancel.as_ref())?;
        sink.put(&items, &pixels[..bytes])?;
    }
    interrupt::check(options.cancel.as_ref())?;
    sink.finish()?;
    Ok(start.elapsed())
}

/// `16 images in 0.12 s, 7.5 ms an image: PATH`.
fn summary(count: usize, took: Duration, place: &str) -> String {
    let seconds = took.as_secs_f64();
    let images = if count == 1 { "image" } else { "images" };
    format!(
        "{count} {images} in {seconds:.2} s, {:.2} ms an image: {place}",
        1e3 * seconds / count.max(1) as f64
    )
}

/// A zeroed buffer, or OUT_OF_MEMORY: its size is the caller's.
pub fn zeroed(bytes: u64) -> Result<Vec<u8>> {
    let refused = || Error::OutOfMemory { what: "the images", bytes };
    let len = usize::try_from(bytes).map_err(|_| refused())?;
    let mut values = Vec::new();
    values.try_reserve_exact(len).map_err(|_| refused())?;
    values.resize(len, 0);
    Ok(values)
}
