//! Sessions.

use super::args::{
    Handle, check_apart, check_pointer, free, handle, handle_ref, out_handle, slice, slice_mut,
};
use super::error::onestep_error;
use super::guard::{guard, guard_void};
use super::model::onestep_model;
use super::options::{onestep_options, options_or_default};
use super::request::onestep_request;
use super::types::{onestep_layout, read_layout};
use crate::Session;
use crate::error::{Error, Result};
use std::ffi::c_void;
use std::sync::{Mutex, MutexGuard, TryLockError};

/// One caller's scratch memory and threads. One call at a time: a second one answers BUSY. Sessions of one model run
/// side by side. Do not free a session while a call on it runs.
#[cfg_attr(not(cbindgen), repr(C))]
pub struct onestep_session {
    tag: u32,
    /// Its poison is the session's.
    session: Mutex<Session>,
    panics: bool,
}
handle!(onestep_session, "session", b"1ses");

impl onestep_session {
    fn lock(&self) -> Result<MutexGuard<'_, Session>> {
        self.session.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => Error::Busy,
            TryLockError::Poisoned(_) => Error::Poisoned,
        })
    }
}

/// A session on a model. Of the options it reads threads, `spin_us`, progress and cancel; NULL stands for all defaults.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_session_new(
    model: *const onestep_model,
    options: *const onestep_options,
    out: *mut *mut onestep_session,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `out` is writable, `model` live and `options` NULL or live.
        let (out, model, (options, panics)) =
            unsafe { (out_handle(out)?, handle_ref(model)?, options_or_default(options)?) };
        let session = Mutex::new(model.model.session(&options)?);
        *out = Box::into_raw(Box::new(onestep_session { tag: onestep_session::TAG, session, panics }));
        Ok(())
    })
}

/// Frees a session and ends its threads; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_session_free(session: *mut onestep_session) {
    // SAFETY: the header says that `session` is NULL or live, has no call running, and is not used again.
    guard_void(|| unsafe { free(session) });
}

/// Gets ready for calls of `batch` images: plans memory for every way in which the model can draw, and calls the network on
/// noise of its own, once (seven times for Heun's method). Blocks. The next call of so many images allocates nothing, and takes its
/// usual time. Samplers other than the model's own may still have a graph to make on CUDA, and EDM's of more steps than the default
/// a longer list of them.
///
/// `batch` is 1 to `limits.batch`. Of several batch sizes the largest comes first: its memory is enough for the others, which a
/// larger one after them would make CUDA record anew. The options' progress hears of it (ONESTEP_PHASE_SAMPLE), and their token
/// cancels it.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_session_prepare(
    session: *mut onestep_session,
    batch: u32,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `session` is live.
        let handle = unsafe { handle_ref(session) }?;
        handle.lock()?.prepare(batch as usize)
    })
}

/// Draws a batch into `out`, which may be unaligned, has `out_size` bytes, and needs `onestep_output_size` of them.
/// Blocks. After CANCELLED, `out` is unspecified and the session usable; after BUFFER_TOO_SMALL nothing was written.
/// A session's first calls of a batch size and kind of sampler plan and allocate (`onestep_session_prepare` does it before); later
/// ones do not.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_session_sample(
    session: *mut onestep_session,
    request: *const onestep_request,
    layout: *const onestep_layout,
    out: *mut c_void,
    out_size: usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `session` and `request` are live, and `layout` NULL or readable.
        let (handle, request, layout) =
            unsafe { (handle_ref(session)?, handle_ref(request)?, read_layout(layout)?) };
        check_pointer(out.cast::<u8>(), "out")?;
        // SAFETY: the header says that `out` has `out_size` writable bytes that no one else uses.
        let out = unsafe { slice_mut(out.cast::<u8>(), out_size, "out") }?;
        let mut session = handle.lock()?;
        if handle.panics {
            panic!("test.panic was asked for");
        }
        session.sample(&request.request, &layout, out)
    })
}

/// The bare network, for callers with a sampler of their own: the raw prediction for `n` images `x` (n, c, h, w) at
/// one timestep an image, and one label an image for conditional models (else `labels` is NULL). `out` has `n_floats`
/// floats, n c h w at least; `x` has n c h w, finite ones, and shares none with `out`. Of a network that learned
/// its variance, it is the mean.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_session_predict(
    session: *mut onestep_session,
    x_nchw: *const f32,
    timesteps: *const i32,
    labels: *const i32,
    n: usize,
    out: *mut f32,
    n_floats: usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says so of each of them.
        unsafe { call(session, x_nchw, (timesteps, "timesteps"), labels, n, out, n_floats, Session::predict) }
    })
}

/// `onestep_session_predict` at any finite times, whole or not: what the network itself is told of an image's noise level,
/// such as ln(sigma) / 4 (EDM) or 250 ln(sigma) (consistency models).
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_session_predict_at(
    session: *mut onestep_session,
    x_nchw: *const f32,
    times: *const f32,
    labels: *const i32,
    n: usize,
    out: *mut f32,
    n_floats: usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says so of each of them.
        unsafe { call(session, x_nchw, (times, "times"), labels, n, out, n_floats, Session::predict_at) }
    })
}

/// [`Session::predict`], or [`Session::predict_at`]: images, times, labels, what is predicted.
type Predict<T> = fn(&mut Session, &[f32], &[T], Option<&[i32]>, &mut [f32]) -> Result<()>;

/// One network call by `predict`.
///
/// # Safety
/// `session` is live, `x_nchw` has n c h w values, `times` n, `labels` n or is NULL, and `out` n_floats writable ones that no
/// one else uses.
#[allow(clippy::too_many_arguments)]
unsafe fn call<T>(
    session: *mut onestep_session,
    x_nchw: *const f32,
    (times, name): (*const T, &'static str),
    labels: *const i32,
    n: usize,
    out: *mut f32,
    n_floats: usize,
    predict: Predict<T>,
) -> Result<()> {
    // SAFETY: the caller's promise.
    let handle = unsafe { handle_ref(session) }?;
    let mut session = handle.lock()?;
    let image = session.model().info().config.network.image().iter().product();
    let floats = n.checked_mul(image).ok_or_else(|| Error::argument("n", format!("{n} images")))?;
    check_apart((out, n_floats, "out"), &[(x_nchw, floats, "x_nchw")])?;
    // SAFETY: the caller's promise.
    let (x, times, labels, out) = unsafe {
        (
            slice(x_nchw, floats, "x_nchw")?,
            slice(times, n, name)?,
            if labels.is_null() { None } else { Some(slice(labels, n, "labels")?) },
            slice_mut(out, n_floats, "out")?,
        )
    };
    predict(&mut session, x, times, labels, out)
}
