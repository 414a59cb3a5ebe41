//! What to sample.

use super::args::{Handle, free, handle, handle_mut, optional_handle, slice};
use super::cancel::onestep_cancel;
use super::error::onestep_error;
use super::guard::{guard, guard_void};
use super::options::progress_from;
use super::types::onestep_progress_fn;
use crate::Request;
use crate::error::{Error, Result, try_with_capacity};
use crate::model::Spacing;
use crate::sampler::{Kind, Sampler};
use std::ffi::c_void;

/// Deterministic where eta is 0 (Song et al. 2021).
pub const ONESTEP_SAMPLER_DDIM: i32 = 0;
/// Ancestral (Ho et al. 2020).
pub const ONESTEP_SAMPLER_DDPM: i32 = 1;

/// A consistency model's own, of one step or of several (Song et al. 2023).
pub const ONESTEP_SAMPLER_CONSISTENCY: i32 = 2;

/// EDM's, by Euler's method (Karras et al. 2022).
pub const ONESTEP_SAMPLER_EULER: i32 = 3;
/// EDM's, by Heun's method: two network calls a step, but for the last.
pub const ONESTEP_SAMPLER_HEUN: i32 = 4;

/// As the model's file says.
pub const ONESTEP_SPACING_FILE: i32 = 0;
/// i (T / K) + offset
pub const ONESTEP_SPACING_LEADING: i32 = 1;
/// round(T - i T / K) - 1
pub const ONESTEP_SPACING_TRAILING: i32 = 2;
/// floor(linspace(0, sqrt(0.8 T), K)^2), the paper's
pub const ONESTEP_SPACING_QUADRATIC: i32 = 3;
/// round(linspace(0, T - 1, K))
pub const ONESTEP_SPACING_LINSPACE: i32 = 4;

/// What to sample. Setters copy; a request can be used again. One thread at a time.
#[cfg_attr(not(cbindgen), repr(C))]
pub struct onestep_request {
    tag: u32,
    pub(super) request: Request,
}
handle!(onestep_request, "request", b"1req");

/// An empty request. Never NULL.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn onestep_request_new() -> *mut onestep_request {
    let tag = onestep_request::TAG;
    Box::into_raw(Box::new(onestep_request { tag, request: Request::default() }))
}

/// Frees a request; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_free(request: *mut onestep_request) {
    // SAFETY: the header says that `request` is NULL or live, and not used again.
    guard_void(|| unsafe { free(request) });
}

/// One seed an image; their number is the batch. Image i depends on seed i alone. n = 0 takes seeds away.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_set_seeds(
    request: *mut onestep_request,
    seeds: *const u64,
    n: usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `request` is live and `seeds` has `n` readable values.
        let (request, seeds) = unsafe { (handle_mut(request)?, slice(seeds, n, "seeds")?) };
        replace(&mut request.request.seeds, seeds)
    })
}

/// x_T itself, (n, c, h, w), in place of the seeds' own; seeds of the same batch may stand beside it for the fresh
/// noise of stochastic samplers. n_floats = 0 takes it away.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_set_noise(
    request: *mut onestep_request,
    nchw: *const f32,
    n_floats: usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `request` is live and `nchw` has `n_floats` readable values.
        let (request, noise) = unsafe { (handle_mut(request)?, slice(nchw, n_floats, "nchw")?) };
        replace(&mut request.request.noise, noise)
    })
}

/// One label an image, 0 to num_classes - 1, for conditional models; num_classes itself stands for no label where the model was
/// taught without labels too. n = 0 takes labels away.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_set_labels(
    request: *mut onestep_request,
    labels: *const i32,
    n: usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `request` is live and `labels` has `n` readable values.
        let (request, labels) = unsafe { (handle_mut(request)?, slice(labels, n, "labels")?) };
        replace(&mut request.request.labels, labels)
    })
}

/// DDIM with the file's spacing: `steps` network calls (0: the model's default), eta 0 to 1. Teachers only.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_set_ddim(
    request: *mut onestep_request,
    steps: u32,
    eta: f32,
    err: *mut onestep_error,
) -> i32 {
    // SAFETY: passed on.
    unsafe {
        onestep_request_set_sampler(request, ONESTEP_SAMPLER_DDIM, ONESTEP_SPACING_FILE, steps, eta, err)
    }
}

