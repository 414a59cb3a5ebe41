//! Files of named tensors that other libraries wrote: whose network it is, and what else has to be said of it.

use super::plain::Tensors;
use super::renaming::Understood;
use super::source::{MemorySource, Source};
use super::{Checkpoint, Description, Hints, ddim, diffusers, edm, names, openai, presets};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

/// Whose network a file is, by a tensor that only theirs have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Family {
    Ddim,
    Openai,
    Edm,
    Diffusers,
}

impl Family {
    const ALL: [(Family, &str, &str); 4] = [
        (Family::Ddim, "temb.dense.0.weight", "DDPM's and DDIM's authors' (PyTorch)"),
        (Family::Openai, "input_blocks.0.0.weight", "OpenAI's"),
        (Family::Edm, "map_layer0.weight", "EDM's"),
        (Family::Diffusers, "time_embedding.linear_1.weight", "diffusers' (bare weights)"),
    ];
}

/// Networks that are known and not run, by how one of their tensors ends.
const OTHERS: [(&str, &str); 5] = [
    ("cond_stage_model.", "a latent diffusion model, whose U-Net draws no pictures"),
    ("first_stage_model.", "a latent diffusion model, whose U-Net draws no pictures"),
    ("all_modules.0.weight", "a network of score_sde"),
    ("x_embedder.proj.weight", "a transformer (DiT)"),
    ("init_conv.weight", "a network of denoising-diffusion-pytorch"),
];

/// Understands a file's tensors. `notes` holds what there was to say of their choice.
pub fn open(
    path: &Path,
    (source, tensors): (Box<dyn Source>, Tensors),
    hints: &Hints,
    mut notes: Vec<String>,
) -> Result<Checkpoint<'static>> {
    let name = source.name().to_owned();
    let (family, anchor, format) = family(&name, &tensors)?;
    // EDM's preconditioning holds its network as `model`.
    let usual = if family == Family::Edm { "model." } else { "" };
    let tensors = names::unwrapped(tensors, anchor, usual, &mut notes);
    let config = config(path, hints, &mut notes)?;
    let said = config.as_ref().map(|(config_name, config)| (config_name.as_str(), config));
    if hints.group_norm_eps.is_some() && family != Family::Ddim {
        return Err(Error::argument(
            "group_norm_eps",
            format!("{name} is {format}: only files of the paper's and of DDIM's leave it open"),
        ));
    }
    let understood = match (family, said) {
        (Family::Ddim, said) => ddim::understand(&name, said, tensors, hints.group_norm_eps, &mut notes)?,
        (Family::Openai, Some(said)) => openai::understand(&name, said, tensors)?,
        (Family::Openai, None) => return Err(openai_needs(&name, &tensors)?),
        (Family::Edm, said) => {
            let usual = json!({"precond": "EDMPrecond"});
            if said.is_none() {
                notes.push("EDM's preconditioning and 18 steps assumed (else: --config NAME or FILE)".into());
            }
            let usual =
                (name.as_str(), usual.as_object().ok_or_else(|| Error::Internal("no object".into()))?);
            edm::understand((&name, &*source), said.unwrap_or(usual), tensors)?
        }
        (Family::Diffusers, Some((_, config))) => bare(config.clone(), tensors, &mut notes),
        (Family::Diffusers, None) => {
            let message = "weights as diffusers names them, without the config.json that belongs beside them (or --config FILE)";
            return Err(Error::bad_model(name, message));
        }
    };
    let Understood { description, tensors, computed } = understood;
    let mut sources = vec![source];
    if let Some(bytes) = computed {
        sources.push(Box::new(MemorySource::named(&name, bytes)));
    }
    Ok(Checkpoint { name, description, tensors, packed: None, sources, notes, format })
}

fn family(file: &str, tensors: &Tensors) -> Result<(Family, &'static str, &'static str)> {
    let other = OTHERS.iter().find(|(mark, _)| {
        tensors
            .keys()
            .any(|name| if mark.ends_with('.') { name.starts_with(mark) } else { names::is(name, mark) })
    });
    let known =
        Family::ALL.into_iter().find(|(_, anchor, _)| tensors.keys().any(|name| names::is(name, anchor)));
    match (known, other) {
        (_, Some((mark, what))) if mark.ends_with('.') || known.is_none() => Err(Error::UnsupportedModel {
            file: file.to_owned(),
            key: "its network".into(),
            found: (*what).into(),
            supported:
                "pixel-space U-Nets of the paper's, DDPM's and DDIM's authors, OpenAI, EDM and diffusers"
                    .into(),
        }),
        (Some(known), _) => Ok(known),
        (None, _) => {
            let start: Vec<&str> = tensors.keys().take(3).map(String::as_str).collect();
            let there = if start.is_empty() {
                "no tensors".into()
            } else {
                format!("{} and so on", start.join(", "))
            };
            Err(Error::bad_model(file, format!("tensors of no network that is known here: {there}")))
        }
    }
}

/// The configuration asked for, or the one that a published file's name means.
fn config(
    path: &Path,
    hints: &Hints,
    notes: &mut Vec<String>,
) -> Result<Option<(String, Map<String, Value>)>> {
    let object = |value| match value {
        Value::Object(map) => Ok(map),
        _ => Err(Error::Internal("a preset that is no object".into())),
    };
    let Some(asked) = &hints.config else {
        // A configuration in the original code's words beside the file.
        let beside = path.with_file_name("config.json");
        if let Some(map) = diffusers::read_object(&beside)?
            && ["format", "precond"].iter().any(|key| map.contains_key(*key))
        {
            notes.push(
                "config.json beside it is taken for its configuration (else: --config NAME or FILE)".into(),
            );
            return Ok(Some((beside.display().to_string(), map)));
        }
        let Some(name) = presets::of_file(path) else { return Ok(None) };
        notes.push(format!("taken for {name} by its file's name (else: --config NAME or FILE)"));
        return Ok(Some((name.into(), presets::named(name).map(object).transpose()?.unwrap_or_default())));
    };
    let shown = asked.display().to_string();
    if let Some(preset) = asked.to_str().and_then(presets::named) {
        return Ok(Some((shown, object(preset)?)));
    }
    match diffusers::read_object(asked)? {
        Some(map) => Ok(Some((shown, map))),
        None => {
            let message = format!("{shown} is neither a file nor one of {}", presets::names().join(", "));
            Err(Error::argument("config", message))
        }
    }
}

/// What is missing of an OpenAI file.
fn openai_needs(file: &str, tensors: &Tensors) -> Result<Error> {
    let message = format!(
        "OpenAI's U-Net ({}), whose file does not tell the size of its images, the heads of its attention, nor its sampler: \
         `onestep import {file} OUT.safetensors --config NAME` (or a FILE of its program's flags as JSON). Names: {}",
        openai::about(file, tensors)?,
        presets::names().join(", ")
    );
    Ok(Error::bad_model(file, message))
}

/// Weights that diffusers wrote, with the network's configuration alone.
fn bare(network: Map<String, Value>, tensors: Tensors, notes: &mut Vec<String>) -> Understood {
    notes.push("no scheduler: DDPM's linear betas, epsilon prediction and no clipping assumed".into());
    let tensors = tensors.into_iter().map(|(name, stored)| (names::diffusers(&name), stored)).collect();
    let description = Description::new(network.into(), json!({"clip_sample": false}));
    Understood { description, tensors, computed: None }
}
