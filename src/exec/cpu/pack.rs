//! Weights in the order in which the tiles read them: (block of output channels, inner, channels of the block).

use super::arena::Aligned;
use super::isa::Kernels;
use crate::error::{Error, Result, try_zeroed};
use crate::exec::Weight;

/// A packed matrix of `n` output channels by `k` inputs, and its biases.
pub struct Packed {
    values: Aligned,
    bias: Vec<f32>,
    /// Output channels.
    pub n: usize,
    /// Length of the inner dimension.
    pub k: usize,
}

impl Packed {
    /// Packs the rows of several (weight, bias) pairs one below the other. Each row has `taps` values for each
    /// of its inputs (as a file has them, taps inmost); packed, taps are outermost. Reads one row at a time.
    pub fn new(kernels: &Kernels, parts: &[(&Weight, &Weight)], k: usize, taps: usize) -> Result<Self> {
        let n = parts.iter().map(|(_, bias)| bias.len()).sum();
        if n == 0 || k == 0 || taps == 0 || !k.is_multiple_of(taps) {
            return Err(Error::Internal(format!("a layer of {k} inputs and {n} outputs")));
        }
        let mut values = Aligned::zeroed(packed_len(kernels, n, k), "packed weights")?;
        let mut bias = try_zeroed(n, "biases")?;
        let mut row = try_zeroed(k, "a row of weights")?;
        let inputs = k / taps;
        let mut channel = 0;
        for (weight, part_bias) in parts {
            let rows = part_bias.len();
            if weight.len() != rows * k {
                return Err(Error::Internal(format!("{weight:?} beside {part_bias:?} and {k} inputs")));
            }
            part_bias.read(0, &mut bias[channel..channel + rows])?;
            for i in 0..rows {
                weight.read(i * k, &mut row)?;
                let mut lane = Lane::new(kernels, n, k, channel, values.as_mut_slice());
                for tap in 0..taps {
                    for input in 0..inputs {
                        lane.set(tap * inputs + input, row[input * taps + tap]);
                    }
                }
                channel += 1;
            }
        }
        Ok(Self { values, bias, n, k })
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
    /// As [`packed_len`] and [`Lane`] lay them out.
    pub values: &'a [f32],
    /// One an output channel, or none.
    pub bias: &'a [f32],
    /// Output channels.
    pub n: usize,
    /// Length of the inner dimension.
    pub k: usize,
}

/// Floats that a packed matrix takes: its channels filled up to whole vectors.
pub fn packed_len(kernels: &Kernels, n: usize, k: usize) -> usize {
    n.next_multiple_of(kernels.lanes).saturating_mul(k)
}

/// Vectors of the block that begins at output channel `channel`, a multiple of `Kernels::cols`.
pub fn block_vectors(kernels: &Kernels, n: usize, channel: usize) -> usize {
    (n - channel).div_ceil(kernels.lanes).min(kernels.vectors)
}

/// One output channel of a packed matrix, to write.
struct Lane<'a> {
    values: &'a mut [f32],
    stride: usize,
}

impl<'a> Lane<'a> {
    fn new(kernels: &Kernels, n: usize, k: usize, channel: usize, values: &'a mut [f32]) -> Self {
        let block = channel / kernels.cols() * kernels.cols();
        let stride = block_vectors(kernels, n, block) * kernels.lanes;
        Self { values: &mut values[block * k + channel - block..], stride }
    }

    fn set(&mut self, inner: usize, value: f32) {
        self.values[inner * self.stride] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Random, weight};
    use super::*;
    use crate::cpu_features::Isa;

    #[test]
    fn every_value_has_its_place() {
        for isa in Isa::available() {
            let kernels = Kernels::new(isa);
            for (n, inputs, taps) in [(1, 1, 1), (3, 5, 9), (50, 7, 9), (64, 4, 1), (33, 3, 1)] {
                let k = inputs * taps;
                let values = Random(7).values(n * k);
                let bias = Random(8).values(n);
                let (w, b) = (weight(&[n, k], &values), weight(&[n], &bias));
                let packed = Packed::new(&kernels, &[(&w, &b)], k, taps).unwrap();
                let view = packed.view();
                assert_eq!(view.bias, bias);
                for channel in 0..n {
                    let block = channel / kernels.cols() * kernels.cols();
                    let stride = block_vectors(&kernels, n, block) * kernels.lanes;
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
        for isa in Isa::available() {
            let kernels = Kernels::new(isa);
            for n in [128, 192, 256, 320, 448, 512] {
                assert!(packed_len(&kernels, n, 1152) * 10 <= n * 1152 * 11);
            }
        }
    }

    #[test]
    fn contradictory_shapes_are_errors() {
        let kernels = Kernels::new(Isa::Portable);
        let (w, b) = (weight(&[6], &[0.0; 6]), weight(&[2], &[0.0; 2]));
        assert!(Packed::new(&kernels, &[(&w, &b)], 4, 1).is_err());
        assert!(Packed::new(&kernels, &[], 4, 1).is_err());
    }
}
