//! What every executor's time embedding begins with.

use super::LinearWeights;

/// Where each projection's slot begins in a row of all of them, and the row's length.
pub fn slots(projections: &[LinearWeights]) -> Vec<usize> {
    let mut slots = vec![0];
    for projection in projections {
        slots.push(slots[slots.len() - 1] + projection.bias.len());
    }
    slots
}

/// sin(t f_i) and cos(t f_i) of the time t, f_i = exp(-ln(10000) i / (half - freq_shift)), in f32 as diffusers has it; cosines first
/// where they are flipped. The functions are taken in f64 and rounded: a platform's own for f32 differ in the last bit.
pub fn sinusoid(time: f32, (flip_sin_to_cos, freq_shift): (bool, f32), out: &mut [f32]) {
    let half = out.len() / 2;
    out.fill(0.0);
    for i in 0..half {
        let exponent = -(10000f64.ln() as f32) * i as f32 / (half as f32 - freq_shift);
        let argument = f64::from(time * f64::from(exponent).exp() as f32);
        let (sin, cos) = if flip_sin_to_cos { (half + i, i) } else { (i, half + i) };
        (out[sin], out[cos]) = (argument.sin() as f32, argument.cos() as f32);
    }
}
