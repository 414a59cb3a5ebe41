//! Progress on a terminal.

use crate::report::say;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use onestep::{Phase, Progress};
use std::io::IsTerminal;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Positions of the bar an image, so that a slow image moves it too.
const RESOLUTION: u64 = 1000;

/// A progress bar on stderr where that is a terminal, else silence.
pub struct Meter {
    bar: ProgressBar,
    quiet: bool,
    counts: Arc<Counts>,
}

/// A bar of this template on stderr, where that is a terminal and the bar is wanted; else one that nobody sees.
pub fn bar(wanted: bool, length: Option<u64>, template: &str) -> ProgressBar {
    let shown = wanted && std::io::stderr().is_terminal();
    let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(length, target);
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Whether this process may have one more thread: some libraries panic where it may not.
pub fn thread_can_be_made() -> std::io::Result<()> {
    std::thread::Builder::new().spawn(|| {}).map(drop)
}

/// Images done, in the batch under way, and asked for.
#[derive(Default)]
struct Counts {
    done: AtomicU64,
    batch: AtomicU64,
    total: AtomicU64,
}

impl Meter {
    /// A bar that waits for its first progress.
    pub fn new(quiet: bool) -> Self {
        let bar = bar(!quiet, Some(1), "{msg} {wide_bar} {elapsed}, {eta} left");
        // It takes a thread, and panics where none can be had.
        if !bar.is_hidden() && thread_can_be_made().is_ok() {
            bar.enable_steady_tick(Duration::from_millis(250));
        }
        Self { bar, quiet, counts: Arc::default() }
    }

    /// The library's callback.
    pub fn progress(&self) -> Progress {
        let bar = self.bar.clone();
        let counts = Arc::clone(&self.counts);
        Arc::new(move |phase, done, total| {
            let part = |of: u64| u64::from(done) * of / u64::from(total.max(1));
            let (message, position, length) = match phase {
                Phase::Open => ("reading".into(), done.into(), total.into()),
                Phase::Prepare => ("packing weights".into(), done.into(), total.into()),
                Phase::Write => ("writing".into(), done.into(), total.into()),
                Phase::Sample => {
                    let [before, batch, images] = [&counts.done, &counts.batch, &counts.total]
                        .map(|count| count.load(Ordering::Relaxed));
                    let position = before * RESOLUTION + part(batch * RESOLUTION);
                    (format!("{before}/{images} images"), position, images * RESOLUTION)
                }
            };
            bar.set_length(length);
            bar.set_position(position);
            bar.set_message(message);
            ControlFlow::Continue(())
        })
    }

    /// Says that a batch of images begins.
    pub fn begin(&self, done: usize, batch: usize, total: usize) {
        self.counts.done.store(done as u64, Ordering::Relaxed);
        self.counts.batch.store(batch as u64, Ordering::Relaxed);
        self.counts.total.store(total as u64, Ordering::Relaxed);
    }

    /// Starts the clock of the bar anew, once the model is open.
    pub fn restart(&self) {
        self.bar.reset_elapsed();
        self.bar.reset_eta();
    }

    /// Takes the bar away and leaves one line on stderr, unless quiet.
    pub fn finish(&self, line: &str) {
        self.bar.finish_and_clear();
        if !self.quiet {
            say(line);
        }
    }
}

impl Drop for Meter {
    /// On errors: the message must not land in the middle of a bar.
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}
