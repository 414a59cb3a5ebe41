//! Files of named tensors without a description: safetensors, or PyTorch's.

use super::safetensors::Header;
use super::source::{FileSource, Source};
use super::{Stored, torch};
use crate::error::Result;
use std::collections::BTreeMap;
use std::path::Path;

/// A file, and the tensors that are parts of it as source number 0.
pub type Tensors = (Box<dyn Source>, BTreeMap<String, Stored>);

/// Reads the header of a `.safetensors` file; a file of any other name is taken for PyTorch's.
pub fn open(path: &Path, limit: u64) -> Result<Tensors> {
    let source = FileSource::open(path, limit)?;
    let tensors = match path.extension() {
        Some(extension) if extension == "safetensors" => Header::read(&source)?.tensors(source.name(), 0)?,
        _ => torch::state_dict(&source)?,
    };
    Ok((Box::new(source), tensors))
}
