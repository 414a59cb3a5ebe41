//! The reference executor: each operation in plain loops over f64, as a reader would check it against the paper. It is the
//! oracle that the fast executors are tested against; nothing here is clever.

mod layers;

pub use layers::{Conv, Linear, Norm, Pixels};

use super::time::sinusoid;
use super::{
    Activation, AttentionWeights, ClassUse, ConvKind, ConvWeights, Executor, Input, LinearWeights,
    NormActConv, NormWeights, Resize, Step, TimeUse, TimeWeights, Weight,
};
use crate::error::{Result, try_zeroed};
use crate::image::Layout;
use std::sync::atomic::{AtomicU64, Ordering};

/// How many bytes of weights were prepared.
#[derive(Debug, Default)]
pub struct ReferenceDevice(AtomicU64);

impl ReferenceDevice {
    fn read(&self, weight: &Weight) -> Result<Vec<f64>> {
        self.0.fetch_add((size_of::<f64>() * weight.len()) as u64, Ordering::Relaxed);
        Ok(weight.to_vec()?.into_iter().map(f64::from).collect())
    }

    fn linear(&self, weights: &LinearWeights) -> Result<Linear> {
        let (weight, bias) = (self.read(&weights.weight)?, self.read(&weights.bias)?);
        let (n, k) = (bias.len(), weight.len() / bias.len().max(1));
        Ok(Linear { weight: transposed(&weight, n, k), bias })
    }

    fn norm(&self, weights: &NormWeights) -> Result<Norm> {
        let (weight, bias) = (self.read(&weights.weight)?, self.read(&weights.bias)?);
        Ok(Norm { weight, bias, groups: weights.groups, eps: weights.eps.into() })
    }
}

/// (columns, rows) of (rows, columns).
fn transposed(matrix: &[f64], rows: usize, columns: usize) -> Vec<f64> {
    (0..rows * columns).map(|at| matrix[at % rows * columns + at / rows]).collect()
}

/// See the module. A session's executor; it has no state of its own.
#[derive(Debug)]
pub struct Reference;

/// Self-attention.
#[derive(Debug)]
pub struct Attention {
    norm: Option<Norm>,
    qkv: [Linear; 3],
    out: Linear,
    heads: usize,
    scale: f64,
}

/// Time embedding and projections.
#[derive(Debug)]
pub struct Time {
    channels: usize,
    flip_sin_to_cos: bool,
    freq_shift: f32,
    linear_1: Linear,
    linear_2: Linear,
    /// (classes, D)
    class_embedding: Option<Vec<f64>>,
    class_use: ClassUse,
    activation: Activation,
    projections: Vec<Linear>,
}

impl Executor for Reference {
    type Device = ReferenceDevice;
    type Conv = Conv;
    type Linear = Linear;
    type Norm = Norm;
    type Attention = Attention;
    type Time = Time;
    /// (images, width, 1, 1) of each slot.
    type Rows = Vec<Pixels>;
    type Act = Pixels;
    type State = Pixels;

    fn wrong_image(&self, x: &Pixels) -> Option<usize> {
        super::image_of(x.values.iter().position(|value| !value.is_finite()), x.shape)
    }

    fn prepare_conv(device: &ReferenceDevice, weights: &ConvWeights) -> Result<Conv> {
        let (weight, bias) = (device.read(&weights.weight)?, device.read(&weights.bias)?);
        // (c_out, c_in 9) to (c_in 9, c_out), and that to (9, c_in, c_out).
        let (n, k) = (bias.len(), weight.len() / bias.len().max(1));
        let turned = transposed(&weight, n, k);
        let rows = (0..9).flat_map(|tap| (0..k / 9).map(move |channel| 9 * channel + tap));
        let weight = rows.flat_map(|row| &turned[row * n..][..n]).copied().collect();
        Ok(Conv { kind: weights.kind, weight, bias })
    }

    fn prepare_linear(device: &ReferenceDevice, weights: &LinearWeights) -> Result<Linear> {
        device.linear(weights)
    }

    fn prepare_norm(device: &ReferenceDevice, weights: &NormWeights) -> Result<Norm> {
        device.norm(weights)
    }

