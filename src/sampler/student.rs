//! The one-step student (Luhman & Luhman 2021): x_0 from one network call.

use super::estimate::Estimate;
use crate::exec::Step;
use crate::model::{Prediction, StudentOutput};

/// x_0 = x_T - raw, or the prediction type's own estimate at alpha-bar `alpha` of the last timestep. A student was
/// trained to be right as it is: its output is not clipped.
pub(super) fn step(output: StudentOutput, prediction: Prediction, alpha: f32) -> Step {
    match output {
        StudentOutput::XMinus => Step { x: 1.0, net: -1.0, ..Step::default() },
        StudentOutput::X0 => {
            let x_0 = Estimate::new(prediction, f64::from(alpha)).x_0;
            Step { x: x_0.x as f32, net: x_0.net as f32, ..Step::default() }
        }
    }
}
