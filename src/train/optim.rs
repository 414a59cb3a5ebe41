//! Adam, gradient clipping, and the moving average of the weights.

use crate::error::{Error, Result, try_zeroed};

/// Where Adam adds its epsilon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AdamForm {
    /// Kingma and Ba's: rate m^ / (sqrt(v^) + eps), with m^ and v^ free of bias.
    Torch,
    /// Keras': rate sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), whose epsilon is larger by 1 / sqrt(1 - b2^t). The
    /// paper's.
    Keras,
}

/// What of Adam does not change from step to step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamOptions {
    /// Decay rates of the moments, b1 and b2.
    pub betas: [f64; 2],
    /// Keeps the quotient finite.
    pub eps: f64,
    /// See [`AdamForm`].
    pub form: AdamForm,
    /// What each step takes from the parameters, times the rate (AdamW: Loshchilov and Hutter 2019).
    pub weight_decay: f64,
}

impl Default for AdamOptions {
    fn default() -> Self {
        Self { betas: [0.9, 0.999], eps: 1e-8, form: AdamForm::Torch, weight_decay: 0.0 }
    }
}

/// Adam (Kingma and Ba 2015), with its moments.
#[derive(Clone, Debug)]
pub struct Adam {
    options: AdamOptions,
    /// First and second moments of the gradients.
    pub moments: [Vec<f32>; 2],
    /// Steps made.
    pub steps: u64,
}

impl Adam {
    /// Before the first step, for as many parameters.
    ///
    /// # Errors
    /// OUT_OF_MEMORY.
    pub fn new(options: AdamOptions, parameters: usize) -> Result<Self> {
        let zeros = || try_zeroed(parameters, "an optimiser's state");
        Ok(Self { options, moments: [zeros()?, zeros()?], steps: 0 })
    }

    /// Moves the parameters against their gradients, each of which is multiplied by `factor` first.
    pub fn step(&mut self, parameters: &mut [f32], gradients: &[f32], factor: f32, rate: f64) {
        let AdamOptions { betas: [b1, b2], eps, form, weight_decay } = self.options;
        let kept = (1.0 - rate * weight_decay) as f32;
        self.steps += 1;
        let correction = [b1, b2].map(|beta| 1.0 - beta.powf(self.steps as f64));
        let (rate, eps) = match form {
            // rate m / c1 / (sqrt(v / c2) + eps), with sqrt(c2) taken out of the quotient.
            AdamForm::Torch => (rate / correction[0] * correction[1].sqrt(), eps * correction[1].sqrt()),
            AdamForm::Keras => (rate / correction[0] * correction[1].sqrt(), eps),
        };
        let (b1, b2, rate, eps) = (b1 as f32, b2 as f32, rate as f32, eps as f32);
        let [first, second] = &mut self.moments;
        let moments = first.iter_mut().zip(second);
        for ((parameter, gradient), (m, v)) in parameters.iter_mut().zip(gradients).zip(moments) {
            let gradient = gradient * factor;
            *m += (1.0 - b1) * (gradient - *m);
            *v += (1.0 - b2) * (gradient * gradient - *v);
            *parameter = *parameter * kept - rate * *m / (v.sqrt() + eps);
        }
    }
}

/// The Euclidean norm of all gradients together.
pub fn norm(gradients: &[f32]) -> f64 {
    let blocks = gradients.chunks(1024).map(|block| {
        let mut sums = [0.0f64; 8];
        for chunk in block.chunks(8) {
            for (sum, &value) in sums.iter_mut().zip(chunk) {
                *sum += f64::from(value) * f64::from(value);
            }
        }
        sums.iter().sum::<f64>()
    });
    blocks.sum::<f64>().sqrt()
}

/// What gradients of this norm are multiplied with so that it is `limit` at most; 1 where there is no limit.
pub fn clip_factor(norm: f64, limit: Option<f64>) -> f64 {
    // As PyTorch's `clip_grad_norm_`.
    limit.map_or(1.0, |limit| (limit / (norm + 1e-6)).min(1.0))
}

/// Moves a moving average: average = decay average + (1 - decay) value.
pub fn average(average: &mut [f32], values: &[f32], decay: f64) {
    let step = (1.0 - decay) as f32;
    for (average, value) in average.iter_mut().zip(values) {
        *average += step * (value - *average);
    }
}

