//! Winograd's filters: a convolution's weights at each position of a tile, packed in the order in which they are read.

use super::arena::{Aligned, Floats};
use super::isa::{Algorithm, Kernels, Operands};
use super::pack::{Packed, block_vectors, packed_len, share};
use crate::error::{Error, Result, try_zeroed};
use crate::exec::Weight;

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
    /// Transforms a 3x3 convolution's weights, with at most `threads` threads.
    pub fn new(
        kernels: &Kernels,
        (weight, bias): (&Weight, &Weight),
        algorithm: Algorithm,
        threads: usize,
    ) -> Result<Self> {
        let n = bias.len();
        if n == 0 || weight.is_empty() || !weight.len().is_multiple_of(n * 9) {
            return Err(Error::Internal(format!("{weight:?} beside {bias:?}")));
        }
        let k = weight.len() / (n * 9);
        // As floats, (block of columns, input, tap, column of the block).
        let floats = Kernels::new(kernels.isa(), Operands::F32);
        let taps = Packed::new(&floats, &[(weight, bias)], 9 * k, 1, threads)?;
        let values = prepare(kernels, algorithm, taps.view().values, (k, n), threads)?;
        Ok(Self { algorithm, values: Floats::Kept(values), bias: taps.view().bias.to_vec(), n, k })
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

/// Filters of their own memory from taps (block of columns, input, tap, column of the block).
fn prepare(
    kernels: &Kernels,
    algorithm: Algorithm,
    taps: &[f32],
    (k, n): (usize, usize),
    threads: usize,
) -> Result<Aligned> {
    let len = filters_len(kernels, algorithm, (k, n));
    let mut values = Aligned::zeroed(len, "transformed filters")?;
    let row_len = row_len(kernels, algorithm, k);
    let mut rows = try_zeroed(algorithm.side() * row_len, "transformed filters")?;
    let lines = values.as_mut_slice().chunks_mut(len / algorithm.side()).zip(rows.chunks_mut(row_len));
    share(lines.enumerate().collect(), threads, |(y, (out, row))| {
        transform_line(kernels, algorithm, taps, (k, n), y, row, out);
    });
    Ok(values)
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
pub fn transform_line(
    kernels: &Kernels,
    algorithm: Algorithm,
    taps: &[f32],
    (k, n): (usize, usize),
    y: usize,
    row: &mut [f32],
    out: &mut [f32],
) {
    let (side, position) = (algorithm.side(), packed_len(kernels, n, k));
    for block in (0..n).step_by(kernels.cols()) {
        let vectors = block_vectors(kernels, n, block);
        let cols = vectors * kernels.lanes();
        kernels.filter(algorithm, y, &taps[block * 9 * k..][..cols * 9 * k], vectors, row, k * cols);
        for (x, values) in row.chunks_exact(k * cols).take(side).enumerate() {
            let words = &mut out[x * position + block * kernels.inner(k)..];
            for (input, values) in values.chunks_exact(cols).enumerate() {
                let words = &mut words[input / kernels.weight_values() * cols..][..cols];
                kernels.set_weights(words, values, input);
            }
        }
    }
}
