//! diffusers folders: a pipeline's (`unet/`, `scheduler/`), a bare model's, a training run's checkpoint.

mod files;

use super::describe::adopted;
use super::keys::shown;
use super::plain;
use super::source::{FileSource, Source, read};
use super::{Checkpoint, Description, names};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The key of a network's configuration under which `export` keeps what diffusers has no word for.
pub const PRIVATE: &str = "_onestep";
/// Larger configurations are not configurations.
const MAX_CONFIG: u64 = 4 << 20;

/// Parts of pipelines whose network draws no picture: others make one of what it draws, or tell it what to draw.
const OTHER_PARTS: [&str; 9] = [
    "vqvae",
    "vae",
    "movq",
    "text_encoder",
    "text_encoder_2",
    "image_encoder",
    "prior",
    "bert",
    "super_res_first",
];

/// What the average of a run's weights has beside the network in its configuration (diffusers' `EMAModel`).
const OF_THE_AVERAGE: [&str; 7] =
    ["decay", "inv_gamma", "min_decay", "optimization_step", "power", "update_after_step", "use_ema_warmup"];

/// Reads the configuration and the weights' header, of `file` if one is named. `key` names the part of a PyTorch file to read.
pub fn open(
    folder: &Path,
    file: Option<&Path>,
    limit: u64,
    key: Option<&str>,
) -> Result<Checkpoint<'static>> {
    let name = folder.display().to_string();
    let mut notes = Vec::new();
    let unet = network_folder(folder, &mut notes);
    let (config_path, mut network) = network_config(folder, &unet, &mut notes)?;
    let config_name = config_path.display().to_string();
    match network.get("_class_name").and_then(Value::as_str) {
        Some("UNet2DModel") | None => {}
        Some(other) => {
            return Err(Error::UnsupportedModel {
                file: config_name,
                key: "_class_name".into(),
                found: shown(other),
                supported: "UNet2DModel".into(),
            });
        }
    }
    refuse_other_pipelines(folder, &unet)?;
    if OF_THE_AVERAGE.iter().any(|key| network.contains_key(*key)) {
        network.retain(|key, _| !OF_THE_AVERAGE.contains(&key.as_str()));
    }
    let description: Description = match network.remove(PRIVATE) {
        Some(value) => serde_json::from_value(value)
            .map_err(|e| Error::bad_model(&config_name, format!("{PRIVATE}: {e}")))?,
        None => Description::new(Value::Null, Value::Null),
    };
    let mut scheduler = scheduler(folder, &unet, &mut notes)?;
    // What an export could not say there.
    for (key, value) in &description.scheduler {
        scheduler.entry(key).or_insert_with(|| value.clone());
    }
    if is_cifar10_without_ema(folder, &network) {
        notes.push(
            "google/ddpm-cifar10-32 holds the weights without EMA (FID 12.4); google/ddpm-ema-cifar10-32 has them \
             (FID 4.5)"
                .into(),
        );
    }
    let (sources, tensors) = match file {
        Some(file) => {
            let (source, tensors) = plain::open(file, limit, key, &mut notes)?;
            (vec![source], tensors)
        }
        None => files::open(&unet, limit, key, &mut notes)?,
    };
    let tensors = names::unwrapped(tensors, "conv_in.weight", "", &mut notes);
    let tensors = tensors.into_iter().map(|(name, stored)| (names::diffusers(&name), stored)).collect();
    let description = Description { network, scheduler, ..description };
    Ok(Checkpoint { name, description, tensors, packed: None, sources, notes, format: "diffusers" })
}

/// Whether a folder has the configuration of a network of diffusers'.
pub fn is_folder(folder: &Path) -> Result<bool> {
    let config = read_object(&folder.join("config.json"))?;
    Ok(config.is_some_and(|config| {
        config.contains_key("_class_name") || config.contains_key("block_out_channels")
    }))
}

/// The folder of the network: the average of the weights before the weights themselves, or `folder` itself.
fn network_folder(folder: &Path, notes: &mut Vec<String>) -> PathBuf {
    let [unet, average] = ["unet", "unet_ema"].map(|part| folder.join(part));
    match (unet.is_dir(), average.is_dir()) {
        (plain, true) => {
            if plain {
                notes.push("unet_ema, the average of the weights, is read, and not unet beside it".into());
            }
            average
        }
        (true, false) => unet,
        (false, false) => {
            if folder.file_name().is_some_and(|name| name == "unet") && folder.join("../unet_ema").is_dir() {
                notes.push(
                    "unet_ema, the average of these weights, is beside it: the folder above opens as that"
                        .into(),
                );
            }
            folder.to_owned()
        }
    }
}

/// The network's configuration: beside its weights, or, of accelerate's checkpoints, in the folder above.
fn network_config(
    folder: &Path,
    unet: &Path,
    notes: &mut Vec<String>,
) -> Result<(PathBuf, Map<String, Value>)> {
    let own = unet.join("config.json");
    if let Some(network) = read_object(&own)? {
        return Ok((own, network));
    }
    let above = unet.join("../unet/config.json");
    if unet == folder
        && let Some(network) = read_object(&above)?
    {
        notes.push(format!("no config.json: the network's is taken from {}", above.display()));
        return Ok((above, network));
    }
    let message = "not a diffusers folder: neither unet/config.json nor config.json is in it";
    Err(Error::bad_model(folder.display().to_string(), message))
}

