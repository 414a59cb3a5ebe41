//! Model, Session, Request: what every caller uses.

use crate::cpu_features;
use crate::device::{Choice, Place};
use crate::engine::{Engine, Runner};
use crate::error::{Error, Result};
use crate::image::{Format, Layout};
use crate::log::{Level, log};
use crate::model::{Config, Network};
use crate::names::Named;
use crate::noise;
use crate::options::{Cancel, ExecutorKind, Limits, MemoryMode, Options, Phase, Precision, Progress};
use crate::sampler::{Job, Plan, Planned, Tick};
use crate::weights;
use request::check_labels;
use std::path::Path;
use std::sync::Arc;
use watch::{Watch, Watched};

mod described;
mod pack;
mod prepare;
mod request;
mod watch;

pub use request::Request;

/// What a model is.
#[derive(Clone, Debug, PartialEq)]
pub struct Info {
    /// Network, schedule and role.
    pub config: Config,
    /// `unet2d`, the only architecture so far.
    pub architecture: &'static str,
    /// Parameters of the network.
    pub parameters: u64,
    /// Bytes of the weights as stored in the file.
    pub weight_bytes: u64,
    /// Whose format the file is in, in words.
    pub format: &'static str,
    /// Where the weights come from, as far as the file says; free form.
    pub provenance: Option<serde_json::Value>,
    /// The device chosen.
    pub device: String,
    /// The precision chosen; never `Auto`.
    pub precision: Precision,
    /// The executor chosen.
    pub executor: ExecutorKind,
    /// What a user should know about these weights.
    pub notes: Vec<String>,
}

impl Info {
    fn new(
        checkpoint: &weights::Checkpoint,
        config: Config,
        place: Place,
        precision: Precision,
        executor: ExecutorKind,
    ) -> Self {
        Self {
            config,
            architecture: "unet2d",
            parameters: checkpoint.parameters(),
            weight_bytes: checkpoint.weight_bytes(),
            format: checkpoint.format(),
            provenance: checkpoint.description().provenance.clone(),
            device: place.id(),
            precision,
            executor,
            notes: checkpoint.notes().to_vec(),
        }
    }
}

/// Memory that a model and one session of it take, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Prepared weights, shared by all sessions.
    pub weights: u64,
    /// A session's scratch at the batch size asked for; 0 for the reference executor, which does not plan.
    pub scratch: u64,
    /// Both, plus what opening needs beside them for a moment.
    pub host_peak: u64,
}

/// A model: immutable, cheap to clone, shared by any number of sessions and threads.
#[derive(Clone)]
pub struct Model(Arc<Shared>);

struct Shared {
    info: Info,
    engine: Arc<dyn Engine>,
    limits: Limits,
    threads: u32,
    spin_us: Option<u32>,
}

impl Model {
    /// Opens a native file, a diffusers folder, or a packed file ([`Model::pack`]).
    pub fn open(path: impl AsRef<Path>, options: &Options) -> Result<Self> {
        let map = options.memory == MemoryMode::Map;
        let checkpoint = weights::open_to_draw(path.as_ref(), options.limits.file_bytes, map)?;
        Self::from_checkpoint(&checkpoint, options)
    }

    /// Opens a native file's bytes, which are needed during the call alone.
    pub fn from_bytes(bytes: &[u8], options: &Options) -> Result<Self> {
        if bytes.len() as u64 > options.limits.file_bytes {
            let message =
                format!("{} bytes, limits.file_bytes is {}", bytes.len(), options.limits.file_bytes);
            return Err(Error::bad_model("memory", message));
        }
        Self::of_bytes(bytes, "memory", options)
    }

    fn of_bytes(bytes: &[u8], name: &str, options: &Options) -> Result<Self> {
        if options.memory == MemoryMode::Map {
            return Err(Error::argument("memory", "map, but the model is no file"));
        }
        Self::from_checkpoint(&weights::open_named(bytes, name)?, options)
    }

