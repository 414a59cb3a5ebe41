//! Between two noises: what lies on the way is an image on the way, since the samplers are smooth in x_T.

use crate::error::{Error, Result};
use crate::names::named;

/// How to go from one noise to another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i32)]
pub enum Interpolation {
    /// (1 - t) a + t b. Halfway between two noises it has half the variance: blurred images.
    Lerp = 0,
    /// Along the great circle (Shoemake 1985); keeps the norm, which the network counts on.
    #[default]
    Slerp = 1,
}

named!(Interpolation { "slerp" => Slerp, "lerp" => Lerp });

impl Interpolation {
    /// From the C interface's number.
    pub fn from_i32(value: i32) -> Result<Self> {
        match value {
            0 => Ok(Self::Lerp),
            1 => Ok(Self::Slerp),
            _ => Err(Error::argument("mode", format!("{value} is neither LERP (0) nor SLERP (1)"))),
        }
    }
}

/// Writes one vector a value of `t` to `out`, (t.len(), a.len()): `a` at t = 0, `b` at t = 1; other finite values go
/// beyond them. `out` may be longer, its rest is left alone.
///
/// The angle is that of the whole vectors, accumulated in f64. Vectors (nearly) parallel, opposite or zero have no
/// great circle: there, [`Interpolation::Lerp`].
///
/// # Errors
/// INVALID_ARGUMENT for vectors that are empty or of different lengths and for a `t` that is not finite;
/// BUFFER_TOO_SMALL, counted in floats. Nothing has been written then.
pub fn interpolate(mode: Interpolation, a: &[f32], b: &[f32], t: &[f32], out: &mut [f32]) -> Result<()> {
    if a.is_empty() {
        return Err(Error::argument("a", "empty"));
    }
    if a.len() != b.len() {
        return Err(Error::argument("b", format!("{} values, a has {}", b.len(), a.len())));
    }
    if let Some((i, value)) = t.iter().enumerate().find(|(_, t)| !t.is_finite()) {
        return Err(Error::argument("t", format!("t[{i}] = {value} is not a finite number")));
    }
    let expected = (a.len() as u64).saturating_mul(t.len() as u64);
    if (out.len() as u64) < expected {
        return Err(Error::BufferTooSmall { argument: "out", expected, found: out.len() as u64 });
    }
    let angle = match mode {
        Interpolation::Lerp => None,
        Interpolation::Slerp => angle(a, b),
    };
    for (&t, out) in t.iter().zip(out.chunks_exact_mut(a.len())) {
        let t = f64::from(t);
        let (from, to) = match angle {
            None => (1.0 - t, t),
            Some(angle) => (((1.0 - t) * angle).sin() / angle.sin(), (t * angle).sin() / angle.sin()),
        };
        for ((out, &a), &b) in out.iter_mut().zip(a).zip(b) {
            *out = (from * f64::from(a) + to * f64::from(b)) as f32;
        }
    }
    Ok(())
}

/// The angle between two vectors in radians; none where it is too near to 0 or pi to divide by its sine.
fn angle(a: &[f32], b: &[f32]) -> Option<f64> {
    let (mut aa, mut bb, mut ab) = (0.0, 0.0, 0.0);
    for (&a, &b) in a.iter().zip(b) {
        let (a, b) = (f64::from(a), f64::from(b));
        aa += a * a;
        bb += b * b;
        ab += a * b;
    }
    let angle = (ab / (aa.sqrt() * bb.sqrt())).clamp(-1.0, 1.0).acos();
    // A NaN (a zero vector) fails the comparison too.
    (angle.sin() > 1e-6).then_some(angle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Code;
    use crate::noise;

    #[test]
    fn ends_are_exact_and_slerp_keeps_the_norm() {
        let (mut a, mut b) = ([0.0; 3072], [0.0; 3072]);
        noise::fill(1, 0, &mut a);
        noise::fill(2, 0, &mut b);
        let norm = |v: &[f32]| v.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        for mode in [Interpolation::Lerp, Interpolation::Slerp] {
            let mut out = vec![9.0; 3 * 3072 + 1];
            interpolate(mode, &a, &b, &[0.0, 0.5, 1.0], &mut out).unwrap();
            assert_eq!((&out[..3072], &out[6144..9216], out[9216]), (&a[..], &b[..], 9.0));
            let ratio = norm(&out[3072..6144]) / (norm(&a) + norm(&b)) * 2.0;
            let expected = if mode == Interpolation::Slerp { 1.0 } else { 0.5_f64.sqrt() };
            assert!((ratio - expected).abs() < 0.03, "{mode:?} {ratio}");
        }
    }

    #[test]
    fn slerp_follows_the_circle() {
        let mut out = [0.0; 6];
        interpolate(Interpolation::Slerp, &[1.0, 0.0], &[0.0, 1.0], &[1.0 / 3.0, 2.0, -1.0], &mut out)
            .unwrap();
        let expected = [0.75_f32.sqrt(), 0.5, -1.0, 0.0, 0.0, -1.0];
        assert!(out.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{out:?}");
    }

    #[test]
    fn vectors_without_an_angle_are_interpolated_linearly() {
        for (a, b) in [([1.0, 2.0], [1.0, 2.0]), ([1.0, 2.0], [-1.0, -2.0]), ([0.0, 0.0], [1.0, 2.0])] {
            let (mut slerp, mut lerp) = ([0.0; 2], [0.0; 2]);
            interpolate(Interpolation::Slerp, &a, &b, &[0.25], &mut slerp).unwrap();
            interpolate(Interpolation::Lerp, &a, &b, &[0.25], &mut lerp).unwrap();
            assert_eq!(slerp, lerp);
        }
    }

    #[test]
    fn mistakes_are_named() {
        let run = |a: &[f32], b: &[f32], t: &[f32], n| {
            interpolate(Interpolation::Slerp, a, b, t, &mut vec![0.0; n]).unwrap_err()
        };
        assert_eq!(run(&[], &[], &[0.0], 0).code(), Code::InvalidArgument);
        assert_eq!(run(&[1.0], &[1.0, 2.0], &[0.0], 2).to_string(), "b: 2 values, a has 1");
        let nan = run(&[1.0], &[2.0], &[0.0, f32::NAN], 2).to_string();
        assert_eq!(nan, "t: t[1] = NaN is not a finite number");
        assert_eq!(run(&[1.0], &[2.0], &[f32::INFINITY], 2).code(), Code::InvalidArgument);
        assert_eq!(run(&[1.0], &[2.0], &[0.0, 1.0], 1).code(), Code::BufferTooSmall);
        assert_eq!(Interpolation::from_i32(1).unwrap(), Interpolation::Slerp);
        assert_eq!(Interpolation::from_i32(2).unwrap_err().code(), Code::InvalidArgument);
    }
}
