//! Pairs for distillation: seeds, and what a teacher draws from their noise.

use super::shard::{self, PixelType, Shard};
use crate::error::{Error, Result};
use crate::image::{Format, Layout};
use crate::log::{Level, log};
use crate::options::Options;
use crate::sampler::{Sampler, noise};
use crate::session::{Model, Request, Session};
use crate::weights::{self, Checkpoint, write_text};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};

const MANIFEST: &str = "manifest.json";
const VERSION: u32 = 1;

/// What a folder of pairs holds: `manifest.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this format; 1.
    pub version: u32,
    /// CRC-32 of the teacher's weights.
    pub teacher_crc32: String,
    /// How many pairs, over all shards.
    pub count: u64,
    /// Pair i is drawn from seed `first_seed` + i, and where there are classes from label i modulo their number.
    pub first_seed: u64,
    /// Pairs of a shard; the last may have fewer.
    pub shard_len: usize,
    /// Channels, height, width.
    pub image: [usize; 3],
    /// Classes of the teacher, if it has any.
    pub classes: Option<usize>,
    /// How targets are stored.
    pub pixels: PixelType,
    /// The teacher's calls, noise first.
    pub timesteps: Vec<i32>,
}

impl Manifest {
    /// How many shards.
    pub fn shards(&self) -> usize {
        self.count.div_ceil(self.shard_len as u64) as usize
    }

    fn file(folder: &Path, shard: usize) -> PathBuf {
        folder.join(format!("pairs-{shard:05}.safetensors"))
    }

    fn range(&self, shard: usize) -> Range<u64> {
        let first = shard as u64 * self.shard_len as u64;
        first..self.count.min(first + self.shard_len as u64)
    }
}

/// Drawing pairs into a folder.
pub struct PairsRun {
    /// A native file or diffusers folder.
    pub teacher: PathBuf,
    /// Where the shards go.
    pub out: PathBuf,
    /// How many pairs, over all parts.
    pub count: u64,
    /// Seed of the first.
    pub first_seed: u64,
    /// How the teacher draws; deterministic (DDIM at eta 0).
    pub sampler: Sampler,
    /// How targets are stored.
    pub pixels: PixelType,
    /// Pairs of a shard.
    pub shard_len: usize,
    /// This process draws every n-th shard, from the i-th on: (i, n).
    pub part: (usize, usize),
    /// Images a network call.
    pub batch: usize,
    /// How the teacher is opened.
    pub options: Options,
}

/// Of a run of pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PairsProgress {
    /// Pairs of this part that are there.
    pub done: u64,
    /// Pairs of this part.
    pub total: u64,
}

impl PairsRun {
    /// Draws what is missing of this part's shards: those that are whole are left alone, and damaged ones drawn anew.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a student, a stochastic sampler, and a folder of other pairs; those of sampling; IO;
    /// CANCELLED, where whole shards stay.
    pub fn run(&self, watch: &mut dyn FnMut(PairsProgress) -> Result<()>) -> Result<Manifest> {
        let (part, parts) = self.part;
        if part >= parts {
            return Err(Error::argument(
                "shard",
                format!("{part}/{parts}: the first number is 0 to {parts} - 1"),
            ));
        }
        let zero =
            [("count", self.count), ("shard_len", self.shard_len as u64), ("batch", self.batch as u64)];
        if let Some((name, _)) = zero.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::argument(name, "0 given; at least 1 is needed"));
        }
        if self.first_seed.checked_add(self.count).is_none() {
            return Err(Error::argument("seed", "seeds go beyond 64 bits"));
        }
        let checkpoint = weights::open(&self.teacher, self.options.limits.file_bytes)?;
        let mut teacher = Teacher::new(&checkpoint, &self.options, &self.sampler)?;
        let manifest = Manifest {
            version: VERSION,
            teacher_crc32: format!("{:08x}", checkpoint.weights_crc32()?),
            count: self.count,
            first_seed: self.first_seed,
            shard_len: self.shard_len,
            image: teacher.image(),
            classes: teacher.classes(),
            pixels: self.pixels,
            timesteps: teacher.timesteps.clone(),
        };
        std::fs::create_dir_all(&self.out).map_err(|e| Error::io(&self.out, e))?;
        settle(&self.out, &manifest)?;
        let mine: Vec<usize> = (0..manifest.shards()).skip(part).step_by(parts).collect();
        let size = |shard: usize| manifest.range(shard).end - manifest.range(shard).start;
        let total = mine.iter().map(|&shard| size(shard)).sum();
        let mut done = 0;
        for shard in mine {
            let path = Manifest::file(&self.out, shard);
            let range = manifest.range(shard);
            if whole(&path, &manifest, size(shard) as usize)? {
                done += size(shard);
                watch(PairsProgress { done, total })?;
                continue;
            }
            let (mut seeds, mut labels, mut images) = (Vec::new(), Vec::new(), Vec::new());
            teacher.draw_pairs(self.first_seed, range, self.batch, &mut |drawn| {
                seeds.extend_from_slice(drawn.seeds);
                labels.extend_from_slice(drawn.labels.unwrap_or_default());
                drawn.images.iter().for_each(|&value| self.pixels.encode(value, &mut images));
                done += drawn.seeds.len() as u64;
                watch(PairsProgress { done, total })
            })?;
            let labels = manifest.classes.map(|_| &labels[..]);
            shard::write(&path, &seeds, labels, self.pixels, manifest.image, &images)?;
        }
        Ok(manifest)
    }
}

