//! A step of a sampler, as every executor takes it.

/// A sampler's step, as coefficients: x' = a x + b net + c noise [+ weight clamp(p x + q net, -limit, limit)], or, where the
/// network says how much noise there is, x' = x e^(p + q net).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Step {
    /// a, of the state.
    pub x: f32,
    /// b, of the network's raw prediction.
    pub net: f32,
    /// c, of fresh noise.
    pub noise: f32,
    /// The clamped estimate of x_0, where the sampler clips.
    pub clipped: Option<Clipped>,
    /// p and q of x' = x e^(p + q net), in place of all else: x is noise, and net the network's word on its variance.
    pub spread: Option<(f32, f32)>,
}

/// weight * clamp(x * state + net * prediction, -limit, limit)
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Clipped {
    /// p
    pub x: f32,
    /// q
    pub net: f32,
    /// The bound.
    pub limit: f32,
    /// The factor in front.
    pub weight: f32,
}

impl Step {
    /// The step of one value.
    #[inline(always)]
    pub fn apply(&self, x: f32, net: f32, noise: Option<f32>) -> f32 {
        if let Some((p, q)) = self.spread {
            return x * exp(p + q * net);
        }
        let mut value = self.x * x + self.net * net;
        if let Some(noise) = noise {
            value += self.noise * noise;
        }
        if let Some(Clipped { x: p, net: q, limit, weight }) = self.clipped {
            let estimate = p * x + q * net;
            // Comparisons keep NaN; `clamp` panics on a limit that is none.
            let estimate = if estimate > limit { limit } else { estimate };
            let estimate = if estimate < -limit { -limit } else { estimate };
            value += weight * estimate;
        }
        value
    }
}

/// e^x within 2 ulp, with the same bits on every machine; x is first brought into [-80, 80].
#[inline]
fn exp(x: f32) -> f32 {
    /// ln 2 in two parts; the first has so few bits that its product with n is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// (e^r - 1 - r) / r^2 on |r| <= ln(2) / 2, highest power first.
    const P: [f32; 6] = [1.987_569_1e-4, 1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5];
    // Comparisons keep NaN, as in the clamped estimate.
    let x = if x > 80.0 { 80.0 } else { x };
    let x = if x < -80.0 { -80.0 } else { x };
    // To the nearest whole number: 1.5 * 2^23 leaves no bits for a fraction.
    const WHOLE: f32 = 12_582_912.0;
    let n = (x * std::f32::consts::LOG2_E + WHOLE) - WHOLE;
    let r = (x - n * LN_2[0]) - n * LN_2[1];
    let p = P[1..].iter().fold(P[0], |p, coefficient| p * r + coefficient);
    let e = p * (r * r) + r + 1.0;
    e * f32::from_bits(((n as i32 + 127) as u32) << 23)
}
