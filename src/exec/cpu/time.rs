//! Times and labels to the biases of all residual blocks, with the rows of recent calls kept.

use super::arena::Slot;
use super::gemm::Epilogue;
use super::linear::Linear;
use super::math::activate;
use super::{Cpu, CpuDevice};
use crate::error::{Error, Result, try_with_capacity};
use crate::exec::time::{sinusoid, slots};
use crate::exec::{Activation, ClassUse, TimeWeights};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Rows kept at least.
const KEPT: usize = 64;

/// The packed time embedding and all projections.
pub struct Time {
    /// Tells one model's rows from another's.
    id: u64,
    channels: usize,
    flip_sin_to_cos: bool,
    freq_shift: f32,
    linear_1: Linear,
    linear_2: Linear,
    /// One row a class.
    classes: Option<Vec<f32>>,
    class_use: ClassUse,
    activation: Activation,
    projections: Linear,
    /// Where each slot begins in a row, and the row's length.
    slots: Arc<[usize]>,
}

impl Time {
    /// Packs the weights, all projections side by side.
    pub fn new(device: &CpuDevice, weights: &TimeWeights) -> Result<Self> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let time = Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            channels: weights.channels,
            flip_sin_to_cos: weights.flip_sin_to_cos,
            freq_shift: weights.freq_shift,
            linear_1: Linear::new(device, &weights.linear_1)?,
            linear_2: Linear::new(device, &weights.linear_2)?,
            classes: weights.class_embedding.as_ref().map(|classes| classes.to_keep()).transpose()?,
            class_use: weights.class_use,
            activation: weights.activation,
            projections: Linear::stacked(device, &weights.projections)?,
            slots: slots(&weights.projections).into(),
        };
        let (c, d) = (time.linear_1.packed.k, time.linear_1.packed.n);
        let fits = c == time.channels
            && (time.linear_2.packed.k, time.linear_2.packed.n) == (d, d)
            && time.projections.packed.k == d
            && time.classes.as_ref().is_none_or(|classes| classes.len().is_multiple_of(time.class_width()));
        if !fits {
            return Err(Error::Internal("the time embedding's layers do not fit together".to_owned()));
        }
        Ok(time)
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        let classes = self.classes.as_ref().map_or(0, |classes| size_of_val(&classes[..])) as u64;
        self.linear_1.packed.bytes()
            + self.linear_2.packed.bytes()
            + self.projections.packed.bytes()
            + classes
    }

    fn class_width(&self) -> usize {
        self.class_use.width(self.channels, self.linear_1.packed.n)
    }

    fn class(&self, label: Option<i32>) -> Result<Option<&[f32]>> {
        match (&self.classes, label) {
            (Some(classes), Some(label)) => {
                let mut rows = classes.chunks_exact(self.class_width());
                let row = usize::try_from(label).ok().and_then(|label| rows.nth(label));
                row.map(Some).ok_or_else(|| Error::Internal(format!("label {label} is out of range")))
            }
            (None, None) => Ok(None),
            _ => Err(Error::Internal("labels go with a class embedding, and only with one".to_owned())),
        }
    }

    /// Adds the label's row to `row`, if `here` is where it belongs.
    fn add_class(&self, here: ClassUse, label: Option<i32>, row: &mut [f32]) -> Result<()> {
        if self.class_use == here
            && let Some(class) = self.class(label)?
        {
            row.iter_mut().zip(class).for_each(|(value, class)| *value += class);
        }
        Ok(())
    }
}

/// A call's rows: one an image, all slots side by side.
pub struct Rows {
    values: Slot,
    images: usize,
    /// Floats from one image's row to the next.
    pub width: usize,
    /// As in [`Time`].
    slots: Arc<[usize]>,
}

impl Rows {
    /// Rows of these values, with these beginnings of slots and, last, the width.
    #[cfg(any(test, feature = "train"))]
    pub(super) fn of(values: Slot, images: usize, slots: &[usize]) -> Self {
        Self { values, images, width: slots[slots.len() - 1], slots: slots.into() }
    }

    /// From slot `slot` of image 0 on; checks that slot and batch are of this size. Empty while planning.
    pub fn slot(&self, slot: usize, width: usize, images: usize) -> Result<&[f32]> {
        if slot + 1 >= self.slots.len()
            || self.slots[slot + 1] - self.slots[slot] != width
            || images != self.images
        {
            return Err(Error::Internal(format!("time slot {slot} is not {width} wide for {images} images")));
        }
        Ok(self.values.values().get(self.slots[slot]..).unwrap_or(&[]))
    }
}

/// The model, the time's bits, the label.
type Key = (u64, u32, Option<i32>);

/// Rows of recent calls.
#[derive(Default)]
pub struct TimeCache {
    keys: Vec<Key>,
    /// (kept, width)
    rows: Vec<f32>,
    width: usize,
    capacity: usize,
    /// The next row to overwrite.
    oldest: usize,
    /// This call's keys that were not there.
    missing: Vec<Key>,
}

