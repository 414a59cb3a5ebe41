//! Configurations of diffusers' schedulers: DDIM's and DDPM's, a consistency model's, EDM's.

use super::super::keys::Keys;
use crate::error::Result;
use crate::model::{Consistency, Edm, Preconditioning, Prediction, Schedule, Spacing, Variance};
use serde_json::{Map, Value};

/// The class of a consistency model's scheduler.
pub const CONSISTENCY: &str = "CMStochasticIterativeScheduler";

/// The class of EDM's.
pub const EDM: &str = "EDMEulerScheduler";

/// What diffusers' schedulers have no word for, under keys of this library.
pub const OWN_SCHEDULERS: [&str; 3] = ["rescale_timesteps", "time_scale", "vp"];

/// A number above 0.
fn positive(keys: &mut Keys, key: &'static str, default: f64) -> Result<f64> {
    let value = keys.f64(key, default)?;
    let fits = value > 0.0 && value.is_finite();
    if fits { Ok(value) } else { Err(keys.unsupported(key, value, "a positive number")) }
}

/// EDM's scheduler's configuration. Defaults are diffusers' own; two keys are this library's: `vp`, an object of beta_d, beta_min
/// and timesteps, for a network that was trained as variance-preserving, and `time_scale`.
pub fn edm(file: &str, map: &Map<String, Value>, default_steps: Option<u32>) -> Result<Edm> {
    let mut keys = Keys::new(file, map);
    let usual = Edm::default();
    let edm = Edm {
        sigma_min: positive(&mut keys, "sigma_min", usual.sigma_min)?,
        sigma_max: positive(&mut keys, "sigma_max", usual.sigma_max)?,
        sigma_data: positive(&mut keys, "sigma_data", usual.sigma_data)?,
        rho: positive(&mut keys, "rho", usual.rho)?,
        preconditioning: match keys.take("vp") {
            None => Preconditioning::Edm,
            Some(Value::Object(vp)) => {
                let mut vp = Keys::new(file, vp);
                let preconditioning = Preconditioning::Vp {
                    beta_d: positive(&mut vp, "beta_d", 19.9)?,
                    beta_min: positive(&mut vp, "beta_min", 0.1)?,
                    timesteps: vp.usize("timesteps", 1000)?,
                };
                vp.finish()?;
                preconditioning
            }
            Some(other) => return Err(keys.wrong("vp", other, "an object")),
        },
        time_scale: positive(&mut keys, "time_scale", usual.time_scale)?,
        default_steps: default_steps.unwrap_or(usual.default_steps).clamp(1, 100_000),
    };
    if edm.sigma_min >= edm.sigma_max {
        return Err(keys.unsupported("sigma_min", edm.sigma_min, "less than sigma_max"));
    }
    keys.only("sigma_schedule", "karras")?;
    keys.only("prediction_type", "epsilon")?;
    keys.only("final_sigmas_type", "zero")?;
    keys.ignore("num_train_timesteps");
    keys.finish()?;
    Ok(edm)
}

/// That scheduler's configuration. Defaults are diffusers' own.
pub fn consistency(file: &str, map: &Map<String, Value>) -> Result<Consistency> {
    let mut keys = Keys::new(file, map);
    let usual = Consistency::default();
    let consistency = Consistency {
        levels: keys.usize("num_train_timesteps", usual.levels)?,
        sigma_min: positive(&mut keys, "sigma_min", usual.sigma_min)?,
        sigma_max: positive(&mut keys, "sigma_max", usual.sigma_max)?,
        sigma_data: positive(&mut keys, "sigma_data", usual.sigma_data)?,
        rho: positive(&mut keys, "rho", usual.rho)?,
        clip: keys.bool("clip_denoised", true)?.then_some(1.0),
    };
    if consistency.levels > 100_000 {
        return Err(keys.unsupported("num_train_timesteps", consistency.levels, "at most 100000"));
    }
    if consistency.sigma_min >= consistency.sigma_max {
        return Err(keys.unsupported("sigma_min", consistency.sigma_min, "less than sigma_max"));
    }
    let s_noise = keys.f64("s_noise", 1.0)?;
    if s_noise != 1.0 {
        return Err(keys.unsupported("s_noise", s_noise, "1"));
    }
    keys.finish()?;
    Ok(consistency)
}