    fn prepare_attention(device: &ReferenceDevice, weights: &AttentionWeights) -> Result<Attention> {
        let [q, k, v] = &weights.qkv;
        Ok(Attention {
            norm: weights.norm.as_ref().map(|norm| device.norm(norm)).transpose()?,
            qkv: [device.linear(q)?, device.linear(k)?, device.linear(v)?],
            out: device.linear(&weights.out)?,
            heads: weights.heads,
            scale: weights.scale.into(),
        })
    }

    fn prepare_time(device: &ReferenceDevice, weights: &TimeWeights) -> Result<Time> {
        Ok(Time {
            channels: weights.channels,
            flip_sin_to_cos: weights.flip_sin_to_cos,
            freq_shift: weights.freq_shift,
            linear_1: device.linear(&weights.linear_1)?,
            linear_2: device.linear(&weights.linear_2)?,
            class_embedding: weights.class_embedding.as_ref().map(|table| device.read(table)).transpose()?,
            class_use: weights.class_use,
            activation: weights.activation,
            projections: weights.projections.iter().map(|p| device.linear(p)).collect::<Result<_>>()?,
        })
    }

    fn prepared_bytes(device: &ReferenceDevice) -> u64 {
        device.0.load(Ordering::Relaxed)
    }

    fn load(&mut self, shape: [usize; 4], fill: &mut dyn FnMut(&mut [f32])) -> Result<Pixels> {
        let mut x = Pixels::zeros(shape)?;
        let mut planes = try_zeroed(x.values.len(), "the state")?;
        fill(&mut planes);
        let [_, c, h, w] = shape;
        for (at, value) in x.values.iter_mut().enumerate() {
            let (pixel, channel) = (at / c, at % c);
            let (image, pixel) = (pixel / (h * w), pixel % (h * w));
            *value = planes[(image * c + channel) * h * w + pixel].into();
        }
        Ok(x)
    }

    fn time(&mut self, time: &Time, times: &[f32], labels: Option<&[i32]>) -> Result<Vec<Pixels>> {
        let mut x = Pixels::zeros([times.len(), time.channels, 1, 1])?;
        let mut row = vec![0.0; time.channels];
        for (out, &t) in x.values.chunks_exact_mut(time.channels).zip(times) {
            sinusoid(t, (time.flip_sin_to_cos, time.freq_shift), &mut row);
            out.iter_mut().zip(&row).for_each(|(out, &value)| *out = value.into());
        }
        let add_classes = |to: &mut Pixels, here| {
            if let (Some(table), Some(labels)) = (&time.class_embedding, labels)
                && time.class_use == here
            {
                let width = to.shape[1];
                to.each(|value, image, channel| *value += table[labels[image] as usize * width + channel]);
            }
        };
        add_classes(&mut x, ClassUse::Sinusoid);
        let mut h = time.linear_1.forward(&x)?;
        h.activate(Activation::Silu);
        let mut h = time.linear_2.forward(&h)?;
        add_classes(&mut h, ClassUse::Embedding);
        h.activate(time.activation);
        time.projections.iter().map(|projection| projection.forward(&h)).collect()
    }

    fn conv_in(&mut self, x: &Pixels, conv: &Conv) -> Result<Pixels> {
        if conv.kind != (ConvKind::In { center: true }) {
            return conv.forward(x);
        }
        let mut centered = x.clone();
        centered.values.iter_mut().for_each(|x| *x = 2.0 * *x - 1.0);
        conv.forward(&centered)
    }

    fn norm_act_conv(&mut self, x: Input<Pixels>, op: NormActConv<Self>) -> Result<Pixels> {
        let mut h = op.norm.forward(&Pixels::joined(x)?);
        let c = h.shape[1];
        if let Some((rows, slot, TimeUse::ScaleShift)) = op.time {
            let row = |image: usize, i: usize| rows[slot].values[image * 2 * c + i];
            h.each(|value, image, i| *value = *value * (1.0 + row(image, i)) + row(image, c + i));
        }
        h.activate(op.activation);
        let mut out = op.conv.forward(&h)?;
        let c = out.shape[1];
        if let Some((rows, slot, TimeUse::Bias)) = op.time {
            out.each(|value, image, channel| *value += rows[slot].values[image * c + channel]);
        }
        if let Some(residual) = op.residual {
            out.values.iter_mut().zip(&residual.values).for_each(|(out, x)| *out += x);
        }
        out.values.iter_mut().for_each(|value| *value *= f64::from(op.scale));
        Ok(out)
    }

