//! Linear layers and 1x1 convolutions: a GEMM with one segment a source.

use super::gemm::{Epilogue, Gemm, Rows, Segment};
use super::norm::Source;
use super::pack::Packed;
use super::{Act, Cpu, CpuDevice};
use crate::error::{Error, Result};
use crate::exec::{Input, LinearWeights};

/// A packed linear layer, or several side by side.
pub struct Linear {
    /// The weights.
    pub packed: Packed,
}

impl Linear {
    /// Packs one layer.
    pub fn new(device: &CpuDevice, weights: &LinearWeights) -> Result<Self> {
        Self::stacked(device, std::slice::from_ref(weights))
    }

    /// Packs several layers of the same input; their outputs lie side by side.
    pub fn stacked(device: &CpuDevice, layers: &[LinearWeights]) -> Result<Self> {
        let parts: Vec<_> = layers.iter().map(|layer| (&layer.weight, &layer.bias)).collect();
        let k = parts.first().map_or(0, |(weight, bias)| weight.len() / bias.len().max(1));
        Ok(Self { packed: Packed::new(&device.kernels(), &parts, k, 1, device.threads)? })
    }

    /// `out` (rows, n) of `x` (rows, k), both tight; while planning, both are empty.
    pub fn apply(&self, cpu: &mut Cpu, x: &[f32], out: &mut [f32], epilogue: Epilogue) -> Result<()> {
        let k = self.packed.k;
        self.multiply(cpu, [x, &[]], [k, 0], out, epilogue)
    }

    fn multiply(
        &self,
        cpu: &mut Cpu,
        sources: [&[f32]; 2],
        channels: [usize; 2],
        out: &mut [f32],
        epilogue: Epilogue,
    ) -> Result<()> {
        let segments = [0, 1].map(|source| Segment { source, delta: 0, len: channels[source] });
        let gemm = Gemm {
            sources,
            rows: Rows::Flat(channels),
            segments: &segments,
            matrix: self.packed.view(),
            epilogue,
        };
        gemm.run(cpu, out)
    }
}

impl Cpu {
    pub(super) fn linear(&mut self, x: Input<Act>, linear: &Linear) -> Result<Act> {
        let source = Source::new(x)?;
        let [n, c, h, w] = source.shape;
        if c != linear.packed.k {
            return Err(Error::Internal(format!("{c} channels into a linear layer of {}", linear.packed.k)));
        }
        let mut out = self.new_act([n, linear.packed.n, h, w])?;
        linear.multiply(self, source.values, source.channels, out.slot.values_mut(), Epilogue::PLAIN)?;
        Ok(out)
    }
}
