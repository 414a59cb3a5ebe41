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
/// where they are flipped.
pub fn sinusoid(time: f32, (flip_sin_to_cos, freq_shift): (bool, f32), out: &mut [f32]) {
    let half = out.len() / 2;
    out.fill(0.0);
    for i in 0..half {
        let exponent = -(10000f32.ln()) * i as f32 / (half as f32 - freq_shift);
        let argument = time * exponent.exp();
        let (sin, cos) = if flip_sin_to_cos { (half + i, i) } else { (i, half + i) };
        (out[sin], out[cos]) = (argument.sin(), argument.cos());
    }
}
