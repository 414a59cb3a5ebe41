//! Where weights come from. Every format ends in a [`Checkpoint`]: a description of the model, and tensors under
//! diffusers' names whose values are read in pieces.

mod describe;
mod diffusers;
mod edm;
mod export;
mod import;
mod keys;
#[cfg(feature = "train")]
mod memory;
mod names;
mod native;
mod openai;
mod pickle;
mod plain;
mod renaming;
mod safetensors;
mod source;
mod torch;
mod write;

pub use describe::{Description, Kind};
pub use export::export;
pub use import::{ImportOptions, Report, import};
#[doc(hidden)]
pub use native::with_checksum;
#[cfg(feature = "train")]
pub use write::write_text;
#[cfg(feature = "train")]
pub(crate) use {
    native::CHECKSUM,
    safetensors::Header,
    source::{FileSource, Source, checksum},
    write::{padded, write_file},
};

use crate::error::{Error, Result};
use crate::exec::{ReadValues, Weight};
use crate::model::{Config, Params, Role};
use source::MemorySource;
#[cfg(not(feature = "train"))]
use source::{FileSource, Source};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

/// How a tensor's values are stored in a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoredType {
    /// 64-bit floats.
    F64,
    /// 32-bit floats.
    F32,
    /// Half precision.
    F16,
    /// bfloat16.
    Bf16,
}

impl StoredType {
    /// Bytes a value.
    pub fn size(self) -> usize {
        match self {
            StoredType::F64 => 8,
            StoredType::F32 => 4,
            StoredType::F16 | StoredType::Bf16 => 2,
        }
    }
}

/// A model at rest: what it is, and where each of its tensors lies.
pub struct Checkpoint<'a> {
    name: String,
    description: Description,
    tensors: BTreeMap<String, Stored>,
    sources: Vec<Box<dyn Source + 'a>>,
    notes: Vec<String>,
}

/// Where a tensor lies.
struct Stored {
    source: usize,
    dtype: StoredType,
    shape: Vec<usize>,
    /// Of its first value, or that of the tensor whose rows it has.
    offset: u64,
    /// Which rows of a larger tensor it has, if it is a part of one.
    rows: Option<Rows>,
    used: Cell<bool>,
}

/// Rows of a tensor: blocks of `block` of them, `stride` rows from one block's beginning to the next's.
#[derive(Clone, Copy, Debug)]
struct Rows {
    first: usize,
    block: usize,
    stride: usize,
}

/// Reads the header of a native file, or of a diffusers folder. `limit` bounds the bytes of a file.
pub fn open(path: &Path, limit: u64) -> Result<Checkpoint<'static>> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if metadata.is_dir() {
        return diffusers::open(path, limit);
    }
    native::open(Box::new(FileSource::open(path, limit)?))
}

/// Reads the header of a file of named tensors, safetensors' or PyTorch's, that is another library's: `config` is a file of
/// JSON in that library's own words.
pub fn open_with(path: &Path, config: &Path, limit: u64) -> Result<Checkpoint<'static>> {
    let config_name = config.display().to_string();
    let config = diffusers::read_object(config)?
        .ok_or_else(|| Error::bad_model(&config_name, "there is no such file"))?;
    let (source, tensors) = plain::open(path, limit)?;
    let name = source.name().to_owned();
    let said = (config_name.as_str(), &config);
    // EDM's arguments and preconditioning, or the flags of OpenAI's programs.
    let edms = config.contains_key("precond") || config.contains_key("model_type");
    let understood = match edms {
        true => edm::understand((&name, &*source), said, tensors)?,
        false => openai::understand(&name, said, tensors)?,
    };
    let renaming::Understood { description, tensors, computed } = understood;
    let mut sources = vec![source];
    if let Some(bytes) = computed {
        sources.push(Box::new(MemorySource::named(&name, bytes)));
    }
    Ok(Checkpoint { name, description, tensors, sources, notes: Vec::new() })
}

/// Reads the header of a native file in memory.
pub fn open_memory(bytes: &[u8]) -> Result<Checkpoint<'_>> {
    native::open(Box::new(MemorySource::new(bytes)))
}

/// Reads the header of a file of named tensors that are no model of this library: safetensors, or PyTorch's. Its
/// description is empty.
#[cfg(all(feature = "train", feature = "candle"))]
pub(crate) fn open_tensors(path: &Path) -> Result<Checkpoint<'static>> {
    let (source, tensors) = plain::open(path, u64::MAX)?;
    let (name, description) = (source.name().to_owned(), Description::default());
    Ok(Checkpoint { name, description, tensors, sources: vec![source], notes: Vec::new() })
}

