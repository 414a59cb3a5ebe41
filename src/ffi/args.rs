//! What can be checked of a caller's pointers: NULL, alignment, sizes, and whether a handle is of the right kind.

use crate::error::{Error, Result};
use std::ffi::{CStr, c_char};

/// An opaque handle: its first word tells its kind, so that a wrong or freed one is caught more often than not.
///
/// # Safety
/// The type is `repr(C)` and its first field is a `u32` that is [`Handle::TAG`] as long as the handle lives.
pub unsafe trait Handle {
    /// This kind's word.
    const TAG: u32;
    /// What the header calls the argument.
    const NAME: &'static str;
}

/// Declares a [`Handle`] whose first field is `tag`. To the header's generator it is no `repr(C)`, and so opaque.
macro_rules! handle {
    ($type:ty, $name:literal, $tag:literal) => {
        // SAFETY: the field's place is checked here; its value is what every constructor writes.
        unsafe impl $crate::ffi::args::Handle for $type {
            const TAG: u32 = {
                assert!(std::mem::offset_of!($type, tag) == 0);
                u32::from_le_bytes(*$tag)
            };
            const NAME: &'static str = $name;
        }
    };
}
pub(super) use handle;

/// The handle behind a pointer, or an error that names it.
///
/// # Safety
/// `pointer` is NULL, or from this library and not freed, and not changed by another thread meanwhile.
pub unsafe fn handle_ref<'a, T: Handle>(pointer: *const T) -> Result<&'a T> {
    // SAFETY: passed on.
    unsafe { check_handle(pointer) }?;
    // SAFETY: a live handle of this kind, as its tag says; the caller's promise covers the rest.
    Ok(unsafe { &*pointer })
}

/// As [`handle_ref`], where NULL stands for none.
///
/// # Safety
/// As `handle_ref`.
pub unsafe fn optional_handle<'a, T: Handle>(pointer: *const T) -> Result<Option<&'a T>> {
    // SAFETY: passed on.
    if pointer.is_null() { Ok(None) } else { unsafe { handle_ref(pointer) }.map(Some) }
}

/// As [`handle_ref`], to change.
///
/// # Safety
/// As `handle_ref`, and no other thread uses the handle.
pub unsafe fn handle_mut<'a, T: Handle>(pointer: *mut T) -> Result<&'a mut T> {
    // SAFETY: passed on.
    unsafe { check_handle(pointer) }?;
    // SAFETY: a live handle of this kind, as its tag says; the caller's promise covers the rest.
    Ok(unsafe { &mut *pointer })
}

/// Frees a handle; NULL and handles of another kind are left alone.
///
/// # Safety
/// As `handle_mut`, and the pointer is not used again.
pub unsafe fn free<T: Handle>(pointer: *mut T) {
    // SAFETY: passed on.
    if unsafe { check_handle(pointer) }.is_ok() {
        // SAFETY: handles are made by `Box::into_raw` alone, and the tag said that this is a live one. The tag goes
        // first, so that a second free may find out.
        unsafe {
            pointer.cast::<u32>().write(0);
            drop(Box::from_raw(pointer));
        }
    }
}

/// Where a new handle goes: NULL until the call succeeds.
///
/// # Safety
/// `out` is NULL or points to a writable pointer.
pub unsafe fn out_handle<'a, T>(out: *mut *mut T) -> Result<&'a mut *mut T> {
    check_pointer(out, "out")?;
    // SAFETY: not NULL and aligned; the caller says that it is writable.
    let out = unsafe { &mut *out };
    *out = std::ptr::null_mut();
    Ok(out)
}

/// A caller's array.
///
/// # Safety
/// `pointer` is NULL or points to `len` readable values that no one changes during the call.
pub unsafe fn slice<'a, T>(pointer: *const T, len: usize, name: &'static str) -> Result<&'a [T]> {
    if len == 0 {
        return Ok(&[]);
    }
    check_pointer(pointer, name)?;
    check_size::<T>(len, name)?;
    // SAFETY: not NULL, aligned, no larger than an object can be; the caller says that it is readable.
    Ok(unsafe { std::slice::from_raw_parts(pointer, len) })
}

/// A caller's array, to write.
///
/// # Safety
/// As `slice`, writable, and used by no one else during the call.
pub unsafe fn slice_mut<'a, T>(pointer: *mut T, len: usize, name: &'static str) -> Result<&'a mut [T]> {
    if len == 0 {
        return Ok(&mut []);
    }
    check_pointer(pointer, name)?;
    check_size::<T>(len, name)?;
    // SAFETY: not NULL, aligned, no larger than an object can be; the caller says that it is writable.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, len) })
}

/// That what a call writes is none of what it reads: to Rust they are apart, and the result would be neither's.
pub fn check_apart<T>(
    (out, len, name): (*const T, usize, &'static str),
    inputs: &[(*const T, usize, &str)],
) -> Result<()> {
    let range = |from: *const T, len: usize| {
        from.addr()..from.addr().saturating_add(len.saturating_mul(size_of::<T>()))
    };
    let written = range(out, len);
    for &(input, len, other) in inputs {
        let read = range(input, len);
        if read.start < written.end && written.start < read.end {
            let place = written.start.abs_diff(read.start);
            return Err(Error::argument(
                name,
                format!("overlaps {other}: they begin {place} bytes apart, and may share none"),
            ));
        }
    }
    Ok(())
}

/// A caller's string.
///
/// # Safety
/// `pointer` is NULL or a NUL-terminated string.
pub unsafe fn text<'a>(pointer: *const c_char, name: &'static str) -> Result<&'a str> {
    check_pointer(pointer, name)?;
    // SAFETY: not NULL; the caller says that it ends with NUL.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|e| Error::argument(name, format!("not UTF-8: {e}")))
}

/// NULL or misaligned.
pub fn check_pointer<T>(pointer: *const T, name: &'static str) -> Result<()> {
    if pointer.is_null() {
        return Err(Error::argument(name, "NULL"));
    }
    if !pointer.is_aligned() {
        return Err(Error::argument(name, format!("{pointer:p} is not a multiple of {}", align_of::<T>())));
    }
    Ok(())
}

fn check_size<T>(len: usize, name: &'static str) -> Result<()> {
    match len.checked_mul(size_of::<T>()) {
        Some(bytes) if bytes <= isize::MAX as usize => Ok(()),
        _ => Err(Error::argument(name, format!("{len} values are more than memory can hold"))),
    }
}

/// Looks at the first word alone: a wrong handle may be smaller than a right one.
///
/// # Safety
/// `pointer` is NULL, or from this library and not freed.
unsafe fn check_handle<T: Handle>(pointer: *const T) -> Result<()> {
    check_pointer(pointer, T::NAME)?;
    // SAFETY: not NULL and aligned; every kind of handle begins with its tag.
    match unsafe { pointer.cast::<u32>().read() } == T::TAG {
        true => Ok(()),
        false => Err(Error::argument(T::NAME, "not a live handle of this kind")),
    }
}
