//! Layers as places in one flat vector of parameters, and how each is packed for one use: forwards, or backwards with
//! inputs and outputs exchanged.

use super::super::conv::{Conv, Method, algorithm};
use super::super::filters::{Filters, filters_len, row_len, transform_line};
use super::super::isa::{Algorithm, Kernels};
use super::super::linear::Linear;
use super::super::norm::{Norm, check_groups};
use super::super::pack::{Packed, packed_len, vector_place};
use super::super::plane::resized;
use super::super::{Cpu, arena::Floats, arena::Slot};
use crate::error::{Error, Result};
use crate::exec::time::slots;
use crate::exec::{
    Activation, AttentionWeights, ClassUse, ConvKind, ConvWeights, LinearWeights, NormWeights, Parameter,
    TimeWeights, Weight,
};
use std::sync::{Mutex, PoisonError};

/// Which parameters a network has, in the order in which it asks for them: the device that layers are prepared on.
#[derive(Debug, Default)]
pub struct ParameterMap(Mutex<Vec<Parameter>>);

impl ParameterMap {
    /// All parameters so far, one behind the other.
    pub fn parameters(&self) -> Vec<Parameter> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn place(&self, weight: &Weight) -> Place {
        let mut parameters = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let start = parameters.last().map_or(0, |last| last.range.end);
        let range = start..start + weight.len();
        parameters.push(Parameter { name: weight.name.clone(), shape: weight.shape.clone(), range });
        Place { start, len: weight.len() }
    }
}

/// Where a parameter lies.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    start: usize,
    len: usize,
}

impl Place {
    pub fn of<T>(self, values: &[T]) -> &[T] {
        &values[self.start..self.start + self.len]
    }
    pub fn of_mut(self, values: &mut [f32]) -> &mut [f32] {
        &mut values[self.start..self.start + self.len]
    }
    pub fn len(self) -> usize {
        self.len
    }
}

/// A 3x3 convolution.
#[derive(Clone, Copy, Debug)]
pub struct ConvLayer {
    pub kind: ConvKind,
    /// Of its input.
    pub size: (usize, usize),
    pub weight: Place,
    pub bias: Place,
}

/// A linear layer or 1x1 convolution.
#[derive(Clone, Copy, Debug)]
pub struct LinearLayer {
    pub weight: Place,
    pub bias: Place,
}

/// A GroupNorm.
#[derive(Clone, Copy, Debug)]
pub struct NormLayer {
    pub weight: Place,
    pub bias: Place,
    pub groups: usize,
    pub eps: f32,
}

/// Self-attention.
#[derive(Clone, Copy, Debug)]
pub struct AttentionLayer {
    pub norm: Option<NormLayer>,
    pub qkv: [LinearLayer; 3],
    pub out: LinearLayer,
    pub heads: usize,
    pub scale: f32,
}

/// The time embedding and all projections.
#[derive(Debug)]
pub struct TimeLayer {
    pub channels: usize,
    pub flip_sin_to_cos: bool,
    pub freq_shift: f32,
    pub linear_1: LinearLayer,
    pub linear_2: LinearLayer,
    pub classes: Option<Place>,
    pub class_use: ClassUse,
    pub activation: Activation,
    pub projections: Vec<LinearLayer>,
    /// Where each slot begins in a row, and the row's length.
    pub slots: Vec<usize>,
}

impl ConvLayer {
    pub fn new(map: &ParameterMap, weights: &ConvWeights) -> Result<Self> {
        let (weight, bias) = (map.place(&weights.weight), map.place(&weights.bias));
        check(&weights.weight, bias, 9)?;
        Ok(Self { kind: weights.kind, size: weights.size, weight, bias })
    }

    pub fn inputs(&self) -> usize {
        self.weight.len / (9 * self.bias.len)
    }

    /// For one use.
    pub fn pack(&self, cpu: &mut Cpu, parameters: &[f32]) -> Result<Conv> {
        let k = self.inputs();
        let weights = self.weight.of(parameters);
        let bias = self.bias.of(parameters).to_vec();
        pack_conv(cpu, self.kind, self.size, k, bias, |o, i, tap| weights[(o * k + i) * 9 + tap])
    }

