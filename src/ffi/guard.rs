//! Where panics stop.
//!
//! A panic's message would go to stderr by Rust's default hook, and nothing here prints unless asked. The hook is the
//! process's only in a Rust program; a shared or static library carries its own copy of Rust's runtime, so a C host's
//! other Rust libraries have theirs. On the first guarded call the hook is replaced by one that keeps quiet about
//! panics of guarded calls and of this library's own threads, and hands all others to the hook before it. What a
//! panic said goes to the log callback from here, on the thread that made the call: a worker's too.

use super::error::{ONESTEP_OK, ONESTEP_PANIC, onestep_error};
use crate::error::Error;
use crate::float_mode::FloatMode;
use crate::log::{Level, log};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, Once, PoisonError};

/// The last panic's message and place, until a call reports it.
static LAST: Mutex<Option<String>> = Mutex::new(None);

thread_local! {
    static DEPTH: Cell<u32> = const { Cell::new(0) };
}

/// Runs a function's body: an error or a panic becomes a status, and fills `err` where it is not NULL.
pub fn guard(err: *mut onestep_error, body: impl FnOnce() -> Result<(), Error>) -> i32 {
    quiet_panics();
    let _mode = FloatMode::default_until_dropped();
    DEPTH.set(DEPTH.get() + 1);
    // What a panic may leave half-changed is a session, and its mutex remembers that (POISONED).
    let outcome = catch_unwind(AssertUnwindSafe(body));
    DEPTH.set(DEPTH.get() - 1);
    let report = match outcome {
        Ok(Ok(())) => onestep_error::new(ONESTEP_OK, 0, ""),
        Ok(Err(error)) => onestep_error::from(&error),
        Err(panic) => {
            let text = format!("internal panic: {}", panic_text(&*panic));
            let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).take();
            // The log's callback is the caller's code; it may panic too, being Rust.
            let _ =
                catch_unwind(AssertUnwindSafe(|| log(Level::Error, || last.unwrap_or_else(|| text.clone()))));
            // A payload's own destructor could panic in turn; what that leaves is not looked at.
            if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
                std::mem::forget(second);
            }
            onestep_error::new(ONESTEP_PANIC, 0, &text)
        }
    };
    if !err.is_null() {
        // SAFETY: the header says that `err` is NULL or points to a writable onestep_error.
        unsafe { err.write_unaligned(report) };
    }
    report.code
}

/// Runs the body of a function that has no status to return; a panic ends it in silence.
pub fn guard_void(body: impl FnOnce()) {
    guard(std::ptr::null_mut(), || {
        body();
        Ok(())
    });
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}

fn quiet_panics() {
    static INSTALL: Once = Once::new();
    INSTALL.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let is_own = || std::thread::current().name().is_some_and(|name| name.starts_with("onestep"));
            if DEPTH.get() > 0 || is_own() {
                *LAST.lock().unwrap_or_else(PoisonError::into_inner) = Some(info.to_string());
            } else {
                before(info);
            }
        }));
    });
}
