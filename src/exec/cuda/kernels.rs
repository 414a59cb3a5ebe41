//! The kernels by name, and their arguments as `kernels/*.cuh` declares them; their sizes are compared with the code's when
//! it is loaded.

use super::driver::{Address, Function, Gpu, Module};
use crate::error::{Error, Result};
use crate::exec::Activation;
use std::sync::Arc;

/// What activations and weights are stored as; arithmetic is in f32, products of 16-bit elements on the tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// For comparison: plain f32 multiply-adds, no TF32.
    F32,
    /// bfloat16.
    Bf16,
    /// Half precision.
    F16,
}

impl Element {
    /// Bytes of one.
    pub fn bytes(self) -> usize {
        if self == Self::F32 { 4 } else { 2 }
    }

    /// How many make 16 bytes.
    pub fn vector(self) -> usize {
        16 / self.bytes()
    }

    /// Its name in kernels' names, and their code, made by `scripts/ptx.sh`.
    fn code(self) -> (&'static str, &'static str) {
        match self {
            Self::F32 => ("f32", include_str!("kernels/f32.ptx")),
            Self::Bf16 => ("bf16", include_str!("kernels/bf16.ptx")),
            Self::F16 => ("f16", include_str!("kernels/f16.ptx")),
        }
    }
}

