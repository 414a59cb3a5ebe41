//! What the library has to say, for those who ask: one sink a process, none by default. Nothing is ever printed.

use std::cell::Cell;
use std::sync::{PoisonError, RwLock};

/// How much a message matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i32)]
pub enum Level {
    /// Something failed inside; the call's error says it too.
    Error = 1,
    /// The result may not be what was wanted.
    Warn = 2,
    /// What was chosen.
    Info = 3,
    /// What was done.
    Debug = 4,
}

/// Receives messages, on the thread that makes them.
pub type Sink = Box<dyn Fn(Level, &str) + Send + Sync>;

static SINK: RwLock<Option<(Level, Sink)>> = RwLock::new(None);

thread_local! {
    static INSIDE: Cell<bool> = const { Cell::new(false) };
}

/// Replaces the sink, and returns once no call of the old one is in flight. `least` is the least important level
/// that the new one gets. Called from inside a sink it changes nothing: it would wait for itself.
pub fn set(sink: Option<(Level, Sink)>) {
    if !INSIDE.get() {
        *SINK.write().unwrap_or_else(PoisonError::into_inner) = sink;
    }
}

/// Hands a message to the sink, if one is there that wants it. What a sink itself causes is not logged.
pub(crate) fn log(level: Level, message: impl FnOnce() -> String) {
    if INSIDE.get() {
        return;
    }
    let guard = SINK.read().unwrap_or_else(PoisonError::into_inner);
    if let Some((least, sink)) = &*guard
        && level <= *least
    {
        INSIDE.set(true);
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| sink(level, &message())));
        INSIDE.set(false);
        if let Err(panic) = outcome {
            drop(guard);
            std::panic::resume_unwind(panic);
        }
    }
}
