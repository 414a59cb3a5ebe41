//! Self-attention forwards and backwards, an image and head a task. Queries, keys and values lie side by side, a row a
//! pixel: (batch, pixels, [query, key, value], heads, width).

use super::super::arena::Slot;
use super::super::gemm::{self, Epilogue, Gemm, Rows, Segment};
use super::super::isa::Kernels;
use super::super::norm::Joined;
use super::super::pack::{Matrix, packed_len};
use super::super::plane::{Feed, Plane};
use super::super::pool::Window;
use super::super::{Act, Cpu};
use super::layers::{AttentionLayer, LinearLayer, pack_into};
use super::time::linear;
use crate::cpu_features::vectorize;
use crate::error::{Error, Result};
use crate::exec::Input;

/// Sizes of one block's attention.
#[derive(Clone, Copy)]
pub struct Heads {
    pub images: usize,
    pub pixels: usize,
    pub heads: usize,
    pub width: usize,
}

/// Rows of floats: where each begins, and how far the next one is.
#[derive(Clone, Copy)]
struct Part<'a> {
    values: &'a [f32],
    stride: usize,
}

fn square(values: &[f32], side: usize) -> Part<'_> {
    Part { values, stride: side }
}

impl Part<'_> {
    #[inline(always)]
    fn at(&self, row: usize, column: usize) -> f32 {
        self.values[row * self.stride + column]
    }
}

impl Heads {
    fn channels(&self) -> usize {
        self.heads * self.width
    }

