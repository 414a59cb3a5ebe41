//! Networks that look at images, as Inception does: convolutions of windows of any size with ReLU behind them, pools, and
//! several results side by side. They run on the planes, products and transforms of the U-Net's convolutions.
//!
//! Whoever reads a convolution's result applies its ReLU, since it copies what it reads anyway.

use super::conv::{Method, algorithm};
use super::gemm::{Epilogue, Gemm, Rows, Segment};
use super::norm::Joined;
use super::plane::{Feed, Plane};
use super::{Act, Cpu, CpuDevice, Linear};
use crate::cpu_features::vectorize;
use crate::error::{Error, Result};
use crate::exec::{Activation, ConvKind, Input, Weight};

/// Taps of the largest window.
const MAX_TAPS: usize = 25;

/// Which pixels of its input an output sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Height and width.
    pub size: (usize, usize),
    /// Pixels of the input from one output to the next.
    pub step: usize,
    /// Pixels beyond the input's edge that outputs see, above and below, and left and right.
    pub border: (usize, usize),
}

impl Window {
    /// Height and width of the output for an input of this size; none where the window does not fit into it.
    pub fn outputs(&self, (h, w): (usize, usize)) -> Option<(usize, usize)> {
        let side = |side: usize, border: usize, window: usize| {
            Some((side + 2 * border).checked_sub(window)? / self.step + 1)
        };
        Some((side(h, self.border.0, self.size.0)?, side(w, self.border.1, self.size.1)?))
    }
}

/// A convolution's weights.
#[derive(Debug)]
pub struct WindowWeights<'a> {
    /// Its window.
    pub window: Window,
    /// Height and width of the inputs that it will mostly have.
    pub size: (usize, usize),
    /// (c_out, c_in, window height, window width)
    pub weight: Weight<'a>,
    /// (c_out)
    pub bias: Weight<'a>,
}

/// A packed convolution.
pub struct WindowConv {
    window: Window,
    method: Method,
    /// (inputs, outputs)
    channels: (usize, usize),
}

impl WindowConv {
    /// Packs the weights.
    pub fn new(device: &CpuDevice, weights: &WindowWeights) -> Result<Self> {
        let WindowWeights { window, size, weight, bias } = weights;
        let taps = window.size.0 * window.size.1;
        let outputs = bias.len();
        if taps == 0 || taps > MAX_TAPS || outputs == 0 || !weight.len().is_multiple_of(taps * outputs) {
            return Err(Error::Internal(format!("{weight:?} beside {bias:?} and {window:?}")));
        }
        let inputs = weight.len() / (taps * outputs);
        let square = window.size == (3, 3) && window.step == 1 && window.border.0 == window.border.1;
        let algorithm = window
            .outputs(*size)
            .filter(|_| square)
            .and_then(|size| algorithm(&device.kernels(), ConvKind::Same, size, inputs, outputs));
        let method = Method::new(device, (weight, bias), (inputs, taps), algorithm)?;
        let conv = Self { window: *window, method, channels: (inputs, outputs) };
        device.count(conv, |conv| conv.method.bytes())
    }
}

/// What a pool makes of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pooling {
    /// The largest value.
    Max,
    /// The mean of those inside of the input.
    Mean,
}

/// What a layer has found.
pub struct Seen {
    act: Act,
    /// Whether its ReLU has still to be applied.
    raw: bool,
}

impl Seen {
    fn activation(&self) -> Option<Activation> {
        self.raw.then_some(Activation::Relu)
    }

    /// (batch, channels, height, width)
    pub fn shape(&self) -> [usize; 4] {
        self.act.shape
    }

    /// Its values, channels last, before any ReLU that it may have still to come; none while planning.
    pub fn values(&self) -> &[f32] {
        self.act.slot.values()
    }
}

impl Cpu {
    /// Images that `fill` writes: (batch, height, width, channels) floats.
    pub fn images(&mut self, shape: [usize; 4], fill: &mut dyn FnMut(&mut [f32])) -> Result<Seen> {
        let mut act = self.new_act(shape)?;
        if !self.arena.planning() {
            fill(act.slot.values_mut());
        }
        Ok(Seen { act, raw: false })
    }

