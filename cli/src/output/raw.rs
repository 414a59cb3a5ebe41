//! Bytes on stdout, for pipes.

use super::Sink;
use crate::draw::Item;
use crate::report::stdout_error;
use onestep::Result;
use onestep::image::{Format, Layout};
use std::io::Write;

/// Images one after the other, with nothing around them.
pub struct Raw {
    format: Format,
}

impl Raw {
    /// In the format given.
    pub fn new(format: Format) -> Self {
        Self { format }
    }
}

impl Sink for Raw {
    fn layout(&self) -> Layout {
        Layout { format: self.format, ..Layout::default() }
    }

    fn put(&mut self, _items: &[Item], bytes: &[u8]) -> Result<()> {
        let mut stdout = std::io::stdout().lock();
        stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(stdout_error)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}
