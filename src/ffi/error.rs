//! Status codes, and the error struct that the caller owns.

use crate::error::{Code, Error};
use std::ffi::{CStr, c_char};

/// Success.
pub const ONESTEP_OK: i32 = 0;
/// An argument, option or request that makes no sense; nothing was done.
pub const ONESTEP_INVALID_ARGUMENT: i32 = 1;
/// The caller's buffer is too small; nothing was written.
pub const ONESTEP_BUFFER_TOO_SMALL: i32 = 2;
/// The operating system refused to read; `native_code` is its errno.
pub const ONESTEP_IO: i32 = 3;
/// A model file that is damaged, incomplete or contradicts itself, or is larger than the limits that were set.
pub const ONESTEP_BAD_MODEL: i32 = 4;
/// A sound model of a kind that this library does not run; the message names the key.
pub const ONESTEP_UNSUPPORTED_MODEL: i32 = 5;
/// The device asked for is not on this machine.
pub const ONESTEP_DEVICE_UNAVAILABLE: i32 = 6;
/// The device gave an error while working.
pub const ONESTEP_DEVICE_FAILED: i32 = 7;
/// Memory could not be had.
pub const ONESTEP_OUT_OF_MEMORY: i32 = 8;
/// A cancel token was triggered, or a progress callback said so.
pub const ONESTEP_CANCELLED: i32 = 9;
/// Another thread is inside this session.
pub const ONESTEP_BUSY: i32 = 10;
/// This build of the library was made without the part asked for.
pub const ONESTEP_NOT_BUILT: i32 = 11;
/// The caller was compiled against an incompatible header.
pub const ONESTEP_ABI_MISMATCH: i32 = 12;
/// A bug in this library, caught at its edge.
pub const ONESTEP_PANIC: i32 = 13;
/// A session on which an earlier call panicked; free it and make another.
pub const ONESTEP_POISONED: i32 = 14;
/// A broken promise inside this library, found before it did harm.
pub const ONESTEP_INTERNAL: i32 = 15;

/// What went wrong. The caller owns it; every fallible function takes a pointer to one, or NULL. A function that
/// succeeds sets `code` to ONESTEP_OK and the message to the empty string.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct onestep_error {
    /// The status that the function returned.
    pub code: i32,
    /// The operating system's or driver's own number, or 0.
    pub native_code: i32,
    /// UTF-8, NUL-terminated, cut at a character where it is too long.
    pub message: [c_char; 504],
}

impl onestep_error {
    /// An error's code and message, cut to fit.
    pub(super) fn new(code: i32, native_code: i32, text: &str) -> Self {
        let mut message = [0; 504];
        super::types::copy_message(&mut message, text);
        Self { code, native_code, message }
    }
}

impl From<&Error> for onestep_error {
    fn from(error: &Error) -> Self {
        Self::new(error.code() as i32, error.native_code(), &error.to_string())
    }
}

/// The name of a status, as `"ONESTEP_BUSY"`; `"ONESTEP_UNKNOWN"` for other numbers. Static; never NULL.
#[unsafe(no_mangle)]
pub extern "C" fn onestep_status_name(status: i32) -> *const c_char {
    let code = Code::ALL.into_iter().find(|code| *code as i32 == status);
    name(code).as_ptr()
}

fn name(code: Option<Code>) -> &'static CStr {
    match code {
        None => c"ONESTEP_UNKNOWN",
        Some(Code::Ok) => c"ONESTEP_OK",
        Some(Code::InvalidArgument) => c"ONESTEP_INVALID_ARGUMENT",
        Some(Code::BufferTooSmall) => c"ONESTEP_BUFFER_TOO_SMALL",
        Some(Code::Io) => c"ONESTEP_IO",
        Some(Code::BadModel) => c"ONESTEP_BAD_MODEL",
        Some(Code::UnsupportedModel) => c"ONESTEP_UNSUPPORTED_MODEL",
        Some(Code::DeviceUnavailable) => c"ONESTEP_DEVICE_UNAVAILABLE",
        Some(Code::DeviceFailed) => c"ONESTEP_DEVICE_FAILED",
        Some(Code::OutOfMemory) => c"ONESTEP_OUT_OF_MEMORY",
        Some(Code::Cancelled) => c"ONESTEP_CANCELLED",
        Some(Code::Busy) => c"ONESTEP_BUSY",
        Some(Code::NotBuilt) => c"ONESTEP_NOT_BUILT",
        Some(Code::AbiMismatch) => c"ONESTEP_ABI_MISMATCH",
        Some(Code::Panic) => c"ONESTEP_PANIC",
        Some(Code::Poisoned) => c"ONESTEP_POISONED",
        Some(Code::Internal) => c"ONESTEP_INTERNAL",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_and_the_library_number_alike() {
        let header = [
            (ONESTEP_OK, Code::Ok),
            (ONESTEP_INVALID_ARGUMENT, Code::InvalidArgument),
            (ONESTEP_BUFFER_TOO_SMALL, Code::BufferTooSmall),
            (ONESTEP_IO, Code::Io),
            (ONESTEP_BAD_MODEL, Code::BadModel),
            (ONESTEP_UNSUPPORTED_MODEL, Code::UnsupportedModel),
            (ONESTEP_DEVICE_UNAVAILABLE, Code::DeviceUnavailable),
            (ONESTEP_DEVICE_FAILED, Code::DeviceFailed),
            (ONESTEP_OUT_OF_MEMORY, Code::OutOfMemory),
            (ONESTEP_CANCELLED, Code::Cancelled),
            (ONESTEP_BUSY, Code::Busy),
            (ONESTEP_NOT_BUILT, Code::NotBuilt),
            (ONESTEP_ABI_MISMATCH, Code::AbiMismatch),
            (ONESTEP_PANIC, Code::Panic),
            (ONESTEP_POISONED, Code::Poisoned),
            (ONESTEP_INTERNAL, Code::Internal),
        ];
        assert_eq!(header.map(|(_, code)| code), Code::ALL);
        assert!(header.into_iter().all(|(number, code)| number == code as i32));
    }

    #[test]
    fn a_long_message_keeps_its_beginning_and_its_end() {
        let mut text = [1 as c_char; 40];
        let mut copied = |message: &str| {
            crate::ffi::types::copy_message(&mut text, message);
            let bytes: Vec<u8> = text.iter().map(|&c| c as u8).take_while(|&c| c != 0).collect();
            String::from_utf8(bytes).unwrap()
        };
        for message in ["short", "39 bytes fit beside their NUL, no more."] {
            assert_eq!(copied(message), message);
        }
        let long = copied(&format!("a/{}é: No such file", "path/".repeat(100)));
        assert!(long.starts_with("a/path/") && long.ends_with(": No such file"), "{long}");
    }
}
