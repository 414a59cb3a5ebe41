//! Derivatives of the activations, as arithmetic that the compiler vectorises.

use super::super::math::exp;
use crate::exec::Activation;

/// dact/dx at x.
#[inline(always)]
pub fn derivative(activation: Activation, x: f32) -> f32 {
    match activation {
        Activation::Silu => silu(x),
        Activation::Relu => f32::from(u8::from(x > 0.0)),
        Activation::Gelu => gelu(x),
        Activation::Mish => mish(x),
    }
}

/// s + x s (1 - s), s = sigmoid(x).
#[inline(always)]
pub fn silu(x: f32) -> f32 {
    let s = 1.0 / (1.0 + exp(-x));
    s + x * s * (1.0 - s)
}

/// Phi(x) + x phi(x). Phi is Abramowitz and Stegun's 7.1.26, within 1.5e-7.
#[inline(always)]
fn gelu(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let density = exp(-z * z);
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let p = ((((1.061_405_4 * t - 1.453_152) * t + 1.421_413_8) * t - 0.284_496_72) * t + 0.254_829_6) * t;
    let tail = 0.5 * p * density;
    let phi = if x < 0.0 { tail } else { 1.0 - tail };
    phi + x * density * 0.398_942_3
}

/// y = x tanh(softplus(x)): tanh = n / (n + 2) with n = e (e + 2), e = e^x; its derivative is sech^2 sigmoid(x).
#[inline(always)]
fn mish(x: f32) -> f32 {
    let e = exp(if x > 20.0 { 20.0 } else { x });
    let n = e * (e + 2.0);
    let tanh = n / (n + 2.0);
    tanh + x * (1.0 - tanh * tanh) * (e / (1.0 + e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn derivatives_are_those_of_the_activations() {
        for activation in [Activation::Silu, Activation::Relu, Activation::Gelu, Activation::Mish] {
            let act = |x: f64| match activation {
                Activation::Silu => x / (1.0 + (-x).exp()),
                Activation::Relu => x.max(0.0),
                Activation::Mish => x * x.exp().ln_1p().tanh(),
                // Phi by Simpson's rule from -12 on.
                Activation::Gelu => {
                    let steps = 4000;
                    let h = (x + 12.0) / f64::from(steps);
                    let sum: f64 = (0..=steps)
                        .map(|i| {
                            let weight = if i == 0 || i == steps {
                                1.0
                            } else if i % 2 == 1 {
                                4.0
                            } else {
                                2.0
                            };
                            let t = -12.0 + f64::from(i) * h;
                            weight * (-t * t / 2.0).exp()
                        })
                        .sum();
                    x * sum * h / 3.0 / (2.0 * std::f64::consts::PI).sqrt()
                }
            };
            for i in -95..=95 {
                let x = f64::from(i) * 0.0931 + 0.01;
                let expected = (act(x + 1e-4) - act(x - 1e-4)) / 2e-4;
                let found = f64::from(derivative(activation, x as f32));
                assert!((found - expected).abs() < 3e-6, "{activation:?}'({x}) = {found}, not {expected}");
            }
        }
    }
}
