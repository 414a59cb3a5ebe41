//! Ctrl-C: the first cancels in good order, the second leaves at once.

use crate::report::CANCELLED;
use onestep::{Cancel, Error, Result, staged};

/// A token that Ctrl-C (or a polite kill) triggers. A second one removes half-written files and exits.
pub fn cancel_on_ctrl_c() -> Result<Cancel> {
    let cancel = Cancel::new();
    let token = cancel.clone();
    ctrlc::set_handler(move || {
        if token.is_triggered() {
            staged::remove_all();
            std::process::exit(i32::from(CANCELLED));
        }
        token.trigger();
    })
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
