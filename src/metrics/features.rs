//! A folder of features: what images come to, in parts that are written whole, beside a manifest that says of which images and by
//! which extractor. Every score is computed of these, in their order: so it is the same to the bit, whoever made which part.

use super::gaussian::MOST;
use crate::error::{Error, Result};
use crate::log::{Level, log};
use crate::weights::{Array, Arrays, place_of, write_arrays, write_text};
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// The folder's description.
pub const MANIFEST: &str = "features.json";
const VERSION: u32 = 1;
/// Images of a part at least: what a kill can cost.
const PART: u64 = 256;
/// Parts at most, whose files are open at once.
const PARTS: u64 = 256;

/// What a folder of features holds: `features.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Of this format; 1.
    pub version: u32,
    /// How many images.
    pub count: u64,
    /// Which images.
    pub images: Value,
    /// What found their features.
    pub extractor: Value,
    /// Features of an image.
    pub width: usize,
    /// Logits of an image; 0: none.
    pub classes: usize,
}

impl Manifest {
    /// A manifest of this version.
    pub fn new(count: u64, images: Value, extractor: Value, width: usize, classes: usize) -> Self {
        Self { version: VERSION, count, images, extractor, width, classes }
    }

    /// Images of a part; the last may have fewer.
    fn part_len(&self) -> u64 {
        self.count.div_ceil(PARTS).max(PART)
    }

    /// How many parts.
    pub fn parts(&self) -> u64 {
        self.count.div_ceil(self.part_len())
    }

    /// The numbers of a part's images.
    pub fn range(&self, part: u64) -> Range<u64> {
        let first = part * self.part_len();
        first..self.count.min(first + self.part_len())
    }

    /// A part's file.
    fn file(folder: &Path, part: u64) -> PathBuf {
        folder.join(format!("features-{part:05}.safetensors"))
    }

    /// Writes this manifest into a folder, or checks the one that is there.
    ///
    /// # Errors
    /// IO; INVALID_ARGUMENT (`out`) for a folder of other features.
    pub fn settle(&self, folder: &Path) -> Result<()> {
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let path = folder.join(MANIFEST);
        if !path.exists() {
            let text = serde_json::to_string_pretty(self).map_err(|e| Error::Internal(e.to_string()))?;
            return write_text(&path, &(text + "\n"));
        }
        let found = Self::read(folder)?;
        if found == *self {
            return Ok(());
        }
        let what = [
            ("images", found.images != self.images),
            ("extractor", found.extractor != self.extractor),
            ("count", found.count != self.count),
        ];
        let what: Vec<&str> = what.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
        let message = format!(
            "{} describes other features ({} differ); name another folder, or remove this one",
            path.display(),
            what.join(", ")
        );
        Err(Error::argument("out", message))
    }

    fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let text = std::fs::read_to_string(&path).map_err(|e| Error::io(&path, e))?;
        let bad = |message: String| Error::bad_model(path.display().to_string(), message);
        let manifest: Self = serde_json::from_str(&text).map_err(|e| bad(e.to_string()))?;
        if manifest.version != VERSION {
            return Err(bad(format!("version {}, {VERSION} is supported", manifest.version)));
        }
        let sound = (1..1 << 32).contains(&manifest.count)
            && (1..=MOST).contains(&manifest.width)
            && manifest.classes <= MOST;
        if sound { Ok(manifest) } else { Err(bad("numbers that no features have".to_owned())) }
    }
}

/// What a part is written from.
#[derive(Default)]
pub struct Contents {
    /// One row an image.
    pub features: Vec<f32>,
    /// One row an image; empty where there are none.
    pub logits: Vec<f32>,
    /// 1 for an image with values that were no finite numbers.
    pub not_finite: Vec<u8>,
}

/// Whether a part is there and undamaged; of one that is damaged, a warning.
///
/// # Errors
/// IO, but for a file that is not there.
pub fn is_whole(folder: &Path, manifest: &Manifest, part: u64) -> Result<bool> {
    match Part::open(folder, manifest, part).and_then(|part| part.arrays.verify()) {
        Ok(()) => Ok(true),
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => Ok(false),
        Err(error @ Error::Io { .. }) => Err(error),
        Err(error) => {
            log(Level::Warn, || format!("{error}: computed anew"));
            Ok(false)
        }
    }
}

