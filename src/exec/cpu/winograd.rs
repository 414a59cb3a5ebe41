//! 3x3 convolutions of stride 1 by Winograd's algorithms: a tile of a padded plane is transformed, multiplied
//! with the transformed filters at each position, summed over the channels, and transformed back. `isa::winograd`
//! has the arithmetic.
//!
//! A patch of tiles is a task: it fills its strip of the plane and transforms its tiles; then, for one block of
//! columns after the other, it multiplies them at all positions and transforms the sums back. All of that is in its
//! core's cache, through which the filters stream once. Where the batch has too few patches to keep all threads
//! busy, a task is a patch and some of its columns; what such tasks do twice costs less than sharing it between
//! caches. Nothing of this changes a bit of the result.

use super::filters::Filters;
use super::gemm::Epilogue;
use super::isa::{CHUNK, Finish, Kernels, MAX_COLS, Next, Panel, Tiles};
use super::pack::block_vectors;
use super::patch::{Canvas, Patch};
use super::plane::{Feed, Plane, resized};
use super::{Act, Cpu, Sums};
use crate::cpu_features::{second_cache, vectorize};
use crate::error::Result;
use crate::exec::Resize;
use std::ops::Range;

/// Patches of fewer lines share a plane instead, lest they fill most of their strips twice.
const MIN_STRIP: usize = 8;
/// Most tiles of a patch.
const MAX_TILES: usize = 64;
/// Tiles enough for each load of the filters: rather patches of as few, one a thread, than threads that transform the same tiles for
/// columns of their own.
const FEW_TILES: usize = 32;
/// Tiles of a line whose outputs' sums are kept together: a line is cut at their multiples alone, so that how it is cut changes no
/// bit of a sum.
const PIECE: usize = 16;
/// Bytes of a patch's transformed tiles and sums at most, for each byte of a core's second cache. More tiles share each load of the
/// filters, fewer stay in that cache. Measured best from 32 to 256 pixels with 2 MiB of it, so the filters weigh more; half and a
/// quarter of this were as fast there.
const SCRATCH: usize = 2;

/// How many tiles go into a patch, and where they begin.
#[derive(Clone, Copy)]
struct Patches {
    canvas: Canvas,
    /// Height of an image.
    height: usize,
    /// Tiles of a full patch.
    tiles: usize,
}

impl Filters {
    /// The plane that it reads for a source of this shape, resized, with as many zeros on all sides: whole
    /// tiles, and whole vectors of channels.
    pub fn plane(&self, [n, c, h, w]: [usize; 4], border: usize, resize: Option<Resize>) -> Plane {
        let out = self.algorithm.out();
        let whole = |side: usize| (side + 2 * border - 2).next_multiple_of(out) + 2;
        let plane = Plane::new([n, c.next_multiple_of(16), h, w], border, border, resize);
        let (down, across) = resized(resize, (h, w));
        Plane { size: (whole(down), whole(across)), channels: c, ..plane }
    }

    fn patches(&self, [n, c, h, w]: [usize; 4], kernels: &Kernels, threads: usize) -> Patches {
        let out = self.algorithm.out();
        let (down, across) = (h.div_ceil(out), w.div_ceil(out));
        let scratch = SCRATCH * second_cache() / size_of::<f32>();
        let room = (scratch / (self.positions() * (self.k + kernels.cols()))).clamp(8, MAX_TILES);
        let share = (n * down * across).div_ceil(threads);
        let room = room.min(share.max(FEW_TILES));
        // Whole images, else whole rows of tiles, else parts of a row; as equal as they come.
        let images = (room / (down * across)).min(n);
        let even = |tiles: usize, most: usize| tiles.div_ceil(tiles.div_ceil(most));
        let (period, lines, tiles_across) = if images > 0 {
            let images = even(n, images);
            (images * h, images * h, across)
        } else if across <= room {
            (h, even(down, room / across) * out, across)
        } else {
            (h, out, even(across.div_ceil(PIECE), room.div_ceil(PIECE)) * PIECE)
        };
        let step = [lines, tiles_across * out, c];
        let mut canvas = Canvas { lines: n * h, width: w, channels: c, period, step, piece: PIECE * out };
        let count = canvas.patches().iter().product::<usize>();
        if count < 4 * threads && !count.is_multiple_of(threads) {
            // As many blocks of columns as make the tasks a multiple of the threads.
            let blocks = c.div_ceil(kernels.cols());
            let pieces = (threads / gcd(count, threads)).min(blocks);
            canvas.step[2] = blocks.div_ceil(pieces) * kernels.cols();
        }
        let tiles = if images > 0 { period / h * down } else { lines / out } * tiles_across;
        Patches { canvas, height: h, tiles }
    }