    /// Opens the student inside the library: portraits in pixels, 16 x 16, RGBA with alpha not multiplied in, of eight
    /// classes: 0 short hair, 1 long hair, 2 and 3 the same with glasses, 4 and 5 with a hat, 6 a beard, 7 a beard and a
    /// hat. One network call an image, or better two.
    #[cfg(feature = "embedded-model")]
    pub fn open_default(options: &Options) -> Result<Self> {
        const STUDENT: &[u8] = include_bytes!("../models/portraits-student.safetensors");
        Self::of_bytes(STUDENT, "the embedded model", options)
    }

    /// Answers that this build has no model inside.
    #[cfg(not(feature = "embedded-model"))]
    pub fn open_default(_: &Options) -> Result<Self> {
        Err(Error::NotBuilt { what: "the embedded model", remedy: "build with the feature embedded-model" })
    }

    /// Prepares a model whose header has been read, or that was made in memory.
    pub fn from_checkpoint(checkpoint: &weights::Checkpoint, options: &Options) -> Result<Self> {
        let options = &pack::options_for(checkpoint, options)?;
        let fast = options.executor == ExecutorKind::Fast;
        let choice = crate::device::select(&options.device, fast, options.cuda_library_path.as_deref())?;
        let mut config = checkpoint.config(options.role)?;
        if let Some(clip) = config.generator.clip_mut() {
            *clip = options.clip_sample.apply(*clip);
        }
        options.limits.check(checkpoint.name(), &config, checkpoint.parameters())?;

        let (place, engine, precision) = prepare(&choice, options, &config.network, checkpoint)?;
        checkpoint.check_all_used()?;
        let info = Info::new(checkpoint, config, place, precision, options.executor);
        for note in &info.notes {
            log(Level::Warn, || format!("{}: {note}", checkpoint.name()));
        }
        log(Level::Info, || {
            let isa = if info.device == "cpu" {
                format!(" ({})", options.isa.map_or_else(cpu_features::names, |isa| isa.name().to_owned()))
            } else {
                String::new()
            };
            format!("{}: {} parameters on {}{isa}", checkpoint.name(), info.parameters, info.device)
        });
        let limits = options.limits.clone();
        Ok(Self(Arc::new(Shared {
            info,
            engine,
            limits,
            threads: options.threads,
            spin_us: options.spin_us,
        })))
    }

    /// What the model is.
    pub fn info(&self) -> &Info {
        &self.0.info
    }

    /// What a call of `batch` images takes.
    pub fn estimate_memory(&self, batch: usize) -> Result<Memory> {
        let shape = self.shape(batch)?;
        let mut runner = self.0.engine.clone().start(thread_count(self.0.threads)?, self.0.spin_us)?;
        runner.plan_all(shape[0], &self.info().config, false)?;
        let scratch = runner.scratch_bytes();
        let weights = self.0.engine.prepared_bytes();
        // Opening reads in pieces of a few KiB to 1 MiB, and holds the file's header.
        Ok(Memory { weights, scratch, host_peak: weights + scratch + (2 << 20) })
    }

    /// Bytes of a batch under a layout; checks the layout.
    pub fn output_size(&self, batch: usize, layout: &Layout) -> Result<u64> {
        layout.output_size(self.shape(batch)?)
    }

    /// Fills `out` with x_T of each seed (stream 0), NCHW: what `Session::sample` starts from.
    pub fn noise(&self, seeds: &[u64], out: &mut [f32]) -> Result<()> {
        check_len("out", seeds.len().saturating_mul(self.image_len()), out.len())?;
        noise::fill_images(seeds, 0, out);
        Ok(())
    }

    /// A session on this model; threads, progress and cancel are read from the options.
    pub fn session(&self, options: &Options) -> Result<Session> {
        let spin_us = options.spin_us.or(self.0.spin_us);
        Ok(Session {
            runner: self.0.engine.clone().start(thread_count(options.threads)?, spin_us)?,
            model: self.clone(),
            plan: Plan::default(),
            times: Vec::new(),
            null_labels: Vec::new(),
            progress: options.progress.clone(),
            cancel: options.cancel.clone(),
        })
    }

