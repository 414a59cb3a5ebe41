//! Weights in the order in which the panels read them: (block of output channels, inner, channels of the block).

use super::arena::{Aligned, Floats};
use super::isa::{Kernels, MAX_COLS};
use crate::error::{Error, Result, try_zeroed};
use crate::exec::Weight;
use crate::threads::share;

/// Floats of the weights, as a file has them, that are held at a time, unless one block of columns has more.
pub const MAX_HELD: usize = 1 << 20;

/// A packed matrix of `n` output channels by `k` inputs, and its biases.
pub struct Packed {
    /// As [`Matrix::values`].
    pub(super) values: Floats,
    pub(super) bias: Vec<f32>,
    /// Output channels.
    pub n: usize,
    /// Length of the inner dimension.
    pub k: usize,
}

impl Packed {
    /// The rows of several (weight, bias) pairs one below the other: as the first one's file has them packed, or packed by at
    /// most `threads` threads. Each row has `taps` values for each of its inputs (as a file has them, taps inmost); packed, taps
    /// are outermost.
    pub fn new(
        kernels: &Kernels,
        parts: &[(&Weight, &Weight)],
        k: usize,
        taps: usize,
        threads: usize,
    ) -> Result<Self> {
        let n = parts.iter().map(|(_, bias)| bias.len()).sum();
        match parts.first() {
            Some((weight, _)) => {
                Self::ready_or(weight, kernels, (n, k), || Self::pack(kernels, parts, k, taps, threads))
            }
            None => Self::pack(kernels, parts, k, taps, threads),
        }
    }

    /// A matrix of n by k: as the file of `weight` has it packed, or as `make` makes it.
    pub fn ready_or(
        weight: &Weight,
        kernels: &Kernels,
        (n, k): (usize, usize),
        make: impl FnOnce() -> Result<Self>,
    ) -> Result<Self> {
        if let Some(values) = Floats::ready(weight, "packed", packed_len(kernels, n, k))?
            && let Some(bias) = weight.ready_vec("bias", n)?
        {
            return Ok(Self { values, bias, n, k });
        }
        let made = make()?;
        weight.keep("packed", made.values.as_slice())?;
        weight.keep("bias", &made.bias)?;
        Ok(made)
    }

    fn pack(
        kernels: &Kernels,
        parts: &[(&Weight, &Weight)],
        k: usize,
        taps: usize,
        threads: usize,
    ) -> Result<Self> {
        let n = parts.iter().map(|(_, bias)| bias.len()).sum();
        if n == 0 || k == 0 || taps == 0 || !k.is_multiple_of(taps) {
            return Err(Error::Internal(format!("a layer of {k} inputs and {n} outputs")));
        }
        if let Some((weight, bias)) = parts.iter().find(|(weight, bias)| weight.len() != bias.len() * k) {
            return Err(Error::Internal(format!("{weight:?} beside {bias:?} and {k} inputs")));
        }
        let mut values = Aligned::zeroed(packed_len(kernels, n, k), "packed weights")?;
        let mut bias = try_zeroed(n, "biases")?;
        let mut rest = &mut bias[..];
        for (_, part) in parts {
            let (here, after) = rest.split_at_mut(part.len());
            part.read(0, here)?;
            rest = after;
        }
        let (cols, inputs) = (kernels.cols(), k / taps);
        let step = (MAX_HELD / (k * cols)).max(1) * cols;
        let mut rows = try_zeroed(step.min(n) * k, "a block of weights")?;
        let groups = values.as_mut_slice().chunks_mut(step * kernels.inner(k)).zip((0..n).step_by(step));
        for (values, first) in groups {
            let rows = &mut rows[..step.min(n - first) * k];
            read_rows(parts, first, k, rows)?;
            let blocks = values.chunks_mut(cols * kernels.inner(k)).zip(rows.chunks(cols * k)).collect();
            share(blocks, threads, |(values, rows)| {
                let (count, stride) = (rows.len() / k, values.len() / kernels.inner(k));
                let mut columns = [0.0; MAX_COLS];
                for inner in 0..k {
                    let (tap, input) = (inner / inputs, inner % inputs);
                    for (column, row) in columns.iter_mut().zip(rows.chunks_exact(k)) {
                        *column = row[input * taps + tap];
                    }
                    let words = &mut values[inner / kernels.weight_values() * stride..][..count];
                    kernels.set_weights(words, &columns[..count], inner);
                }
            });
        }
        Ok(Self { values: Floats::Kept(values), bias, n, k })
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        ((self.values.as_slice().len() + self.bias.len()) * size_of::<f32>()) as u64
    }