/// A diffusers scheduler's configuration (DDIM's and DDPM's keys). Defaults are diffusers' own.
pub fn schedule(file: &str, map: &Map<String, Value>) -> Result<Schedule> {
    let mut keys = Keys::new(file, map);
    let timesteps = keys.usize("num_train_timesteps", 1000)?;
    if timesteps > 100_000 {
        return Err(keys.unsupported("num_train_timesteps", timesteps, "at most 100000"));
    }
    let (start, end) = (keys.f64("beta_start", 1e-4)?, keys.f64("beta_end", 0.02)?);
    let name = keys.str("beta_schedule", "linear")?;
    let betas = match keys.take("trained_betas") {
        Some(Value::Array(values)) => values
            .iter()
            .map(|v| v.as_f64().map(|v| v as f32).ok_or_else(|| keys.wrong("trained_betas", v, "numbers")))
            .collect::<Result<Vec<f32>>>()?,
        Some(other) => return Err(keys.wrong("trained_betas", other, "an array of numbers")),
        None => match name {
            "linear" => Schedule::linear(start, end, timesteps)?,
            "scaled_linear" => Schedule::scaled_linear(start, end, timesteps)?,
            "squaredcos_cap_v2" => Schedule::squaredcos_cap_v2(timesteps)?,
            other => {
                return Err(keys.unsupported(
                    "beta_schedule",
                    other,
                    "linear, scaled_linear, squaredcos_cap_v2",
                ));
            }
        },
    };
    let prediction = keys.named("prediction_type", Prediction::Epsilon)?;
    let zero_snr = keys.bool("rescale_betas_zero_snr", false)?;
    if zero_snr && prediction == Prediction::Epsilon {
        let supported =
            "false, where the network predicts epsilon: it says nothing of an image in noise alone";
        return Err(keys.unsupported("rescale_betas_zero_snr", true, supported));
    }
    let betas = if zero_snr { Schedule::zero_terminal_snr(&betas)? } else { betas };
    if betas.len() != timesteps {
        return Err(keys.unsupported(
            "trained_betas",
            format!("{} values", betas.len()),
            "num_train_timesteps values",
        ));
    }
    let fits = |(i, beta): &(usize, &f32)| {
        **beta > 0.0 && (**beta < 1.0 || zero_snr && **beta == 1.0 && i + 1 == betas.len())
    };
    if let Some((i, beta)) = betas.iter().enumerate().find(|beta| !fits(beta)) {
        return Err(keys.unsupported(&format!("beta of timestep {i}"), beta, "between 0 and 1"));
    }
    let range = keys.f32("clip_sample_range", 1.0)?;
    if range <= 0.0 {
        return Err(keys.unsupported("clip_sample_range", range, "a positive number"));
    }
    let schedule = Schedule {
        betas,
        prediction,
        clip: keys.bool("clip_sample", true)?.then_some(range),
        set_alpha_to_one: keys.bool("set_alpha_to_one", true)?,
        steps_offset: keys.usize_or_zero("steps_offset", 0)? as u32,
        spacing: keys.named("timestep_spacing", Spacing::Leading)?,
        variance: keys.named("variance_type", Variance::FixedSmall)?,
        // diffusers' word for it, which its samplers are told in a call and not by their configuration.
        clip_noise: keys.bool("use_clipped_model_output", false)?,
        // guided-diffusion's.
        rescale_timesteps: keys.bool("rescale_timesteps", false)?,
    };
    if schedule.steps_offset as usize >= timesteps {
        return Err(keys.unsupported("steps_offset", schedule.steps_offset, "less than num_train_timesteps"));
    }
    if keys.bool("thresholding", false)? {
        return Err(keys.unsupported("thresholding", true, "false"));
    }
    // Of no effect without thresholding; old files' words for what they do anyway.
    for key in ["dynamic_thresholding_ratio", "sample_max_value", "timestep_values"] {
        keys.ignore(key);
    }
    if !keys.bool("predict_epsilon", true)? {
        return Err(keys.unsupported("predict_epsilon", false, "true (or prediction_type = sample)"));
    }
    keys.finish()?;
    Ok(schedule)
}
