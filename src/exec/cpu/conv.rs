//! 3x3 convolutions: a padded plane, then one GEMM whose nine segments are the taps.

use super::arena::Slot;
use super::gemm::{Epilogue, Gemm, Rows};
use super::isa::{Kernels, Segment};
use super::norm::{Norm, Source};
use super::pack::Packed;
use super::plane::Plane;
use super::{Act, Cpu, State};
use crate::error::{Error, Result};
use crate::exec::{Activation, ConvKind, ConvWeights, Input, NormActConv, TimeUse};

/// A packed 3x3 convolution.
pub struct Conv {
    packed: Packed,
    kind: ConvKind,
}

impl Conv {
    /// Packs the weights, taps outermost.
    pub fn new(kernels: &Kernels, weights: &ConvWeights) -> Result<Self> {
        let n = weights.bias.len().max(1);
        let packed = Packed::new(kernels, &[(&weights.weight, &weights.bias)], weights.weight.len() / n, 9)?;
        Ok(Self { packed, kind: weights.kind })
    }

    /// Bytes it takes.
    pub fn bytes(&self) -> u64 {
        self.packed.bytes()
    }

    /// The plane that it reads for a source of this shape.
    fn plane(&self, shape: [usize; 4]) -> Result<Plane> {
        if shape[1] * 9 != self.packed.k {
            return Err(Error::Internal(format!(
                "{shape:?} into a convolution of {} channels",
                self.packed.k / 9
            )));
        }
        Ok(match self.kind {
            ConvKind::Up => Plane::new(shape, 1, 1, 2),
            ConvKind::Down { symmetric: false } => Plane::new(shape, 0, 1, 1),
            _ => Plane::new(shape, 1, 1, 1),
        })
    }

    /// (batch, c_out, height, width) of the result.
    fn output(&self, batch: usize, plane: &Plane) -> Result<[usize; 4]> {
        let step = self.step();
        let size = |padded: usize| padded.checked_sub(3).map_or(0, |room| room / step + 1);
        let (h, w) = (size(plane.size.0), size(plane.size.1));
        if batch == 0 || h == 0 || w == 0 {
            return Err(Error::Internal(format!("a plane of {:?} is too small to convolve", plane.size)));
        }
        Ok([batch, self.packed.n, h, w])
    }

    fn step(&self) -> usize {
        if matches!(self.kind, ConvKind::Down { .. }) { 2 } else { 1 }
    }

    /// The product over a filled plane.
    fn multiply(
        &self,
        cpu: &mut Cpu,
        plane: &Plane,
        values: &Slot,
        shape: [usize; 4],
        epilogue: Epilogue,
    ) -> Result<Act> {
        let mut out = cpu.new_act(shape)?;
        if cpu.arena.planning() {
            return Ok(out);
        }
        let segments: [Segment; 9] = std::array::from_fn(|tap| Segment {
            source: 0,
            delta: tap / 3 * plane.row() + tap % 3 * plane.stride,
            len: plane.channels,
        });
        let strides = [plane.image(), plane.row(), plane.stride];
        let gemm = Gemm {
            sources: [values.values(), &[]],
            rows: Rows::Plane { size: (shape[2], shape[3]), step: self.step(), strides },
            segments: &segments,
            matrix: self.packed.view(),
            epilogue,
        };
        gemm.run(&cpu.kernels, &mut cpu.pool, out.slot.values_mut());
        Ok(out)
    }
}

impl Cpu {
    /// Stride-2 or doubling convolution: nothing in front, nothing behind.
    pub(super) fn resample(&mut self, x: &Act, conv: &Conv) -> Result<Act> {
        let source = Source::new(Input::One(x))?;
        let plane = conv.plane(source.shape)?;
        let shape = conv.output(source.shape[0], &plane)?;
        let values = plane.fill(self, &source, None, None)?;
        conv.multiply(self, &plane, &values, shape, Epilogue::PLAIN)
    }

    pub(super) fn normalised_conv(&mut self, x: Input<Act>, op: &NormActConv<Cpu>) -> Result<Act> {
        let source = Source::new(x)?;
        let (plane, n) = (op.conv.plane(source.shape)?, source.shape[0]);
        let shape = op.conv.output(n, &plane)?;
        if op.residual.is_some_and(|residual| residual.shape != shape) {
            return Err(Error::Internal(format!("a residual of another shape than {shape:?}")));
        }
        let (mut modulation, mut time) = (None, None);
        if let Some((rows, slot, how)) = op.time {
            let width = if how == TimeUse::Bias { shape[1] } else { 2 * source.shape[1] };
            let row = rows.slot(slot, width, n)?;
            match how {
                TimeUse::Bias => time = Some((row, rows.width, shape[2] * shape[3])),
                TimeUse::ScaleShift => modulation = Some((row, rows.width)),
            }
        }
        let map = op.norm.affine(self, &source, modulation)?;
        let values = plane.fill(self, &source, Some(&map), Some(op.activation))?;
        drop(map);
        let residual = op.residual.map(|residual| residual.slot.values());
        op.conv.multiply(self, &plane, &values, shape, Epilogue { time, residual, scale: op.scale })
    }

    pub(super) fn first_conv(&mut self, x: &State, conv: &Conv) -> Result<Act> {
        let [n, c, h, w] = x.shape;
        let plane = conv.plane(x.shape)?;
        let shape = conv.output(n, &plane)?;
        // Channels last, in a slot of its own: the state is small.
        let mut pixels = self.new_act(x.shape)?;
        if !self.arena.planning() {
            let center = matches!(conv.kind, ConvKind::In { center: true });
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
        let values = plane.fill(self, &Source::new(Input::One(&pixels))?, None, None)?;
        drop(pixels);
        conv.multiply(self, &plane, &values, shape, Epilogue::PLAIN)
    }

    pub(super) fn last_conv(&mut self, x: &Act, norm: &Norm, conv: &Conv) -> Result<State> {
        let op =
            NormActConv { norm, activation: Activation::Silu, conv, time: None, residual: None, scale: 1.0 };
        let pixels = self.normalised_conv(Input::One(x), &op)?;
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
