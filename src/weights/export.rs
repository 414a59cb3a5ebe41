//! Any readable model to a diffusers folder.

use super::describe::{CONSISTENCY, DDIM, EDM, OWN, OWN_SCHEDULERS};
use super::diffusers::PRIVATE;
use super::keys::unsupported;
use super::{Checkpoint, Description, StoredType, open, write};
use crate::error::{Error, Result};
use crate::model::{Generator, Prediction, Schedule, Spacing};
use crate::names::Named;
use crate::staged::Staged;
use serde_json::{Map, Value, json};
use std::path::Path;

/// Writes `model` as a folder that diffusers' `DDIMPipeline.from_pretrained` loads, or its `ConsistencyModelPipeline`: f32 weights, the network's and
/// the scheduler's configuration, a model index. What diffusers has no word for (the role) stands in the network's
/// configuration under `_onestep`, which diffusers passes over. The folder must not exist, or be empty.
pub fn export(model: &Path, folder: &Path) -> Result<()> {
    let checkpoint = open(model, u64::MAX)?;
    checkpoint.config(None)?;
    let Description { network, scheduler, .. } = checkpoint.description();
    for (map, own) in [(network, &OWN[..]), (scheduler, &OWN_SCHEDULERS)] {
        let said = |key: &&&str| map.get(**key).is_some_and(|value| *value != Value::Bool(false));
        if let Some(key) = own.iter().find(said) {
            let supported = "models that diffusers has words for, to export";
            return Err(unsupported(checkpoint.name(), key, &map[*key], supported));
        }
    }
    if scheduler.get("prediction_type").is_some_and(|kind| kind == Prediction::Flow.name()) {
        let supported = "epsilon, sample, v_prediction, which diffusers has words for, to export";
        return Err(unsupported(
            checkpoint.name(),
            "prediction_type",
            &scheduler["prediction_type"],
            supported,
        ));
    }
    let io = |e| Error::io(folder, e);
    if folder.exists() && std::fs::read_dir(folder).map_err(io)?.next().is_some() {
        let message = format!("{} is not empty", folder.display());
        return Err(Error::argument("export", message));
    }
    let staged = Staged::folder(folder).map_err(io)?;
    fill(&checkpoint, staged.path())?;
    staged.commit().map_err(io)
}

fn fill(checkpoint: &Checkpoint, folder: &Path) -> Result<()> {
    for part in ["unet", "scheduler"] {
        let path = folder.join(part);
        std::fs::create_dir_all(&path).map_err(|e| Error::io(&path, e))?;
    }
    let description = checkpoint.description();
    write::write(
        checkpoint,
        &folder.join("unet/diffusion_pytorch_model.safetensors"),
        Some(StoredType::F32),
        None,
        write::Watch::default(),
    )?;
    let (pipeline, class) = match checkpoint.config(None)?.generator {
        Generator::Consistency(_) => ("ConsistencyModelPipeline", CONSISTENCY),
        // diffusers has no pipeline of EDM's without a text: a folder of both parts.
        Generator::Edm(_) => ("DiffusionPipeline", EDM),
        // DDIM's steps read no variance.
        generator if generator.schedule().is_some_and(Schedule::learned_variance) => {
            ("DDPMPipeline", "DDPMScheduler")
        }
        _ => ("DDIMPipeline", DDIM),
    };
    let (scheduler, rest) = shared(&description.scheduler, class);
    let rest = Description { network: Map::new(), scheduler: rest, ..description.clone() };
    let rest = serde_json::to_value(rest).map_err(|e| Error::Internal(e.to_string()))?;
    let mut network = description.network.clone();
    network.insert(PRIVATE.into(), rest);
    write_json(&folder.join("unet/config.json"), with_class(&network, "UNet2DModel"))?;
    write_json(&folder.join("scheduler/scheduler_config.json"), with_class(&scheduler, class))?;
    let index = json!({
        "_class_name": pipeline,
        "scheduler": ["diffusers", class],
        "unet": ["diffusers", "UNet2DModel"],
    });
    write_json(&folder.join("model_index.json"), index)
}

/// A scheduler's configuration as diffusers' `class` takes it, and what that has no word for: how samplers go about a model, which
/// changes nothing of what it is.
fn shared(scheduler: &Map<String, Value>, class: &str) -> (Map<String, Value>, Map<String, Value>) {
    let ours = |key: &str, value: &Value| match key {
        "rescale_timesteps" | "use_clipped_model_output" => true,
        "timestep_spacing" => value == Spacing::Quadratic.name(),
        "variance_type" => class == DDIM,
        _ => false,
    };
    let (mut theirs, mut rest) = (Map::new(), Map::new());
    for (key, value) in scheduler {
        let of = if ours(key, value) { &mut rest } else { &mut theirs };
        of.insert(key.clone(), value.clone());
    }
    (theirs, rest)
}

fn with_class(config: &Map<String, Value>, class: &str) -> Value {
    let mut config = config.clone();
    config.insert("_class_name".into(), class.into());
    config.into()
}

fn write_json(path: &Path, value: Value) -> Result<()> {
    let text = serde_json::to_string_pretty(&value).map_err(|e| Error::Internal(e.to_string()))?;
    write::write_text(path, &(text + "\n"))
}
