//! What to sample, and whether it makes sense.

use crate::error::{Error, Result};
use crate::model::Network;
use crate::options::{Cancel, Progress};
use crate::sampler::Sampler;

/// What to sample.
#[derive(Clone, Default)]
pub struct Request {
    /// One seed an image; image i depends on seed i alone.
    pub seeds: Option<Vec<u64>>,
    /// x_T itself, NCHW; seeds beside it feed the fresh noise of stochastic samplers.
    pub noise: Option<Vec<f32>>,
    /// One label an image, for conditional models.
    pub labels: Option<Vec<i32>>,
    /// How a teacher samples; none: the model's default.
    pub sampler: Option<Sampler>,
    /// Progress of the call; none: the session's.
    pub progress: Option<Progress>,
    /// Cancels the call; beside the session's.
    pub cancel: Option<Cancel>,
}

impl Request {
    /// How many images of `len` values it asks for.
    pub(super) fn batch(&self, len: usize) -> Result<usize> {
        let noise_batch = match &self.noise {
            Some(noise) if noise.is_empty() || noise.len() % len != 0 => {
                let message = format!("{} floats are no whole number of images of {len}", noise.len());
                return Err(Error::argument("noise", message));
            }
            Some(noise) => {
                if let Some(i) = noise.iter().position(|value| !value.is_finite()) {
                    return Err(Error::argument("noise", format!("float {i} is {}", noise[i])));
                }
                Some(noise.len() / len)
            }
            None => None,
        };
        match (self.seeds.as_ref().map(Vec::len), noise_batch) {
            (None, None) => Err(Error::argument("seeds", "neither seeds nor noise were given")),
            (Some(seeds), Some(images)) if seeds != images => {
                Err(Error::argument("seeds", format!("{seeds} seeds, but noise for {images} images")))
            }
            (Some(n), _) | (None, Some(n)) => Ok(n),
        }
    }
}

/// That there is a label for each of `batch` images, of those that a network has.
pub(super) fn check_labels(network: &Network, batch: usize, labels: Option<&[i32]>) -> Result<()> {
    match (network.labels(), labels) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(Error::argument("labels", "the model is unconditional and takes none")),
        (Some(labels), None) => Err(Error::argument(
            "labels",
            format!("the model is conditional and needs one label an image, from 0 to {}", labels - 1),
        )),
        (Some(_), Some(labels)) if labels.len() != batch => {
            Err(Error::argument("labels", format!("{} labels for {batch} images", labels.len())))
        }
        (Some(classes), Some(labels)) => {
            match labels
                .iter()
                .enumerate()
                .find(|(_, label)| !(0..classes as i64).contains(&i64::from(**label)))
            {
                Some((i, label)) => Err(Error::argument(
                    "labels",
                    format!("label {label} of image {i} is not one of 0 to {}", classes - 1),
                )),
                None => Ok(()),
            }
        }
    }
}
