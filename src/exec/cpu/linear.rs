//! Linear layers and 1x1 convolutions: a GEMM with one segment a source.

use super::gemm::{Epilogue, Gemm, Rows, Segment};
use super::isa::Kernels;
use super::norm::Joined;
use super::pack::Packed;
use super::pool::Window;
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

    /// A window of (rows, n) of `x` (rows, k), on this thread; `scratch` is as long as `gemm::scratch_len` says.
    pub fn window(
        &self,
        kernels: &Kernels,
        x: &[f32],
        epilogue: Epilogue,
        out: &mut Window,
        scratch: &mut [f32],
    ) {
        self.gemm([x, &[]], [self.packed.k, 0], epilogue, |gemm| gemm.window(kernels, out, scratch));
    }

    /// `out` (rows, n) of `x` (rows, k), both tight; while planning, both are empty.
    pub fn apply(&self, cpu: &mut Cpu, x: &[f32], out: &mut [f32], epilogue: Epilogue) -> Result<()> {
        self.gemm([x, &[]], [self.packed.k, 0], epilogue, |gemm| gemm.run(cpu, out))
    }

    /// `f` of the product with one or two sources side by side.
    pub(super) fn gemm<R>(
        &self,
        sources: [&[f32]; 2],
        channels: [usize; 2],
        epilogue: Epilogue,
        f: impl FnOnce(&Gemm) -> R,
    ) -> R {
        let segments = [0, 1].map(|source| Segment { source, delta: 0, len: channels[source] });
        let matrix = self.packed.view();
        f(&Gemm { sources, rows: Rows::Flat(channels), segments: &segments, matrix, epilogue })
    }
}

impl Cpu {
    pub(super) fn linear(&mut self, x: Input<Act>, linear: &Linear) -> Result<Act> {
        let source = Joined::new(x)?;
        let [n, c, h, w] = source.shape;
        if c != linear.packed.k {
            return Err(Error::Internal(format!("{c} channels into a linear layer of {}", linear.packed.k)));
        }
        let mut out = self.new_act([n, linear.packed.n, h, w])?;
        linear.gemm(source.values, source.channels, Epilogue::PLAIN, |gemm| {
            gemm.run(self, out.slot.values_mut())
        })?;
        Ok(out)
    }
}