/// Writes a part: beside its place, then renamed.
///
/// # Errors
/// IO.
pub fn write_part(folder: &Path, manifest: &Manifest, part: u64, contents: &Contents) -> Result<()> {
    let n = contents.not_finite.len();
    let array = |name, dtype, shape, bytes| Array { name, dtype, shape, bytes };
    let features = bytemuck::cast_slice(&contents.features);
    let mut arrays = vec![array("features", Dtype::F32, vec![n, manifest.width], features)];
    if manifest.classes > 0 {
        let logits = bytemuck::cast_slice(&contents.logits);
        arrays.push(array("logits", Dtype::F32, vec![n, manifest.classes], logits));
    }
    arrays.push(array("not_finite", Dtype::U8, vec![n], &contents.not_finite));
    write_arrays(&Manifest::file(folder, part), &place_of(manifest, part)?, &arrays)
}

struct Part {
    arrays: Arrays,
    features: u64,
    logits: u64,
    not_finite: u64,
}

impl Part {
    fn open(folder: &Path, manifest: &Manifest, part: u64) -> Result<Self> {
        let range = manifest.range(part);
        let n = (range.end - range.start) as usize;
        let arrays = Arrays::open(&Manifest::file(folder, part))?;
        arrays.check_place(&place_of(manifest, part)?)?;
        let features = arrays.needed("features", Dtype::F32, &[n, manifest.width])?;
        let logits = match manifest.classes {
            0 => 0,
            classes => arrays.needed("logits", Dtype::F32, &[n, classes])?,
        };
        let not_finite = arrays.needed("not_finite", Dtype::U8, &[n])?;
        Ok(Self { arrays, features, logits, not_finite })
    }
}

/// All features of a set of images.
pub struct Features {
    manifest: Manifest,
    parts: Vec<Part>,
}

impl Features {
    /// Opens a folder whose parts are all there.
    ///
    /// # Errors
    /// IO; BAD_MODEL; INVALID_ARGUMENT (`features`) that says how many parts are missing.
    pub fn open(folder: &Path) -> Result<Self> {
        let manifest = Manifest::read(folder)?;
        let mut parts = Vec::new();
        let mut missing = Vec::new();
        for part in 0..manifest.parts() {
            match Part::open(folder, &manifest, part) {
                Ok(part) => parts.push(part),
                Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                    missing.push(part);
                }
                Err(error) => return Err(error),
            }
        }
        if let Some(first) = missing.first() {
            let message = format!(
                "{}: {} of {} parts are missing, features-{first:05}.safetensors the first; the same command without --shard \
                 computes them",
                folder.display(),
                missing.len(),
                manifest.parts()
            );
            return Err(Error::argument("features", message));
        }
        Ok(Self { manifest, parts })
    }

    /// Whether a folder is one of features.
    pub fn are_in(folder: &Path) -> bool {
        folder.join(MANIFEST).is_file()
    }

    /// What they are of.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// How many images.
    pub fn len(&self) -> usize {
        self.manifest.count as usize
    }

    /// Whether there are none, which no folder holds.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Features of an image.
    pub fn width(&self) -> usize {
        self.manifest.width
    }

    /// Numbers of the images with values that were no finite numbers.
    ///
    /// # Errors
    /// IO.
    pub fn not_finite(&self) -> Result<Vec<u64>> {
        let mut numbers = Vec::new();
        for (number, part) in (0..).zip(&self.parts) {
            let range = self.manifest.range(number);
            let mut flags = vec![0; (range.end - range.start) as usize];
            part.arrays.read_at(part.not_finite, &mut flags)?;
            numbers.extend(range.zip(flags).filter(|(_, flag)| *flag != 0).map(|(number, _)| number));
        }
        Ok(numbers)
    }

    /// Fills `out` with the features of images from `first` on, a row an image.
    ///
    /// # Errors
    /// IO.
    pub fn read(&self, first: usize, out: &mut [f32]) -> Result<()> {
        self.rows(self.width(), |part| part.features, first, out)
    }

    /// As [`Self::read`], of logits.
    ///
    /// # Errors
    /// IO.
    pub fn read_logits(&self, first: usize, out: &mut [f32]) -> Result<()> {
        self.rows(self.manifest.classes, |part| part.logits, first, out)
    }

    fn rows(
        &self,
        width: usize,
        place: impl Fn(&Part) -> u64,
        mut first: usize,
        mut out: &mut [f32],
    ) -> Result<()> {
        let part_len = self.manifest.part_len() as usize;
        while !out.is_empty() {
            let (part, row) = (first / part_len, first % part_len);
            let rows = (part_len - row).min(out.len() / width);
            let (here, after) = out.split_at_mut(rows * width);
            let part = &self.parts[part];
            part.arrays.read_at(
                place(part) + (row * width * size_of::<f32>()) as u64,
                bytemuck::cast_slice_mut(here),
            )?;
            if cfg!(target_endian = "big") {
                here.iter_mut().for_each(|value| *value = f32::from_bits(value.to_bits().swap_bytes()));
            }
            (first, out) = (first + rows, after);
        }
        Ok(())
    }
}
