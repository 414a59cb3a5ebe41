//! A model's description as files hold it: diffusers' own configuration objects, and what diffusers has no word
//! for. Understanding it gives a [`Config`]; anything this library does not run is named by its key.

use super::keys::{Keys, unsupported};
use crate::error::Result;
use crate::exec::Activation;
use crate::model::{
    Config, Consistency, Edm, Generator, Level, Network, Preconditioning, Prediction, Resample, Role,
    Schedule, Spacing, StudentOutput,
};
use crate::names::Named;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The JSON under `__metadata__["onestep"]` of a native file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// Version of this object; 1.
    pub version: u32,
    /// `teacher` or `student`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// How a student's output is read: `x_minus` (x_T - raw, the paper's form) or `x0`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// Steps of a teacher where the caller names none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default_steps: Option<u32>,
    /// The timesteps that a student of several steps was trained for, descending.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timesteps: Option<Vec<i32>>,
    /// `UNet2DModel`'s configuration, as diffusers writes it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub network: Map<String, Value>,
    /// The scheduler's configuration, as diffusers writes it.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub scheduler: Map<String, Value>,
    /// Where the weights come from; free form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Value>,
}

impl Description {
    /// Checks everything and gives it meaning. `file` names the model in errors; `role` overrides the file's.
    pub fn config(&self, file: &str, role: Option<Role>) -> Result<Config> {
        if self.version != 1 {
            return Err(unsupported(file, "version", self.version, "1"));
        }
        let network = network(file, &self.network)?;
        Ok(Config { network, generator: self.generator(file, role)? })
    }

    fn generator(&self, file: &str, role: Option<Role>) -> Result<Generator> {
        let role = role.or(named(file, "role", self.role.as_deref())?);
        let output = named(file, "output", self.output.as_deref())?.unwrap_or(StudentOutput::XMinus);
        if self.scheduler.get("_class_name").and_then(Value::as_str) == Some(CONSISTENCY) {
            if role == Some(Role::Teacher) {
                return Err(unsupported(file, "role", "teacher", "student, for a consistency model"));
            }
            return Ok(Generator::Consistency(consistency(file, &self.scheduler)?));
        }
        if self.scheduler.get("_class_name").and_then(Value::as_str) == Some(EDM) {
            if role == Some(Role::Student) {
                return Err(unsupported(file, "role", "student", "teacher, for EDM"));
            }
            return Ok(Generator::Edm(edm(file, &self.scheduler, self.default_steps)?));
        }
        let schedule = schedule(file, &self.scheduler)?;
        let train = schedule.betas.len();
        if let Some(timesteps) = &self.timesteps {
            let inside = timesteps.iter().all(|&t| usize::try_from(t).is_ok_and(|t| t < train));
            if !inside || timesteps.is_empty() || !timesteps.is_sorted_by(|a, b| a > b) {
                let range = format!("descending, in 0..{train}");
                return Err(unsupported(file, "timesteps", format!("{timesteps:?}"), &range));
            }
        }
        let steps = self.timesteps.as_ref().map_or(50.min(train), Vec::len) as u32;
        let default_steps = self.default_steps.unwrap_or(steps);
        if default_steps == 0 || default_steps as usize > train {
            return Err(unsupported(file, "default_steps", default_steps, &format!("1..={train}")));
        }
        if self.timesteps.is_some() && default_steps != steps {
            let wanted = format!("{steps}, as many as timesteps");
            return Err(unsupported(file, "default_steps", default_steps, &wanted));
        }
        Ok(match (role.unwrap_or(Role::Teacher), &self.timesteps) {
            (Role::Student, _) => Generator::Student { schedule, output },
            (Role::Teacher, Some(timesteps)) => {
                Generator::FewSteps { schedule, timesteps: timesteps.clone() }
            }
            (Role::Teacher, None) => Generator::Teacher { schedule, default_steps },
        })
    }
}

/// The class of a consistency model's scheduler.
pub const CONSISTENCY: &str = "CMStochasticIterativeScheduler";

/// The class of EDM's.
pub const EDM: &str = "EDMEulerScheduler";

/// A number above 0.
fn positive(keys: &mut Keys, key: &'static str, default: f64) -> Result<f64> {
    let value = keys.f64(key, default)?;
    let fits = value > 0.0 && value.is_finite();
    if fits { Ok(value) } else { Err(keys.unsupported(key, value, "a positive number")) }
}

