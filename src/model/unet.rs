//! The only U-Net: diffusers' `UNet2DModel`, which is also the paper's and DDPM's network.

use super::blocks::{Block, Builder};
use super::{Network, Params};
use crate::error::Result;
use crate::exec::{ConvKind, Executor, Input};

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
}

enum Down<E: Executor> {
    Block(Block<E>),
    Downsample(E::Conv),
}

struct Up<E: Executor> {
    block: Block<E>,
    upsample: Option<E::Conv>,
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
                let attention = network.down_attention[level];
                down.push(Down::Block(builder.block((&prefix, layer), widths, size_at(level), attention)?));
                width = channels[level];
                skip_channels.push(width);
            }
            if level < coarsest {
                let kind = ConvKind::Down { symmetric: network.symmetric_downsample };
                let conv = builder.conv(
                    &format!("{prefix}.downsamplers.0.conv"),
                    kind,
                    (width, width),
                    size_at(level),
                )?;
                down.push(Down::Downsample(conv));
                skip_channels.push(width);
            }
        }

        let factor = network.mid_block_scale_factor;
        let mut mid_resnet = |i: usize| {
            builder.resnet(&format!("mid_block.resnets.{i}"), (width, width), size_at(coarsest), factor)
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
                let block =
                    builder.block((&prefix, layer), widths, size_at(level), network.up_attention[i])?;
                width = channels[level];
                let upsample = (layer == network.layers_per_block && level > 0)
                    .then(|| {
                        let name = format!("{prefix}.upsamplers.0.conv");
                        builder.conv(&name, ConvKind::Up, (width, width), size_at(level))
                    })
                    .transpose()?;
                up.push(Up { block, upsample });
            }
        }
        up.reverse();

        let norm_out = builder.norm("conv_norm_out", width)?;
        let conv_out = builder.conv("conv_out", ConvKind::Out, (width, network.channels), network.size)?;
        Ok(Self { conv_in, time: builder.time()?, down, mid, up, norm_out, conv_out })
    }

    /// How many times `forward` calls its `tick`.
    pub fn ticks(&self) -> u32 {
        (2 * self.up.len()) as u32
    }

    /// The raw prediction for `x`, at one timestep an image, and one label an image where there are classes.
    pub fn forward(
        &self,
        exec: &mut E,
        x: &E::State,
        timesteps: &[i32],
        labels: Option<&[i32]>,
        tick: Tick,
    ) -> Result<E::State> {
        let rows = exec.time(&self.time, timesteps, labels)?;
        let skip = exec.conv_in(x, &self.conv_in)?;
        let h = self.descend(exec, 0, skip, &rows, tick)?;
        exec.conv_out(&h, &self.norm_out, &self.conv_out)
    }

    /// Everything between skip number `depth` and the output of the block that joins it.
    fn descend(
        &self,
        exec: &mut E,
        depth: usize,
        skip: E::Act,
        rows: &E::Rows,
        tick: Tick,
    ) -> Result<E::Act> {
        tick()?;
        let below = match self.down.get(depth) {
            Some(Down::Block(block)) => {
                let h = block.forward(exec, Input::One(&skip), rows)?;
                self.descend(exec, depth + 1, h, rows, tick)?
            }
            Some(Down::Downsample(conv)) => {
                let h = exec.downsample(&skip, conv)?;
                self.descend(exec, depth + 1, h, rows, tick)?
            }
            None => {
                let h = self.mid[0].forward(exec, Input::One(&skip), rows)?;
                self.mid[1].forward(exec, Input::One(&h), rows)?
            }
        };
        tick()?;
        let Up { block, upsample } = &self.up[depth];
        let h = block.forward(exec, Input::Pair(&below, &skip), rows)?;
        match upsample {
            // What was joined is no longer needed while the image grows.
            Some(conv) => {
                drop((below, skip));
                exec.upsample(&h, conv)
            }
            None => Ok(h),
        }
    }
}

/// diffusers' middle block: its own groups, else the others'; under scale-shift without its own, no norm at all.
fn mid_groups(network: &Network) -> Option<usize> {
    network.attn_norm_num_groups.or((!network.scale_shift).then_some(network.norm_num_groups))
}
