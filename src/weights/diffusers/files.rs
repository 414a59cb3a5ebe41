//! Which files of a diffusers folder hold the weights: whole, of a variant, or in shards.

use super::super::keys::shown;
use super::super::plain::{self, Tensors};
use super::super::source::{Source, is_lfs_pointer, lfs_pointer};
use super::read_object;
use crate::error::{Error, Result};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::Path;

/// What diffusers, and accelerate, call a network's weights.
const STEMS: [&str; 3] = ["diffusion_pytorch_model", "model", "pytorch_model"];
/// A network in more files than this is none.
const MAX_SHARDS: usize = 1000;

/// Finds and opens the weights in `folder`.
pub fn open(
    folder: &Path,
    limit: u64,
    key: Option<&str>,
    notes: &mut Vec<String>,
) -> Result<(Vec<Box<dyn Source>>, Tensors)> {
    let there = names(folder)?;
    let mut pointer = None;
    for name in candidates(&there) {
        let path = folder.join(name);
        if is_lfs_pointer(&path) {
            pointer = pointer.or(Some(path));
            continue;
        }
        if let Some(pointer) = &pointer {
            notes.push(format!("{} is a git-lfs pointer; {name} is read instead", pointer.display()));
        }
        if let Some(variant) = variant(name) {
            notes.push(format!("{name} is read, the variant {variant}: the folder has no other weights"));
        } else if let Some(ema) =
            there.iter().find(|name| variant(name).is_some_and(|variant| variant == "ema"))
        {
            notes.push(format!("{ema}, an average of the weights, is beside {name}, which is read"));
        }
        return match name.ends_with(".json") {
            true => shards(folder, &path, limit, notes),
            false => {
                let (source, tensors) = plain::open(&path, limit, key, notes)?;
                Ok((vec![source], tensors))
            }
        };
    }
    Err(match pointer {
        Some(path) => lfs_pointer(&path),
        None => {
            let found: Vec<&str> = there.iter().take(20).map(String::as_str).collect();
            let found = if found.is_empty() { "nothing".into() } else { shown(&found.join(", ")) };
            let message = format!(
                "no weights: {}.safetensors or .bin, whole, of a variant or in shards; there is {found}",
                STEMS.join(", ")
            );
            Error::bad_model(folder.display().to_string(), message)
        }
    })
}

/// The names in a folder that are texts.
fn names(folder: &Path) -> Result<BTreeSet<String>> {
    let failed = |e| Error::io(folder, e);
    let mut names = BTreeSet::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        if let Ok(name) = entry.map_err(failed)?.file_name().into_string() {
            names.insert(name);
        }
    }
    Ok(names)
}

/// The files that may be the weights, the best first: whole ones, shards' indices, and then variants.
fn candidates(there: &BTreeSet<String>) -> impl Iterator<Item = &str> {
    let plain = STEMS.iter().flat_map(|stem| {
        ["safetensors", "bin"]
            .into_iter()
            .flat_map(move |ending| [format!("{stem}.{ending}"), format!("{stem}.{ending}.index.json")])
    });
    let plain: Vec<&str> = plain.filter_map(|name| there.get(&name).map(String::as_str)).collect();
    let mut variants: Vec<&str> =
        there.iter().map(String::as_str).filter(|name| variant(name).is_some()).collect();
    // An average of the weights first, and safetensors before pickles.
    let rank = |name: &&str| (variant(name) != Some("ema"), name.contains(".bin"));
    variants.sort_by_key(rank);
    plain.into_iter().chain(variants)
}

/// fp16, of `diffusion_pytorch_model.fp16.safetensors` and of `diffusion_pytorch_model.safetensors.index.fp16.json`.
fn variant(name: &str) -> Option<&str> {
    let rest = STEMS.iter().find_map(|stem| name.strip_prefix(stem)?.strip_prefix('.'))?;
    let word = match rest.strip_suffix(".json") {
        Some(index) => match index.rsplit_once(".index") {
            Some((ending, variant)) if ["safetensors", "bin"].contains(&ending) => {
                variant.strip_prefix('.')?
            }
            Some((whole, "")) => ["safetensors", "bin"]
                .iter()
                .find_map(|ending| whole.strip_suffix(ending)?.strip_suffix('.'))?,
            _ => return None,
        },
        None => {
            ["safetensors", "bin"].iter().find_map(|ending| rest.strip_suffix(ending)?.strip_suffix('.'))?
        }
    };
    let fits = !word.is_empty() && !word.contains('.') && !word.contains("-of-");
    fits.then_some(word)
}

