//! diffusers folders: a pipeline's (`unet/`, `scheduler/`) or a bare model's, with safetensors or PyTorch `.bin`.

use super::plain::{self, Tensors};
use super::source::{FileSource, Source, read};
use super::{Checkpoint, Description, names};
use crate::error::{Error, Result};
use serde_json::{Map, Value};
use std::path::Path;

/// The key of a network's configuration under which `export` keeps what diffusers has no word for.
pub const PRIVATE: &str = "_onestep";
/// Larger configurations are not configurations.
const MAX_CONFIG: u64 = 4 << 20;

/// Reads the configuration and the weights' header.
pub fn open(folder: &Path, limit: u64) -> Result<Checkpoint<'static>> {
    let name = folder.display().to_string();
    let unet = match folder.join("unet") {
        unet if unet.is_dir() => unet,
        _ => folder.to_owned(),
    };
    let config_path = unet.join("config.json");
    let mut network = read_object(&config_path)?.ok_or_else(|| {
        let message = "not a diffusers folder: neither unet/config.json nor config.json is in it";
        Error::bad_model(&name, message)
    })?;
    match network.get("_class_name").and_then(Value::as_str) {
        Some("UNet2DModel") | None => {}
        Some(other) => {
            return Err(Error::UnsupportedModel {
                file: config_path.display().to_string(),
                key: "_class_name".into(),
                found: other.into(),
                supported: "UNet2DModel".into(),
            });
        }
    }
    let description = match network.remove(PRIVATE) {
        Some(value) => serde_json::from_value(value)
            .map_err(|e| Error::bad_model(config_path.display().to_string(), format!("{PRIVATE}: {e}")))?,
        None => Description::new(Value::Null, Value::Null),
    };
    let mut notes = Vec::new();
    let scheduler = match read_object(&folder.join("scheduler/scheduler_config.json"))? {
        Some(object) => Some(object),
        None => read_object(&unet.join("scheduler_config.json"))?,
    };
    if scheduler.is_none() {
        notes.push(
            "no scheduler_config.json: DDPM's linear betas, epsilon prediction and no clipping assumed"
                .into(),
        );
    }
    if is_cifar10_without_ema(folder, &network) {
        notes.push(
            "google/ddpm-cifar10-32 holds the weights without EMA (FID 12.4); google/ddpm-ema-cifar10-32 has them \
             (FID 4.5)"
                .into(),
        );
    }
    let scheduler = scheduler.unwrap_or_else(|| Map::from_iter([("clip_sample".into(), false.into())]));
    let (source, tensors) = weights(&unet, limit)?;
    let description = Description { network, scheduler, ..description };
    Ok(Checkpoint { name, description, tensors, sources: vec![source], notes })
}

fn weights(unet: &Path, limit: u64) -> Result<Tensors> {
    const NAMES: [&str; 4] = [
        "diffusion_pytorch_model.safetensors",
        "model.safetensors",
        "diffusion_pytorch_model.bin",
        "pytorch_model.bin",
    ];
    let path = NAMES.iter().map(|name| unet.join(name)).find(|path| path.is_file());
    let path = path.ok_or_else(|| {
        let message = format!("no weights: none of {} is there", NAMES.join(", "));
        Error::bad_model(unet.display().to_string(), message)
    })?;
    let (source, tensors) = plain::open(&path, limit)?;
    let tensors = tensors.into_iter().map(|(name, stored)| (names::diffusers(&name), stored)).collect();
    Ok((source, tensors))
}

/// The JSON object in a file; none if there is no such file.
pub fn read_object(path: &Path) -> Result<Option<Map<String, Value>>> {
    let source = match FileSource::open(path, MAX_CONFIG) {
        Err(Error::Io { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other?,
    };
    let text = read(&source, 0, source.len(), "a configuration")?;
    let object = serde_json::from_slice(&text).map_err(|e| Error::bad_model(source.name(), e.to_string()))?;
    Ok(Some(object))
}

/// Recognised by name: its files say nothing of it, and its users are surprised by the pictures.
fn is_cifar10_without_ema(folder: &Path, network: &Map<String, Value>) -> bool {
    let recorded = network.get("_name_or_path").and_then(Value::as_str).unwrap_or_default();
    [folder.to_string_lossy().as_ref(), recorded].iter().any(|name| name.contains("ddpm-cifar10-32"))
}
