//! Rows times a packed matrix: every convolution, projection and attention product. Each output is one sum in
//! one order, whatever the batch, the threads and the tiles.

use super::Cpu;
use super::isa::prefetch::{self, LINE};
use super::isa::{CHUNK, Kernels, MAX_COLS, MAX_ROWS, Next, Panel};
use super::pack::{Matrix, block_vectors};
use super::pool::Window;
use crate::cpu_features::vectorize;
use crate::error::Result;
use std::ops::Range;

/// Tiles of rows in a panel at most: they share each load of the weights into the first cache.
const MAX_TILES: usize = 4;
/// Floats of a panel at most, unless one tile of rows has more: it stays in the second cache beside the weights.
const MAX_PANEL: usize = 64 * 1024;

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

    /// Whether it changes nothing but for the bias.
    fn is_plain(&self) -> bool {
        self.time.is_none() && self.residual.is_none() && self.scale == 1.0
    }

    /// What is added to all channels of output row `row`.
    #[inline(always)]
    pub fn time_of(&self, row: usize) -> Option<&[f32]> {
        self.time.map(|(time, stride, pixels)| &time[row / pixels * stride..])
    }

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
        let time = self.time_of(row).map(|time| &time[first..][..len]);
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

/// A run of the inner dimension: `len` floats of each row of one source, from `delta` behind the row's start on. A
/// 3x3 convolution has nine (its taps), a concatenation one a source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    /// Which source, 0 or 1.
    pub source: usize,
    /// Where it begins, from the row's start.
    pub delta: usize,
    /// How long it is.
    pub len: usize,
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

/// Rows of a panel at most, for an inner dimension of `k`.
fn panel_rows(kernels: &Kernels, k: usize) -> usize {
    kernels.rows() * (MAX_PANEL / (kernels.rows() * k)).clamp(1, MAX_TILES)
}

/// Floats that a thread needs to multiply with a matrix of inner dimension `k`: a panel, and what the kernels need.
pub fn scratch_len(kernels: &Kernels, k: usize) -> usize {
    panel_rows(kernels, k) * k.div_ceil(kernels.chunk_values()) * CHUNK + kernels.panel_scratch(k)
}

/// `len` in as few equal steps of at most `most` as there can be, but a multiple of `of` steps.
fn even(len: usize, most: usize, of: usize) -> usize {
    len.div_ceil(len.div_ceil(most).next_multiple_of(of)).max(1)
}