    /// The convolution of what the plane is fed with: an activation of this shape, with its channels' sums.
    pub fn run(
        &self,
        cpu: &mut Cpu,
        plane: &Plane,
        feed: &Feed,
        shape: [usize; 4],
        epilogue: Epilogue,
    ) -> Result<Act> {
        let mut out = cpu.new_act(shape)?;
        let patches = self.patches(shape, &cpu.kernels, cpu.pool.threads());
        let canvas = patches.canvas;
        let mut channel_sums = cpu.arena.alloc(canvas.sums_len())?;
        let work = PatchTasks { filters: self, kernels: cpu.kernels, plane, patches, epilogue };
        let lines = canvas.step[0];
        let across = canvas.patches()[1];
        let strips = across == 1 && (lines >= MIN_STRIP || lines == canvas.period);
        let shared = if strips { None } else { Some(plane.fill(cpu, feed)?) };
        let strip = if strips { work.strip_rows(0..lines).len() * plane.row() } else { 0 };
        let source = work.source_len();
        let sums = self.positions() * work.sums_stride();
        let spare = cpu.kernels.panel_scratch(self.k);
        let mut scratch = cpu.arena.alloc(cpu.pool.threads() * (strip + source + sums + spare))?;
        if !cpu.arena.planning() {
            let (out, channel_sums) = (out.slot.values_mut(), channel_sums.values_mut());
            canvas.fill(&mut cpu.pool, out, channel_sums, scratch.values_mut(), |patch, scratch| {
                let (strip, scratch) = scratch.split_at_mut(strip);
                let (source, scratch) = scratch.split_at_mut(source);
                let (sums, spare) = scratch.split_at_mut(sums);
                let (values, first_row) = match &shared {
                    Some(plane) => (plane.values(), 0),
                    None => work.fill_strip(feed, patch.lines(), strip),
                };
                work.transform(values, first_row, patch, source);
                for block in patch.cols().step_by(work.kernels.cols()) {
                    work.multiply(patch, block, source, sums, spare);
                    work.finish(patch, block, sums);
                }
            });
        }
        out.sums = Some(Sums { slot: channel_sums, pieces: canvas.pieces(), every: self.algorithm.out() });
        Ok(out)
    }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// What the tasks of a convolution share.
struct PatchTasks<'a> {
    filters: &'a Filters,
    kernels: Kernels,
    plane: &'a Plane,
    patches: Patches,
    epilogue: Epilogue<'a>,
}

