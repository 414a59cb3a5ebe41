//! What finds features in images.

use super::inception::{self, Inception};
use super::pixels;
use super::resized::Protocol;
use super::source::{Image, Images};
use crate::cpu_features::available_threads;
use crate::error::{Error, Result};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// What finds features: asked for.
#[derive(Clone, Debug)]
pub enum Inspector {
    /// Inception-v3, with the weights of this file.
    Inception {
        /// See [`Inception::open`].
        weights: PathBuf,
        /// How images are shown to it.
        protocol: Protocol,
    },
    /// Averages of 8 x 8.
    Pixels {
        /// 1, 3 or 4, of which images of others are made; none: as many as the first image has.
        channels: Option<usize>,
    },
}

/// The file that Inception's weights are published in.
pub const PUBLISHED: &str = "pt_inception-2015-12-05-6726825d.pth";

/// How an image is made ready; any thread may do it.
#[derive(Clone, Copy, Debug)]
pub enum Preparation {
    /// For Inception.
    Shown(Protocol),
    /// Averaged, of so many channels.
    Averaged(usize),
}

/// What finds features: ready.
pub enum Extractor {
    Inception(Box<Inception>, Protocol),
    Pixels(usize),
}

impl Inspector {
    /// Reads its weights, for so many threads; 0: all that this process may use.
    ///
    /// # Errors
    /// Those of [`Inception::open`], and of reading the first of the images.
    pub fn open(&self, images: &Images, threads: u32) -> Result<Extractor> {
        let threads = if threads == 0 { available_threads() } else { threads as usize };
        Ok(match self {
            Inspector::Inception { weights, protocol } => {
                Extractor::Inception(Box::new(open(weights, threads)?), *protocol)
            }
            Inspector::Pixels { channels: Some(channels) } => Extractor::Pixels(*channels),
            Inspector::Pixels { channels: None } => Extractor::Pixels(images.channels()?),
        })
    }
}

/// Of a file that is no Inception of FID's, says which is.
fn open(weights: &Path, threads: usize) -> Result<Inception> {
    Inception::open(weights, threads).map_err(|error| match error {
        Error::MissingTensor { .. } | Error::WrongShape { .. } => Error::bad_model(
            weights.display().to_string(),
            format!("not FID's Inception, which {PUBLISHED} holds: {error}"),
        ),
        error => error,
    })
}

impl Extractor {
    /// What tells its features from another's.
    pub fn identity(&self) -> Value {
        match self {
            Extractor::Inception(inception, protocol) => json!({
                "network": "inception-2015-12-05",
                "weights_crc32": format!("{:08x}", inception.crc32()),
                "protocol": protocol,
            }),
            Extractor::Pixels(channels) => json!({"pixels": "8x8", "channels": channels}),
        }
    }

    /// Features, and logits, of an image.
    pub fn widths(&self) -> (usize, usize) {
        match self {
            Extractor::Inception(..) => (inception::FEATURES, inception::CLASSES),
            Extractor::Pixels(channels) => (pixels::features(*channels), 0),
        }
    }

    /// How images are made ready for it.
    pub fn preparation(&self) -> Preparation {
        match self {
            Extractor::Inception(_, protocol) => Preparation::Shown(*protocol),
            Extractor::Pixels(channels) => Preparation::Averaged(*channels),
        }
    }

    /// Images that it takes at a time, best.
    pub fn batch(&self) -> usize {
        match self {
            Extractor::Inception(..) => 8,
            Extractor::Pixels(_) => 64,
        }
    }

    /// Appends features, and logits, of `count` images that were made ready.
    ///
    /// # Errors
    /// OUT_OF_MEMORY.
    pub fn extract(
        &mut self,
        prepared: &[f32],
        count: usize,
        features: &mut Vec<f32>,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        match self {
            Extractor::Inception(inception, _) => inception.look(prepared, count, features, logits),
            Extractor::Pixels(_) => {
                features.extend_from_slice(prepared);
                Ok(())
            }
        }
    }
}

impl Preparation {
    /// Floats of an image that was made ready.
    pub fn len(self) -> usize {
        match self {
            Preparation::Shown(_) => 3 * inception::SIDE * inception::SIDE,
            Preparation::Averaged(channels) => pixels::features(channels),
        }
    }

    /// Whether there are none, which nothing is prepared for.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Makes an image ready.
    pub fn fill(self, image: &Image, out: &mut [f32]) {
        match self {
            Preparation::Shown(protocol) => protocol.fill(image, out),
            Preparation::Averaged(channels) if image.channels != channels => {
                pixels::fill(&image.with_channels(channels), out);
            }
            Preparation::Averaged(_) => pixels::fill(image, out),
        }
    }
}
