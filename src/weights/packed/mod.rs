//! Packed files: a model whose weights lie there as the CPU's executor wants them, so that opening reads them and transforms
//! nothing.
//!
//! A safetensors file, as a native one is, with the same description under `__metadata__["onestep"]`. Its tensors are parts of
//! layers (`NAME:PART`), 32-bit words that mean nothing outside of the executor that made them; `__metadata__["onestep.packed"]`
//! says which that was, and has a checksum (CRC-32) of each part; `__metadata__["onestep.crc32"]` is one of the header's canonical
//! JSON. Parts begin at multiples of 64 bytes, where a file can be used in place (`memory=map`).

mod write;

pub use write::write;

use super::mapped::Map;
use super::native::{CHECKSUM, DESCRIPTION, canonical, hex};
use super::safetensors::Header;
use super::source::Source;
use super::{Checkpoint, Description};
use crate::cpu_features::Isa;
use crate::error::{Error, Result, try_with_capacity};
use crate::exec::{Held, ReadValues, Ready, Weight};
use crate::names::Named;
use crate::options::{MemoryMode, Precision};
use crate::threads::share;
use serde::{Deserialize, Serialize};
use serde_json::{Map as Object, Value};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::Arc;

/// The metadata key that makes a native file a packed one.
pub const PACKED: &str = "onestep.packed";
/// Of what executors make of weights; another number is refused. A test holds it to the bytes of a small network.
pub const LAYOUT: u32 = 1;
/// Parts begin at multiples of this many bytes.
const ALIGN: u64 = 64;
/// Bytes that one thread reads and sums at a time.
const PIECE: usize = 1 << 20;

/// Which executor's weights a packed file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PackedFor {
    /// The level of its kernels.
    pub isa: Isa,
    /// Its arithmetic: `F32` or `Bf16`.
    pub precision: Precision,
    /// `Fast` or `Low`.
    pub memory: MemoryMode,
}

/// The JSON under [`PACKED`].
#[derive(Serialize, Deserialize)]
struct About {
    layout: u32,
    isa: String,
    precision: String,
    memory: String,
    /// Of the network as it was.
    parameters: u64,
    /// Of each part's bytes.
    checksums: BTreeMap<String, String>,
}

/// What a checkpoint has in place of tensors.
pub struct Packed {
    /// What it is for.
    pub made_for: PackedFor,
    /// Of the network as it was.
    pub parameters: u64,
    parts: BTreeMap<String, Part>,
    map: Option<Arc<Map>>,
}

struct Part {
    offset: u64,
    /// Words; those behind the last are no part of it.
    len: usize,
    checksum: u32,
    used: Cell<bool>,
}

/// Whether a native file is a packed one.
pub fn is_packed(header: &Header) -> bool {
    header.metadata.metadata().as_ref().is_some_and(|metadata| metadata.contains_key(PACKED))
}

/// What is said where a packed file's weights are needed as numbers.
pub fn refused(file: &str) -> Error {
    let message = "a packed file (`onestep pack`), whose weights draw, and are good for nothing else: take the file that it was \
                   made from";
    Error::bad_model(file, message)
}

/// Describes a packed file. `map` is the same file in memory, if its weights are to be used there.
pub fn open<'a>(source: Box<dyn Source + 'a>, header: &Header, map: Option<Map>) -> Result<Checkpoint<'a>> {
    let name = source.name().to_owned();
    let bad = |message: String| Error::bad_model(&name, message);
    let metadata = header.metadata.metadata().as_ref();
    let text = |key: &str| {
        let found = metadata.and_then(|metadata| metadata.get(key));
        found.ok_or_else(|| bad(format!("no __metadata__[{key:?}]")))
    };
    let json: Object<String, Value> =
        serde_json::from_str(&header.json).map_err(|e| bad(format!("header: {e}")))?;
    let (found, said) = (hex(crc32fast::hash(canonical(&json).as_bytes())), text(CHECKSUM)?);
    if found != *said {
        return Err(bad(format!("damaged: its header's checksum is {found}, the file says {said}")));
    }
    let description: Description = serde_json::from_str(text(DESCRIPTION)?)
        .map_err(|e| bad(format!("__metadata__[{DESCRIPTION:?}]: {e}")))?;
    let about: About =
        serde_json::from_str(text(PACKED)?).map_err(|e| bad(format!("__metadata__[{PACKED:?}]: {e}")))?;
    let made_for = made_for(&name, &about)?;

    let mut parts = BTreeMap::new();
    for (part, info) in header.metadata.tensors() {
        super::safetensors::check_name(&name, &part)?;
        let offset = header.data_start + info.data_offsets.0 as u64;
        let bytes = info.data_offsets.1 - info.data_offsets.0;
        let checksum = about.checksums.get(&part).and_then(|sum| u32::from_str_radix(sum, 16).ok());
        let (Some(checksum), 0) = (checksum, (offset | bytes as u64) % ALIGN) else {
            return Err(bad(format!(
                "part {part} has no checksum, or does not lie at a multiple of {ALIGN}"
            )));
        };
        parts.insert(part, Part { offset, len: bytes / size_of::<f32>(), checksum, used: Cell::new(false) });
    }
    let packed = Packed { made_for, parameters: about.parameters, parts, map: map.map(Arc::new) };
    Ok(Checkpoint {
        name,
        description,
        tensors: BTreeMap::new(),
        packed: Some(packed),
        sources: vec![source],
        notes: Vec::new(),
        format: "onestep, packed",
    })
}

