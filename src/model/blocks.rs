//! The blocks of the U-Net, and how each finds its parameters.

use super::{Network, Params, Resample};
use crate::error::{Error, Result};
use crate::exec::{
    Activation, AttentionWeights, ConvKind, ConvWeights, Executor, Input, LinearWeights, NormActConv,
    NormWeights, Resize, TimeUse, TimeWeights,
};

/// GroupNorm, activation, convolution, time, and the same again, around a residual connection (Ho et al. 2020).
pub(super) struct Resnet<E: Executor> {
    norm1: E::Norm,
    conv1: E::Conv,
    norm2: E::Norm,
    conv2: E::Conv,
    /// Between the first activation and the first convolution, and of the residual alike.
    resize: Option<Resize>,
    /// 1x1, where the channel counts differ, or the network's resampling blocks have one.
    shortcut: Option<E::Linear>,
    /// Which of the time projections is this block's.
    slot: usize,
    time_use: TimeUse,
    activation: Activation,
    scale: f32,
}

impl<E: Executor> Resnet<E> {
    pub(super) fn forward(&self, exec: &mut E, x: Input<E::Act>, rows: &E::Rows) -> Result<E::Act> {
        let time_for = |here| (self.time_use == here).then_some((rows, self.slot, here));
        let h = exec.norm_act_conv(
            x,
            NormActConv {
                norm: &self.norm1,
                activation: self.activation,
                conv: &self.conv1,
                dropout: false,
                time: time_for(TimeUse::Bias),
                residual: None,
                scale: 1.0,
            },
        )?;
        let made = match (&self.shortcut, self.resize, x) {
            (Some(linear), None, x) => Some(exec.pointwise(x, linear)?),
            (None, Some(resize), Input::One(x)) => Some(exec.resize(x, resize)?),
            // In the order in which the 1x1 convolution has fewer pixels.
            (Some(linear), Some(Resize::Halve), Input::One(x)) => {
                let small = exec.resize(x, Resize::Halve)?;
                Some(exec.pointwise(Input::One(&small), linear)?)
            }
            (Some(linear), Some(Resize::Double), x) => {
                let small = exec.pointwise(x, linear)?;
                Some(exec.resize(&small, Resize::Double)?)
            }
            (None, None, Input::One(_)) => None,
            _ => return Err(Error::Internal("a residual of another shape than its block's".into())),
        };
        let residual = match (&made, x) {
            (Some(made), _) => made,
            (None, Input::One(x) | Input::Pair(x, _)) => x,
        };
        exec.norm_act_conv(
            Input::One(&h),
            NormActConv {
                norm: &self.norm2,
                activation: self.activation,
                conv: &self.conv2,
                dropout: true,
                time: time_for(TimeUse::ScaleShift),
                residual: Some(residual),
                scale: self.scale,
            },
        )
    }
}

/// What ends a level but the last.
pub(super) enum Resampler<E: Executor> {
    Conv(E::Conv),
    Resnet(Resnet<E>),
}

/// A residual block and the attention that may follow it.
pub(super) struct Block<E: Executor> {
    pub(super) resnet: Resnet<E>,
    pub(super) attention: Option<E::Attention>,
}

impl<E: Executor> Block<E> {
    pub(super) fn forward(&self, exec: &mut E, x: Input<E::Act>, rows: &E::Rows) -> Result<E::Act> {
        let h = self.resnet.forward(exec, x, rows)?;
        match &self.attention {
            Some(attention) => exec.attention(&h, attention),
            None => Ok(h),
        }
    }
}

/// Gathers parameters under their diffusers names; the time projections are kept until all are known.
pub(super) struct Builder<'a, E: Executor> {
    pub(super) params: &'a dyn Params,
    pub(super) device: &'a E::Device,
    pub(super) network: &'a Network,
    projections: Vec<LinearWeights<'a>>,
}

impl<'a, E: Executor> Builder<'a, E> {
    pub(super) fn new(params: &'a dyn Params, device: &'a E::Device, network: &'a Network) -> Self {
        Self { params, device, network, projections: Vec::new() }
    }