    /// A convolution, plus bias, whose ReLU is its readers'.
    pub fn window_conv(&mut self, x: &Seen, conv: &WindowConv) -> Result<Seen> {
        let (source, window) = (Joined::new(Input::One(&x.act))?, conv.window);
        let [n, c, h, w] = source.shape;
        let (inputs, outputs) = conv.channels;
        let size = window.outputs((h, w)).filter(|_| n > 0 && c == inputs);
        let Some(size) = size else {
            let message = format!("{:?} into a convolution of {inputs} channels and {window:?}", x.shape());
            return Err(Error::Internal(message));
        };
        let shape = [n, outputs, size.0, size.1];
        let feed = Feed { x: &source, map: None, activation: x.activation() };
        let packed = match &conv.method {
            Method::Winograd(filters) => {
                let plane = filters.plane(source.shape, window.border.0, None);
                let act = filters.run(self, &plane, &feed, shape, Epilogue::PLAIN)?;
                return Ok(Seen { act, raw: true });
            }
            Method::Direct(packed) => packed,
        };
        let mut act = self.new_act(shape)?;
        let gemm = |values: &[f32], rows: Rows, segments: &[Segment], cpu: &mut Cpu, act: &mut Act| {
            let (sources, matrix) = ([values, &[]], packed.view());
            let gemm = Gemm { sources, rows, segments, matrix, epilogue: Epilogue::PLAIN };
            gemm.run(cpu, act.slot.values_mut())
        };
        if window.size == (1, 1) && window.step == 1 && window.border == (0, 0) && !x.raw {
            let segments = [Segment { source: 0, delta: 0, len: c }];
            gemm(source.values[0], Rows::Flat([c, 0]), &segments, self, &mut act)?;
            return Ok(Seen { act, raw: true });
        }
        let (above, beside) = window.border;
        let plane = Plane::new(source.shape, 0, 0, None);
        let plane = Plane { size: (h + 2 * above, w + 2 * beside), border: window.border, ..plane };
        let values = plane.fill(self, &feed)?;
        // Pixels without a gap between them are read a line of the window at a time.
        let (across, len) = match plane.stride == c {
            true => (1, window.size.1 * c),
            false => (window.size.1, c),
        };
        let taps: [Segment; MAX_TAPS] = std::array::from_fn(|tap| Segment {
            source: 0,
            delta: tap / across * plane.row() + tap % across * plane.stride,
            len,
        });
        let strides = [plane.image(), plane.row(), plane.stride];
        let rows = Rows::Plane { size, step: window.step, strides };
        gemm(values.values(), rows, &taps[..window.size.0 * across], self, &mut act)?;
        Ok(Seen { act, raw: true })
    }

    /// What each window comes to, a channel at a time; what lies beyond the edge does not count.
    pub fn pool(&mut self, x: &Seen, pooling: Pooling, window: Window) -> Result<Seen> {
        let [n, c, h, w] = x.shape();
        let fits = window.border.0 < window.size.0 && window.border.1 < window.size.1;
        let Some((down, across)) = window.outputs((h, w)).filter(|_| fits) else {
            return Err(Error::Internal(format!("{:?} into a pool of {window:?}", x.shape())));
        };
        let mut act = self.new_act([n, c, down, across])?;
        if self.arena.planning() {
            return Ok(Seen { act, raw: false });
        }
        let (values, raw, isa) = (x.values(), x.raw, self.kernels.isa());
        // Which pixels of a side an output sees.
        let seen = |at: usize, border: usize, window_side: usize, side: usize| {
            let first = at * window.step;
            first.saturating_sub(border)..(first + window_side - border).min(side)
        };
        let rows = (16384 / c).max(1);
        self.pool.grid(act.slot.values_mut(), c, (rows, c), &mut [], |out, _| {
            for row in out.rows() {
                let (line, at_x) = (row / across, row % across);
                let (image, at_y) = (line / down, line % down);
                let ys = seen(at_y, window.border.0, window.size.0, h);
                let xs = seen(at_x, window.border.1, window.size.1, w);
                let count = (ys.len() * xs.len()) as f32;
                let pixels = ys.flat_map(|y| xs.clone().map(move |x| (image * h + y) * w + x));
                let pixels = pixels.map(|pixel| &values[pixel * c..][..c]);
                vectorize(
                    isa,
                    #[inline(always)]
                    || pool_pixels(pooling, pixels, raw, count, out.row(row)),
                );
            }
        });
        Ok(Seen { act, raw: false })
    }