    /// Query (0), key (1) or value (2) of a head of an image.
    fn part<'a>(&self, qkv: &'a [f32], image: usize, head: usize, which: usize) -> Part<'a> {
        let stride = 3 * self.channels();
        let first = image * self.pixels * stride + which * self.channels() + head * self.width;
        Part { values: &qkv[first..], stride }
    }

    /// Floats that a task needs: scores twice, one transposed, and what is packed for a product.
    fn scratch_len(&self, kernels: &Kernels) -> usize {
        let Heads { pixels, width, .. } = *self;
        let packed = packed_len(kernels, pixels, width).max(packed_len(kernels, width, pixels));
        let gemm = gemm::scratch_len(kernels, width).max(gemm::scratch_len(kernels, pixels));
        3 * pixels * pixels + packed + gemm
    }

    /// softmax(q k^T / sqrt(width)) v of every image: (batch, pixels, channels).
    pub fn attend(&self, cpu: &mut Cpu, qkv: &[f32]) -> Result<Slot> {
        let (Heads { images, pixels, .. }, c) = (*self, self.channels());
        let kernels = cpu.kernels;
        let mut out = cpu.arena.alloc(images * pixels * c)?;
        let mut scratch = cpu.arena.alloc(cpu.pool.threads() * self.scratch_len(&kernels))?;
        if cpu.arena.planning() {
            return Ok(out);
        }
        let step = (pixels, self.width);
        cpu.pool.grid(out.values_mut(), c, step, scratch.values_mut(), |window, scratch| {
            let (image, head) = (window.rows().start / pixels, window.cols().start / self.width);
            let part = |which| self.part(qkv, image, head, which);
            let (scores, rest) = scratch.split_at_mut(pixels * pixels);
            let (_, rest) = rest.split_at_mut(2 * pixels * pixels);
            self.probabilities(&kernels, part(0), part(1), scores, rest);
            let scores = square(scores, pixels);
            let value = part(2);
            product(&kernels, scores, pixels, self.width, |column, row| value.at(row, column), window, rest);
        });
        Ok(out)
    }

    /// The gradient of queries, keys and values from that of what `attend` gave.
    pub fn back(&self, cpu: &mut Cpu, qkv: &[f32], d_out: &[f32]) -> Result<Slot> {
        let (Heads { images, pixels, width, .. }, c) = (*self, self.channels());
        let kernels = cpu.kernels;
        let mut d_qkv = cpu.arena.alloc(images * pixels * 3 * c)?;
        let mut scratch = cpu.arena.alloc(cpu.pool.threads() * self.scratch_len(&kernels))?;
        if cpu.arena.planning() {
            return Ok(d_qkv);
        }
        // A task writes all of an image's rows.
        cpu.pool.grid(d_qkv.values_mut(), 3 * c, (pixels, 3 * c), scratch.values_mut(), |window, scratch| {
            let image = window.rows().start / pixels;
            let (scores, rest) = scratch.split_at_mut(pixels * pixels);
            let (d_scores, rest) = rest.split_at_mut(pixels * pixels);
            let (transposed, rest) = rest.split_at_mut(pixels * pixels);
            let d_qkv = window.whole_rows();
            for head in 0..self.heads {
                let [query, key, value] = [0, 1, 2].map(|which| self.part(qkv, image, head, which));
                let d_out = Part { values: &d_out[image * pixels * c + head * width..], stride: c };
                let columns = |which: usize| {
                    let first = which * c + head * width;
                    first..first + width
                };
                self.probabilities(&kernels, query, key, scores, rest);

                // dv = p^T dout
                transpose(&kernels, scores, transposed, pixels);
                let mut to = Window::columns(d_qkv, 3 * c, columns(2));
                let rows = square(transposed, pixels);
                product(&kernels, rows, pixels, width, |column, row| d_out.at(row, column), &mut to, rest);
                // dp = dout v^T, ds = p (dp - sum of p dp), times what scales the scores
                let mut to = Window::columns(d_scores, pixels, 0..pixels);
                product(&kernels, d_out, width, pixels, |column, row| value.at(column, row), &mut to, rest);
                vectorize(
                    kernels.isa(),
                    #[inline(always)]
                    || softmax_back(scores, d_scores, pixels, self.score_scale()),
                );
                // dq = ds k, dk = ds^T q
                let mut to = Window::columns(d_qkv, 3 * c, columns(0));
                let rows = square(d_scores, pixels);
                product(&kernels, rows, pixels, width, |column, row| key.at(row, column), &mut to, rest);
                transpose(&kernels, d_scores, transposed, pixels);
                let mut to = Window::columns(d_qkv, 3 * c, columns(1));
                let rows = square(transposed, pixels);
                product(&kernels, rows, pixels, width, |column, row| query.at(row, column), &mut to, rest);
            }
        });
        Ok(d_qkv)
    }

    fn score_scale(&self) -> f32 {
        1.0 / (self.width as f32).sqrt()
    }

    /// (pixel, pixel): softmax over each row of q k^T / sqrt(width).
    fn probabilities(
        &self,
        kernels: &Kernels,
        query: Part,
        key: Part,
        scores: &mut [f32],
        scratch: &mut [f32],
    ) {
        let (pixels, width) = (self.pixels, self.width);
        let mut window = Window::columns(scores, pixels, 0..pixels);
        product(kernels, query, width, pixels, |column, row| key.at(column, row), &mut window, scratch);
        let scale = self.score_scale();
        for row in scores.chunks_exact_mut(pixels) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            kernels.exps(row, largest, scale);
            let sum: f32 = row.iter().sum();
            let factor = 1.0 / sum;
            row.iter_mut().for_each(|value| *value *= factor);
        }
    }
}

/// ds = p (dp - sum over the row of p dp) scale, in place of dp.
#[inline(always)]
fn softmax_back(p: &[f32], dp: &mut [f32], pixels: usize, scale: f32) {
    for (p, dp) in p.chunks_exact(pixels).zip(dp.chunks_exact_mut(pixels)) {
        let mut sums = [0.0f32; 16];
        for (p, dp) in p.chunks(16).zip(dp.chunks(16)) {
            for (sum, (p, dp)) in sums.iter_mut().zip(p.iter().zip(dp)) {
                *sum += p * dp;
            }
        }
        let sum: f32 = sums.iter().sum();
        for (dp, p) in dp.iter_mut().zip(p) {
            *dp = p * (*dp - sum) * scale;
        }
    }
}