/// EDM's scheduler's configuration. Defaults are diffusers' own; `vp`, an object of beta_d, beta_min and timesteps, is this
/// library's word for a network that was trained as variance-preserving.
fn edm(file: &str, map: &Map<String, Value>, default_steps: Option<u32>) -> Result<Edm> {
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
fn consistency(file: &str, map: &Map<String, Value>) -> Result<Consistency> {
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

/// What a word of the file means, where there is one.
fn named<T: Named>(file: &str, key: &str, word: Option<&str>) -> Result<Option<T>> {
    let meant = |word| T::named(word).ok_or_else(|| unsupported(file, key, word, &T::names()));
    word.map(meant).transpose()
}

/// `UNet2DModel`'s configuration. Defaults are diffusers' own.
fn network(file: &str, map: &Map<String, Value>) -> Result<Network> {
    let mut keys = Keys::new(file, map);
    let size = match keys.take("sample_size") {
        Some(Value::Array(pair)) => match pair.as_slice() {
            [h, w] => (keys.to_usize("sample_size", h)?, keys.to_usize("sample_size", w)?),
            _ => return Err(keys.wrong("sample_size", &Value::Array(pair.clone()), "a number or a pair")),
        },
        Some(side) => {
            let side = keys.to_usize("sample_size", side)?;
            (side, side)
        }
        None => return Err(keys.unsupported("sample_size", "null", "a number or a pair")),
    };
    let channels = keys.usize("in_channels", 3)?;
    let out_channels = keys.usize("out_channels", 3)?;
    if out_channels != channels {
        return Err(keys.unsupported("out_channels", out_channels, "the same as in_channels"));
    }
    let block_out_channels = keys.usizes("block_out_channels", &[224, 448, 672, 896])?;
    let levels = block_out_channels.len();
    // diffusers: plain levels always resample by convolution, and attention's as the type says.
    let plain = Level { attention: false, resample: Resample::Conv };
    let resnet = Level { attention: false, resample: Resample::Resnet };
    let attention = Level { attention: true, resample: keys.named("downsample_type", Resample::Conv)? };
    let down = keys.block_types(
        "down_block_types",
        &[("DownBlock2D", plain), ("AttnDownBlock2D", attention), ("ResnetDownsampleBlock2D", resnet)],
        &[plain, attention, attention, attention],
        levels,
    )?;
    let attention = Level { attention: true, resample: keys.named("upsample_type", Resample::Conv)? };
    let up = keys.block_types(
        "up_block_types",
        &[("UpBlock2D", plain), ("AttnUpBlock2D", attention), ("ResnetUpsampleBlock2D", resnet)],
        &[attention, attention, attention, plain],
        levels,
    )?;
    keys.only("mid_block_type", "UNetMidBlock2D")?;
    keys.only("time_embedding_type", "positional")?;
    keys.null("class_embed_type")?;
    keys.ignore("num_train_timesteps");
    let network = Network {
        size,
        channels,
        layers_per_block: match keys.usize("layers_per_block", 2)? {
            layers @ 1..=32 => layers,
            other => return Err(keys.unsupported("layers_per_block", other, "1 to 32")),
        },
        down,
        up,
        mid_attention: keys.bool("add_attention", true)?,
        // diffusers: null is one head, but absent is heads of 8 channels.
        attention_head_dim: if map.contains_key("attention_head_dim") {
            keys.optional_usize("attention_head_dim")?
        } else {
            Some(8)
        },
        norm_num_groups: keys.usize("norm_num_groups", 32)?,
        attn_norm_num_groups: keys.optional_usize("attn_norm_num_groups")?,
        norm_eps: keys.f32("norm_eps", 1e-5)?,
        mid_block_scale_factor: keys.f32("mid_block_scale_factor", 1.0)?,
        symmetric_downsample: match keys.usize_or_zero("downsample_padding", 1)? {
            0 => false,
            1 => true,
            other => return Err(keys.unsupported("downsample_padding", other, "0, 1")),
        },
        activation: keys.named("act_fn", Activation::Silu)?,
        center_input_sample: keys.bool("center_input_sample", false)?,
        flip_sin_to_cos: keys.bool("flip_sin_to_cos", true)?,
        freq_shift: keys.f32("freq_shift", 0.0)?,
        time_embedding_dim: keys.optional_usize("time_embedding_dim")?.unwrap_or(4 * block_out_channels[0]),
        scale_shift: match keys.str("resnet_time_scale_shift", "default")? {
            "default" => false,
            "scale_shift" => true,
            other => return Err(keys.unsupported("resnet_time_scale_shift", other, "default, scale_shift")),
        },
        num_classes: keys.optional_usize("num_class_embeds")?,
        dropout: keys.f32("dropout", 0.0)?,
        block_out_channels,
    };
    keys.finish()?;
    check_network(&keys, &network)?;
    Ok(network)
}

/// Relations between keys that no single key shows.
fn check_network(keys: &Keys, n: &Network) -> Result<()> {
    let levels = n.block_out_channels.len();
    let factor = 1usize << (levels - 1);
    if !n.size.0.is_multiple_of(factor) || !n.size.1.is_multiple_of(factor) {
        let found = format!("{} x {} (height x width)", n.size.0, n.size.1);
        return Err(keys.unsupported(
            "sample_size",
            found,
            &format!("multiples of {factor}, for {levels} levels"),
        ));
    }
    let with_attention = |level: usize| {
        n.down[level].attention
            || n.up[levels - 1 - level].attention
            || (level == levels - 1 && n.mid_attention)
    };
    // The way up normalises concatenations, whose halves are multiples of the groups if every level is.
    for (level, &channels) in n.block_out_channels.iter().enumerate() {
        if channels % n.norm_num_groups != 0 {
            let supported =
                format!("a divisor of every one of block_out_channels {:?}", n.block_out_channels);
            return Err(keys.unsupported("norm_num_groups", n.norm_num_groups, &supported));
        }
        if let Some(width) = n.attention_head_dim
            && with_attention(level)
            && channels % width != 0
        {
            return Err(keys.unsupported("attention_head_dim", width, &format!("a divisor of {channels}")));
        }
    }
    let coarsest = n.block_out_channels[levels - 1];
    if let Some(groups) = n.attn_norm_num_groups
        && !coarsest.is_multiple_of(groups)
    {
        return Err(keys.unsupported("attn_norm_num_groups", groups, &format!("a divisor of {coarsest}")));
    }
    let half = n.block_out_channels[0] as f32 / 2.0;
    if n.freq_shift >= half.floor() {
        return Err(keys.unsupported("freq_shift", n.freq_shift, "less than half of block_out_channels[0]"));
    }
    for (key, value) in [("norm_eps", n.norm_eps), ("mid_block_scale_factor", n.mid_block_scale_factor)] {
        if value <= 0.0 || !value.recip().is_finite() {
            return Err(keys.unsupported(key, value, "a positive number that can be divided by"));
        }
    }
    Ok(())
}

/// A diffusers scheduler's configuration (DDIM's and DDPM's keys). Defaults are diffusers' own.
fn schedule(file: &str, map: &Map<String, Value>) -> Result<Schedule> {
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
    if betas.len() != timesteps {
        return Err(keys.unsupported(
            "trained_betas",
            format!("{} values", betas.len()),
            "num_train_timesteps values",
        ));
    }
    if let Some((i, beta)) = betas.iter().enumerate().find(|(_, beta)| !(**beta > 0.0 && **beta < 1.0)) {
        return Err(keys.unsupported(&format!("beta of timestep {i}"), beta, "between 0 and 1"));
    }
    let prediction = keys.named("prediction_type", Prediction::Epsilon)?;
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
        fixed_large: match keys.str("variance_type", "fixed_small")? {
            "fixed_small" | "fixed_small_log" => false,
            "fixed_large" => true,
            other => return Err(keys.unsupported("variance_type", other, "fixed_small, fixed_large")),
        },
    };
    if schedule.steps_offset as usize >= timesteps {
        return Err(keys.unsupported("steps_offset", schedule.steps_offset, "less than num_train_timesteps"));
    }
    for key in ["thresholding", "rescale_betas_zero_snr"] {
        if keys.bool(key, false)? {
            return Err(keys.unsupported(key, true, "false"));
        }
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn timesteps_of_a_student_of_several_steps_are_checked() {
        let config = |timesteps: Value, default_steps: Option<u32>| {
            let description: Description = serde_json::from_value(json!({
                "version": 1, "timesteps": timesteps, "default_steps": default_steps, "network": {"sample_size": 32},
            }))
            .unwrap();
            description.config("file", None)
        };
        let good = config(json!([900, 20]), None).unwrap();
        assert_eq!((good.generator.default_steps(), good.generator.timesteps()), (2, Some(&[900, 20][..])));
        assert_eq!(config(json!(null), None).unwrap().generator.default_steps(), 50);
        for wrong in [json!([]), json!([20, 900]), json!([20, 20]), json!([1000, 1]), json!([3, -1])] {
            let error = config(wrong, None).unwrap_err().to_string();
            assert!(error.contains("timesteps") && error.contains("descending, in 0..1000"), "{error}");
        }
        let error = config(json!([900, 20]), Some(3)).unwrap_err().to_string();
        assert!(error.contains("default_steps") && error.contains("2, as many as timesteps"), "{error}");
    }
}