    /// The block number `layer` of the level at `prefix`.
    pub(super) fn block(
        &mut self,
        (prefix, layer): (&str, usize),
        (c_in, c_out): (usize, usize),
        size: (usize, usize),
        attention: bool,
    ) -> Result<Block<E>> {
        let factor = self.network.output_scale_factor;
        let resnet = self.resnet(&format!("{prefix}.resnets.{layer}"), (c_in, c_out), size, None, factor)?;
        let groups = Some(self.network.norm_groups(c_out));
        let attention = attention
            .then(|| self.attention(&format!("{prefix}.attentions.{layer}"), c_out, groups, factor))
            .transpose()?;
        Ok(Block { resnet, attention })
    }

    /// The residual block at `prefix`, on images of `size`, before they are resized.
    pub(super) fn resnet(
        &mut self,
        prefix: &str,
        (c_in, c_out): (usize, usize),
        size: (usize, usize),
        resize: Option<Resize>,
        scale_factor: f32,
    ) -> Result<Resnet<E>> {
        let kind = match resize {
            None => ConvKind::Same,
            Some(Resize::Halve) => ConvKind::Pooled,
            Some(Resize::Double) => ConvKind::Up,
        };
        let second_size = resize.map_or(size, |resize| (resize.of(size.0), resize.of(size.1)));
        let time_use = if self.network.scale_shift { TimeUse::ScaleShift } else { TimeUse::Bias };
        let time_width = if self.network.scale_shift { 2 * c_out } else { c_out };
        let slot = self.projections.len();
        let projection =
            self.linear(&format!("{prefix}.time_emb_proj"), self.network.time_embedding_dim, time_width)?;
        self.projections.push(projection);
        let shortcut = (c_in != c_out || resize.is_some() && self.network.resample_projection)
            .then(|| {
                E::prepare_linear(self.device, &self.linear(&format!("{prefix}.conv_shortcut"), c_in, c_out)?)
            })
            .transpose()?;
        Ok(Resnet {
            norm1: self.norm(&format!("{prefix}.norm1"), c_in)?,
            conv1: self.conv(&format!("{prefix}.conv1"), kind, (c_in, c_out), size)?,
            norm2: self.norm(&format!("{prefix}.norm2"), c_out)?,
            conv2: self.conv(&format!("{prefix}.conv2"), ConvKind::Same, (c_out, c_out), second_size)?,
            resize,
            shortcut,
            slot,
            time_use,
            activation: self.network.activation,
            scale: inverse(scale_factor),
        })
    }

    /// What ends the level at `prefix`, on images of `size`.
    pub(super) fn resampler(
        &mut self,
        prefix: &str,
        channels: usize,
        size: (usize, usize),
        resample: Resample,
        resize: Resize,
    ) -> Result<Resampler<E>> {
        let name = match resize {
            Resize::Halve => format!("{prefix}.downsamplers.0"),
            Resize::Double => format!("{prefix}.upsamplers.0"),
        };
        let kind = match resize {
            Resize::Halve => ConvKind::Down { symmetric: self.network.symmetric_downsample },
            Resize::Double => ConvKind::Up,
        };
        let widths = (channels, channels);
        Ok(match resample {
            Resample::Conv => Resampler::Conv(self.conv(&format!("{name}.conv"), kind, widths, size)?),
            Resample::Resnet => {
                let factor = self.network.output_scale_factor;
                Resampler::Resnet(self.resnet(&name, widths, size, Some(resize), factor)?)
            }
        })
    }

    pub(super) fn conv(
        &self,
        prefix: &str,
        kind: ConvKind,
        (c_in, c_out): (usize, usize),
        size: (usize, usize),
    ) -> Result<E::Conv> {
        let weights = ConvWeights {
            kind,
            size,
            weight: self.params.tensor(&format!("{prefix}.weight"), &[c_out, c_in, 3, 3])?,
            bias: self.params.tensor(&format!("{prefix}.bias"), &[c_out])?,
        };
        E::prepare_conv(self.device, &weights)
    }

