//! What a sample takes: the network calls and the coefficients of the steps between them.

use super::timesteps::Timesteps;
use super::{Kind, Sampler, consistency, ddim, ddpm, edm, student};
use crate::error::{Error, Result};
use crate::exec::Step;
use crate::model::{Config, Consistency, Edm, Generator, Schedule, StudentOutput};
use crate::names::Named;

/// Beyond any use of EDM's.
const MOST_STEPS: usize = 100_000;

/// One network call and the step after it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Planned {
    /// The timestep at which the network is called, in 0..T.
    pub timestep: i32,
    /// What the network is told of it.
    pub time: f32,
    /// The coefficients of the step after it.
    pub step: Step,
    /// What the step's `noise` is the factor of.
    pub third: Third,
    /// What the network's word on its variance first makes of fresh noise, where it has one.
    pub spread: Option<Step>,
}

/// What a step adds beside its state and its prediction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Third {
    /// Nothing.
    #[default]
    Nothing,
    /// Fresh noise of this Philox stream: k for the k-th step, 1 the first.
    Noise(u32),
    /// The state that the step before it began from.
    Before,
}

impl Planned {
    /// Whether it draws fresh noise.
    pub fn is_noisy(&self) -> bool {
        matches!(self.third, Third::Noise(_))
    }
}

/// All network calls of one sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// In the order in which they run.
    pub steps: Vec<Planned>,
    /// What unit noise is multiplied with for the first call's state.
    pub start: f32,
    /// How far from the prediction without a label to the one with it, where that is not simply the latter.
    pub guidance: Option<f32>,
    /// alpha-bar of every training timestep; kept for its memory alone.
    alphas_cumprod: Vec<f32>,
}

/// The guidance that a sampler asks for, if it makes a difference.
fn guidance(config: &Config, sampler: Option<&Sampler>) -> Result<Option<f32>> {
    let Some(scale) = sampler.and_then(|sampler| sampler.guidance) else { return Ok(None) };
    if !scale.is_finite() {
        return Err(Error::argument("guidance", format!("{scale} is no finite number")));
    }
    if config.network.null_label().is_none() {
        let message =
            format!("{scale} given; this model was not taught without labels (train teacher --drop-labels)");
        return Err(Error::argument("guidance", message));
    }
    Ok(sampler.and_then(Sampler::guided))
}

impl Plan {
    /// Plans a sample, in this plan's memory: asked for the same again, it allocates nothing.
    ///
    /// A student takes no sampler. A teacher without one takes the file's spacing and default steps, a consistency model one
    /// step. Coefficients
    /// are computed in f64 from the f32 alphas_cumprod and rounded once. DDPM does not read `eta`.
    ///
    /// # Errors
    /// INVALID_ARGUMENT, naming the part of the sampler, for a student's sampler, steps outside 1..=T, an `eta`
    /// outside [0, 1], timesteps that ascend or leave 0..T, and a timestep at which the prediction says nothing
    /// about the image (epsilon at alpha-bar 0); OUT_OF_MEMORY.
    pub fn fill(&mut self, config: &Config, sampler: Option<&Sampler>) -> Result<()> {
        self.steps.clear();
        self.start = 1.0;
        self.guidance = None;
        if let Some(schedule) = config.generator.schedule() {
            if schedule.betas.is_empty() {
                return Err(Error::argument("schedule", "no betas: the model names no training timesteps"));
            }
            schedule.alphas_cumprod_into(&mut self.alphas_cumprod)?;
        }
        let generator = &config.generator;
        let usual = Sampler::default();
        let planned = match generator {
            Generator::Student { schedule, output } => self.student(schedule, *output, sampler),
            Generator::Teacher { schedule, .. } | Generator::FewSteps { schedule, .. } => {
                self.teacher(generator, schedule, sampler.unwrap_or(&usual))
            }
            Generator::Consistency(model) => self.consistency(model, sampler.unwrap_or(&usual)),
            Generator::Edm(model) => self.edm(model, sampler.unwrap_or(&usual)),
        };
        let guided = planned.and_then(|()| guidance(config, sampler));
        self.guidance = guided.inspect_err(|_| self.steps.clear())?;
        Ok(())
    }

