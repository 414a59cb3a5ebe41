//! Noise, for callers who mix or keep it.

use super::args::{check_apart, handle_ref, slice, slice_mut};
use super::error::onestep_error;
use super::guard::guard;
use super::model::onestep_model;
use crate::error::Error;
use crate::sampler::{Interpolation, interpolate};

/// (1 - t) a + t b
pub const ONESTEP_INTERPOLATE_LERP: i32 = 0;
/// Along the great circle: what keeps noise noise.
pub const ONESTEP_INTERPOLATE_SLERP: i32 = 1;

/// x_T of each seed as (n, c, h, w) floats, the same bits on every machine and device: what sampling starts from.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_noise_fill(
    model: *const onestep_model,
    seeds: *const u64,
    n: usize,
    out: *mut f32,
    n_floats: usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `model` is live, `seeds` has n values, `out` n_floats writable ones.
        let (model, seeds, out) =
            unsafe { (handle_ref(model)?, slice(seeds, n, "seeds")?, slice_mut(out, n_floats, "out")?) };
        model.model.noise(seeds, out)
    })
}

/// Vectors between `a` and `b`, of `len` floats each, one for each of the `n_t` values of `t` (0 gives a, 1 gives b).
/// `mode` is ONESTEP_INTERPOLATE_*; SLERP turns over the whole vector. `out` has n_t len floats at least, and shares
/// none with `a`, `b` and `t`.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_noise_interpolate(
    mode: i32,
    a: *const f32,
    b: *const f32,
    len: usize,
    t: *const f32,
    n_t: usize,
    out: *mut f32,
    n_floats: usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        let mode = Interpolation::from_i32(mode)?;
        let floats = len
            .checked_mul(n_t)
            .ok_or_else(|| Error::argument("n_t", format!("{n_t} times {len} floats")))?;
        check_apart((out, n_floats, "out"), &[(a, len, "a"), (b, len, "b"), (t, n_t, "t")])?;
        // SAFETY: the header says that `a` and `b` have `len` values, `t` n_t, `out` n_floats writable ones.
        let (a, b, t, out) = unsafe {
            (slice(a, len, "a")?, slice(b, len, "b")?, slice(t, n_t, "t")?, slice_mut(out, n_floats, "out")?)
        };
        let found = out.len();
        let Some(out) = out.get_mut(..floats) else {
            return Err(Error::BufferTooSmall {
                argument: "out",
                expected: floats as u64,
                found: found as u64,
            });
        };
        interpolate(mode, a, b, t, out)
    })
}