impl Gemm<'_> {
    /// All rows of `out`, (rows, n), over all threads.
    pub fn run(&self, cpu: &mut Cpu, out: &mut [f32]) -> Result<()> {
        let (Matrix { n, k, .. }, kernels, threads) = (self.matrix, cpu.kernels, cpu.pool.threads());
        let mut scratch = cpu.arena.alloc(threads * scratch_len(&kernels, k))?;
        if cpu.arena.planning() {
            return Ok(());
        }
        let (rows, most) = (out.len() / n, panel_rows(&kernels, k));
        let step = if rows >= 8 * threads * kernels.rows() {
            // All columns of a few rows, which are gathered once, with weights from the cache.
            let panel = even(rows, most, threads);
            (panel * (rows / panel / (8 * threads)).clamp(1, 4), n)
        } else {
            // Too few rows for that: some columns, whose weights no other thread has to read.
            let blocks = n.div_ceil(kernels.cols());
            (even(rows, most, 1), even(blocks, blocks.div_ceil(4 * threads), threads) * kernels.cols())
        };
        cpu.pool.grid(out, n, step, scratch.values_mut(), |window, scratch| {
            self.window(&kernels, window, scratch);
        });
        Ok(())
    }

    /// The rows and columns of a window, whose first column starts a block, on this thread; `scratch` is as long
    /// as [`scratch_len`] says.
    pub fn window(&self, kernels: &Kernels, window: &mut Window, scratch: &mut [f32]) {
        vectorize(
            kernels.isa(),
            #[inline(always)]
            || self.window_inner(kernels, window, scratch),
        );
    }

    #[inline(always)]
    fn window_inner(&self, kernels: &Kernels, window: &mut Window, scratch: &mut [f32]) {
        let Matrix { values, bias, n, k } = self.matrix;
        let (window_rows, cols) = (window.rows(), window.cols());
        let (inner, step) = (kernels.inner(k), even(window_rows.len(), panel_rows(kernels, k), 1));
        let chunk_stride = step * CHUNK;
        // Nothing happens to the sums, which may go where they belong at once.
        let bare = bias.is_empty() && self.epilogue.is_plain() && window.has_whole_rows();
        let (spare, panel) = scratch.split_at_mut(kernels.panel_scratch(k));
        let mut sums = [0.0; MAX_TILES * MAX_ROWS * MAX_COLS];
        for first in window_rows.clone().step_by(step) {
            let rows = first..window_rows.end.min(first + step);
            self.gather(kernels, rows.clone(), panel, chunk_stride);
            let mut next_rows = rows.end..window_rows.end.min(rows.end + step);
            let share = next_rows.len().div_ceil(cols.len().div_ceil(kernels.cols()));
            for block in cols.clone().step_by(kernels.cols()) {
                // The next panel's rows come while this one's are multiplied.
                let soon = next_rows.start..next_rows.end.min(next_rows.start + share);
                next_rows.start = soon.end;
                self.fetch(soon);
                let vectors = block_vectors(kernels, n, block);
                let len = vectors * kernels.lanes() * inner;
                let (weights, next) = values[block * inner..].split_at(len);
                let next = Next { weights: &next[..next.len().min(len)], rows: panel };
                let panel = Panel { rows: panel, chunk_stride, inner, weights, next };
                if bare && block + vectors * kernels.lanes() <= n {
                    let out = &mut window.whole_rows()[(first - window_rows.start) * n + block..];
                    kernels.panel(&panel, rows.len(), vectors, out, n, spare);
                    continue;
                }
                kernels.panel(&panel, rows.len(), vectors, &mut sums, MAX_COLS, spare);
                let block_cols = block - cols.start..cols.len().min(block - cols.start + kernels.cols());
                for (row, sums) in rows.clone().zip(sums.chunks_exact(MAX_COLS)) {
                    let out = &mut window.row(row)[block_cols.clone()];
                    self.epilogue.finish(sums, bias, (row, n), block, out);
                }
            }
        }
    }

    /// Copies rows into a panel whose chunks are `chunk_stride` apart.
    #[inline(always)]
    fn gather(&self, kernels: &Kernels, rows: Range<usize>, panel: &mut [f32], chunk_stride: usize) {
        let whole = kernels.chunk_values();
        for (i, row) in rows.enumerate() {
            let starts = self.rows.starts(row);
            let mut to = i * CHUNK;
            // A chunk that a segment does not fill alone.
            let (mut mixed, mut filled) = ([0.0; 2 * CHUNK], 0);
            for &Segment { source, delta, len } in self.segments {
                let mut from = &self.sources[source][starts[source] + delta..][..len];
                while !from.is_empty() {
                    let len = from.len().min(whole - filled);
                    let (here, rest) = from.split_at(len);
                    let mut chunk = here;
                    if len < whole {
                        mixed[filled..filled + len].copy_from_slice(here);
                        filled += len;
                        if filled < whole {
                            break;
                        }
                        (chunk, filled) = (&mixed[..whole], 0);
                    }
                    kernels.row_words(chunk, &mut panel[to..][..CHUNK]);
                    to += chunk_stride;
                    from = rest;
                }
            }
            if filled > 0 {
                mixed[filled..whole].fill(0.0);
                kernels.row_words(&mixed[..whole], &mut panel[to..][..CHUNK]);
            }
        }
    }

    /// Asks for the rows' values to come into the second cache.
    #[inline(always)]
    fn fetch(&self, rows: Range<usize>) {
        for row in rows {
            let starts = self.rows.starts(row);
            for &Segment { source, delta, len } in self.segments {
                let from = &self.sources[source][starts[source] + delta..][..len];
                from.chunks(LINE).for_each(|line| prefetch::far(line.as_ptr()));
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
