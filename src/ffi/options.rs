//! Options of opening models and making sessions.

use super::args::{Handle, free, handle, handle_mut, handle_ref, text};
use super::cancel::onestep_cancel;
use super::error::onestep_error;
use super::guard::{guard, guard_void};
use super::library::User;
use super::types::onestep_progress_fn;
use crate::error::{Error, Result};
use crate::model::Role;
use crate::names::Named;
use crate::{Options, Precision, Progress};
use std::ffi::{c_char, c_void};
use std::ops::ControlFlow;
use std::str::FromStr;
use std::sync::Arc;

/// How to open a model and run a session; NULL stands for all defaults wherever one is taken. Setters copy; free it
/// as soon as the model or session is there. One thread at a time.
#[cfg_attr(not(cbindgen), repr(C))]
pub struct onestep_options {
    tag: u32,
    pub(super) options: Options,
    /// `test.panic`, in builds with debug assertions.
    pub(super) panics: bool,
}
handle!(onestep_options, "options", b"1opt");

/// Options with all defaults. Never NULL.
#[must_use]
#[unsafe(no_mangle)]
pub extern "C" fn onestep_options_new() -> *mut onestep_options {
    let tag = onestep_options::TAG;
    Box::into_raw(Box::new(onestep_options { tag, options: Options::default(), panics: false }))
}

/// Frees options; NULL does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_options_free(options: *mut onestep_options) {
    // SAFETY: the header says that `options` is NULL or live, and not used again.
    guard_void(|| unsafe { free(options) });
}

/// The device: "auto" (the default: "cuda:0" where it can be used, else "cpu"), "cpu", "cuda:0", "metal:0". Read when a
/// model is opened; a session lives on its model's device. Devices that this build lacks are refused then, with NOT_BUILT,
/// and those that this machine lacks with DEVICE_UNAVAILABLE.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_options_set_device(
    options: *mut onestep_options,
    id: *const c_char,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `options` is live and `id` NUL-terminated.
        let (options, id) = unsafe { (handle_mut(options)?, text(id, "id")?) };
        match crate::device::parse(id) {
            Err(error @ Error::InvalidArgument { .. }) => Err(error),
            _ => {
                options.options.device = id.to_owned();
                Ok(())
            }
        }
    })
}

/// Threads of a session, 1 to 1024; 0, the default: the process's share (affinity and cgroup). Pixels do not depend
/// on it.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_options_set_threads(
    options: *mut onestep_options,
    threads: u32,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `options` is live.
        let options = unsafe { handle_mut(options) }?;
        if threads > 1024 {
            return Err(Error::argument("threads", format!("{threads}; 0 (automatic) to 1024")));
        }
        options.options.threads = threads;
        Ok(())
    })
}

/// The arithmetic, ONESTEP_PRECISION_*. Read when a model is opened.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_options_set_precision(
    options: *mut onestep_options,
    precision: i32,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `options` is live.
        let options = unsafe { handle_mut(options) }?;
        options.options.precision = match precision {
            0 => Precision::Auto,
            1 => Precision::F32,
            2 => Precision::Bf16,
            3 => Precision::F16,
            _ => {
                return Err(Error::argument(
                    "precision",
                    format!("{precision} is none of ONESTEP_PRECISION_*"),
                ));
            }
        };
        Ok(())
    })
}

/// The role, ONESTEP_ROLE_*: AUTO takes the file's. Read when a model is opened.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_options_set_role(
    options: *mut onestep_options,
    role: i32,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `options` is live.
        let options = unsafe { handle_mut(options) }?;
        options.options.role = match role {
            0 => None,
            1 => Some(Role::Teacher),
            2 => Some(Role::Student),
            _ => return Err(Error::argument("role", format!("{role} is none of ONESTEP_ROLE_*"))),
        };
        Ok(())
    })
}

/// Progress of opening, and of every call of a session made with these options whose request names no other; NULL for
/// none.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_options_set_progress(
    options: *mut onestep_options,
    progress: onestep_progress_fn,
    user: *mut c_void,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `options` is live.
        let options = unsafe { handle_mut(options) }?;
        options.options.progress = progress_from(progress, user);
        Ok(())
    })
}

/// A token that cancels opening, and every call of a session made with these options; NULL for none.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_options_set_cancel(
    options: *mut onestep_options,
    cancel: *mut onestep_cancel,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `options` is live, and `cancel` NULL or live.
        let (options, cancel) = unsafe { (handle_mut(options)?, super::args::optional_handle(cancel)?) };
        options.options.cancel = cancel.map(|token| token.cancel.clone());
        Ok(())
    })
}

