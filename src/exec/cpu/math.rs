//! Exponential and activations, as arithmetic that the compiler vectorises; none calls libm. NaN stays NaN. SiLU in
//! front of a convolution, which is everywhere, is in `isa::exp`.

use super::isa::Kernels;
use crate::exec::Activation;

/// e^x within 2 ulp; below -87 it stays at e^-87, above 88 at e^88.
#[inline(always)]
#[allow(clippy::manual_clamp)] // these comparisons keep NaN and become min and max instructions
pub fn exp(x: f32) -> f32 {
    let x = if x < -87.0 { -87.0 } else { x };
    let x = if x > 88.0 { 88.0 } else { x };
    // Adding 1.5 * 2^23 rounds to an integer, which the low bits of the sum then hold.
    let shifted = x * std::f32::consts::LOG2_E + 12_582_912.0;
    let k = shifted - 12_582_912.0;
    // ln 2 in two parts, the first with few enough bits that k times it is exact.
    let r = x - k * 0.693_359_4;
    let r = r - k * -2.121_944_4e-4;
    // Cephes' minimax polynomial on [-ln 2 / 2, ln 2 / 2].
    let p = 1.987_569_2e-4;
    let p = p * r + 1.398_199_9e-3;
    let p = p * r + 8.333_452e-3;
    let p = p * r + 4.166_579_6e-2;
    let p = p * r + 1.666_666_5e-1;
    let p = p * r + 0.5;
    let e = p * (r * r) + r + 1.0;
    e * f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23))
}

/// e^x to 1e-12, for x in [-700, 0]; smaller x count as -700.
#[inline(always)]
fn exp_f64(x: f64) -> f64 {
    let x = if x < -700.0 { -700.0 } else { x };
    let shifted = x * std::f64::consts::LOG2_E + 6_755_399_441_055_744.0;
    let k = shifted - 6_755_399_441_055_744.0;
    let r = x - k * std::f64::consts::LN_2;
    // Taylor's, nested; |r| <= ln 2 / 2.
    let mut p = 1.0;
    for i in (1..=11).rev() {
        p = 1.0 + p * r * (1.0 / f64::from(i));
    }
    p * f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52))
}

/// x Phi(x) in f64, since Phi(x) of a negative x is small and its relative error is what counts. The
/// complementary error function is Numerical Recipes' (section 6.2), within 1.2e-7 everywhere.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let x = f64::from(x);
    let z = x.abs() * std::f64::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * z);
    let coefficients =
        [0.17087277, -0.82215223, 1.48851587, -1.13520398, 0.27886807, -0.18628806, 0.09678418, 0.37409196];
    let mut p = 0.0;
    for coefficient in coefficients {
        p = p * t + coefficient;
    }
    let p = (p * t + 1.00002368) * t - 1.26551223;
    let tail = 0.5 * t * exp_f64(p - z * z);
    (x * if x < 0.0 { tail } else { 1.0 - tail }) as f32
}

#[inline(always)]
fn silu(x: f32) -> f32 {
    x / (1.0 + exp(-x))
}

/// tanh(ln(1 + e)) = e (e + 2) / (e (e + 2) + 2), with e = e^x; it is 1 from x = 20 on.
#[inline(always)]
fn mish(x: f32) -> f32 {
    let e = exp(if x > 20.0 { 20.0 } else { x });
    let n = e * (e + 2.0);
    x * (n / (n + 2.0))
}

/// y = act(x scale + shift), a channel each.
#[inline(always)]
pub fn affine(
    kernels: &Kernels,
    activation: Option<Activation>,
    x: &[f32],
    scale: &[f32],
    shift: &[f32],
    y: &mut [f32],
) {
    match activation {
        None => each(x, scale, shift, y, |v| v),
        Some(Activation::Silu) => kernels.silu(x, scale, shift, y),
        Some(Activation::Relu) => each(x, scale, shift, y, |v| if v < 0.0 { 0.0 } else { v }),
        Some(Activation::Gelu) => each(x, scale, shift, y, gelu),
        Some(Activation::Mish) => each(x, scale, shift, y, mish),
    }
}

/// values = act(values)
#[inline(always)]
pub fn activate(activation: Activation, values: &mut [f32]) {
    match activation {
        Activation::Silu => values.iter_mut().for_each(|v| *v = silu(*v)),
        Activation::Relu => values.iter_mut().for_each(|v| *v = if *v < 0.0 { 0.0 } else { *v }),
        Activation::Gelu => values.iter_mut().for_each(|v| *v = gelu(*v)),
        Activation::Mish => values.iter_mut().for_each(|v| *v = mish(*v)),
    }
}

#[inline(always)]
fn each(x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32) {
    for (((y, &x), &a), &b) in y.iter_mut().zip(x).zip(scale).zip(shift) {
        *y = f(x * a + b);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Phi(x), by the series of erf near 0 and the continued fraction of erfc in the tails.
    pub fn normal_cdf(x: f64) -> f64 {
        let z = x.abs() / std::f64::consts::SQRT_2;
        let factor = (-z * z).exp() / std::f64::consts::PI.sqrt();
        let tail = if z < 2.5 {
            let (mut term, mut sum) = (z, z);
            for n in 1..80 {
                term *= 2.0 * z * z / f64::from(2 * n + 1);
                sum += term;
            }
            0.5 * (1.0 - 2.0 * factor * sum)
        } else {
            let mut fraction = z;
            for n in (1..120).rev() {
                fraction = z + 0.5 * f64::from(n) / fraction;
            }
            0.5 * factor / fraction
        };
        if x < 0.0 { tail } else { 1.0 - tail }
    }

    #[test]
    fn exp_is_within_two_ulp() {
        let mut worst = 0.0f64;
        for i in -870_000..880_000 {
            let x = i as f32 * 1e-4;
            let exact = f64::from(x).exp();
            let ulp = f64::from(f32::from_bits((exact as f32).to_bits() + 1)) - f64::from(exact as f32);
            worst = worst.max((f64::from(exp(x)) - exact).abs() / ulp);
        }
        assert!(worst <= 2.0, "{worst} ulp");
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1e-37 && exp(f32::NAN).is_nan() && exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn activations_match_f64() {
        for i in -900..=900 {
            let x = i as f32 * 0.01;
            let v = f64::from(x);
            let cases = [
                (Activation::Silu, v / (1.0 + (-v).exp())),
                (Activation::Relu, v.max(0.0)),
                (Activation::Gelu, v * normal_cdf(v)),
                (Activation::Mish, v * v.exp().ln_1p().tanh()),
            ];
            for (activation, expected) in cases {
                let mut out = [x];
                activate(activation, &mut out);
                let error = (f64::from(out[0]) - expected).abs();
                assert!(error <= 4e-7 * expected.abs(), "{activation:?}({x}) = {} not {expected}", out[0]);
            }
        }
    }

    #[test]
    fn activations_keep_nan_and_survive_the_extremes() {
        for activation in [Activation::Silu, Activation::Relu, Activation::Gelu, Activation::Mish] {
            let mut values = [f32::NAN, 1e30, -1e30, 100.0, -100.0, 0.0];
            activate(activation, &mut values);
            assert!(values[0].is_nan());
            assert_eq!((values[1], values[3]), (1e30, 100.0));
            assert!(values[4].abs() < 1e-30 && values[5] == 0.0, "{activation:?} {values:?}");
            assert!(values[2].abs() < 1.0 && values[2] <= 0.0, "{activation:?} {values:?}");
        }
    }
}
