//! One aligned allocation a session, handed out in slots by first fit; and aligned memory for packed weights.
//!
//! A slot is owned by its [`Slot`] handle, so a handle is as safe to read and write as a boxed slice. While a
//! plan is made, slots have places and no memory: the same allocator measures how much the work will need.
#![allow(unsafe_code)]

use crate::error::{Error, Result};
use crate::exec::spans::Spans;
use crate::exec::{Held, Ready, Weight};
use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::ptr::NonNull;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A cache line, and an AVX-512 register.
const ALIGN: usize = 64;
/// Slots begin at multiples of this many floats.
const GRAIN: usize = ALIGN / size_of::<f32>();

/// Memory of this size and more asks for pages of this size, which spare the processor most of its address
/// translations.
const HUGE: usize = 2 << 20;

/// The allocation behind `bytes`. A large one has room to begin at a multiple of [`HUGE`], rather than being asked
/// for with that alignment: the system's allocator then gives untouched pages, which are zero already.
fn layout(bytes: usize) -> Option<Layout> {
    if bytes < HUGE {
        return Layout::from_size_align(bytes, ALIGN).ok();
    }
    Layout::from_size_align(bytes.checked_add(HUGE)?, align_of::<f32>()).ok()
}

/// Tells the kernel that memory from a multiple of [`HUGE`] on may be mapped in huge pages. A hint: whether it is
/// heard changes nothing but speed.
#[cfg(target_os = "linux")]
fn advise_huge_pages(start: NonNull<u8>, bytes: usize) {
    // SAFETY: the range was just allocated, and the advice changes no byte of it.
    unsafe { libc::madvise(start.as_ptr().cast(), bytes / HUGE * HUGE, libc::MADV_HUGEPAGE) };
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_: NonNull<u8>, _: usize) {}

/// Zeroed floats at a multiple of 64 bytes.
pub struct Aligned {
    /// What the allocator gave.
    base: NonNull<u8>,
    start: NonNull<f32>,
    len: usize,
}

// SAFETY: it owns its floats, as a boxed slice does.
unsafe impl Send for Aligned {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for Aligned {}

impl Aligned {
    /// `len` zeros, or OUT_OF_MEMORY.
    pub fn zeroed(len: usize, what: &'static str) -> Result<Self> {
        let bytes = len.saturating_mul(size_of::<f32>());
        if len == 0 {
            return Ok(Self { base: NonNull::dangling(), start: NonNull::dangling(), len });
        }
        let failed = || Error::OutOfMemory { what, bytes: bytes as u64 };
        let layout = layout(bytes).ok_or_else(failed)?;
        // SAFETY: `layout` has a size, since `len` is not 0.
        let base = NonNull::new(unsafe { alloc_zeroed(layout) }).ok_or_else(failed)?;
        let mut start = base;
        if bytes >= HUGE {
            // SAFETY: less than HUGE further on, and `layout` has HUGE bytes more than are asked for.
            start = unsafe { base.add(base.align_offset(HUGE)) };
            advise_huge_pages(start, bytes);
        }
        Ok(Self { base, start: start.cast(), len })
    }

