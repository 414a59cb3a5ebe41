//! A model's description as files hold it: diffusers' own configuration objects, and what diffusers has no word
//! for. Understanding it gives a [`Config`]; anything this library does not run is named by its key.

mod adopted;
mod network;
mod scheduler;

pub use adopted::{DDIM, adopted};
pub use network::OWN;
pub use scheduler::{CONSISTENCY, EDM, OWN_SCHEDULERS};

use super::keys::unsupported;
use crate::error::Result;
use crate::model::{Config, Generator, Role, Schedule, StudentOutput};
use crate::names::Named;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The JSON under `__metadata__["onestep"]` of a native file.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Stored")]
pub struct Description {
    /// Version of this object; 2. Version 1 said otherwise what a model is.
    pub version: u32,
    /// What kind of model it is; none: what its scheduler's class says, a teacher without one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generator: Option<Kind>,
    /// `UNet2DModel`'s configuration, as diffusers writes it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub network: Map<String, Value>,
    /// The scheduler's configuration, as diffusers writes it.
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub scheduler: Map<String, Value>,
    /// Where the weights come from; free form.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub provenance: Option<Value>,
}

/// What a model is, with what its scheduler does not say of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    /// Draws in several steps.
    Teacher {
        /// How many where the caller names no number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default_steps: Option<u32>,
    },
    /// A student of several steps.
    FewSteps {
        /// Those that it was trained for, descending.
        timesteps: Vec<i32>,
    },
    /// The paper's student, of one step.
    Student {
        /// How its output is read: `x_minus` (x_T - raw, the paper's form, and the usual) or `x0`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        output: Option<String>,
    },
    /// A consistency model.
    Consistency {},
    /// A model over noise levels.
    Edm {
        /// How many steps where the caller names no number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        default_steps: Option<u32>,
    },
}

/// A [`Description`] of version 2, or of version 1, which had the keys in the second half.
#[derive(Deserialize)]
struct Stored {
    version: u32,
    generator: Option<Kind>,
    #[serde(default)]
    network: Map<String, Value>,
    #[serde(default)]
    scheduler: Map<String, Value>,
    provenance: Option<Value>,

    role: Option<String>,
    output: Option<String>,
    default_steps: Option<u32>,
    timesteps: Option<Vec<i32>>,
}

impl TryFrom<Stored> for Description {
    type Error = String;

    fn try_from(stored: Stored) -> Result<Self, String> {
        let Stored { network, scheduler, provenance, default_steps, .. } = stored;
        if stored.version != 1 {
            return Ok(Self {
                version: stored.version,
                generator: stored.generator,
                network,
                scheduler,
                provenance,
            });
        }
        let class = scheduler.get("_class_name").and_then(Value::as_str);
        let role = match stored.role.as_deref() {
            None => None,
            Some(word) => {
                Some(Role::named(word).ok_or_else(|| format!("role = {word}, expected {}", Role::names()))?)
            }
        };
        let generator = match (role, stored.timesteps) {
            _ if class == Some(CONSISTENCY) => Some(Kind::Consistency {}),
            _ if class == Some(EDM) => Some(Kind::Edm { default_steps }),
            (Some(Role::Student), _) => Some(Kind::Student { output: stored.output }),
            (_, Some(timesteps)) if default_steps.is_none_or(|steps| steps as usize == timesteps.len()) => {
                Some(Kind::FewSteps { timesteps })
            }
            (_, Some(timesteps)) => {
                let (steps, wanted) = (default_steps.unwrap_or_default(), timesteps.len());
                return Err(format!("default_steps = {steps}, expected {wanted}, as many as timesteps"));
            }
            (None, None) if default_steps.is_none() => None,
            (_, None) => Some(Kind::Teacher { default_steps }),
        };
        Ok(Self { version: 2, generator, network, scheduler, provenance })
    }
}

