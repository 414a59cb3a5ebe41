//! The timesteps of a diffusion process as training sees them.

use crate::error::Result;
use crate::model::{Prediction, Schedule};

/// A timestep: x_t = `image` x_0 + `noise` eps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Level {
    /// What the network is told.
    pub time: f32,
    /// sqrt(alpha-bar)
    pub image: f64,
    /// sqrt(1 - alpha-bar)
    pub noise: f64,
}

impl Level {
    /// All timesteps of a schedule.
    ///
    /// # Errors
    /// Those of [`Schedule::alphas_cumprod`].
    pub fn all(schedule: &Schedule) -> Result<Vec<Level>> {
        let level = |(k, &alpha): (usize, &f32)| {
            let alpha = f64::from(alpha);
            Level { time: schedule.time(k as i32), image: alpha.sqrt(), noise: (1.0 - alpha).sqrt() }
        };
        Ok(schedule.alphas_cumprod()?.iter().enumerate().map(level).collect())
    }

    /// A noised value, and what a network should say of it.
    pub fn noised(&self, prediction: Prediction, x_0: f32, eps: f32) -> (f32, f32) {
        let (a, b) = (self.image as f32, self.noise as f32);
        let target = match prediction {
            Prediction::Epsilon => eps,
            Prediction::Sample => x_0,
            Prediction::V => a * eps - b * x_0,
            Prediction::Flow => eps - x_0,
        };
        (a * x_0 + b * eps, target)
    }
}