    /// Results of one size side by side, the first one's channels first.
    pub fn side_by_side(&mut self, parts: &[Seen]) -> Result<Seen> {
        let Some([n, _, h, w]) = parts.first().map(Seen::shape) else {
            return Err(Error::Internal("nothing to put side by side".to_owned()));
        };
        if let Some(other) = parts.iter().find(|part| part.shape() != [n, part.shape()[1], h, w]) {
            return Err(Error::Internal(format!("{:?} beside {:?}", other.shape(), parts[0].shape())));
        }
        let c = parts.iter().map(|part| part.shape()[1]).sum();
        let mut act = self.new_act([n, c, h, w])?;
        if self.arena.planning() {
            return Ok(Seen { act, raw: false });
        }
        let isa = self.kernels.isa();
        let rows = (16384 / c).max(1);
        self.pool.grid(act.slot.values_mut(), c, (rows, c), &mut [], |out, _| {
            for row in out.rows() {
                vectorize(
                    isa,
                    #[inline(always)]
                    || {
                        let mut rest = out.row(row);
                        for part in parts {
                            let width = part.shape()[1];
                            let (to, after) = rest.split_at_mut(width);
                            copy(&part.values()[row * width..][..width], part.raw, to);
                            rest = after;
                        }
                    },
                );
            }
        });
        Ok(Seen { act, raw: false })
    }

    /// The mean of each channel, (batch, channels, 1, 1).
    pub fn channel_means(&mut self, x: &Seen) -> Result<Seen> {
        let [_, _, h, w] = x.shape();
        self.pool(x, Pooling::Mean, Window { size: (h, w), step: 1, border: (0, 0) })
    }

    /// A linear layer of what is of one pixel, (batch, channels, 1, 1).
    pub fn project(&mut self, x: &Seen, linear: &Linear) -> Result<Seen> {
        if x.raw {
            return Err(Error::Internal("a projection of what has its ReLU to come".to_owned()));
        }
        Ok(Seen { act: self.linear(Input::One(&x.act), linear)?, raw: false })
    }
}

/// max(x, 0) where there is a ReLU; NaN stays.
#[inline(always)]
fn relu(value: f32, raw: bool) -> f32 {
    if raw && value < 0.0 { 0.0 } else { value }
}

#[inline(always)]
fn copy(from: &[f32], raw: bool, to: &mut [f32]) {
    if raw {
        to.iter_mut().zip(from).for_each(|(to, &value)| *to = relu(value, true));
    } else {
        to.copy_from_slice(from);
    }
}

#[inline(always)]
fn pool_pixels<'a>(
    pooling: Pooling,
    mut pixels: impl Iterator<Item = &'a [f32]>,
    raw: bool,
    count: f32,
    out: &mut [f32],
) {
    if let Some(first) = pixels.next() {
        copy(first, raw, out);
    }
    for pixel in pixels {
        let values = out.iter_mut().zip(pixel);
        match pooling {
            // What is no number stays, or is taken.
            Pooling::Max => values.for_each(|(to, &value)| {
                let value = relu(value, raw);
                *to = if *to >= value || to.is_nan() { *to } else { value };
            }),
            Pooling::Mean => values.for_each(|(to, &value)| *to += relu(value, raw)),
        }
    }
    if pooling == Pooling::Mean {
        out.iter_mut().for_each(|value| *value /= count);
    }
}

#[cfg(test)]
mod tests {
    use super::super::Operands;
    use super::super::testing::{Random, difference, executors, planned, weight, widen};
    use super::*;