/// That settings, by their names, are more than 0.
pub(super) fn check_positive(values: &[(&'static str, f64)]) -> Result<()> {
    match values.iter().find(|(_, value)| value.is_nan() || *value <= 0.0) {
        Some((name, value)) => Err(Error::argument(name, format!("{value} given; it must be more than 0"))),
        None => Ok(()),
    }
}

/// That a step's images can be divided into so many parts.
pub(super) fn check_parts(batch: usize, accumulate: usize) -> Result<()> {
    if batch.is_multiple_of(accumulate) {
        return Ok(());
    }
    Err(Error::argument("accumulate", format!("{accumulate} parts of {batch} images")))
}

/// That a gradient's largest norm is none, or a length.
pub(super) fn check_clip(clip: f64) -> Result<()> {
    if clip >= 0.0 { Ok(()) } else { Err(Error::argument("clip", format!("{clip} given; 0 (any) or more"))) }
}

/// That decay rates, by their settings' names, are from 0 to less than 1.
pub(super) fn check_decays(decays: &[(&'static str, f64)]) -> Result<()> {
    match decays.iter().find(|(_, decay)| !(0.0..1.0).contains(decay)) {
        Some((name, decay)) => Err(Error::argument(name, format!("{decay} given; 0 to less than 1"))),
        None => Ok(()),
    }
}

/// How the learning rate goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rate {
    /// The highest.
    pub peak: f64,
    /// Steps of linear rise.
    pub warmup: u64,
    /// Half a cosine down to this fraction of the peak at the last step; none: constant.
    pub cosine_to: Option<f64>,
    /// Where the rise begins.
    pub from_zero: bool,
}

impl Rate {
    /// The rate of step `step`, 0 the first, of `steps`.
    pub fn at(&self, step: u64, steps: u64) -> f64 {
        // The paper's counts from 0, so that its first step moves nothing.
        let done = if self.from_zero { step } else { step + 1 } as f64;
        let rise = if self.warmup == 0 { 1.0 } else { (done / self.warmup as f64).min(1.0) };
        let fall = self.cosine_to.map_or(1.0, |floor| {
            let progress = step as f64 / steps.max(1) as f64;
            let half_cosine = 0.5 * (1.0 + (std::f64::consts::PI * progress.min(1.0)).cos());
            half_cosine * (1.0 - floor) + floor
        });
        self.peak * rise * fall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adam_is_its_formula_in_both_forms() {
        for (form, weight_decay) in [(AdamForm::Torch, 0.0), (AdamForm::Keras, 0.0), (AdamForm::Torch, 0.3)] {
            let options = AdamOptions { betas: [0.9, 0.98], eps: 1e-3, form, weight_decay };
            let mut adam = Adam::new(options, 1).unwrap();
            let (mut x, mut m, mut v) = (vec![1.0f32], 0.0f64, 0.0f64);
            let mut expected = 1.0f64;
            for t in 1..=20 {
                let gradient = 0.01 * f64::from(t) - 0.05;
                adam.step(&mut x, &[gradient as f32 * 2.0], 0.5, 0.1);
                m = 0.9 * m + 0.1 * gradient;
                v = 0.98 * v + 0.02 * gradient * gradient;
                let (c1, c2) = (1.0 - 0.9f64.powi(t), 1.0 - 0.98f64.powi(t));
                expected *= 1.0 - 0.1 * weight_decay;
                expected -= match form {
                    AdamForm::Torch => 0.1 * (m / c1) / ((v / c2).sqrt() + 1e-3),
                    AdamForm::Keras => 0.1 * c2.sqrt() / c1 * m / (v.sqrt() + 1e-3),
                };
                assert!((f64::from(x[0]) - expected).abs() < 1e-5, "{form:?} step {t}");
            }
        }
    }

    #[test]
    fn rates_rise_and_fall() {
        let paper = Rate { peak: 2e-4, warmup: 5000, cosine_to: None, from_zero: true };
        assert_eq!(paper.at(0, 10), 0.0);
        assert_eq!(paper.at(2500, 10), 1e-4);
        assert_eq!(paper.at(9999, 10), 2e-4);
        let cosine = Rate { peak: 1.0, warmup: 10, cosine_to: Some(0.1), from_zero: false };
        assert_eq!(cosine.at(0, 100), 0.1);
        assert!((cosine.at(50, 100) - 0.55).abs() < 1e-12);
        assert!((cosine.at(100, 100) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn long_gradients_are_cut_to_the_limit() {
        let gradients: Vec<f32> = (0..3000).map(|i| (i % 7) as f32).collect();
        let expected = gradients.iter().map(|&g| f64::from(g * g)).sum::<f64>().sqrt();
        let found = norm(&gradients);
        assert!((found - expected).abs() < 1e-9 * expected);
        assert!((clip_factor(found, Some(1.0)) * found - 1.0).abs() < 1e-5);
        assert_eq!((clip_factor(0.5, Some(1.0)), clip_factor(1e9, None)), (1.0, 1.0));
    }
}
