//! The header of a safetensors file, read alone: tensor names, types, shapes and offsets.

use super::StoredType;
use super::keys::shown;
use super::source::{Source, read};
use super::stored::Stored;
use crate::error::{Error, Result, try_with_capacity};
use safetensors::tensor::{Dtype, Metadata};
use std::collections::BTreeMap;

/// A network's header has some 100 KiB. The format allows 100 MB, which JSON's values would take many times over.
const MAX_HEADER: u64 = 16 << 20;
/// Bytes that are free for each byte of a header before it is parsed.
const PARSED: usize = 8;
/// A weight has at most four dimensions.
const MAX_DIMENSIONS: usize = 8;
/// A network has a few hundred tensors.
const MAX_TENSORS: usize = 100_000;
/// Bytes of a tensor's name; a network's have some sixty.
const MAX_NAME: usize = 1024;

/// A parsed header.
pub struct Header {
    /// The JSON as it stands in the file.
    pub json: String,
    /// Every tensor's type, shape and place, and `__metadata__`.
    pub metadata: Metadata,
    /// Where the tensors' bytes begin.
    pub data_start: u64,
}

impl Header {
    /// Reads and checks the header: the tensors tile the rest of the file exactly.
    pub fn read(source: &dyn Source) -> Result<Self> {
        let bad = |message: String| Error::bad_model(source.name(), message);
        let mut length = [0; 8];
        if source.len() < 8 {
            return Err(bad(format!("{} bytes are too few for a safetensors file", source.len())));
        }
        source.read_at(0, &mut length)?;
        let length = u64::from_le_bytes(length);
        if length > MAX_HEADER || length > source.len() - 8 {
            return Err(bad(format!(
                "not a whole safetensors file: its first 8 bytes announce a header of {length} bytes, {} follow \
                 (at most {MAX_HEADER} are read)",
                source.len() - 8
            )));
        }
        let json = read(source, 8, length, "a safetensors header")?;
        // Its parsers know no error for a lack of memory.
        drop(try_with_capacity::<u8>(PARSED * length as usize, "a parsed safetensors header")?);
        let json = String::from_utf8(json).map_err(|e| bad(format!("safetensors header: {e}")))?;
        bounded(&json).map_err(|message| bad(format!("safetensors header: {message}")))?;
        let metadata: Metadata =
            serde_json::from_str(&json).map_err(|e| bad(format!("safetensors header: {e}")))?;
        let data_start = 8 + length;
        let (announced, found) = (metadata.data_len() as u64, source.len() - data_start);
        if announced != found {
            return Err(bad(format!(
                "truncated or padded: the header announces {announced} bytes of tensors, {found} follow"
            )));
        }
        Ok(Self { json, metadata, data_start })
    }

    /// The tensors, as parts of source number `source`.
    pub(super) fn tensors(&self, file: &str, source: usize) -> Result<BTreeMap<String, Stored>> {
        let stored = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            check_name(file, &name)?;
            let Some(dtype) = stored_type(info.dtype) else {
                return Err(Error::UnsupportedModel {
                    file: file.to_owned(),
                    key: format!("dtype of tensor {name}"),
                    found: format!("{:?}", info.dtype),
                    supported: "F64, F32, F16, BF16".into(),
                });
            };
            let offset = self.data_start + info.data_offsets.0 as u64;
            let stored = Stored::new(source, dtype, info.shape.clone(), offset);
            Ok((name, stored))
        };
        let tensors = self.metadata.tensors().into_iter();
        tensors.filter(|(name, _)| !counts_batches(name)).map(stored).collect()
    }
}

/// Whether a header's JSON is one of tensors, so far that to parse it takes memory for no more than those.
fn bounded(json: &str) -> Result<(), String> {
    let (mut quoted, mut escaped, mut listed, mut objects) = (false, false, None, 0);
    for byte in json.bytes() {
        match (quoted, byte) {
            (true, _) if escaped => escaped = false,
            (true, b'\\') => escaped = true,
            (_, b'"') => quoted = !quoted,
            (true, _) => {}
            (false, b'[') => listed = Some(1),
            (false, b']') => listed = None,
            (false, b',') => listed = listed.map(|count| count + 1),
            (false, b'{') => objects += 1,
            _ => {}
        }
        if listed.is_some_and(|count| count > MAX_DIMENSIONS) {
            return Err(format!("a shape of more than {MAX_DIMENSIONS} dimensions"));
        }
        if objects > MAX_TENSORS {
            return Err(format!("more than {MAX_TENSORS} tensors"));
        }
    }
    Ok(())
}

/// An error for a tensor's name that no message could hold.
pub(super) fn check_name(file: &str, name: &str) -> Result<()> {
    if name.len() > MAX_NAME {
        let message = format!("a tensor's name is {} bytes long, at most {MAX_NAME} are read", name.len());
        return Err(Error::bad_model(file, message));
    }
    if name.chars().any(char::is_control) {
        return Err(Error::bad_model(file, format!("a tensor's name is no text: {}", shown(name))));
    }
    Ok(())
}

/// Whether a tensor is batch norm's count of batches: a whole number, and nothing to a network that has been trained.
pub(super) fn counts_batches(name: &str) -> bool {
    name.ends_with("num_batches_tracked")
}

fn stored_type(dtype: Dtype) -> Option<StoredType> {
    match dtype {
        Dtype::F64 => Some(StoredType::F64),
        Dtype::F32 => Some(StoredType::F32),
        Dtype::F16 => Some(StoredType::F16),
        Dtype::BF16 => Some(StoredType::Bf16),
        _ => None,
    }
}
