//! The network in plain candle calls: what runs on Metal (see `metal`, and `norm` for the one kernel there that is not
//! candle's), and, for its tests, on the CPU.

use super::{
    Activation, AttentionWeights, ClassUse, ConvKind, ConvWeights, Executor, Input, LinearWeights,
    NormActConv, NormWeights, Resize, Step, TimeUse, TimeWeights, Weight,
};
use crate::error::{Error, Result, try_zeroed};
use crate::image::Layout;
use candle_core::{D, DType, Device, Tensor};
use candle_nn::{GroupNorm, Linear, Module};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

#[cfg(target_os = "macos")]
pub mod metal;
#[cfg(target_os = "macos")]
mod norm;

/// A candle device, the arithmetic of its networks, and how many bytes of weights were put on it.
pub struct CandleDevice {
    device: Device,
    dtype: DType,
    prepared: AtomicU64,
    #[cfg(target_os = "macos")]
    norms: Option<norm::Kernel>,
}

impl CandleDevice {
    /// The CPU, in f32, or with weights and activations in f16: what such a network gives on other devices, slowly.
    pub fn cpu(half: bool) -> Self {
        Self::new(Device::Cpu, half)
    }

    /// The state stays in f32, between networks and in the samplers.
    fn new(device: Device, half: bool) -> Self {
        Self {
            device,
            dtype: if half { DType::F16 } else { DType::F32 },
            prepared: AtomicU64::new(0),
            #[cfg(target_os = "macos")]
            norms: None,
        }
    }

    fn tensor(&self, weight: &Weight) -> Result<Tensor> {
        let tensor = Tensor::from_vec(weight.to_vec()?, weight.shape.as_slice(), &self.device)?;
        self.prepared.fetch_add((self.dtype.size_in_bytes() * weight.len()) as u64, Ordering::Relaxed);
        Ok(tensor.to_dtype(self.dtype)?)
    }

    fn linear(&self, weights: &LinearWeights) -> Result<Linear> {
        let weight = self.tensor(&weights.weight)?;
        // A 1x1 convolution comes as (c_out, c_in, 1, 1).
        let weight = weight.flatten_from(1)?;
        Ok(Linear::new(weight, Some(self.tensor(&weights.bias)?)))
    }

    fn norm(&self, weights: &NormWeights) -> Result<Norm> {
        let (weight, bias) = (self.tensor(&weights.weight)?, self.tensor(&weights.bias)?);
        Ok(Norm {
            #[cfg(target_os = "macos")]
            fused: self.norms.as_ref().map(|kernel| kernel.layer(weights, weight.clone(), bias.clone())),
            plain: GroupNorm::new(weight, bias, weights.weight.len(), weights.groups, weights.eps.into())?,
        })
    }
}

/// See the module.
pub struct Candle {
    device: Arc<CandleDevice>,
}

impl Candle {
    /// A session's executor; it has no state of its own.
    pub fn new(device: Arc<CandleDevice>) -> Self {
        Self { device }
    }
}

/// A 3x3 convolution.
pub struct Conv {
    kind: ConvKind,
    weight: Tensor,
    bias: Tensor,
}

impl Conv {
    /// x: (n, c_in, h, w)
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = match self.kind {
            ConvKind::In { center: true } => ((x * 2.0)? - 1.0)?.conv2d(&self.weight, 1, 1, 1, 1)?,
            ConvKind::In { center: false } | ConvKind::Same | ConvKind::Out => {
                x.conv2d(&self.weight, 1, 1, 1, 1)?
            }
            ConvKind::Down { symmetric: true } => x.conv2d(&self.weight, 1, 2, 1, 1)?,
            ConvKind::Down { symmetric: false } => x
                .pad_with_zeros(D::Minus1, 0, 1)?
                .pad_with_zeros(D::Minus2, 0, 1)?
                .conv2d(&self.weight, 0, 2, 1, 1)?,
            ConvKind::Pooled => resized(x, Resize::Halve)?.conv2d(&self.weight, 1, 1, 1, 1)?,
            ConvKind::Up => resized(x, Resize::Double)?.conv2d(&self.weight, 1, 1, 1, 1)?,
        };
        Ok(y.broadcast_add(&self.bias)?)
    }
}