    /// To multiply with.
    pub fn view(&self) -> Matrix<'_> {
        Matrix { values: self.values.as_slice(), bias: &self.bias, n: self.n, k: self.k }
    }
}

/// A packed matrix, wherever it lies.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    /// (block of output channels, inner, channels of the block), in words as `Kernels::weight_values` says.
    pub values: &'a [f32],
    /// One an output channel, or none.
    pub bias: &'a [f32],
    /// Output channels.
    pub n: usize,
    /// Length of the inner dimension.
    pub k: usize,
}

/// Words that a packed matrix takes: its channels filled up to whole vectors.
pub fn packed_len(kernels: &Kernels, n: usize, k: usize) -> usize {
    n.next_multiple_of(kernels.lanes()).saturating_mul(kernels.inner(k))
}

/// Vectors of the block that begins at output channel `channel`, a multiple of `Kernels::cols`.
pub fn block_vectors(kernels: &Kernels, n: usize, channel: usize) -> usize {
    (n - channel).div_ceil(kernels.lanes()).min(kernels.vectors())
}

/// Inner index, and first column, of vector number `vector` of a packed matrix.
#[cfg(feature = "train")]
#[inline(always)]
pub fn vector_place(kernels: &Kernels, n: usize, inner: usize, vector: usize) -> (usize, usize) {
    let a_block = kernels.vectors() * inner;
    let (block, rest) = (vector / a_block * kernels.cols(), vector % a_block);
    let vectors = block_vectors(kernels, n, block);
    (rest / vectors, block + rest % vectors * kernels.lanes())
}

/// Rows from `first` on of several weights one below the other.
fn read_rows(parts: &[(&Weight, &Weight)], first: usize, k: usize, mut rows: &mut [f32]) -> Result<()> {
    let mut skip = first * k;
    for (weight, _) in parts {
        let len = weight.len().saturating_sub(skip).min(rows.len());
        let (here, after) = std::mem::take(&mut rows).split_at_mut(len);
        if len > 0 {
            weight.read(skip, here)?;
        }
        (skip, rows) = (skip.saturating_sub(weight.len()), after);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::isa::Operands;
    use super::super::testing::{Random, kernels, weight};
    use super::*;
    use crate::cpu_features::Isa;

    #[test]
    fn every_value_has_its_place() {
        for isa in Isa::available() {
            let kernels = Kernels::new(isa, Operands::F32);
            for (n, inputs, taps) in [(1, 1, 1), (3, 5, 9), (50, 7, 9), (64, 4, 1), (33, 3, 1)] {
                let k = inputs * taps;
                let values = Random(7).values(n * k);
                let bias = Random(8).values(n);
                let (w, b) = (weight(&[n, k], &values), weight(&[n], &bias));
                let packed = Packed::new(&kernels, &[(&w, &b)], k, taps, 2).unwrap();
                let view = packed.view();
                assert_eq!(view.bias, bias);
                for channel in 0..n {
                    let block = channel / kernels.cols() * kernels.cols();
                    let stride = block_vectors(&kernels, n, block) * kernels.lanes();
                    for (input, tap) in (0..inputs).flat_map(|i| (0..taps).map(move |t| (i, t))) {
                        let at = block * k + (tap * inputs + input) * stride + channel - block;
                        assert_eq!(view.values[at], values[channel * k + input * taps + tap]);
                    }
                }
            }
        }
    }

    #[test]
    fn realistic_layers_grow_by_a_tenth_at_most() {
        for kernels in kernels() {
            for n in [128, 192, 256, 320, 448, 512] {
                let words = packed_len(&kernels, n, 1152) * kernels.weight_values();
                assert!(words * 10 <= n * 1152 * 11);
            }
        }
    }

    #[test]
    fn contradictory_shapes_are_errors() {
        let kernels = Kernels::new(Isa::Portable, Operands::F32);
        let (w, b) = (weight(&[6], &[0.0; 6]), weight(&[2], &[0.0; 2]));
        assert!(Packed::new(&kernels, &[(&w, &b)], 4, 1, 1).is_err());
        assert!(Packed::new(&kernels, &[], 4, 1, 1).is_err());
    }
}
