//! Where weights come from. Every format ends in a [`Checkpoint`]: a description of the model, and tensors under
//! diffusers' names whose values are read in pieces.

#[cfg(any(feature = "train", feature = "metrics"))]
mod arrays;
#[cfg(feature = "formats")]
mod ddim;
mod describe;
mod diffusers;
#[cfg(feature = "formats")]
mod edm;
mod export;
#[cfg(feature = "formats")]
mod foreign;
mod import;
#[cfg(feature = "formats")]
mod keras;
mod keys;
mod mapped;
#[cfg(any(feature = "train", feature = "metrics"))]
mod memory;
mod names;
mod native;
mod nested;
#[cfg(feature = "formats")]
mod openai;
mod packed;
mod pickle;
mod plain;
#[cfg(feature = "formats")]
mod presets;
#[cfg(feature = "formats")]
mod renaming;
mod safetensors;
mod source;
mod stored;
mod torch;
mod write;

#[cfg(any(feature = "train", feature = "metrics"))]
pub(crate) use arrays::{Array, Arrays, place_of, write_arrays};
pub use describe::{Description, Kind};
pub use export::export;
pub use import::{ImportOptions, Report, import};
#[doc(hidden)]
pub use native::with_checksum;
pub(crate) use packed::{PackedFor, write as write_packed};
#[cfg(any(feature = "train", feature = "metrics"))]
pub(crate) use source::{FileSource, Source};
pub(crate) use write::Watch;
#[cfg(any(feature = "train", feature = "metrics"))]
pub use write::{write_file, write_text};

use crate::error::{Code, Error, Result};
use crate::exec::Weight;
use crate::model::{Config, Params, Role};
use source::MemorySource;
#[cfg(not(any(feature = "train", feature = "metrics")))]
use source::{FileSource, Source};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use stored::{Stored, StoredValues};

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
    /// What a packed file has in place of tensors.
    packed: Option<packed::Packed>,
    sources: Vec<Box<dyn Source + 'a>>,
    notes: Vec<String>,
    format: &'static str,
}

/// What a file of another library's does not say of itself. A native file and a diffusers folder leave nothing open.
#[derive(Clone, Debug, Default)]
pub struct Hints {
    /// The name of a published model, or a file of JSON in the other library's own words: the flags of OpenAI's programs with
    /// `format`, the arguments of EDM's networks with `precond`, the configuration of a DDIM run.
    pub config: Option<PathBuf>,
    /// Which part of a PyTorch file is the state dict, where it holds several: names and places in lists, with points between
    /// them, and the beginning of the tensors' names. None: an average of the weights (`ema`), else the weights.
    pub key: Option<String>,
    /// What norms add to the variance, of the paper's files and of DDIM's. None: 1e-3 and 1e-6.
    pub group_norm_eps: Option<f32>,
}

/// Reads the header of a file, or of a diffusers folder. `limit` bounds the bytes of a file.
///
/// A native file and a diffusers folder, or the weights in one, open in every build; files of other libraries where the feature
/// `formats` is built in.
pub fn open(path: &Path, limit: u64) -> Result<Checkpoint<'static>> {
    open_with(path, &Hints::default(), limit)
}

/// The same, of a file that does not say all of itself.
pub fn open_with(path: &Path, hints: &Hints, limit: u64) -> Result<Checkpoint<'static>> {
    let metadata = std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
    if metadata.is_dir() {
        no_hints(hints.config.is_some(), hints.group_norm_eps, path)?;
        return diffusers::open(path, None, limit, hints.key.as_deref());
    }
    let source = FileSource::open(path, limit)?;
    let mut start = [0; 8];
    let len = start.len().min(source.len() as usize);
    source.read_at(0, &mut start[..len])?;
    #[cfg(feature = "formats")]
    if keras::is_hdf5(&start) {
        no_hints(hints.config.is_some() || hints.key.is_some(), None, path)?;
        return keras::open(source, path, hints.group_norm_eps);
    }
    if !torch::begins(&start) && !start.starts_with(b"\x89HDF") {
        let header = safetensors::Header::read(&source)?;
        if native::describes_itself(&header) {
            no_hints(hints.config.is_some() || hints.key.is_some(), hints.group_norm_eps, path)?;
            if packed::is_packed(&header) {
                return Err(packed::refused(source.name()));
            }
            return native::open_header(Box::new(source), header).map(Checkpoint::averaged_of_run);
        }
    }
    // The weights in a diffusers folder.
    if let Some(folder) = path.parent()
        && hints.config.is_none()
        && diffusers::is_folder(folder)?
    {
        return diffusers::open(folder, Some(path), limit, hints.key.as_deref());
    }
    foreign(source, path, hints)
}

