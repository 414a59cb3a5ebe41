//! The weights of a Keras model in an HDF5 file, in the model's own order, which attributes say and nothing else does.

use super::super::StoredType;
use super::super::keys::shown;
use super::super::source::{FileSource, Source};
use crate::error::{Error, Result};
use crate::threads::quietly;
use hdf5_pure::{AttrValue, Dataset, Datatype, DatatypeByteOrder, File, FormatError, Group, Layout};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// A network has some forty layers and four hundred weights.
const MAX_NAMES: usize = 10_000;
/// No name, header or table of a model's file is longer. Types nest as deep as they are long, and the reader's calls with them.
const MAX_TABLE: usize = 256 << 10;
/// No chunk of values is: h5py's own have at most 1 MiB.
const MAX_CHUNK: usize = 64 << 20;
/// So many bytes of a thread's stack hold those calls; only what is used is taken.
const STACK: usize = 256 << 20;
/// Kinds of weights beside this library's own.
const SUPPORTED: &str = "little-endian F64, F32, F16";

/// One of a layer's weights.
pub struct Leaf {
    /// Its layer's name and its own.
    pub name: String,
    /// Its shape, as Keras has it.
    pub shape: Vec<usize>,
    /// Its type.
    pub dtype: StoredType,
    /// Where its values are.
    pub values: Values,
}

/// Values in the file, one after another, or taken from it.
pub enum Values {
    At(u64),
    Bytes(Vec<u8>),
}

/// Reads which weights there are. The file is read on a thread of its own, which has the stack for what a file may ask for.
pub fn leaves(source: &FileSource) -> Result<Vec<Leaf>> {
    let name = source.name().to_owned();
    let left = AtomicU64::new(source.len().saturating_mul(4).saturating_add(64 << 20));
    let metered = Metered { file: source.again()?, left, values: Arc::default() };
    let work = move || read(metered);
    let thread = std::thread::Builder::new().name("onestep-hdf5".into()).stack_size(STACK);
    let thread = quietly(|| thread.spawn(work));
    let thread = thread.map_err(|_| Error::OutOfMemory { what: "a thread's stack", bytes: STACK as u64 })?;
    match thread.join() {
        Ok(Ok(leaves)) => Ok(leaves),
        Ok(Err(message)) => Err(Error::bad_model(name, message)),
        Err(_) => Err(Error::bad_model(name, "damaged: the reader of HDF5 gave it up")),
    }
}

fn read(source: Metered) -> Result<Vec<Leaf>, String> {
    let (bytes, values) = (source.file.len(), Arc::clone(&source.values));
    let file = File::from_source(source).map_err(failed)?;
    let mut model = file.root();
    let mut attributes = model.attrs().map_err(failed)?;
    // A whole model's file keeps its weights in a group.
    if names(&attributes, "layer_names")?.is_none()
        && let Ok(weights) = model.group("model_weights")
    {
        (attributes, model) = (weights.attrs().map_err(failed)?, weights);
    }
    let layers =
        names(&attributes, "layer_names")?.ok_or("no layer_names: not the weights of a Keras model")?;
    let mut leaves = Vec::new();
    for layer in layers {
        let group = model.group(&layer).map_err(|e| format!("layer {}: {e}", shown(&layer)))?;
        let attributes = group.attrs().map_err(failed)?;
        for weight in names(&attributes, "weight_names")?.unwrap_or_default() {
            if leaves.len() == MAX_NAMES {
                return Err(format!("more than {MAX_NAMES} weights"));
            }
            let leaf = leaf(&group, &layer, &weight, (bytes, &values));
            leaves.push(leaf.map_err(|message| {
                format!("weight {} of layer {}: {message}", shown(&weight), shown(&layer))
            })?);
        }
    }
    Ok(leaves)
}

/// The texts of an attribute, which Keras cuts into several where they are long: `weight_names0`, `weight_names1`, ...
fn names(attributes: &HashMap<String, AttrValue>, key: &str) -> Result<Option<Vec<String>>, String> {
    // A layer without weights has a list of nothing, whose type is a number's.
    let texts = |value: &AttrValue| value.as_strings().map(<[String]>::to_vec).unwrap_or_default();
    let names = match attributes.get(key) {
        Some(value) => texts(value),
        None => {
            let parts = (0..).map_while(|i| attributes.get(&format!("{key}{i}")));
            let names: Vec<String> = parts.flat_map(texts).take(MAX_NAMES + 1).collect();
            if names.is_empty() {
                return Ok(None);
            }
            names
        }
    };
    match names.len() > MAX_NAMES {
        true => Err(format!("{key} has more than {MAX_NAMES} names")),
        false => Ok(Some(names)),
    }
}