impl PatchTasks<'_> {
    /// Words of one position's tiles, (tile, channel of the chunk), and a cache line: positions of one tile are
    /// written together, and a power of two apart they would all fall into the same set of the cache.
    fn source_stride(&self) -> usize {
        self.patches.tiles * CHUNK + 16
    }

    /// Words of one chunk of channels of a patch's transformed tiles: (position, tile, channel of the chunk).
    fn chunk_stride(&self) -> usize {
        self.filters.positions() * self.source_stride()
    }

    /// Words of a patch's transformed tiles.
    fn source_len(&self) -> usize {
        self.filters.k.div_ceil(self.kernels.chunk_values()) * self.chunk_stride()
    }

    /// Floats from one position's sums, (tile, column of the block), to the next's, with a cache line as above.
    fn sums_stride(&self) -> usize {
        self.patches.tiles * self.kernels.cols() + 16
    }

    /// (line, pixel) of the first output of each tile of a patch.
    fn tiles(&self, lines: Range<usize>, pixels: Range<usize>) -> impl Iterator<Item = (usize, usize)> {
        let (height, out) = (self.patches.height, self.filters.algorithm.out());
        lines
            .filter(move |line| (line % height).is_multiple_of(out))
            .flat_map(move |line| pixels.clone().step_by(out).map(move |x| (line, x)))
    }

    /// Rows of the plane, all images' one below the other, that a patch of these lines reads.
    fn strip_rows(&self, lines: Range<usize>) -> Range<usize> {
        let (height, padded) = (self.patches.height, self.plane.size.0);
        let row = |line: usize| line / height * padded + line % height;
        let last = (lines.end - 1) % height + 1;
        let end = row(lines.end - 1) + 1 + last.next_multiple_of(self.filters.algorithm.out()) - last + 2;
        row(lines.start)..end
    }

    /// Fills the rows that a patch of these lines reads; they, and the number of the first.
    fn fill_strip<'s>(&self, feed: &Feed, lines: Range<usize>, strip: &'s mut [f32]) -> (&'s [f32], usize) {
        let rows = self.strip_rows(lines);
        self.plane.fill_rows(&self.kernels, feed, rows.start, &mut strip[..rows.len() * self.plane.row()]);
        (strip, rows.start)
    }

    /// The source transform of a patch, from rows of the plane of which the first is `first_row`.
    fn transform(&self, values: &[f32], first_row: usize, patch: &Patch, to: &mut [f32]) {
        let mut starts = [0; MAX_TILES];
        let mut count = 0;
        for (line, x) in self.tiles(patch.lines(), patch.pixels()) {
            let (image, y) = (line / self.patches.height, line % self.patches.height);
            let row = image * self.plane.size.0 + y - first_row;
            starts[count] = row * self.plane.row() + x * self.plane.stride;
            count += 1;
        }
        for (chunk, to) in to.chunks_exact_mut(self.chunk_stride()).enumerate() {
            let first = chunk * self.kernels.chunk_values();
            let source = Tiles {
                plane: &values[first..],
                starts: &starts[..count],
                row: self.plane.row(),
                stride: self.plane.stride,
                channels: (self.filters.k - first).min(self.kernels.chunk_values()),
            };
            self.kernels.source(self.filters.algorithm, &source, to, self.source_stride());
        }
    }

    /// The products of a patch's tiles with a block of columns' filters, at one position after the other.
    fn multiply(&self, patch: &Patch, block: usize, source: &[f32], sums: &mut [f32], spare: &mut [f32]) {
        let count = self.tiles(patch.lines(), patch.pixels()).count();
        let values = self.filters.values.as_slice();
        let (kernels, inner) = (&self.kernels, self.kernels.inner(self.filters.k));
        let vectors = block_vectors(kernels, self.filters.n, block);
        let len = vectors * kernels.lanes() * inner;
        let positions = self.filters.positions();
        let position_len = values.len() / positions;
        for position in 0..positions {
            let start = position * position_len + block * inner;
            let weights = &values[start..][..len];
            // The next position, or the first of the next block.
            let last = position + 1 == positions;
            let next = if last { (block + kernels.cols()) * inner } else { start + position_len };
            let next = &values[next.min(values.len())..];
            let next_rows = if last { source } else { &source[(position + 1) * self.source_stride()..] };
            let next = Next { weights: &next[..next.len().min(len)], rows: next_rows };
            let rows = &source[position * self.source_stride()..];
            let panel = Panel { rows, chunk_stride: self.chunk_stride(), inner, weights, next };
            let sums = &mut sums[position * self.sums_stride()..];
            kernels.panel(&panel, count, vectors, sums, kernels.cols(), spare);
        }
    }

    /// Transforms a block of columns' sums back and finishes the outputs.
    fn finish(&self, patch: &mut Patch, block: usize, sums: &[f32]) {
        vectorize(
            self.kernels.isa(),
            #[inline(always)]
            || self.finish_inner(patch, block, sums),
        );
    }

    #[inline(always)]
    fn finish_inner(&self, patch: &mut Patch, block: usize, sums: &[f32]) {
        let Filters { algorithm, ref bias, n, .. } = *self.filters;
        let kernels = &self.kernels;
        let (lines, pixels) = (patch.lines(), patch.pixels());
        let (out, width, height) = (algorithm.out(), self.patches.canvas.width, self.patches.height);
        let (vectors, piece) = (block_vectors(kernels, n, block), self.patches.canvas.piece);
        let cols = block..patch.cols().end.min(block + kernels.cols());
        let mut outputs = [[0.0; MAX_COLS]; 16];
        for ((line, x), sums) in
            self.tiles(lines, pixels).zip((0..).map(|tile| &sums[tile * kernels.cols()..]))
        {
            let row = line * width + x;
            let inside = line % height + out <= height && x + out <= width;
            let channel_sums = if inside && cols.len() == vectors * kernels.lanes() {
                let finish = Finish {
                    bias: &bias[block..],
                    time: self.epilogue.time_of(row).map(|time| &time[block..]),
                    residual: self.epilogue.residual.map(|residual| &residual[row * n + block..]),
                    scale: self.epilogue.scale,
                };
                let mut square = patch.square((line, x), out, cols.clone());
                kernels.finish(algorithm, sums, self.sums_stride(), &finish, &mut square)
            } else {
                kernels.output(algorithm, sums, self.sums_stride(), vectors, &mut outputs);
                let mut channel_sums = [[0.0; MAX_COLS]; 2];
                for dy in 0..out.min(height - line % height) {
                    for dx in 0..out.min(width - x) {
                        let to = patch.pixel(line + dy, x + dx, cols.clone());
                        let row = row + dy * width + dx;
                        self.epilogue.finish(&outputs[dy * out + dx], bias, (row, n), block, to);
                        add_sums(&mut channel_sums, to);
                    }
                }
                channel_sums
            };
            for (to, sums) in patch.sums(line, x, cols.clone()).into_iter().zip(&channel_sums) {
                for (to, sum) in to.iter_mut().zip(sums) {
                    // A piece's first tile begins its sums.
                    *to = if x % piece == 0 { *sum } else { *to + *sum };
                }
            }
        }
    }
}

/// Adds values, and their squares, to their columns' sums.
#[inline(always)]
fn add_sums(sums: &mut [[f32; MAX_COLS]; 2], values: &[f32]) {
    let [sums, squares] = sums;
    let (chunks, rest) = values.as_chunks::<16>();
    for (chunk, values) in chunks.iter().enumerate() {
        for i in 0..16 {
            sums[16 * chunk + i] += values[i];
            squares[16 * chunk + i] += values[i] * values[i];
        }
    }
    for (i, &value) in (16 * chunks.len()..).zip(rest) {
        sums[i] += value;
        squares[i] += value * value;
    }
}
