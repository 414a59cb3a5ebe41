//! Self-attention over the pixels of an image, a block of query rows at a time: the scores of all pixels with
//! all pixels are never there together.

use super::arena::Slot;
use super::fold::fold;
use super::gemm::{Epilogue, Gemm, Rows, Segment, scratch_len};
use super::isa::Kernels;
use super::linear::Linear;
use super::norm::{Joined, Norm};
use super::pack::{Matrix, Packed, block_vectors, packed_len};
use super::plane::{Feed, Plane};
use super::pool::Window;
use super::{Act, Cpu, CpuDevice};
use crate::cpu_features::vectorize;
use crate::error::{Error, Result};
use crate::exec::{AttentionWeights, Input};

/// Scores that a worker holds at most, unless one tile of rows has more.
const SCORES: usize = 64 * 1024;

/// A packed self-attention block.
pub struct Attention {
    norm: Option<Norm>,
    /// Query, key and value side by side; of one head query and value, with the rest folded in (`fold`).
    projections: Linear,
    /// None where the values are projected already.
    out: Option<Linear>,
    heads: usize,
    scale: f32,
}

impl Attention {
    /// Packs the weights.
    pub fn new(device: &CpuDevice, weights: &AttentionWeights) -> Result<Self> {
        let norm = weights.norm.as_ref().map(Norm::new).transpose()?;
        let heads = weights.heads;
        let (projections, out) = if heads == 1 {
            let (first, c) = (&weights.qkv[0], weights.qkv[0].bias.len());
            let packed = Packed::ready_or(&first.weight, &device.kernels(), (2 * c, c), || {
                Ok(Linear::stacked(device, &fold(device, weights)?)?.packed)
            })?;
            (Linear { packed }, None)
        } else {
            (Linear::stacked(device, &weights.qkv)?, Some(Linear::new(device, &weights.out)?))
        };
        let (c, n) = (projections.packed.k, projections.packed.n);
        let fits = match &out {
            Some(out) => n == 3 * c && (out.packed.n, out.packed.k) == (c, c),
            None => n == 2 * c,
        };
        if !fits || heads == 0 || c % heads != 0 {
            return Err(Error::Internal(format!("attention of {heads} heads over {c} channels")));
        }
        Ok(Self { norm, projections, out, heads, scale: weights.scale })
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        let norm = self.norm.as_ref().map_or(0, Norm::bytes);
        norm + self.projections.packed.bytes() + self.out.as_ref().map_or(0, |out| out.packed.bytes())
    }
}

impl Cpu {
    pub(super) fn self_attention(&mut self, x: &Act, attention: &Attention) -> Result<Act> {
        let [n, c, h, w] = x.shape;
        if c != attention.projections.packed.k {
            return Err(Error::Internal(format!("{:?} into attention of another width", x.shape)));
        }
        let mut out = self.new_act(x.shape)?;
        let source = Joined::new(Input::One(x))?;
        let map = attention.norm.as_ref().map(|norm| norm.affine(self, &source, None)).transpose()?;
        let shape = Shape { images: n, pixels: h * w, heads: attention.heads, width: c / attention.heads };
        let work = HeadTasks {
            attention,
            kernels: self.kernels,
            feed: Feed { x: &source, map: map.as_ref(), activation: None },
            // No border and no gaps: a plain matrix.
            plane: Plane { stride: c, ..Plane::new(x.shape, 0, 0, None) },
            shape,
        };
        let threads = self.pool.threads();
        if n.is_multiple_of(threads) || n >= 4 * threads {
            work.by_images(self, out.slot.values_mut())?;
        } else {
            work.by_steps(self, out.slot.values_mut())?;
        }
        Ok(out)
    }
}

#[derive(Clone, Copy)]
struct Shape {
    images: usize,
    pixels: usize,
    heads: usize,
    width: usize,
}

/// Queries, keys or values, a row a pixel.
#[derive(Clone, Copy)]
struct Part<'a> {
    values: &'a [f32],
    /// Where the first row begins, and how far the next one is.
    first: usize,
    stride: usize,
}

impl<'a> Part<'a> {
    /// From this row and column on.
    fn from(self, row: usize, column: usize) -> Self {
        Self { first: self.first + row * self.stride + column, ..self }
    }

