//! GroupNorm: statistics of one activation or two side by side, and the affine map of every channel.

use super::arena::Slot;
use super::{Act, Cpu, Sums};
use crate::cpu_features::vectorize;
use crate::error::{Error, Result};
use crate::exec::{Input, NormWeights};

/// Channels whose sums a task keeps at a time.
const CHUNK: usize = 64;
/// Pixels that are summed up as floats, which are twice as many a register as the doubles that their sums go into.
const RUN: usize = 16;

/// A GroupNorm's weights.
pub struct Norm {
    pub(super) gamma: Vec<f32>,
    pub(super) beta: Vec<f32>,
    pub(super) groups: usize,
    pub(super) eps: f32,
}

/// One or two NHWC activations of the same batch and size, as plain slices.
#[derive(Clone, Copy)]
pub struct Joined<'a> {
    /// The floats; the second may be empty.
    pub values: [&'a [f32]; 2],
    /// Their channels' sums, where they are known.
    sums: [Option<&'a Sums>; 2],
    /// Channels of each.
    pub channels: [usize; 2],
    /// Batch, all channels, height, width.
    pub shape: [usize; 4],
}

impl<'a> Joined<'a> {
    /// Checks that the two fit together.
    pub fn new(x: Input<'a, Act>) -> Result<Self> {
        match x {
            Input::One(x) => Ok(Self {
                values: [x.slot.values(), &[]],
                sums: [x.sums.as_ref(), None],
                channels: [x.shape[1], 0],
                shape: x.shape,
            }),
            Input::Pair(x, y) => {
                let ([n, c, h, w], [n2, c2, h2, w2]) = (x.shape, y.shape);
                if (n, h, w) != (n2, h2, w2) {
                    return Err(Error::Internal(format!("{:?} beside {:?}", x.shape, y.shape)));
                }
                Ok(Self {
                    values: [x.slot.values(), y.slot.values()],
                    sums: [x.sums.as_ref(), y.sums.as_ref()],
                    channels: [c, c2],
                    shape: [n, c + c2, h, w],
                })
            }
        }
    }
}

impl Norm {
    /// Reads the weights.
    pub fn new(weights: &NormWeights) -> Result<Self> {
        let (gamma, beta) = (weights.weight.to_keep()?, weights.bias.to_keep()?);
        check_groups(gamma.len(), beta.len(), weights.groups)?;
        Ok(Self { gamma, beta, groups: weights.groups, eps: weights.eps })
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        ((self.gamma.len() + self.beta.len()) * size_of::<f32>()) as u64
    }

    /// What each channel is multiplied with and what is then added: (batch, [scale, shift], channels).
    /// `modulation` is a row an image, scales first, then shifts, and the rows' distance.
    pub fn affine(&self, cpu: &mut Cpu, x: &Joined, modulation: Option<(&[f32], usize)>) -> Result<Slot> {
        let mut affine = cpu.arena.alloc(x.shape[0] * 2 * x.shape[1])?;
        let stats = self.statistics(cpu, x)?;
        self.map(stats.values(), modulation, affine.values_mut());
        Ok(affine)
    }

    /// (batch, groups, [mean, 1 / standard deviation]) of an input.
    pub fn statistics(&self, cpu: &mut Cpu, x: &Joined) -> Result<Slot> {
        let [n, c, _, _] = x.shape;
        if c != self.gamma.len() {
            return Err(Error::Internal(format!("a norm of {} channels over {c}", self.gamma.len())));
        }
        let mut stats = cpu.arena.alloc(n * 2 * self.groups)?;
        if cpu.arena.planning() {
            return Ok(stats);
        }
        let size = c / self.groups;
        let groups_a_task = (CHUNK / size).max(1);
        let isa = cpu.kernels.isa();
        let step = (1, 2 * groups_a_task);
        cpu.pool.grid(stats.values_mut(), 2 * self.groups, step, &mut [], |window, _| {
            vectorize(
                isa,
                #[inline(always)]
                || {
                    let (image, cols) = (window.rows().start, window.cols());
                    group_stats(x, image, size, cols.start / 2, self.eps, window.row(image));
                },
            );
        });
        Ok(stats)
    }

    /// The map that [`Self::affine`] describes, from statistics; nothing where both are empty.
    pub fn map(&self, stats: &[f32], modulation: Option<(&[f32], usize)>, affine: &mut [f32]) {
        let c = self.gamma.len();
        let size = c / self.groups;
        for (image, row) in affine.chunks_exact_mut(2 * c).enumerate() {
            let (scale, shift) = row.split_at_mut(c);
            let stats = &stats[image * 2 * self.groups..][..2 * self.groups];
            for (group, stats) in stats.chunks_exact(2).enumerate() {
                for i in group * size..(group + 1) * size {
                    scale[i] = stats[1] * self.gamma[i];
                    shift[i] = self.beta[i] - stats[0] * scale[i];
                }
            }
            if let Some((rows, stride)) = modulation {
                let (scales, shifts) = rows[image * stride..][..2 * c].split_at(c);
                for i in 0..c {
                    scale[i] *= 1.0 + scales[i];
                    shift[i] = shift[i] * (1.0 + scales[i]) + shifts[i];
                }
            }
        }
    }
}

/// That `c` weights and `beta` biases fall into groups.
pub(super) fn check_groups(c: usize, beta: usize, groups: usize) -> Result<()> {
    if c == 0 || beta != c || groups == 0 || !c.is_multiple_of(groups) {
        return Err(Error::Internal(format!("{groups} groups over {c} channels")));
    }
    Ok(())
}

/// (mean, 1 / standard deviation) of `stats.len() / 2` groups of `size` channels, from group `first` on.
/// Sums are f64, by channel over the pixels, then over a group's channels: the same order however the groups
/// fall into tasks.
#[inline(always)]
fn group_stats(x: &Joined, image: usize, size: usize, first: usize, eps: f32, stats: &mut [f32]) {
    let [_, c, h, w] = x.shape;
    let pixels = h * w;
    let groups = stats.len() / 2;
    let (begin, end) = (first * size, ((first + groups) * size).min(c));
    let mut totals = [(0.0f64, 0.0f64); CHUNK];
    let mut from = begin;
    while from < end {
        // A chunk lies in one source.
        let (source, start, seam) =
            if from < x.channels[0] { (0, from, x.channels[0]) } else { (1, from - x.channels[0], c) };
        let count = end.min(seam).min(from + CHUNK) - from;
        let (values, width) = (x.values[source], x.channels[source]);
        let (mut sums, mut squares) = ([0.0f64; CHUNK], [0.0f64; CHUNK]);
        if let Some(known) = x.sums[source] {
            for line in (0..h).step_by(known.every) {
                for piece in 0..known.pieces {
                    let row = ((image * h + line) * known.pieces + piece) * 2 * width;
                    let row = &known.slot.values()[row..][..2 * width];
                    let (a, b) = (&row[start..][..count], &row[width + start..][..count]);
                    for (((sum, square), &a), &b) in sums.iter_mut().zip(&mut squares).zip(a).zip(b) {
                        *sum += f64::from(a);
                        *square += f64::from(b);
                    }
                }
            }
        } else {
            for first in (0..pixels).step_by(RUN) {
                let (mut run, mut run_squares) = ([0.0f32; CHUNK], [0.0f32; CHUNK]);
                for pixel in first..pixels.min(first + RUN) {
                    let values = &values[(image * pixels + pixel) * width + start..][..count];
                    for ((sum, square), &value) in run.iter_mut().zip(&mut run_squares).zip(values) {
                        *sum += value;
                        *square += value * value;
                    }
                }
                for i in 0..count {
                    sums[i] += f64::from(run[i]);
                    squares[i] += f64::from(run_squares[i]);
                }
            }
        }
        for i in 0..count {
            let total = &mut totals[(from + i) / size - first];
            *total = (total.0 + sums[i], total.1 + squares[i]);
        }
        from += count;
    }
    let number = (pixels * size) as f64;
    for (stats, (sum, square)) in stats.chunks_exact_mut(2).zip(totals) {
        let mean = sum / number;
        // Not `max`: a NaN must come through.
        let variance = square / number - mean * mean;
        let variance = if variance < 0.0 { 0.0 } else { variance };
        stats[0] = mean as f32;
        stats[1] = (1.0 / (variance + f64::from(eps)).sqrt()) as f32;
    }
}
