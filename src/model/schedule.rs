//! Noise levels: the beta schedules of diffusers, to the bit where its arithmetic allows it.

use super::{Prediction, Schedule, Spacing, Variance};
use crate::error::{Result, try_with_capacity};
use crate::fused::mul_add;
use std::f64::consts::FRAC_PI_2;

/// Ho et al. 2020: 1000 linear betas from 1e-4 to 0.02, a network that predicts the noise, no clipping.
impl Default for Schedule {
    fn default() -> Self {
        Self {
            betas: linspace(1e-4, 0.02, 1000).collect(),
            prediction: Prediction::Epsilon,
            clip: None,
            set_alpha_to_one: true,
            steps_offset: 0,
            spacing: Spacing::Leading,
            variance: Variance::FixedSmall,
            clip_noise: false,
            rescale_timesteps: false,
        }
    }
}

impl Schedule {
    /// T, the number of timesteps that the network was trained on; they run from 0 to T - 1.
    pub fn train_timesteps(&self) -> usize {
        self.betas.len()
    }

    /// Whether the network says how much noise DDPM's steps add.
    pub fn learned_variance(&self) -> bool {
        self.variance == Variance::LearnedRange
    }

    /// What the network is told at a timestep.
    pub fn time(&self, timestep: i32) -> f32 {
        if self.rescale_timesteps {
            timestep as f32 * (1000.0 / self.train_timesteps() as f32)
        } else {
            timestep as f32
        }
    }

    /// alpha-bar of every training timestep: the product of 1 - beta_s over s = 0..=t, in [0, 1] and falling. A
    /// timestep's image is sqrt(alpha-bar) x_0 + sqrt(1 - alpha-bar) eps.
    ///
    /// As `torch.cumprod` of an f32 tensor: the factors are f32, the running product is f64, each result rounded.
    ///
    /// # Errors
    /// OUT_OF_MEMORY.
    pub fn alphas_cumprod(&self) -> Result<Vec<f32>> {
        let mut out = Vec::new();
        self.alphas_cumprod_into(&mut out)?;
        Ok(out)
    }

    /// As [`Self::alphas_cumprod`], into a vector whose memory is used again.
    pub(crate) fn alphas_cumprod_into(&self, out: &mut Vec<f32>) -> Result<()> {
        out.clear();
        if out.capacity() < self.betas.len() {
            *out = try_with_capacity(self.betas.len(), "alphas_cumprod")?;
        }
        let mut product = 1.0_f64;
        out.extend(self.betas.iter().map(|beta| {
            product *= f64::from(1.0 - beta);
            product as f32
        }));
        Ok(())
    }

    /// Betas of diffusers' `linear`: n values from `beta_start` to `beta_end` (Ho et al. 2020).
    ///
    /// # Errors
    /// OUT_OF_MEMORY, as for the other schedules.
    pub fn linear(beta_start: f64, beta_end: f64, n: usize) -> Result<Vec<f32>> {
        collect(n, linspace(beta_start, beta_end, n))
    }

    /// Betas of diffusers' `scaled_linear`: linear in sqrt(beta) (Rombach et al. 2022).
    pub fn scaled_linear(beta_start: f64, beta_end: f64, n: usize) -> Result<Vec<f32>> {
        collect(n, linspace(beta_start.sqrt(), beta_end.sqrt(), n).map(|root| root * root))
    }

    /// Betas of diffusers' `squaredcos_cap_v2`: alpha-bar falls as a squared cosine, beta is at most 0.999 (Nichol
    /// and Dhariwal 2021, equation 17).
    pub fn squaredcos_cap_v2(n: usize) -> Result<Vec<f32>> {
        let alpha_bar = |i: usize| {
            let cos = ((i as f64 / n as f64 + 0.008) / 1.008 * FRAC_PI_2).cos();
            cos * cos
        };
        collect(n, (0..n).map(|i| (1.0 - alpha_bar(i + 1) / alpha_bar(i)).min(0.999) as f32))
    }

    /// Betas moved so that the last timestep is noise alone: sqrt(alpha-bar) shifted to end at 0 and stretched to begin where it
    /// did (Lin et al. 2024, algorithm 1; diffusers' `rescale_betas_zero_snr`).
    pub fn zero_terminal_snr(betas: &[f32]) -> Result<Vec<f32>> {
        let mut roots = Vec::new();
        Self { betas: collect(betas.len(), betas.iter().copied())?, ..Self::default() }
            .alphas_cumprod_into(&mut roots)?;
        roots.iter_mut().for_each(|alpha_bar| *alpha_bar = alpha_bar.sqrt());
        let (Some(&first), Some(&last)) = (roots.first(), roots.last()) else { return Ok(Vec::new()) };
        let scale = first / (first - last);
        let alpha_bar = |root: f32| {
            let root = (root - last) * scale;
            root * root
        };
        let alpha = |i: usize| match i {
            0 => alpha_bar(roots[0]),
            _ => alpha_bar(roots[i]) / alpha_bar(roots[i - 1]),
        };
        collect(betas.len(), (0..betas.len()).map(|i| 1.0 - alpha(i)))
    }
}

fn collect(n: usize, values: impl Iterator<Item = f32>) -> Result<Vec<f32>> {
    let mut out = try_with_capacity(n, "betas")?;
    out.extend(values);
    Ok(out)
}

/// `torch.linspace` in f32: each half is counted from its own end, with a fused multiply-add.
fn linspace(start: f64, end: f64, n: usize) -> impl Iterator<Item = f32> {
    let (start, end) = (start as f32, end as f32);
    let step = if n > 1 { (end - start) / (n - 1) as f32 } else { 0.0 };
    (0..n).map(move |i| {
        if i < n / 2 || n == 1 {
            mul_add(step, i as f32, start)
        } else {
            mul_add(-step, (n - 1 - i) as f32, end)
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_ddpms() {
        let schedule = Schedule::default();
        assert_eq!(schedule.train_timesteps(), 1000);
        assert_eq!((schedule.betas[0], schedule.betas[999]), (1e-4, 0.02));
        let alphas_cumprod = schedule.alphas_cumprod().unwrap();
        assert_eq!(alphas_cumprod[0], 0.9999);
        assert!(alphas_cumprod.windows(2).all(|pair| pair[1] < pair[0]));
        assert!((alphas_cumprod[999] - 4.0358e-5).abs() < 1e-9);
    }

    #[test]
    fn short_schedules_are_whole() {
        assert!(Schedule::linear(0.1, 0.2, 0).unwrap().is_empty());
        assert_eq!(Schedule::linear(0.1, 0.2, 1).unwrap(), [0.1]);
        assert_eq!(Schedule::linear(0.1, 0.2, 2).unwrap(), [0.1, 0.2]);
        assert_eq!(Schedule::squaredcos_cap_v2(3).unwrap().len(), 3);
        assert_eq!(*Schedule::squaredcos_cap_v2(3).unwrap().last().unwrap(), 0.999);
    }

    #[test]
    fn a_vector_used_again_is_not_reallocated() {
        let schedule = Schedule::default();
        let mut out = schedule.alphas_cumprod().unwrap();
        let (pointer, before) = (out.as_ptr(), out.clone());
        schedule.alphas_cumprod_into(&mut out).unwrap();
        assert_eq!((out.as_ptr(), out), (pointer, before));
    }
}