    fn row(self, row: usize) -> &'a [f32] {
        &self.values[self.first + row * self.stride..]
    }
}

/// What all images' attention has in common.
struct HeadTasks<'a> {
    attention: &'a Attention,
    kernels: Kernels,
    /// What the projections read, and where it is laid down if there is a norm on the way.
    feed: Feed<'a>,
    plane: Plane,
    shape: Shape,
}

impl HeadTasks<'_> {
    /// Floats of an image.
    fn image(&self) -> usize {
        self.shape.pixels * self.shape.heads * self.shape.width
    }

    /// Words of a head's packed keys, and of its values: they are the weights of two products.
    fn packed_lens(&self) -> [usize; 2] {
        let Shape { pixels, width, .. } = self.shape;
        [packed_len(&self.kernels, pixels, width), packed_len(&self.kernels, width, pixels)]
    }

    /// Query rows of a block, as equal as they come.
    fn block(&self, most: usize) -> usize {
        let pixels = self.shape.pixels;
        let most = most.min(SCORES / pixels).min(pixels).max(self.kernels.rows());
        pixels.div_ceil(pixels.div_ceil(most))
    }

    /// Floats that a thread needs for the products of a block of queries.
    fn block_scratch(&self, block: usize) -> usize {
        let Shape { pixels, width, .. } = self.shape;
        let panel = scratch_len(&self.kernels, width).max(scratch_len(&self.kernels, pixels));
        block * pixels + panel
    }

    /// Queries, keys and values of images that were projected from `input`.
    fn parts<'p>(&self, input: &'p [f32], projected: &'p [f32]) -> [Part<'p>; 3] {
        let (c, stride) = (self.attention.projections.packed.k, self.attention.projections.packed.n);
        let part = |index: usize| Part { values: projected, first: index * c, stride };
        match self.attention.out {
            None => [part(0), Part { values: input, first: 0, stride: c }, part(1)],
            Some(_) => [part(0), part(1), part(2)],
        }
    }

    /// The last product's, for the rows of x from `row` on.
    fn last(&self, row: usize) -> Epilogue<'_> {
        let residual = &self.feed.x.values[0][row * self.shape.heads * self.shape.width..];
        Epilogue { time: None, residual: Some(residual), scale: self.attention.scale }
    }

    /// All images, each on one thread, in whose second cache all that is made on the way stays.
    fn by_images(&self, cpu: &mut Cpu, out: &mut [f32]) -> Result<()> {
        let (attention, kernels, image_len) = (self.attention, &self.kernels, self.image());
        let Shape { pixels, heads, width, .. } = self.shape;
        let (c, block, packed_lens) = (heads * width, self.block(pixels), self.packed_lens());
        let projections = &attention.projections;
        let normed_len = if attention.norm.is_some() { image_len } else { 0 };
        let mixed_len = if attention.out.is_some() { image_len } else { 0 };
        let lens = [normed_len, pixels * projections.packed.n, packed_lens[0], packed_lens[1], mixed_len];
        let products = self.block_scratch(block).max(scratch_len(kernels, c));
        let share = lens.iter().sum::<usize>() + products;
        let mut scratch = cpu.arena.alloc(cpu.pool.threads() * share)?;
        if cpu.arena.planning() {
            return Ok(());
        }
        let stop = cpu.pool.stop();
        cpu.pool.grid(out, image_len, (1, image_len), scratch.values_mut(), |window, mut scratch| {
            let image = window.rows().start;
            let [normed, projected, keys, values, mixed] = lens.map(|len| {
                let (here, rest) = std::mem::take(&mut scratch).split_at_mut(len);
                scratch = rest;
                here
            });
            let input = if attention.norm.is_some() {
                self.plane.fill_rows(kernels, &self.feed, image * self.plane.size.0, normed);
                &*normed
            } else {
                &self.feed.x.values[0][image * image_len..][..image_len]
            };
            let mut rows = Window::columns(projected, projections.packed.n, 0..projections.packed.n);
            projections.window(kernels, input, Epilogue::PLAIN, &mut rows, scratch);
            let parts = self.parts(input, projected);
            let out = window.row(image);
            let target = if attention.out.is_some() { &mut *mixed } else { &mut *out };
            for head in 0..heads {
                let [queries, keys_of, values_of] = parts.map(|part| part.from(0, head * width));
                for from in (0..pixels).step_by(kernels.cols()) {
                    self.pack_keys(keys_of, from, &mut keys[from * kernels.inner(width)..]);
                }
                for from in (0..width).step_by(kernels.cols()) {
                    self.pack_values(values_of, from, &mut values[from * kernels.inner(pixels)..]);
                }
                for (first, rows) in (0..pixels).step_by(block).zip(target.chunks_mut(block * c)) {
                    if stop.is_set() {
                        return;
                    }
                    let row = image * pixels + first;
                    self.attend(head, row, queries.from(first, 0), [keys, values], rows, scratch);
                }
            }
            if let Some(projection) = &attention.out {
                let mut rows = Window::columns(out, c, 0..c);
                projection.window(kernels, mixed, self.last(image * pixels), &mut rows, scratch);
            }
        });
        Ok(())
    }

    /// One step after the other, each shared between the threads.
    fn by_steps(&self, cpu: &mut Cpu, out: &mut [f32]) -> Result<()> {
        let Shape { images, pixels, heads, width } = self.shape;
        let n = self.attention.projections.packed.n;
        let mut projected = cpu.arena.alloc(images * pixels * n)?;
        let normed = match &self.attention.norm {
            Some(_) => Some(self.plane.fill(cpu, &self.feed)?),
            None => None,
        };
        let input = normed.as_ref().map_or(self.feed.x.values[0], Slot::values);
        self.attention.projections.apply(cpu, input, projected.values_mut(), Epilogue::PLAIN)?;
        let parts = self.parts(input, projected.values());
        match &self.attention.out {
            None => self.mix(cpu, parts, out),
            Some(projection) => {
                let mut mixed = cpu.arena.alloc(images * pixels * heads * width)?;
                self.mix(cpu, parts, mixed.values_mut())?;
                projection.apply(cpu, mixed.values(), out, self.last(0))
            }
        }
    }

    /// out = softmax(q k^T / sqrt(width)) v, a head each.
    fn mix(&self, cpu: &mut Cpu, parts: [Part; 3], out: &mut [f32]) -> Result<()> {
        let (kernels, Shape { images, pixels, heads, width }) = (&self.kernels, self.shape);
        let (c, [key_len, value_len]) = (heads * width, self.packed_lens());
        let mut keys = cpu.arena.alloc(images * heads * key_len)?;
        let mut values = cpu.arena.alloc(images * heads * value_len)?;
        // A few blocks a thread.
        let block = self.block(images * pixels / (4 * cpu.pool.threads()));
        let mut scratch = cpu.arena.alloc(cpu.pool.threads() * self.block_scratch(block))?;
        if cpu.arena.planning() {
            return Ok(());
        }
        let [queries, keys_of, values_of] = parts;
        let (cols, key_words, value_words) = (kernels.cols(), kernels.inner(width), kernels.inner(pixels));
        cpu.pool.grid(keys.values_mut(), key_len, (1, cols * key_words), &mut [], |window, _| {
            let (row, from) = (window.rows().start, window.cols().start / key_words);
            let keys = keys_of.from(row / heads * pixels, row % heads * width);
            self.pack_keys(keys, from, window.row(row));
        });
        cpu.pool.grid(values.values_mut(), value_len, (1, cols * value_words), &mut [], |window, _| {
            let (row, from) = (window.rows().start, window.cols().start / value_words);
            let values = values_of.from(row / heads * pixels, row % heads * width);
            self.pack_values(values, from, window.row(row));
        });
        let (keys, values) = (keys.values(), values.values());
        let step = (1, block * c);
        cpu.pool.grid(out, pixels * c, step, scratch.values_mut(), |window, scratch| {
            let (image, first) = (window.rows().start, window.cols().start / c);
            let row = image * pixels + first;
            let out = window.row(image);
            for head in 0..heads {
                let at = image * heads + head;
                let packed = [&keys[at * key_len..][..key_len], &values[at * value_len..][..value_len]];
                self.attend(head, row, queries.from(row, head * width), packed, out, scratch);
            }
        });
        Ok(())
    }

    /// Rows of the batch from `row` on, all in one image, of one head: from their queries and all packed keys and
    /// values into the head's columns of `out`.
    fn attend(
        &self,
        head: usize,
        row: usize,
        queries: Part,
        [keys, values]: [&[f32]; 2],
        out: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (kernels, Shape { pixels, heads, width, .. }) = (&self.kernels, self.shape);
        let c = heads * width;
        let (scores, scratch) = scratch.split_at_mut(out.len() / c * pixels);
        let products = Gemm {
            sources: [&queries.values[queries.first..], &[]],
            rows: Rows::Flat([queries.stride, 0]),
            segments: &[Segment { source: 0, delta: 0, len: width }],
            matrix: Matrix { values: keys, bias: &[], n: pixels, k: width },
            epilogue: Epilogue::PLAIN,
        };
        products.window(kernels, &mut Window::columns(scores, pixels, 0..pixels), scratch);
        let scale = 1.0 / (width as f32).sqrt();
        vectorize(
            kernels.isa(),
            #[inline(always)]
            || scores.chunks_exact_mut(pixels).for_each(|row| softmax(kernels, row, scale)),
        );
        let sums = Gemm {
            sources: [scores, &[]],
            rows: Rows::Flat([pixels, 0]),
            segments: &[Segment { source: 0, delta: 0, len: pixels }],
            matrix: Matrix { values, bias: &[], n: width, k: pixels },
            // Of one head alone, they are the output.
            epilogue: if self.attention.out.is_none() { self.last(row) } else { Epilogue::PLAIN },
        };
        let mut window = Window::columns(out, c, head * width..(head + 1) * width);
        window.local(|local| sums.window(kernels, local, scratch));
    }

    /// The block of keys that begins at key `from`. Lanes beyond the last pixel stay undefined floats: their sums
    /// are never read.
    fn pack_keys(&self, keys: Part, from: usize, packed: &mut [f32]) {
        let (kernels, Shape { pixels, width, .. }) = (&self.kernels, self.shape);
        let stride = block_vectors(kernels, pixels, from) * kernels.lanes();
        // A few channels of all keys at a time touch few cache lines.
        for channel in (0..width).step_by(16) {
            let count = (width - channel).min(16);
            let packed = &mut packed[channel / kernels.weight_values() * stride..];
            for key in from..pixels.min(from + kernels.cols()) {
                let values = &keys.row(key)[channel..][..count];
                kernels.pack_column(values, stride, &mut packed[key - from..]);
            }
        }
    }

    /// The block of values that begins at channel `from`.
    fn pack_values(&self, values: Part, from: usize, packed: &mut [f32]) {
        let (kernels, Shape { pixels, width, .. }) = (&self.kernels, self.shape);
        let stride = block_vectors(kernels, width, from) * kernels.lanes();
        let count = stride.min(width - from);
        let words = packed.chunks_exact_mut(stride).take(kernels.inner(pixels));
        for (word, to) in words.enumerate() {
            let first = word * kernels.weight_values();
            for key in first..pixels.min(first + kernels.weight_values()) {
                kernels.set_weights(&mut to[..count], &values.row(key)[from..][..count], key);
            }
        }
    }
}

/// row = softmax(row * scale), with sixteen running maxima and sums so that it vectorises in a fixed order.
#[inline(always)]
fn softmax(kernels: &Kernels, row: &mut [f32], scale: f32) {
    let (chunks, rest) = row.as_chunks::<16>();
    let mut most = [f32::NEG_INFINITY; 16];
    for chunk in chunks {
        for i in 0..16 {
            most[i] = if chunk[i] > most[i] { chunk[i] } else { most[i] };
        }
    }
    let most = most.iter().chain(rest).fold(f32::NEG_INFINITY, |a, &b| if b > a { b } else { a });
    kernels.exps(row, most, scale);
    let (chunks, rest) = row.as_chunks::<16>();
    let mut sums = [0.0f32; 16];
    for chunk in chunks {
        for i in 0..16 {
            sums[i] += chunk[i];
        }
    }
    let factor = 1.0 / sums.iter().chain(rest).sum::<f32>();
    row.iter_mut().for_each(|value| *value *= factor);
}