    /// The last convolution: to the image's channels, and, of a network that learned its variance, to as many of that.
    pub(super) fn conv_out(&self, width: usize) -> Result<(E::Conv, Option<E::Conv>)> {
        let Network { channels, size, learned_variance, .. } = *self.network;
        if !learned_variance {
            return Ok((self.conv("conv_out", ConvKind::Out, (width, channels), size)?, None));
        }
        let half = |half: usize| {
            let rows = half * channels..(half + 1) * channels;
            let weight = self.params.tensor("conv_out.weight", &[2 * channels, width, 3, 3])?;
            let bias = self.params.tensor("conv_out.bias", &[2 * channels])?;
            let weights = ConvWeights {
                kind: ConvKind::Out,
                size,
                weight: weight.rows(rows.clone()),
                bias: bias.rows(rows),
            };
            E::prepare_conv(self.device, &weights)
        };
        Ok((half(0)?, Some(half(1)?)))
    }

    pub(super) fn norm(&self, prefix: &str, channels: usize) -> Result<E::Norm> {
        E::prepare_norm(
            self.device,
            &self.norm_weights(prefix, channels, self.network.norm_groups(channels))?,
        )
    }

    /// The attention block at `prefix`; `groups` none means that it has no norm.
    pub(super) fn attention(
        &self,
        prefix: &str,
        channels: usize,
        groups: Option<usize>,
        scale_factor: f32,
    ) -> Result<E::Attention> {
        let part = |name: &str| self.linear(&format!("{prefix}.{name}"), channels, channels);
        let weights = AttentionWeights {
            norm: groups
                .map(|groups| self.norm_weights(&format!("{prefix}.group_norm"), channels, groups))
                .transpose()?,
            qkv: [part("to_q")?, part("to_k")?, part("to_v")?],
            out: part("to_out.0")?,
            heads: self.network.heads.of(channels),
            scale: inverse(scale_factor),
        };
        E::prepare_attention(self.device, &weights)
    }

    /// The time embedding; called last, when every residual block has left its projection.
    pub(super) fn time(self) -> Result<E::Time> {
        let n = self.network;
        let channels = n.time_proj_channels;
        let class_width = n.class_use.width(channels, n.time_embedding_dim);
        let weights = TimeWeights {
            channels,
            flip_sin_to_cos: n.flip_sin_to_cos,
            freq_shift: n.freq_shift,
            linear_1: self.linear("time_embedding.linear_1", channels, n.time_embedding_dim)?,
            linear_2: self.linear("time_embedding.linear_2", n.time_embedding_dim, n.time_embedding_dim)?,
            class_embedding: n
                .labels()
                .map(|labels| self.params.tensor("class_embedding.weight", &[labels, class_width]))
                .transpose()?,
            class_use: n.class_use,
            activation: n.activation,
            projections: self.projections,
        };
        E::prepare_time(self.device, &weights)
    }

    fn linear(&self, prefix: &str, c_in: usize, c_out: usize) -> Result<LinearWeights<'a>> {
        Ok(LinearWeights {
            weight: self.params.tensor(&format!("{prefix}.weight"), &[c_out, c_in])?,
            bias: self.params.tensor(&format!("{prefix}.bias"), &[c_out])?,
        })
    }

    fn norm_weights(&self, prefix: &str, channels: usize, groups: usize) -> Result<NormWeights<'a>> {
        Ok(NormWeights {
            weight: self.params.tensor(&format!("{prefix}.weight"), &[channels])?,
            bias: self.params.tensor(&format!("{prefix}.bias"), &[channels])?,
            groups,
            eps: self.network.norm_eps,
        })
    }
}

/// Of a scale factor; in f64, so that sqrt(2) gives sqrt(1/2)'s nearest.
fn inverse(factor: f32) -> f32 {
    (1.0 / f64::from(factor)) as f32
}