    /// In f64: channels last, weights (o, i, height, width).
    fn naive(
        x: &[f64],
        [n, c, h, w]: [usize; 4],
        window: Window,
        mut f: impl FnMut(&mut Vec<f64>, &[(usize, &[f64])]),
    ) -> Vec<f64> {
        let (down, across) = window.outputs((h, w)).unwrap();
        let mut out = Vec::new();
        for (image, y, x_) in
            (0..n * down * across).map(|i| (i / across / down, i / across % down, i % across))
        {
            let mut seen = Vec::new();
            for tap in 0..window.size.0 * window.size.1 {
                let at = |at: usize, tap: usize, border: usize| (at * window.step + tap).wrapping_sub(border);
                let sy = at(y, tap / window.size.1, window.border.0);
                let sx = at(x_, tap % window.size.1, window.border.1);
                if sy < h && sx < w {
                    seen.push((tap, &x[((image * h + sy) * w + sx) * c..][..c]));
                }
            }
            f(&mut out, &seen);
        }
        out
    }

    fn window(size: (usize, usize), step: usize, border: (usize, usize)) -> Window {
        Window { size, step, border }
    }

    #[test]
    fn windows_match_f64() {
        // A first convolution, then one of its ReLU.
        let cases = [
            ([2, 3, 19, 15], window((3, 3), 2, (0, 0)), 6),
            ([1, 5, 9, 12], window((1, 7), 1, (0, 3)), 33),
            ([2, 64, 7, 5], window((7, 1), 1, (3, 0)), 20),
            ([1, 64, 8, 8], window((1, 3), 1, (0, 1)), 16),
            ([3, 7, 6, 6], window((5, 5), 1, (2, 2)), 9),
            ([2, 16, 35, 33], window((3, 3), 1, (1, 1)), 12),
            ([1, 20, 36, 34], window((3, 3), 1, (0, 0)), 40),
            ([1, 32, 13, 12], window((3, 3), 1, (0, 0)), 8),
            ([2, 70, 3, 4], window((1, 1), 1, (0, 0)), 50),
        ];
        for (case, (shape, window, outputs)) in cases.into_iter().enumerate() {
            let [n, c, h, w] = shape;
            let mut random = Random(case as u64);
            let values = random.values(n * c * h * w);
            let (first, first_bias) = (random.values(c * c), random.values(c));
            let taps = window.size.0 * window.size.1;
            let (second, bias) = (random.values(outputs * c * taps), random.values(outputs));
            let same = self::window((1, 1), 1, (0, 0));
            let conv =
                |out: &mut Vec<f64>, seen: &[(usize, &[f64])], weights: &[f32], bias: &[f32], taps: usize| {
                    for (o, &bias) in bias.iter().enumerate() {
                        let products = seen.iter().flat_map(|(tap, pixel)| {
                            pixel.iter().enumerate().map(move |(i, x)| (i * taps + tap, x))
                        });
                        let sum: f64 =
                            products.map(|(at, x)| x * f64::from(weights[o * c * taps + at])).sum();
                        out.push(sum + f64::from(bias));
                    }
                };
            let middle = naive(&widen(&values), shape, same, |out, seen| {
                conv(out, seen, &first, &first_bias, 1);
            });
            let seen: Vec<f64> = middle.iter().map(|value| value.max(0.0)).collect();
            let expected = naive(&seen, shape, window, |out, seen| conv(out, seen, &second, &bias, taps));
            for (device, mut cpu) in executors() {
                let prepare = |window: Window, weights: &[f32], bias: &[f32]| {
                    let (kh, kw) = window.size;
                    let weight_ = weight(&[bias.len(), c, kh, kw], weights);
                    let weights = WindowWeights {
                        window,
                        size: (h, w),
                        weight: weight_,
                        bias: weight(&[bias.len()], bias),
                    };
                    WindowConv::new(&device, &weights).unwrap()
                };
                let (first, second) = (prepare(same, &first, &first_bias), prepare(window, &second, &bias));
                let out = planned(&mut cpu, |cpu| {
                    let x = cpu.images(shape, &mut |out| out.copy_from_slice(&values))?;
                    let x = cpu.window_conv(&x, &first)?;
                    cpu.window_conv(&x, &second)
                });
                let (down, across) = window.outputs((h, w)).unwrap();
                assert_eq!(out.shape(), [n, outputs, down, across]);
                let close = if device.operands == Operands::F32 { 3e-6 } else { 2e-2 };
                let error = difference(out.values(), &expected);
                assert!(error < close, "case {case} {:?}: {error}", device.isa);
            }
        }
    }

