//! What a caller hears of long work, and how it ends it.

use crate::error::{Error, Result};
use crate::options::{Cancel, Options, Phase, Progress};
use crate::weights;

/// Progress and cancellation of one call.
pub(super) struct Watch<'a> {
    phase: Phase,
    done: u32,
    total: u32,
    progress: Option<&'a Progress>,
    cancels: [Option<&'a Cancel>; 2],
}

impl<'a> Watch<'a> {
    pub(super) fn new(
        phase: Phase,
        total: u32,
        progress: Option<&'a Progress>,
        cancels: [Option<&'a Cancel>; 2],
    ) -> Self {
        Self { phase, done: 0, total, progress, cancels }
    }

    /// Before each piece of work: how much is done, and whether to go on.
    pub(super) fn tick(&mut self) -> Result<()> {
        self.report()?;
        self.done = (self.done + 1).min(self.total);
        Ok(())
    }

    pub(super) fn finish(&mut self) -> Result<()> {
        self.done = self.total;
        self.report()
    }

    fn report(&self) -> Result<()> {
        if self.cancels.iter().flatten().any(|cancel| cancel.is_triggered()) {
            return Err(Error::Cancelled);
        }
        match self.progress {
            Some(progress) if progress(self.phase, self.done, self.total).is_break() => Err(Error::Cancelled),
            _ => Ok(()),
        }
    }
}

/// A checkpoint that reports every tensor taken from it.
pub(super) struct Watched<'a> {
    checkpoint: &'a weights::Checkpoint<'a>,
    watch: std::cell::RefCell<Watch<'a>>,
}

impl<'a> Watched<'a> {
    pub(super) fn new(checkpoint: &'a weights::Checkpoint<'a>, options: &'a Options) -> Self {
        let total = checkpoint.tensor_count() as u32;
        let watch =
            Watch::new(Phase::Prepare, total, options.progress.as_ref(), [options.cancel.as_ref(), None]);
        Self { checkpoint, watch: watch.into() }
    }
}

impl crate::model::Params for Watched<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<crate::exec::Weight<'_>> {
        self.watch.borrow_mut().tick()?;
        self.checkpoint.tensor(name, shape)
    }
}
