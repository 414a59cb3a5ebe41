//! Models made in memory: described, written and opened without a file.

use super::source::MemorySource;
use super::stored::Stored;
use super::{Checkpoint, Description, StoredType, write};
use crate::error::{Error, Result};
use std::collections::BTreeMap;
use std::path::Path;

impl Checkpoint<'static> {
    /// A model of these tensors, (name, shape, values), called `name` in messages.
    ///
    /// # Errors
    /// OUT_OF_MEMORY.
    pub fn new<'v>(
        name: &str,
        description: Description,
        tensors: impl IntoIterator<Item = (String, Vec<usize>, &'v [f32])>,
    ) -> Result<Self> {
        let (mut bytes, mut stored): (Vec<u8>, _) = (Vec::new(), BTreeMap::new());
        for (tensor, shape, values) in tensors {
            let room = 4 * values.len();
            let offset = bytes.len() as u64;
            let refused = |_| Error::OutOfMemory { what: "a model", bytes: offset + room as u64 };
            bytes.try_reserve(room).map_err(refused)?;
            bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
            stored.insert(tensor, Stored::new(0, StoredType::F32, shape, offset));
        }
        let source = MemorySource::named(name, bytes);
        Ok(Self {
            name: name.to_owned(),
            description,
            tensors: stored,
            packed: None,
            sources: vec![Box::new(source)],
            notes: Vec::new(),
            format: "onestep",
        })
    }
}

impl Checkpoint<'_> {
    /// Writes a native file, its weights as `dtype` (none: as they are stored), beside its place, then renames.
    ///
    /// # Errors
    /// IO.
    pub fn save(&self, path: &Path, dtype: Option<StoredType>) -> Result<()> {
        let text = serde_json::to_string(&self.description).map_err(|e| Error::Internal(e.to_string()))?;
        write::write(self, path, dtype, Some(&text), write::Watch::default())
    }

    /// A checksum of all names and values as 32-bit floats, whatever file and type they are in.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a value that is no number.
    pub fn weights_crc32(&self) -> Result<u32> {
        let mut hasher = crc32fast::Hasher::new();
        let mut values = vec![0.0; 1 << 14];
        for (name, stored) in &self.tensors {
            hasher.update(name.as_bytes());
            let weight = self.weight(name, stored);
            let mut start = 0;
            while start < weight.len() {
                let piece = values.len().min(weight.len() - start);
                weight.read(start, &mut values[..piece])?;
                values[..piece].iter().for_each(|value| hasher.update(&value.to_le_bytes()));
                start += piece;
            }
        }
        Ok(hasher.finalize())
    }
}
