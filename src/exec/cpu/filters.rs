//! Winograd's filters: a convolution's weights at each position of a tile, packed in the order in which they are read.

use super::arena::Aligned;
use super::isa::{Algorithm, Kernels};
use super::pack::{block_vectors, packed_len};
use crate::error::{Error, Result, try_zeroed};
use crate::exec::ConvWeights;

/// Floats of the weights, as a file has them, that are held at a time, unless one block of columns has more.
const MAX_HELD: usize = 4 << 20;

/// Transformed filters: (position, block of columns, input channel, column of the block), in words as
/// `Kernels::weight_values` says.
pub struct Filters {
    /// Whose positions they are for.
    pub algorithm: Algorithm,
    /// The filters.
    pub values: Aligned,
    /// One an output channel.
    pub bias: Vec<f32>,
    /// Output channels.
    pub n: usize,
    /// Input channels.
    pub k: usize,
}

impl Filters {
    /// Transforms a convolution's weights, with at most `threads` threads.
    pub fn new(
        kernels: &Kernels,
        weights: &ConvWeights,
        algorithm: Algorithm,
        threads: usize,
    ) -> Result<Self> {
        let n = weights.bias.len();
        if n == 0 || weights.weight.is_empty() || !weights.weight.len().is_multiple_of(n * 9) {
            return Err(Error::Internal(format!("{:?} beside {:?}", weights.weight, weights.bias)));
        }
        let k = weights.weight.len() / (n * 9);
        let taps = pack_taps(kernels, weights, (k, n), threads)?;
        let values = transform(kernels, algorithm, taps.as_slice(), (k, n), threads)?;
        Ok(Self { algorithm, values, bias: weights.bias.to_vec()?, n, k })
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

/// Calls `f` for all tasks, on at most `threads` threads.
fn share<T: Send>(mut tasks: Vec<T>, threads: usize, f: impl Fn(T) + Sync) {
    let each = tasks.len().div_ceil(threads);
    std::thread::scope(|scope| {
        while tasks.len() > each {
            let others = tasks.split_off(tasks.len() - each);
            scope.spawn(|| others.into_iter().for_each(&f));
        }
        tasks.into_iter().for_each(&f);
    });
}

/// The taps side by side, as the transform reads them: (block of columns, input, tap, column of the block).
fn pack_taps(
    kernels: &Kernels,
    weights: &ConvWeights,
    (k, n): (usize, usize),
    threads: usize,
) -> Result<Aligned> {
    let (cols, row) = (kernels.cols(), 9 * k);
    let len = n.next_multiple_of(kernels.lanes).saturating_mul(row);
    let mut taps = Aligned::zeroed(len, "packed filters")?;
    let step = (MAX_HELD / (row * cols)).max(1) * cols;
    let mut rows = try_zeroed(step.min(n) * row, "a block of weights")?;
    for (taps, first) in taps.as_mut_slice().chunks_mut(step * row).zip((0..n).step_by(step)) {
        let rows = &mut rows[..step.min(n - first) * row];
        weights.weight.read(first * row, rows)?;
        let blocks = taps.chunks_mut(cols * row).zip(rows.chunks(cols * row)).collect();
        share(blocks, threads, |(taps, rows)| {
            let count = rows.len() / row;
            for (i, taps) in taps.chunks_exact_mut(taps.len() / row).enumerate() {
                for (column, tap) in taps[..count].iter_mut().enumerate() {
                    *tap = rows[column * row + i];
                }
            }
        });
    }
    Ok(taps)
}

/// (position, block of columns, input, column of the block), in words.
fn transform(
    kernels: &Kernels,
    algorithm: Algorithm,
    taps: &[f32],
    (k, n): (usize, usize),
    threads: usize,
) -> Result<Aligned> {
    let (side, position) = (algorithm.side(), packed_len(kernels, n, k));
    let len = position.saturating_mul(side * side);
    let mut values = Aligned::zeroed(len, "transformed filters")?;
    let row_len = side * k * kernels.cols();
    let mut rows = try_zeroed(side * row_len, "transformed filters")?;
    let lines = values.as_mut_slice().chunks_mut(side * position).zip(rows.chunks_mut(row_len)).enumerate();
    share(lines.collect(), threads, |(y, (out, row))| {
        for block in (0..n).step_by(kernels.cols()) {
            let vectors = block_vectors(kernels, n, block);
            let cols = vectors * kernels.lanes;
            kernels.filter(algorithm, y, &taps[block * 9 * k..][..cols * 9 * k], vectors, row, k * cols);
            for (x, values) in row.chunks_exact(k * cols).take(side).enumerate() {
                let words = &mut out[x * position + block * kernels.inner(k)..];
                for (input, values) in values.chunks_exact(cols).enumerate() {
                    let words = &mut words[input / kernels.weight_values * cols..][..cols];
                    kernels.set_weights(words, values, input);
                }
            }
        }
    });
    Ok(values)
}
