//! How a student learns: settings, and the paper's recipes as presets.

use super::optim::{AdamForm, AdamOptions, Rate, check_clip, check_decays, check_parts, check_positive};
use super::run::Optimization;
use crate::error::{Error, Result};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The distance between what a student draws and its target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Loss {
    /// Absolute differences.
    L1,
    /// Squared differences: the Kullback-Leibler divergence between Gaussians of unit variance, but for a factor.
    L2,
    /// The paired consistency loss, at every level of noise between noise and image.
    Paired,
}

/// What differences are divided by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reduction {
    /// The number of images: the paper's, a sum over pixels.
    Sum,
    /// The number of values of all images.
    Mean,
}

/// How a student learns; as TOML, and in `settings.json` of its run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DistillSettings {
    /// The distance to the target.
    pub loss: Loss,
    /// What it is divided by.
    pub reduction: Reduction,
    /// A network whose LPIPS distance to the target is added, a file as [`Lpips::open`](super::Lpips::open) reads it. A run
    /// keeps its checksum, not its path.
    #[serde(skip_serializing)]
    pub lpips: Option<PathBuf>,
    /// What it is multiplied by. LPIPS is a mean over images, whatever the reduction.
    #[serde(skip_serializing)]
    pub lpips_weight: f64,
    /// Weight of distribution matching beside it (DMD: Yin et al. 2024); 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub dmd: f64,
    /// Weight of an adversarial loss beside it, against images of a folder; 0 for none.
    #[serde(skip_serializing_if = "is_zero")]
    pub adversarial: f64,
    /// Images a step.
    pub batch: usize,
    /// Parts that a step's images are taken in, for less memory.
    pub accumulate: usize,
    /// The highest learning rate.
    pub rate: f64,
    /// Steps of its linear rise.
    pub warmup: u64,
    /// The rise begins at 0, so that the first step moves nothing: the paper's.
    pub from_zero: bool,
    /// The rate falls along half a cosine to a fiftieth, rather than staying.
    pub cosine: bool,
    /// Decay rates of Adam's moments.
    pub betas: [f64; 2],
    /// Adam's epsilon as Keras has it (the paper's), rather than as PyTorch.
    pub keras_adam: bool,
    /// Largest norm of a gradient; 0 for any.
    pub clip: f64,
    /// Decay of the moving average of the weights.
    pub ema: f64,
    /// Begin the average with less.
    pub ema_warmup: bool,
    /// Times that all pairs are learnt from; 0 where `steps` counts.
    pub epochs: u64,
    /// Steps of the optimiser, where there are no epochs.
    pub steps: u64,
    /// Steps from one test to the next; 0: an epoch.
    pub test_every: u64,
    /// Pairs kept for tests; at most a tenth of all.
    pub test: usize,
    /// Of everything random.
    pub seed: u64,
}

/// Runs of earlier versions do not name it.
fn is_zero(value: &f64) -> bool {
    *value == 0.0
}

impl Default for DistillSettings {
    fn default() -> Self {
        Self::preset("small").unwrap_or_else(|| Self::paper(512, 2e-4, [0.9, 0.98], 25))
    }
}