    /// The convolution of stride 1 that takes an output's gradient, at the size of the plane that the convolution
    /// read, to that plane's: taps reversed, inputs and outputs exchanged, no bias.
    pub fn pack_reversed(&self, cpu: &mut Cpu, parameters: &[f32]) -> Result<Conv> {
        let (n, k) = (self.bias.len, self.inputs());
        let weights = self.weight.of(parameters);
        let size = resized(self.kind.resize(), self.size);
        let value = |o: usize, i: usize, tap: usize| weights[(i * k + o) * 9 + 8 - tap];
        pack_conv(cpu, ConvKind::Same, size, n, vec![0.0; k], value)
    }
}

impl LinearLayer {
    pub fn new(map: &ParameterMap, weights: &LinearWeights) -> Result<Self> {
        let (weight, bias) = (map.place(&weights.weight), map.place(&weights.bias));
        check(&weights.weight, bias, 1)?;
        Ok(Self { weight, bias })
    }

    pub fn inputs(&self) -> usize {
        self.weight.len / self.bias.len
    }

    /// Several layers of the same input side by side, for one use.
    pub fn pack(cpu: &mut Cpu, layers: &[LinearLayer], parameters: &[f32]) -> Result<Linear> {
        let k = layers[0].inputs();
        let rows: Vec<&[f32]> =
            layers.iter().flat_map(|layer| layer.weight.of(parameters).chunks_exact(k)).collect();
        let bias: Vec<f32> =
            layers.iter().flat_map(|layer| layer.bias.of(parameters).iter().copied()).collect();
        let values = pack(cpu, bias.len(), k, |column, inner| rows[column][inner])?;
        Ok(Linear { packed: Packed { values: Floats::Lent(values), n: bias.len(), bias, k } })
    }

    /// The layer that takes the gradient of those layers' outputs, side by side, to that of their input; no bias.
    pub fn pack_reversed(cpu: &mut Cpu, layers: &[LinearLayer], parameters: &[f32]) -> Result<Linear> {
        let n = layers[0].inputs();
        let rows: Vec<&[f32]> =
            layers.iter().flat_map(|layer| layer.weight.of(parameters).chunks_exact(n)).collect();
        let values = pack(cpu, n, rows.len(), |column, inner| rows[inner][column])?;
        Ok(Linear { packed: Packed { values: Floats::Lent(values), bias: vec![0.0; n], n, k: rows.len() } })
    }
}

impl NormLayer {
    pub fn new(map: &ParameterMap, weights: &NormWeights) -> Result<Self> {
        let (weight, bias) = (map.place(&weights.weight), map.place(&weights.bias));
        check_groups(weight.len, bias.len, weights.groups)?;
        Ok(Self { weight, bias, groups: weights.groups, eps: weights.eps })
    }

    pub fn norm(&self, parameters: &[f32]) -> Norm {
        Norm {
            gamma: self.weight.of(parameters).to_vec(),
            beta: self.bias.of(parameters).to_vec(),
            groups: self.groups,
            eps: self.eps,
        }
    }
}

impl AttentionLayer {
    pub fn new(map: &ParameterMap, weights: &AttentionWeights) -> Result<Self> {
        let norm = weights.norm.as_ref().map(|norm| NormLayer::new(map, norm)).transpose()?;
        let [query, key, value] = &weights.qkv;
        let qkv = [LinearLayer::new(map, query)?, LinearLayer::new(map, key)?, LinearLayer::new(map, value)?];
        let out = LinearLayer::new(map, &weights.out)?;
        let (c, heads) = (out.bias.len, weights.heads);
        let square = |layer: &LinearLayer| (layer.bias.len, layer.inputs()) == (c, c);
        if !qkv.iter().chain([&out]).all(square) || heads == 0 || !c.is_multiple_of(heads) {
            return Err(Error::Internal(format!("attention of {heads} heads over {c} channels")));
        }
        Ok(Self { norm, qkv, out, heads, scale: weights.scale })
    }
}

impl TimeLayer {
    pub fn new(map: &ParameterMap, weights: &TimeWeights) -> Result<Self> {
        let linear_1 = LinearLayer::new(map, &weights.linear_1)?;
        let linear_2 = LinearLayer::new(map, &weights.linear_2)?;
        let classes = weights.class_embedding.as_ref().map(|classes| map.place(classes));
        let projections = weights.projections.iter().map(|layer| LinearLayer::new(map, layer));
        let projections = projections.collect::<Result<Vec<_>>>()?;
        let d = linear_1.bias.len;
        let class_width = weights.class_use.width(weights.channels, d);
        let fits = linear_1.inputs() == weights.channels
            && (linear_2.bias.len, linear_2.inputs()) == (d, d)
            && !projections.is_empty()
            && projections.iter().all(|layer| layer.inputs() == d)
            && classes.is_none_or(|classes| classes.len.is_multiple_of(class_width));
        if !fits {
            return Err(Error::Internal("the time embedding's layers do not fit together".to_owned()));
        }
        Ok(Self {
            channels: weights.channels,
            flip_sin_to_cos: weights.flip_sin_to_cos,
            freq_shift: weights.freq_shift,
            linear_1,
            linear_2,
            classes,
            class_use: weights.class_use,
            activation: weights.activation,
            projections,
            slots: slots(&weights.projections),
        })
    }
}

