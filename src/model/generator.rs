//! What a model is: how its network's raw predictions become images.

use super::{Role, Schedule, StudentOutput};

/// A kind of model, with what it alone has.
#[derive(Clone, Debug, PartialEq)]
pub enum Generator {
    /// A diffusion model: draws in K network calls (Ho et al. 2020, Song et al. 2021).
    Teacher {
        /// The diffusion process.
        schedule: Schedule,
        /// K where the caller names none.
        default_steps: u32,
    },
    /// A student of several steps: DDIM's, at the timesteps that it was trained for.
    FewSteps {
        /// Its teacher's diffusion process.
        schedule: Schedule,
        /// Of its calls, descending.
        timesteps: Vec<i32>,
    },
    /// The paper's student: draws in one call (Luhman & Luhman 2021).
    Student {
        /// Its teacher's diffusion process.
        schedule: Schedule,
        /// How its raw output becomes x_0.
        output: StudentOutput,
    },
    /// A consistency model: draws in one call, or in a few with fresh noise between them.
    Consistency(Consistency),
}

/// A consistency model's noise levels (Song et al. 2023; diffusers' `CMStochasticIterativeScheduler`).
#[derive(Clone, Debug, PartialEq)]
pub struct Consistency {
    /// N, how many noise levels there are.
    pub levels: usize,
    /// The least noise's standard deviation.
    pub sigma_min: f64,
    /// The most noise's.
    pub sigma_max: f64,
    /// Standard deviation of the data.
    pub sigma_data: f64,
    /// How the levels crowd towards the least noise (Karras et al. 2022).
    pub rho: f64,
    /// The bound to which each image is clamped, if it is.
    pub clip: Option<f32>,
}

impl Default for Consistency {
    /// The published models', with the N of those that were distilled.
    fn default() -> Self {
        Self { levels: 40, sigma_min: 0.002, sigma_max: 80.0, sigma_data: 0.5, rho: 7.0, clip: Some(1.0) }
    }
}

impl Consistency {
    /// sigma of level `i`, of which 0 has the most noise:
    /// (sigma_max^(1/rho) + i / (N - 1) (sigma_min^(1/rho) - sigma_max^(1/rho)))^rho.
    pub fn sigma(&self, i: usize) -> f64 {
        let (most, least) = (self.sigma_max.powf(1.0 / self.rho), self.sigma_min.powf(1.0 / self.rho));
        let along = if self.levels > 1 { i as f64 / (self.levels - 1) as f64 } else { 0.0 };
        (most + along * (least - most)).powf(self.rho)
    }

    /// What the network is told of a noise level: 250 ln(sigma).
    pub fn time(&self, sigma: f64) -> f32 {
        (250.0 * (sigma + 1e-44).ln()) as f32
    }
}

impl Generator {
    /// Whether one call draws an image, or K do.
    pub fn role(&self) -> Role {
        match self {
            Generator::Teacher { .. } | Generator::FewSteps { .. } => Role::Teacher,
            Generator::Student { .. } | Generator::Consistency(_) => Role::Student,
        }
    }

    /// Its name where one is printed.
    pub fn kind(&self) -> &'static str {
        match self {
            Generator::Teacher { .. } => "teacher",
            Generator::FewSteps { .. } => "student of several steps",
            Generator::Student { .. } => "student",
            Generator::Consistency(_) => "consistency",
        }
    }

    /// The diffusion process, of those that have one.
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Generator::Teacher { schedule, .. }
            | Generator::FewSteps { schedule, .. }
            | Generator::Student { schedule, .. } => Some(schedule),
            Generator::Consistency(_) => None,
        }
    }

    /// The bound to which samplers clamp their estimate of the image, if they do.
    pub fn clip_mut(&mut self) -> &mut Option<f32> {
        match self {
            Generator::Teacher { schedule, .. }
            | Generator::FewSteps { schedule, .. }
            | Generator::Student { schedule, .. } => &mut schedule.clip,
            Generator::Consistency(consistency) => &mut consistency.clip,
        }
    }

    /// How many timesteps, or noise levels, the network was trained on; they are numbered from 0.
    pub fn train_timesteps(&self) -> usize {
        match self {
            Generator::Consistency(consistency) => consistency.levels,
            _ => self.schedule().map_or(0, Schedule::train_timesteps),
        }
    }

    /// Network calls an image where the caller names no number.
    pub fn default_steps(&self) -> u32 {
        match self {
            Generator::Teacher { default_steps, .. } => *default_steps,
            Generator::FewSteps { timesteps, .. } => timesteps.len() as u32,
            Generator::Student { .. } | Generator::Consistency(_) => 1,
        }
    }

    /// The timesteps that a student of several steps was trained for.
    pub fn timesteps(&self) -> Option<&[i32]> {
        match self {
            Generator::FewSteps { timesteps, .. } => Some(timesteps),
            _ => None,
        }
    }

    /// What the network is told at one of the timesteps.
    pub fn time(&self, timestep: i32) -> f32 {
        match self {
            Generator::Consistency(consistency) => {
                consistency.time(consistency.sigma(timestep.max(0) as usize))
            }
            _ => timestep as f32,
        }
    }
}