fn resized(x: &Tensor, resize: Resize) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    Ok(match resize {
        Resize::Halve => x.avg_pool2d(2)?,
        Resize::Double => x.upsample_nearest2d(2 * h, 2 * w)?,
    })
}

/// A GroupNorm.
pub struct Norm {
    plain: GroupNorm,
    #[cfg(target_os = "macos")]
    fused: Option<norm::Norm>,
}

impl Norm {
    /// act(norm(x)), or act(norm(x) (1 + scale) + shift) where there is a time: (n, 2 c), scales and then shifts.
    fn forward(&self, x: &Tensor, time: Option<&Tensor>, activation: Option<Activation>) -> Result<Tensor> {
        #[cfg(target_os = "macos")]
        if let Some(fused) = &self.fused {
            return match activation {
                None | Some(Activation::Silu) => Ok(fused.forward(x, time, activation.is_some())?),
                Some(other) => activate(&fused.forward(x, time, false)?, other),
            };
        }
        let mut h = self.plain.forward(x)?;
        if let Some(time) = time {
            let halves = time.unsqueeze(2)?.unsqueeze(3)?.chunk(2, 1)?;
            h = h.broadcast_mul(&(&halves[0] + 1.0)?)?.broadcast_add(&halves[1])?;
        }
        match activation {
            None => Ok(h),
            Some(activation) => activate(&h, activation),
        }
    }
}

/// Self-attention.
pub struct Attention {
    norm: Option<Norm>,
    qkv: [Linear; 3],
    out: Linear,
    heads: usize,
    scale: f64,
}

/// Time embedding and projections.
pub struct Time {
    channels: usize,
    flip_sin_to_cos: bool,
    freq_shift: f32,
    linear_1: Linear,
    linear_2: Linear,
    class_embedding: Option<Tensor>,
    class_use: ClassUse,
    activation: Activation,
    projections: Vec<Linear>,
}

impl Executor for Candle {
    type Device = CandleDevice;
    type Conv = Conv;
    type Linear = Linear;
    type Norm = Norm;
    type Attention = Attention;
    type Time = Time;
    /// One (n, width) a slot.
    type Rows = Vec<Tensor>;
    type Act = Tensor;
    type State = Tensor;

    fn prepare_conv(device: &CandleDevice, weights: &ConvWeights) -> Result<Conv> {
        let bias = device.tensor(&weights.bias)?.reshape((1, (), 1, 1))?;
        Ok(Conv { kind: weights.kind, weight: device.tensor(&weights.weight)?, bias })
    }

    fn prepare_linear(device: &CandleDevice, weights: &LinearWeights) -> Result<Linear> {
        device.linear(weights)
    }

    fn prepare_norm(device: &CandleDevice, weights: &NormWeights) -> Result<Norm> {
        device.norm(weights)
    }

    fn prepare_attention(device: &CandleDevice, weights: &AttentionWeights) -> Result<Attention> {
        let [q, k, v] = &weights.qkv;
        Ok(Attention {
            norm: weights.norm.as_ref().map(|norm| device.norm(norm)).transpose()?,
            qkv: [device.linear(q)?, device.linear(k)?, device.linear(v)?],
            out: device.linear(&weights.out)?,
            heads: weights.heads,
            scale: weights.scale.into(),
        })
    }

    fn prepare_time(device: &CandleDevice, weights: &TimeWeights) -> Result<Time> {
        Ok(Time {
            channels: weights.channels,
            flip_sin_to_cos: weights.flip_sin_to_cos,
            freq_shift: weights.freq_shift,
            linear_1: device.linear(&weights.linear_1)?,
            linear_2: device.linear(&weights.linear_2)?,
            class_embedding: weights
                .class_embedding
                .as_ref()
                .map(|table| device.tensor(table))
                .transpose()?,
            class_use: weights.class_use,
            activation: weights.activation,
            projections: weights.projections.iter().map(|p| device.linear(p)).collect::<Result<_>>()?,
        })
    }

