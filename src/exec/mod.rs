//! The executors' vocabulary: a dozen fused operations in which `model` writes the network and `sampler` its
//! steps. An executor owns layout, memory, threads or stream; nobody above knows which one runs.
//!
//! `reference` is the plain oracle that every other executor is tested against; `candle` runs on Metal.

#[cfg(feature = "candle")]
pub mod candle;
pub mod cpu;
#[cfg(feature = "cuda")]
pub mod cuda;
pub mod inspect;
pub mod reference;
mod spans;
mod step;
mod time;
#[cfg(any(test, feature = "train"))]
mod training;
mod weight;

pub use step::{Clipped, Step};
#[cfg(any(test, feature = "train"))]
pub use training::{Dropout, Parameter, TrainingExecutor};
pub use weight::{Held, ReadValues, Ready, Weight};

use crate::error::Result;
use crate::image::Layout;
use crate::names::named;
use crate::noise;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

/// Set by whoever wants work to end.
pub type Flag = Arc<AtomicBool>;

/// The image that a value's place belongs to, where images lie one behind the other.
fn image_of(place: Option<usize>, shape: [usize; 4]) -> Option<usize> {
    place.map(|place| place / shape[1..].iter().product::<usize>().max(1))
}

/// One or two activations read as if they were concatenated along the channels (the U-Net's skips).
#[derive(Debug)]
pub enum Input<'a, A> {
    /// One activation.
    One(&'a A),
    /// Two, the first one's channels first.
    Pair(&'a A, &'a A),
}

impl<A> Clone for Input<'_, A> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<A> Copy for Input<'_, A> {}

/// The network's pointwise nonlinearity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x sigmoid(x), also called swish.
    Silu,
    /// max(x, 0).
    Relu,
    /// x Phi(x), with the error function (not the tanh approximation).
    Gelu,
    /// x tanh(ln(1 + e^x)).
    Mish,
}

named!(Activation { "silu" => Silu, "swish" => Silu, "relu" => Relu, "gelu" => Gelu, "mish" => Mish });

/// What a 3x3 convolution is for; an executor packs its weights accordingly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConvKind {
    /// State to first activation; `center` maps the state x to 2x - 1 first (before the zero border).
    In {
        /// `center_input_sample`.
        center: bool,
    },
    /// Stride 1, one pixel of zero border, after a norm and an activation.
    Same,
    /// Halving ([`Resize::Halve`]), then stride 1 with a border of one pixel, after a norm and an activation.
    Pooled,
    /// Stride 2 with a zero border of one pixel: on all sides (`symmetric`), else right and bottom alone.
    Down {
        /// `downsample_padding` 1 rather than 0.
        symmetric: bool,
    },
    /// Doubling ([`Resize::Double`]), then stride 1 with a border of one pixel; after a norm and an activation, or after
    /// neither.
    Up,
    /// Last activation to prediction.
    Out,
}

impl ConvKind {
    /// What becomes of its input's size before it is convolved.
    pub fn resize(self) -> Option<Resize> {
        match self {
            ConvKind::Pooled => Some(Resize::Halve),
            ConvKind::Up => Some(Resize::Double),
            _ => None,
        }
    }
}

/// A change of height and width.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    /// Each 2x2 pixels' average.
    Halve,
    /// Each pixel four times: nearest-neighbour.
    Double,
}

impl Resize {
    /// What becomes of a height or a width.
    pub fn of(self, side: usize) -> usize {
        match self {
            Resize::Halve => side / 2,
            Resize::Double => 2 * side,
        }
    }
}

/// A 3x3 convolution's weights.
#[derive(Debug)]
pub struct ConvWeights<'a> {
    /// What it is for.
    pub kind: ConvKind,
    /// Height and width of its input, before it is resized.
    pub size: (usize, usize),
    /// (c_out, c_in, 3, 3)
    pub weight: Weight<'a>,
    /// (c_out)
    pub bias: Weight<'a>,
}

/// A linear layer's, or a 1x1 convolution's, weights.
#[derive(Debug)]
pub struct LinearWeights<'a> {
    /// (c_out, c_in); a 1x1 convolution comes flattened to this.
    pub weight: Weight<'a>,
    /// (c_out)
    pub bias: Weight<'a>,
}

/// A GroupNorm's weights.
#[derive(Debug)]
pub struct NormWeights<'a> {
    /// (c)
    pub weight: Weight<'a>,
    /// (c)
    pub bias: Weight<'a>,
    /// How many groups the channels fall into; divides c.
    pub groups: usize,
    /// Added to the variance.
    pub eps: f32,
}