    fn image_len(&self) -> usize {
        self.info().config.network.image().iter().product()
    }

    fn shape(&self, batch: usize) -> Result<[usize; 4]> {
        if batch == 0 || batch as u64 > self.0.limits.batch {
            let message =
                format!("{batch} images; 1 to {} (limits.batch) can be asked for", self.0.limits.batch);
            return Err(Error::argument("batch", message));
        }
        let [c, h, w] = self.info().config.network.image();
        Ok([batch, c, h, w])
    }
}

/// One caller's scratch memory and threads; one call at a time. After the first call of a kind and batch size, or after
/// [`Session::prepare`], the CPU executor allocates nothing.
pub struct Session {
    model: Model,
    runner: Box<dyn Runner>,
    plan: Plan,
    /// Of the call, one an image.
    times: Vec<f32>,
    /// The label that stands for none, one an image.
    null_labels: Vec<i32>,
    progress: Option<Progress>,
    cancel: Option<Cancel>,
}

impl Session {
    /// The model that this session runs.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Draws a batch into `out`, of at least [`Model::output_size`] bytes. After an error `out` is unspecified.
    pub fn sample(&mut self, request: &Request, layout: &Layout, out: &mut [u8]) -> Result<()> {
        let batch = request.batch(self.model.image_len())?;
        let shape = self.model.shape(batch)?;
        check_labels(&self.model.info().config.network, batch, request.labels.as_deref())?;
        let needed = layout.output_size(shape)?;
        if (out.len() as u64) < needed {
            return Err(Error::BufferTooSmall { argument: "out", expected: needed, found: out.len() as u64 });
        }
        self.plan.fill(&self.model.info().config, request.sampler.as_ref())?;
        let steps = &self.plan.steps;
        if request.seeds.is_none() && steps.iter().any(Planned::is_noisy) {
            return Err(Error::argument(
                "seeds",
                "a stochastic sampler (eta > 0, DDPM) needs seeds for its fresh noise",
            ));
        }
        self.times.clear();
        self.times.resize(batch, 0.0);
        let null_label = self.model.info().config.network.null_label();
        let guidance = self.plan.guidance.zip(null_label);
        self.null_labels.clear();
        if let Some((_, label)) = guidance {
            self.null_labels.resize(batch, label);
        }
        let calls = steps.len() as u32 * if guidance.is_some() { 2 } else { 1 };

        let total = self.model.0.engine.ticks().saturating_mul(calls);
        let cancels = [self.cancel.as_ref(), request.cancel.as_ref()];
        let mut watch =
            Watch::new(Phase::Sample, total, request.progress.as_ref().or(self.progress.as_ref()), cancels);
        let job = Job {
            shape,
            steps,
            start: self.plan.start,
            seeds: request.seeds.as_deref(),
            noise: request.noise.as_deref(),
            labels: request.labels.as_deref(),
            guidance: guidance.map(|(scale, _)| (scale, &self.null_labels[..])),
            cancel: cancels.map(|cancel| cancel.map(Cancel::flag)),
        };
        self.runner.sample(&job, &mut self.times, &mut || watch.tick(), layout, out)?;
        watch.finish()
    }

    /// The bare network, for callers with a sampler of their own: the raw prediction for `x` (NCHW) at one timestep,
    /// and one label where the model has classes, an image. `out` has the length of `x`. Of a network that learned its
    /// variance, it is the mean.
    pub fn predict(
        &mut self,
        x: &[f32],
        timesteps: &[i32],
        labels: Option<&[i32]>,
        out: &mut [f32],
    ) -> Result<()> {
        let generator = &self.model.info().config.generator;
        let train_timesteps = generator.train_timesteps() as i32;
        if let Some((i, t)) = timesteps.iter().enumerate().find(|(_, t)| !(0..train_timesteps).contains(*t)) {
            let message = format!("timestep {t} of image {i} is not one of 0 to {}", train_timesteps - 1);
            return Err(Error::argument("timesteps", message));
        }
        self.times.clear();
        self.times.extend(timesteps.iter().map(|&t| generator.time(t)));
        self.call(x, labels, out)
    }

