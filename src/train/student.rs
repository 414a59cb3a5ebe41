//! What a student is: the calls in which it draws, and how its model says so.

use super::draw::diffusion;
use crate::error::Result;
use crate::model::{Config, Generator, Prediction, Role, Schedule, StudentOutput};
use crate::names::Named;
use crate::sampler::{Plan, Planned};
use crate::weights::Description;
use serde_json::{Value, json};

/// See the module.
pub struct Student {
    /// Its model's description.
    pub description: Description,
    /// Its calls, noise first.
    pub calls: Vec<Planned>,
}

impl Student {
    /// A student of a teacher that is described so; of one step, or of those calls if there are any. `settings` is how it
    /// learns, for its provenance.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for calls outside of the teacher's timesteps.
    pub fn new(teacher: &Description, config: &Config, calls: &[i32], settings: &Value) -> Result<Self> {
        let mut description = Description {
            provenance: Some(json!({
                "trained_by": concat!("onestep ", env!("CARGO_PKG_VERSION")),
                "distill": settings,
                "teacher": teacher.provenance,
            })),
            default_steps: None,
            timesteps: None,
            ..teacher.clone()
        };
        let schedule = diffusion(config)?.clone();
        let generator = if calls.is_empty() {
            // Where the network says something about the image itself, its own estimate is the natural start.
            let output = match schedule.prediction {
                Prediction::Epsilon => StudentOutput::XMinus,
                Prediction::Sample | Prediction::V => StudentOutput::X0,
            };
            description.role = Some(Role::Student.name().to_owned());
            description.output = Some(output.name().to_owned());
            Generator::Student { schedule, output }
        } else {
            // DDIM's steps between its calls, of which none clips.
            description.role = Some(Role::Teacher.name().to_owned());
            description.timesteps = Some(calls.to_vec());
            description.scheduler.insert("clip_sample".to_owned(), false.into());
            let schedule = Schedule { clip: None, ..schedule };
            Generator::FewSteps { schedule, timesteps: calls.to_vec() }
        };
        let mut plan = Plan::default();
        plan.fill(&Config { generator, ..config.clone() }, None)?;
        Ok(Self { description, calls: plan.steps })
    }
}
