//! What a student is: the calls in which it draws, and how its model says so.

use super::draw::diffusion;
use crate::error::{Error, Result};
use crate::model::{Config, Edm, Generator, Prediction, Schedule, Spacing, StudentOutput};
use crate::names::Named;
use crate::sampler::{Plan, Sampler};
use crate::weights::{Description, Kind};
use serde_json::{Value, json};

/// See the module.
pub struct Student {
    /// Its model's description.
    pub description: Description,
    /// Its calls, noise first.
    pub plan: Plan,
}

impl Student {
    /// A student of a teacher that is described so; of one step, or of those calls if there are any. `settings` is how it
    /// learns, for its provenance.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for calls outside of the teacher's timesteps.
    pub fn new(teacher: &Description, config: &Config, calls: &[i32], settings: &Value) -> Result<Self> {
        let mut description = described(teacher, settings);
        let (mut generator, kind) = generator(config, calls)?;
        if matches!(kind, Kind::FewSteps { .. }) {
            description.scheduler.insert("clip_sample".to_owned(), false.into());
        }
        description.generator = Some(kind);
        // It learns what it draws before that is clamped.
        if let Generator::Consistency(model) = &mut generator {
            model.clip = None;
        }
        let mut plan = Plan::default();
        plan.fill(&Config { generator, ..config.clone() }, None)?;
        Ok(Self { description, plan })
    }
}

/// The model of a student that learns the way from noise to image at every level between them ([`Prediction::Flow`]): it draws in one
/// call, or in a few.
///
/// # Errors
/// INVALID_ARGUMENT (`loss`) for pairs of several calls.
pub fn of_pairs(
    teacher: &Description,
    config: &Config,
    calls: &[i32],
    settings: &Value,
) -> Result<Description> {
    if !calls.is_empty() {
        let message =
            "paired: these pairs are for a student of several steps; this one draws in one or more without";
        return Err(Error::argument("loss", message));
    }
    diffusion(config)?;
    let mut description = described(teacher, settings);
    description.generator = Some(Kind::Teacher { default_steps: Some(1) });
    // Its first call is at the last timestep, where there is nothing but noise.
    let says = [("prediction_type", Prediction::Flow.name()), ("timestep_spacing", Spacing::Trailing.name())];
    for (key, value) in says {
        description.scheduler.insert(key.to_owned(), value.into());
    }
    Ok(description)
}

/// How a student draws that may in so many calls.
///
/// # Errors
/// Those of [`Plan::fill`].
pub fn plans(description: &Description, calls: &[u32]) -> Result<Vec<Plan>> {
    let config = description.config("the student", None)?;
    let plan = |&steps: &u32| {
        let mut plan = Plan::default();
        plan.fill(&config, Some(&Sampler { steps: Some(steps), ..Sampler::default() }))?;
        Ok(plan)
    };
    calls.iter().map(plan).collect()
}

/// A student's description, but for what kind it is.
fn described(teacher: &Description, settings: &Value) -> Description {
    Description {
        provenance: Some(json!({
            "trained_by": concat!("onestep ", env!("CARGO_PKG_VERSION")),
            "distill": settings,
            "teacher": teacher.provenance,
        })),
        ..without_variance(teacher)
    }
}

/// A model that says nothing of its variance, as which one that does is trained: half its output channels are left out.
pub fn without_variance(description: &Description) -> Description {
    let mut description = description.clone();
    let channels = |key: &str| description.network.get(key).and_then(Value::as_u64).unwrap_or(3);
    if channels("out_channels") != channels("in_channels") {
        let channels = channels("in_channels");
        description.network.insert("out_channels".to_owned(), channels.into());
        description.scheduler.remove("variance_type");
    }
    description
}

/// What a student of this teacher is, with its calls if there are any.
fn generator(teacher: &Config, calls: &[i32]) -> Result<(Generator, Kind)> {
    match &teacher.generator {
        Generator::Edm(model) if calls.is_empty() => {
            let student = Edm { default_steps: 1, ..model.clone() };
            return Ok((Generator::Edm(student), Kind::Edm { default_steps: Some(1) }));
        }
        same @ Generator::Consistency(_) if calls.is_empty() => {
            return Ok((same.clone(), Kind::Consistency {}));
        }
        _ => {}
    }
    let schedule = diffusion(teacher)?.clone();
    if calls.is_empty() {
        // Where the network says something about the image itself, its own estimate is the natural start.
        let output = match schedule.prediction {
            Prediction::Epsilon => StudentOutput::XMinus,
            Prediction::Sample | Prediction::V | Prediction::Flow => StudentOutput::X0,
        };
        let kind = Kind::Student { output: Some(output.name().to_owned()) };
        return Ok((Generator::Student { schedule, output }, kind));
    }
    // DDIM's steps between its calls, of which none clips.
    let (schedule, timesteps) = (Schedule { clip: None, ..schedule }, calls.to_vec());
    let kind = Kind::FewSteps { timesteps: timesteps.clone() };
    Ok((Generator::FewSteps { schedule, timesteps }, kind))
}
