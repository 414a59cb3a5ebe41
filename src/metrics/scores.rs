//! All scores of a set of features against a reference.

use super::Estimate;
use super::features::Features;
use super::gaussian::{Gaussian, frechet_distance};
use super::inception_score::inception_score;
use super::kernel_distance::kernel_distance;
use super::neighbours::precision_recall;
use crate::error::{Error, Result};
use crate::names::{Named, named};
use serde::Serialize;

/// A score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    /// Fréchet Inception Distance: lower is better.
    Fid,
    /// Inception Score: higher is better.
    InceptionScore,
    /// Kernel Inception Distance: lower is better.
    Kid,
    /// Improved precision and recall: higher is better.
    PrecisionRecall,
    /// Fréchet distance, precision and recall of pixels averaged to 8 x 8.
    Pixel,
}

named!(Metric {
    "fid" => Fid,
    "is" => InceptionScore,
    "kid" => Kid,
    "precision-recall" => PrecisionRecall,
    "pixel" => Pixel,
});

/// What images are compared with: features of others, statistics of them, or both (of more images than those).
#[derive(Default)]
pub struct Reference {
    /// Features of other images.
    pub features: Option<Features>,
    /// Means and covariances, which Fréchet distances are computed of where they are given.
    pub gaussian: Option<Gaussian>,
}

/// What a long computation is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Means and covariances of the reference.
    Statistics,
    /// A distance of two Gaussians.
    Frechet,
    /// Subsets for KID.
    Kid,
    /// Neighbours for precision and recall.
    PrecisionRecall,
}

/// Scores that were asked for. Those of pixels and those of Inception's features are never in one.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// How many images.
    pub images: u64,
    /// How many they were compared with, if that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference_images: Option<u64>,
    /// Fréchet Inception Distance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fid: Option<f64>,
    /// Inception Score, over ten parts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inception_score: Option<Estimate>,
    /// Kernel Inception Distance, over a hundred subsets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<Estimate>,
    /// The Fréchet distance of pixels averaged to 8 x 8.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixel_frechet: Option<f64>,
    /// Improved precision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub precision: Option<f64>,
    /// Improved recall.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recall: Option<f64>,
    /// What a reader of these figures should know.
    pub notes: Vec<String>,
}

/// Called with what is done of how much.
pub type Watch<'a> = &'a mut dyn FnMut(Stage, usize, usize) -> Result<()>;

impl Reference {
    /// Of features.
    pub fn of(features: Features) -> Self {
        Self { features: Some(features), gaussian: None }
    }

    /// How many images, as far as that is known.
    fn count(&self) -> Option<u64> {
        match (&self.gaussian, &self.features) {
            (Some(gaussian), _) => gaussian.count,
            (None, features) => features.as_ref().map(|features| features.len() as u64),
        }
    }

    fn features(&self, metric: Metric) -> Result<&Features> {
        self.features.as_ref().ok_or_else(|| {
            let name = metric.name();
            let message = format!("{name} needs images, or a folder of features; statistics do not tell it");
            Error::argument("reference", message)
        })
    }
}

impl Scores {
    /// Computes the scores of `metrics`, with so many threads; `own` are the images' own statistics.
    ///
    /// # Errors
    /// INVALID_ARGUMENT where a score needs a reference, or more of it, and for a reference of other features; IO; OUT_OF_MEMORY;
    /// those of `watch`.
    pub fn of(
        (features, own): (&Features, &Gaussian),
        reference: Option<&Reference>,
        metrics: &[Metric],
        threads: usize,
        watch: Watch,
    ) -> Result<Self> {
        if let Some(other) = reference.and_then(|reference| reference.features.as_ref())
            && other.manifest().extractor != features.manifest().extractor
        {
            let message = format!(
                "features of {}, the images' are of {}",
                other.manifest().extractor,
                features.manifest().extractor
            );
            return Err(Error::argument("reference", message));
        }
        let needed = |metric: Metric| {
            reference.ok_or_else(|| {
                let message = format!("{} compares with one, and none is given", metric.name());
                Error::argument("reference", message)
            })
        };
        let mut scores = Self {
            images: features.len() as u64,
            reference_images: reference.and_then(Reference::count),
            ..Self::default()
        };
        for &metric in metrics {
            match metric {
                Metric::Fid | Metric::Pixel => {
                    let reference = needed(metric)?;
                    let distance = distance(own, reference, threads, watch)?;
                    if metric == Metric::Fid {
                        scores.fid = Some(distance);
                    } else {
                        scores.pixel_frechet = Some(distance);
                        if let Some(reference) = &reference.features {
                            scores.precision_and_recall(features, reference, threads, watch)?;
                        }
                    }
                }
                Metric::InceptionScore => scores.inception_score = Some(inception_score(features)?),
                Metric::Kid => {
                    let reference = needed(metric)?.features(metric)?;
                    scores.kid = Some(kernel_distance(features, reference, &mut |done, total| {
                        watch(Stage::Kid, done, total)
                    })?);
                }
                Metric::PrecisionRecall => {
                    let reference = needed(metric)?.features(metric)?;
                    scores.precision_and_recall(features, reference, threads, watch)?;
                }
            }
        }
        scores.note(features, metrics)?;
        Ok(scores)
    }

    fn precision_and_recall(
        &mut self,
        features: &Features,
        reference: &Features,
        threads: usize,
        watch: Watch,
    ) -> Result<()> {
        let mut watch = |done, total| watch(Stage::PrecisionRecall, done, total);
        let (precision, recall) = precision_recall(features, reference, threads, &mut watch)?;
        (self.precision, self.recall) = (Some(precision), Some(recall));
        Ok(())
    }

    /// Says what a figure does not.
    fn note(&mut self, features: &Features, metrics: &[Metric]) -> Result<()> {
        let width = features.width();
        let gaussian = metrics.iter().any(|metric| matches!(metric, Metric::Fid | Metric::Pixel));
        let few = [("images", Some(self.images)), ("images of the reference", self.reference_images)];
        for (what, count) in few.into_iter().filter(|_| gaussian) {
            if let Some(count) = count.filter(|&count| count <= width as u64) {
                self.notes.push(format!(
                    "{count} {what} are fewer than their {width} features need: the covariance is singular, and the distance is \
                     larger than that of more images"
                ));
            }
        }
        let inception = metrics.iter().any(|&metric| matches!(metric, Metric::Fid | Metric::InceptionScore));
        if inception && self.images != PUBLISHED_COUNT {
            self.notes.push(format!(
                "{} images; published figures are of {PUBLISHED_COUNT}, and figures of different counts cannot be compared",
                self.images
            ));
        }
        let numbers = features.not_finite()?;
        if let Some(first) = numbers.first() {
            self.notes.push(format!(
                "{} of {} images hold values that are no finite numbers, image {first} the first; they were scored with black in \
                 the place of NaN",
                numbers.len(),
                self.images
            ));
        }
        Ok(())
    }
}

/// How many images papers score.
const PUBLISHED_COUNT: u64 = 50_000;

fn distance(own: &Gaussian, reference: &Reference, threads: usize, watch: Watch) -> Result<f64> {
    let computed;
    let other = match (&reference.gaussian, &reference.features) {
        (Some(gaussian), _) => gaussian,
        (None, Some(features)) => {
            computed =
                Gaussian::of(features, threads, &mut |done, total| watch(Stage::Statistics, done, total))?;
            &computed
        }
        (None, None) => return Err(Error::argument("reference", "it has neither features nor statistics")),
    };
    watch(Stage::Frechet, 0, 1)?;
    frechet_distance(own, other)
}
