//! Ctrl-C: the first cancels in good order, the second leaves at once.

use crate::meter::thread_can_be_made;
use crate::report::{CANCELLED, say};
use onestep::{Cancel, Error, Result, signals, staged};

/// A token that Ctrl-C (or a polite kill, or a hang-up) triggers, unless whoever started this ignores it. A second one removes
/// half-written files and exits. Where nobody can wait for it, that is said, and the first ends the process.
pub fn cancel_on_ctrl_c() -> Result<Cancel> {
    if let Err(error) = thread_can_be_made() {
        say(format!("note: Ctrl-C will end this at once: no thread can be made to wait for it ({error})"));
        return Ok(Cancel::new());
    }
    let cancel = Cancel::new();
    let token = cancel.clone();
    let handler = move || {
        if token.is_triggered() {
            staged::remove_all();
            std::process::exit(i32::from(CANCELLED));
        }
        token.trigger();
    };
    signals::keep_ignored(|| ctrlc::set_handler(handler))
        .map_err(|error| Error::Internal(format!("no handler for Ctrl-C: {error}")))?;
    Ok(cancel)
}

/// An error once the token was triggered.
pub fn check(cancel: Option<&Cancel>) -> Result<()> {
    match cancel {
        Some(cancel) if cancel.is_triggered() => Err(Error::Cancelled),
        _ => Ok(()),
    }
}