/// The shards that an index names.
fn shards(
    folder: &Path,
    index: &Path,
    limit: u64,
    notes: &mut Vec<String>,
) -> Result<(Vec<Box<dyn Source>>, Tensors)> {
    let name = index.display().to_string();
    let bad = |message: String| Error::bad_model(&name, message);
    let index = read_object(index)?.ok_or_else(|| bad("there is no such file".into()))?;
    let Some(Value::Object(map)) = index.get("weight_map") else {
        return Err(bad("no weight_map: not an index of shards".into()));
    };
    let mut files = BTreeSet::new();
    for (tensor, file) in map {
        // Beside the index and nowhere else.
        let plain = |file: &&str| !file.is_empty() && !file.contains(['/', '\\', ':']) && *file != "..";
        let file = file.as_str().filter(plain).ok_or_else(|| {
            bad(format!(
                "tensor {} is in {}, which is no file beside it",
                shown(tensor),
                shown(&file.to_string())
            ))
        })?;
        files.insert(file);
    }
    if files.len() > MAX_SHARDS {
        return Err(bad(format!("{} shards, at most {MAX_SHARDS} are read", files.len())));
    }
    let (mut sources, mut all, mut left) = (Vec::new(), Tensors::new(), limit);
    for file in files {
        let (source, mut tensors) = plain::open(&folder.join(file), left, None, notes)?;
        left -= source.len();
        for (tensor, mut stored) in std::mem::take(&mut tensors) {
            stored.source = sources.len();
            if map.get(&tensor).and_then(Value::as_str) != Some(file)
                || all.insert(tensor.clone(), stored).is_some()
            {
                return Err(bad(format!("tensor {tensor} is in {}, which it does not say", shown(file))));
            }
        }
        sources.push(source);
    }
    match map.keys().find(|tensor| !all.contains_key(*tensor)) {
        Some(tensor) => {
            let file = map[tensor].as_str().unwrap_or_default();
            Err(bad(format!("tensor {} is not in {}", shown(tensor), shown(file))))
        }
        None => Ok((sources, all)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_found_by_name() {
        let chosen = |names: &[&str]| {
            let there = names.iter().map(|name| (*name).to_owned()).collect();
            candidates(&there).map(str::to_owned).collect::<Vec<_>>()
        };
        for (there, best) in [
            (&["a.bin", "model.safetensors"][..], Some("model.safetensors")),
            (
                &["diffusion_pytorch_model.bin", "diffusion_pytorch_model.safetensors"],
                Some("diffusion_pytorch_model.safetensors"),
            ),
            (&["diffusion_pytorch_model.fp16.safetensors"], Some("diffusion_pytorch_model.fp16.safetensors")),
            (
                &["diffusion_pytorch_model.bin", "diffusion_pytorch_model.fp16.safetensors"],
                Some("diffusion_pytorch_model.bin"),
            ),
            (
                &[
                    "diffusion_pytorch_model.fp16.bin",
                    "diffusion_pytorch_model.fp16.safetensors",
                    "model.ema.bin",
                ],
                Some("model.ema.bin"),
            ),
            (
                &[
                    "diffusion_pytorch_model-00001-of-00002.safetensors",
                    "diffusion_pytorch_model.safetensors.index.json",
                ],
                Some("diffusion_pytorch_model.safetensors.index.json"),
            ),
            (
                &["diffusion_pytorch_model.safetensors.index.fp16.json"],
                Some("diffusion_pytorch_model.safetensors.index.fp16.json"),
            ),
            (
                &["diffusion_pytorch_model.fp16.safetensors.index.json"],
                Some("diffusion_pytorch_model.fp16.safetensors.index.json"),
            ),
            (&["diffusion_pytorch_model.fp16-00001-of-00002.safetensors"], None),
            (&["diffusion_pytorch_model.msgpack", "modelling.bin"], None),
        ] {
            assert_eq!(chosen(there).first().map(String::as_str), best, "{there:?}");
        }
    }
}