impl DistillSettings {
    /// The names of the presets.
    pub const PRESETS: [&'static str; 5] = ["small", "cifar10", "celeba", "lsun-church", "lsun-bedroom"];

    /// A preset: the paper's recipe for a data set, or `small`, for small networks and short runs.
    pub fn preset(name: &str) -> Option<Self> {
        let base = |batch, rate, betas, epochs| Self::paper(batch, rate, betas, epochs);
        Some(match name {
            "cifar10" => base(512, 2e-4, [0.9, 0.98], 25),
            "celeba" => Self { loss: Loss::L2, test: 10_240, ..base(512, 5e-5, [0.9, 0.98], 35) },
            "lsun-church" => Self::lsun(40),
            "lsun-bedroom" => Self::lsun(50),
            "small" => Self {
                reduction: Reduction::Mean,
                batch: 128,
                warmup: 200,
                from_zero: false,
                cosine: true,
                keras_adam: false,
                clip: 1.0,
                ema_warmup: true,
                epochs: 0,
                steps: 5000,
                test: 512,
                ..base(128, 6e-4, [0.9, 0.98], 0)
            },
            _ => return None,
        })
    }

    fn lsun(epochs: u64) -> Self {
        Self {
            loss: Loss::L2,
            warmup: 1000,
            ema: 0.9995,
            test: 2560,
            ..Self::paper(32, 5e-6, [0.98, 0.999], epochs)
        }
    }

    /// What the paper's recipes have in common.
    fn paper(batch: usize, rate: f64, betas: [f64; 2], epochs: u64) -> Self {
        Self {
            loss: Loss::L1,
            reduction: Reduction::Sum,
            lpips: None,
            lpips_weight: 1.0,
            dmd: 0.0,
            adversarial: 0.0,
            batch,
            accumulate: 1,
            rate,
            warmup: 5000,
            from_zero: true,
            cosine: false,
            betas,
            keras_adam: true,
            clip: 0.0,
            ema: 0.995,
            ema_warmup: false,
            epochs,
            steps: 0,
            test_every: 0,
            test: 51_200,
            seed: 0,
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let (batch, accumulate) = (self.batch as f64, self.accumulate as f64);
        check_positive(&[("batch", batch), ("accumulate", accumulate), ("rate", self.rate)])?;
        check_parts(self.batch, self.accumulate)?;
        if !(self.lpips_weight > 0.0 && self.lpips_weight.is_finite()) {
            let message = format!("{} given; it must be more than 0", self.lpips_weight);
            return Err(Error::argument("lpips_weight", message));
        }
        for (name, weight) in [("dmd", self.dmd), ("adversarial", self.adversarial)] {
            if !(weight >= 0.0 && weight.is_finite()) {
                return Err(Error::argument(name, format!("{weight} given; it must be 0 (none) or more")));
            }
        }
        if self.dmd > 0.0 && self.adversarial > 0.0 {
            return Err(Error::argument(
                "adversarial",
                "one second network learns beside a student: dmd has it already",
            ));
        }
        check_clip(self.clip)?;
        check_decays(&[("ema", self.ema), ("betas", self.betas[0]), ("betas", self.betas[1])])?;
        if (self.epochs == 0) == (self.steps == 0) {
            let message = format!("{} epochs and {} steps; one of both", self.epochs, self.steps);
            return Err(Error::argument("epochs", message));
        }
        Ok(())
    }

    /// What a loss of a step's images of `len` values is divided by, for one value.
    pub(super) fn number(&self, len: usize) -> f64 {
        match (self.loss, self.reduction) {
            (Loss::L1 | Loss::L2, Reduction::Sum) => self.batch as f64,
            _ => (self.batch * len) as f64,
        }
    }

    pub(super) fn optimization(&self, steps: u64) -> Optimization {
        Optimization {
            steps,
            rate: Rate {
                peak: self.rate,
                warmup: self.warmup,
                cosine_to: self.cosine.then_some(0.02),
                from_zero: self.from_zero,
            },
            adam: AdamOptions {
                betas: self.betas,
                eps: 1e-8,
                form: if self.keras_adam { AdamForm::Keras } else { AdamForm::Torch },
                weight_decay: 0.0,
            },
            clip: (self.clip > 0.0).then_some(self.clip),
            ema: self.ema,
            ema_warmup: self.ema_warmup,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_the_papers() {
        for name in DistillSettings::PRESETS {
            DistillSettings::preset(name).unwrap().check().unwrap();
        }
        assert!(DistillSettings::preset("imagenet").is_none());
        let cifar10 = DistillSettings::preset("cifar10").unwrap();
        assert_eq!((cifar10.loss, cifar10.batch, cifar10.epochs, cifar10.test), (Loss::L1, 512, 25, 51_200));
        let optimization = cifar10.optimization(50_000);
        assert_eq!(
            (optimization.rate.at(0, 50_000), optimization.rate.at(4999, 50_000)),
            (0.0, 2e-4 * 4999.0 / 5000.0)
        );
        assert_eq!(
            (optimization.rate.at(49_999, 50_000), optimization.clip, optimization.ema),
            (2e-4, None, 0.995)
        );
        assert_eq!((optimization.adam.form, optimization.adam.betas), (AdamForm::Keras, [0.9, 0.98]));
        let church = DistillSettings::preset("lsun-church").unwrap();
        assert_eq!((church.loss, church.batch, church.rate, church.warmup), (Loss::L2, 32, 5e-6, 1000));
        assert_eq!((church.betas, church.ema, church.epochs, church.test), ([0.98, 0.999], 0.9995, 40, 2560));
    }

    #[test]
    fn contradictions_are_named() {
        let wrong = |change: &dyn Fn(&mut DistillSettings)| {
            let mut settings = DistillSettings::default();
            change(&mut settings);
            settings.check().unwrap_err().to_string()
        };
        assert!(wrong(&|s| s.accumulate = 3).contains("3 parts of 128"));
        assert!(wrong(&|s| s.batch = 0).contains("batch: 0"));
        assert!(wrong(&|s| s.accumulate = 0).contains("accumulate: 0"));
        assert!(wrong(&|s| s.clip = f64::NAN).contains("clip: NaN"));
        assert!(wrong(&|s| s.clip = -1.0).contains("clip: -1"));
        assert!(wrong(&|s| s.rate = f64::NAN).contains("rate: NaN"));
        assert!(wrong(&|s| s.lpips_weight = 0.0).contains("lpips_weight: 0"));
        assert!(wrong(&|s| s.betas[1] = 1.0).contains("betas: 1"));
        assert!(wrong(&|s| s.epochs = 2).contains("2 epochs and 5000 steps"));
    }
}
