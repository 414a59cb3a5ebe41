//! 3x3 convolutions: a padded plane, then one GEMM whose nine segments are the taps, or Winograd's algorithm.

use super::filters::Filters;
use super::gemm::{Epilogue, Gemm, Rows, Segment};
use super::isa::{Algorithm, Kernels};
use super::norm::{Joined, Norm};
use super::pack::Packed;
use super::plane::{Feed, Plane, resized};
use super::{Act, Cpu, CpuDevice, Packing, State};
use crate::error::{Error, Result};
use crate::exec::{ConvKind, ConvWeights, Input, NormActConv, Resize, TimeUse, Weight};

/// A packed 3x3 convolution.
pub struct Conv {
    pub(super) method: Method,
    pub(super) kind: ConvKind,
}

pub(super) enum Method {
    /// One GEMM whose nine segments are the taps.
    Direct(Packed),
    /// Stride 1 alone.
    Winograd(Filters),
}

impl Method {
    /// Packs weights of `taps` a channel, for an algorithm of Winograd's where one pays and the device has memory for it.
    pub fn new(
        device: &CpuDevice,
        part: (&Weight, &Weight),
        (inputs, taps): (usize, usize),
        algorithm: Option<Algorithm>,
    ) -> Result<Self> {
        let kernels = device.kernels();
        Ok(match algorithm.filter(|_| device.packing == Packing::Fast) {
            Some(algorithm) => Self::Winograd(Filters::new(device, part, algorithm)?),
            None => Self::Direct(Packed::new(&kernels, &[part], taps * inputs, taps, device.threads)?),
        })
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        match self {
            Method::Direct(packed) => packed.bytes(),
            Method::Winograd(filters) => filters.bytes(),
        }
    }
}

/// Winograd's algorithm for a convolution of k to n channels with outputs of h by w, if one pays. Large images have tiles enough for each
/// load of the filters; on small ones the filters' own bytes count, of which F(4, 3) has more than twice as many. Where
/// rows are rounded to bf16 too, F(4, 3) would lose 1.1 % (F(2, 3) 0.4 %).
pub(super) fn algorithm(
    kernels: &Kernels,
    kind: ConvKind,
    (h, w): (usize, usize),
    k: usize,
    n: usize,
) -> Option<Algorithm> {
    let side = h.min(w);
    match kind {
        ConvKind::In { .. } | ConvKind::Down { .. } => None,
        _ if side < 3 => None,
        _ if kernels.row_values() > 1 => Some(Algorithm::F23),
        _ if side >= 32 || side >= 12 && k * n <= 512 * 256 => Some(Algorithm::F43),
        _ => Some(Algorithm::F23),
    }
}

impl Conv {
    /// Packs the weights, as the convolution's kind and size ask for.
    pub fn new(device: &CpuDevice, weights: &ConvWeights) -> Result<Self> {
        let n = weights.bias.len().max(1);
        let k = weights.weight.len() / (9 * n);
        let size = resized(weights.kind.resize(), weights.size);
        let algorithm = algorithm(&device.kernels(), weights.kind, size, k, n);
        let part = (&weights.weight, &weights.bias);
        Ok(Self { method: Method::new(device, part, (k, 9), algorithm)?, kind: weights.kind })
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        self.method.bytes()
    }

    /// (inputs, outputs)
    fn channels(&self) -> (usize, usize) {
        match &self.method {
            Method::Direct(packed) => (packed.k / 9, packed.n),
            Method::Winograd(filters) => (filters.k, filters.n),
        }
    }

    /// The plane that it reads for a source of this shape, and the shape of the result.
    pub(super) fn plane(&self, shape: [usize; 4]) -> Result<(Plane, [usize; 4])> {
        let [n, c, h, w] = shape;
        let (inputs, outputs) = self.channels();
        if c != inputs {
            return Err(Error::Internal(format!("{shape:?} into a convolution of {inputs} channels")));
        }
        let resize = self.kind.resize();
        let plane = match (&self.method, self.kind) {
            (Method::Winograd(filters), _) => filters.plane(shape, 1, resize),
            (_, ConvKind::Down { symmetric: false }) => Plane::new(shape, 0, 1, None),
            _ => Plane::new(shape, 1, 1, resize),
        };
        let size = match self.kind {
            ConvKind::Down { .. } => plane.size_by_steps_of(2),
            _ => resized(resize, (h, w)),
        };
        if n == 0 || size.0 == 0 || size.1 == 0 {
            return Err(Error::Internal(format!("{shape:?} is too small to convolve")));
        }
        Ok((plane, [n, outputs, size.0, size.1]))
    }

