//! Gradients of weights and biases: sums over the pixels of a batch.
//!
//! A 3x3 convolution's is dW[tap][i][o] = sum over p of u[p] [i] dy[p - tap][o]. Both lie on one grid of (h + 1) by
//! (w + 1) pixels an image, whose last row and column are zeros: so a tap is an offset, and its neighbours beyond any
//! edge are zeros. The pixels are the inner dimension of a product: a panel of input channels is gathered once for
//! all taps and all outputs.

use super::super::arena::Slot;
use super::super::isa::{CHUNK, Kernels, MAX_COLS, MAX_ROWS, Next, Panel};
use super::super::pack::{block_vectors, vector_place};
use super::super::plane::{Feed, Plane};
use super::super::{Act, Cpu};
use crate::cpu_features::vectorize;
use crate::error::Result;
use crate::exec::Resize;

/// Pixels of a panel.
const PIXELS: usize = 8 * CHUNK;
/// Tiles of rows of a panel, at most.
const TILES: usize = 4;

/// Adds to `out`, (outputs, inputs, side, side), what a convolution of `side` by `side` taps (3, or 1) leaves there for
/// the gradient `dy` of its outputs, whose pixels are those of what it read: the feed, resized.
pub fn add_weight_gradient(
    cpu: &mut Cpu,
    feed: &Feed,
    resize: Option<Resize>,
    dy: &Act,
    side: usize,
    out: &mut [f32],
) -> Result<()> {
    let [n, o, h, w] = dy.shape;
    let c = feed.x.shape[1];
    // One row and column of zeros behind the pixels, where there are neighbours.
    let border = side / 2;
    let grid = Grid { images: n, size: (h, w), border };
    let plane = Plane { stride: c, ..Plane::new(feed.x.shape, 0, border, resize) };
    let u = plane.fill(cpu, feed)?;
    let packed = grid.pack(cpu, dy)?;

    let kernels = cpu.kernels;
    let (taps, cols) = (side * side, kernels.cols());
    let blocks = o.div_ceil(cols);
    // (input, block of outputs, tap, output of the block)
    let row_len = blocks * taps * cols;
    let mut sums = cpu.arena.alloc(c * row_len)?;
    let threads = cpu.pool.threads();
    let rows = c.div_ceil(c.div_ceil(TILES * kernels.rows()));
    // Panels are gathered once where there are enough of them; else tasks are some of the outputs too.
    let panels = c.div_ceil(rows);
    let pieces = if panels >= 4 * threads { 1 } else { (4 * threads).div_ceil(panels).min(blocks) };
    let step = (rows, blocks.div_ceil(pieces) * taps * cols);
    let mut scratch = cpu.arena.alloc(threads * TILES * MAX_ROWS * (PIXELS + MAX_COLS))?;
    if cpu.arena.planning() {
        return Ok(());
    }
    let work =
        GradientTasks { kernels, grid, u: u.values(), inputs: c, packed: packed.values(), outputs: o, taps };
    cpu.pool.grid(sums.values_mut(), row_len, step, scratch.values_mut(), |window, scratch| {
        let (rows, blocks) =
            (window.rows(), window.cols().start / (taps * cols)..window.cols().end / (taps * cols));
        window.local(|window| {
            for row in 0..rows.len() {
                window.row(row).fill(0.0);
            }
            let (panel, sums) = scratch.split_at_mut(TILES * MAX_ROWS * PIXELS);
            for first in (0..work.grid.len()).step_by(PIXELS) {
                work.gather(rows.start, rows.len(), first, panel);
                for (at, block) in blocks.clone().enumerate() {
                    for tap in 0..taps {
                        work.multiply(rows.len(), first, block, tap, panel, sums);
                        for row in 0..rows.len() {
                            let to = &mut window.row(row)[(at * taps + tap) * cols..][..cols];
                            for (to, sum) in to.iter_mut().zip(&sums[row * cols..]) {
                                *to += sum;
                            }
                        }
                    }
                }
            }
        });
    });
    let sums = sums.values();
    let row = c * taps;
    cpu.pool.grid(out, row, (8, row), &mut [], |window, _| {
        for output in window.rows() {
            let (block, column) = (output / cols, output % cols);
            for (at, to) in window.row(output).iter_mut().enumerate() {
                let (input, tap) = (at / taps, at % taps);
                *to += sums[input * row_len + (block * taps + tap) * cols + column];
            }
        }
    });
    Ok(())
}

/// The pixels of a batch of images, each with `border` rows and columns of zeros behind it.
#[derive(Clone, Copy)]
struct Grid {
    images: usize,
    size: (usize, usize),
    border: usize,
}

impl Grid {
    fn width(&self) -> usize {
        self.size.1 + self.border
    }

    fn len(&self) -> usize {
        self.images * (self.size.0 + self.border) * self.width()
    }

    /// Pixels of zeros before the first and behind the last: the furthest tap.
    fn guard(&self) -> usize {
        self.border * (self.width() + 1)
    }

