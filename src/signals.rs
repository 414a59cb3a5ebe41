//! Signals: blocked while a thread is started, and left ignored where a program's parent ignored them.
#![allow(unsafe_code)]

/// This thread's signals, blocked until it is dropped.
pub struct Blocked {
    #[cfg(unix)]
    before: libc::sigset_t,
}

#[cfg(unix)]
impl Blocked {
    /// Blocks all but those of a thread's own faults.
    pub fn all_but_faults() -> Self {
        // SAFETY: a set of signals is plain data, and filled before it is read; no signal's handler changes.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            for fault in
                [libc::SIGSEGV, libc::SIGBUS, libc::SIGFPE, libc::SIGILL, libc::SIGTRAP, libc::SIGSYS]
            {
                libc::sigdelset(&raw mut all, fault);
            }
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self { before }
        }
    }
}

#[cfg(unix)]
impl Drop for Blocked {
    fn drop(&mut self) {
        // SAFETY: as above; `before` is what this thread had.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.before, std::ptr::null_mut()) };
    }
}

#[cfg(not(unix))]
impl Blocked {
    /// Blocks all but those of a thread's own faults.
    pub fn all_but_faults() -> Self {
        Self {}
    }
}

/// Calls `set`, which gives signals that ask a program to end a handler. Those that were ignored before, as `nohup` and shells'
/// background jobs have it, are ignored after.
pub fn keep_ignored<R>(set: impl FnOnce() -> R) -> R {
    #[cfg(unix)]
    let ignored = [libc::SIGINT, libc::SIGTERM, libc::SIGHUP].map(|signal| (signal, is_ignored(signal)));
    let result = set();
    #[cfg(unix)]
    for (signal, _) in ignored.into_iter().filter(|(_, ignored)| *ignored) {
        // SAFETY: to ignore a signal runs no code of anybody's.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    result
}

#[cfg(unix)]
fn is_ignored(signal: libc::c_int) -> bool {
    // SAFETY: asks for what happens to a signal, and changes nothing; an action is plain data.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
