//! The native format: one safetensors file with a [`Description`] as JSON under `__metadata__["onestep"]`, and
//! under `__metadata__["onestep.crc32"]` a checksum of everything else: CRC-32 of the header's canonical JSON
//! (keys sorted, no spaces, that key absent) followed by the tensors' bytes. A flipped bit is an error, not a
//! strange picture.

use super::safetensors::Header;
use super::source::{Source, checksum};
use super::{Checkpoint, Description};
use crate::error::{Error, Result};
use serde_json::{Map, Value};

/// What this format is called.
pub const FORMAT: &str = "onestep";
/// The metadata key of the description.
pub const DESCRIPTION: &str = "onestep";
/// The metadata key of the checksum: eight hexadecimal digits.
pub const CHECKSUM: &str = "onestep.crc32";

/// Whether a safetensors file is one of this library's.
pub fn describes_itself(header: &Header) -> bool {
    header.metadata.metadata().as_ref().is_some_and(|metadata| metadata.contains_key(DESCRIPTION))
}

/// Reads, verifies and describes a native file.
#[cfg(feature = "train")]
pub fn open<'a>(source: Box<dyn Source + 'a>) -> Result<Checkpoint<'a>> {
    let header = Header::read(&*source)?;
    open_header(source, header)
}

/// The same, its header read.
pub fn open_header<'a>(source: Box<dyn Source + 'a>, header: Header) -> Result<Checkpoint<'a>> {
    let name = source.name().to_owned();
    let metadata = header.metadata.metadata().as_ref();
    let Some(description) = metadata.and_then(|m| m.get(DESCRIPTION)) else {
        return Err(Error::bad_model(
            name,
            "a safetensors file without __metadata__[\"onestep\"]: not in onestep's own format (a diffusers folder is \
             opened as a folder, or imported with `onestep import`)",
        ));
    };
    let Some(expected) = metadata.and_then(|m| m.get(CHECKSUM)) else {
        return Err(Error::bad_model(name, "no checksum under __metadata__[\"onestep.crc32\"]"));
    };
    verify(&*source, &header, expected)?;
    let description: Description = serde_json::from_str(description)
        .map_err(|e| Error::bad_model(&name, format!("__metadata__[\"onestep\"]: {e}")))?;
    let tensors = header.tensors(&name, 0)?;
    let (sources, notes) = (vec![source], Vec::new());
    Ok(Checkpoint { name, description, tensors, packed: None, sources, notes, format: FORMAT })
}

/// How the averaged weights are called in the checkpoint of a training run, which has all that the run goes on from.
pub const AVERAGED: &str = "ema/";

impl Checkpoint<'_> {
    /// Of a training run's checkpoint, the averaged weights alone, which are the model; anything else as it is.
    pub(super) fn averaged_of_run(mut self) -> Self {
        if !self.tensors.keys().any(|name| name.starts_with(AVERAGED)) {
            return self;
        }
        let tensors = std::mem::take(&mut self.tensors).into_iter();
        let averaged =
            tensors.filter_map(|(name, stored)| Some((name.strip_prefix(AVERAGED)?.to_owned(), stored)));
        self.tensors = averaged.collect();
        let step = self.description.provenance.as_ref().and_then(|run| run["training"]["step"].as_u64());
        let after = step.map_or(String::new(), |step| format!(" after step {step}"));
        self.notes.push(format!("the checkpoint of a training run{after}; these are its averaged weights"));
        self
    }
}

/// A checksum as files have it.
pub fn hex(checksum: u32) -> String {
    format!("{checksum:08x}")
}

/// The text that the checksum begins with.
pub fn canonical(header: &Map<String, Value>) -> String {
    let mut header = header.clone();
    if let Some(Value::Object(metadata)) = header.get_mut("__metadata__") {
        metadata.remove(CHECKSUM);
    }
    Value::Object(header).to_string()
}

fn verify(source: &dyn Source, header: &Header, expected: &str) -> Result<()> {
    let json: Map<String, Value> = serde_json::from_str(&header.json)
        .map_err(|e| Error::bad_model(source.name(), format!("header: {e}")))?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(canonical(&json).as_bytes());
    checksum(source, header.data_start..source.len(), &mut hasher)?;
    let found = hex(hasher.finalize());
    if found != expected {
        let message = format!("damaged: its checksum is {found}, the file says {expected}");
        return Err(Error::bad_model(source.name(), message));
    }
    Ok(())
}

/// The same file with a right checksum, if it is a safetensors file with metadata at all: for fuzzers, which would
/// not get past a wrong one.
#[doc(hidden)]
pub fn with_checksum(bytes: &[u8]) -> Option<Vec<u8>> {
    let header = Header::read(&super::MemorySource::new(bytes)).ok()?;
    let mut json: Map<String, Value> = serde_json::from_str(&header.json).ok()?;
    let data = &bytes[header.data_start as usize..];
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(canonical(&json).as_bytes());
    // A packed file's parts have checksums of their own.
    if !super::packed::is_packed(&header) {
        hasher.update(data);
    }
    let metadata = json.get_mut("__metadata__")?.as_object_mut()?;
    metadata.insert(CHECKSUM.into(), hex(hasher.finalize()).into());
    let text = Value::Object(json).to_string();
    Some([&(text.len() as u64).to_le_bytes(), text.as_bytes(), data].concat())
}