    /// [`Session::predict`] at any times, whole or not: what the network itself is told of the noise level, such as
    /// ln(sigma) / 4 (Karras et al. 2022) or 250 ln(sigma) (Song et al. 2023).
    ///
    /// # Errors
    /// INVALID_ARGUMENT, beside those of `predict`, for a time that is not finite.
    pub fn predict_at(
        &mut self,
        x: &[f32],
        times: &[f32],
        labels: Option<&[i32]>,
        out: &mut [f32],
    ) -> Result<()> {
        if let Some((i, t)) = times.iter().enumerate().find(|(_, t)| !t.is_finite()) {
            return Err(Error::argument("times", format!("{t} of image {i} is no finite number")));
        }
        self.times.clear();
        self.times.extend(times);
        self.call(x, labels, out)
    }

    /// One network call at `times`.
    fn call(&mut self, x: &[f32], labels: Option<&[i32]>, out: &mut [f32]) -> Result<()> {
        let shape = self.model.shape(self.times.len())?;
        let floats = shape.iter().product();
        check_len("x", floats, x.len())?;
        check_len("out", floats, out.len())?;
        if let Some((i, value)) = x[..floats].iter().enumerate().find(|(_, value)| !value.is_finite()) {
            return Err(Error::argument("x", format!("float {i} is {value}")));
        }
        check_labels(&self.model.info().config.network, self.times.len(), labels)?;
        let total = self.model.0.engine.ticks();
        let mut watch =
            Watch::new(Phase::Sample, total, self.progress.as_ref(), [self.cancel.as_ref(), None]);
        let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
        let out = bytemuck::cast_slice_mut(&mut out[..floats]);
        let cancel = self.cancel.as_ref().map(Cancel::flag);
        let mut tick = || watch.tick();
        let watched: (Tick, _) = (&mut tick, cancel);
        self.runner.predict(shape, &x[..floats], &self.times, labels, watched, &layout, out)?;
        watch.finish()
    }
}

/// Prepares a model in the first place of `choice` that takes it. `device=auto` falls back to the CPU, and says why.
fn prepare(
    choice: &Choice,
    options: &Options,
    network: &Network,
    checkpoint: &weights::Checkpoint,
) -> Result<(Place, Arc<dyn Engine>, Precision)> {
    let name = checkpoint.name();
    if let Some(reason) = &choice.reason {
        log(Level::Info, || format!("{name}: device auto is the CPU: {reason}"));
    }
    let mut places = choice.places.iter().copied().peekable();
    while let Some(place) = places.next() {
        let watched = Watched::new(checkpoint, options);
        match crate::engine::prepare(place, options, network, &watched) {
            Ok((engine, precision)) => return Ok((place, engine, precision)),
            Err(error) if places.peek().is_some() && error.is_of_device() => {
                log(Level::Warn, || format!("{name}: device auto leaves {} aside: {error}", place.id()));
            }
            Err(error) => return Err(error),
        }
    }
    Err(Error::Internal("no device to choose from".to_owned()))
}

fn thread_count(threads: u32) -> Result<usize> {
    match threads {
        0..=1024 => Ok(cpu_features::threads(threads)),
        _ => Err(Error::argument("threads", format!("{threads}; 0 (automatic) to 1024"))),
    }
}

fn check_len(argument: &'static str, expected: usize, found: usize) -> Result<()> {
    if found < expected {
        return Err(Error::BufferTooSmall { argument, expected: expected as u64, found: found as u64 });
    }
    Ok(())
}
