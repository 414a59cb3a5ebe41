//! The only U-Net: diffusers' `UNet2DModel`, which is also the paper's and DDPM's network.

use super::blocks::{Block, Builder, Resampler};
use super::{Network, Params};
use crate::error::{Error, Result};
use crate::exec::{ConvKind, Executor, Input, Resize};

/// A network prepared for one executor. Immutable; shared by all sessions.
///
/// The way down and the way up mirror each other: `conv_in` makes skip 0, `down[k]` turns skip k into skip k + 1,
/// the middle works on the last one, and `up[k]` joins what comes from below with skip k.
pub struct UNet<E: Executor> {
    conv_in: E::Conv,
    time: E::Time,
    down: Vec<Down<E>>,
    mid: [Block<E>; 2],
    /// In the order of their skips: the last one runs first.
    up: Vec<Up<E>>,
    norm_out: E::Norm,
    conv_out: E::Conv,
    /// Of a network that learned its variance.
    conv_variance: Option<E::Conv>,
}

enum Down<E: Executor> {
    Block(Block<E>),
    Downsample(Resampler<E>),
}

struct Up<E: Executor> {
    block: Block<E>,
    upsample: Option<Resampler<E>>,
}

/// Called before each block; its error ends the pass (cancellation).
pub type Tick<'a> = &'a mut dyn FnMut() -> Result<()>;

impl<E: Executor> UNet<E> {
    /// Prepares every parameter of `network` for `device`.
    pub fn new(network: &Network, params: &dyn Params, device: &E::Device) -> Result<Self> {
        let mut builder = Builder::<E>::new(params, device, network);
        let channels = &network.block_out_channels;
        let coarsest = channels.len() - 1;
        let size_at = |level: usize| (network.size.0 >> level, network.size.1 >> level);

        let conv_in_kind = ConvKind::In { center: network.center_input_sample };
        let conv_in = builder.conv("conv_in", conv_in_kind, (network.channels, channels[0]), network.size)?;

        let mut down = Vec::new();
        let mut skip_channels = vec![channels[0]];
        let mut width = channels[0];
        for level in 0..=coarsest {
            let prefix = format!("down_blocks.{level}");
            for layer in 0..network.layers_per_block {
                let widths = (width, channels[level]);
                let attention = network.down[level].attends(layer, network.layers_per_block);
                down.push(Down::Block(builder.block((&prefix, layer), widths, size_at(level), attention)?));
                width = channels[level];
                skip_channels.push(width);
            }
            if level < coarsest {
                let resample = network.down[level].resample;
                let end = builder.resampler(&prefix, width, size_at(level), resample, Resize::Halve)?;
                down.push(Down::Downsample(end));
                skip_channels.push(width);
            }
        }

        let factor = network.mid_block_scale_factor;
        let mut mid_resnet = |i: usize| {
            builder.resnet(&format!("mid_block.resnets.{i}"), (width, width), size_at(coarsest), None, factor)
        };
        let (mid_first, mid_second) = (mid_resnet(0)?, mid_resnet(1)?);
        let mid_attention = network
            .mid_attention
            .then(|| builder.attention("mid_block.attentions.0", width, mid_groups(network), factor))
            .transpose()?;
        let mid = [
            Block { resnet: mid_first, attention: mid_attention },
            Block { resnet: mid_second, attention: None },
        ];

        let mut up = Vec::new();
        for (i, level) in (0..=coarsest).rev().enumerate() {
            let prefix = format!("up_blocks.{i}");
            for layer in 0..=network.layers_per_block {
                let joined = width + skip_channels.pop().unwrap_or(0);
                let widths = (joined, channels[level]);
                let attention = network.up[i].attends(layer, network.layers_per_block + 1);
                let block = builder.block((&prefix, layer), widths, size_at(level), attention)?;
                width = channels[level];
                let upsample = (layer == network.layers_per_block && level > 0)
                    .then(|| {
                        let resample = network.up[i].resample;
                        builder.resampler(&prefix, width, size_at(level), resample, Resize::Double)
                    })
                    .transpose()?;
                up.push(Up { block, upsample });
            }
        }
        up.reverse();

        let norm_out = builder.norm("conv_norm_out", width)?;
        let (conv_out, conv_variance) = builder.conv_out(width)?;
        Ok(Self { conv_in, time: builder.time()?, down, mid, up, norm_out, conv_out, conv_variance })
    }

