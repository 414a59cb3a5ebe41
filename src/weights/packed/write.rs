//! Writing packed files: each part as an executor makes it, so that no file's worth of parts is held for it.

use super::super::native::{CHECKSUM, DESCRIPTION, canonical, hex};
use super::super::write::{Watch, beside};
use super::super::{Checkpoint, Description};
use super::{ALIGN, About, LAYOUT, PACKED, PackedFor, padded, part_name};
use crate::error::{Error, Result};
use crate::exec::{ReadValues, Weight};
use crate::model::Params;
use crate::names::Named;
use serde_json::{Map, Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// Bytes of a header for each of a network's tensors, beside its name twice over.
const ROOM: usize = 192;

/// Writes `path` from what `prepare` makes of the parameters it is given, which are the checkpoint's.
pub fn write(
    checkpoint: &Checkpoint,
    path: &Path,
    description: &Description,
    made_for: PackedFor,
    watch: Watch,
    prepare: impl FnOnce(&dyn Params) -> Result<()>,
) -> Result<()> {
    let description = serde_json::to_string(description).map_err(|e| Error::Internal(e.to_string()))?;
    // The header stands first, and is known last.
    let names: usize = checkpoint.tensors.keys().map(|name| 2 * name.len() + ROOM).sum();
    let room = (4096 + 2 * description.len() + names).next_multiple_of(4096);
    let failed = |e| Error::io(path, e);
    beside(path, |file| {
        file.seek(SeekFrom::Start(room as u64)).map_err(failed)?;
        let kept = Kept { file: file.try_clone().map_err(failed)?, path, parts: Vec::new(), bytes: 0 };
        let kept = RefCell::new(kept);
        let total = checkpoint.tensors.len();
        prepare(&Recorded { checkpoint, kept: &kept, watch, asked: RefCell::new(0), total })?;
        checkpoint.check_all_used()?;
        watch.check(total, total)?;
        let parts = std::mem::take(&mut kept.borrow_mut().parts);
        let text = header(&description, made_for, checkpoint.parameters(), &parts)?;
        let Some(spaces) = (room - 8).checked_sub(text.len()) else {
            return Err(Error::Internal(format!(
                "a header of {} bytes in room for {}",
                text.len(),
                room - 8
            )));
        };
        file.seek(SeekFrom::Start(0)).map_err(failed)?;
        file.write_all(&(room as u64 - 8).to_le_bytes()).map_err(failed)?;
        file.write_all(text.as_bytes()).map_err(failed)?;
        std::io::copy(&mut std::io::repeat(b' ').take(spaces as u64), file).map_err(failed).map(drop)
    })
}

/// Name, place among the parts' bytes, and checksum.
type Part = (String, [u64; 2], u32);

struct Kept<'a> {
    file: File,
    path: &'a Path,
    parts: Vec<Part>,
    bytes: u64,
}

impl Kept<'_> {
    fn keep(&mut self, name: String, made: &[f32]) -> Result<()> {
        let bytes: &[u8] = bytemuck::cast_slice(made);
        let end = self.bytes + padded(made.len()) * size_of::<f32>() as u64;
        let rest = end - self.bytes - bytes.len() as u64;
        self.parts.push((name, [self.bytes, end], crc32fast::hash(bytes)));
        self.bytes = end;
        self.file
            .write_all(bytes)
            .and_then(|()| self.file.write_all(&[0; ALIGN as usize][..rest as usize]))
            .map_err(|e| Error::io(self.path, e))
    }
}

/// A checkpoint that keeps what is made of its tensors.
struct Recorded<'a> {
    checkpoint: &'a Checkpoint<'a>,
    kept: &'a RefCell<Kept<'a>>,
    watch: Watch<'a>,
    asked: RefCell<usize>,
    total: usize,
}

impl Params for Recorded<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight<'_>> {
        self.watch.check((*self.asked.borrow()).min(self.total), self.total)?;
        *self.asked.borrow_mut() += 1;
        let weight = self.checkpoint.tensor(name, shape)?;
        let values = RecordedValues { name: name.to_owned(), values: weight.values, kept: self.kept };
        Ok(Weight { name: weight.name, shape: weight.shape, values: Box::new(values) })
    }
}

struct RecordedValues<'a> {
    name: String,
    values: Box<dyn ReadValues + 'a>,
    kept: &'a RefCell<Kept<'a>>,
}

impl ReadValues for RecordedValues<'_> {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.values.read(start, out)
    }

    fn keep(&self, part: &str, made: &[f32]) -> Result<()> {
        self.kept.borrow_mut().keep(part_name(&self.name, part), made)
    }
}

/// The header's JSON.
fn header(description: &str, made_for: PackedFor, parameters: u64, parts: &[Part]) -> Result<String> {
    let checksums: BTreeMap<_, _> = parts.iter().map(|(name, _, sum)| (name.clone(), hex(*sum))).collect();
    let about = About {
        layout: LAYOUT,
        isa: made_for.isa.name().to_owned(),
        precision: made_for.precision.name().to_owned(),
        memory: made_for.memory.name().to_owned(),
        parameters,
        checksums,
    };
    let about = serde_json::to_string(&about).map_err(|e| Error::Internal(e.to_string()))?;
    let mut header = Map::new();
    for (name, [start, end], _) in parts {
        let words = (end - start) / size_of::<f32>() as u64;
        let info = json!({"dtype": "U32", "shape": [words], "data_offsets": [start, end]});
        header.insert(name.clone(), info);
    }
    header.insert("__metadata__".into(), json!({DESCRIPTION: description, PACKED: about}));
    let checksum = hex(crc32fast::hash(canonical(&header).as_bytes()));
    header["__metadata__"][CHECKSUM] = checksum.into();
    Ok(Value::Object(header).to_string())
}
