//! Schedulers of other classes than this library's samplers are: what of their configuration is of the model, and not of a solver.

use super::super::keys::{shown, unsupported};
use super::{CONSISTENCY, EDM};
use crate::error::Result;
use serde_json::{Map, Value};

/// DDIM's, as which the others over betas are read.
pub const DDIM: &str = "DDIMScheduler";

/// Those that are read as they are.
const OWN_CLASSES: [&str; 4] = [DDIM, "DDPMScheduler", CONSISTENCY, EDM];

/// Schedulers of diffusers over the betas of a diffusion process.
const OVER_BETAS: [&str; 19] = [
    "DDIMInverseScheduler",
    "DDIMParallelScheduler",
    "DDPMParallelScheduler",
    "DEISMultistepScheduler",
    "DPMSolverMultistepInverseScheduler",
    "DPMSolverMultistepScheduler",
    "DPMSolverSDEScheduler",
    "DPMSolverSinglestepScheduler",
    "EulerAncestralDiscreteScheduler",
    "EulerDiscreteScheduler",
    "HeunDiscreteScheduler",
    "KDPM2AncestralDiscreteScheduler",
    "KDPM2DiscreteScheduler",
    "LCMScheduler",
    "LMSDiscreteScheduler",
    "PNDMScheduler",
    "SASolverScheduler",
    "TCDScheduler",
    "UniPCMultistepScheduler",
];

/// What DDIM's scheduler has of its own, and takes from another's configuration.
const DDIM_KEYS: [&str; 15] = [
    "beta_end",
    "beta_schedule",
    "beta_start",
    "clip_sample",
    "clip_sample_range",
    "dynamic_thresholding_ratio",
    "num_train_timesteps",
    "prediction_type",
    "rescale_betas_zero_snr",
    "sample_max_value",
    "set_alpha_to_one",
    "steps_offset",
    "thresholding",
    "timestep_spacing",
    "trained_betas",
];

/// Another scheduler over EDM's noise levels, and what it shares with the one read here.
const EDM_SOLVER: &str = "EDMDPMSolverMultistepScheduler";
const EDM_KEYS: [&str; 7] = [
    "sigma_min",
    "sigma_max",
    "sigma_data",
    "sigma_schedule",
    "num_train_timesteps",
    "prediction_type",
    "rho",
];

/// The configuration as `DDIMScheduler.from_config` takes it, or EDM's scheduler's, with a note where it is another class's. One
/// without a class is taken for DDIM's.
pub fn adopted(file: &str, map: Map<String, Value>, notes: &mut Vec<String>) -> Result<Map<String, Value>> {
    let class = match map.get("_class_name").and_then(Value::as_str) {
        None => return Ok(map),
        Some(own) if OWN_CLASSES.contains(&own) => return Ok(map),
        Some(other) => other.to_owned(),
    };
    let (kept, meant): (&[&str], _) = match class.as_str() {
        EDM_SOLVER => (&EDM_KEYS, EDM),
        class if OVER_BETAS.contains(&class) => (&DDIM_KEYS, DDIM),
        other => {
            let supported = format!(
                "{}, and diffusers' other schedulers over betas, whose betas and prediction are what counts",
                OWN_CLASSES.join(", ")
            );
            return Err(unsupported(file, "_class_name", other, &supported));
        }
    };
    // Not a diffusion process at all, under the name of a solver of one.
    if map.get("use_flow_sigmas") == Some(&Value::Bool(true)) {
        return Err(unsupported(file, "use_flow_sigmas", true, "false"));
    }
    notes.push(format!(
        "the scheduler's class is {}: its noise levels and prediction are taken, as {meant} takes them",
        shown(&class)
    ));
    let mut map: Map<String, Value> =
        map.into_iter().filter(|(key, _)| kept.contains(&key.as_str())).collect();
    map.insert("_class_name".into(), meant.into());
    Ok(map)
}