/// Reads the header of a model to draw with: of what [`open`] takes, or of a packed file, to be mapped if `map` says so.
pub(crate) fn open_to_draw(path: &Path, limit: u64, map: bool) -> Result<Checkpoint<'static>> {
    if !path.is_dir() {
        let source = FileSource::open(path, limit)?;
        match safetensors::Header::read(&source) {
            Ok(header) if packed::is_packed(&header) => {
                let map = map.then(|| mapped::Map::of(&source)).transpose()?;
                return packed::open(Box::new(source), &header, map);
            }
            // What is wrong with a file of another kind is said by those who know all kinds.
            Ok(_) => {}
            Err(error) if !map && error.code() == Code::BadModel => {}
            Err(error) => return Err(error),
        }
    }
    if map {
        let message = format!("map, but {} is no packed file (`onestep pack`)", path.display());
        return Err(Error::argument("memory", message));
    }
    open(path, limit)
}

/// The names of published models, as [`Hints::config`] takes them.
#[cfg(feature = "formats")]
pub fn published_models() -> Vec<&'static str> {
    presets::names()
}

#[cfg(feature = "formats")]
fn foreign(source: FileSource, path: &Path, hints: &Hints) -> Result<Checkpoint<'static>> {
    let mut notes = Vec::new();
    let opened = plain::read(source, path, hints.key.as_deref(), &mut notes)?;
    foreign::open(path, opened, hints, notes)
}

#[cfg(not(feature = "formats"))]
fn foreign(_: FileSource, path: &Path, _: &Hints) -> Result<Checkpoint<'static>> {
    let message = "neither onestep's own format nor in a diffusers folder; files of other libraries open in builds with the feature \
                   `formats`, and `onestep import` converts them";
    Err(Error::bad_model(path.display().to_string(), message))
}

/// Opens the checkpoint of a training run with all that it holds, of which [`open`] gives the model.
#[cfg(feature = "train")]
pub(crate) fn open_run(path: &Path) -> Result<Checkpoint<'static>> {
    native::open(Box::new(FileSource::open(path, u64::MAX)?))
}

/// An error for a hint to a model that says all of itself.
fn no_hints(config_or_key: bool, group_norm_eps: Option<f32>, path: &Path) -> Result<()> {
    let argument = match (config_or_key, group_norm_eps) {
        (true, _) => "config or key",
        (_, Some(_)) => "group_norm_eps",
        _ => return Ok(()),
    };
    Err(Error::argument(argument, format!("{} says itself what it is", path.display())))
}

/// Reads the header of a native file in memory.
pub fn open_memory(bytes: &[u8]) -> Result<Checkpoint<'_>> {
    open_named(bytes, "memory")
}

/// The same, called `name` in messages.
pub(crate) fn open_named<'a>(bytes: &'a [u8], name: &str) -> Result<Checkpoint<'a>> {
    let source = Box::new(MemorySource::named(name, bytes));
    let header = safetensors::Header::read(&*source)?;
    match packed::is_packed(&header) {
        true => packed::open(source, &header, None),
        false => Ok(native::open_header(source, header)?.averaged_of_run()),
    }
}

/// Reads the header of a file of named tensors that are no model of this library: safetensors, or PyTorch's. Its
/// description is empty.
#[cfg(any(feature = "metrics", all(feature = "train", feature = "candle")))]
pub(crate) fn open_tensors(path: &Path) -> Result<Checkpoint<'static>> {
    let mut notes = Vec::new();
    let (source, tensors) = plain::open(path, u64::MAX, None, &mut notes)?;
    let (name, description) = (source.name().to_owned(), Description::default());
    let sources = vec![source];
    Ok(Checkpoint { name, description, tensors, packed: None, sources, notes, format: "tensors" })
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

    /// Whose format it is in, in words.
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// What a user should know about these weights.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// How many values all tensors have.
    pub fn parameters(&self) -> u64 {
        if let Some(packed) = &self.packed {
            return packed.parameters;
        }
        self.tensors.values().map(|t| t.shape.iter().product::<usize>() as u64).sum()
    }

    /// How many bytes all tensors have in the file.
    pub fn weight_bytes(&self) -> u64 {
        self.packed.as_ref().map_or(0, packed::Packed::bytes)
            + self.tensors.values().map(Stored::bytes).sum::<u64>()
    }

    /// How many tensors there are.
    pub fn tensor_count(&self) -> usize {
        self.packed.as_ref().map_or(self.tensors.len(), packed::Packed::len)
    }

    /// Whose weights it has, if it is packed.
    pub(crate) fn packed_for(&self) -> Option<PackedFor> {
        self.packed.as_ref().map(|packed| packed.made_for)
    }

    /// An error if a tensor was never asked for: then the configuration describes another network.
    pub fn check_all_used(&self) -> Result<()> {
        let unused =
            self.tensors.iter().find(|(_, tensor)| !tensor.used.get()).map(|(name, _)| name.as_str());
        match unused.or_else(|| self.packed.as_ref()?.unused()) {
            Some(name) => Err(Error::UnexpectedTensor { file: self.name.clone(), tensor: name.to_owned() }),
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
        if let Some(packed) = &self.packed {
            return Ok(packed.weight(&*self.sources[0], name, shape));
        }
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
                tensor: stored.origin.as_ref().map_or(name.to_owned(), |own| format!("{own} ({name})")),
                expected: shape.to_vec(),
                found: stored.shape.clone(),
            });
        }
        Ok(Weight { shape: shape.to_vec(), ..self.weight(name, stored) })
    }
}
