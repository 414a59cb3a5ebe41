//! Models.

use super::args::{Handle, check_pointer, free, handle, handle_ref, out_handle, slice, slice_mut, text};
use super::error::onestep_error;
use super::guard::{guard, guard_void};
use super::library::{User, out_value};
use super::options::{onestep_options, options_or_default};
use super::types::{
    copy_text, onestep_layout, onestep_memory, onestep_model_info, onestep_release_fn, read_layout,
    write_struct,
};
use crate::Model;
use crate::error::{Error, Result};
use crate::model::Role;
use std::ffi::{c_char, c_void};

/// A model: immutable, safe to use from any number of threads and sessions. Freeing it under a live session is safe.
#[cfg_attr(not(cbindgen), repr(C))]
pub struct onestep_model {
    tag: u32,
    pub(super) model: Model,
}
handle!(onestep_model, "model", b"1mdl");

fn put(out: &mut *mut onestep_model, model: Model) {
    *out = Box::into_raw(Box::new(onestep_model { tag: onestep_model::TAG, model }));
}

/// Opens a file in onestep's own format, a packed file, or a diffusers folder. `path` is UTF-8. `*out` is NULL unless the call
/// succeeds.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_model_open_file(
    path: *const c_char,
    options: *const onestep_options,
    out: *mut *mut onestep_model,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `out` is writable, `path` NUL-terminated and `options` NULL or live.
        let (out, path, (options, _)) =
            unsafe { (out_handle(out)?, text(path, "path")?, options_or_default(options)?) };
        put(out, Model::open(path, &options)?);
        Ok(())
    })
}

/// Prepares the model at `source` for the CPU once, and writes its weights, as they are then, to a packed file at `out`: opening
/// that reads them, where opening `source` transforms them. It has up to 2.4 times the bytes of 32-bit weights, opens where the
/// processor has the instruction set that it was packed for (option `isa`), and is good for nothing but drawing. Opened with the
/// option `memory` = `map`, its weights are used where they lie in the file, shared by all processes that do so.
///
/// The options say which instruction set, precision and memory mode it is for; progress comes with ONESTEP_PHASE_WRITE, in
/// tensors. Nothing is left where the call fails. Paths are UTF-8.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_model_pack_file(
    source: *const c_char,
    out: *const c_char,
    options: *const onestep_options,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that the paths are NUL-terminated and `options` NULL or live.
        let (source, out, (options, _)) =
            unsafe { (text(source, "source")?, text(out, "out")?, options_or_default(options)?) };
        Model::pack(source, out, &options)?;
        Ok(())
    })
}

/// Opens the bytes of a file in onestep's own format, which are needed during the call alone.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_model_open_memory(
    data: *const c_void,
    size: usize,
    options: *const onestep_options,
    out: *mut *mut onestep_model,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `out` is writable, `data` has `size` readable bytes, `options` is NULL or live.
        unsafe { open_bytes(data, size, options, out) }
    })
}

/// Opens bytes without copying them, and calls `release(user)` exactly once when they are no longer needed: before
/// this function returns, whether it succeeds or fails. They may be unaligned. `release` may be NULL.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_model_open_borrowed(
    data: *const c_void,
    size: usize,
    release: onestep_release_fn,
    user: *mut c_void,
    options: *const onestep_options,
    out: *mut *mut onestep_model,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        let _released_at_the_end = Release { function: release, user: User(user) };
        // SAFETY: as in `onestep_model_open_memory`.
        unsafe { open_bytes(data, size, options, out) }
    })
}

/// Opens the student inside the library: portraits in pixels, 16 x 16, four channels (RGBA, alpha not multiplied in), eight
/// classes: 0 short hair, 1 long hair, 2 and 3 the same with glasses, 4 and 5 with a hat, 6 a beard, 7 a beard and a hat. One
/// network call an image, or better two (`onestep_request_set_ddim`). NOT_BUILT where the library was built without it.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_model_open_default(
    options: *const onestep_options,
    out: *mut *mut onestep_model,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `out` is writable and `options` NULL or live.
        let (out, (options, _)) = unsafe { (out_handle(out)?, options_or_default(options)?) };
        put(out, Model::open_default(&options)?);
        Ok(())
    })
}