    /// The convolution of what the plane is fed with: an activation of this shape.
    pub(super) fn run(
        &self,
        cpu: &mut Cpu,
        plane: &Plane,
        feed: &Feed,
        shape: [usize; 4],
        epilogue: Epilogue,
    ) -> Result<Act> {
        let packed = match &self.method {
            Method::Winograd(filters) => return filters.run(cpu, plane, feed, shape, epilogue),
            Method::Direct(packed) => packed,
        };
        let values = plane.fill(cpu, feed)?;
        let mut out = cpu.new_act(shape)?;
        let segments: [Segment; 9] = std::array::from_fn(|tap| Segment {
            source: 0,
            delta: tap / 3 * plane.row() + tap % 3 * plane.stride,
            len: plane.channels,
        });
        let step = if matches!(self.kind, ConvKind::Down { .. }) { 2 } else { 1 };
        let strides = [plane.image(), plane.row(), plane.stride];
        let gemm = Gemm {
            sources: [values.values(), &[]],
            rows: Rows::Plane { size: (shape[2], shape[3]), step, strides },
            segments: &segments,
            matrix: packed.view(),
            epilogue,
        };
        gemm.run(cpu, out.slot.values_mut())?;
        Ok(out)
    }
}

impl Cpu {
    /// Another size, and nothing else.
    pub(super) fn resized(&mut self, x: &Act, resize: Resize) -> Result<Act> {
        let source = Joined::new(Input::One(x))?;
        let [n, c, _, _] = x.shape;
        let plane = Plane { stride: c, ..Plane::new(x.shape, 0, 0, Some(resize)) };
        let feed = Feed { x: &source, map: None, activation: None };
        Ok(Act { slot: plane.fill(self, &feed)?, shape: [n, c, plane.size.0, plane.size.1], sums: None })
    }

    /// Stride-2 or doubling convolution: nothing in front, nothing behind.
    pub(super) fn resample(&mut self, x: &Act, conv: &Conv) -> Result<Act> {
        let source = Joined::new(Input::One(x))?;
        let (plane, shape) = conv.plane(source.shape)?;
        let feed = Feed { x: &source, map: None, activation: None };
        conv.run(self, &plane, &feed, shape, Epilogue::PLAIN)
    }

    pub(super) fn normalised_conv(&mut self, x: Input<Act>, op: &NormActConv<Cpu>) -> Result<Act> {
        let source = Joined::new(x)?;
        let (plane, shape) = op.conv.plane(source.shape)?;
        if op.residual.is_some_and(|residual| residual.shape != shape) {
            return Err(Error::Internal(format!("a residual of another shape than {shape:?}")));
        }
        let (mut modulation, mut time) = (None, None);
        if let Some((rows, slot, how)) = op.time {
            let width = if how == TimeUse::Bias { shape[1] } else { 2 * source.shape[1] };
            let row = rows.slot(slot, width, shape[0])?;
            match how {
                TimeUse::Bias => time = Some((row, rows.width, shape[2] * shape[3])),
                TimeUse::ScaleShift => modulation = Some((row, rows.width)),
            }
        }
        let map = op.norm.affine(self, &source, modulation)?;
        let feed = Feed { x: &source, map: Some(&map), activation: Some(op.activation) };
        let residual = op.residual.map(|residual| residual.slot.values());
        op.conv.run(self, &plane, &feed, shape, Epilogue { time, residual, scale: op.scale })
    }

    pub(super) fn first_conv(&mut self, x: &State, conv: &Conv) -> Result<Act> {
        let (plane, shape) = conv.plane(x.shape)?;
        let pixels = self.pixels(x, matches!(conv.kind, ConvKind::In { center: true }))?;
        let feed = Feed { x: &Joined::new(Input::One(&pixels))?, map: None, activation: None };
        conv.run(self, &plane, &feed, shape, Epilogue::PLAIN)
    }

    pub(super) fn last_conv(&mut self, x: &Act, norm: &Norm, conv: &Conv) -> Result<State> {
        let op = NormActConv::silu(norm, conv);
        let pixels = self.normalised_conv(Input::One(x), &op)?;
        self.planes(&pixels)
    }

    /// A state as an activation, channels last: x, or 2x - 1.
    pub(super) fn pixels(&self, x: &State, center: bool) -> Result<Act> {
        let [_, c, h, w] = x.shape;
        let mut pixels = self.new_act(x.shape)?;
        if !self.arena.planning() {
            let (from, to) = (x.slot.values(), pixels.slot.values_mut());
            for (image, to) in to.chunks_exact_mut(c * h * w).enumerate() {
                for (pixel, to) in to.chunks_exact_mut(c).enumerate() {
                    for (channel, to) in to.iter_mut().enumerate() {
                        let value = from[(image * c + channel) * h * w + pixel];
                        *to = if center { 2.0 * value - 1.0 } else { value };
                    }
                }
            }
        }
        Ok(pixels)
    }

    /// An activation as a state.
    pub(super) fn planes(&self, pixels: &Act) -> Result<State> {
        let [n, c, h, w] = pixels.shape;
        let mut slot = self.arena.alloc(n * c * h * w)?;
        if !self.arena.planning() {
            let from = pixels.slot.values();
            for (plane, to) in slot.values_mut().chunks_exact_mut(h * w).enumerate() {
                let (image, channel) = (plane / c, plane % c);
                for (pixel, to) in to.iter_mut().enumerate() {
                    *to = from[(image * h * w + pixel) * c + channel];
                }
            }
        }
        Ok(State { slot, shape: pixels.shape })
    }
}
