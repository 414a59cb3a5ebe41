//! Threads of this library's own. The program's signals reach none of them, and work that they share is done by fewer where they
//! cannot be had.

use crate::signals::Blocked;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::thread::{Builder, Scope, ScopedJoinHandle};

/// Calls `start`; a thread that it starts blocks all signals but those of faults of its own, so that a program that waits for its
/// signals (`sigtimedwait`, a `signalfd`) gets them. The calling thread's own mask is as before, after.
pub fn quietly<R>(start: impl FnOnce() -> R) -> R {
    let _blocked = Blocked::all_but_faults();
    start()
}

/// Starts a thread of a scope, [`quietly`].
pub fn spawn_scoped<'scope, 'env, T: Send + 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    work: impl FnOnce() -> T + Send + 'scope,
) -> io::Result<ScopedJoinHandle<'scope, T>> {
    quietly(|| Builder::new().name("onestep".to_owned()).spawn_scoped(scope, work))
}

/// Calls `f` for all tasks, on at most `threads` threads, this one among them; on fewer where they cannot be had.
pub fn share<T: Send>(tasks: Vec<T>, threads: usize, f: impl Fn(T) + Sync) {
    let others = threads.min(tasks.len()).saturating_sub(1);
    let tasks = Mutex::new(tasks.into_iter());
    let work = || {
        loop {
            let task = tasks.lock().unwrap_or_else(PoisonError::into_inner).next();
            let Some(task) = task else { return };
            f(task);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..others {
            if spawn_scoped(scope, work).is_err() {
                break;
            }
        }
        work();
    });
}