/// How a teacher samples: ONESTEP_SAMPLER_*, ONESTEP_SPACING_*, `steps` network calls (0: the model's default), and
/// DDIM's eta, 0 to 1. Values are checked here as far as they can be, and against the model when it samples.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_set_sampler(
    request: *mut onestep_request,
    kind: i32,
    spacing: i32,
    steps: u32,
    eta: f32,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `request` is live.
        let request = unsafe { handle_mut(request) }?;
        let kind = match kind {
            ONESTEP_SAMPLER_DDIM => Some(Kind::Ddim),
            ONESTEP_SAMPLER_DDPM => Some(Kind::Ddpm),
            ONESTEP_SAMPLER_CONSISTENCY => Some(Kind::Consistency),
            ONESTEP_SAMPLER_EULER => Some(Kind::Euler),
            ONESTEP_SAMPLER_HEUN => Some(Kind::Heun),
            _ => return Err(Error::argument("kind", format!("{kind} is none of ONESTEP_SAMPLER_*"))),
        };
        let spacing = match spacing {
            ONESTEP_SPACING_FILE => None,
            ONESTEP_SPACING_LEADING => Some(Spacing::Leading),
            ONESTEP_SPACING_TRAILING => Some(Spacing::Trailing),
            ONESTEP_SPACING_QUADRATIC => Some(Spacing::Quadratic),
            ONESTEP_SPACING_LINSPACE => Some(Spacing::Linspace),
            _ => return Err(Error::argument("spacing", format!("{spacing} is none of ONESTEP_SPACING_*"))),
        };
        if !(0.0..=1.0).contains(&eta) {
            return Err(Error::argument("eta", format!("{eta} is not in [0, 1]")));
        }
        let Sampler { timesteps, guidance, .. } = request.request.sampler.take().unwrap_or_default();
        let steps = (steps > 0).then_some(steps);
        request.request.sampler =
            Some(Sampler { kind, spacing, steps, eta, timesteps, until: None, guidance });
        Ok(())
    })
}

/// An explicit sequence of descending timesteps, or of a consistency model's ascending noise levels (0: the most noise), in
/// place of a number of steps; keeps the sampler and eta that were
/// set. n = 0 takes it away.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_set_schedule(
    request: *mut onestep_request,
    timesteps: *const i32,
    n: usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `request` is live and `timesteps` has `n` readable values.
        let (request, timesteps) = unsafe { (handle_mut(request)?, slice(timesteps, n, "timesteps")?) };
        let sampler = request.request.sampler.get_or_insert_default();
        replace(&mut sampler.timesteps, timesteps)?;
        if *sampler == Sampler::default() {
            request.request.sampler = None;
        }
        Ok(())
    })
}

/// Classifier-free guidance (Ho and Salimans 2022), for conditional models that were taught without labels too: each prediction is
/// p(none) + scale (p(label) - p(none)), at two network calls a step. 1: none; 0: as if there were no labels; usual are 1.5 to 8.
/// Keeps the sampler and schedule that were set. Whether the model can be guided is checked when it samples.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_set_guidance(
    request: *mut onestep_request,
    scale: f32,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `request` is live.
        let request = unsafe { handle_mut(request) }?;
        if !scale.is_finite() {
            return Err(Error::argument("scale", format!("{scale} is no finite number")));
        }
        let sampler = request.request.sampler.get_or_insert_default();
        sampler.guidance = (scale != 1.0).then_some(scale);
        if *sampler == Sampler::default() {
            request.request.sampler = None;
        }
        Ok(())
    })
}

/// Progress of the call, in place of the session's; NULL for none.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_set_progress(
    request: *mut onestep_request,
    progress: onestep_progress_fn,
    user: *mut c_void,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `request` is live.
        unsafe { handle_mut(request) }?.request.progress = progress_from(progress, user);
        Ok(())
    })
}

/// A token that cancels the call; NULL for none.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_request_set_cancel(
    request: *mut onestep_request,
    cancel: *mut onestep_cancel,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `request` is live, and `cancel` NULL or live.
        let (request, cancel) = unsafe { (handle_mut(request)?, optional_handle(cancel)?) };
        request.request.cancel = cancel.map(|token| token.cancel.clone());
        Ok(())
    })
}

/// Copies a caller's values, in the memory of the old ones where it is enough; none take the old ones away.
fn replace<T: Copy>(place: &mut Option<Vec<T>>, values: &[T]) -> Result<()> {
    if values.is_empty() {
        *place = None;
        return Ok(());
    }
    let mut copy = match place.take() {
        Some(old) if old.capacity() >= values.len() => old,
        _ => try_with_capacity(values.len(), "a request")?,
    };
    copy.clear();
    copy.extend_from_slice(values);
    *place = Some(copy);
    Ok(())
}
