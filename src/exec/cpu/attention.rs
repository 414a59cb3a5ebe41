//! Self-attention over the pixels of an image, a block of query rows at a time: the scores of all pixels with
//! all pixels are never there together.

use super::fold::fold;
use super::gemm::{Epilogue, Gemm, Rows, Segment, scratch_len};
use super::isa::Kernels;
use super::linear::Linear;
use super::norm::{Norm, Source};
use super::pack::{Matrix, block_vectors, packed_len};
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
            (Linear::stacked(device, &fold(device, weights)?)?, None)
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
        let width = attention.projections.packed.n;
        if c != attention.projections.packed.k {
            return Err(Error::Internal(format!("{:?} into attention of another width", x.shape)));
        }
        let pixels = h * w;
        let mut out = self.new_act(x.shape)?;
        let mut projected = self.arena.alloc(n * pixels * width)?;
        let normed = match &attention.norm {
            Some(norm) => {
                let source = Source::new(Input::One(x))?;
                let map = norm.affine(self, &source, None)?;
                // No border and no gaps: a plain matrix.
                let plane = Plane { stride: c, ..Plane::new(x.shape, 0, 0, 1) };
                Some(plane.fill(self, &Feed { x: &source, map: Some(&map), activation: None })?)
            }
            None => None,
        };
        let input = normed.as_ref().unwrap_or(&x.slot).values();
        attention.projections.apply(self, input, projected.values_mut(), Epilogue::PLAIN)?;
        let shape = Shape { images: n, pixels, heads: attention.heads, width: c / attention.heads };
        let part = |index: usize| Part { values: projected.values(), first: index * c, stride: width };
        let last = Epilogue { time: None, residual: Some(x.slot.values()), scale: attention.scale };
        match &attention.out {
            None => {
                let keys = Part { values: input, first: 0, stride: c };
                self.mix([part(0), keys, part(1)], out.slot.values_mut(), shape, last)?;
            }
            Some(projection) => {
                let mut mixed = self.arena.alloc(n * pixels * c)?;
                let parts = [part(0), part(1), part(2)];
                self.mix(parts, mixed.values_mut(), shape, Epilogue::PLAIN)?;
                projection.apply(self, mixed.values(), out.slot.values_mut(), last)?;
            }
        }
        Ok(out)
    }

    /// out = softmax(q k^T / sqrt(width)) v, a head each; the epilogue is for one head alone.
    fn mix(&mut self, parts: [Part; 3], out: &mut [f32], shape: Shape, epilogue: Epilogue) -> Result<()> {
        let ([queries, keys_of, values_of], Shape { images, pixels, heads, width }) = (parts, shape);
        let (kernels, c) = (self.kernels, heads * width);
        // Keys and values of a head are the weights of two products, so they are packed like weights.
        let key_len = packed_len(&kernels, pixels, width);
        let value_len = packed_len(&kernels, width, pixels);
        let mut keys = self.arena.alloc(images * heads * key_len)?;
        let mut values = self.arena.alloc(images * heads * value_len)?;
        // A few blocks a thread, of at least a tile, and equal.
        let block = (images * pixels / (4 * self.pool.threads())).min(SCORES / pixels).min(pixels);
        let block = pixels.div_ceil(pixels.div_ceil(block.max(kernels.rows)));
        let panel = scratch_len(&kernels, width).max(scratch_len(&kernels, pixels));
        let mut scratch = self.arena.alloc(self.pool.threads() * (block * pixels + panel))?;
        if self.arena.planning() {
            return Ok(());
        }
        let cols = kernels.cols();
        let (key_words, value_words) = (kernels.inner(width), kernels.inner(pixels));
        self.pool.grid(keys.values_mut(), key_len, (1, cols * key_words), &mut [], |window, _| {
            let (row, from) = (window.rows().start, window.cols().start / key_words);
            let (image, head) = (row / heads, row % heads);
            let stride = block_vectors(&kernels, pixels, from) * kernels.lanes;
            let packed = window.row(row);
            // Lanes beyond the last pixel stay undefined floats: their sums are never read. A few channels of all
            // keys at a time touch few cache lines.
            for channel in (0..width).step_by(16) {
                let count = (width - channel).min(16);
                let packed = &mut packed[channel / kernels.weight_values * stride..];
                for key in from..pixels.min(from + cols) {
                    let values = &keys_of.row(image * pixels + key)[head * width + channel..][..count];
                    kernels.pack_column(values, stride, &mut packed[key - from..]);
                }
            }
        });
        self.pool.grid(values.values_mut(), value_len, (1, cols * value_words), &mut [], |window, _| {
            let (row, from) = (window.rows().start, window.cols().start / value_words);
            let (image, head) = (row / heads, row % heads);
            let stride = block_vectors(&kernels, width, from) * kernels.lanes;
            let count = stride.min(width - from);
            for (word, to) in window.row(row).chunks_exact_mut(stride).enumerate() {
                let first = word * kernels.weight_values;
                for key in first..pixels.min(first + kernels.weight_values) {
                    let values = &values_of.row(image * pixels + key)[head * width + from..];
                    kernels.set_weights(&mut to[..count], &values[..count], key);
                }
            }
        });
        let (keys, values) = (keys.values(), values.values());
        let step = (1, block * c);
        self.pool.grid(out, pixels * c, step, scratch.values_mut(), |window, scratch| {
            let (image, first) = (window.rows().start, window.cols().start / c);
            let row = image * pixels + first;
            let residual = epilogue.residual.map(|residual| &residual[row * c..]);
            let epilogue = Epilogue { residual, ..epilogue };
            let out = window.row(image);
            for head in 0..heads {
                let at = image * heads + head;
                let queries = Part { first: queries.first + head * width, ..queries }.from(row);
                let (keys, values) =
                    (&keys[at * key_len..][..key_len], &values[at * value_len..][..value_len]);
                let product = Head { queries, keys, values, shape, epilogue };
                let cols = head * width..(head + 1) * width;
                product.attend(&kernels, &mut Window::columns(out, c, cols), scratch);
            }
        });
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Shape {
    images: usize,
    pixels: usize,
    heads: usize,
    width: usize,
}

/// Queries, keys or values of a batch, a row a pixel.
#[derive(Clone, Copy)]
struct Part<'a> {
    values: &'a [f32],
    /// Where the first row begins, and how far the next one is.
    first: usize,
    stride: usize,
}