    /// Makes room for all that `fill` takes of a model, but for EDM's samplers of more steps than its default, and plans its usual
    /// sample.
    ///
    /// # Errors
    /// As `fill` without a sampler.
    pub fn make_room(&mut self, config: &Config) -> Result<()> {
        self.steps.clear();
        self.reserve(config.generator.train_timesteps())?;
        self.fill(config, None)
    }

    fn student(
        &mut self,
        schedule: &Schedule,
        output: StudentOutput,
        sampler: Option<&Sampler>,
    ) -> Result<()> {
        if sampler.is_some() {
            return Err(Error::argument("sampler", "a student draws in one call and takes no sampler"));
        }
        let last = self.alphas_cumprod.len() - 1;
        self.reserve(1)?;
        let alpha = self.alphas_cumprod[last];
        self.push(last as i32, schedule.time(last as i32), student::step(output, schedule.prediction, alpha))
    }

    fn consistency(&mut self, model: &Consistency, sampler: &Sampler) -> Result<()> {
        if let Some(kind) = sampler.kind.filter(|&kind| kind != Kind::Consistency) {
            let message = format!("{} given; a consistency model has a sampler of its own", kind.name());
            return Err(Error::argument("sampler", message));
        }
        if sampler.spacing.is_some() || sampler.eta != 0.0 || sampler.until.is_some() {
            let message = "a consistency model's has neither spacing nor eta";
            return Err(Error::argument("sampler", message));
        }
        let train = model.levels;
        let steps = sampler.timesteps.as_ref().map_or(sampler.steps.unwrap_or(1) as usize, Vec::len);
        if !(1..=train).contains(&steps) {
            let message = format!("{steps} is not one of 1 to {train}, the model's noise levels");
            return Err(Error::argument("steps", message));
        }
        if let Some(levels) = &sampler.timesteps
            && let Some(i) = (0..steps).find(|&i| {
                let inside = usize::try_from(levels[i]).is_ok_and(|level| level < train);
                !inside || (i > 0 && levels[i] <= levels[i - 1])
            })
        {
            let message =
                format!("timesteps[{i}] = {}; noise levels ascend, from 0 to {}", levels[i], train - 1);
            return Err(Error::argument("timesteps", message));
        }
        // diffusers spreads K steps from the most noise on: 0, N / K (whole number), 2 (N / K), ...
        let level = |i: usize| match &sampler.timesteps {
            Some(levels) => levels[i] as usize,
            None => i * (train / steps),
        };
        self.reserve(steps)?;
        self.start = consistency::start(model, model.sigma(level(0)));
        for i in 0..steps {
            let sigma = model.sigma(level(i));
            let next = (i + 1 < steps).then(|| model.sigma(level(i + 1)));
            let step = consistency::step(model, sigma, next);
            self.push(level(i) as i32, model.time(sigma), step)?;
        }
        Ok(())
    }

    fn edm(&mut self, model: &Edm, sampler: &Sampler) -> Result<()> {
        let kind = sampler.kind.unwrap_or(Kind::Heun);
        if !matches!(kind, Kind::Euler | Kind::Heun) {
            let message = format!("{} given; EDM's are euler and heun", kind.name());
            return Err(Error::argument("sampler", message));
        }
        let own = sampler.timesteps.is_some() || sampler.spacing.is_some() || sampler.until.is_some();
        if own || sampler.eta != 0.0 {
            let message = "EDM's have neither timesteps nor spacing nor eta";
            return Err(Error::argument("sampler", message));
        }
        let steps = sampler.steps.unwrap_or(model.default_steps) as usize;
        if !(1..=MOST_STEPS).contains(&steps) {
            return Err(Error::argument("steps", format!("{steps} is not one of 1 to {MOST_STEPS}")));
        }
        self.reserve(if kind == Kind::Heun { 2 * steps - 1 } else { steps })?;
        self.start = edm::start(model, model.sigma(0, steps));
        for i in 0..steps {
            let sigma = model.sigma(i, steps);
            let next = if i + 1 < steps { model.sigma(i + 1, steps) } else { 0.0 };
            self.push(i as i32, model.time(sigma), edm::euler(model, sigma, next))?;
            if kind == Kind::Heun && next > 0.0 {
                self.push(i as i32 + 1, model.time(next), edm::correct(model, sigma, next))?;
                if let Some(corrected) = self.steps.last_mut() {
                    corrected.third = Third::Before;
                }
            }
        }
        Ok(())
    }