    fn prepared_bytes(device: &CandleDevice) -> u64 {
        device.prepared.load(Ordering::Relaxed)
    }

    fn load(&mut self, shape: [usize; 4], fill: &mut dyn FnMut(&mut [f32])) -> Result<Tensor> {
        let mut values = try_zeroed(shape.iter().product(), "the state")?;
        fill(&mut values);
        Ok(Tensor::from_vec(values, shape.as_slice(), &self.device.device)?)
    }

    fn time(&mut self, time: &Time, times: &[f32], labels: Option<&[i32]>) -> Result<Vec<Tensor>> {
        let device = &self.device.device;
        let half = time.channels / 2;
        let frequencies: Vec<f32> = (0..half)
            .map(|i| (-(10000f32.ln()) * i as f32 / (half as f32 - time.freq_shift)).exp())
            .collect();
        let frequencies = Tensor::from_vec(frequencies, (1, half), device)?;
        let angles = Tensor::from_slice(times, (times.len(), 1), device)?.broadcast_mul(&frequencies)?;
        let (sin, cos) = (angles.sin()?, angles.cos()?);
        let halves = if time.flip_sin_to_cos { [&cos, &sin] } else { [&sin, &cos] };
        let embedding = Tensor::cat(&halves, 1)?.pad_with_zeros(1, 0, time.channels % 2)?;

        let classes = match (&time.class_embedding, labels) {
            (Some(table), Some(labels)) => {
                let labels: Vec<u32> = labels.iter().map(|&label| label as u32).collect();
                Some(table.index_select(&Tensor::from_vec(labels, times.len(), device)?, 0)?)
            }
            _ => None,
        };
        let with_classes = |x: Tensor, here| match &classes {
            Some(rows) if time.class_use == here => x + rows,
            _ => Ok(x),
        };
        let embedding = with_classes(embedding.to_dtype(self.device.dtype)?, ClassUse::Sinusoid)?;
        let h = time.linear_1.forward(&embedding)?.silu()?;
        let h = with_classes(time.linear_2.forward(&h)?, ClassUse::Embedding)?;
        let h = activate(&h, time.activation)?;
        time.projections.iter().map(|projection| Ok(projection.forward(&h)?)).collect()
    }

    fn conv_in(&mut self, x: &Tensor, conv: &Conv) -> Result<Tensor> {
        conv.forward(&x.to_dtype(self.device.dtype)?)
    }

    fn norm_act_conv(&mut self, x: Input<Tensor>, op: NormActConv<Self>) -> Result<Tensor> {
        let scale_shift = match op.time {
            Some((rows, slot, TimeUse::ScaleShift)) => Some(&rows[slot]),
            _ => None,
        };
        let h = op.norm.forward(&concatenated(x)?, scale_shift, Some(op.activation))?;
        let mut h = op.conv.forward(&h)?;
        if let Some((rows, slot, TimeUse::Bias)) = op.time {
            h = h.broadcast_add(&rows[slot].unsqueeze(2)?.unsqueeze(3)?)?;
        }
        if let Some(residual) = op.residual {
            h = (h + residual)?;
        }
        Ok((h * f64::from(op.scale))?)
    }

    fn pointwise(&mut self, x: Input<Tensor>, linear: &Linear) -> Result<Tensor> {
        let x = concatenated(x)?;
        let (n, _, h, w) = x.dims4()?;
        let y = linear.forward(&x.flatten_from(2)?.transpose(1, 2)?.contiguous()?)?;
        Ok(y.transpose(1, 2)?.reshape((n, (), h, w))?)
    }