fn made_for(file: &str, about: &About) -> Result<PackedFor> {
    if about.layout != LAYOUT {
        let message = format!(
            "packed in layout {}, and this version of onestep reads {LAYOUT}: pack it again (`onestep pack`)",
            about.layout
        );
        return Err(Error::bad_model(file, message));
    }
    let made_for = PackedFor::named(&about.isa, &about.precision, &about.memory);
    let bad = || format!("packed for {} in {}, {}", about.isa, about.precision, about.memory);
    made_for.ok_or_else(|| Error::bad_model(file, bad()))
}

impl PackedFor {
    fn named(isa: &str, precision: &str, memory: &str) -> Option<Self> {
        let precision = Precision::named(precision).filter(|p| matches!(p, Precision::F32 | Precision::Bf16));
        let memory = MemoryMode::named(memory).filter(|mode| *mode != MemoryMode::Map);
        Some(Self { isa: Isa::named(isa)?, precision: precision?, memory: memory? })
    }

    /// `avx2, f32, memory=fast`
    pub fn words(&self) -> String {
        format!("{}, {}, memory={}", self.isa.name(), self.precision.name(), self.memory.name())
    }
}

impl Packed {
    /// How many parts there are.
    pub fn len(&self) -> usize {
        self.parts.len()
    }

    /// Bytes of all parts in the file.
    pub fn bytes(&self) -> u64 {
        self.parts.values().map(|part| (part.len * size_of::<f32>()) as u64).sum()
    }

    /// A part that nobody asked for.
    pub fn unused(&self) -> Option<&str> {
        self.parts.iter().find(|(_, part)| !part.used.get()).map(|(name, _)| name.as_str())
    }

    /// A tensor of which the file has parts, or of which a part of another tensor was made.
    pub fn weight<'a>(&'a self, source: &'a dyn Source, name: &str, shape: &[usize]) -> Weight<'a> {
        let values = PackedValues { packed: self, source, tensor: name.to_owned() };
        Weight { name: name.to_owned(), shape: shape.to_vec(), values: Box::new(values) }
    }
}

struct PackedValues<'a> {
    packed: &'a Packed,
    source: &'a dyn Source,
    tensor: String,
}

impl ReadValues for PackedValues<'_> {
    fn read(&self, _: usize, _: &mut [f32]) -> Result<()> {
        Err(refused(self.source.name()))
    }

    fn ready(&self, part: &str, len: usize) -> Result<Option<Ready<'_>>> {
        let bad = |message: String| Error::bad_model(self.source.name(), message);
        let name = part_name(&self.tensor, part);
        let Some(part) = self.packed.parts.get(&name) else {
            return Err(bad(format!("part {name} of its packed weights is missing")));
        };
        part.used.set(true);
        if part.len as u64 != padded(len) {
            return Err(bad(format!("part {name} has {} words, expected {}", part.len, padded(len))));
        }
        let check = move |found: u32| match found == part.checksum {
            true => Ok(()),
            false => {
                let (found, said) = (hex(found), hex(part.checksum));
                Err(bad(format!("damaged: the checksum of part {name} is {found}, the file says {said}")))
            }
        };
        let Some(map) = &self.packed.map else {
            return Ok(Some(Ready::Read(Box::new(move |out| check(read(self.source, part.offset, out)?)))));
        };
        let start = part.offset as usize;
        let held = Held { owner: map.clone(), bytes: start..start + len * size_of::<f32>() };
        let Some(bytes) = (**map).as_ref().get(held.bytes.clone()) else {
            return Err(bad("another length than when it was opened".to_owned()));
        };
        if bytes.as_ptr().align_offset(ALIGN as usize) != 0 {
            return Err(bad(format!("is mapped to an address that is no multiple of {ALIGN}")));
        }
        check(sum(bytes.chunks(PIECE).collect(), |piece| {
            let mut hasher = crc32fast::Hasher::new();
            hasher.update(piece);
            Ok(hasher)
        })?)?;
        Ok(Some(Ready::Held(held)))
    }
}

fn part_name(tensor: &str, part: &str) -> String {
    format!("{tensor}:{part}")
}

/// Words that a part of `len` takes in a file.
fn padded(len: usize) -> u64 {
    (len as u64).next_multiple_of(ALIGN / size_of::<f32>() as u64)
}

/// Reads words, and gives their checksum.
fn read(source: &dyn Source, offset: u64, out: &mut [f32]) -> Result<u32> {
    let pieces = bytemuck::cast_slice_mut::<f32, u8>(out).chunks_mut(PIECE);
    let pieces = pieces.enumerate().map(|(i, piece)| (offset + (i * PIECE) as u64, piece)).collect();
    sum(pieces, |(offset, piece)| {
        source.read_at(offset, piece)?;
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(piece);
        Ok(hasher)
    })
}

/// The checksum of pieces that lie one behind the other, by as many threads as there are.
fn sum<T: Send>(pieces: Vec<T>, f: impl Fn(T) -> Result<crc32fast::Hasher> + Sync) -> Result<u32> {
    let mut sums = try_with_capacity(pieces.len(), "checksums")?;
    sums.resize_with(pieces.len(), || Ok(crc32fast::Hasher::new()));
    let threads = crate::cpu_features::available_threads();
    share(pieces.into_iter().zip(&mut sums).collect(), threads, |(piece, sum)| *sum = f(piece));
    let mut all = crc32fast::Hasher::new();
    for sum in sums {
        all.combine(&sum?);
    }
    Ok(all.finalize())
}
