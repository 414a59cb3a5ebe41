//! Files of named tensors without a description: safetensors, or PyTorch's.

use super::safetensors::Header;
use super::source::{FileSource, Source};
use super::stored::Stored;
use super::torch;
use crate::error::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// A file's tensors under their own names, as parts of source number 0.
pub type Tensors = BTreeMap<String, Stored>;

/// Reads the header of a `.safetensors` file; a file of any other name is taken for PyTorch's. `key` names the part of a
/// PyTorch file to read, and `notes` takes what there is to say of a part that was chosen.
pub fn open(
    path: &Path,
    limit: u64,
    key: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(Box<dyn Source>, Tensors)> {
    read(FileSource::open(path, limit)?, path, key, notes)
}

/// The same, of an open file.
pub fn read(
    source: FileSource,
    path: &Path,
    key: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(Box<dyn Source>, Tensors)> {
    let tensors = match path.extension() {
        Some(extension) if extension == "safetensors" => Header::read(&source)?.tensors(source.name(), 0)?,
        _ => torch::state_dict(&source, key, notes)?,
    };
    Ok((Box::new(source), tensors))
}
