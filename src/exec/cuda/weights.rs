//! Weights on the device: each tensor read in pieces, rounded to the element type, and copied once.

use super::driver::{Gpu, Memory};
use super::kernels::{Element, Kernels};
use crate::error::{Error, Result, try_with_capacity};
use crate::exec::{AttentionWeights, ConvKind, ConvWeights, LinearWeights, NormWeights, Weight};
use half::{bf16, f16};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// See [`CudaDevice::identity`].
#[derive(Debug, PartialEq, Eq)]
pub struct Identity(usize, String, Element, bool);

/// A CUDA device as prepared weights see it.
pub struct CudaDevice {
    pub(super) gpu: Arc<Gpu>,
    pub(super) element: Element,
    pub(super) kernels: Kernels,
    /// Where sessions look for cuDNN, if they use it.
    pub(super) cudnn: Option<Option<PathBuf>>,
    /// Bytes of weights prepared so far.
    prepared: AtomicU64,
}

impl CudaDevice {
    /// Opens `cuda:ordinal` through the driver in `folder`, else the system's.
    ///
    /// # Errors
    /// DEVICE_UNAVAILABLE where there is no driver, no such device, or one too old of either; DEVICE_FAILED.
    pub fn open(folder: Option<&Path>, ordinal: usize, element: Element) -> Result<Self> {
        let gpu = Gpu::open(folder, ordinal)?;
        let kernels = Kernels::load(&gpu, element)?;
        Ok(Self { gpu, element, kernels, cudnn: None, prepared: AtomicU64::new(0) })
    }

    /// Has sessions convolve through cuDNN, in `folder` or the system's, rather than by the kernels of this library;
    /// those of f32 and of odd channel counts stay.
    ///
    /// # Errors
    /// DEVICE_UNAVAILABLE where there is no cuDNN 9.
    pub fn with_cudnn(mut self, folder: Option<&Path>) -> Result<Self> {
        self.cudnn = Some(super::cudnn::find(folder, &self.gpu.id)?);
        Ok(self)
    }

    /// `cuda:0`
    pub fn id(&self) -> &str {
        &self.gpu.id
    }

    /// What activations are stored as.
    pub fn element(&self) -> Element {
        self.element
    }

    /// Tells it from others of this process: driver, device, element type, and whose convolutions.
    pub fn identity(&self) -> Identity {
        Identity(self.gpu.driver_number(), self.gpu.id.clone(), self.element, self.uses_cudnn())
    }

    /// Whether sessions convolve through cuDNN.
    pub fn uses_cudnn(&self) -> bool {
        self.cudnn.is_some()
    }

    /// What was prepared so far is none of a model's.
    pub fn count_anew(&self) {
        self.prepared.store(0, Ordering::Relaxed);
    }

    pub(super) fn prepared_bytes(&self) -> u64 {
        self.prepared.load(Ordering::Relaxed)
    }

    fn count(&self, memory: Result<Memory>) -> Result<Memory> {
        memory.inspect(|memory| {
            self.prepared.fetch_add(memory.bytes() as u64, Ordering::Relaxed);
        })
    }

    /// Values that stay f32: biases, norms, the time embedding.
    pub(super) fn floats(&self, values: &[f32]) -> Result<Memory> {
        self.count(Memory::of(&self.gpu, values, "weights on the device"))
    }

    pub(super) fn tensor(&self, weight: &Weight) -> Result<Memory> {
        self.floats(&weight.to_vec()?)
    }

    /// Values in the element type.
    fn elements(&self, values: Vec<f32>) -> Result<Memory> {
        fn narrow<T: bytemuck::NoUninit>(gpu: &Arc<Gpu>, values: &[f32], to: fn(f32) -> T) -> Result<Memory> {
            let mut narrow = try_with_capacity(values.len(), "a weight")?;
            narrow.extend(values.iter().copied().map(to));
            Memory::of(gpu, &narrow, "weights on the device")
        }
        self.count(match self.element {
            Element::F32 => Memory::of(&self.gpu, &values, "weights on the device"),
            Element::Bf16 => narrow(&self.gpu, &values, |value| bf16::from_f32(value).to_bits()),
            Element::F16 => narrow(&self.gpu, &values, |value| f16::from_f32(value).to_bits()),
        })
    }
}

