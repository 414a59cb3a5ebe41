//! Winograd's filters: a convolution's weights at each position of a tile, packed in the order in which they are read.

use super::CpuDevice;
use super::arena::{Aligned, Floats};
use super::isa::{Algorithm, Kernels};
#[cfg(feature = "train")]
use super::pack::block_vectors;
use super::pack::{MAX_HELD, packed_len};
use crate::error::{Error, Result};
use crate::exec::Weight;
use crate::threads::share;

/// Transformed filters: (position, block of columns, input channel, column of the block), in words as
/// `Kernels::weight_values` says.
pub struct Filters {
    /// Whose positions they are for.
    pub algorithm: Algorithm,
    /// The filters.
    pub values: Floats,
    /// One an output channel.
    pub bias: Vec<f32>,
    /// Output channels.
    pub n: usize,
    /// Input channels.
    pub k: usize,
}

impl Filters {
    /// A 3x3 convolution's weights, transformed: in its file, or here.
    pub fn new(device: &CpuDevice, (weight, bias): (&Weight, &Weight), algorithm: Algorithm) -> Result<Self> {
        let (n, part) = (bias.len(), algorithm.name());
        let k = weight.len() / (n * 9).max(1);
        if let Some(values) = Floats::ready(weight, part, filters_len(&device.kernels(), algorithm, (k, n)))?
            && let Some(bias) = weight.ready_vec("bias", n)?
        {
            return Ok(Self { algorithm, values, bias, n, k });
        }
        let made = Self::transform(device, (weight, bias), algorithm)?;
        weight.keep(part, made.values.as_slice())?;
        weight.keep("bias", &made.bias)?;
        Ok(made)
    }

    /// Reads the weights of some blocks of columns at a time, and shares these between the device's threads.
    fn transform(
        device: &CpuDevice,
        (weight, bias): (&Weight, &Weight),
        algorithm: Algorithm,
    ) -> Result<Self> {
        let (kernels, n) = (device.kernels(), bias.len());
        if n == 0 || weight.is_empty() || !weight.len().is_multiple_of(n * 9) {
            return Err(Error::Internal(format!("{weight:?} beside {bias:?}")));
        }
        let k = weight.len() / (n * 9);
        let (cols, positions) = (kernels.cols(), algorithm.side().pow(2));
        let mut values = Aligned::zeroed(filters_len(&kernels, algorithm, (k, n)), "transformed filters")?;
        let mut places: Vec<_> = (0..n.div_ceil(cols)).map(|_| Vec::with_capacity(positions)).collect();
        for position in values.as_mut_slice().chunks_mut(packed_len(&kernels, n, k)) {
            let blocks = position.chunks_mut(cols * kernels.inner(k));
            places.iter_mut().zip(blocks).for_each(|(places, block)| places.push(block));
        }
        // What one block needs: its values as the file has them, as the transform reads them, and as it leaves them.
        let (block, row) = (cols * 9 * k, row_len(&kernels, algorithm, k));
        let together = (MAX_HELD / block).clamp(1, places.len());
        let mut room = device.room(together * (2 * block + row))?;
        let (held, scratch) = room[..together * (2 * block + row)].split_at_mut(together * block);
        for (group, places) in places.chunks_mut(together).enumerate() {
            let first = group * together * cols;
            let held = &mut held[..(n - first).min(together * cols) * 9 * k];
            weight.read(first * 9 * k, held)?;
            let blocks = held.chunks(block).zip(places).zip(scratch.chunks_mut(block + row));
            share(blocks.collect(), device.threads, |((held, places), scratch)| {
                let (taps, row) = scratch.split_at_mut(block);
                let vectors = (held.len() / (9 * k)).div_ceil(kernels.lanes());
                let taps = columns(held, 9 * k, vectors * kernels.lanes(), taps);
                for y in 0..algorithm.side() {
                    let line = places.iter_mut().skip(y * algorithm.side()).map(|place| &mut **place);
                    transform_block(&kernels, algorithm, taps, (k, vectors), y, row, line);
                }
            });
        }
        drop(room);
        let values = Floats::Kept(values);
        Ok(Self { algorithm, values, bias: bias.to_vec()?, n, k })
    }

    /// Bytes they take.
    pub fn bytes(&self) -> u64 {
        ((self.values.as_slice().len() + self.bias.len()) * size_of::<f32>()) as u64
    }

    /// How many positions a tile has.
    pub fn positions(&self) -> usize {
        self.algorithm.side().pow(2)
    }
}

/// Rows of `len` as columns, of which there are `cols` side by side, the last of them zeros.
fn columns<'a>(rows: &[f32], len: usize, cols: usize, to: &'a mut [f32]) -> &'a [f32] {
    let to = &mut to[..len * cols];
    // Few at a time: whole cache lines of the rows, as long as they are near.
    for (group, to) in to.chunks_mut(16 * cols).enumerate() {
        for column in 0..cols {
            let row = rows.get(column * len + 16 * group..(column + 1) * len).unwrap_or(&[0.0; 16]);
            to[column..].iter_mut().step_by(cols).zip(row).for_each(|(to, value)| *to = *value);
        }
    }
    to
}

/// Words of all positions' filters.
pub fn filters_len(kernels: &Kernels, algorithm: Algorithm, (k, n): (usize, usize)) -> usize {
    packed_len(kernels, n, k).saturating_mul(algorithm.side().pow(2))
}

/// Floats that [`transform_line`] needs for itself.
pub fn row_len(kernels: &Kernels, algorithm: Algorithm, k: usize) -> usize {
    algorithm.side() * k * kernels.cols()
}

/// The filters of line `y` of a tile's positions, (position, block of columns, input, column of the block), in words;
/// they are one of `side` equal parts of all.
#[cfg(feature = "train")]
pub fn transform_line(
    kernels: &Kernels,
    algorithm: Algorithm,
    taps: &[f32],
    (k, n): (usize, usize),
    y: usize,
    row: &mut [f32],
    out: &mut [f32],
) {
    let position = packed_len(kernels, n, k);
    for block in (0..n).step_by(kernels.cols()) {
        let vectors = block_vectors(kernels, n, block);
        let taps = &taps[block * 9 * k..][..vectors * kernels.lanes() * 9 * k];
        let line = out.chunks_mut(position).map(|out| &mut out[block * kernels.inner(k)..]);
        transform_block(kernels, algorithm, taps, (k, vectors), y, row, line);
    }
}

/// The filters of line `y` of a tile's positions for one block of columns, of `k` inputs by `vectors` vectors, into one place a
/// position.
fn transform_block<'a>(
    kernels: &Kernels,
    algorithm: Algorithm,
    taps: &[f32],
    (k, vectors): (usize, usize),
    y: usize,
    row: &mut [f32],
    to: impl Iterator<Item = &'a mut [f32]>,
) {
    let cols = vectors * kernels.lanes();
    kernels.filter(algorithm, y, taps, vectors, row, k * cols);
    for (values, words) in row.chunks_exact(k * cols).take(algorithm.side()).zip(to) {
        for (input, values) in values.chunks_exact(cols).enumerate() {
            let words = &mut words[input / kernels.weight_values() * cols..][..cols];
            kernels.set_weights(words, values, input);
        }
    }
}