macro_rules! arguments {
    ($($(#[$doc:meta])* $name:ident { $($field:ident: $type:ty,)* })*) => {
        $(
            $(#[$doc])*
            #[repr(C)]
            #[derive(Clone, Copy, Debug)]
            #[allow(missing_docs)] // In the kernel's own file.
            pub struct $name { $(pub $field: $type,)* }

            const _: () = assert!(size_of::<$name>() == 0 $(+ size_of::<$type>())*, "no padding");
            // SAFETY: C layout, numbers alone, and no padding as asserted above.
            unsafe impl bytemuck::NoUninit for $name {}
        )*
    };
}

arguments! {
    /// `conv.cuh`
    Conv {
        a: Address, b: Address, weight: Address, bias: Address, rows: Address, row_of: Address, residual: Address, out: Address,
        batch: i32, height: i32, width: i32,
        channels_a: i32, channels_b: i32,
        out_height: i32, out_width: i32, out_channels: i32,
        taps: i32, stride: i32, pad: i32, doubled: i32,
        row_stride: i32, row_offset: i32,
        planes_in: i32, planes_out: i32,
        scale: f32, unused: i32,
    }
    /// `norm.cuh`
    Norm {
        a: Address, b: Address, gamma: Address, beta: Address, rows: Address, row_of: Address, out: Address,
        batch: i32, pixels: i32, channels_a: i32, channels_b: i32,
        groups: i32, block_groups: i32, activation: i32,
        row_stride: i32, row_offset: i32,
        eps: f32,
    }
    /// `resize.cuh`
    Resized { x: Address, out: Address, batch: i32, height: i32, width: i32, channels: i32, halve: i32, unused: i32, }
    /// `attention.cuh`
    Attend {
        qkv: Address, out: Address,
        batch: i32, tokens: i32, heads: i32, head_channels: i32,
        factor: f32, unused: i32,
    }
    /// `time.cuh`
    LinearRows {
        x: Address, weight: Address, bias: Address, table: Address, labels: Address, out: Address,
        rows: i32, inputs: i32, outputs: i32, activation: i32,
    }
    /// `time.cuh`
    ImageBias { bias: Address, rows: Address, row_of: Address, out: Address, batch: i32, channels: i32, row_stride: i32, row_offset: i32, }
    /// `image.cuh`
    Noise { seeds: Address, out: Address, batch: i32, elements: i32, stream: u32, scale: f32, }
    /// `image.cuh`
    Combine {
        x: Address, net: Address, fresh: Address, count: u64,
        x_factor: f32, net_factor: f32, fresh_factor: f32,
        clipped_x: f32, clipped_net: f32, limit: f32, weight: f32, kind: i32,
    }
    /// `image.cuh`
    Emit { x: Address, out: Address, batch: i32, channels: i32, pixels: i32, format: i32, unit_range: i32, unused: i32, }
}

/// A size as kernels take it.
pub fn int(size: usize) -> Result<i32> {
    i32::try_from(size).map_err(|_| {
        Error::argument(
            "batch",
            format!("{size} elements are more than a CUDA kernel counts; use a smaller batch"),
        )
    })
}

/// `enum Activation` of `element.cuh`.
pub fn activation_number(activation: Option<Activation>) -> i32 {
    match activation {
        Some(Activation::Silu) => 0,
        Some(Activation::Relu) => 1,
        Some(Activation::Gelu) => 2,
        Some(Activation::Mish) => 3,
        None => 4,
    }
}

/// Tiles of the tensor cores' convolutions, in pixels and in channels: a large one does most work a byte, a small one
/// gives every multiprocessor something to do.
pub const TILES: [u32; 3] = [128, 64, 32];
/// Threads a block of each.
pub const TILE_THREADS: u32 = 128;
/// Channels of the values that a block of attention makes, ascending.
pub const HEADS: [u32; 4] = [32, 64, 128, 256];

/// The kernels of one element type.
pub struct Kernels {
    /// By `TILES`; none for f32, which the tensor cores would round.
    pub conv: Option<[Function<Conv>; 3]>,
    /// Any channels, any layout.
    pub conv_plain: Function<Conv>,
    /// 16 bytes a thread.
    pub norm_vector: Function<Norm>,
    /// One element a thread.
    pub norm_single: Function<Norm>,
    /// Halving and doubling.
    pub resize: Function<Resized>,
    /// By `HEADS`; none for f32.
    pub attention: Option<[Function<Attend>; 4]>,
    /// Any channels.
    pub attention_plain: Function<Attend>,
    /// The time embedding's layers.
    pub linear_rows: Function<LinearRows>,
    /// A convolution's bias and the images' rows, for cuDNN.
    pub image_bias: Function<ImageBias>,
    /// Seeds to normals.
    pub noise: Function<Noise>,
    /// A sampler's step.
    pub combine: Function<Combine>,
    /// State to pixels.
    pub emit: Function<Emit>,
    /// Keeps them loaded.
    _module: Module,
}

impl Kernels {
    /// Lets the driver compile those of `element`, if it has not kept them from an earlier time.
    pub fn load(gpu: &Arc<Gpu>, element: Element) -> Result<Self> {
        let (suffix, ptx) = element.code();
        let module = Module::load(gpu, ptx)?;
        let conv = |tile: u32| module.function::<Conv>(&format!("conv_{tile}_{suffix}"));
        let attention = |head: u32| module.function::<Attend>(&format!("attention_{head}_{suffix}"));
        let wide = element != Element::F32;
        Ok(Self {
            conv: wide
                .then(|| Ok::<_, Error>([conv(TILES[0])?, conv(TILES[1])?, conv(TILES[2])?]))
                .transpose()?,
            conv_plain: module.function::<Conv>(&format!("conv_plain_{suffix}"))?,
            norm_vector: module.function::<Norm>(&format!("norm_{}_{suffix}", element.vector()))?,
            norm_single: module.function::<Norm>(&format!("norm_1_{suffix}"))?,
            resize: module.function::<Resized>(&format!("resize_{suffix}"))?,
            attention: wide
                .then(|| {
                    let [a, b, c, d] = HEADS;
                    Ok::<_, Error>([attention(a)?, attention(b)?, attention(c)?, attention(d)?])
                })
                .transpose()?,
            attention_plain: module.function::<Attend>(&format!("attention_plain_{suffix}"))?,
            linear_rows: module.function::<LinearRows>("linear_rows")?,
            image_bias: module.function::<ImageBias>("image_bias")?,
            noise: module.function::<Noise>("noise")?,
            combine: module.function::<Combine>("combine")?,
            emit: module.function::<Emit>("emit")?,
            _module: module,
        })
    }
}
