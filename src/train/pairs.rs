//! Pairs for distillation, as they are made: seeds, and what a teacher draws from their noise.

use super::draw::{Teacher, check_batch};
use super::shard::{self, Contents, Form, PixelType, Place, Shard};
use crate::error::{Error, Result};
use crate::log::{Level, log};
use crate::options::Options;
use crate::sampler::Sampler;
use crate::weights::{self, place_of, write_text};
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A folder's description.
pub(super) const MANIFEST: &str = "manifest.json";
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
    /// Those at which its states are kept, for a student of several steps.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stops: Vec<i32>,
    /// Whether its estimates were clamped, where that was not left to its file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clip_sample: Option<bool>,
    /// Its classifier-free guidance, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guidance: Option<f32>,
}

impl Manifest {
    /// How many shards.
    pub fn shards(&self) -> usize {
        self.count.div_ceil(self.shard_len as u64) as usize
    }

    /// What its shards have in common.
    pub fn form(&self) -> Form {
        Form { pixels: self.pixels, image: self.image, stops: self.stops.len() }
    }

    /// The path of a shard.
    pub fn file(folder: &Path, shard: usize) -> PathBuf {
        folder.join(format!("pairs-{shard:05}.safetensors"))
    }

    /// What the file of a shard is to be.
    pub fn place(&self, shard: usize) -> Result<Place> {
        let Range { start, end } = self.range(shard);
        Ok(Place {
            name: place_of(self, shard as u64)?,
            seeds: self.first_seed + start..self.first_seed + end,
        })
    }

    /// How many pairs the shards of a part (i, n) have together: every n-th, from the i-th on.
    fn pairs_of(&self, (part, parts): (usize, usize)) -> u64 {
        let Some(last) = self.shards().checked_sub(1).filter(|&last| part <= last) else { return 0 };
        let full = (last - part) / parts;
        let mine = self.range(part + full * parts);
        // Only the last of all may have fewer.
        full as u64 * self.shard_len as u64 + (mine.end - mine.start)
    }

    /// The numbers of a shard's pairs.
    pub fn range(&self, shard: usize) -> Range<u64> {
        let first = shard as u64 * self.shard_len as u64;
        first..self.count.min(first.saturating_add(self.shard_len as u64))
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
    /// Steps of the student that they are for; for more than 1, the teacher's states on the way are kept too.
    pub student_steps: usize,
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
        check_batch(self.batch, &self.options)?;
        let zero = [("count", self.count), ("shard_len", self.shard_len as u64)];
        if let Some((name, _)) = zero.into_iter().find(|(_, value)| *value == 0) {
            return Err(Error::argument(name, "0 given; at least 1 is needed"));
        }
        if self.first_seed.checked_add(self.count).is_none() {
            return Err(Error::argument("seed", "seeds go beyond 64 bits"));
        }
        let checkpoint = weights::open(&self.teacher, self.options.limits.file_bytes)?;
        let mut teacher = Teacher::new(&checkpoint, &self.options, &self.sampler, self.student_steps)?;
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
            stops: teacher.stops.clone(),
            clip_sample: self.options.clip_sample.asked(),
            guidance: self.sampler.guided(),
        };
        std::fs::create_dir_all(&self.out).map_err(|e| Error::io(&self.out, e))?;
        settle(&self.out, &manifest)?;
        let size = |shard: usize| manifest.range(shard).end - manifest.range(shard).start;
        let total = manifest.pairs_of(self.part);
        let mut done = 0;
        for shard in (part..manifest.shards()).step_by(parts) {
            let path = Manifest::file(&self.out, shard);
            let range = manifest.range(shard);
            let place = manifest.place(shard)?;
            if whole(&path, &manifest, &place)? {
                done += size(shard);
                watch(PairsProgress { done, total })?;
                continue;
            }
            let mut contents = Contents::default();
            teacher.draw_pairs(self.first_seed, range, self.batch, &mut |drawn| {
                let Contents { seeds, labels, images, states } = &mut contents;
                seeds.extend_from_slice(drawn.seeds);
                labels.extend_from_slice(drawn.labels.unwrap_or_default());
                drawn.images.iter().for_each(|&value| self.pixels.encode(value.clamp(-1.0, 1.0), images));
                drawn.states.iter().for_each(|&value| PixelType::F16.encode(value, states));
                done += drawn.seeds.len() as u64;
                watch(PairsProgress { done, total })
            })?;
            shard::write(&path, manifest.form(), &place, &contents)?;
        }
        Ok(manifest)
    }
}

/// Whether a shard is there, undamaged and in its place.
fn whole(path: &Path, manifest: &Manifest, place: &Place) -> Result<bool> {
    match Shard::open(path, manifest.form(), place, true) {
        Ok(_) => Ok(true),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error @ Error::Io { .. }) => Err(error),
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

/// Reads a folder's manifest, and checks that its numbers fit together.
///
/// # Errors
/// IO; BAD_MODEL.
pub(super) fn read_manifest(folder: &Path) -> Result<Manifest> {
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
        && manifest.classes != Some(0)
        && !manifest.timesteps.is_empty()
        && manifest.stops.iter().all(|stop| manifest.timesteps[1..].contains(stop))
        && manifest.stops.is_sorted_by(|a, b| a > b);
    if sound { Ok(manifest) } else { Err(bad("numbers that contradict each other".into())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_have_all_pairs_between_them() {
        let manifest = |count, shard_len| Manifest {
            version: VERSION,
            teacher_crc32: String::new(),
            count,
            first_seed: 0,
            shard_len,
            image: [1, 8, 8],
            classes: None,
            pixels: PixelType::U8,
            timesteps: vec![999],
            stops: Vec::new(),
            clip_sample: None,
            guidance: None,
        };
        for (count, shard_len) in [(1, 1), (50, 16), (48, 16), (7, 9), (u64::MAX, usize::MAX), (u64::MAX, 1)]
        {
            for parts in [1, 2, 3, 5] {
                let all: u64 =
                    (0..parts).map(|part| manifest(count, shard_len).pairs_of((part, parts))).sum();
                assert_eq!(all, count, "{parts} parts, shards of {shard_len}");
            }
        }
        assert_eq!(manifest(50, 16).pairs_of((1, 3)), 16);
        assert_eq!(manifest(50, 16).pairs_of((0, 3)), 16 + 2);
    }
}