    /// All of them.
    pub fn as_slice(&self) -> &[f32] {
        // SAFETY: `zeroed` allocated and initialised `len` floats here (none, with a dangling start, for 0).
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// All of them, to write.
    pub fn as_mut_slice(&mut self) -> &mut [f32] {
        // SAFETY: as in `as_slice`, and `&mut self` excludes every other view.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl Drop for Aligned {
    fn drop(&mut self) {
        if self.len > 0 {
            let layout = layout(self.len * size_of::<f32>()).expect("the layout of `zeroed`");
            // SAFETY: `zeroed` allocated `base` with this very layout.
            unsafe { dealloc(self.base.as_ptr(), layout) }
        }
    }
}

/// Hands out slots of one allocation.
pub struct Arena {
    memory: Arc<Memory>,
    planning: Option<Arc<Memory>>,
    /// Bytes at most.
    most: u64,
}

struct Memory {
    /// Where the floats are; none while planning. Only [`Slot`]s touch them, each its own.
    floats: Option<NonNull<f32>>,
    /// Frees them in the end.
    _owner: Option<Aligned>,
    capacity: usize,
    used: Mutex<Spans>,
}

// SAFETY: the floats behind the pointer belong to `_owner`, and each is reached by one `Slot` at most.
unsafe impl Send for Memory {}
// SAFETY: as above; the rest is behind a mutex.
unsafe impl Sync for Memory {}

impl Memory {
    fn new(owner: Option<Aligned>, capacity: usize, slots: usize) -> Self {
        let floats = owner.as_ref().map(|aligned| aligned.start);
        Self { floats, _owner: owner, capacity, used: Mutex::new(Spans::with_capacity(slots)) }
    }

    fn used(&self) -> MutexGuard<'_, Spans> {
        self.used.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Arena {
    /// An arena that holds nothing before its first plan, and so many bytes at most.
    pub fn within(most: u64) -> Self {
        Self { memory: Arc::new(Memory::new(None, 0, 0)), planning: None, most }
    }

    /// Whether slots have no memory now.
    pub fn planning(&self) -> bool {
        self.planning.is_some()
    }

    /// From now on slots are only counted.
    pub fn begin_plan(&mut self) {
        self.planning = Some(Arc::new(Memory::new(None, usize::MAX / 2, 0)));
    }

    /// Gets the memory that was counted since `begin_plan`, unless it is there already.
    pub fn end_plan(&mut self) -> Result<()> {
        let Some(plan) = self.planning.take() else { return Ok(()) };
        let (peak, most) = {
            let used = plan.used();
            (used.peak(), used.most())
        };
        if peak > self.memory.capacity {
            let bytes = peak as u64 * size_of::<f32>() as u64;
            if bytes > self.most {
                return Err(Error::OutOfMemory { what: "scratch memory within limits.memory", bytes });
            }
            // The old block first, so that both are never held together.
            self.memory = Arc::new(Memory::new(None, 0, 0));
            let owner = Aligned::zeroed(peak, "a session's scratch memory")?;
            self.memory = Arc::new(Memory::new(Some(owner), peak, most));
        }
        self.memory.used().reserve(most);
        Ok(())
    }

    /// Forgets a plan that failed.
    pub fn abandon_plan(&mut self) {
        self.planning = None;
    }

    /// Bytes held.
    pub fn bytes(&self) -> u64 {
        (self.memory.capacity * size_of::<f32>()) as u64
    }

    /// The first gap of `len` floats. Their values are whatever was there before.
    pub fn alloc(&self, len: usize) -> Result<Slot> {
        let memory = self.planning.as_ref().unwrap_or(&self.memory);
        let room = len.max(1).checked_next_multiple_of(GRAIN).filter(|&room| room <= usize::MAX / 8);
        let room = room.ok_or(Error::OutOfMemory { what: "an activation", bytes: u64::MAX })?;
        let Some(offset) = memory.used().take(room, memory.capacity) else {
            let held = memory.capacity;
            return Err(Error::Internal(format!("{len} floats do not fit the planned arena of {held}")));
        };
        Ok(Slot { memory: memory.clone(), offset, len })
    }
}

/// Floats that a layer owns, wherever they lie: weights prepared once, or packed for one use into an arena.
pub enum Floats {
    /// In memory of their own.
    Kept(Aligned),
    /// In a file's memory.
    Held(Held),
    /// In a slot; none while planning.
    #[cfg(feature = "train")]
    Lent(Slot),
}

impl Floats {
    /// The `part` of a layer, `len` floats, where the file of its `weight` holds that ready.
    pub fn ready(weight: &Weight, part: &str, len: usize) -> Result<Option<Self>> {
        Ok(match weight.ready(part, len)? {
            None => None,
            Some(Ready::Held(held)) => Some(Self::Held(held)),
            Some(Ready::Read(read)) => {
                let mut values = Aligned::zeroed(len, "prepared weights")?;
                read(values.as_mut_slice())?;
                Some(Self::Kept(values))
            }
        })
    }

    /// All of them.
    pub fn as_slice(&self) -> &[f32] {
        match self {
            Floats::Kept(aligned) => aligned.as_slice(),
            Floats::Held(held) => held.as_slice(),
            #[cfg(feature = "train")]
            Floats::Lent(slot) => slot.values(),
        }
    }
}

/// Floats of an arena, owned; dropping it gives them back.
pub struct Slot {
    memory: Arc<Memory>,
    offset: usize,
    len: usize,
}

impl Slot {
    /// Its floats; none if it was made while planning.
    #[inline]
    pub fn values(&self) -> &[f32] {
        match self.memory.floats {
            // SAFETY: `alloc` found `offset + len` within the capacity, which is that of the zeroed allocation;
            // it gives no float to two live slots, and nothing but a slot reaches them.
            Some(floats) => unsafe { std::slice::from_raw_parts(floats.as_ptr().add(self.offset), self.len) },
            None => &[],
        }
    }

    /// Its floats, to write; none if it was made while planning.
    #[inline]
    pub fn values_mut(&mut self) -> &mut [f32] {
        match self.memory.floats {
            // SAFETY: as in `values`, and `&mut self` excludes every other view of this slot.
            Some(floats) => unsafe {
                std::slice::from_raw_parts_mut(floats.as_ptr().add(self.offset), self.len)
            },
            None => &mut [],
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.memory.used().give_back(self.offset);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_measures_what_the_same_work_needs() {
        let work = |arena: &Arena| -> Result<Vec<usize>> {
            let first = arena.alloc(100)?;
            let second = arena.alloc(7)?;
            drop(first);
            let third = arena.alloc(33)?;
            let fourth = arena.alloc(200)?;
            Ok([&second, &third, &fourth].map(|slot| slot.offset).to_vec())
        };
        let mut arena = Arena::within(u64::MAX);
        assert!(matches!(arena.alloc(1), Err(Error::Internal(_))));
        arena.begin_plan();
        assert!(arena.planning() && arena.alloc(5).unwrap().values().is_empty());
        let planned = work(&arena).unwrap();
        arena.end_plan().unwrap();
        assert_eq!(planned, [112, 0, 128]);
        assert_eq!(arena.bytes(), (128 + 208) * 4);
        for _ in 0..3 {
            assert_eq!(work(&arena).unwrap(), planned);
        }
        assert!(matches!(arena.alloc(1000), Err(Error::Internal(_))));
    }

    #[test]
    fn live_slots_never_overlap() {
        let mut arena = Arena::within(u64::MAX);
        arena.begin_plan();
        drop(arena.alloc(4096).unwrap());
        arena.end_plan().unwrap();
        let mut live: Vec<(Slot, f32)> = Vec::new();
        let mut random = 1u32;
        for i in 0..2000 {
            random = random.wrapping_mul(1664525).wrapping_add(1013904223);
            if let Ok(mut slot) = arena.alloc((random >> 24) as usize) {
                assert_eq!(slot.values().as_ptr() as usize % ALIGN, 0);
                slot.values_mut().fill(i as f32);
                live.push((slot, i as f32));
            }
            if live.len() > 8 {
                let (slot, value) = live.swap_remove((random >> 8) as usize % live.len());
                assert!(slot.values().iter().all(|&v| v == value));
            }
        }
    }

    #[test]
    fn absurd_sizes_are_errors() {
        assert!(matches!(Aligned::zeroed(usize::MAX / 2, "test"), Err(Error::OutOfMemory { .. })));
        let mut arena = Arena::within(u64::MAX);
        arena.begin_plan();
        assert!(arena.alloc(usize::MAX).is_err());
        let _huge = arena.alloc(usize::MAX / 16).unwrap();
        assert!(matches!(arena.end_plan(), Err(Error::OutOfMemory { .. })));
    }
}
