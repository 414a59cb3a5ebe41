//! What the executor's tests share: a generator, weights from plain arrays, and closeness.

use super::isa::Kernels;
use super::{Act, Cpu, CpuDevice, Operands, Packing};
use crate::cpu_features::Isa;
use crate::error::Result;
use crate::exec::{LinearWeights, NormWeights, ReadValues, Weight};
use std::sync::Arc;

/// A linear congruential generator of floats in [-1, 1).
pub struct Random(pub u64);

impl Random {
    pub fn value(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    }
    pub fn values(&mut self, len: usize) -> Vec<f32> {
        (0..len).map(|_| self.value()).collect()
    }
}

struct Values(Vec<f32>);
impl ReadValues for Values {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.0[start..start + out.len()]);
        Ok(())
    }
}

pub fn weight(shape: &[usize], values: &[f32]) -> Weight<'static> {
    assert_eq!(shape.iter().product::<usize>(), values.len());
    Weight { name: "test".to_owned(), shape: shape.to_vec(), values: Box::new(Values(values.to_vec())) }
}

pub fn linear(weights: &[f32], bias: &[f32]) -> LinearWeights<'static> {
    let (n, k) = (bias.len(), weights.len() / bias.len());
    LinearWeights { weight: weight(&[n, k], weights), bias: weight(&[n], bias) }
}

pub fn norm(gamma: &[f32], beta: &[f32], groups: usize, eps: f32) -> NormWeights<'static> {
    NormWeights { weight: weight(&[gamma.len()], gamma), bias: weight(&[beta.len()], beta), groups, eps }
}

pub fn device(isa: Isa, operands: Operands) -> Arc<CpuDevice> {
    Arc::new(CpuDevice::of(isa, operands, Packing::Fast, 2))
}

/// Every executor that this machine can run, with floats and with bf16, with one thread and with two.
pub fn executors() -> impl Iterator<Item = (Arc<CpuDevice>, Cpu)> {
    kernels().flat_map(|kernels| {
        [1, 2].map(|threads| {
            let device = device(kernels.isa(), kernels.operands());
            (device.clone(), Cpu::new(device, threads, None).unwrap())
        })
    })
}

/// All kernels of this machine.
pub fn kernels() -> impl Iterator<Item = Kernels> {
    let both = [Operands::F32, Operands::Bf16];
    Isa::available().flat_map(move |isa| both.map(|operands| Kernels::new(isa, operands)))
}

/// Plans `work`, then runs it and returns what it left.
pub fn planned<T>(cpu: &mut Cpu, work: impl Fn(&mut Cpu) -> Result<T>) -> T {
    use crate::exec::Executor;
    cpu.plan(&mut |cpu| work(cpu).map(drop)).unwrap();
    work(cpu).unwrap()
}

/// An activation from NHWC values.
pub fn act(cpu: &mut Cpu, shape: [usize; 4], nhwc: &[f32]) -> Result<Act> {
    let mut act = cpu.new_act(shape)?;
    if !cpu.arena.planning() {
        act.slot.values_mut().copy_from_slice(nhwc);
    }
    Ok(act)
}

/// Relative RMS of `found` against `expected`.
pub fn difference(found: &[f32], expected: &[f64]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error: f64 = found.iter().zip(expected).map(|(&f, &e)| (f64::from(f) - e).powi(2)).sum();
    let size: f64 = expected.iter().map(|e| e * e).sum();
    (error / size.max(1e-30)).sqrt()
}

/// A 3x3 convolution over NHWC, in f64, with `pad` zeros on top and left and `stride`; weights (o, i, 3, 3).
#[allow(clippy::too_many_arguments)]
pub fn naive_conv<W: Copy + Into<f64>>(
    x: &[f64],
    [n, c, h, w]: [usize; 4],
    weights: &[W],
    bias: &[W],
    pad: isize,
    stride: usize,
    (oh, ow): (usize, usize),
) -> Vec<f64> {
    let c_out = bias.len();
    let mut out = Vec::with_capacity(n * oh * ow * c_out);
    for image in 0..n {
        for y in 0..oh {
            for x_ in 0..ow {
                for o in 0..c_out {
                    let mut sum: f64 = bias[o].into();
                    for ky in 0..3 {
                        for kx in 0..3 {
                            let (sy, sx) =
                                ((y * stride + ky) as isize - pad, (x_ * stride + kx) as isize - pad);
                            if sy < 0 || sx < 0 || sy >= h as isize || sx >= w as isize {
                                continue;
                            }
                            let at = ((image * h + sy as usize) * w + sx as usize) * c;
                            for i in 0..c {
                                sum += x[at + i] * weights[(o * c + i) * 9 + ky * 3 + kx].into();
                            }
                        }
                    }
                    out.push(sum);
                }
            }
        }
    }
    out
}

/// A norm's affine map of every channel: (batch, [scale, shift]) rows.
pub fn naive_norm(
    x: &[f64],
    [n, c, h, w]: [usize; 4],
    gamma: &[f32],
    beta: &[f32],
    groups: usize,
    eps: f32,
) -> Vec<f64> {
    let (pixels, size) = (h * w, c / groups);
    let mut out = x.to_vec();
    for image in 0..n {
        for group in 0..groups {
            let at = |p: usize, i: usize| (image * pixels + p) * c + group * size + i;
            let all = || (0..pixels).flat_map(|p| (0..size).map(move |i| (p, i)));
            let count = (pixels * size) as f64;
            let mean = all().map(|(p, i)| x[at(p, i)]).sum::<f64>() / count;
            let variance = all().map(|(p, i)| (x[at(p, i)] - mean).powi(2)).sum::<f64>() / count;
            for (p, i) in all() {
                let channel = group * size + i;
                let value = (x[at(p, i)] - mean) / (variance + f64::from(eps)).sqrt();
                out[at(p, i)] = value * f64::from(gamma[channel]) + f64::from(beta[channel]);
            }
        }
    }
    out
}

pub fn widen(values: &[f32]) -> Vec<f64> {
    values.iter().copied().map(f64::from).collect()
}