    #[test]
    fn pools_and_neighbours_match_f64() {
        let shape = [2, 37, 11, 9];
        let [n, c, h, w] = shape;
        let mut random = Random(5);
        let values = random.values(n * c * h * w);
        let identity: Vec<f32> = (0..c * c).map(|i| f32::from(u8::from(i / c == i % c))).collect();
        let positive: Vec<f64> = values.iter().map(|&value| f64::from(value).max(0.0)).collect();
        for (pooling, window) in [
            (Pooling::Max, window((3, 3), 2, (0, 0))),
            (Pooling::Max, window((3, 3), 1, (1, 1))),
            (Pooling::Mean, window((3, 3), 1, (1, 1))),
            (Pooling::Mean, window((h, w), 1, (0, 0))),
        ] {
            for raw in [false, true] {
                let source = if raw { positive.clone() } else { widen(&values) };
                let expected = naive(&source, shape, window, |out, seen| {
                    out.extend((0..c).map(|i| {
                        let values = seen.iter().map(|(_, pixel)| pixel[i]);
                        match pooling {
                            Pooling::Max => values.fold(f64::NEG_INFINITY, f64::max),
                            Pooling::Mean => values.sum::<f64>() / seen.len() as f64,
                        }
                    }));
                });
                for (device, mut cpu) in executors().filter(|(device, _)| device.operands == Operands::F32) {
                    let same = WindowWeights {
                        window: self::window((1, 1), 1, (0, 0)),
                        size: (h, w),
                        weight: weight(&[c, c, 1, 1], &identity),
                        bias: weight(&[c], &vec![0.0; c]),
                    };
                    let same = WindowConv::new(&device, &same).unwrap();
                    let out = planned(&mut cpu, |cpu| {
                        let x = cpu.images(shape, &mut |out| out.copy_from_slice(&values))?;
                        let x = if raw { cpu.window_conv(&x, &same)? } else { x };
                        let pooled = cpu.pool(&x, pooling, window)?;
                        let side = cpu.pool(&x, pooling, window)?;
                        cpu.side_by_side(&[pooled, side])
                    });
                    let (one, other): (Vec<f32>, Vec<f32>) = out
                        .values()
                        .chunks_exact(2 * c)
                        .flat_map(|pixel| pixel[..c].iter().copied().zip(pixel[c..].iter().copied()))
                        .unzip();
                    assert_eq!(one, other);
                    let error = difference(&one, &expected);
                    assert!(error < 1e-6, "{pooling:?} {window:?} {raw} {:?}: {error}", device.isa);
                }
            }
        }
    }

    #[test]
    fn what_does_not_fit_is_an_error() {
        let (device, mut cpu) = executors().next().unwrap();
        let weights = |window: Window, outputs: usize| WindowWeights {
            window,
            size: (4, 4),
            weight: weight(&[2, 1, 3, 3], &[0.0; 18]),
            bias: weight(&[outputs], &vec![0.0; outputs]),
        };
        assert!(WindowConv::new(&device, &weights(window((3, 3), 1, (0, 0)), 5)).is_err());
        assert!(WindowConv::new(&device, &weights(window((6, 6), 1, (0, 0)), 2)).is_err());
        let conv = WindowConv::new(&device, &weights(window((3, 3), 2, (0, 0)), 2)).unwrap();
        cpu.plan(&mut |cpu| {
            let small = cpu.images([1, 1, 2, 5], &mut |_| ())?;
            let wide = cpu.images([1, 2, 5, 5], &mut |_| ())?;
            assert!(cpu.window_conv(&small, &conv).is_err() && cpu.window_conv(&wide, &conv).is_err());
            assert!(cpu.pool(&small, Pooling::Max, window((3, 3), 2, (0, 0))).is_err());
            assert!(cpu.pool(&small, Pooling::Max, window((3, 3), 1, (3, 0))).is_err());
            assert!(cpu.side_by_side(&[small, wide]).is_err());
            assert!(cpu.side_by_side(&[]).is_err());
            Ok(())
        })
        .unwrap();
    }

    use crate::exec::Executor;
}