/// Linear layers of one input, one below the other.
pub(super) struct Stacked {
    pub(super) values: Vec<f32>,
    pub(super) bias: Vec<f32>,
    pub(super) inputs: usize,
}

impl Stacked {
    pub(super) fn of(layers: &[LinearWeights]) -> Result<Self> {
        let (mut values, mut bias) = (Vec::new(), Vec::new());
        for layer in layers {
            values.extend(layer.weight.to_vec()?);
            bias.extend(layer.bias.to_vec()?);
        }
        let inputs = values.len() / bias.len().max(1);
        Ok(Self { values, bias, inputs })
    }
}

/// A 3x3 or 1x1 convolution: (c_out, taps, c_in) and a bias.
pub struct Conv {
    /// None for a 1x1 one.
    pub(super) kind: Option<ConvKind>,
    pub(super) c_in: usize,
    pub(super) c_out: usize,
    pub(super) weight: Memory,
    pub(super) bias: Memory,
}

impl Conv {
    /// A 3x3 convolution.
    pub(super) fn new(device: &CudaDevice, weights: &ConvWeights) -> Result<Self> {
        let &[c_out, c_in, 3, 3] = &weights.weight.shape[..] else {
            return Err(Error::Internal(format!("{:?} is no 3x3 convolution", weights.weight)));
        };
        let mut values: Vec<f32> = try_with_capacity(weights.weight.len(), "a weight")?;
        let mut filters = vec![0.0; 9 * c_in];
        for out in 0..c_out {
            weights.weight.read(out * 9 * c_in, &mut filters)?;
            values.extend((0..9 * c_in).map(|i| filters[i % c_in * 9 + i / c_in]));
        }
        let (weight, bias) = (device.elements(values)?, device.tensor(&weights.bias)?);
        Ok(Self { kind: Some(weights.kind), c_in, c_out, weight, bias })
    }

    /// Linear layers of one input, side by side, as one 1x1 convolution.
    pub(super) fn stacked(device: &CudaDevice, layers: &[LinearWeights]) -> Result<Self> {
        let Stacked { values, bias, inputs: c_in } = Stacked::of(layers)?;
        let c_out = bias.len();
        Ok(Self { kind: None, c_in, c_out, weight: device.elements(values)?, bias: device.floats(&bias)? })
    }
}

/// A GroupNorm.
pub struct Norm {
    pub(super) gamma: Memory,
    pub(super) beta: Memory,
    pub(super) channels: usize,
    pub(super) groups: usize,
    pub(super) eps: f32,
}

impl Norm {
    pub(super) fn new(device: &CudaDevice, weights: &NormWeights) -> Result<Self> {
        let (channels, groups) = (weights.weight.len(), weights.groups);
        if groups == 0 || !channels.is_multiple_of(groups) {
            return Err(Error::Internal(format!("{channels} channels in {groups} groups")));
        }
        let (gamma, beta) = (device.tensor(&weights.weight)?, device.tensor(&weights.bias)?);
        Ok(Self { gamma, beta, channels, groups, eps: weights.eps })
    }
}

/// Self-attention: q, k and v are one product.
pub struct Attention {
    pub(super) norm: Option<Norm>,
    pub(super) qkv: Conv,
    pub(super) out: Conv,
    pub(super) heads: usize,
    pub(super) scale: f32,
}

impl Attention {
    pub(super) fn new(device: &CudaDevice, weights: &AttentionWeights) -> Result<Self> {
        let norm = weights.norm.as_ref().map(|norm| Norm::new(device, norm)).transpose()?;
        let qkv = Conv::stacked(device, &weights.qkv)?;
        let out = Conv::stacked(device, std::slice::from_ref(&weights.out))?;
        if weights.heads == 0 || qkv.c_out != 3 * qkv.c_in || !qkv.c_in.is_multiple_of(weights.heads) {
            return Err(Error::Internal(format!(
                "attention of {} channels in {} heads",
                qkv.c_in, weights.heads
            )));
        }
        Ok(Self { norm, qkv, out, heads: weights.heads, scale: weights.scale })
    }
}
