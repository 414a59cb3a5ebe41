//! The gradient of act(GroupNorm(x)), optionally modulated: y = act(v), v = x scale + shift.
//!
//! With x^ = (x - mean) r, r = 1 / standard deviation, and g = gamma (1 + s) where the norm is modulated by scale s and
//! shift t: scale = r g and shift = beta (1 + s) + t - mean r g. From dv = dy act'(v) and, for each image and channel, A
//! = sum of dv and B = sum of dv x^:
//!
//! dgamma = B (1 + s), dbeta = A (1 + s), ds = gamma B + beta A, dt = A,
//! dx = r (dv g - mean of (dv g) over the group - x^ mean of (dv g x^) over the group).

use super::super::arena::Slot;
use super::super::norm::{Joined, Norm};
use super::super::{Act, Cpu};
use super::math;
use crate::cpu_features::vectorize;
use crate::error::Result;
use crate::exec::Activation;

/// Channels that a task sums up.
const COLUMNS: usize = 64;
/// Pixels that are summed up as floats before their sum goes into a double.
const RUN: usize = 16;

/// What a norm was in the forward pass.
pub struct Normed<'a> {
    pub norm: &'a Norm,
    /// (batch, groups, [mean, 1 / standard deviation])
    pub stats: &'a Slot,
    /// (batch, [scale, shift], channels)
    pub map: &'a Slot,
    /// A row an image, scales first, then shifts, and the rows' distance.
    pub modulation: Option<(&'a [f32], usize)>,
    pub activation: Option<Activation>,
}

/// Where a norm's gradients go.
pub struct NormGradients<'a> {
    pub gamma: &'a mut [f32],
    pub beta: &'a mut [f32],
    /// As the modulation; added to.
    pub modulation: Option<(&'a mut [f32], usize)>,
}

/// dx = dv [a] + x [b] + [c], a row of each an image: (batch, [a, b, c], channels).
pub struct Coefficients(Slot);

/// From `dy`, the gradient of the result, (batch, height, width, channels): the gradients of the parameters, and what
/// [`input_gradient`] needs.
pub fn back(
    cpu: &mut Cpu,
    x: &Joined,
    normed: &Normed,
    dy: &[f32],
    gradients: NormGradients,
) -> Result<Coefficients> {
    let [n, c, h, w] = x.shape;
    // (batch, channel, [A, sum of dv x])
    let mut sums = cpu.arena.alloc(n * 2 * c)?;
    let mut coefficients = cpu.arena.alloc(n * 3 * c)?;
    if cpu.arena.planning() {
        return Ok(Coefficients(coefficients));
    }
    let isa = cpu.kernels.isa();
    cpu.pool.grid(sums.values_mut(), 2 * c, (1, 2 * COLUMNS), &mut [], |window, _| {
        let (image, cols) = (window.rows().start, window.cols());
        vectorize(
            isa,
            #[inline(always)]
            || channel_sums(x, normed, dy, image, cols.start / 2, window.row(image)),
        );
    });

    let Normed { norm, stats, modulation, .. } = *normed;
    let size = c / norm.groups;
    let number = (h * w * size) as f64;
    let NormGradients { gamma: d_gamma, beta: d_beta, modulation: mut d_modulation } = gradients;
    let rows = sums.values().chunks_exact(2 * c).zip(coefficients.values_mut().chunks_exact_mut(3 * c));
    for (image, (sums, row)) in rows.enumerate() {
        let (a, rest) = row.split_at_mut(c);
        let (b, constant) = rest.split_at_mut(c);
        let scales = modulation.map(|(rows, stride)| &rows[image * stride..][..c]);
        let mut d_modulation =
            d_modulation.as_mut().map(|(rows, stride)| &mut rows[image * *stride..][..2 * c]);
        let stats = &stats.values()[image * 2 * norm.groups..];
        for group in 0..norm.groups {
            let (mean, r) = (f64::from(stats[2 * group]), f64::from(stats[2 * group + 1]));
            let (mut first, mut second) = (0.0, 0.0);
            for i in group * size..(group + 1) * size {
                let (sum, with_x) = (f64::from(sums[2 * i]), f64::from(sums[2 * i + 1]));
                let with_hat = r * (with_x - mean * sum);
                let one_and_scale = 1.0 + scales.map_or(0.0, |scales| f64::from(scales[i]));
                let g = f64::from(norm.gamma[i]) * one_and_scale;
                d_gamma[i] += (with_hat * one_and_scale) as f32;
                d_beta[i] += (sum * one_and_scale) as f32;
                if let Some(row) = &mut d_modulation {
                    row[i] += (f64::from(norm.gamma[i]) * with_hat + f64::from(norm.beta[i]) * sum) as f32;
                    row[c + i] += sum as f32;
                }
                first += g * sum;
                second += g * with_hat;
                a[i] = (r * g) as f32;
            }
            let (first, second) = (first / number, second / number);
            for i in group * size..(group + 1) * size {
                b[i] = (-r * r * second) as f32;
                constant[i] = (r * (r * mean * second - first)) as f32;
            }
        }
    }
    Ok(Coefficients(coefficients))
}