impl Checkpoint<'_> {
    /// The file's or folder's path, or `memory`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The description as stored.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The description, checked and understood; `role` overrides the file's.
    pub fn config(&self, role: Option<Role>) -> Result<Config> {
        self.description.config(&self.name, role)
    }

    /// What a user should know about these weights.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many values all tensors have.
    pub fn parameters(&self) -> u64 {
        self.tensors.values().map(|t| t.shape.iter().product::<usize>() as u64).sum()
    }

    /// How many bytes all tensors have in the file.
    pub fn weight_bytes(&self) -> u64 {
        self.tensors.values().map(Stored::bytes).sum()
    }

    /// How many tensors there are.
    pub fn tensor_count(&self) -> usize {
        self.tensors.len()
    }

    /// An error if a tensor was never asked for: then the configuration describes another network.
    pub fn check_all_used(&self) -> Result<()> {
        match self.tensors.iter().find(|(_, tensor)| !tensor.used.get()) {
            Some((name, _)) => Err(Error::UnexpectedTensor { file: self.name.clone(), tensor: name.clone() }),
            None => Ok(()),
        }
    }

    fn weight(&self, name: &str, stored: &Stored) -> Weight<'_> {
        let values = StoredValues::of(name, &*self.sources[stored.source], stored);
        Weight { name: name.to_owned(), shape: stored.shape.clone(), values: Box::new(values) }
    }
}

impl Params for Checkpoint<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight<'_>> {
        let Some(stored) = self.tensors.get(name) else {
            return Err(Error::MissingTensor {
                file: self.name.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
            });
        };
        stored.used.set(true);
        // A linear layer may be stored as a 1x1 convolution.
        let as_linear = stored.shape.strip_suffix(&[1, 1]).filter(|_| shape.len() == 2);
        if as_linear.unwrap_or(&stored.shape) != shape {
            return Err(Error::WrongShape {
                file: self.name.clone(),
                tensor: name.to_owned(),
                expected: shape.to_vec(),
                found: stored.shape.clone(),
            });
        }
        Ok(Weight { shape: shape.to_vec(), ..self.weight(name, stored) })
    }
}

impl Stored {
    /// A whole tensor.
    fn new(source: usize, dtype: StoredType, shape: Vec<usize>, offset: u64) -> Self {
        Self { source, dtype, shape, offset, rows: None, used: Cell::new(false) }
    }

    fn bytes(&self) -> u64 {
        (self.shape.iter().product::<usize>() * self.dtype.size()) as u64
    }
}

/// A tensor's values in a source.
struct StoredValues<'a> {
    source: &'a dyn Source,
    tensor: String,
    dtype: StoredType,
    offset: u64,
    rows: Option<Rows>,
    /// Values a row.
    row: usize,
}

impl<'a> StoredValues<'a> {
    fn of(tensor: &str, source: &'a dyn Source, stored: &Stored) -> Self {
        let row = stored.shape.iter().skip(1).product();
        let (tensor, dtype, offset, rows) = (tensor.to_owned(), stored.dtype, stored.offset, stored.rows);
        Self { source, tensor, dtype, offset, rows, row }
    }
}

impl ReadValues for StoredValues<'_> {
    fn read(&self, mut start: usize, mut out: &mut [f32]) -> Result<()> {
        let Some(Rows { first, block, stride }) = self.rows else {
            return self.read_run(start, out);
        };
        while !out.is_empty() {
            let (row, column) = (start / self.row, start % self.row);
            let run = ((block - row % block) * self.row - column).min(out.len());
            let (now, later) = out.split_at_mut(run);
            self.read_run((first + row / block * stride + row % block) * self.row + column, now)?;
            (start, out) = (start + run, later);
        }
        Ok(())
    }
}

impl StoredValues<'_> {
    /// Values that lie one after another.
    fn read_run(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let size = self.dtype.size();
        let mut buffer = [0u8; 16 << 10];
        let mut at = self.offset + (start * size) as u64;
        for piece in out.chunks_mut(buffer.len() / size) {
            let bytes = &mut buffer[..piece.len() * size];
            self.source.read_at(at, bytes)?;
            at += bytes.len() as u64;
            decode(self.dtype, bytes, piece);
            if let Some(value) = piece.iter().find(|value| !value.is_finite()) {
                let message = format!("tensor {} holds {value}, which is no weight", self.tensor);
                return Err(Error::bad_model(self.source.name(), message));
            }
        }
        Ok(())
    }
}

fn decode(dtype: StoredType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        StoredType::F64 => {
            for (b, x) in bytes.as_chunks().0.iter().zip(out) {
                *x = f64::from_le_bytes(*b) as f32;
            }
        }
        StoredType::F32 => {
            for (b, x) in bytes.as_chunks().0.iter().zip(out) {
                *x = f32::from_le_bytes(*b);
            }
        }
        StoredType::F16 => {
            for (b, x) in bytes.as_chunks().0.iter().zip(out) {
                *x = half::f16::from_le_bytes(*b).to_f32();
            }
        }
        StoredType::Bf16 => {
            for (b, x) in bytes.as_chunks().0.iter().zip(out) {
                *x = half::bf16::from_le_bytes(*b).to_f32();
            }
        }
    }
}
