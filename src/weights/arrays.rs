//! Files of named arrays that this library makes for itself, pairs and features: safetensors, with a checksum of all arrays'
//! bytes (CRC-32) under a native file's key, and their place: of what they are a part, and which.

use super::native::CHECKSUM;
use super::safetensors::Header;
use super::source::{FileSource, Source, checksum};
use super::write::{padded, write_file};
use crate::error::{Error, Result};
use safetensors::tensor::Dtype;
use serde_json::{Map, json};
use std::path::Path;

/// An array to write.
pub struct Array<'a> {
    /// Its name.
    pub name: &'static str,
    /// The type of its values.
    pub dtype: Dtype,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Its values, little-endian.
    pub bytes: &'a [u8],
}

/// The key of a file's place.
const PLACE: &str = "onestep.place";

/// The place of part number `part` of what a manifest describes.
pub fn place_of(manifest: &impl serde::Serialize, part: u64) -> Result<String> {
    let text = serde_json::to_vec(manifest).map_err(|e| Error::Internal(e.to_string()))?;
    Ok(format!("{part} of {:08x}", crc32fast::hash(&text)))
}

/// Writes arrays, that belong to `place`, beside their file, then renames. Those of the widest values come first, so that each begins at a multiple of
/// its values' size.
///
/// # Errors
/// IO.
pub fn write_arrays(path: &Path, place: &str, arrays: &[Array]) -> Result<()> {
    let mut hasher = crc32fast::Hasher::new();
    let mut header = Map::new();
    let mut offset = 0;
    for Array { name, dtype, shape, bytes } in arrays {
        hasher.update(bytes);
        let end = offset + bytes.len();
        header.insert((*name).into(), json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    header
        .insert("__metadata__".into(), json!({CHECKSUM: format!("{:08x}", hasher.finalize()), PLACE: place}));
    let text = padded(&header);
    let length = (text.len() as u64).to_le_bytes();
    let mut bytes: Vec<&[u8]> = vec![&length, text.as_bytes()];
    bytes.extend(arrays.iter().map(|array| array.bytes));
    write_file(path, &bytes)
}

/// An open file of arrays.
pub struct Arrays {
    source: FileSource,
    header: Header,
}

impl Arrays {
    /// Reads a file's header.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is damaged.
    pub fn open(path: &Path) -> Result<Self> {
        let source = FileSource::open(path, u64::MAX)?;
        let header = Header::read(&source)?;
        Ok(Self { source, header })
    }

    /// An error about this file.
    pub fn bad(&self, message: String) -> Error {
        Error::bad_model(self.source.name(), message)
    }

    /// What an array's first dimension counts, if it is there.
    #[cfg(feature = "train")]
    pub fn count(&self, name: &str) -> Option<usize> {
        self.header.metadata.info(name).and_then(|info| info.shape.first().copied())
    }

    /// Where an array begins, if it is there.
    ///
    /// # Errors
    /// BAD_MODEL for one of another type or shape.
    pub fn place(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<Option<u64>> {
        match self.header.metadata.info(name) {
            Some(info) if info.dtype == dtype && info.shape == shape => {
                Ok(Some(self.header.data_start + info.data_offsets.0 as u64))
            }
            Some(info) => {
                let message =
                    format!("{name} is {:?} {:?}, {dtype:?} {shape:?} expected", info.dtype, info.shape);
                Err(self.bad(message))
            }
            None => Ok(None),
        }
    }

    /// Where an array begins.
    ///
    /// # Errors
    /// BAD_MODEL for one that is missing, or of another type or shape.
    pub fn needed(&self, name: &str, dtype: Dtype, shape: &[usize]) -> Result<u64> {
        self.place(name, dtype, shape)?.ok_or_else(|| self.bad(format!("no tensor {name}")))
    }

    /// That the file belongs to `place`, as far as it says: those of earlier versions do not.
    ///
    /// # Errors
    /// BAD_MODEL for another's.
    pub fn check_place(&self, place: &str) -> Result<()> {
        match self.header.metadata.metadata().as_ref().and_then(|metadata| metadata.get(PLACE)) {
            Some(found) if found != place => {
                Err(self.bad(format!("another's: it is part {found}, and lies in the place of {place}")))
            }
            _ => Ok(()),
        }
    }

    /// Reads all bytes, and compares their checksum.
    ///
    /// # Errors
    /// IO; BAD_MODEL for damage.
    pub fn verify(&self) -> Result<()> {
        let expected = self.header.metadata.metadata().as_ref().and_then(|metadata| metadata.get(CHECKSUM));
        let expected =
            expected.ok_or_else(|| self.bad(format!("no checksum under __metadata__[\"{CHECKSUM}\"]")))?;
        let mut hasher = crc32fast::Hasher::new();
        checksum(&self.source, self.header.data_start..self.source.len(), &mut hasher)?;
        let found = format!("{:08x}", hasher.finalize());
        if found != *expected {
            return Err(self.bad(format!("damaged: its checksum is {found}, the file says {expected}")));
        }
        Ok(())
    }

    /// Fills `out` from a place on.
    ///
    /// # Errors
    /// IO.
    pub fn read_at(&self, place: u64, out: &mut [u8]) -> Result<()> {
        self.source.read_at(place, out)
    }
}