fn leaf(
    group: &Group,
    layer: &str,
    weight: &str,
    (file_bytes, values): (u64, &AtomicBool),
) -> Result<Leaf, String> {
    let dataset = group.dataset(weight).map_err(failed)?;
    let dtype = stored_type(&dataset)?;
    let shape = dataset.shape().map_err(failed)?;
    if shape.len() > 8 {
        return Err(format!("{} dimensions, at most 8 are read", shape.len()));
    }
    // No weight has more values than the file has bytes for, compressed or not.
    let bytes = shape.iter().try_fold(dtype.size() as u64, |bytes, size| bytes.checked_mul(*size));
    let bytes = bytes.filter(|bytes| *bytes <= file_bytes);
    let bytes = bytes.ok_or_else(|| format!("shape {shape:?} in a file of {file_bytes} bytes"))?;
    let values = match dataset.layout().map_err(failed)? {
        Layout::Contiguous { address: Some(address), size } => {
            let fits = address.checked_add(bytes).is_some_and(|end| size == bytes && end <= file_bytes);
            if !fits {
                return Err(format!("its {bytes} bytes are not in the file"));
            }
            Values::At(address)
        }
        Layout::Contiguous { address: None, .. } => return Err("it was never written".into()),
        Layout::Compact { .. } | Layout::Chunked { .. } => {
            values.store(true, Ordering::Relaxed);
            let read = dataset.read_raw().map_err(failed);
            values.store(false, Ordering::Relaxed);
            let read = read?;
            if read.len() as u64 != bytes {
                return Err(format!("{} bytes in place of {bytes}", read.len()));
            }
            Values::Bytes(read)
        }
        _ => return Err("its values are in another file".into()),
    };
    let shape = shape.into_iter().map(|size| size as usize).collect();
    Ok(Leaf { name: format!("{}/{}", shown(layer), shown(weight)), shape, dtype, values })
}

fn stored_type(dataset: &Dataset) -> Result<StoredType, String> {
    match dataset.datatype().map_err(failed)? {
        Datatype::FloatingPoint { size, byte_order: DatatypeByteOrder::LittleEndian, .. } => match size {
            2 => Ok(StoredType::F16),
            4 => Ok(StoredType::F32),
            8 => Ok(StoredType::F64),
            _ => Err(format!("floats of {size} bytes; supported: {SUPPORTED}")),
        },
        _ => Err(format!("another type than {SUPPORTED}")),
    }
}

fn failed(error: impl std::fmt::Display) -> String {
    shown(&error.to_string())
}

/// The file, of which no more is read than a model's asks for: tables that lead in circles come to an end.
struct Metered {
    file: FileSource,
    left: AtomicU64,
    /// Whether it is values that are read now.
    values: Arc<AtomicBool>,
}

impl hdf5_pure::Source for Metered {
    fn len(&self) -> u64 {
        self.file.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> std::result::Result<(), FormatError> {
        // A read of nothing costs something too.
        let cost = (out.len() as u64).max(64);
        let paid =
            self.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(cost));
        paid.map_err(|_| refused("its tables lead in circles, or are longer than any model's"))?;
        self.file.read_at(offset, out).map_err(|e| refused(&e.to_string()))
    }

    fn read_exact_at(&self, offset: u64, len: usize) -> std::result::Result<Vec<u8>, FormatError> {
        let most = if self.values.load(Ordering::Relaxed) { MAX_CHUNK } else { MAX_TABLE };
        if len > most || offset.checked_add(len as u64).is_none_or(|end| end > self.len()) {
            return Err(refused(&format!("{len} bytes from {offset} on are no part of a model's file")));
        }
        let mut bytes = vec![0; len];
        self.read_at(offset, &mut bytes)?;
        Ok(bytes)
    }
}

fn refused(message: &str) -> FormatError {
    FormatError::Source(message.into())
}
