//! What a raw prediction says about the image and about the noise in it.

use crate::model::Prediction;

/// x * state + net * raw prediction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Linear {
    pub x: f64,
    pub net: f64,
}

/// The estimates of x_0 and eps: x_t = sqrt(a) x_0 + sqrt(1 - a) eps.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Estimate {
    pub x_0: Linear,
    pub eps: Linear,
}

impl Estimate {
    /// At alpha-bar `alpha`. Not finite where alpha-bar leaves no image (epsilon at 0) or no noise (sample at 1).
    pub fn new(prediction: Prediction, alpha: f64) -> Self {
        let (image, noise) = (alpha.sqrt(), (1.0 - alpha).sqrt());
        let linear = |x, net| Linear { x, net };
        match prediction {
            Prediction::Epsilon => Self { x_0: linear(1.0 / image, -noise / image), eps: linear(0.0, 1.0) },
            Prediction::Sample => Self { x_0: linear(0.0, 1.0), eps: linear(1.0 / noise, -image / noise) },
            // Salimans & Ho 2022: v = sqrt(a) eps - sqrt(1 - a) x_0.
            Prediction::V => Self { x_0: linear(image, -noise), eps: linear(noise, image) },
            // x_t = (sqrt(a) + sqrt(1 - a)) x_0 + sqrt(1 - a) (eps - x_0).
            Prediction::Flow => {
                let sum = image + noise;
                Self { x_0: linear(1.0 / sum, -noise / sum), eps: linear(1.0 / sum, image / sum) }
            }
        }
    }
}
