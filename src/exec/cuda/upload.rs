//! From the host to the device, call by call: through page-locked memory, so that the host need not wait for a copy.

use super::driver::{Address, Event, Gpu, Pinned, Stream};
use crate::error::{Error, Result};
use std::sync::Arc;

/// Page-locked buffers that take turns.
pub struct Upload {
    gpu: Arc<Gpu>,
    ring: Vec<(Pinned, Event)>,
    ahead: usize,
    next: usize,
}

impl Upload {
    /// `ahead` copies may be on their way at a time, of no bytes yet.
    pub fn new(gpu: &Arc<Gpu>, ahead: usize) -> Self {
        Self { gpu: gpu.clone(), ring: Vec::new(), ahead, next: 0 }
    }

    /// Makes room for `bytes` a copy; none is on its way.
    pub fn reserve(&mut self, bytes: usize) -> Result<()> {
        if self.ring.first().is_none_or(|(pinned, _)| pinned.bytes() < bytes) {
            self.ring.clear();
            for _ in 0..self.ahead {
                self.ring.push((Pinned::alloc(&self.gpu, bytes)?, Event::new(&self.gpu)?));
            }
        }
        Ok(())
    }

    /// Lets `fill` write `bytes`, and sends them to `to`, which has room for them and is written by nobody else before
    /// the stream has come past here. Waits for the copy before the last `ahead`; the context is current.
    pub fn send(
        &mut self,
        bytes: usize,
        to: Address,
        stream: &Stream,
        fill: impl FnOnce(&mut [u8]),
    ) -> Result<()> {
        self.next = (self.next + 1) % self.ahead;
        let Some((pinned, sent)) = self.ring.get_mut(self.next).filter(|(pinned, _)| bytes <= pinned.bytes())
        else {
            return Err(Error::Internal(format!("a copy of {bytes} bytes that was not planned")));
        };
        sent.wait()?;
        // SAFETY: the event was recorded after the last copy of this buffer, and has been waited for.
        fill(unsafe { &mut pinned.as_mut()[..bytes] });
        // SAFETY: the buffer is written again, or freed, after a wait for `sent` alone; of `to` the caller takes care.
        unsafe { pinned.copy_to(bytes, to, stream)? };
        sent.record(stream)
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        // Page-locked memory must outlive the copies that read it. A device that fails here reads no more.
        if let Ok(_entered) = self.gpu.enter() {
            for (_, sent) in &self.ring {
                let _ = sent.wait();
            }
        }
    }
}
