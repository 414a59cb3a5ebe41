//! A fused multiply-add that rounds once on every platform.

/// a b + c, rounded once.
///
/// `f32::mul_add` is this where the processor has the instruction and the build may use it. Elsewhere it calls the
/// platform's `fmaf`, and not every one of those rounds once: MinGW's does not. There the exact product is added in f64,
/// rounded to odd, so that the last rounding sees what was cut off (Boldo and Melquiond 2008, "Emulation of a FMA and
/// correctly rounded sums").
#[inline(always)]
pub fn mul_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) {
        a.mul_add(b, c)
    } else {
        emulated(a, b, c)
    }
}

#[inline(always)]
fn emulated(a: f32, b: f32, c: f32) -> f32 {
    let (product, c) = (f64::from(a) * f64::from(b), f64::from(c));
    let sum = product + c;
    // What `sum` lacks, exactly (Knuth's two-sum).
    let back = sum - product;
    let lacks = (product - (sum - back)) + (c - back);
    let bits = sum.to_bits();
    let odd = match lacks {
        0.0 => bits,
        _ if bits & 1 == 1 => bits,
        lacks if (lacks > 0.0) == (sum > 0.0) => bits + 1,
        _ => bits - 1,
    };
    // A sum that is not finite lacks a NaN, and is its own answer.
    if sum.is_finite() { f64::from_bits(odd) as f32 } else { sum as f32 }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The exact sum in 128-bit integers, rounded by hand, for finite floats of like size.
    fn exact(a: f32, b: f32, c: f32) -> f32 {
        let integer = |x: f32, shift: i32| (f64::from(x) * 2f64.powi(shift)) as i128;
        // Multiples of 2^-40 and 2^-80 hold them whole.
        let sum = integer(a, 40) * integer(b, 40) + (integer(c, 40) << 40);
        let (magnitude, sign) = (sum.unsigned_abs(), if sum < 0 { -1.0 } else { 1.0 });
        let excess = (128 - magnitude.leading_zeros() as i32 - 24).max(0);
        let (kept, cut) = (magnitude >> excess, magnitude & ((1 << excess) - 1));
        let half = if excess > 0 { 1_u128 << (excess - 1) } else { u128::MAX };
        let up = cut > half || cut == half && kept & 1 == 1;
        (sign * (kept + u128::from(up)) as f64 * 2f64.powi(excess - 80)) as f32
    }

    #[test]
    fn it_rounds_once() {
        // A double rounding would lose the last term: 1 + 2^-24 is a tie, and 2^-60 decides it.
        let (a, b) = (1.0 + 2f32.powi(-12), 1.0 - 2f32.powi(-12));
        for (a, b, c) in
            [(a, a, -1.0), (a, b, 2f32.powi(-24)), (2f32.powi(-30), 2f32.powi(-30), 1.0 + 2f32.powi(-23))]
        {
            assert_eq!(emulated(a, b, c).to_bits(), exact(a, b, c).to_bits(), "{a} {b} {c}");
        }
        let mut state = 1_u64;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            // 16 bits and an exponent of -8 to 7: ties and cancellations are common.
            let bits = (state >> 33) as u32;
            let value = ((bits & 0xffff) as f32 - 32768.0) / 32768.0;
            value * 2f32.powi((bits >> 16 & 15) as i32 - 8)
        };
        for _ in 0..200_000 {
            let (a, b, c) = (next(), next(), next());
            assert_eq!(emulated(a, b, c).to_bits(), exact(a, b, c).to_bits(), "{a} {b} {c}");
        }
    }

    #[test]
    fn what_is_not_finite_stays_so() {
        for (a, b, c) in [(f32::MAX, 2.0, 0.0), (f32::INFINITY, 1.0, 1.0), (1.0, 1.0, f32::NEG_INFINITY)] {
            assert_eq!(emulated(a, b, c), a * b + c);
        }
        assert!(emulated(f32::NAN, 1.0, 1.0).is_nan());
        assert!(emulated(f32::INFINITY, 0.0, 1.0).is_nan());
    }
}
