//! Winograd's filters: a convolution's weights at each position of a tile, packed in the order in which they are read.

use super::arena::Aligned;
use super::isa::{Algorithm, Kernels};
use super::pack::{block_vectors, packed_len};
use crate::cpu_features::vectorize;
use crate::error::{Error, Result, try_zeroed};
use crate::exec::ConvWeights;

/// Floats of the untransformed weights that are held at a time, unless one block of columns has more.
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
    /// Transforms a convolution's weights, some of its columns at a time, with at most `threads` threads.
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
        let side = algorithm.side();
        let position = packed_len(kernels, n, k);
        let mut values = Aligned::zeroed(position.saturating_mul(side * side), "transformed filters")?;
        let bias = weights.bias.to_vec()?;
        let step = (MAX_HELD / (9 * k * kernels.cols())).max(1) * kernels.cols();
        let mut rows = try_zeroed(step.min(n) * k * 9, "a block of weights")?;
        for first in (0..n).step_by(step) {
            let rows = &mut rows[..step.min(n - first) * k * 9];
            weights.weight.read(first * k * 9, rows)?;
            let work = Transform { algorithm, kernels, rows, first, n, k, position };
            // A thread takes some rows of positions, which lie side by side.
            let lines = side.div_ceil(threads);
            std::thread::scope(|scope| {
                let tasks = values.as_mut_slice().chunks_mut(lines * side * position);
                let tasks = tasks.enumerate().map(|(task, out)| (task * lines, &work, out));
                let mut tasks = tasks.collect::<Vec<_>>();
                let mine = tasks.pop();
                for (line, work, out) in tasks {
                    scope.spawn(move || work.run(line, out));
                }
                if let Some((line, work, out)) = mine {
                    work.run(line, out);
                }
            });
        }
        Ok(Self { algorithm, values, bias, n, k })
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

/// G g G^T of some output channels.
struct Transform<'a> {
    algorithm: Algorithm,
    kernels: &'a Kernels,
    /// (channel, k, 3, 3)
    rows: &'a [f32],
    /// The first of these channels, which begins a block of columns.
    first: usize,
    n: usize,
    k: usize,
    /// Words from one position to the next.
    position: usize,
}

impl Transform<'_> {
    /// The positions of `out`, of which the first is the first of row `line` of a tile.
    fn run(&self, line: usize, out: &mut [f32]) {
        let side = self.algorithm.side();
        let lines = &self.algorithm.filter()[line..][..out.len() / (side * self.position)];
        let mut first = self.first;
        for rows in self.rows.chunks(self.kernels.cols() * 9 * self.k) {
            let cols = block_vectors(self.kernels, self.n, first) * self.kernels.lanes;
            vectorize(
                self.kernels.isa(),
                #[inline(always)]
                || self.block(rows, cols, lines, &mut out[first * self.kernels.inner(self.k)..]),
            );
            first += self.kernels.cols();
        }
    }

    /// One block of columns, sixteen at a time; `lines` are the rows of G for the rows of positions in `out`.
    #[inline(always)]
    fn block(&self, rows: &[f32], cols: usize, lines: &[[f64; 3]], out: &mut [f32]) {
        const LANES: usize = 16;
        let (side, matrix, k) = (self.algorithm.side(), self.algorithm.filter(), self.k);
        let combine = |three: [&[f64; LANES]; 3], g: &[f64; 3]| -> [f64; LANES] {
            std::array::from_fn(|i| g[0] * three[0][i] + g[1] * three[1][i] + g[2] * three[2][i])
        };
        for input in 0..k {
            // All columns of an input together: their places lie side by side.
            for first in (0..rows.len() / (9 * k)).step_by(LANES) {
                let mut filter = [[0.0f64; LANES]; 9];
                for (lane, row) in rows.chunks_exact(9 * k).skip(first).take(LANES).enumerate() {
                    for (tap, &value) in row[9 * input..][..9].iter().enumerate() {
                        filter[tap][lane] = f64::from(value);
                    }
                }
                for (y, g) in lines.iter().enumerate() {
                    let row: [[f64; LANES]; 3] =
                        std::array::from_fn(|x| combine([&filter[x], &filter[3 + x], &filter[6 + x]], g));
                    for (x, g) in matrix.iter().enumerate() {
                        let word = input / self.kernels.weight_values;
                        let start = (y * side + x) * self.position + word * cols + first;
                        let to = &mut out[start..][..LANES.min(cols - first)];
                        let values = combine([&row[0], &row[1], &row[2]], g).map(|value| value as f32);
                        self.kernels.set_weights(to, &values, input);
                    }
                }
            }
        }
    }
}
