//! Denoising diffusion probabilistic models (Ho et al. 2020): ancestral sampling, equations 6 and 7.

use super::estimate::Estimate;
use crate::exec::{Clipped, Step};
use crate::model::{Schedule, Variance};

/// The step from alpha-bar `alpha` to `alpha_next` (1: the image); with b = 1 - a / a',
///
/// x' = sqrt(a') b / (1 - a) x_0 + sqrt(a / a') (1 - a') / (1 - a) x + sigma z,
/// sigma^2 = b (1 - a') / (1 - a), at least 1e-20 as diffusers has it, or b for `fixed_large`; 0 without `noisy`. Where the
/// network says what it is, sigma is 1 here, and `spread` its formula.
pub(super) fn step(schedule: &Schedule, alpha: f32, alpha_next: f32, noisy: bool) -> Step {
    if alpha == alpha_next {
        return Step { x: 1.0, ..Step::default() };
    }
    let (a, next) = (f64::from(alpha), f64::from(alpha_next));
    let beta = 1.0 - a / next;
    let image = next.sqrt() * beta / (1.0 - a);
    let state = (a / next).sqrt() * (1.0 - next) / (1.0 - a);
    let variance = match schedule.variance {
        _ if !noisy => 0.0,
        Variance::FixedLarge => beta,
        Variance::FixedSmall => posterior(a, next),
        Variance::LearnedRange => 1.0,
    };
    let noise = variance.sqrt() as f32;
    let x_0 = Estimate::new(schedule.prediction, a).x_0;
    match schedule.clip {
        None => {
            let (x, net) = ((state + image * x_0.x) as f32, (image * x_0.net) as f32);
            Step { x, net, noise, ..Step::default() }
        }
        Some(limit) => Step {
            x: state as f32,
            net: 0.0,
            noise,
            clipped: Some(Clipped { x: x_0.x as f32, net: x_0.net as f32, limit, weight: image as f32 }),
            spread: None,
        },
    }
}

/// The step that makes fresh noise as strong as the network says, v = -1 the posterior's variance and v = 1 beta (Nichol &
/// Dhariwal 2021, equation 15): sigma = e^((1 + v) / 4 ln beta + (1 - v) / 4 ln posterior).
pub(super) fn spread(alpha: f32, alpha_next: f32) -> Step {
    let (a, next) = (f64::from(alpha), f64::from(alpha_next));
    let (least, most) = (posterior(a, next).ln(), (1.0 - a / next).max(1e-20).ln());
    let spread = (((most + least) / 4.0) as f32, ((most - least) / 4.0) as f32);
    Step { spread: Some(spread), ..Step::default() }
}

/// The variance of the posterior, b (1 - a') / (1 - a), where b = 1 - a / a'.
fn posterior(a: f64, next: f64) -> f64 {
    ((1.0 - a / next) * (1.0 - next) / (1.0 - a)).max(1e-20)
}