fn check(weight: &Weight, bias: Place, taps: usize) -> Result<()> {
    if weight.is_empty() || bias.len == 0 || !weight.len().is_multiple_of(bias.len * taps) {
        return Err(Error::Internal(format!("{weight:?} beside {} biases", bias.len)));
    }
    Ok(())
}

/// A convolution of `k` inputs whose weight of (output, input, tap) is `value`, by the algorithm that inference uses.
fn pack_conv(
    cpu: &mut Cpu,
    kind: ConvKind,
    size: (usize, usize),
    k: usize,
    bias: Vec<f32>,
    value: impl Fn(usize, usize, usize) -> f32 + Sync,
) -> Result<Conv> {
    let (kernels, n) = (cpu.kernels, bias.len());
    let plane = resized(kind.resize(), size);
    let method = match algorithm(&kernels, kind, plane, k, n) {
        None => {
            let values = pack(cpu, n, 9 * k, |column, inner| value(column, inner % k, inner / k))?;
            Method::Direct(Packed { values: Floats::Lent(values), bias, n, k: 9 * k })
        }
        Some(algorithm) => {
            let taps = pack(cpu, n, 9 * k, |column, inner| value(column, inner / 9, inner % 9))?;
            let values = transform(cpu, algorithm, taps.values(), (k, n))?;
            Method::Winograd(Filters { algorithm, values: Floats::Lent(values), bias, n, k })
        }
    };
    Ok(Conv { method, kind })
}

fn transform(cpu: &mut Cpu, algorithm: Algorithm, taps: &[f32], (k, n): (usize, usize)) -> Result<Slot> {
    let (kernels, threads) = (cpu.kernels, cpu.pool.threads());
    let len = filters_len(&kernels, algorithm, (k, n));
    let mut values = cpu.arena.alloc(len)?;
    let mut rows = cpu.arena.alloc(threads * row_len(&kernels, algorithm, k))?;
    let line = len / algorithm.side();
    cpu.pool.grid(values.values_mut(), line, (1, line), rows.values_mut(), |window, row| {
        let y = window.rows().start;
        transform_line(&kernels, algorithm, taps, (k, n), y, row, window.whole_rows());
    });
    Ok(values)
}

/// A packed matrix of `n` columns, (block of columns, inner, column of the block), in a slot.
fn pack(cpu: &mut Cpu, n: usize, inner: usize, value: impl Fn(usize, usize) -> f32 + Sync) -> Result<Slot> {
    let kernels = cpu.kernels;
    let mut values = cpu.arena.alloc(packed_len(&kernels, n, inner))?;
    let lanes = kernels.lanes();
    cpu.pool.grid(values.values_mut(), lanes, (1024, lanes), &mut [], |window, _| {
        for row in window.rows() {
            pack_vector(&kernels, n, inner, row, &value, window.row(row));
        }
    });
    Ok(values)
}

/// The same on this thread, into a slice of its length.
pub fn pack_into(
    kernels: &Kernels,
    (n, inner): (usize, usize),
    to: &mut [f32],
    value: impl Fn(usize, usize) -> f32,
) {
    let len = packed_len(kernels, n, inner);
    for (row, to) in to[..len].chunks_exact_mut(kernels.lanes()).enumerate() {
        pack_vector(kernels, n, inner, row, &value, to);
    }
}

/// Vector number `row` of a packed matrix.
#[inline(always)]
fn pack_vector(
    kernels: &Kernels,
    n: usize,
    inner: usize,
    row: usize,
    value: &impl Fn(usize, usize) -> f32,
    to: &mut [f32],
) {
    let (at, first) = vector_place(kernels, n, inner, row);
    for (column, to) in (first..).zip(to) {
        *to = if column < n { value(column, at) } else { 0.0 };
    }
}