    fn teacher(&mut self, generator: &Generator, schedule: &Schedule, sampler: &Sampler) -> Result<()> {
        let eta = sampler.eta;
        let kind = sampler.kind.unwrap_or(Kind::Ddim);
        if !matches!(kind, Kind::Ddim | Kind::Ddpm) {
            let message = format!("{} given; a diffusion model's are ddim and ddpm", kind.name());
            return Err(Error::argument("sampler", message));
        }
        if kind == Kind::Ddim && !(0.0..=1.0).contains(&eta) {
            return Err(Error::argument("eta", format!("{eta} is not in [0, 1]")));
        }
        let timesteps = Timesteps::new(generator, schedule, sampler)?;
        let until = match sampler.until {
            Some(until) if (0..timesteps.get(timesteps.len() - 1)).contains(&until) => {
                Some(self.alphas_cumprod[until as usize])
            }
            Some(until) => {
                let last = timesteps.get(timesteps.len() - 1);
                return Err(Error::argument(
                    "until",
                    format!("{until} is not from 0 to below {last}, the last call's timestep"),
                ));
            }
            None => None,
        };
        self.reserve(timesteps.len())?;
        for i in 0..timesteps.len() {
            let t = timesteps.get(i);
            let alpha = self.alphas_cumprod[t as usize];
            let (next, last) = match kind {
                Kind::Ddim if !schedule.set_alpha_to_one => (timesteps.next_ddim(i), self.alphas_cumprod[0]),
                Kind::Ddim => (timesteps.next_ddim(i), 1.0),
                _ => (timesteps.next(i), 1.0),
            };
            let next = next.map_or(until.unwrap_or(last), |t| self.alphas_cumprod[t as usize]);
            let step = match kind {
                Kind::Ddim => ddim::step(schedule, alpha, next, eta),
                _ => ddpm::step(schedule, alpha, next, t > 0),
            };
            self.push(t, schedule.time(t), step)?;
            if let Some(planned) = self.steps.last_mut()
                && kind == Kind::Ddpm
                && schedule.learned_variance()
                && planned.is_noisy()
            {
                planned.spread = Some(ddpm::spread(alpha, next));
            }
        }
        Ok(())
    }

    fn reserve(&mut self, steps: usize) -> Result<()> {
        let bytes = (steps as u64).saturating_mul(size_of::<Planned>() as u64);
        self.steps
            .try_reserve_exact(steps)
            .map_err(|_| Error::OutOfMemory { what: "the plan of a sample", bytes })
    }

    /// Within what was reserved.
    fn push(&mut self, timestep: i32, time: f32, step: Step) -> Result<()> {
        let sums = step.clipped.map_or(0.0, |clipped| clipped.x + clipped.net + clipped.weight);
        if !(step.x + step.net + step.noise + sums).is_finite() {
            let alpha = self.alphas_cumprod.get(timestep as usize).copied().unwrap_or_default();
            return Err(Error::argument(
                "timesteps",
                format!(
                    "timestep {timestep} (alphas_cumprod {alpha}): the network's prediction says nothing about the image"
                ),
            ));
        }
        let stream = self.steps.len() as u32 + 1;
        let third = if step.noise > 0.0 { Third::Noise(stream) } else { Third::Nothing };
        self.steps.push(Planned { timestep, time, step, third, spread: None });
        Ok(())
    }
}

#[cfg(test)]
#[path = "plan_tests.rs"]
pub(super) mod tests;
