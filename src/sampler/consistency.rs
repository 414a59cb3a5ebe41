//! Consistency models: one step, or several with fresh noise between them (Song et al. 2023, algorithm 1), as diffusers'
//! `CMStochasticIterativeScheduler` has them.
//!
//! The state is y = c_in x, what the network reads, so that steps are those of every other sampler.

use crate::exec::{Clipped, Step};
use crate::model::Consistency;

/// c_in of a noise level: 1 / sqrt(sigma^2 + sigma_data^2).
fn c_in(model: &Consistency, sigma: f64) -> f64 {
    1.0 / sigma.hypot(model.sigma_data)
}

/// What unit noise is multiplied with for the state at level `sigma`.
pub(super) fn start(model: &Consistency, sigma: f64) -> f32 {
    (c_in(model, sigma) * sigma) as f32
}

/// The step from level `sigma` to `next`, or to the image:
///
/// D = clamp(c_skip x + c_out net), c_skip = d^2 / ((sigma - min)^2 + d^2), c_out = d (sigma - min) / sqrt(sigma^2 + d^2),
/// x' = D + z sqrt(next^2 - min^2), where d is sigma_data and min sigma_min.
pub(super) fn step(model: &Consistency, sigma: f64, next: Option<f64>) -> Step {
    let (d, above) = (model.sigma_data, sigma - model.sigma_min);
    let c_skip = d * d / (above * above + d * d);
    let c_out = d * above / sigma.hypot(d);
    let (x, net) = (c_skip / c_in(model, sigma), c_out);
    let after = next.map_or(1.0, |next| c_in(model, next));
    let noise = next.map_or(0.0, |next| (next * next - model.sigma_min * model.sigma_min).max(0.0).sqrt());
    let noise = (after * noise) as f32;
    match model.clip {
        None => Step { x: (after * x) as f32, net: (after * net) as f32, noise, ..Step::default() },
        Some(limit) => {
            let clipped = Clipped { x: x as f32, net: net as f32, limit, weight: after as f32 };
            Step { noise, clipped: Some(clipped), ..Step::default() }
        }
    }
}
