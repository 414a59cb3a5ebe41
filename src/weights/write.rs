//! Writing safetensors files: deterministic bytes, in pieces, beside the target and then renamed.
//!
//! The safetensors crate's writer keeps its metadata in a hash map, so its files differ from run to run; a model
//! that is embedded and hashed must not.

use super::native::{CHECKSUM, DESCRIPTION, canonical, hex};
use super::{Checkpoint, StoredType, names};
use crate::error::{Error, Result, try_with_capacity, try_zeroed};
use crate::options::{Cancel, Phase, Progress};
use crate::staged::Staged;
use serde_json::{Map, Value, json};
use std::fs::File;
use std::io::{BufWriter, Seek, SeekFrom, Write};
use std::path::Path;

/// Who looks on.
#[derive(Clone, Copy, Default)]
pub struct Watch<'a> {
    pub progress: Option<&'a Progress>,
    pub cancel: Option<&'a Cancel>,
}

impl Watch<'_> {
    /// So many of `total` tensors are written.
    pub fn check(self, done: usize, total: usize) -> Result<()> {
        let stopped = self
            .progress
            .is_some_and(|progress| progress(Phase::Write, done as u32, total as u32).is_break());
        match stopped || self.cancel.is_some_and(Cancel::is_triggered) {
            true => Err(Error::Cancelled),
            false => Ok(()),
        }
    }
}

/// Writes a checkpoint's tensors as `dtype` (none: each as it is stored). `description` makes it a native file;
/// without one it is a plain safetensors file as PyTorch's libraries write it.
pub fn write(
    checkpoint: &Checkpoint,
    path: &Path,
    dtype: Option<StoredType>,
    description: Option<&str>,
    watch: Watch,
) -> Result<()> {
    let header = header(checkpoint, dtype, description);
    beside(path, |file| {
        let mut out = BufWriter::new(file);
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(canonical(&header).as_bytes());
        // The checksum has a fixed width, so the header can be written before the checksum is known.
        let text = padded(&header);
        let failed = |e| Error::io(path, e);
        out.write_all(&(text.len() as u64).to_le_bytes()).map_err(failed)?;
        out.write_all(text.as_bytes()).map_err(failed)?;
        for (i, (name, stored)) in checkpoint.tensors.iter().enumerate() {
            watch.check(i, checkpoint.tensors.len())?;
            let weight = checkpoint.weight(name, stored);
            let target = dtype.unwrap_or(stored.dtype);
            let mut values = try_zeroed((1 << 16).min(weight.len()), "a buffer")?;
            let mut bytes = try_with_capacity(values.len() * target.size(), "a buffer")?;
            let mut start = 0;
            while start < weight.len() {
                let piece = values.len().min(weight.len() - start);
                weight.read(start, &mut values[..piece])?;
                encode(name, target, &values[..piece], &mut bytes)?;
                if description.is_some() {
                    hasher.update(&bytes);
                }
                out.write_all(&bytes).map_err(failed)?;
                start += piece;
            }
        }
        if description.is_some() {
            let text = padded(&with_checksum(header, &hex(hasher.finalize())));
            out.seek(SeekFrom::Start(8)).map_err(failed)?;
            out.write_all(text.as_bytes()).map_err(failed)?;
        }
        out.flush().map_err(failed)
    })
}

/// Writes a small text file beside its target, then renames.
pub fn write_text(path: &Path, text: &str) -> Result<()> {
    write_file(path, &[text.as_bytes()])
}

/// Writes a file's parts beside its target, then renames.
pub fn write_file(path: &Path, parts: &[&[u8]]) -> Result<()> {
    beside(path, |file| {
        parts.iter().try_for_each(|part| file.write_all(part)).map_err(|e| Error::io(path, e))
    })
}

fn header(
    checkpoint: &Checkpoint,
    dtype: Option<StoredType>,
    description: Option<&str>,
) -> Map<String, Value> {
    let mut header = Map::new();
    let mut offset = 0;
    for (name, stored) in &checkpoint.tensors {
        let dtype = dtype.unwrap_or(stored.dtype);
        let end = offset + stored.shape.iter().product::<usize>() * dtype.size();
        let shape = names::shape(name, &stored.shape);
        let info = json!({"dtype": dtype_name(dtype), "shape": shape, "data_offsets": [offset, end]});
        header.insert(name.clone(), info);
        offset = end;
    }
    match description {
        Some(description) => {
            header.insert("__metadata__".into(), json!({DESCRIPTION: description}));
            with_checksum(header, "00000000")
        }
        None => {
            header.insert("__metadata__".into(), json!({"format": "pt"}));
            header
        }
    }
}

fn with_checksum(mut header: Map<String, Value>, checksum: &str) -> Map<String, Value> {
    if let Some(Value::Object(metadata)) = header.get_mut("__metadata__") {
        metadata.insert(CHECKSUM.into(), checksum.into());
    }
    header
}

/// The header's JSON, padded with spaces so that the tensors begin at a multiple of eight.
pub fn padded(header: &Map<String, Value>) -> String {
    let mut text = Value::Object(header.clone()).to_string();
    text.push_str(&" ".repeat(text.len().next_multiple_of(8) - text.len()));
    text
}

fn dtype_name(dtype: StoredType) -> &'static str {
    match dtype {
        StoredType::F64 => "F64",
        StoredType::F32 => "F32",
        StoredType::F16 => "F16",
        StoredType::Bf16 => "BF16",
    }
}

/// Values of the tensor `name` as they are stored, in place of what `out` held; one that the type cannot hold is an error.
fn encode(name: &str, dtype: StoredType, values: &[f32], out: &mut Vec<u8>) -> Result<()> {
    let held = |value: f32| match dtype {
        StoredType::F64 | StoredType::F32 => value,
        StoredType::F16 => half::f16::from_f32(value).to_f32(),
        StoredType::Bf16 => half::bf16::from_f32(value).to_f32(),
    };
    if let Some(value) = values.iter().find(|value| value.is_finite() && !held(**value).is_finite()) {
        let message = format!("tensor {name} holds {value}, more than {} can", dtype_name(dtype));
        return Err(Error::argument("dtype", message));
    }
    out.clear();
    match dtype {
        StoredType::F64 => out.extend(values.iter().flat_map(|&x| f64::from(x).to_le_bytes())),
        StoredType::F32 => out.extend(values.iter().flat_map(|x| x.to_le_bytes())),
        StoredType::F16 => out.extend(values.iter().flat_map(|&x| half::f16::from_f32(x).to_le_bytes())),
        StoredType::Bf16 => out.extend(values.iter().flat_map(|&x| half::bf16::from_f32(x).to_le_bytes())),
    }
    Ok(())
}

/// Runs `write` on a file beside `path`, which takes its place only when all went well.
pub fn beside(path: &Path, write: impl FnOnce(&mut File) -> Result<()>) -> Result<()> {
    let failed = |e| Error::io(path, e);
    let (staged, mut file) = Staged::file(path).map_err(failed)?;
    write(&mut file)?;
    file.sync_all().map_err(failed)?;
    drop(file);
    staged.commit().map_err(failed)
}
