//! Where a tensor's values lie in a file, and how they are read from there: in pieces, as f32, in whatever order they lie.

use super::StoredType;
use super::source::{Source, read};
use crate::error::{Error, Result};
use crate::exec::ReadValues;
use std::cell::{Cell, OnceCell};

/// Values that lie apart are read one run at a time where runs are this long, else the whole tensor at once.
const SHORT_RUN: usize = 16;

/// A tensor in a file.
pub struct Stored {
    /// The number of its source.
    pub source: usize,
    /// How its values are stored.
    pub dtype: StoredType,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Of its first value, in bytes.
    pub offset: u64,
    /// (size, stride in values) of each dimension as it lies in the file, outermost first, where that is not one run of values in
    /// the order of the shape. There may be other dimensions than the shape's, of as many values.
    view: Option<Vec<(usize, usize)>>,
    /// What the file calls it, where that is another name.
    pub origin: Option<String>,
    /// Whether the network has asked for it.
    pub used: Cell<bool>,
}

impl Stored {
    /// A tensor whose values lie one after another.
    pub fn new(source: usize, dtype: StoredType, shape: Vec<usize>, offset: u64) -> Self {
        Self { source, dtype, shape, offset, view: None, origin: None, used: Cell::new(false) }
    }

    /// The same, which the file calls `origin`.
    pub fn called(self, origin: String) -> Self {
        Self { origin: Some(origin), ..self }
    }

    /// How many values it has; for shapes that were checked.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// How many bytes those take.
    pub fn bytes(&self) -> u64 {
        (self.len() * self.dtype.size()) as u64
    }

    /// The same values over dimensions that lie so: (size, stride in values).
    pub fn viewed(mut self, dimensions: Vec<(usize, usize)>) -> Self {
        let dimensions = merged(dimensions);
        self.view = match dimensions[..] {
            [] | [(_, 1)] => None,
            _ => Some(dimensions),
        };
        self
    }
}

/// Other tensors of the same values, or of some.
#[cfg(any(test, feature = "formats"))]
impl Stored {
    /// (size, stride in values) of each dimension of its shape; none where it lies otherwise.
    fn dimensions(&self) -> Option<Vec<(usize, usize)>> {
        if self.shape.contains(&0) {
            return None;
        }
        let mut dense = 1;
        let mut dimensions: Vec<(usize, usize)> = self.shape.iter().map(|&size| (size, 0)).collect();
        for dimension in dimensions.iter_mut().rev() {
            dimension.1 = dense;
            dense *= dimension.0;
        }
        match &self.view {
            None => Some(dimensions),
            // Views merge dimensions that lie as if they were one: those of the shape must be found again.
            Some(view) => {
                let mut view = view.iter().rev().copied();
                let (mut left, mut stride) = view.next()?;
                for dimension in dimensions.iter_mut().rev().filter(|dimension| dimension.0 != 1) {
                    if left == 1 {
                        (left, stride) = view.next()?;
                    }
                    if !left.is_multiple_of(dimension.0) {
                        return None;
                    }
                    dimension.1 = stride;
                    (left, stride) = (left / dimension.0, stride * dimension.0);
                }
                Some(dimensions)
            }
        }
    }

    /// The tensor with its dimensions in another order: `order[i]` is the old number of the new dimension i.
    pub fn permuted(&self, order: &[usize]) -> Option<Self> {
        let dimensions = self.dimensions().filter(|all| all.len() == order.len())?;
        let shape = order.iter().map(|&i| self.shape[i]).collect();
        let part =
            Self { origin: self.origin.clone(), ..Self::new(self.source, self.dtype, shape, self.offset) };
        Some(part.viewed(order.iter().map(|&i| dimensions[i]).collect()))
    }

    /// Some of the tensor's rows, which are what its first dimension counts: `blocks` runs of `block` rows, the first at row
    /// `first` and each `stride` rows after the last.
    pub fn rows(&self, first: usize, (blocks, block, stride): (usize, usize, usize)) -> Option<Self> {
        let dimensions = self.dimensions()?;
        let (&(_, row), rest) = dimensions.split_first()?;
        let shape = [&[blocks * block], &self.shape[1..]].concat();
        let offset = self.offset + (first * row * self.dtype.size()) as u64;
        let part = Self { origin: self.origin.clone(), ..Self::new(self.source, self.dtype, shape, offset) };
        Some(part.viewed([&[(blocks, stride * row), (block, row)], rest].concat()))
    }
}

