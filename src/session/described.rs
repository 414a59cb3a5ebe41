//! A model's description as JSON: the command prints it, and the C interface hands it out.

use super::Info;
use crate::model::Generator;
use crate::names::Named;
use serde_json::{Value, json};

impl Info {
    /// All of it as one JSON object. A key whose value the model does not have is null; keys are added, and none is taken away.
    ///
    /// Sizes are in pixels, `weight_bytes` in bytes; `notes` are sentences: what was assumed, chosen or left out of a file.
    pub fn to_json(&self) -> Value {
        let (network, generator) = (&self.config.network, &self.config.generator);
        json!({
            "architecture": self.architecture,
            "role": generator.role().name(),
            "generator": generator.kind(),
            "width": network.size.1,
            "height": network.size.0,
            "channels": network.channels,
            "classes": network.num_classes,
            "null_label": network.null_label(),
            "parameters": self.parameters,
            "weight_bytes": self.weight_bytes,
            "format": self.format,
            "provenance": self.provenance,
            "block_out_channels": network.block_out_channels,
            "layers_per_block": network.layers_per_block,
            "prediction": generator.schedule().map(|schedule| schedule.prediction.name()),
            "student_output": generator.student_output().map(Named::name),
            "default_steps": generator.default_steps(),
            "timesteps": generator.timesteps(),
            "noise_levels": noise_levels(generator),
            "schedule": generator.schedule().map(|schedule| json!({
                "train_timesteps": schedule.betas.len(),
                "beta_first": schedule.betas.first().map(as_written),
                "beta_last": schedule.betas.last().map(as_written),
                "spacing": schedule.spacing.name(),
                "steps_offset": schedule.steps_offset,
                "set_alpha_to_one": schedule.set_alpha_to_one,
                "clip": schedule.clip,
                "variance": schedule.variance.name(),
            })),
            "device": self.device,
            "precision": self.precision.name(),
            "notes": self.notes,
        })
    }
}

/// The shortest decimal that names the f32: 0.02, not 0.019999999552965164.
fn as_written(value: &f32) -> f64 {
    value.to_string().parse().unwrap_or(f64::from(*value))
}

/// A consistency model's, and EDM's; none for others.
fn noise_levels(generator: &Generator) -> Option<Value> {
    match generator {
        Generator::Edm(model) => Some(json!({
            "sigma_max": model.sigma_max,
            "sigma_min": model.sigma_min,
            "sigma_data": model.sigma_data,
            "rho": model.rho,
        })),
        Generator::Consistency(model) => Some(json!({
            "count": model.levels,
            "sigma_max": model.sigma_max,
            "sigma_min": model.sigma_min,
            "sigma_data": model.sigma_data,
            "rho": model.rho,
            "clip": model.clip,
        })),
        _ => None,
    }
}