/// What the model is. Set `info->struct_size` first.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_model_get_info(
    model: *const onestep_model,
    info: *mut onestep_model_info,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `model` is live.
        let model = unsafe { handle_ref(model) }?.model.info();
        let (config, network) = (&model.config, &model.config.network);
        let mut value = onestep_model_info {
            struct_size: 0,
            role: if config.generator.role() == Role::Student { 2 } else { 1 },
            width: network.size.1 as i32,
            height: network.size.0 as i32,
            channels: network.channels as i32,
            num_classes: network.num_classes.unwrap_or(0) as i32,
            train_timesteps: config.generator.train_timesteps() as i32,
            default_steps: config.generator.default_steps() as i32,
            parameters: model.parameters,
            weight_bytes: model.weight_bytes,
            arch: [0; 32],
            device: [0; 32],
            precision: model.precision as i32,
            reserved: 0,
        };
        copy_text(&mut value.arch, model.architecture);
        copy_text(&mut value.device, &model.device);
        // SAFETY: the header says that `info` points to `struct_size` writable bytes.
        unsafe { write_struct(info, &value, "info") }
    })
}

/// All that is known of the model, as one JSON object in UTF-8: what `onestep info --json` prints, but for its name and memory.
/// It has, beside what `onestep_model_get_info` tells, the kind of generator, the prediction, the schedule, where the weights come
/// from, and notes of what was assumed or left out. Keys are added, and none is taken away.
///
/// `out` has room for `size` bytes, and `*needed` becomes the size of the text with its final NUL, the same at every call. NULL
/// and 0 ask for `*needed` alone. After BUFFER_TOO_SMALL nothing else was written.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_model_info_json(
    model: *const onestep_model,
    out: *mut c_char,
    size: usize,
    needed: *mut usize,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `model` is live.
        let mut text = unsafe { handle_ref(model) }?.model.info().to_json().to_string();
        // JSON has none inside: it writes control characters as escapes.
        text.push('\0');
        // SAFETY: the header says that `needed` is writable.
        *unsafe { out_value(needed, "needed") }? = text.len();
        if out.is_null() && size == 0 {
            return Ok(());
        }
        check_pointer(out, "out")?;
        // SAFETY: the header says that `out` has `size` writable bytes that no one else uses.
        let out = unsafe { slice_mut(out.cast::<u8>(), size, "out") }?;
        let Some(out) = out.get_mut(..text.len()) else {
            let (expected, found) = (text.len() as u64, size as u64);
            return Err(Error::BufferTooSmall { argument: "out", expected, found });
        };
        out.copy_from_slice(text.as_bytes());
        Ok(())
    })
}

/// What calls of `batch` images take. Set `memory->struct_size` first.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_model_estimate_memory(
    model: *const onestep_model,
    batch: u32,
    memory: *mut onestep_memory,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `model` is live.
        let found = unsafe { handle_ref(model) }?.model.estimate_memory(batch as usize)?;
        let value = onestep_memory {
            weights: found.weights,
            scratch: found.scratch,
            host_peak: found.host_peak,
            ..onestep_memory::default()
        };
        // SAFETY: the header says that `memory` points to `struct_size` writable bytes.
        unsafe { write_struct(memory, &value, "memory") }
    })
}

/// Bytes that `onestep_session_sample` writes for `batch` images, from the first to the last; checks the layout.
#[must_use]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_output_size(
    model: *const onestep_model,
    batch: u32,
    layout: *const onestep_layout,
    bytes: *mut u64,
    err: *mut onestep_error,
) -> i32 {
    guard(err, || {
        // SAFETY: the header says that `model` is live, `layout` NULL or readable, `bytes` writable.
        let (model, layout, bytes) =
            unsafe { (handle_ref(model)?, read_layout(layout)?, out_value(bytes, "bytes")?) };
        *bytes = model.model.output_size(batch as usize, &layout)?;
        Ok(())
    })
}

/// Frees a model; NULL does nothing. Sessions made from it stay usable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_model_free(model: *mut onestep_model) {
    // SAFETY: the header says that `model` is NULL or live, and not used again.
    guard_void(|| unsafe { free(model) });
}

/// # Safety
/// `data` has `size` readable bytes; `options` is NULL or live; `out` is NULL or writable.
unsafe fn open_bytes(
    data: *const c_void,
    size: usize,
    options: *const onestep_options,
    out: *mut *mut onestep_model,
) -> Result<()> {
    // SAFETY: passed on.
    let (out, bytes, (options, _)) =
        unsafe { (out_handle(out)?, slice(data.cast::<u8>(), size, "data")?, options_or_default(options)?) };
    put(out, Model::from_bytes(bytes, &options)?);
    Ok(())
}

/// Calls the release callback once, however the function ends.
struct Release {
    function: onestep_release_fn,
    user: User,
}

impl Drop for Release {
    fn drop(&mut self) {
        if let Some(function) = self.function {
            // SAFETY: the header says that `release` may be called with `user`, once.
            unsafe { function(self.user.0) };
        }
    }
}