/// Options that have no setter of their own. An unknown key or value is INVALID_ARGUMENT; a key of a backend that this
/// build lacks is ignored.
///
/// | key | values | default |
/// |---|---|---|
/// | `executor` | `fast`; `reference` (plain loops, slow, the oracle) | `fast` |
/// | `clip_sample` | `file`; `true`; `false`: whether samplers clamp their estimate of the image | `file` |
/// | `memory` | `fast`; `low`: half the speed, and weights that take what their values take, not up to 2.4 times; `map`: a packed file's weights, used where they lie in the file, which nobody may change or cut meanwhile | `fast` |
/// | `isa` | `auto`; `portable`, `neon`, `avx2`, `avx512`, `avx512bf16`: the instruction set of the CPU's kernels. Results differ from one to another in their last bits | `auto`: what the environment's `ONESTEP_ISA` says, else the processor's best |
/// | `spin_us` | microseconds that an idle worker spins before it sleeps | the pool's |
/// | `limits.file_bytes` | largest weight file | 17179869184 |
/// | `limits.parameters` | most parameters of a network | 4000000000 |
/// | `limits.pixels` | most pixels of an image | 16777216 |
/// | `limits.batch` | most images a call | 4096 |
/// | `limits.memory` | most bytes of a model's prepared weights and a session's scratch memory together, on the CPU; OUT_OF_MEMORY beyond | 18446744073709551615 |
/// | `cuda.convolutions` | `own`; `cudnn`: those of cuDNN 9, tuned when a shape is first met | `own` |
/// | `cuda.library_path` | folder where CUDA's libraries are looked for first | the environment's `ONESTEP_CUDA_LIBRARY_PATH` |
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_options_set(
    options: *mut onestep_options,
    key: *const c_char,
    value: *const c_char,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `options` is live and the strings NUL-terminated.
        let (options, key, value) =
            unsafe { (handle_mut(options)?, text(key, "key")?, text(value, "value")?) };
        let limits = &mut options.options.limits;
        match key {
            "executor" => options.options.executor = named(key, value)?,
            "clip_sample" => options.options.clip_sample = named(key, value)?,
            "memory" => options.options.memory = named(key, value)?,
            "isa" if value == "auto" => options.options.isa = None,
            "isa" => options.options.isa = Some(named(key, value)?),
            "spin_us" => options.options.spin_us = Some(number(key, value)?),
            "limits.file_bytes" => limits.file_bytes = number(key, value)?,
            "limits.parameters" => limits.parameters = number(key, value)?,
            "limits.pixels" => limits.pixels = number(key, value)?,
            "limits.batch" => limits.batch = number(key, value)?,
            "limits.memory" => limits.memory = number(key, value)?,
            "cuda.convolutions" => options.options.cuda_convolutions = named(key, value)?,
            "cuda.library_path" => options.options.cuda_library_path = Some(value.into()),
            // For this library's own tests of its panic boundary; not in release builds.
            "test.panic" if cfg!(debug_assertions) => options.panics = value == "true",
            _ => return Err(Error::argument("key", format!("{key:?} is no option"))),
        }
        Ok(())
    })
}

/// The caller's options, or the defaults.
///
/// # Safety
/// `options` is NULL or live.
pub(super) unsafe fn options_or_default(options: *const onestep_options) -> Result<(Options, bool)> {
    if options.is_null() {
        return Ok((Options::default(), false));
    }
    // SAFETY: passed on.
    let options = unsafe { handle_ref(options) }?;
    Ok((options.options.clone(), options.panics))
}

/// A progress callback as the library takes it.
pub(super) fn progress_from(function: onestep_progress_fn, user: *mut c_void) -> Option<Progress> {
    let (function, user) = (function?, User(user));
    Some(Arc::new(move |phase, done, total| {
        let User(user) = &user;
        // SAFETY: the header says that the callback may be called with `user`, on the thread that makes the call, as
        // long as the options, request or session that it was set on are in use.
        match unsafe { function(*user, phase as i32, done, total) } {
            0 => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }))
}

fn named<T: Named>(key: &str, value: &str) -> Result<T> {
    let unknown = || Error::argument("value", format!("{value:?} for {key}, which takes {}", T::names()));
    T::named(value).ok_or_else(unknown)
}

fn number<T: FromStr>(key: &str, value: &str) -> Result<T> {
    value.parse().map_err(|_| {
        let bits = 8 * size_of::<T>();
        Error::argument("value", format!("{value:?} for {key}, which takes a whole number of {bits} bits"))
    })
}