/// Dimensions of one value are none, and two that lie as one are one.
fn merged(dimensions: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
    let mut merged: Vec<(usize, usize)> = Vec::new();
    for (size, stride) in dimensions.into_iter().filter(|dimension| dimension.0 != 1) {
        match merged.last_mut() {
            Some(outer) if outer.1 == size * stride => *outer = (outer.0 * size, stride),
            _ => merged.push((size, stride)),
        }
    }
    merged
}

/// A tensor's values in a source.
pub struct StoredValues<'a> {
    source: &'a dyn Source,
    tensor: String,
    dtype: StoredType,
    offset: u64,
    view: Option<Vec<(usize, usize)>>,
    /// All bytes of a tensor whose values lie too far apart to be read by themselves.
    whole: OnceCell<Vec<u8>>,
}

impl<'a> StoredValues<'a> {
    /// Those of `stored`, which messages call `tensor`.
    pub fn of(tensor: &str, source: &'a dyn Source, stored: &Stored) -> Self {
        Self {
            source,
            tensor: tensor.to_owned(),
            dtype: stored.dtype,
            offset: stored.offset,
            view: stored.view.clone(),
            whole: OnceCell::new(),
        }
    }

    /// Values that lie one after another, `at` values from the first.
    fn read_run(&self, at: usize, out: &mut [f32]) -> Result<()> {
        let size = self.dtype.size();
        let mut buffer = [0u8; 16 << 10];
        let mut at = self.offset + (at * size) as u64;
        for piece in out.chunks_mut(buffer.len() / size) {
            let bytes = &mut buffer[..piece.len() * size];
            self.source.read_at(at, bytes)?;
            at += bytes.len() as u64;
            decode(self.dtype, bytes, piece);
        }
        Ok(())
    }

    /// Values that lie apart, each from the bytes of the whole tensor.
    fn gather(&self, view: &[(usize, usize)], start: usize, out: &mut [f32]) -> Result<()> {
        let size = self.dtype.size();
        if self.whole.get().is_none() {
            let last: usize = view.iter().map(|(size, stride)| (size - 1) * stride).sum();
            let bytes = read(self.source, self.offset, ((last + 1) * size) as u64, "a tensor")?;
            let _ = self.whole.set(bytes);
        }
        let whole = self.whole.get().map_or(&[][..], Vec::as_slice);
        for (i, out) in out.iter_mut().enumerate() {
            let at = place(view, start + i) * size;
            decode(self.dtype, &whole[at..at + size], std::slice::from_mut(out));
        }
        Ok(())
    }
}

impl ReadValues for StoredValues<'_> {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        match self.view.as_deref() {
            None => self.read_run(start, out)?,
            Some(view) => match view.split_last() {
                Some((&(run, 1), _)) if run >= SHORT_RUN => {
                    let (mut start, mut left) = (start, &mut *out);
                    while !left.is_empty() {
                        let len = (run - start % run).min(left.len());
                        let (now, later) = left.split_at_mut(len);
                        self.read_run(place(view, start), now)?;
                        (start, left) = (start + len, later);
                    }
                }
                _ => self.gather(view, start, out)?,
            },
        }
        if let Some(value) = out.iter().find(|value| !value.is_finite()) {
            let message = format!("tensor {} holds {value}, which is no weight", self.tensor);
            return Err(Error::bad_model(self.source.name(), message));
        }
        Ok(())
    }
}

/// Where value number `index` of a view lies, in values.
fn place(view: &[(usize, usize)], mut index: usize) -> usize {
    let mut place = 0;
    for (size, stride) in view.iter().rev() {
        place += index % size * stride;
        index /= size;
    }
    place
}