/// [A, sum of dv x] of channels from `first` on of one image.
#[inline(always)]
fn channel_sums(x: &Joined, normed: &Normed, dy: &[f32], image: usize, first: usize, out: &mut [f32]) {
    let [_, c, h, w] = x.shape;
    let (pixels, count) = (h * w, out.len() / 2);
    let map = &normed.map.values()[image * 2 * c..][..2 * c];
    let mut from = first;
    let mut totals = [[0.0f64; COLUMNS]; 2];
    while from < first + count {
        // A chunk lies in one source.
        let (source, start, seam) =
            if from < x.channels[0] { (0, from, x.channels[0]) } else { (1, from - x.channels[0], c) };
        let width = (first + count).min(seam) - from;
        let (scale, shift) = (&map[from..][..width], &map[c + from..][..width]);
        for run_first in (0..pixels).step_by(RUN) {
            let (mut run, mut run_x) = ([0.0f32; COLUMNS], [0.0f32; COLUMNS]);
            for pixel in run_first..pixels.min(run_first + RUN) {
                let x = &x.values[source][(image * pixels + pixel) * x.channels[source] + start..][..width];
                let dy = &dy[(image * pixels + pixel) * c + from..][..width];
                let mut dv = [0.0; COLUMNS];
                dv_of(normed.activation, x, dy, scale, shift, &mut dv[..width]);
                for i in 0..width {
                    run[i] += dv[i];
                    run_x[i] += dv[i] * x[i];
                }
            }
            for i in 0..width {
                totals[0][from - first + i] += f64::from(run[i]);
                totals[1][from - first + i] += f64::from(run_x[i]);
            }
        }
        from += width;
    }
    for i in 0..count {
        (out[2 * i], out[2 * i + 1]) = (totals[0][i] as f32, totals[1][i] as f32);
    }
}

/// dv = dy act'(x scale + shift)
#[inline(always)]
fn dv_of(
    activation: Option<Activation>,
    x: &[f32],
    dy: &[f32],
    scale: &[f32],
    shift: &[f32],
    dv: &mut [f32],
) {
    let len = dv.len();
    let (x, dy, scale, shift) = (&x[..len], &dy[..len], &scale[..len], &shift[..len]);
    match activation {
        None => dv.copy_from_slice(dy),
        Some(Activation::Silu) => {
            for i in 0..len {
                dv[i] = dy[i] * math::silu(x[i] * scale[i] + shift[i]);
            }
        }
        Some(activation) => {
            for i in 0..len {
                dv[i] = dy[i] * math::derivative(activation, x[i] * scale[i] + shift[i]);
            }
        }
    }
}

/// Writes the gradient of one of the sources into `to`, or adds it there; `first` is the source's first channel.
#[allow(clippy::too_many_arguments)]
pub fn input_gradient(
    cpu: &mut Cpu,
    (source, channels, first): (&[f32], usize, usize),
    normed: &Normed,
    dy: &[f32],
    all_channels: usize,
    coefficients: &Coefficients,
    add: bool,
    to: &mut Act,
) {
    let [_, _, h, w] = to.shape;
    let (isa, c) = (cpu.kernels.isa(), all_channels);
    let step = (16 * 1024 / channels).max(1);
    cpu.pool.grid(to.slot.values_mut(), channels, (step, channels), &mut [], |window, _| {
        let rows = window.rows();
        let whole = window.whole_rows();
        vectorize(
            isa,
            #[inline(always)]
            || {
                for (pixel, to) in rows.zip(whole.chunks_exact_mut(channels)) {
                    let image = pixel / (h * w);
                    let map = &normed.map.values()[image * 2 * c + first..];
                    let row = &coefficients.0.values()[image * 3 * c + first..];
                    let x = &source[pixel * channels..][..channels];
                    let dy = &dy[pixel * c + first..][..channels];
                    for at in (0..channels).step_by(COLUMNS) {
                        let len = (channels - at).min(COLUMNS);
                        let mut dv = [0.0; COLUMNS];
                        let (scale, shift) = (&map[at..], &map[c + at..]);
                        dv_of(normed.activation, &x[at..], &dy[at..], scale, shift, &mut dv[..len]);
                        let (a, b, constant) =
                            (&row[at..][..len], &row[c + at..][..len], &row[2 * c + at..][..len]);
                        let (x, to) = (&x[at..][..len], &mut to[at..][..len]);
                        for i in 0..len {
                            let dx = dv[i] * a[i] + (x[i] * b[i] + constant[i]);
                            to[i] = if add { to[i] + dx } else { dx };
                        }
                    }
                }
            },
        );
    });
}
