//! The layers of the reference executor, and what they work on.

use crate::error::{Error, Result, try_zeroed};
use crate::exec::{Activation, ConvKind, Input, Resize};

/// A 3x3 convolution.
#[derive(Debug)]
pub struct Conv {
    pub(super) kind: ConvKind,
    /// (row, column, c_in, c_out)
    pub(super) weight: Vec<f64>,
    pub(super) bias: Vec<f64>,
}

/// A linear layer, or a 1x1 convolution.
#[derive(Debug)]
pub struct Linear {
    /// (c_in, c_out)
    pub(super) weight: Vec<f64>,
    pub(super) bias: Vec<f64>,
}

/// A GroupNorm.
#[derive(Debug)]
pub struct Norm {
    pub(super) weight: Vec<f64>,
    pub(super) bias: Vec<f64>,
    pub(super) groups: usize,
    pub(super) eps: f64,
}

/// A batch of images, of pixels, of channels.
#[derive(Clone, Debug)]
pub struct Pixels {
    /// (batch, height, width, channels)
    pub(super) values: Vec<f64>,
    /// (batch, channels, height, width)
    pub(super) shape: [usize; 4],
}

impl Pixels {
    pub(super) fn zeros(shape: [usize; 4]) -> Result<Self> {
        let len = shape.iter().try_fold(1usize, |len, &side| len.checked_mul(side));
        let len = len.ok_or(Error::OutOfMemory { what: "an activation", bytes: u64::MAX })?;
        Ok(Self { values: try_zeroed(len, "an activation")?, shape })
    }

    /// One of the channels of each pixel side by side, or two.
    pub(super) fn joined(x: Input<Self>) -> Result<Self> {
        let (a, b) = match x {
            Input::One(x) => return Ok(x.clone()),
            Input::Pair(a, b) => (a, b),
        };
        let [n, c, h, w] = a.shape;
        let mut out = Self::zeros([n, c + b.shape[1], h, w])?;
        let pixels = a.values.chunks_exact(c).zip(b.values.chunks_exact(b.shape[1]));
        for (out, (a, b)) in out.values.chunks_exact_mut(c + b.shape[1]).zip(pixels) {
            out[..c].copy_from_slice(a);
            out[c..].copy_from_slice(b);
        }
        Ok(out)
    }

    pub(super) fn resized(&self, resize: Resize) -> Result<Self> {
        let [n, c, h, w] = self.shape;
        let (down, across) = (resize.of(h), resize.of(w));
        let mut out = Self::zeros([n, c, down, across])?;
        let at = |image: usize, y: usize, x: usize| &self.values[((image * h + y) * w + x) * c..][..c];
        for (pixel, out) in out.values.chunks_exact_mut(c).enumerate() {
            let (image, y, x) = (pixel / across / down, pixel / across % down, pixel % across);
            match resize {
                Resize::Double => out.copy_from_slice(at(image, y / 2, x / 2)),
                Resize::Halve => {
                    let corners = [0, 1, 2, 3].map(|i| at(image, 2 * y + i / 2, 2 * x + i % 2));
                    for (channel, out) in out.iter_mut().enumerate() {
                        *out = corners.iter().map(|corner| corner[channel]).sum::<f64>() / 4.0;
                    }
                }
            }
        }
        Ok(out)
    }

    pub(super) fn activate(&mut self, activation: Activation) {
        self.values.iter_mut().for_each(|x| *x = activate(activation, *x));
    }

    /// Each value with its image and its channel.
    pub(super) fn each(&mut self, mut f: impl FnMut(&mut f64, usize, usize)) {
        let [_, c, h, w] = self.shape;
        for (at, value) in self.values.iter_mut().enumerate() {
            f(value, at / (c * h * w), at % c);
        }
    }
}

impl Conv {
    /// Which row of the input output row `o` meets with row `k` of the filter, of `side` rows; none: the border.
    fn place(&self, o: usize, k: usize, side: usize) -> Option<usize> {
        match self.kind {
            ConvKind::In { .. } | ConvKind::Same | ConvKind::Pooled | ConvKind::Out => (o + k).checked_sub(1),
            ConvKind::Down { symmetric: true } => (2 * o + k).checked_sub(1),
            ConvKind::Down { symmetric: false } => Some(2 * o + k),
            ConvKind::Up => (o + k).checked_sub(1).map(|doubled| doubled / 2),
        }
        .filter(|&at| at < side)
    }

