//! The loop that draws a job batch by batch into an output, on one device or spread over several.

use crate::args::{Machine, ModelPath, Sampling, Threads};
use crate::interrupt;
use crate::meter::Meter;
use crate::output::{Output, Sheet, Sink, Target};
use crate::report::say;
use onestep::image::Layout;
use onestep::sampler::Sampler;
use onestep::{Error, Model, Options, Phase, Progress, Request, Result, Session, log};
use std::sync::mpsc::sync_channel;
use std::time::{Duration, Instant};

/// One image to draw.
pub struct Item {
    /// Its file's name in a folder, without the extension.
    pub name: String,
    /// Feeds its noise.
    pub seed: u64,
    /// Its class, for conditional models.
    pub label: Option<i32>,
    /// x_T, where it is not the seed's own.
    pub noise: Option<Vec<f32>>,
}

/// All images to draw.
pub struct Job<'a> {
    /// How many.
    pub count: usize,
    /// Image i.
    pub item: &'a (dyn Fn(usize) -> Item + Sync),
}

impl<'a> Job<'a> {
    fn items(&self, first: usize, batch: usize) -> Vec<Item> {
        (first..self.count.min(first + batch)).map(self.item).collect()
    }
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
    /// The model, once a device.
    models: Vec<Model>,
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
        let models = self.machine.devices()?.into_iter().map(|device| {
            let options = Options { device, ..options.clone() };
            model.open(&options)
        });
        Ok(Studio { models: models.collect::<Result<_>>()?, target, options, meter })
    }
}

impl Studio {
    /// The model.
    pub fn model(&self) -> &Model {
        &self.models[0]
    }

    /// Draws every image of the job, finishes the output and says how long that took.
    pub fn draw(&self, drawing: &Drawing, job: &Job, sheet: Sheet) -> Result<()> {
        let how = (drawing.batch as usize, drawing.sampling.sampler()?);
        let sink = drawing.output.sink(&self.target, self.model(), sheet)?;
        let took = fill(&self.models, &self.options, how, job, sink, &self.meter)?;
        self.meter.finish(&summary(job.count, took, &drawing.output.name()));
        Ok(())
    }
}

/// Draws a job into a sink, `batch` images at a time, and finishes it; image i depends on item i alone. Several models
/// are one model on several devices, which take the batches in turn.
pub fn fill(
    models: &[Model],
    options: &Options,
    (batch, sampler): (usize, Option<Sampler>),
    job: &Job,
    mut sink: Box<dyn Sink>,
    meter: &Meter,
) -> Result<Duration> {
    let batch = batch.clamp(1, job.count.max(1));
    // Before there is room for as many.
    models[0].output_size(batch, &sink.layout())?;
    let how = How { options, sampler, layout: sink.layout(), progress: meter.progress() };
    let mut sessions = models.iter().map(|model| model.session(options)).collect::<Result<Vec<_>>>()?;
    meter.restart();
    let _warned = Warned::new();
    let start = Instant::now();
    match &mut sessions[..] {
        [session] => {
            let mut pixels = Vec::new();
            for first in (0..job.count).step_by(batch) {
                let items = job.items(first, batch);
                meter.begin(first, items.len(), job.count);
                how.draw(session, &items, Some(&how.progress), &mut pixels)?;
                sink.put(&items, &pixels)?;
            }
        }
        sessions => spread(sessions, &how, job, batch, &mut *sink, meter)?,
    }
    interrupt::check(options.cancel.as_ref())?;
    sink.finish()?;
    Ok(start.elapsed())
}

/// As long as it lives, what the library warns of is said; what it has to say of opening a model is a note of that.
struct Warned;

impl Warned {
    fn new() -> Self {
        let warn = |_: log::Level, message: &str| say(format!("warning: {message}"));
        log::set(Some((log::Level::Warn, Box::new(warn))));
        Self
    }
}

impl Drop for Warned {
    fn drop(&mut self) {
        log::set(None);
    }
}

/// What all batches of a job share.
struct How<'a> {
    options: &'a Options,
    sampler: Option<Sampler>,
    layout: Layout,
    progress: Progress,
}

impl How<'_> {
    fn draw(
        &self,
        session: &mut Session,
        items: &[Item],
        progress: Option<&Progress>,
        pixels: &mut Vec<u8>,
    ) -> Result<()> {
        let noise: Vec<&[f32]> = items.iter().filter_map(|item| item.noise.as_deref()).collect();
        let request = Request {
            seeds: Some(items.iter().map(|item| item.seed).collect()),
            noise: (!noise.is_empty()).then(|| noise.concat()),
            labels: items.iter().map(|item| item.label).collect(),
            sampler: self.sampler.clone(),
            progress: progress.cloned(),
            cancel: self.options.cancel.clone(),
        };
        // The last batch may be short.
        resize(pixels, session.model().output_size(items.len(), &self.layout)?)?;
        session.sample(&request, &self.layout, pixels)?;
        interrupt::check(self.options.cancel.as_ref())
    }
}

/// Batch k is drawn by session k modulo their number, each on a thread of its own and one batch ahead at most; they are
/// put in order.
fn spread(
    sessions: &mut [Session],
    how: &How,
    job: &Job,
    batch: usize,
    sink: &mut dyn Sink,
    meter: &Meter,
) -> Result<()> {
    let count = sessions.len();
    std::thread::scope(|scope| {
        let pipes: Vec<_> = sessions
            .iter_mut()
            .enumerate()
            .map(|(which, session)| {
                let (give, take) = sync_channel(1);
                let draw = move || {
                    for first in (which * batch..job.count).step_by(count * batch) {
                        let mut pixels = Vec::new();
                        let drawn = how.draw(session, &job.items(first, batch), None, &mut pixels);
                        let failed = drawn.is_err();
                        // Nobody takes it once another batch has failed.
                        if give.send(drawn.map(|()| pixels)).is_err() || failed {
                            return;
                        }
                    }
                };
                std::thread::Builder::new().spawn_scoped(scope, draw).map_err(|error| {
                    Error::DeviceFailed {
                        device: "cpu".to_owned(),
                        message: format!("cannot start a thread that draws: {error}"),
                    }
                })?;
                Ok(take)
            })
            .collect::<Result<_>>()?;
        for (i, first) in (0..job.count).step_by(batch).enumerate() {
            let items = job.items(first, batch);
            meter.begin(first, items.len(), job.count);
            let ended = |_| Error::Internal("a thread that draws has ended early".into());
            let pixels = pipes[i % count].recv().map_err(ended)??;
            sink.put(&items, &pixels)?;
            let _ = (how.progress)(Phase::Sample, 1, 1);
        }
        Ok(())
    })
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
    let mut values = Vec::new();
    resize(&mut values, bytes)?;
    Ok(values)
}

fn resize(values: &mut Vec<u8>, bytes: u64) -> Result<()> {
    let refused = || Error::OutOfMemory { what: "the images", bytes };
    let len = usize::try_from(bytes).map_err(|_| refused())?;
    values.try_reserve_exact(len.saturating_sub(values.len())).map_err(|_| refused())?;
    values.resize(len, 0);
    Ok(())
}