/// A self-attention block's weights.
#[derive(Debug)]
pub struct AttentionWeights<'a> {
    /// GroupNorm in front; absent in diffusers' mid block under `scale_shift` without `attn_norm_num_groups`.
    pub norm: Option<NormWeights<'a>>,
    /// Query, key and value, each c to c.
    pub qkv: [LinearWeights<'a>; 3],
    /// The output projection, c to c.
    pub out: LinearWeights<'a>,
    /// How many heads share the channels; divides c.
    pub heads: usize,
    /// The result is (x + projection) * scale.
    pub scale: f32,
}

/// Everything that turns a time and a label into the biases of all residual blocks.
#[derive(Debug)]
pub struct TimeWeights<'a> {
    /// Width of the sinusoidal embedding (C).
    pub channels: usize,
    /// Cosines first.
    pub flip_sin_to_cos: bool,
    /// f_i = exp(-ln(10000) i / (channels / 2 - freq_shift))
    pub freq_shift: f32,
    /// C to D; SiLU follows it.
    pub linear_1: LinearWeights<'a>,
    /// D to D.
    pub linear_2: LinearWeights<'a>,
    /// One row a class, as wide as what it is added to.
    pub class_embedding: Option<Weight<'a>>,
    /// What that is.
    pub class_use: ClassUse,
    /// Applied to the embedding before every projection.
    pub activation: Activation,
    /// One a residual block, D to that block's width (twice that under scale-shift), in slot order.
    pub projections: Vec<LinearWeights<'a>>,
}

/// What a class's row is added to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassUse {
    /// The embedding of the time, D wide, before its activation.
    Embedding,
    /// The sinusoid, C wide, before the first layer.
    Sinusoid,
}

named!(ClassUse { "embedding" => Embedding, "sinusoid" => Sinusoid });

impl ClassUse {
    /// How wide a class's row is, of these widths of the sinusoid and the embedding.
    pub fn width(self, sinusoid: usize, embedding: usize) -> usize {
        match self {
            ClassUse::Embedding => embedding,
            ClassUse::Sinusoid => sinusoid,
        }
    }
}

/// How a residual block's time projection enters it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUse {
    /// Added to the convolution's result, a value an image and channel.
    Bias,
    /// First half scale, second half shift: norm(x) (1 + scale) + shift, before the activation.
    ScaleShift,
}

/// One residual half block: conv(act(norm(x))) + bias [+ time] [+ residual], times `scale`; what the convolution's kind
/// resizes, it resizes after the activation.
#[derive(Debug)]
pub struct NormActConv<'a, E: Executor> {
    /// GroupNorm over the (concatenated) input.
    pub norm: &'a E::Norm,
    /// The nonlinearity.
    pub activation: Activation,
    /// The convolution, of [`ConvKind::Same`], [`ConvKind::Pooled`] or [`ConvKind::Up`].
    pub conv: &'a E::Conv,
    /// Whether the network's dropout comes before the convolution; of any effect in training alone.
    pub dropout: bool,
    /// Rows of this call, the block's slot, and how they enter.
    pub time: Option<(&'a E::Rows, usize, TimeUse)>,
    /// Added to the result.
    pub residual: Option<&'a E::Act>,
    /// 1 / output_scale_factor.
    pub scale: f32,
}

impl<'a, E: Executor> NormActConv<'a, E> {
    /// conv(SiLU(norm(x))) + bias, and nothing else.
    pub fn silu(norm: &'a E::Norm, conv: &'a E::Conv) -> Self {
        let activation = Activation::Silu;
        Self { norm, activation, conv, dropout: false, time: None, residual: None, scale: 1.0 }
    }
}

/// A machine that runs the network. See the module's docs; shapes are (batch, channels, height, width).
///
/// The `prepare_*` functions run once a model and give immutable, shareable layers; the methods run in a
/// session. Activations and states are owned handles: dropping one gives its memory back to the executor.
pub trait Executor: Sized {
    /// Where prepared weights live.
    type Device: Send + Sync;
    /// A packed 3x3 convolution.
    type Conv: Send + Sync;
    /// A packed linear layer.
    type Linear: Send + Sync;
    /// A GroupNorm.
    type Norm: Send + Sync;
    /// A packed self-attention block.
    type Attention: Send + Sync;
    /// The time embedding and all projections.
    type Time: Send + Sync;
    /// Time projections of one call: one row an image, all slots side by side.
    type Rows;
    /// An activation.
    type Act;
    /// A sampler's state or a raw prediction: a batch of float images.
    type State;