    /// Rows of the output for so many of the input.
    fn side(&self, side: usize) -> usize {
        match self.kind {
            ConvKind::In { .. } | ConvKind::Same | ConvKind::Pooled | ConvKind::Out => side,
            ConvKind::Down { symmetric: true } => side.div_ceil(2),
            ConvKind::Down { symmetric: false } => side / 2,
            ConvKind::Up => 2 * side,
        }
    }

    pub(super) fn forward(&self, x: &Pixels) -> Result<Pixels> {
        let pooled;
        let x = match self.kind {
            ConvKind::Pooled => {
                pooled = x.resized(Resize::Halve)?;
                &pooled
            }
            _ => x,
        };
        let [n, c, h, w] = x.shape;
        let outputs = self.bias.len();
        let (rows, columns) = (self.side(h), self.side(w));
        let mut out = Pixels::zeros([n, outputs, rows, columns])?;
        for (at, out) in out.values.chunks_exact_mut(outputs).enumerate() {
            let (image, row, column) = (at / columns / rows, at / columns % rows, at % columns);
            out.copy_from_slice(&self.bias);
            for (tap, weight) in self.weight.chunks_exact(c * outputs).enumerate() {
                if let (Some(y), Some(x_)) = (self.place(row, tap / 3, h), self.place(column, tap % 3, w)) {
                    add_product(&x.values[((image * h + y) * w + x_) * c..][..c], weight, out);
                }
            }
        }
        Ok(out)
    }
}

/// out += x weight, of (c_in) and (c_in, c_out).
fn add_product(x: &[f64], weight: &[f64], out: &mut [f64]) {
    for (x, weights) in x.iter().zip(weight.chunks_exact(out.len())) {
        out.iter_mut().zip(weights).for_each(|(out, weight)| *out += x * weight);
    }
}

impl Linear {
    pub(super) fn forward(&self, x: &Pixels) -> Result<Pixels> {
        let [n, c, h, w] = x.shape;
        let mut out = Pixels::zeros([n, self.bias.len(), h, w])?;
        for (x, out) in x.values.chunks_exact(c).zip(out.values.chunks_exact_mut(self.bias.len())) {
            out.copy_from_slice(&self.bias);
            add_product(x, &self.weight, out);
        }
        Ok(out)
    }
}

impl Norm {
    pub(super) fn forward(&self, x: &Pixels) -> Pixels {
        let [n, c, h, w] = x.shape;
        let mut out = x.clone();
        for image in 0..n {
            for channels in (0..c).collect::<Vec<_>>().chunks(c / self.groups) {
                let places: Vec<usize> = (0..h * w)
                    .flat_map(|pixel| {
                        channels.iter().map(move |channel| (image * h * w + pixel) * c + channel)
                    })
                    .collect();
                let number = places.len() as f64;
                let mean = places.iter().map(|&at| x.values[at]).sum::<f64>() / number;
                let variance = places.iter().map(|&at| (x.values[at] - mean).powi(2)).sum::<f64>() / number;
                for at in places {
                    let value = (x.values[at] - mean) / (variance + self.eps).sqrt();
                    out.values[at] = value * self.weight[at % c] + self.bias[at % c];
                }
            }
        }
        out
    }
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        // Not `max`: a NaN must come through.
        Activation::Relu => {
            if x < 0.0 {
                0.0
            } else {
                x
            }
        }
        Activation::Gelu => x * 0.5 * (1.0 + erf(x / std::f64::consts::SQRT_2)),
        // softplus(x) = max(x, 0) + ln(1 + e^-|x|)
        Activation::Mish => x * (x.max(0.0) + (-x.abs()).exp().ln_1p()).tanh(),
    }
}

/// The error function: 2 / sqrt(pi) e^-x^2 times the sum of 2^n x^(2n + 1) / (1 3 5 ... (2n + 1)) (Abramowitz and Stegun
/// 7.1.6), whose terms are all of one sign.
fn erf(x: f64) -> f64 {
    if x.abs() > 6.0 {
        return x.signum();
    }
    let (mut term, mut sum, mut odd) = (x, x, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        odd += 2.0;
        term *= 2.0 * x * x / odd;
        sum += term;
    }
    std::f64::consts::FRAC_2_SQRT_PI * (-x * x).exp() * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Abramowitz and Stegun, table 7.1.
    #[test]
    fn the_error_function_is_the_tables() {
        for (x, expected) in [(0.0, 0.0), (0.5, 0.5204998778), (1.0, 0.8427007929), (2.0, 0.9953222650)] {
            assert!((erf(x) - expected).abs() < 1e-10 && (erf(-x) + expected).abs() < 1e-10, "{x}");
        }
        assert_eq!((erf(7.0), erf(-7.0)), (1.0, -1.0));
    }
}
