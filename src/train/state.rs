//! Everything that a run has learnt and where it stands, in one file: what goes on from it goes on to the bit.

use super::group::Group;
use super::learner::Learner;
use super::optim::{Adam, AdamOptions};
use crate::error::{Error, Result};
use crate::model::Params;
use crate::weights::{self, Checkpoint, Description};
use serde_json::{Value, json};
use std::path::Path;

/// The file's name in a run's folder.
pub const CHECKPOINT: &str = "checkpoint.safetensors";

/// The best test so far; of a run that is judged by scores, the best score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Best {
    /// Its loss, or score.
    pub loss: f64,
    /// After how many steps.
    pub step: u64,
}

/// A network that learns beside the one that a run is for, and is kept with it.
pub struct Beside {
    /// The network.
    pub learner: Learner,
    /// Its optimiser.
    pub adam: Adam,
}

impl Beside {
    /// Bytes of its values, gradients and moments, and of what it passes through.
    pub fn bytes(&self) -> u64 {
        4 * 4 * self.adam.moments[0].len() as u64 + self.learner.scratch_bytes()
    }

    /// By their names, what of it goes on.
    fn parts(&mut self) -> [(&'static str, &mut [f32]); 3] {
        let [first, second] = &mut self.adam.moments;
        [
            ("beside.parameters", self.learner.values()),
            ("beside.adam.first", first),
            ("beside.adam.second", second),
        ]
    }
}

/// See the module.
pub struct State {
    /// The network.
    pub learner: Learner,
    /// The optimiser.
    pub adam: Adam,
    /// The moving average of the parameters.
    pub ema: Vec<f32>,
    /// Steps made.
    pub step: u64,
    /// The best test so far.
    pub best: Option<Best>,
    /// Sum and number of the losses since the last line of the log.
    pub tally: (f64, u64),
    /// Seconds spent in steps, over all sessions.
    pub seconds: f64,
}

impl State {
    /// Before the first step; the average begins at the parameters.
    ///
    /// # Errors
    /// OUT_OF_MEMORY.
    pub fn new(mut learner: Learner, options: AdamOptions) -> Result<Self> {
        let ema = learner.values().to_vec();
        let adam = Adam::new(options, ema.len())?;
        Ok(Self { learner, adam, ema, step: 0, best: None, tally: (0.0, 0), seconds: 0.0 })
    }

    /// Writes all of it beside `path`, then renames.
    ///
    /// # Errors
    /// IO, OUT_OF_MEMORY; what was there before is still there then.
    pub fn save(
        &mut self,
        path: &Path,
        description: &Description,
        beside: Option<&mut Beside>,
    ) -> Result<()> {
        let parameters = self.learner.parameters().to_vec();
        // As text: a number in JSON may be rounded on its way.
        let float = |value: f64| format!("{value:?}");
        let training = json!({
            "step": self.step,
            "adam_steps": self.adam.steps,
            "best": self.best.map(|best| json!({"loss": float(best.loss), "step": best.step})),
            "tally": [float(self.tally.0), self.tally.1.to_string()],
            "seconds": float(self.seconds),
        });
        let description =
            Description { provenance: Some(json!({"training": training})), ..description.clone() };
        let mut parts = vec![
            ("parameters", &*self.learner.values()),
            ("ema", &self.ema),
            ("adam.first", &self.adam.moments[0]),
            ("adam.second", &self.adam.moments[1]),
        ];
        // Its parameters are as many, of the same names.
        parts.extend(beside.into_iter().flat_map(Beside::parts).map(|(name, values)| (name, &*values)));
        let tensors = parts.into_iter().flat_map(|(part, values)| {
            parameters.iter().map(move |parameter| {
                let name = format!("{part}/{}", parameter.name);
                (name, parameter.shape.clone(), &values[parameter.range.clone()])
            })
        });
        Checkpoint::new(&path.display().to_string(), description, tensors)?.save(path, None)
    }

    /// Reads what [`Self::save`] wrote for a network of the same shape.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is damaged or another run's.
    pub fn load(&mut self, path: &Path, mut beside: Option<&mut Beside>) -> Result<()> {
        let checkpoint = weights::open_run(path)?;
        let bad =
            || Error::bad_model(path.display().to_string(), "not a training checkpoint of this version");
        let training = checkpoint
            .description()
            .provenance
            .as_ref()
            .and_then(|provenance| provenance.get("training"))
            .ok_or_else(bad)?;
        let number = |value: &Value| value.as_u64().ok_or_else(bad);
        let float = |value: &Value| value.as_str().and_then(|text| text.parse::<f64>().ok()).ok_or_else(bad);
        let parameters = self.learner.parameters().to_vec();
        let [first, second] = &mut self.adam.moments;
        let own: [(&str, &mut [f32]); 4] = [
            ("parameters", self.learner.values()),
            ("ema", &mut self.ema),
            ("adam.first", first),
            ("adam.second", second),
        ];
        let others = beside.as_deref_mut().into_iter().flat_map(Beside::parts);
        for (part, values) in own.into_iter().chain(others) {
            for parameter in &parameters {
                let weight = checkpoint.tensor(&format!("{part}/{}", parameter.name), &parameter.shape)?;
                weight.read(0, &mut values[parameter.range.clone()])?;
            }
        }
        checkpoint.check_all_used()?;
        self.step = number(&training["step"])?;
        self.adam.steps = number(&training["adam_steps"])?;
        if let Some(beside) = beside {
            beside.adam.steps = self.adam.steps;
        }
        self.best = match &training["best"] {
            Value::Null => None,
            best => Some(Best { loss: float(&best["loss"])?, step: number(&best["step"])? }),
        };
        let count = training["tally"][1].as_str().and_then(|text| text.parse().ok()).ok_or_else(bad)?;
        self.tally = (float(&training["tally"][0])?, count);
        self.seconds = float(&training["seconds"])?;
        Ok(())
    }

    /// Puts process 0's state in every process' place. An agreement must have come before.
    pub(super) fn follow(&mut self, group: &Group, beside: Option<&mut Beside>) {
        let best = self.best.unwrap_or(Best { loss: 0.0, step: 0 });
        let mut words = [
            self.step,
            self.adam.steps,
            u64::from(self.best.is_some()),
            best.loss.to_bits(),
            best.step,
            self.tally.0.to_bits(),
            self.tally.1,
            self.seconds.to_bits(),
        ];
        group.follow(bytemuck::cast_slice_mut(&mut words));
        let [step, adam_steps, tested, loss, best_step, tally, tallied, seconds] = words;
        (self.step, self.adam.steps, self.seconds) = (step, adam_steps, f64::from_bits(seconds));
        self.best = (tested == 1).then_some(Best { loss: f64::from_bits(loss), step: best_step });
        self.tally = (f64::from_bits(tally), tallied);
        let [first, second] = &mut self.adam.moments;
        for values in [self.learner.values(), &mut self.ema, first, second] {
            group.follow(bytemuck::cast_slice_mut(values));
        }
        if let Some(beside) = beside {
            beside.adam.steps = adam_steps;
            for (_, values) in beside.parts() {
                group.follow(bytemuck::cast_slice_mut(values));
            }
        }
    }

    /// The averaged network as a model.
    ///
    /// # Errors
    /// OUT_OF_MEMORY.
    pub fn averaged(&self, name: &str, description: &Description) -> Result<Checkpoint<'static>> {
        let tensors = self.learner.parameters().iter().map(|parameter| {
            (parameter.name.clone(), parameter.shape.clone(), &self.ema[parameter.range.clone()])
        });
        Checkpoint::new(name, description.clone(), tensors)
    }
}
