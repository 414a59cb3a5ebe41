//! Cancel tokens.

use super::args::{Handle, free, handle, handle_ref};
use super::guard::guard_void;
use crate::Cancel;

/// A sticky cancel token: once triggered, every call that carries it ends with CANCELLED until it is reset. Safe to
/// use from any thread, and to free while a call that carries it runs.
#[cfg_attr(not(cbindgen), repr(C))]
pub struct onestep_cancel {
    tag: u32,
    pub(super) cancel: Cancel,
}
handle!(onestep_cancel, "cancel", b"1cnl");

/// A token that has not been triggered. Never NULL.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn onestep_cancel_new() -> *mut onestep_cancel {
    Box::into_raw(Box::new(onestep_cancel { tag: onestep_cancel::TAG, cancel: Cancel::new() }))
}

/// Cancels every call that carries this token, now and later. A running call ends
/// within milliseconds on the CPU, and before its next network call on CUDA.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_cancel_trigger(cancel: *mut onestep_cancel) {
    // SAFETY: the header says that `cancel` is NULL or a live token.
    guard_void(|| _ = unsafe { handle_ref(cancel) }.map(|token| token.cancel.trigger()));
}

/// Makes the token usable again.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_cancel_reset(cancel: *mut onestep_cancel) {
    // SAFETY: the header says that `cancel` is NULL or a live token.
    guard_void(|| _ = unsafe { handle_ref(cancel) }.map(|token| token.cancel.reset()));
}

/// Frees a token; NULL does nothing. Requests, options and sessions that it was set on keep what they need of it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_cancel_free(cancel: *mut onestep_cancel) {
    // SAFETY: the header says that `cancel` is NULL or a live token, not used again.
    guard_void(|| unsafe { free(cancel) });
}