    /// How many times `forward` calls its `tick`.
    pub fn ticks(&self) -> u32 {
        (2 * self.up.len()) as u32
    }

    /// The raw prediction for `x`, at one time an image, and one label an image where there are classes.
    pub fn forward(
        &self,
        exec: &mut E,
        x: &E::State,
        times: &[f32],
        labels: Option<&[i32]>,
        tick: Tick,
    ) -> Result<E::State> {
        let h = self.features(exec, x, times, labels, tick)?;
        exec.conv_out(&h, &self.norm_out, &self.conv_out)
    }

    /// The raw prediction, and what a network that learned its variance says of that: -1 the least, 1 the most.
    pub fn forward_with_variance(
        &self,
        exec: &mut E,
        x: &E::State,
        times: &[f32],
        labels: Option<&[i32]>,
        tick: Tick,
    ) -> Result<(E::State, E::State)> {
        let Some(conv_variance) = &self.conv_variance else {
            return Err(Error::Internal("this network did not learn its variance".into()));
        };
        let h = self.features(exec, x, times, labels, tick)?;
        let prediction = exec.conv_out(&h, &self.norm_out, &self.conv_out)?;
        Ok((prediction, exec.conv_out(&h, &self.norm_out, conv_variance)?))
    }

    /// What the last norm reads.
    fn features(
        &self,
        exec: &mut E,
        x: &E::State,
        times: &[f32],
        labels: Option<&[i32]>,
        tick: Tick,
    ) -> Result<E::Act> {
        let rows = exec.time(&self.time, times, labels)?;
        let skip = exec.conv_in(x, &self.conv_in)?;
        let mut skips = exec.take_stack();
        let h = self.walk(exec, skip, &mut skips, &rows, tick);
        skips.clear();
        exec.keep_stack(skips);
        h
    }

    /// Everything between the first convolution and what the last norm reads. A loop, and `skips` the executor's: a network's depth
    /// needs neither the caller's stack nor memory anew.
    fn walk(
        &self,
        exec: &mut E,
        mut h: E::Act,
        skips: &mut Vec<E::Act>,
        rows: &E::Rows,
        tick: Tick,
    ) -> Result<E::Act> {
        for down in &self.down {
            tick()?;
            let below = match down {
                Down::Block(block) => block.forward(exec, Input::One(&h), rows)?,
                Down::Downsample(Resampler::Conv(conv)) => exec.downsample(&h, conv)?,
                Down::Downsample(Resampler::Resnet(resnet)) => resnet.forward(exec, Input::One(&h), rows)?,
            };
            skips.push(std::mem::replace(&mut h, below));
        }
        tick()?;
        let middle = self.mid[0].forward(exec, Input::One(&h), rows)?;
        let middle = self.mid[1].forward(exec, Input::One(&middle), rows)?;
        skips.push(std::mem::replace(&mut h, middle));
        // `up` counts as `skips` does.
        for Up { block, upsample } in self.up.iter().rev() {
            tick()?;
            let skip = skips.pop().ok_or_else(|| Error::Internal("more blocks up than down".into()))?;
            let joined = block.forward(exec, Input::Pair(&h, &skip), rows)?;
            // What was joined is no longer needed while the image grows.
            drop(skip);
            h = joined;
            h = match upsample {
                Some(Resampler::Conv(conv)) => exec.upsample(&h, conv)?,
                Some(Resampler::Resnet(resnet)) => resnet.forward(exec, Input::One(&h), rows)?,
                None => h,
            };
        }
        Ok(h)
    }
}

/// diffusers' middle block: its own groups, else the others'; under scale-shift without its own, no norm at all.
fn mid_groups(network: &Network) -> Option<usize> {
    let coarsest = network.block_out_channels[network.block_out_channels.len() - 1];
    network.attn_norm_num_groups.or((!network.scale_shift).then(|| network.norm_groups(coarsest)))
}