    /// An activation as the weights of a product: (block of channels, pixel of the grid, channel of the block).
    fn pack(&self, cpu: &mut Cpu, dy: &Act) -> Result<Slot> {
        let (kernels, o) = (cpu.kernels, dy.shape[1]);
        let (guard, lines) = (self.guard(), self.len() + 2 * self.guard());
        let lanes = kernels.lanes();
        let mut packed = cpu.arena.alloc(lines * o.next_multiple_of(lanes))?;
        let values = dy.slot.values();
        let ((h, w), width) = (self.size, self.width());
        cpu.pool.grid(packed.values_mut(), lanes, (4096, lanes), &mut [], |window, _| {
            let rows = window.rows();
            let whole = window.whole_rows();
            for (row, to) in rows.zip(whole.chunks_exact_mut(lanes)) {
                let (line, first) = vector_place(&kernels, o, lines, row);
                let pixel = line.checked_sub(guard).filter(|&pixel| pixel < self.len());
                let place = pixel.map(|pixel| (pixel / width, pixel % width));
                let place = place.map(|(line, x)| (line / (h + self.border), line % (h + self.border), x));
                match place {
                    Some((image, y, x)) if y < h && x < w => {
                        let from = &values[((image * h + y) * w + x) * o + first..];
                        let count = lanes.min(o - first);
                        to[..count].copy_from_slice(&from[..count]);
                        to[count..].fill(0.0);
                    }
                    _ => to.fill(0.0),
                }
            }
        });
        Ok(packed)
    }
}

struct GradientTasks<'a> {
    kernels: Kernels,
    grid: Grid,
    /// (pixel of the grid, input)
    u: &'a [f32],
    inputs: usize,
    packed: &'a [f32],
    outputs: usize,
    taps: usize,
}

impl GradientTasks<'_> {
    /// Pixels from `first` on.
    fn pixels(&self, first: usize) -> usize {
        (self.grid.len() - first).min(PIXELS)
    }

    /// Inputs from `input` on as rows of a panel: (chunk of pixels, row, pixel of the chunk).
    fn gather(&self, input: usize, rows: usize, first: usize, panel: &mut [f32]) {
        let count = self.pixels(first);
        vectorize(
            self.kernels.isa(),
            #[inline(always)]
            || {
                for (chunk, panel) in
                    panel.chunks_exact_mut(rows * CHUNK).enumerate().take(count.div_ceil(CHUNK))
                {
                    let pixels = (count - chunk * CHUNK).min(CHUNK);
                    let from = &self.u[(first + chunk * CHUNK) * self.inputs..][..pixels * self.inputs];
                    for (pixel, from) in from.chunks_exact(self.inputs).enumerate() {
                        for (row, &value) in from[input..input + rows].iter().enumerate() {
                            panel[row * CHUNK + pixel] = value;
                        }
                    }
                }
            },
        );
    }

    /// A panel times a block of outputs, shifted by a tap.
    fn multiply(&self, rows: usize, first: usize, block: usize, tap: usize, panel: &[f32], sums: &mut [f32]) {
        let (kernels, grid) = (&self.kernels, &self.grid);
        let count = self.pixels(first);
        let side = 1 + 2 * grid.border;
        debug_assert!(side * side == self.taps);
        // dy[p - tap]: its pixels begin `guard` lines in.
        let line = first + 2 * grid.guard() - (tap / side * grid.width() + tap % side);
        let first_column = block * kernels.cols();
        let vectors = block_vectors(kernels, self.outputs, first_column);
        let lines = grid.len() + 2 * grid.guard();
        let width = vectors * kernels.lanes();
        let weights = &self.packed[first_column * lines + line * width..][..count * width];
        let panel =
            Panel { rows: panel, chunk_stride: rows * CHUNK, inner: count, weights, next: Next::default() };
        // Floats, which nothing is done to.
        kernels.panel(&panel, rows, vectors, sums, kernels.cols(), &mut []);
    }
}

/// Sums of each channel over each image's pixels: (batch, channels).
pub fn image_sums(cpu: &mut Cpu, x: &Act) -> Result<Slot> {
    let [n, c, h, w] = x.shape;
    let mut sums = cpu.arena.alloc(n * c)?;
    if cpu.arena.planning() {
        return Ok(sums);
    }
    let (values, isa) = (x.slot.values(), cpu.kernels.isa());
    const COLUMNS: usize = 64;
    cpu.pool.grid(sums.values_mut(), c, (1, COLUMNS), &mut [], |window, _| {
        let (image, cols) = (window.rows().start, window.cols());
        vectorize(
            isa,
            #[inline(always)]
            || {
                let mut totals = [0.0f64; COLUMNS];
                for pixels in values[image * h * w * c..][..h * w * c].chunks(16 * c) {
                    let mut run = [0.0f32; COLUMNS];
                    for pixel in pixels.chunks_exact(c) {
                        for (sum, value) in run.iter_mut().zip(&pixel[cols.clone()]) {
                            *sum += value;
                        }
                    }
                    for (total, sum) in totals.iter_mut().zip(run) {
                        *total += f64::from(sum);
                    }
                }
                for (to, total) in window.row(image).iter_mut().zip(totals) {
                    *to = total as f32;
                }
            },
        );
    });
    Ok(sums)
}

/// Adds the sums over all rows of (rows, columns) to `out`.
pub fn add_rows(rows: &[f32], out: &mut [f32]) {
    if rows.is_empty() {
        return;
    }
    let n = out.len();
    for (column, to) in out.iter_mut().enumerate() {
        let total: f64 = rows.iter().skip(column).step_by(n).map(|&value| f64::from(value)).sum();
        *to += total as f32;
    }
}
