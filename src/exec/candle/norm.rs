//! The kernel `norm.metal` on candle's device. **Never run there**: `tests/library/metal.rs` runs it as C++.

use super::NormWeights;
use candle_core::backend::BackendStorage;
use candle_core::metal_backend::buffer_o;
use candle_core::op::BackpropOp;
use candle_core::{DType, Error, MetalDevice, MetalStorage, Result, Storage, Tensor, bail};
use candle_metal_kernels::metal::ComputePipeline;
use objc2_metal::{MTLCompileOptions, MTLSize};

/// The kernel, compiled for a device and a type of storage.
#[derive(Clone)]
pub struct Kernel {
    pipeline: ComputePipeline,
    dtype: DType,
}

impl Kernel {
    pub fn compile(device: &MetalDevice, dtype: DType) -> Result<Self> {
        let options = MTLCompileOptions::new();
        // Fast mathematics knows no infinity, which SiLU's exponential reaches, and may sum in any order. macOS 15 has
        // another name for it and still takes this one.
        #[allow(deprecated)]
        options.setFastMathEnabled(false);
        let stored = if dtype == DType::F16 { "half" } else { "float" };
        let source = format!("#define Stored {stored}\n{}", include_str!("norm.metal"));
        let library = device.new_library_with_source(&source, Some(&options));
        let function = library.and_then(|library| library.get_function("group_norm", None));
        let pipeline =
            function.and_then(|function| device.new_compute_pipeline_state_with_function(&function));
        Ok(Self { pipeline: pipeline.map_err(Error::wrap)?, dtype })
    }

    /// A layer of these weights, which are on the device.
    pub fn layer(&self, weights: &NormWeights, weight: Tensor, bias: Tensor) -> Norm {
        Norm { kernel: self.clone(), weight, bias, groups: weights.groups, eps: weights.eps }
    }
}

/// A GroupNorm.
pub struct Norm {
    kernel: Kernel,
    weight: Tensor,
    bias: Tensor,
    groups: usize,
    eps: f32,
}

/// The kernel's `Shape`.
#[repr(C)]
struct Shape {
    channels: u32,
    groups: u32,
    pixels: u32,
    eps: f32,
    scale_shift: u32,
    silu: u32,
}

impl Norm {
    /// x: (n, c, h, w); time: (n, 2 c), scales and then shifts.
    pub fn forward(&self, x: &Tensor, time: Option<&Tensor>, silu: bool) -> Result<Tensor> {
        let (n, c, h, w) = x.dims4()?;
        let dtype = self.kernel.dtype;
        // The kernel reads no time where there is none; its argument must be some buffer.
        let time_or_any = time.unwrap_or(&self.bias).contiguous()?;
        let inputs = [x.contiguous()?, self.weight.clone(), self.bias.clone(), time_or_any];
        let device = x.device().as_metal_device()?;
        let y = device.new_buffer_builder().with_size_for(x.elem_count(), dtype).build()?;

        let commands = device.command_encoder()?;
        let encoder = commands.as_ref();
        encoder.set_compute_pipeline_state(&self.kernel.pipeline);
        for (index, tensor) in inputs.iter().enumerate() {
            let (storage, layout) = tensor.storage_and_layout();
            let Storage::Metal(storage) = &*storage else { bail!("a norm's input is elsewhere") };
            if storage.dtype() != dtype {
                bail!("a norm of {dtype:?} got {:?}", storage.dtype());
            }
            let input = buffer_o(storage.buffer(), layout, dtype);
            encoder.set_input_buffer(index, Some(input.buffer), input.offset_in_bytes);
        }
        encoder.set_output_buffer(4, Some(&y), 0);
        let shape = Shape {
            channels: c as u32,
            groups: self.groups as u32,
            pixels: (h * w) as u32,
            eps: self.eps,
            scale_shift: time.is_some().into(),
            silu: silu.into(),
        };
        encoder.set_bytes(5, &shape);
        // Some four values a thread. The kernel halves the width, and Metal wants 16 bytes of memory or a multiple.
        let most = 1 << self.kernel.pipeline.max_total_threads_per_threadgroup().ilog2();
        let width = (c / self.groups * h * w).div_ceil(4).next_power_of_two().clamp(32, most);
        encoder.set_threadgroup_memory_length(0, width * size_of::<[f32; 2]>());
        let one = MTLSize { width: 1, height: 1, depth: 1 };
        encoder.dispatch_thread_groups(MTLSize { width: n * self.groups, ..one }, MTLSize { width, ..one });
        drop(commands);

        let y = Storage::Metal(MetalStorage::new(y, device.clone(), x.elem_count(), dtype));
        Ok(Tensor::from_storage(y, x.shape(), BackpropOp::none(), false))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Activation, CandleDevice, metal};
    use super::*;
    use crate::exec::{ReadValues, Weight};
    use candle_core::Device;

    struct Waves(f32);

    impl ReadValues for Waves {
        fn read(&self, start: usize, out: &mut [f32]) -> crate::Result<()> {
            out.iter_mut().enumerate().for_each(|(i, value)| *value = (self.0 * (start + i) as f32).sin());
            Ok(())
        }
    }

    fn waves(frequency: f32, shape: &[usize]) -> Weight<'static> {
        Weight { name: "waves".into(), shape: shape.to_vec(), values: Box::new(Waves(frequency)) }
    }

    /// On a machine with a GPU.
    #[test]
    fn it_gives_what_plain_calls_give() {
        if metal::found().is_empty() {
            return println!("no GPU");
        }
        let weights =
            NormWeights { weight: waves(1.0, &[15]), bias: waves(2.0, &[15]), groups: 5, eps: 1e-5 };
        for half in [false, true] {
            let run = |device: &CandleDevice, timed: bool, activation| {
                let x = device.tensor(&waves(0.7, &[2, 15, 7, 9])).unwrap();
                let time = timed.then(|| device.tensor(&waves(3.0, &[2, 30])).unwrap());
                let y = device.norm(&weights).unwrap().forward(&x, time.as_ref(), activation).unwrap();
                y.to_device(&Device::Cpu).unwrap().to_dtype(DType::F32).unwrap()
            };
            let (cpu, gpu) = (CandleDevice::cpu(half), metal::open(0, half).unwrap());
            for activation in [None, Some(Activation::Silu), Some(Activation::Relu)] {
                for timed in [false, true] {
                    let (expected, found) = (run(&cpu, timed, activation), run(&gpu, timed, activation));
                    let error = (expected - found).unwrap().abs().unwrap().max_all().unwrap();
                    let error: f32 = error.to_scalar().unwrap();
                    let allowed = if half { 2e-2 } else { 1e-5 };
                    assert!(error <= allowed, "{half} {activation:?} {timed}: {error}");
                }
            }
        }
    }
}
