//! How good images are, as the field computes it: FID, Inception Score, KID, precision and recall, over Inception-v3's features; and
//! a Fréchet distance of pixels, which needs no network.
//!
//! [`FeaturesRun`] turns images into a folder of [`Features`], in parts that may be made by several processes and survive a kill;
//! [`Scores`] computes everything of two such folders, or of one and a reference's statistics.

mod extractor;
mod features;
mod gaussian;
mod inception;
mod inception_score;
mod kernel_distance;
mod neighbours;
mod npy;
mod pixels;
mod resized;
mod run;
mod scores;
mod source;
#[cfg(test)]
mod tests;

pub use extractor::{Inspector, Preparation};
pub use features::{Features, MANIFEST, Manifest};
pub use gaussian::{Gaussian, frechet_distance};
pub use inception::Inception;
pub use inception_score::{SPLITS, inception_score};
pub use kernel_distance::{SUBSET, SUBSETS, kernel_distance};
pub use neighbours::{NEIGHBOUR, nearest, precision_recall};
pub use resized::Protocol;
pub use run::{FeaturesProgress, FeaturesRun};
pub use scores::{Metric, Reference, Scores, Stage};
pub use source::{Batch, Image, Images, ImagesFrom};

use serde::Serialize;

/// A score that is the mean over parts or subsets of the images.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean.
    pub mean: f64,
    /// The standard deviation, of n.
    pub std: f64,
}

impl Estimate {
    fn of(values: &[f64]) -> Self {
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / n;
        Self { mean, std: variance.sqrt() }
    }
}
