//! PyTorch's own files (`.bin`, `.pt`, `.pth`, `.ckpt`) of a state dict: a zip archive with a pickle and a member a
//! storage, as since PyTorch 1.6, or the pickles one after the other of before. The pickle is read as data
//! (`pickle.rs`); the tensors' bytes stay where they are until they are needed.

use super::keys::shown;
use super::nested;
use super::pickle::{Node, Pickle, Tensor, to_state_dict};
use super::safetensors::{check_name, counts_batches};
use super::source::{Source, ZipSource, checksum, read};
use super::stored::Stored;
use crate::error::{Error, Result, try_zeroed};
use std::collections::BTreeMap;

/// Larger pickles hold more than the names and shapes of tensors.
const MAX_PICKLE: u64 = 16 << 20;
/// A network has a few hundred tensors.
const MAX_MEMBERS: usize = 100_000;
/// How files before PyTorch 1.6 begin: a pickle of the number 0x1950a86a20f9469cfc6c.
const LEGACY: &[u8] = b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.";

/// Whether a file begins as PyTorch's do.
pub fn begins(start: &[u8]) -> bool {
    start.starts_with(b"PK") || matches!(start, [0x80, 2..=5, ..])
}

/// Where the values of each storage are: its first byte, and how many there are.
type Storages = BTreeMap<String, (u64, u64)>;