/// The scheduler's configuration: the pipeline's, or where the network lies alone, that of the pipeline around it.
fn scheduler(folder: &Path, unet: &Path, notes: &mut Vec<String>) -> Result<Map<String, Value>> {
    const NAME: &str = "scheduler_config.json";
    let mut places = vec![(folder, "scheduler/", false), (unet, "", false), (folder, "../scheduler/", true)];
    // The network of a run's checkpoint.
    if unet == folder {
        places.push((folder, "../../scheduler/", true));
    }
    for (from, place, above) in places {
        let path = from.join(place);
        // A folder of that name is this network's where a pipeline is around it.
        let pipeline = path.join("..");
        if above && !pipeline.join("model_index.json").is_file() && !pipeline.join("unet").is_dir() {
            continue;
        }
        let path = path.join(NAME);
        if let Some(object) = read_object(&path)? {
            if above {
                notes.push(format!("the scheduler is that of {place}{NAME}"));
            }
            return adopted(&path.display().to_string(), object, notes);
        }
    }
    notes.push(
        "no scheduler_config.json: DDPM's linear betas, epsilon prediction and no clipping assumed".into(),
    );
    Ok(Map::from_iter([("clip_sample".into(), false.into())]))
}

/// An error where the network is one of several parts, all of which it takes to draw a picture.
fn refuse_other_pipelines(folder: &Path, unet: &Path) -> Result<()> {
    let pipeline = if unet == folder { folder.join("..") } else { folder.to_owned() };
    let index_path = pipeline.join("model_index.json");
    // Above a bare network's folder anything may lie.
    let index = if unet == folder && !index_path.is_file() { None } else { read_object(&index_path)? };
    let is_there = |part: &&&str| {
        pipeline.join(part).is_dir() && (unet != folder || pipeline.join("unet").is_dir())
            || index.as_ref().and_then(|index| index.get(**part)?.get(0)).is_some_and(Value::is_string)
    };
    match OTHER_PARTS.iter().find(is_there) {
        None => Ok(()),
        Some(part) => Err(Error::UnsupportedModel {
            file: folder.display().to_string(),
            key: "a part of its pipeline".into(),
            found: (*part).into(),
            supported:
                "a U-Net that draws pictures by itself; what this one draws is none without the other parts"
                    .into(),
        }),
    }
}

/// The JSON object in a file; none if there is no such file.
pub fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let source = match FileSource::open(path, u64::MAX) {
        Err(Error::Io { source, .. })
            if matches!(source.kind(), std::io::ErrorKind::NotFound | std::io::ErrorKind::NotADirectory) =>
        {
            return Ok(None);
        }
        other => other?,
    };
    if source.len() > MAX_CONFIG {
        let message = format!("{} bytes, a configuration has at most {MAX_CONFIG}", source.len());
        return Err(Error::bad_model(source.name(), message));
    }
    let text = read(&source, 0, source.len(), "a configuration")?;
    let object = serde_json::from_slice(&of_python(text))
        .map_err(|e| Error::bad_model(source.name(), e.to_string()))?;
    Ok(Some(object))
}

/// Python writes numbers that JSON has not: they become texts, which no key takes for a number.
fn of_python(text: Vec<u8>) -> Vec<u8> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(text.len());
    let (mut at, mut quoted) = (0, false);
    while at < text.len() {
        let word = WORDS.iter().find(|word| !quoted && text[at..].starts_with(word));
        if let Some(word) = word {
            out.extend([&b"\""[..], word, b"\""].concat());
            at += word.len();
            continue;
        }
        match text[at] {
            b'\\' if quoted => {
                out.extend(&text[at..(at + 2).min(text.len())]);
                at += 2;
                continue;
            }
            b'"' => quoted = !quoted,
            _ => {}
        }
        out.push(text[at]);
        at += 1;
    }
    out
}

/// Recognised by name: its files say nothing of it, and its users are surprised by the pictures.
fn is_cifar10_without_ema(folder: &Path, network: &Map<String, Value>) -> bool {
    let recorded = network.get("_name_or_path").and_then(Value::as_str).unwrap_or_default();
    // Also of a hub's cache: models--google--ddpm-cifar10-32/snapshots/...
    [folder.to_string_lossy().as_ref(), recorded].iter().any(|name| name.contains("ddpm-cifar10-32"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_only_python_writes_become_texts() {
        let text = br#"{"a": -Infinity, "b": [NaN, 1, Infinity], "NaN": "x\" NaN \\"}"#;
        let value: Value = serde_json::from_slice(&of_python(text.to_vec())).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"a": "-Infinity", "b": ["NaN", 1, "Infinity"], "NaN": "x\" NaN \\"})
        );
        assert!(serde_json::from_slice::<Value>(&of_python(b"{\"a\\".to_vec())).is_err());
    }
}