impl<'a> Part<'a> {
    /// From row `row` on.
    fn from(self, row: usize) -> Self {
        Self { first: self.first + row * self.stride, ..self }
    }

    fn row(self, row: usize) -> &'a [f32] {
        &self.values[self.from(row).first..]
    }
}

/// What one head of one image reads.
struct Head<'a> {
    /// From the block's first query on.
    queries: Part<'a>,
    keys: &'a [f32],
    values: &'a [f32],
    shape: Shape,
    epilogue: Epilogue<'a>,
}

impl Head<'_> {
    /// The window's query rows, into the window: (rows, width).
    fn attend(&self, kernels: &Kernels, window: &mut Window, scratch: &mut [f32]) {
        let Shape { pixels, width, .. } = self.shape;
        let (scores, scratch) = scratch.split_at_mut(window.rows().len() * pixels);
        let products = Gemm {
            sources: [&self.queries.values[self.queries.first..], &[]],
            rows: Rows::Flat([self.queries.stride, 0]),
            segments: &[Segment { source: 0, delta: 0, len: width }],
            matrix: Matrix { values: self.keys, bias: &[], n: pixels, k: width },
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
            matrix: Matrix { values: self.values, bias: &[], n: width, k: pixels },
            epilogue: self.epilogue,
        };
        window.local(|local| sums.window(kernels, local, scratch));
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