impl Description {
    /// Of a network and a scheduler in diffusers' words, two objects of JSON.
    pub fn new(network: Value, scheduler: Value) -> Self {
        let [network, scheduler] = [network, scheduler].map(|value| match value {
            Value::Object(map) => map,
            _ => Map::new(),
        });
        Self { version: 2, network, scheduler, ..Self::default() }
    }

    /// The same with another role, if that is another.
    pub fn with_role(&self, role: Option<Role>) -> Self {
        let generator = match (role, &self.generator) {
            (Some(Role::Teacher), Some(Kind::Student { .. })) => Some(Kind::Teacher { default_steps: None }),
            (Some(Role::Student), None | Some(Kind::Teacher { .. } | Kind::FewSteps { .. })) => {
                Some(Kind::Student { output: None })
            }
            (_, generator) => generator.clone(),
        };
        Self { generator, ..self.clone() }
    }

    /// Checks everything and gives it meaning. `file` names the model in errors; `role` overrides the file's.
    pub fn config(&self, file: &str, role: Option<Role>) -> Result<Config> {
        if self.version != 2 {
            return Err(unsupported(file, "version", self.version, "1, 2"));
        }
        let network = network::network(file, &self.network)?;
        let config = Config { network, generator: self.generator(file, role)? };
        let learned = config.generator.schedule().is_some_and(Schedule::learned_variance);
        if learned && !config.network.learned_variance {
            let supported = "fixed_small, fixed_large, where out_channels is in_channels";
            return Err(unsupported(file, "variance_type", "learned_range", supported));
        }
        Ok(config)
    }

    /// What kind of model it is.
    fn kind(&self) -> Kind {
        let class = self.scheduler.get("_class_name").and_then(Value::as_str);
        match (class, &self.generator) {
            (Some(CONSISTENCY), _) => Kind::Consistency {},
            (Some(EDM), Some(edm @ Kind::Edm { .. })) => edm.clone(),
            (Some(EDM), _) => Kind::Edm { default_steps: None },
            (_, Some(kind)) => kind.clone(),
            (_, None) => Kind::Teacher { default_steps: None },
        }
    }

    fn generator(&self, file: &str, role: Option<Role>) -> Result<Generator> {
        let described = self.with_role(role);
        let scheduler = &self.scheduler;
        let kind = described.kind();
        match (&kind, role) {
            (Kind::Consistency {}, Some(Role::Teacher)) => {
                return Err(unsupported(file, "role", "teacher", "student, for a consistency model"));
            }
            (Kind::Edm { .. }, Some(Role::Student)) => {
                return Err(unsupported(file, "role", "student", "teacher, for EDM"));
            }
            _ => {}
        }
        Ok(match kind {
            Kind::Consistency {} => Generator::Consistency(scheduler::consistency(file, scheduler)?),
            Kind::Edm { default_steps } => Generator::Edm(scheduler::edm(file, scheduler, default_steps)?),
            Kind::Student { output } => {
                let output = named(file, "output", output.as_deref())?.unwrap_or(StudentOutput::XMinus);
                Generator::Student { schedule: scheduler::schedule(file, scheduler)?, output }
            }
            Kind::Teacher { default_steps } => {
                let schedule = scheduler::schedule(file, scheduler)?;
                let train = schedule.train_timesteps() as u32;
                let default_steps = default_steps.unwrap_or(50.min(train));
                if !(1..=train).contains(&default_steps) {
                    return Err(unsupported(file, "default_steps", default_steps, &format!("1 to {train}")));
                }
                Generator::Teacher { schedule, default_steps }
            }
            Kind::FewSteps { timesteps } => {
                let schedule = scheduler::schedule(file, scheduler)?;
                let train = schedule.train_timesteps();
                let inside = timesteps.iter().all(|&t| usize::try_from(t).is_ok_and(|t| t < train));
                if !inside || timesteps.is_empty() || !timesteps.is_sorted_by(|a, b| a > b) {
                    let range = format!("descending, from 0 to {}", train - 1);
                    return Err(unsupported(file, "timesteps", format!("{timesteps:?}"), &range));
                }
                Generator::FewSteps { schedule, timesteps }
            }
        })
    }
}

