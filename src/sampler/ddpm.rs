//! Denoising diffusion probabilistic models (Ho et al. 2020): ancestral sampling, equations 6 and 7.

use super::estimate::Estimate;
use crate::exec::{Clipped, Step};
use crate::model::Schedule;

/// The step from alpha-bar `alpha` to `alpha_next` (1: the image); with b = 1 - a / a',
///
/// x' = sqrt(a') b / (1 - a) x_0 + sqrt(a / a') (1 - a') / (1 - a) x + sigma z,
/// sigma^2 = b (1 - a') / (1 - a), at least 1e-20 as diffusers has it, or b for `fixed_large`; 0 without `noisy`.
pub(super) fn step(schedule: &Schedule, alpha: f32, alpha_next: f32, noisy: bool) -> Step {
    if alpha == alpha_next {
        return Step { x: 1.0, ..Step::default() };
    }
    let (a, next) = (f64::from(alpha), f64::from(alpha_next));
    let beta = 1.0 - a / next;
    let image = next.sqrt() * beta / (1.0 - a);
    let state = (a / next).sqrt() * (1.0 - next) / (1.0 - a);
    let variance = match schedule.fixed_large {
        _ if !noisy => 0.0,
        true => beta,
        false => (beta * (1.0 - next) / (1.0 - a)).max(1e-20),
    };
    let noise = variance.sqrt() as f32;
    let x_0 = Estimate::new(schedule.prediction, a).x_0;
    match schedule.clip {
        None => {
            Step { x: (state + image * x_0.x) as f32, net: (image * x_0.net) as f32, noise, clipped: None }
        }
        Some(limit) => Step {
            x: state as f32,
            net: 0.0,
            noise,
            clipped: Some(Clipped { x: x_0.x as f32, net: x_0.net as f32, limit, weight: image as f32 }),
        },
    }
}