fn transpose(kernels: &Kernels, from: &[f32], to: &mut [f32], side: usize) {
    const BLOCK: usize = 16;
    vectorize(
        kernels.isa(),
        #[inline(always)]
        || {
            for y in (0..side).step_by(BLOCK) {
                for x in (0..side).step_by(BLOCK) {
                    for row in y..side.min(y + BLOCK) {
                        for column in x..side.min(x + BLOCK) {
                            to[column * side + row] = from[row * side + column];
                        }
                    }
                }
            }
        },
    );
}

/// `out` (rows, n) = `a` (rows, k) times the matrix whose value in (column, row) is `b`.
fn product(
    kernels: &Kernels,
    a: Part,
    k: usize,
    n: usize,
    b: impl Fn(usize, usize) -> f32,
    out: &mut Window,
    scratch: &mut [f32],
) {
    let (packed, scratch) = scratch.split_at_mut(packed_len(kernels, n, k));
    pack_into(kernels, (n, k), packed, b);
    let segments = [Segment { source: 0, delta: 0, len: k }];
    let gemm = Gemm {
        sources: [a.values, &[]],
        rows: Rows::Flat([a.stride, 0]),
        segments: &segments,
        matrix: Matrix { values: packed, bias: &[], n, k },
        epilogue: Epilogue::PLAIN,
    };
    out.local(|out| gemm.window(kernels, out, &mut scratch[..gemm::scratch_len(kernels, k)]));
}

/// What a block of attention computes first, and computes again on the way back.
pub struct Again {
    /// norm(x), or x.
    pub normed: Act,
    /// The norm's map, if there is a norm.
    pub map: Option<Slot>,
    /// (batch, pixels, [query, key, value], channels)
    pub qkv: Act,
}

impl AttentionLayer {
    /// The block's sizes, its result, and its norm's statistics.
    pub fn forward(&self, cpu: &mut Cpu, parameters: &[f32], x: &Act) -> Result<(Heads, Act, Option<Slot>)> {
        let [n, c, h, w] = x.shape;
        if c != self.out.bias.len() {
            return Err(Error::Internal(format!("{:?} into attention of another width", x.shape)));
        }
        let heads = Heads { images: n, pixels: h * w, heads: self.heads, width: c / self.heads };
        let source = Joined::new(Input::One(x))?;
        let stats = self.norm.map(|norm| norm.norm(parameters).statistics(cpu, &source)).transpose()?;
        let qkv = self.again(cpu, parameters, x, stats.as_ref())?.qkv;
        let attended = heads.attend(cpu, qkv.slot.values())?;
        drop(qkv);
        let project = LinearLayer::pack(cpu, &[self.out], parameters)?;
        let mut out = cpu.new_act(x.shape)?;
        let epilogue = Epilogue { time: None, residual: Some(x.slot.values()), scale: self.scale };
        project.apply(cpu, attended.values(), out.slot.values_mut(), epilogue)?;
        Ok((heads, out, stats))
    }

    /// The norm's result and the projections of it.
    pub fn again(&self, cpu: &mut Cpu, parameters: &[f32], x: &Act, stats: Option<&Slot>) -> Result<Again> {
        let source = Joined::new(Input::One(x))?;
        let [n, c, _, _] = x.shape;
        let mut map = None;
        if let (Some(norm), Some(stats)) = (self.norm, stats) {
            let mut slot = cpu.arena.alloc(n * 2 * c)?;
            norm.norm(parameters).map(stats.values(), None, slot.values_mut());
            map = Some(slot);
        }
        let feed = Feed { x: &source, map: map.as_ref(), activation: None };
        // No border and no gaps: a plain matrix.
        let plane = Plane { stride: c, ..Plane::new(x.shape, 0, 0, None) };
        let normed = Act { slot: plane.fill(cpu, &feed)?, shape: x.shape, sums: None };
        let qkv = linear(cpu, &self.qkv, parameters, &normed)?;
        Ok(Again { normed, map, qkv })
    }
}