    fn pointwise(&mut self, x: Input<Pixels>, linear: &Linear) -> Result<Pixels> {
        linear.forward(&Pixels::joined(x)?)
    }

    fn attention(&mut self, x: &Pixels, attention: &Attention) -> Result<Pixels> {
        let [n, c, h, w] = x.shape;
        let (pixels, width) = (h * w, c / attention.heads);
        let normed = attention.norm.as_ref().map_or_else(|| x.clone(), |norm| norm.forward(x));
        let [q, k, v] = &attention.qkv;
        let (q, k, v) = (q.forward(&normed)?, k.forward(&normed)?, v.forward(&normed)?);
        let mut mixed = Pixels::zeros(x.shape)?;
        let mut scores = vec![0.0; pixels];
        for (image, head) in (0..n).flat_map(|image| (0..attention.heads).map(move |head| (image, head))) {
            let at = |pixel: usize| (image * pixels + pixel) * c + head * width;
            for pixel in 0..pixels {
                let query = &q.values[at(pixel)..][..width];
                for (other, score) in scores.iter_mut().enumerate() {
                    let key = &k.values[at(other)..][..width];
                    *score = query.iter().zip(key).map(|(q, k)| q * k).sum::<f64>() / (width as f64).sqrt();
                }
                let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                scores.iter_mut().for_each(|score| *score = (*score - largest).exp());
                let sum: f64 = scores.iter().sum();
                let out = &mut mixed.values[at(pixel)..][..width];
                for (other, score) in scores.iter().enumerate() {
                    let value = &v.values[at(other)..][..width];
                    out.iter_mut().zip(value).for_each(|(out, value)| *out += score / sum * value);
                }
            }
        }
        let mut out = attention.out.forward(&mixed)?;
        for (out, x) in out.values.iter_mut().zip(&x.values) {
            *out = (*out + x) * attention.scale;
        }
        Ok(out)
    }

    fn resize(&mut self, x: &Pixels, resize: Resize) -> Result<Pixels> {
        x.resized(resize)
    }

    fn downsample(&mut self, x: &Pixels, conv: &Conv) -> Result<Pixels> {
        conv.forward(x)
    }

    fn upsample(&mut self, x: &Pixels, conv: &Conv) -> Result<Pixels> {
        conv.forward(x)
    }

    fn conv_out(&mut self, x: &Pixels, norm: &Norm, conv: &Conv) -> Result<Pixels> {
        self.norm_act_conv(Input::One(x), NormActConv::silu(norm, conv))
    }

    fn combine(
        &mut self,
        mut x: Pixels,
        net: &Pixels,
        noise: Option<&Pixels>,
        step: &Step,
    ) -> Result<Pixels> {
        for (at, x) in x.values.iter_mut().enumerate() {
            if let Some((p, q)) = step.spread {
                *x *= (f64::from(p) + f64::from(q) * net.values[at]).exp();
                continue;
            }
            let weighted = |of_x: f32, of_net: f32| f64::from(of_x) * *x + f64::from(of_net) * net.values[at];
            let mut value = weighted(step.x, step.net);
            value += noise.map_or(0.0, |noise| f64::from(step.noise) * noise.values[at]);
            if let Some(clipped) = step.clipped {
                let (limit, estimate) = (f64::from(clipped.limit), weighted(clipped.x, clipped.net));
                // Comparisons keep NaN.
                let estimate = if estimate > limit { limit } else { estimate };
                let estimate = if estimate < -limit { -limit } else { estimate };
                value += f64::from(clipped.weight) * estimate;
            }
            *x = value;
        }
        Ok(x)
    }

    fn emit(&mut self, x: &Pixels, layout: &Layout, out: &mut [u8]) -> Result<()> {
        let [_, c, h, w] = x.shape;
        let mut planes = try_zeroed(x.values.len(), "an image")?;
        for (at, &value) in x.values.iter().enumerate() {
            let (pixel, channel) = (at / c, at % c);
            let (image, pixel) = (pixel / (h * w), pixel % (h * w));
            planes[(image * c + channel) * h * w + pixel] = value as f32;
        }
        crate::image::write(&planes, x.shape, layout, out)
    }
}
