//! A session's scratch memory on the device: one allocation, handed out in slots by first fit. A rehearsal counts how
//! much the work needs; where work repeats so do the addresses, which is what lets graphs be kept.
//!
//! A slot may be given back while kernels that use it are still under way: all work of a session is on one stream, so
//! whoever gets the memory next runs after them.

use super::driver::{Address, Gpu, Memory};
use crate::error::{Error, Result};
use crate::exec::spans::Spans;
use std::sync::{Arc, Mutex, PoisonError};

/// Bytes that slots begin at multiples of.
const GRAIN: usize = 256;

/// Hands out slots of one allocation.
pub struct Arena {
    gpu: Arc<Gpu>,
    memory: Memory,
    spans: Arc<Mutex<Spans>>,
    planning: bool,
}

impl Arena {
    /// One that holds nothing before its first plan.
    pub fn new(gpu: &Arc<Gpu>) -> Result<Self> {
        let memory = Memory::alloc(gpu, 0, "a session's scratch memory")?;
        Ok(Self { gpu: gpu.clone(), memory, spans: Arc::default(), planning: false })
    }

    /// Whether slots have no memory now.
    pub fn planning(&self) -> bool {
        self.planning
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        self.memory.bytes() as u64
    }

    /// From now on slots are only counted.
    pub fn begin_plan(&mut self) {
        self.spans = Arc::default();
        self.planning = true;
    }

    /// Gets the memory that was counted since, unless it is there already; nothing that runs may use what was there.
    /// True if the memory is another one now.
    pub fn end_plan(&mut self) -> Result<bool> {
        self.planning = false;
        let spans = std::mem::take(&mut self.spans);
        let peak = spans.lock().unwrap_or_else(PoisonError::into_inner).peak();
        if peak <= self.memory.bytes() {
            return Ok(false);
        }
        // The old block first, so that both are never held together.
        self.memory = Memory::alloc(&self.gpu, 0, "a session's scratch memory")?;
        self.memory = Memory::alloc(&self.gpu, peak, "a session's scratch memory on the device")?;
        Ok(true)
    }

    /// Forgets a plan that failed.
    pub fn abandon_plan(&mut self) {
        (self.planning, self.spans) = (false, Arc::default());
    }

    /// The first gap of `bytes`. Its values are whatever was there before.
    pub fn alloc(&self, bytes: usize) -> Result<Slot> {
        let capacity = if self.planning { usize::MAX / 2 } else { self.memory.bytes() };
        let room = bytes.max(1).checked_next_multiple_of(GRAIN);
        let mut spans = self.spans.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(offset) = room.and_then(|room| spans.take(room, capacity)) else {
            let held = self.memory.bytes();
            return Err(Error::Internal(format!("{bytes} bytes do not fit the planned memory of {held}")));
        };
        let base = if self.planning { 0 } else { self.memory.address() };
        Ok(Slot { spans: self.spans.clone(), offset, address: base + offset as Address })
    }
}

/// Bytes of an arena, owned; dropping it gives them back.
pub struct Slot {
    spans: Arc<Mutex<Spans>>,
    offset: usize,
    address: Address,
}

impl Slot {
    /// Where it begins on the device; of no meaning if it was made while planning.
    pub fn address(&self) -> Address {
        self.address
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.spans.lock().unwrap_or_else(PoisonError::into_inner).give_back(self.offset);
    }
}
