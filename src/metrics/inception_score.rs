//! Inception Score (Salimans et al. 2016): exp of the mean divergence of an image's classes from all images' classes.

use super::Estimate;
use super::features::Features;
use crate::error::{Error, Result};

/// Parts that the images are cut into, in their order.
pub const SPLITS: usize = 10;

/// Over [`SPLITS`] parts.
///
/// # Errors
/// INVALID_ARGUMENT (`metrics`) for features without logits, and for fewer images than parts; IO.
pub fn inception_score(features: &Features) -> Result<Estimate> {
    let (n, classes) = (features.len(), features.manifest().classes);
    if classes == 0 || n < SPLITS {
        let message =
            format!("is: {n} images with {classes} logits each; at least {SPLITS} with some are needed");
        return Err(Error::argument("metrics", message));
    }
    let (mut logits, mut p) = (vec![0.0; classes], vec![0.0; classes]);
    let mut scores = [0.0; SPLITS];
    for (split, score) in scores.iter_mut().enumerate() {
        let images = split * n / SPLITS..(split + 1) * n / SPLITS;
        let count = images.len() as f64;
        let mut mean = vec![0.0; classes];
        // Of each image, the sum of p ln p.
        let mut negative_entropies = 0.0;
        for image in images {
            features.read_logits(image, &mut logits)?;
            let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            p.iter_mut().zip(&logits).for_each(|(p, &x)| *p = (f64::from(x) - f64::from(largest)).exp());
            let sum: f64 = p.iter().sum();
            for ((p, mean), &x) in p.iter_mut().zip(&mut mean).zip(&logits) {
                *p /= sum;
                *mean += *p;
                if *p > 0.0 {
                    negative_entropies += *p * (f64::from(x) - f64::from(largest) - sum.ln());
                }
            }
        }
        let all: f64 = mean
            .iter()
            .map(|mean| mean / count)
            .filter(|&mean| mean > 0.0)
            .map(|mean| mean * mean.ln())
            .sum();
        *score = (negative_entropies / count - all).exp();
    }
    Ok(Estimate::of(&scores))
}
