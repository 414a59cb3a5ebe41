//! EDM's deterministic sampler (Karras et al. 2022, algorithm 1 without churn): Euler's or Heun's method from one noise level
//! to the next, dx / dsigma = (x - D(x; sigma)) / sigma.
//!
//! The state is y = c_in x, what the network reads. With Heun's method a step is two calls: the first takes Euler's step and
//! leaves its beginning, the second takes the mean of both slopes from there.

use crate::exec::Step;
use crate::model::Edm;

/// What unit noise is multiplied with for the state at level `sigma`.
pub(super) fn start(model: &Edm, sigma: f64) -> f32 {
    (model.c_in(sigma) * sigma) as f32
}

/// Euler's step from level `sigma` to `next`, of which 0 is the image.
pub(super) fn euler(model: &Edm, sigma: f64, next: f64) -> Step {
    // x' = x + (next - sigma) (x - D) / sigma, D = c_skip x + c_out net.
    let (before, after) = (model.c_in(sigma), after(model, next));
    let slope = (next - sigma) / sigma;
    let x = 1.0 + slope * (1.0 - model.c_skip(sigma));
    let net = -slope * model.c_out(sigma);
    Step { x: (after / before * x) as f32, net: (after * net) as f32, ..Step::default() }
}

/// Heun's correction of Euler's step from `sigma` to `next`, which is not 0: `noise` is the factor of the state at `sigma`.
pub(super) fn correct(model: &Edm, sigma: f64, next: f64) -> Step {
    // x'' = x + (next - sigma) (d + d') / 2 where d = (x' - x) / (next - sigma) and d' = (x' - D') / next.
    let (before, after) = (model.c_in(sigma), model.c_in(next));
    let half = (next - sigma) / (2.0 * next);
    Step {
        x: (0.5 + half * (1.0 - model.c_skip(next))) as f32,
        net: (-after * half * model.c_out(next)) as f32,
        noise: (0.5 * after / before) as f32,
        ..Step::default()
    }
}

/// c_in of the level that a step ends at; the image is not scaled.
fn after(model: &Edm, sigma: f64) -> f64 {
    if sigma == 0.0 { 1.0 } else { model.c_in(sigma) }
}