/// Whether a shard is there and undamaged.
fn whole(path: &Path, manifest: &Manifest, len: usize) -> Result<bool> {
    match Shard::open(path, manifest.pixels, manifest.image, true) {
        Ok(shard) if shard.len == len => Ok(true),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error @ Error::Io { .. }) => Err(error),
        Ok(_) => Ok(false),
        Err(error) => {
            log(Level::Warn, || format!("{error}: drawn anew"));
            Ok(false)
        }
    }
}

/// Writes the manifest, or checks the one that is there.
fn settle(folder: &Path, manifest: &Manifest) -> Result<()> {
    let path = folder.join(MANIFEST);
    if !path.exists() {
        let text = serde_json::to_string_pretty(manifest).map_err(|e| Error::Internal(e.to_string()))?;
        return write_text(&path, &(text + "\n"));
    }
    let found = read_manifest(folder)?;
    if found != *manifest {
        let message = format!("{} describes other pairs (teacher, count, seed or sampler)", path.display());
        return Err(Error::argument("out", message));
    }
    Ok(())
}

fn read_manifest(folder: &Path) -> Result<Manifest> {
    let path = folder.join(MANIFEST);
    let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
    let bad = |message: String| Error::bad_model(path.display().to_string(), message);
    let manifest: Manifest = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
    if manifest.version != VERSION {
        return Err(bad(format!("version {}, {VERSION} is supported", manifest.version)));
    }
    let image = manifest.image.iter().try_fold(1usize, |len, &side| len.checked_mul(side));
    let sound = manifest.count > 0
        && manifest.shard_len > 0
        && manifest.first_seed.checked_add(manifest.count).is_some()
        && image.is_some_and(|len| (1..1 << 30).contains(&len))
        && manifest.classes != Some(0);
    if sound { Ok(manifest) } else { Err(bad("numbers that contradict each other".into())) }
}

/// Some pairs, as a teacher drew them.
pub struct Drawn<'a> {
    /// One an image.
    pub seeds: &'a [u64],
    /// One an image, where there are classes.
    pub labels: Option<&'a [i32]>,
    /// (n, c, h, w), the network's own [-1, 1], unclamped.
    pub images: &'a [f32],
}

/// A teacher that draws from seeds.
pub struct Teacher {
    session: Session,
    sampler: Sampler,
    /// Its calls, noise first.
    pub timesteps: Vec<i32>,
}

impl Teacher {
    /// Prepares a teacher that draws by this sampler.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a student or a stochastic sampler; those of opening a model.
    pub fn new(checkpoint: &Checkpoint, options: &Options, sampler: &Sampler) -> Result<Self> {
        let model = Model::from_checkpoint(checkpoint, options)?;
        let mut plan = crate::sampler::Plan::default();
        plan.fill(&model.info().config, Some(sampler))?;
        if plan.steps.iter().any(|step| step.noise_stream.is_some()) {
            let message = "a pair is a seed and one image: DDIM at eta 0 alone draws the same each time";
            return Err(Error::argument("sampler", message));
        }
        let timesteps = plan.steps.iter().map(|step| step.timestep).collect();
        Ok(Self { session: model.session(options)?, sampler: sampler.clone(), timesteps })
    }

