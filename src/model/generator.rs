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
    /// A model of the noise level itself: draws in K steps over levels that crowd towards the least.
    Edm(Edm),
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
        karras(self.sigma_max, self.sigma_min, self.rho, i, self.levels)
    }

    /// What the network is told of a noise level: 250 ln(sigma).
    pub fn time(&self, sigma: f64) -> f32 {
        (250.0 * (sigma + 1e-44).ln()) as f32
    }
}

/// How a raw prediction and the noise level give the denoised image, D = c_skip x + c_out net(c_in x; time).
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Preconditioning {
    /// Karras et al. 2022: c_skip = d^2 / (sigma^2 + d^2), c_out = sigma d / sqrt(sigma^2 + d^2),
    /// c_in = 1 / sqrt(sigma^2 + d^2), time = ln(sigma) / 4, where d is sigma_data.
    Edm,
    /// Of networks trained as variance-preserving (Song et al. 2021b): c_skip = 1, c_out = -sigma,
    /// c_in = 1 / sqrt(sigma^2 + 1), time = (M - 1) t(sigma).
    Vp {
        /// How fast beta grows, 19.9.
        beta_d: f64,
        /// Where it begins, 0.1.
        beta_min: f64,
        /// M, 1000.
        timesteps: usize,
    },
}

/// A model over continuous noise levels (Karras et al. 2022, "EDM").
#[derive(Clone, Debug, PartialEq)]
pub struct Edm {
    /// The least noise that it samples at.
    pub sigma_min: f64,
    /// The most, where sampling begins.
    pub sigma_max: f64,
    /// Standard deviation of the data.
    pub sigma_data: f64,
    /// How the levels crowd towards the least noise.
    pub rho: f64,
    /// What its predictions mean.
    pub preconditioning: Preconditioning,
    /// How many times the usual the network is told of a noise level: 1000 in consistency_models' EDM.
    pub time_scale: f64,
    /// K where the caller names none.
    pub default_steps: u32,
}

impl Default for Edm {
    /// As published for CIFAR-10.
    fn default() -> Self {
        Self {
            sigma_min: 0.002,
            sigma_max: 80.0,
            sigma_data: 0.5,
            rho: 7.0,
            preconditioning: Preconditioning::Edm,
            time_scale: 1.0,
            default_steps: 18,
        }
    }
}

impl Edm {
    /// sigma of level `i` of `steps`; the last step goes from the last of them to 0.
    pub fn sigma(&self, i: usize, steps: usize) -> f64 {
        karras(self.sigma_max, self.sigma_min, self.rho, i, steps)
    }

    /// What the state is scaled with for the network.
    pub fn c_in(&self, sigma: f64) -> f64 {
        match self.preconditioning {
            Preconditioning::Edm => 1.0 / sigma.hypot(self.sigma_data),
            Preconditioning::Vp { .. } => 1.0 / sigma.hypot(1.0),
        }
    }

    /// The part of the state in the denoised image.
    pub fn c_skip(&self, sigma: f64) -> f64 {
        let d = self.sigma_data;
        match self.preconditioning {
            Preconditioning::Edm => d * d / (sigma * sigma + d * d),
            Preconditioning::Vp { .. } => 1.0,
        }
    }

    /// The part of the raw prediction in it.
    pub fn c_out(&self, sigma: f64) -> f64 {
        match self.preconditioning {
            Preconditioning::Edm => sigma * self.sigma_data / sigma.hypot(self.sigma_data),
            Preconditioning::Vp { .. } => -sigma,
        }
    }

    /// What the network is told of a noise level.
    pub fn time(&self, sigma: f64) -> f32 {
        match self.preconditioning {
            Preconditioning::Edm => (self.time_scale * sigma.ln() / 4.0) as f32,
            Preconditioning::Vp { beta_d, beta_min, timesteps } => {
                // sigma(t) = sqrt(e^(beta_d t^2 / 2 + beta_min t) - 1), solved for t.
                let grown = (beta_min * beta_min + 2.0 * beta_d * (sigma * sigma).ln_1p()).sqrt();
                (self.time_scale * (timesteps as f64 - 1.0) * (grown - beta_min) / beta_d) as f32
            }
        }
    }
}

/// (most^(1/rho) + i / (n - 1) (least^(1/rho) - most^(1/rho)))^rho
fn karras(most: f64, least: f64, rho: f64, i: usize, n: usize) -> f64 {
    let along = if n > 1 { i as f64 / (n - 1) as f64 } else { 0.0 };
    let [most, least] = [most, least].map(|sigma| sigma.powf(1.0 / rho));
    (most + along * (least - most)).powf(rho)
}

impl Generator {
    /// Whether one call draws an image, or K do.
    pub fn role(&self) -> Role {
        match self {
            Generator::Student { .. } | Generator::Consistency(_) => Role::Student,
            // D(sigma_max z; sigma_max), as of a student of an EDM teacher.
            Generator::Edm(Edm { default_steps: 1, .. }) | Generator::Teacher { default_steps: 1, .. } => {
                Role::Student
            }
            Generator::Teacher { .. } | Generator::FewSteps { .. } | Generator::Edm(_) => Role::Teacher,
        }
    }

    /// Its name in files, and where one is printed.
    pub fn kind(&self) -> &'static str {
        match self {
            Generator::Teacher { .. } => "teacher",
            Generator::FewSteps { .. } => "few_steps",
            Generator::Student { .. } => "student",
            Generator::Consistency(_) => "consistency",
            Generator::Edm(_) => "edm",
        }
    }

    /// The diffusion process, of those that have one.
    pub fn schedule(&self) -> Option<&Schedule> {
        match self {
            Generator::Teacher { schedule, .. }
            | Generator::FewSteps { schedule, .. }
            | Generator::Student { schedule, .. } => Some(schedule),
            Generator::Consistency(_) | Generator::Edm(_) => None,
        }
    }

    /// The bound to which samplers clamp their estimate of the image, if they do; none for those that never do.
    pub fn clip_mut(&mut self) -> Option<&mut Option<f32>> {
        match self {
            Generator::Teacher { schedule, .. }
            | Generator::FewSteps { schedule, .. }
            | Generator::Student { schedule, .. } => Some(&mut schedule.clip),
            Generator::Consistency(consistency) => Some(&mut consistency.clip),
            Generator::Edm(_) => None,
        }
    }

    /// How many timesteps, or noise levels, the network was trained on; they are numbered from 0. EDM has none.
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
            Generator::Edm(model) => model.default_steps,
        }
    }

    /// How the output of the paper's student is read; none for others.
    pub fn student_output(&self) -> Option<StudentOutput> {
        match self {
            Generator::Student { output, .. } => Some(*output),
            _ => None,
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
            _ => self.schedule().map_or(timestep as f32, |schedule| schedule.time(timestep)),
        }
    }
}
