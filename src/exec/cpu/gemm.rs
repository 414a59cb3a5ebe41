//! Rows times a packed matrix: every convolution, projection and attention product. Each output is one sum in
//! one order, whatever the batch, the threads and the tiles.

use super::isa::{Kernels, MAX_COLS, MAX_ROWS, Segment, Tile};
use super::pack::{Matrix, block_vectors};
use super::pool::{Pool, Window};
use crate::cpu_features::vectorize;

/// Where output row i (a pixel of the batch) starts in a source.
#[derive(Clone, Copy, Debug)]
pub enum Rows {
    /// At these multiples of i, one for each of the two sources.
    Flat([usize; 2]),
    /// Pixel i = (image, y, x) of an output of this size, read from a padded plane.
    Plane {
        /// Height and width of the output.
        size: (usize, usize),
        /// Pixels from one output pixel to the next.
        step: usize,
        /// Floats from one image, plane row and plane pixel to the next.
        strides: [usize; 3],
    },
}

impl Rows {
    #[inline(always)]
    fn starts(&self, row: usize) -> [usize; 2] {
        match *self {
            Rows::Flat(strides) => strides.map(|stride| row * stride),
            Rows::Plane { size: (h, w), step, strides } => {
                let (line, x) = (row / w, row % w);
                let (image, y) = (line / h, line % h);
                [image * strides[0] + y * step * strides[1] + x * step * strides[2], 0]
            }
        }
    }
}

/// What happens to a sum: (sum + bias + time + residual) * scale.
#[derive(Clone, Copy, Debug)]
pub struct Epilogue<'a> {
    /// (rows, floats from one image's row to the next, pixels of an image)
    pub time: Option<(&'a [f32], usize, usize)>,
    /// As the output: one row a pixel, `n` floats each.
    pub residual: Option<&'a [f32]>,
    /// The factor.
    pub scale: f32,
}

impl Epilogue<'_> {
    /// The bias alone.
    pub const PLAIN: Epilogue<'static> = Epilogue { time: None, residual: None, scale: 1.0 };

    /// Finishes `out`, the channels of output row `row` from `first` on, from their sums; the residual has `n`
    /// channels a row.
    #[inline(always)]
    pub fn finish(
        &self,
        sums: &[f32],
        bias: &[f32],
        (row, n): (usize, usize),
        first: usize,
        out: &mut [f32],
    ) {
        let len = out.len();
        let (sums, bias) = (&sums[..len], if bias.is_empty() { bias } else { &bias[first..first + len] });
        let time = self.time.map(|(time, stride, pixels)| &time[row / pixels * stride + first..][..len]);
        let residual = self.residual.map(|residual| &residual[row * n + first..][..len]);
        // Sixteen at a time, which is a register or a few.
        let mut i = 0;
        while i + 16 <= len {
            let chunk = |values: &[f32]| -> [f32; 16] { values[i..i + 16].try_into().expect("16 floats") };
            let mut values = chunk(sums);
            if !bias.is_empty() {
                add(&mut values, &chunk(bias));
            }
            if let Some(time) = time {
                add(&mut values, &chunk(time));
            }
            if let Some(residual) = residual {
                add(&mut values, &chunk(residual));
            }
            out[i..i + 16].copy_from_slice(&values.map(|value| value * self.scale));
            i += 16;
        }
        for i in i..len {
            let mut value = sums[i];
            value += if bias.is_empty() { 0.0 } else { bias[i] };
            value += time.map_or(0.0, |time| time[i]);
            value += residual.map_or(0.0, |residual| residual[i]);
            out[i] = value * self.scale;
        }
    }
}

/// A product to compute.
#[derive(Clone, Copy)]
pub struct Gemm<'a> {
    /// What the rows are read from; the second may be empty.
    pub sources: [&'a [f32]; 2],
    /// Where each row starts.
    pub rows: Rows,
    /// The inner dimension; lengths add up to the matrix's k.
    pub segments: &'a [Segment],
    /// The weights.
    pub matrix: Matrix<'a>,
    /// The rest.
    pub epilogue: Epilogue<'a>,
}

impl Gemm<'_> {
    /// All rows of `out`, (rows, n), over all threads.
    pub fn run(&self, kernels: &Kernels, pool: &mut Pool, out: &mut [f32]) {
        let (rows, n) = (out.len() / self.matrix.n, self.matrix.n);
        // Equal tiles.
        let tiles = rows.div_ceil(kernels.rows).max(1);
        let tile_rows = rows.div_ceil(tiles).max(1);
        // A task is a few rows and all columns, so that rows are read once and weights stay in the cache; with
        // too few rows for that, it is one block of columns.
        let tiles_a_task = tiles.div_ceil(8 * pool.threads()).clamp(1, 4);
        let whole = tiles.div_ceil(tiles_a_task) >= 4 * pool.threads();
        let step = if whole {
            (tile_rows * tiles_a_task, n)
        } else {
            (tile_rows * (tiles / 2).max(1), kernels.cols())
        };
        pool.grid(out, self.matrix.n, step, &mut [], |window, _| self.window(kernels, window));
    }

    /// The rows and columns of a window, whose first column starts a block, on this thread.
    pub fn window(&self, kernels: &Kernels, window: &mut Window) {
        vectorize(
            kernels.isa(),
            #[inline(always)]
            || self.window_inner(kernels, window),
        );
    }

    #[inline(always)]
    fn window_inner(&self, kernels: &Kernels, window: &mut Window) {
        let matrix = &self.matrix;
        let (rows, cols) = (window.rows(), window.cols());
        let mut sums = [[0.0; MAX_COLS]; MAX_ROWS];
        let mut tile =
            Tile { sources: self.sources, rows: [[0; MAX_ROWS]; 2], segments: self.segments, weights: &[] };
        let tiles = rows.len().div_ceil(kernels.rows).max(1);
        let tile_rows = rows.len().div_ceil(tiles);
        for block in cols.clone().step_by(kernels.cols()) {
            let vectors = block_vectors(kernels, matrix.n, block);
            tile.weights = &matrix.values[block * matrix.k..][..vectors * kernels.lanes * matrix.k];
            let block_end = cols.end.min(block + kernels.cols());
            for first in rows.clone().step_by(tile_rows.max(1)) {
                let count = tile_rows.min(rows.end - first);
                for i in 0..count {
                    [tile.rows[0][i], tile.rows[1][i]] = self.rows.starts(first + i);
                }
                kernels.tile(&tile, count, vectors, &mut sums);
                for i in 0..count {
                    let row = first + i;
                    let out = &mut window.row(row)[block - cols.start..block_end - cols.start];
                    self.epilogue.finish(&sums[i], matrix.bias, (row, matrix.n), block, out);
                }
            }
        }
    }
}

#[inline(always)]
fn add(to: &mut [f32; 16], values: &[f32; 16]) {
    for i in 0..16 {
        to[i] += values[i];
    }
}