    fn attention(&mut self, x: &Tensor, attention: &Attention) -> Result<Tensor> {
        let (n, c, h, w) = x.dims4()?;
        let normed = match &attention.norm {
            Some(norm) => norm.forward(x, None, None)?,
            None => x.clone(),
        };
        let normed = normed.flatten_from(2)?.transpose(1, 2)?.contiguous()?; // (n, h w, c)
        let [q, k, v] = &attention.qkv;
        let split_heads = |part: &Linear| -> Result<Tensor> {
            let y = part.forward(&normed)?.reshape((n, h * w, attention.heads, c / attention.heads))?;
            Ok(y.transpose(1, 2)?.contiguous()?) // (n, heads, h w, d)
        };
        let (q, k, v) = (split_heads(q)?, split_heads(k)?, split_heads(v)?);
        let mixed = attend(&q, &k, &v)?;
        let out = attention.out.forward(&mixed.transpose(1, 2)?.reshape((n, h * w, c))?)?;
        let out = out.transpose(1, 2)?.reshape((n, c, h, w))?;
        Ok(((out + x)? * attention.scale)?)
    }

    fn resize(&mut self, x: &Tensor, resize: Resize) -> Result<Tensor> {
        resized(x, resize)
    }

    fn downsample(&mut self, x: &Tensor, conv: &Conv) -> Result<Tensor> {
        conv.forward(x)
    }

    fn upsample(&mut self, x: &Tensor, conv: &Conv) -> Result<Tensor> {
        conv.forward(x)
    }

    fn conv_out(&mut self, x: &Tensor, norm: &Norm, conv: &Conv) -> Result<Tensor> {
        let h = norm.forward(x, None, Some(Activation::Silu))?;
        Ok(conv.forward(&h)?.to_dtype(DType::F32)?)
    }

    fn combine(&mut self, x: Tensor, net: &Tensor, noise: Option<&Tensor>, step: &Step) -> Result<Tensor> {
        if let Some((p, q)) = step.spread {
            return Ok((x * (net * f64::from(q))?.affine(1.0, p.into())?.exp()?)?);
        }
        let weighted =
            |x_factor: f32, net_factor: f32| (&x * f64::from(x_factor))? + (net * f64::from(net_factor))?;
        let mut y = weighted(step.x, step.net)?;
        if let Some(noise) = noise {
            y = (y + (noise * f64::from(step.noise))?)?;
        }
        if let Some(clipped) = step.clipped {
            let x_0 = weighted(clipped.x, clipped.net)?.clamp(-clipped.limit, clipped.limit)?;
            y = (y + (x_0 * f64::from(clipped.weight))?)?;
        }
        Ok(y)
    }

    fn emit(&mut self, x: &Tensor, layout: &Layout, out: &mut [u8]) -> Result<()> {
        let (n, c, h, w) = x.dims4()?;
        let values = x.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?;
        crate::image::write(&values, [n, c, h, w], layout, out)
    }
}

/// softmax(q k^T / sqrt(d)) v; all (n, heads, h w, d).
fn attend(q: &Tensor, k: &Tensor, v: &Tensor) -> Result<Tensor> {
    let (_, _, places, d) = q.dims4()?;
    let scale = (d as f64).powf(-0.5);
    // The sizes that candle's kernel for Metal was written for; it has none for the CPU.
    let fused = q.device().is_metal() && places > 1 && matches!(d, 32 | 64 | 72 | 80 | 96 | 128 | 256);
    if fused {
        return Ok(candle_nn::ops::sdpa(q, k, v, None, false, scale as f32, 1.0)?);
    }
    let scores = (q.matmul(&k.t()?)? * scale)?;
    Ok(candle_nn::ops::softmax(&scores, D::Minus1)?.matmul(v)?)
}

fn concatenated(x: Input<Tensor>) -> Result<Tensor> {
    match x {
        Input::One(x) => Ok(x.clone()),
        Input::Pair(a, b) => Ok(Tensor::cat(&[a, b], 1)?),
    }
}

fn activate(x: &Tensor, activation: Activation) -> Result<Tensor> {
    Ok(match activation {
        Activation::Silu => x.silu()?,
        Activation::Relu => x.relu()?,
        Activation::Gelu => x.gelu_erf()?,
        // softplus(x) = max(x, 0) + ln(1 + e^-|x|)
        Activation::Mish => {
            let softplus = (x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?)?;
            (x * softplus.tanh()?)?
        }
    })
}

impl From<candle_core::Error> for Error {
    fn from(error: candle_core::Error) -> Self {
        Error::DeviceFailed { device: "candle".into(), message: error.to_string() }
    }
}
