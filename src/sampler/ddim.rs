//! Denoising diffusion implicit models (Song et al. 2021, equations 12 and 16).

use super::estimate::{Estimate, Linear};
use crate::exec::{Clipped, Step};
use crate::model::Schedule;

/// The step from alpha-bar `alpha` to `alpha_next` (1: the image), with the fraction `eta` of DDPM's noise:
///
/// x' = sqrt(a') x_0 + sqrt(1 - a' - sigma^2) eps + sigma z,
/// sigma = eta sqrt((1 - a') / (1 - a)) sqrt(1 - a / a').
///
/// Clipping bounds the estimate of x_0; that of eps is left as it is, or made anew from x and x_0, as the schedule's
/// `clip_noise` says.
pub(super) fn step(schedule: &Schedule, alpha: f32, alpha_next: f32, eta: f32) -> Step {
    let (a, next) = (f64::from(alpha), f64::from(alpha_next));
    let sigma = match eta {
        0.0 => 0.0,
        eta => f64::from(eta) * ((1.0 - next) / (1.0 - a) * (1.0 - a / next)).max(0.0).sqrt(),
    };
    let direction = (1.0 - next - sigma * sigma).max(0.0).sqrt();
    let Estimate { x_0, eps } = Estimate::new(schedule.prediction, a);
    match schedule.clip {
        // A repeated timestep: nothing to do, and no rounding error from doing it.
        None if alpha == alpha_next && sigma == 0.0 => Step { x: 1.0, ..Step::default() },
        None => Step {
            x: (next.sqrt() * x_0.x + direction * eps.x) as f32,
            net: (next.sqrt() * x_0.net + direction * eps.net) as f32,
            noise: sigma as f32,
            ..Step::default()
        },
        Some(limit) => {
            // eps = (x - sqrt(a) x_0) / sqrt(1 - a) of the clamped x_0.
            let made_anew = Linear { x: 1.0 / (1.0 - a).sqrt(), net: 0.0 };
            let (eps, of_x_0) =
                if schedule.clip_noise { (made_anew, -(a / (1.0 - a)).sqrt()) } else { (eps, 0.0) };
            let weight = (next.sqrt() + direction * of_x_0) as f32;
            Step {
                x: (direction * eps.x) as f32,
                net: (direction * eps.net) as f32,
                noise: sigma as f32,
                clipped: Some(Clipped { x: x_0.x as f32, net: x_0.net as f32, limit, weight }),
                spread: None,
            }
        }
    }
}