/// The tensors of a state dict, as parts of source number 0; `key` names the part of the file that it is, where the file does not
/// tell. What there is to say of a choice goes to `notes`.
pub fn state_dict(
    source: &dyn Source,
    key: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<BTreeMap<String, Stored>> {
    let mut start = [0; LEGACY.len()];
    let len = start.len().min(source.len() as usize);
    source.read_at(0, &mut start[..len])?;
    let (pickle, storages) = match &start {
        start if start.starts_with(b"PK") => zip(source)?,
        start if start == LEGACY => legacy(source)?,
        [0x80, 2..=5, ..] => {
            let message =
                format!("a pickle by itself, and no file of PyTorch's. {}", to_state_dict(source.name()));
            return Err(Error::bad_model(source.name(), message));
        }
        _ => {
            return Err(Error::bad_model(
                source.name(),
                "neither of PyTorch's formats: no zip archive, no pickle",
            ));
        }
    };
    let (items, prefix) = nested::state_dict(source.name(), &pickle, key, notes)?;
    let tensor = |(key, value)| match (pickle.text(key), pickle.node(value)) {
        (Some(name), Node::Tensor(tensor)) => {
            check_name(source.name(), name)?;
            Ok((name, stored(source.name(), name, tensor, &storages)?))
        }
        (Some(name), other) => {
            let (name, kind) = (shown(name), other.kind());
            Err(Error::bad_model(source.name(), format!("not a state dict: {name} is {kind}, no tensor")))
        }
        (None, _) => {
            let kind = pickle.node(key).kind();
            Err(Error::bad_model(source.name(), format!("not a state dict: a key is {kind}, no text")))
        }
    };
    let mut tensors = BTreeMap::new();
    let wanted = |key| {
        let name = pickle.text(key);
        !name.is_some_and(counts_batches)
            && (prefix.is_empty() || name.is_some_and(|name| name.starts_with(&prefix)))
    };
    for item in items.iter().copied().filter(|item| wanted(item.0)).map(tensor) {
        let (name, stored) = item?;
        // A name that comes again takes no memory again.
        if tensors.contains_key(name) {
            return Err(Error::bad_model(source.name(), format!("tensor {} is there twice", shown(name))));
        }
        tensors.insert(name.to_owned(), stored);
    }
    Ok(tensors)
}

/// A tensor's place in the file, checked against its storage's.
fn stored(file: &str, name: &str, tensor: &Tensor, storages: &Storages) -> Result<Stored> {
    let unsupported = |key: &str, found: String, supported: &str| Error::UnsupportedModel {
        file: file.to_owned(),
        key: format!("{key} of tensor {}", shown(name)),
        found,
        supported: supported.into(),
    };
    let Some(dtype) = tensor.storage.element.dtype else {
        return Err(unsupported("dtype", "whole numbers".into(), "F64, F32, F16, BF16"));
    };
    let place = storages.get(&*tensor.storage.key).and_then(|&(start, bytes)| {
        let width = dtype.size() as u64;
        let (first, values) = tensor.storage.part.unwrap_or((0, bytes / width));
        // Values beyond the last one that a tensor reaches, and beyond as many as it has: one value is not read twice.
        let reach = tensor.shape.iter().zip(&tensor.strides).try_fold(1u64, |reach, (&size, &stride)| {
            reach.checked_add((size as u64).saturating_sub(1).checked_mul(stride as u64)?)
        })?;
        let count = tensor.shape.iter().try_fold(1u64, |count, &size| count.checked_mul(size as u64))?;
        let end = tensor.offset.checked_add(reach.max(count))?;
        let offset = first.checked_add(tensor.offset)?.checked_mul(width)?;
        let part = first.checked_add(values)?.checked_mul(width)?;
        ((end <= values || count == 0) && part <= bytes).then_some(start + offset)
    });
    let offset = place.ok_or_else(|| {
        let message = format!(
            "tensor {} of shape {:?} lies outside of its storage {}",
            shown(name),
            tensor.shape,
            shown(&tensor.storage.key)
        );
        Error::bad_model(file, message)
    })?;
    let dimensions = tensor.shape.iter().copied().zip(tensor.strides.iter().copied()).collect();
    Ok(Stored::new(0, dtype, tensor.shape.clone(), offset).viewed(dimensions))
}

/// `NAME/data.pkl`, `NAME/data/KEY` and `NAME/byteorder`, none of them compressed, each with a checksum.
fn zip(source: &dyn Source) -> Result<(Pickle, Storages)> {
    let bad = |message: String| Error::bad_model(source.name(), message);
    let failed = |error: rawzip::Error| bad(format!("truncated or damaged zip archive: {error}"));
    let mut buffer = try_zeroed(rawzip::RECOMMENDED_BUFFER_SIZE, "a read buffer")?;
    let archive = rawzip::ZipLocator::new()
        .locate_in_reader(ZipSource(source), &mut buffer, source.len())
        .map_err(|(_, error)| failed(error))?;

    let mut members = Vec::new();
    let mut entries = archive.entries(&mut buffer);
    while let Some(entry) = entries.next_entry().map_err(failed)? {
        let name = String::from_utf8_lossy(entry.file_path().as_ref()).into_owned();
        if members.len() == MAX_MEMBERS {
            return Err(bad(format!("a zip archive of more than {MAX_MEMBERS} members")));
        }
        if entry.compression_method() != rawzip::CompressionMethod::STORE {
            return Err(bad(format!("{name} is compressed, PyTorch stores")));
        }
        members.push((name, entry.wayfinder(), entry.crc32()));
    }
    let mut places = Storages::new();
    let mut total = 0u64;
    for (name, wayfinder, expected) in members {
        let (start, end) = archive.get_entry(wayfinder).map_err(failed)?.compressed_data_range();
        // Members that share bytes could have this read a small file for ever.
        total = total.saturating_add(end - start);
        if total > source.len() {
            return Err(bad("a zip archive whose members are longer than itself".into()));
        }
        let mut hasher = crc32fast::Hasher::new();
        checksum(source, start..end, &mut hasher)?;
        let found = hasher.finalize();
        if found != expected {
            return Err(bad(format!(
                "damaged: the checksum of {name} is {found:08x}, the file says {expected:08x}"
            )));
        }
        if places.insert(name.clone(), (start, end - start)).is_some() {
            return Err(bad(format!("{name} is there twice")));
        }
    }

    let main = places
        .iter()
        .find(|(name, _)| name.strip_suffix("data.pkl").is_some_and(|prefix| prefix.ends_with('/')));
    let Some((name, &(start, len))) = main else {
        return Err(bad("a zip archive without data.pkl: not PyTorch's".into()));
    };
    let prefix = &name[..name.len() - "data.pkl".len()];
    if let Some(&(start, len)) = places.get(&format!("{prefix}byteorder")) {
        let order = read(source, start, len.min(16), "a byte order")?;
        if order != b"little" {
            return Err(bad(format!("byte order {:?}, little expected", String::from_utf8_lossy(&order))));
        }
    }
    if len > MAX_PICKLE {
        return Err(bad(format!("{name} has {len} bytes, at most {MAX_PICKLE} are read")));
    }
    let pickle = Pickle::read(source.name(), &read(source, start, len, "a pickle")?)?;
    let data = format!("{prefix}data/");
    let storages =
        places.iter().filter_map(|(name, &place)| Some((name.strip_prefix(&data)?.to_owned(), place)));
    Ok((pickle, storages.collect()))
}

/// Five pickles (magic, version, machine, the state dict, the keys of its storages), then a storage each: how many
/// values, and the values.
fn legacy(source: &dyn Source) -> Result<(Pickle, Storages)> {
    let bytes = read(source, 0, source.len().min(MAX_PICKLE), "a pickle")?;
    let mut at = LEGACY.len();
    let mut next = || {
        let pickle = Pickle::read(source.name(), &bytes[at..])?;
        at += pickle.len;
        Ok::<_, Error>(pickle)
    };
    let (_version, _machine, root, keys) = (next()?, next()?, next()?, next()?);
    let bad = |message: &str| Error::bad_model(source.name(), message);
    let Node::List(list) = keys.node(keys.root) else {
        return Err(bad("no list of storages after its pickle"));
    };

    let mut widths: BTreeMap<&str, u64> = BTreeMap::new();
    for node in root.nodes() {
        if let Node::Storage(storage) = node {
            widths.insert(&storage.key, storage.element.width as u64);
        }
    }
    let mut storages = Storages::new();
    let mut at = at as u64;
    for &key in list {
        let key = keys.text(key).ok_or_else(|| bad("a storage whose name is no text"))?;
        let width = widths.get(key).copied();
        let width = width.ok_or_else(|| bad("a storage of which no tensor tells the type"))?;
        let mut count = [0; 8];
        source.read_at(at, &mut count)?;
        let (start, bytes) = (at + 8, u64::from_le_bytes(count).checked_mul(width));
        let end = bytes.and_then(|bytes| start.checked_add(bytes)).filter(|&end| end <= source.len());
        at = end.ok_or_else(|| bad("truncated: a storage goes beyond the end"))?;
        storages.insert(key.to_owned(), (start, at - start));
    }
    Ok((root, storages))
}
