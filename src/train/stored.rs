//! A folder of pairs, read as they are asked for: of `onestep pairs`, or of the paper's own script.

use super::draw::student_calls;
use super::pairs::{MANIFEST, Manifest, read_manifest};
use super::paper::PaperPairs;
use super::shard::Shard;
use crate::error::{Error, Result};
use crate::noise;
use serde_json::{Value, json};
use std::path::Path;

/// See the module.
pub struct Pairs {
    kind: Kind,
    bytes: Vec<u8>,
}

enum Kind {
    Own { manifest: Manifest, shards: Vec<Shard> },
    Paper(PaperPairs),
}

/// What a student is taught to do in one of its calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Task {
    /// The class, where there are any.
    pub label: Option<i32>,
    /// Which of the student's calls, 0 the first.
    pub call: usize,
}

impl Pairs {
    /// Opens all files. With `verify`, reads them whole and checks their checksums (the paper's have none).
    ///
    /// # Errors
    /// IO, naming the first file that is missing; BAD_MODEL for one that is damaged.
    pub fn open(folder: &Path, verify: bool) -> Result<Self> {
        let kind = match folder.join(MANIFEST).exists() {
            false if PaperPairs::are_in(folder) => Kind::Paper(PaperPairs::open(folder)?),
            _ => {
                let manifest = read_manifest(folder)?;
                let shards = own_shards(folder, &manifest, verify)?;
                Kind::Own { manifest, shards }
            }
        };
        Ok(Self { kind, bytes: Vec::new() })
    }

    /// How many.
    pub fn len(&self) -> usize {
        match &self.kind {
            Kind::Own { manifest, .. } => manifest.count as usize,
            Kind::Paper(pairs) => pairs.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many, at their end, were made for tests; none where that is left to whoever reads them.
    pub fn test(&self) -> Option<usize> {
        match &self.kind {
            Kind::Own { .. } => None,
            Kind::Paper(pairs) => pairs.test(),
        }
    }

    /// Channels, height, width.
    pub fn image(&self) -> [usize; 3] {
        match &self.kind {
            Kind::Own { manifest, .. } => manifest.image,
            Kind::Paper(pairs) => pairs.image(),
        }
    }

    /// Classes of the teacher, if it has any.
    pub fn classes(&self) -> Option<usize> {
        match &self.kind {
            Kind::Own { manifest, .. } => manifest.classes,
            Kind::Paper(_) => None,
        }
    }

    /// The calls of a student of several steps that they are for; empty for a student of one.
    pub fn calls(&self) -> Vec<i32> {
        match &self.kind {
            Kind::Own { manifest, .. } => student_calls(&manifest.timesteps, &manifest.stops),
            Kind::Paper(_) => Vec::new(),
        }
    }

    /// That a teacher, by the CRC-32 of its weights, drew them; the paper's do not say who did.
    ///
    /// # Errors
    /// INVALID_ARGUMENT.
    pub fn check_teacher(&self, crc32: &str) -> Result<()> {
        match &self.kind {
            Kind::Own { manifest, .. } if manifest.teacher_crc32 != crc32 => {
                let found = &manifest.teacher_crc32;
                let message = format!(
                    "of another teacher: its weights' CRC-32 is {found}, that of the one given {crc32}"
                );
                Err(Error::argument("pairs", message))
            }
            _ => Ok(()),
        }
    }

    /// The guidance of who drew them, if any.
    pub fn guidance(&self) -> Option<f32> {
        match &self.kind {
            Kind::Own { manifest, .. } => manifest.guidance,
            Kind::Paper(_) => None,
        }
    }

    /// What tells them from others, for a run's settings.
    pub fn identity(&self) -> Value {
        match &self.kind {
            Kind::Own { manifest, .. } => json!({"manifest": manifest}),
            Kind::Paper(pairs) => json!({"paper": pairs.len(), "test": pairs.test()}),
        }
    }

    /// What call `call` of the student begins from and goes to in pair `index`, (c, h, w) each, and the label.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a label that is no class.
    pub fn fill(&mut self, index: usize, call: usize, x: &mut [f32], target: &mut [f32]) -> Result<Task> {
        let Self { kind, bytes } = self;
        match kind {
            Kind::Own { manifest, shards } => {
                let (shard, at) = (&shards[index / manifest.shard_len], index % manifest.shard_len);
                let (seed, label) = shard.origin(at)?;
                let fits = match (label, manifest.classes) {
                    (Some(label), Some(classes)) => usize::try_from(label).is_ok_and(|label| label < classes),
                    (label, classes) => label.is_some() == classes.is_some(),
                };
                if !fits {
                    let classes = manifest.classes;
                    let message = format!("pair {index} has the label {label:?}, classes are {classes:?}");
                    return Err(Error::bad_model("pairs", message));
                }
                match call {
                    0 => noise::fill(seed, 0, x),
                    _ => shard.read(at, call - 1, bytes, x)?,
                }
                shard.read(at, call, bytes, target)?;
                Ok(Task { label, call })
            }
            Kind::Paper(pairs) => {
                pairs.fill(index, bytes, x, target)?;
                Ok(Task { label: None, call })
            }
        }
    }
}

fn own_shards(folder: &Path, manifest: &Manifest, verify: bool) -> Result<Vec<Shard>> {
    let open = |number: usize| {
        let path = Manifest::file(folder, number);
        Shard::open(&path, manifest.form(), &manifest.place(number)?, verify)
    };
    (0..manifest.shards()).map(open).collect()
}