fn decode(dtype: StoredType, bytes: &[u8], out: &mut [f32]) {
    match dtype {
        StoredType::F64 => {
            for (b, x) in bytes.as_chunks().0.iter().zip(out) {
                *x = f64::from_le_bytes(*b) as f32;
            }
        }
        StoredType::F32 => {
            for (b, x) in bytes.as_chunks().0.iter().zip(out) {
                *x = f32::from_le_bytes(*b);
            }
        }
        StoredType::F16 => {
            for (b, x) in bytes.as_chunks().0.iter().zip(out) {
                *x = half::f16::from_le_bytes(*b).to_f32();
            }
        }
        StoredType::Bf16 => {
            for (b, x) in bytes.as_chunks().0.iter().zip(out) {
                *x = half::bf16::from_le_bytes(*b).to_f32();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::MemorySource;
    use super::*;

    /// A tensor of 0, 1, 2, ... and what is read of a view of it, in pieces.
    fn values(stored: &Stored, piece: usize) -> Vec<f32> {
        let bytes: Vec<u8> = (0..1000).flat_map(|i| (i as f32).to_le_bytes()).collect();
        let source = MemorySource::new(bytes);
        let values = StoredValues::of("test", &source, stored);
        let mut out = vec![-1.0; stored.len()];
        for (i, out) in out.chunks_mut(piece).enumerate() {
            values.read(i * piece, out).unwrap();
        }
        out
    }

    fn tensor(shape: &[usize]) -> Stored {
        Stored::new(0, StoredType::F32, shape.to_vec(), 0)
    }

    /// Value [a, b, c] of a [4, 5, 20] tensor.
    fn at(a: usize, b: usize, c: usize) -> f32 {
        ((a * 5 + b) * 20 + c) as f32
    }

    #[test]
    fn dimensions_in_another_order_are_read_in_that_order() {
        for order in [[0, 1, 2], [1, 0, 2], [2, 1, 0], [2, 0, 1]] {
            let stored = tensor(&[4, 5, 20]).permuted(&order).unwrap();
            let mut expected = Vec::new();
            let size = |i: usize| [4, 5, 20][order[i]];
            for x in 0..size(0) {
                for y in 0..size(1) {
                    for z in 0..size(2) {
                        let mut old = [0; 3];
                        (old[order[0]], old[order[1]], old[order[2]]) = (x, y, z);
                        expected.push(at(old[0], old[1], old[2]));
                    }
                }
            }
            for piece in [1, 7, 400] {
                assert_eq!(values(&stored, piece), expected, "{order:?} by {piece}");
            }
            // And back again.
            let mut back = [0; 3];
            order.iter().enumerate().for_each(|(i, &old)| back[old] = i);
            assert_eq!(values(&stored.permuted(&back).unwrap(), 13), values(&tensor(&[4, 5, 20]), 400));
        }
        assert!(tensor(&[4, 5]).permuted(&[0]).is_none());
    }

    #[test]
    fn rows_are_those_of_their_blocks() {
        // Of six rows, a block of one in two; also of a tensor whose dimensions lie the other way round.
        let rows = tensor(&[6, 20]).rows(1, (3, 1, 2)).unwrap();
        let expected: Vec<f32> =
            [1, 3, 5].iter().flat_map(|r| (0..20).map(move |c| (r * 20 + c) as f32)).collect();
        assert_eq!(values(&rows, 9), expected);
        assert_eq!(rows.shape, [3, 20]);
        let turned = tensor(&[20, 6]).permuted(&[1, 0]).unwrap().rows(0, (2, 2, 3)).unwrap();
        let expected: Vec<f32> =
            [0, 1, 3, 4].iter().flat_map(|r| (0..20).map(move |c| (c * 6 + r) as f32)).collect();
        assert_eq!(values(&turned, 80), expected);
        assert_eq!(values(&tensor(&[6]).rows(4, (1, 2, 2)).unwrap(), 2), [4.0, 5.0]);
    }

    #[test]
    fn what_lies_as_one_is_one() {
        assert_eq!(merged(vec![(2, 12), (1, 99), (3, 4), (4, 1)]), [(24, 1)]);
        assert_eq!(merged(vec![(2, 1), (3, 2)]), [(2, 1), (3, 2)]);
        assert!(merged(vec![(1, 7)]).is_empty());
    }
}
