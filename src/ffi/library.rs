//! The library itself: versions, what it was built with, and its log.

use super::args::check_pointer;
use super::guard::guard_void;
use super::types::onestep_log_fn;
use crate::log;
use std::ffi::{CString, c_char, c_void};
use std::sync::OnceLock;

/// Version of this interface. It changes when a program compiled against an older header could no longer run.
pub const ONESTEP_ABI_VERSION: u32 = 1;

/// The version of the library that this header came with, for `#if`; `onestep_version` tells that of the library found.
pub const ONESTEP_VERSION_MAJOR: u32 = 0;
/// The second number.
pub const ONESTEP_VERSION_MINOR: u32 = 1;
/// The third.
pub const ONESTEP_VERSION_PATCH: u32 = 0;

/// Failures, which the call's error tells as well.
pub const ONESTEP_LOG_ERROR: i32 = 1;
/// The result may not be what was wanted.
pub const ONESTEP_LOG_WARN: i32 = 2;
/// What was chosen.
pub const ONESTEP_LOG_INFO: i32 = 3;
/// What was done.
pub const ONESTEP_LOG_DEBUG: i32 = 4;

/// ONESTEP_ABI_VERSION of the library; a binding compares it with the header's at start.
#[unsafe(no_mangle)]
pub extern "C" fn onestep_abi_version() -> u32 {
    ONESTEP_ABI_VERSION
}

/// The library's version, as "0.1.0". Static.
#[unsafe(no_mangle)]
pub extern "C" fn onestep_version() -> *const c_char {
    const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "\0");
    VERSION.as_ptr().cast()
}

/// One line for bug reports: version, target, features, instruction set in use. Static; the format may change.
#[unsafe(no_mangle)]
pub extern "C" fn onestep_build_info() -> *const c_char {
    static INFO: OnceLock<CString> = OnceLock::new();
    INFO.get_or_init(|| {
        let features = [
            ("candle", cfg!(feature = "candle")),
            ("cuda", cfg!(feature = "cuda")),
            ("embedded-model", cfg!(feature = "embedded-model")),
            ("train", cfg!(feature = "train")),
        ];
        let features: Vec<&str> = features.iter().filter(|(_, on)| *on).map(|(name, _)| *name).collect();
        let (os, arch) = (std::env::consts::OS, std::env::consts::ARCH);
        let (version, isa) = (env!("CARGO_PKG_VERSION"), crate::cpu_features::names());
        let text = format!("onestep {version}; {arch}-{os}; features: {}; isa: {isa}", features.join(" "));
        CString::new(text).unwrap_or_default()
    })
    .as_ptr()
}

/// Hands everything at least as important as `min_level` (ONESTEP_LOG_*) to `log`, on the thread that says it; NULL
/// ends that. One callback a process. Returns once no call of the old callback is in flight; called from inside the
/// callback it does nothing.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn onestep_set_log(log: onestep_log_fn, user: *mut c_void, min_level: i32) {
    guard_void(|| {
        let level = match min_level {
            i32::MIN..=1 => log::Level::Error,
            2 => log::Level::Warn,
            3 => log::Level::Info,
            _ => log::Level::Debug,
        };
        log::set(log.map(|function| {
            let user = User(user);
            let sink = move |level: log::Level, message: &str| {
                let User(user) = &user;
                let text = CString::new(message.replace('\0', " ")).unwrap_or_default();
                // SAFETY: the header says that `log` may be called with `user` until it is replaced.
                unsafe { function(*user, level as i32, text.as_ptr(), text.as_bytes().len()) };
            };
            (level, Box::new(sink) as log::Sink)
        }));
    });
}

/// A caller's pointer that goes back to the caller's function and nowhere else.
#[derive(Clone, Copy)]
pub(super) struct User(pub *mut c_void);

// SAFETY: it is never dereferenced here; the header says on which threads the callback that gets it runs.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

/// Checks that a `uint32_t *count` is there and gives it.
///
/// # Safety
/// `out` is NULL or writable.
pub(super) unsafe fn out_value<'a, T>(out: *mut T, name: &'static str) -> crate::Result<&'a mut T> {
    check_pointer(out, name)?;
    // SAFETY: not NULL and aligned; the caller says that it is writable.
    Ok(unsafe { &mut *out })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_has_the_crates_version() {
        let header =
            [ONESTEP_VERSION_MAJOR, ONESTEP_VERSION_MINOR, ONESTEP_VERSION_PATCH].map(|n| n.to_string());
        let package = [
            env!("CARGO_PKG_VERSION_MAJOR"),
            env!("CARGO_PKG_VERSION_MINOR"),
            env!("CARGO_PKG_VERSION_PATCH"),
        ];
        assert_eq!(header, package, "src/ffi/library.rs and Cargo.toml name different versions");
    }
}