/// What a word of the file means, where there is one.
fn named<T: Named>(file: &str, key: &str, word: Option<&str>) -> Result<Option<T>> {
    let meant = |word| T::named(word).ok_or_else(|| unsupported(file, key, word, &T::names()));
    word.map(meant).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use serde_json::json;

    /// What files of version 1 said with other keys means the same, and is written in those of version 2.
    #[test]
    fn old_descriptions_are_understood() {
        let scheduler = json!({"num_train_timesteps": 100});
        let written = |old: Value| {
            let mut old = old.as_object().unwrap().clone();
            old.insert("version".into(), 1.into());
            old.insert("network".into(), json!({"sample_size": 32}));
            old.entry("scheduler").or_insert(scheduler.clone());
            serde_json::to_value(serde_json::from_value::<Description>(old.into()).unwrap()).unwrap()
        };
        let consistency = json!({"scheduler": {"_class_name": CONSISTENCY}, "role": "student"});
        let edm = json!({"scheduler": {"_class_name": EDM}, "role": "teacher", "default_steps": 9});
        for (old, new) in [
            (json!({"role": "student"}), json!({"kind": "student"})),
            (json!({"role": "student", "output": "x0"}), json!({"kind": "student", "output": "x0"})),
            (
                json!({"role": "teacher", "default_steps": 20}),
                json!({"kind": "teacher", "default_steps": 20}),
            ),
            (
                json!({"role": "teacher", "timesteps": [7, 3]}),
                json!({"kind": "few_steps", "timesteps": [7, 3]}),
            ),
            (json!({}), json!(null)),
            (consistency, json!({"kind": "consistency"})),
            (edm, json!({"kind": "edm", "default_steps": 9})),
        ] {
            let written = written(old);
            assert_eq!((&written["version"], &written["generator"]), (&json!(2), &new));
            let again: Description = serde_json::from_value(written.clone()).unwrap();
            assert_eq!(serde_json::to_value(&again).unwrap(), written);
            again.config("file", None).unwrap();
        }
        let wrong = |value: Value| serde_json::from_value::<Description>(value).unwrap_err().to_string();
        assert!(
            wrong(json!({"version": 1, "role": "pupil"})).contains("role = pupil, expected teacher, student")
        );
        let kind = wrong(json!({"version": 2, "generator": {"kind": "oracle"}}));
        assert!(kind.contains("oracle") && kind.contains("few_steps"), "{kind}");
        let future: Description = serde_json::from_value(json!({"version": 3})).unwrap();
        assert!(future.config("file", None).unwrap_err().to_string().contains("version"));
    }

    #[test]
    fn timesteps_of_a_student_of_several_steps_are_checked() {
        let config = |timesteps: Value, default_steps: Option<u32>| {
            let description: Description = serde_json::from_value(json!({
                "version": 1, "timesteps": timesteps, "default_steps": default_steps, "network": {"sample_size": 32},
            }))
            .map_err(|error| Error::bad_model("file", error.to_string()))?;
            description.config("file", None)
        };
        let good = config(json!([900, 20]), None).unwrap();
        assert_eq!((good.generator.default_steps(), good.generator.timesteps()), (2, Some(&[900, 20][..])));
        assert_eq!(config(json!(null), None).unwrap().generator.default_steps(), 50);
        for wrong in [json!([]), json!([20, 900]), json!([20, 20]), json!([1000, 1]), json!([3, -1])] {
            let error = config(wrong, None).unwrap_err().to_string();
            assert!(error.contains("timesteps") && error.contains("descending, from 0 to 999"), "{error}");
        }
        let error = config(json!([900, 20]), Some(3)).unwrap_err().to_string();
        assert!(error.contains("default_steps") && error.contains("2, as many as timesteps"), "{error}");
    }
}