    /// Packs a convolution.
    fn prepare_conv(device: &Self::Device, weights: &ConvWeights) -> Result<Self::Conv>;
    /// Packs a linear layer.
    fn prepare_linear(device: &Self::Device, weights: &LinearWeights) -> Result<Self::Linear>;
    /// Keeps a norm.
    fn prepare_norm(device: &Self::Device, weights: &NormWeights) -> Result<Self::Norm>;
    /// Packs an attention block.
    fn prepare_attention(device: &Self::Device, weights: &AttentionWeights) -> Result<Self::Attention>;
    /// Packs the time embedding.
    fn prepare_time(device: &Self::Device, weights: &TimeWeights) -> Result<Self::Time>;
    /// Bytes that the layers prepared on this device take, once all are there: what preparing them needed for itself is given back.
    fn prepared_bytes(device: &Self::Device) -> u64;

    /// An empty stack for activations that wait, with room for as many as the one last kept.
    fn take_stack(&mut self) -> Vec<Self::Act> {
        Vec::new()
    }
    /// Takes an empty stack back.
    fn keep_stack(&mut self, _stack: Vec<Self::Act>) {}

    /// Gets ready for `work`, a run of the very operations that will follow. An executor that plans its memory
    /// runs it once without computing anything; `load` then does not call `fill`, `emit` writes nothing.
    fn plan(&mut self, work: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        let _ = work;
        Ok(())
    }
    /// Bytes of scratch memory that this executor holds (after `plan`, what that work needs).
    fn scratch_bytes(&self) -> u64 {
        0
    }

    /// A new job begins: what a cancelled one left undone is forgotten. Any of these flags cancels it.
    fn begin(&mut self, cancel: [Option<&Flag>; 2]) {
        let _ = cancel;
    }
    /// That nothing of the job was left out.
    ///
    /// # Errors
    /// CANCELLED: an executor that saw a flag has stopped in the middle of an operation.
    fn check(&mut self) -> Result<()> {
        Ok(())
    }

    /// The first image of a state with a value that is no finite number, where the executor can look cheaply.
    fn wrong_image(&self, x: &Self::State) -> Option<usize> {
        let _ = x;
        None
    }

    /// Host values to a state; `fill` writes all of them, NCHW.
    fn load(&mut self, shape: [usize; 4], fill: &mut dyn FnMut(&mut [f32])) -> Result<Self::State>;
    /// Normal noise of standard deviation `scale` to a state: `stream` of each image's seed. An executor that draws it on
    /// its device gives the same bits.
    fn noise(
        &mut self,
        shape: [usize; 4],
        seeds: &[u64],
        (stream, scale): (u32, f32),
    ) -> Result<Self::State> {
        self.load(shape, &mut |out| {
            noise::fill_images(seeds, stream, out);
            if scale != 1.0 {
                out.iter_mut().for_each(|value| *value *= scale);
            }
        })
    }
    /// The time rows of a batch: one time an image, and one label an image where the model has classes. A time is what the
    /// network was trained to be told: a timestep, or some function of the noise level.
    fn time(&mut self, time: &Self::Time, times: &[f32], labels: Option<&[i32]>) -> Result<Self::Rows>;
    /// State to first activation.
    fn conv_in(&mut self, x: &Self::State, conv: &Self::Conv) -> Result<Self::Act>;
    /// See [`NormActConv`].
    fn norm_act_conv(&mut self, x: Input<Self::Act>, op: NormActConv<Self>) -> Result<Self::Act>;
    /// 1x1 convolution, plus bias.
    fn pointwise(&mut self, x: Input<Self::Act>, linear: &Self::Linear) -> Result<Self::Act>;
    /// GroupNorm, q/k/v, softmax(q k^T / sqrt(head width)) v, projection, + x, scaled.
    fn attention(&mut self, x: &Self::Act, attention: &Self::Attention) -> Result<Self::Act>;
    /// Halves or doubles height and width, and nothing else.
    fn resize(&mut self, x: &Self::Act, resize: Resize) -> Result<Self::Act>;
    /// Stride-2 convolution; halves height and width.
    fn downsample(&mut self, x: &Self::Act, conv: &Self::Conv) -> Result<Self::Act>;
    /// Nearest-neighbour doubling, then convolution.
    fn upsample(&mut self, x: &Self::Act, conv: &Self::Conv) -> Result<Self::Act>;
    /// Norm, SiLU, convolution: the raw prediction, or what is said beside it of its variance.
    fn conv_out(&mut self, x: &Self::Act, norm: &Self::Norm, conv: &Self::Conv) -> Result<Self::State>;
    /// One sampler step; see [`Step`].
    fn combine(
        &mut self,
        x: Self::State,
        net: &Self::State,
        noise: Option<&Self::State>,
        step: &Step,
    ) -> Result<Self::State>;
    /// Pixels or floats into the caller's buffer, which `layout` was checked against.
    fn emit(&mut self, x: &Self::State, layout: &Layout, out: &mut [u8]) -> Result<()>;
}