    /// Channels, height, width.
    pub fn image(&self) -> [usize; 3] {
        let network = &self.session.model().info().config.network;
        [network.channels, network.size.0, network.size.1]
    }

    /// Classes, if it has any.
    pub fn classes(&self) -> Option<usize> {
        self.session.model().info().config.network.num_classes
    }

    /// The label of pair `number`, where there are classes.
    pub fn label(&self, number: u64) -> Option<i32> {
        self.classes().map(|classes| (number % classes as u64) as i32)
    }

    /// Draws pairs of these numbers, at most `batch` at a time, for `take` to keep. Pair i is drawn from seed `first_seed`
    /// + i, and where there are classes from label i modulo their number.
    ///
    /// # Errors
    /// Those of sampling, and of `take`.
    pub fn draw_pairs(
        &mut self,
        first_seed: u64,
        numbers: Range<u64>,
        batch: usize,
        take: &mut dyn FnMut(Drawn) -> Result<()>,
    ) -> Result<()> {
        let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
        let mut out = Vec::new();
        for first in numbers.clone().step_by(batch) {
            let part = first..numbers.end.min(first + batch as u64);
            let seeds: Vec<u64> = part.clone().map(|number| first_seed + number).collect();
            let labels: Option<Vec<i32>> = part.map(|number| self.label(number)).collect();
            out.resize(seeds.len() * self.image().iter().product::<usize>(), 0.0);
            let request = Request {
                seeds: Some(seeds.clone()),
                labels: labels.clone(),
                sampler: Some(self.sampler.clone()),
                ..Request::default()
            };
            self.session.sample(&request, &layout, bytemuck::cast_slice_mut(&mut out))?;
            take(Drawn { seeds: &seeds, labels: labels.as_deref(), images: &out })?;
        }
        Ok(())
    }
}

/// A folder of pairs, read as they are asked for.
pub struct Pairs {
    /// What they are.
    pub manifest: Manifest,
    shards: Vec<Shard>,
    bytes: Vec<u8>,
}

impl Pairs {
    /// Opens all shards. With `verify`, reads them whole and checks their checksums.
    ///
    /// # Errors
    /// IO, naming the first shard that is missing; BAD_MODEL for one that is damaged.
    pub fn open(folder: &Path, verify: bool) -> Result<Self> {
        let manifest = read_manifest(folder)?;
        let mut shards = Vec::new();
        for number in 0..manifest.shards() {
            let path = Manifest::file(folder, number);
            let shard = Shard::open(&path, manifest.pixels, manifest.image, verify)?;
            let range = manifest.range(number);
            if shard.len as u64 != range.end - range.start {
                let message = format!("{} pairs, the manifest says {}", shard.len, range.end - range.start);
                return Err(Error::bad_model(path.display().to_string(), message));
            }
            shards.push(shard);
        }
        Ok(Self { manifest, shards, bytes: Vec::new() })
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.manifest.count as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.manifest.count == 0
    }

    /// The noise and the target of pair `index`, (c, h, w) each, and its label.
    ///
    /// # Errors
    /// IO.
    pub fn fill(&mut self, index: usize, x: &mut [f32], target: &mut [f32]) -> Result<Option<i32>> {
        let len = self.manifest.shard_len;
        let (seed, label) = self.shards[index / len].read(index % len, &mut self.bytes)?;
        let fits = match (label, self.manifest.classes) {
            (Some(label), Some(classes)) => usize::try_from(label).is_ok_and(|label| label < classes),
            (label, classes) => label.is_some() == classes.is_some(),
        };
        if !fits {
            let message =
                format!("pair {index} has the label {label:?}, classes are {:?}", self.manifest.classes);
            return Err(Error::bad_model("pairs", message));
        }
        self.manifest.pixels.decode(&self.bytes, target);
        noise::fill(seed, 0, x);
        Ok(label)
    }
}