impl TimeCache {
    /// Room for `images` rows of `width`.
    fn reserve(&mut self, images: usize, width: usize) -> Result<()> {
        let capacity = images.max(KEPT);
        if capacity > self.capacity || width != self.width {
            *self = Self {
                keys: try_with_capacity(capacity, "time rows")?,
                rows: try_with_capacity(capacity * width, "time rows")?,
                missing: try_with_capacity(capacity, "time rows")?,
                width,
                capacity,
                oldest: 0,
            };
        }
        Ok(())
    }

    /// Bytes it holds.
    pub fn bytes(&self) -> u64 {
        (self.rows.capacity() * size_of::<f32>() + 2 * self.capacity * size_of::<Key>()) as u64
    }

    fn find(&self, key: Key) -> Option<&[f32]> {
        let at = self.keys.iter().position(|&kept| kept == key)?;
        Some(&self.rows[at * self.width..][..self.width])
    }

    fn insert(&mut self, key: Key, row: &[f32]) {
        if self.keys.len() < self.capacity {
            self.keys.push(key);
            self.rows.extend_from_slice(row);
        } else {
            self.keys[self.oldest] = key;
            self.rows[self.oldest * self.width..][..self.width].copy_from_slice(row);
            self.oldest = (self.oldest + 1) % self.capacity;
        }
    }
}

impl Cpu {
    pub(super) fn time_rows(&mut self, time: &Time, times: &[f32], labels: Option<&[i32]>) -> Result<Rows> {
        let (images, width) = (times.len(), time.projections.packed.n);
        if labels.is_some_and(|labels| labels.len() != images) {
            return Err(Error::Internal(format!("{images} times beside another number of labels")));
        }
        let mut values = self.arena.alloc(images * width)?;
        let d = time.linear_1.packed.n;
        let mut first = self.arena.alloc(images * time.channels.max(d))?;
        let mut second = self.arena.alloc(images * d)?;
        let mut fresh = self.arena.alloc(images * width)?;
        if self.arena.planning() {
            self.time_cache.reserve(images, width)?;
        }
        let rows = |values| Rows { values, images, width, slots: time.slots.clone() };
        if self.arena.planning() {
            for linear in [&time.linear_1, &time.linear_2, &time.projections] {
                linear.apply(self, &[], &mut [], Epilogue::PLAIN)?;
            }
            return Ok(rows(values));
        }
        let key = |image: usize| (time.id, times[image].to_bits(), labels.map(|labels| labels[image]));
        if images > self.time_cache.capacity || width != self.time_cache.width {
            return Err(Error::Internal("time rows without a plan".to_owned()));
        }
        self.time_cache.missing.clear();
        for image in 0..images {
            let key = key(image);
            time.class(key.2)?;
            if self.time_cache.find(key).is_none() && !self.time_cache.missing.contains(&key) {
                self.time_cache.missing.push(key);
            }
        }
        let missing = self.time_cache.missing.len();
        if missing > 0 {
            let (first, second) = (first.values_mut(), &mut second.values_mut()[..missing * d]);
            let fresh = &mut fresh.values_mut()[..missing * width];
            for (row, key) in first.chunks_exact_mut(time.channels).zip(&self.time_cache.missing) {
                sinusoid(f32::from_bits(key.1), (time.flip_sin_to_cos, time.freq_shift), row);
                time.add_class(ClassUse::Sinusoid, key.2, row)?;
            }
            time.linear_1.apply(self, &first[..missing * time.channels], second, Epilogue::PLAIN)?;
            activate(Activation::Silu, second);
            let first = &mut first[..missing * d];
            time.linear_2.apply(self, second, first, Epilogue::PLAIN)?;
            for (row, key) in first.chunks_exact_mut(d).zip(&self.time_cache.missing) {
                time.add_class(ClassUse::Embedding, key.2, row)?;
            }
            activate(time.activation, first);
            time.projections.apply(self, first, fresh, Epilogue::PLAIN)?;
            // Nothing is kept that was not computed.
            if self.pool.stopped() {
                return Err(Error::Cancelled);
            }
        }
        // Copied before they are kept: keeping one may push out another that this call needs.
        let cache = &mut self.time_cache;
        for (image, row) in values.values_mut().chunks_exact_mut(width).enumerate() {
            let key = key(image);
            let from = match cache.missing.iter().position(|&missing| missing == key) {
                Some(at) => &fresh.values()[at * width..][..width],
                None => cache.find(key).ok_or_else(|| Error::Internal("a time row is gone".to_owned()))?,
            };
            row.copy_from_slice(from);
        }
        for (at, row) in fresh.values().chunks_exact(width).take(missing).enumerate() {
            cache.insert(cache.missing[at], row);
        }
        Ok(rows(values))
    }
}
