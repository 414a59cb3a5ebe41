//! `UNet2DModel`'s configuration, and what networks of other sources have beside it.

use super::super::keys::Keys;
use crate::error::Result;
use crate::exec::{Activation, ClassUse};
use crate::model::{Heads, Level, LevelAttention, Network, Resample};
use serde_json::{Map, Value};

/// What diffusers has no word for, under keys of this library: they come from other sources' networks, and a diffusers folder
/// cannot hold those.
pub const OWN: [&str; 8] = [
    "class_embed_use",
    "norm_min_channels",
    "num_attention_heads",
    "output_scale_factor",
    "resample_projection",
    "time_proj_channels",
    "down_attention",
    "up_attention",
];

/// `UNet2DModel`'s configuration, with [`OWN`] beside it. Defaults are diffusers' own.
pub fn network(file: &str, map: &Map<String, Value>) -> Result<Network> {
    let mut keys = Keys::new(file, map);
    let size = match keys.take("sample_size") {
        Some(Value::Array(pair)) => match pair.as_slice() {
            [h, w] => (keys.to_usize("sample_size", h)?, keys.to_usize("sample_size", w)?),
            _ => return Err(keys.wrong("sample_size", &Value::Array(pair.clone()), "a number or a pair")),
        },
        Some(side) => {
            let side = keys.to_usize("sample_size", side)?;
            (side, side)
        }
        None => return Err(keys.unsupported("sample_size", "null", "a number or a pair")),
    };
    let channels = keys.usize("in_channels", 3)?;
    let out_channels = keys.usize("out_channels", 3)?;
    if out_channels != channels && out_channels != 2 * channels {
        let supported = "as many as in_channels, or twice as many (learned variance)";
        return Err(keys.unsupported("out_channels", out_channels, supported));
    }
    let block_out_channels = keys.usizes("block_out_channels", &[224, 448, 672, 896])?;
    let levels = block_out_channels.len();
    // diffusers: plain levels always resample by convolution, and attention's as the type says.
    let plain = Level { attention: LevelAttention::None, resample: Resample::Conv };
    let resnet = Level { attention: LevelAttention::None, resample: Resample::Resnet };
    let attention = Level {
        attention: keys.named("down_attention", LevelAttention::Each)?,
        resample: keys.named("downsample_type", Resample::Conv)?,
    };
    let down = keys.block_types(
        "down_block_types",
        &[("DownBlock2D", plain), ("AttnDownBlock2D", attention), ("ResnetDownsampleBlock2D", resnet)],
        &[plain, attention, attention, attention],
        levels,
    )?;
    let attention = Level {
        attention: keys.named("up_attention", LevelAttention::Each)?,
        resample: keys.named("upsample_type", Resample::Conv)?,
    };
    let up = keys.block_types(
        "up_block_types",
        &[("UpBlock2D", plain), ("AttnUpBlock2D", attention), ("ResnetUpsampleBlock2D", resnet)],
        &[attention, attention, attention, plain],
        levels,
    )?;
    keys.only("mid_block_type", "UNetMidBlock2D")?;
    keys.only("time_embedding_type", "positional")?;
    keys.null("class_embed_type")?;
    keys.ignore("num_train_timesteps");
    let null_class = keys.bool("null_class", false)?;
    let num_classes = match (keys.optional_usize("num_class_embeds")?, null_class) {
        (Some(rows), true) if rows > 1 => Some(rows - 1),
        (rows, true) => {
            let found = rows.map_or("null".to_owned(), |rows| rows.to_string());
            return Err(keys.unsupported(
                "num_class_embeds",
                found,
                "2 or more, of which the last stands for no label",
            ));
        }
        (rows, false) => rows,
    };
    let network = Network {
        size,
        channels,
        layers_per_block: match keys.usize("layers_per_block", 2)? {
            layers @ 1..=32 => layers,
            other => return Err(keys.unsupported("layers_per_block", other, "1 to 32")),
        },
        down,
        up,
        mid_attention: keys.bool("add_attention", true)?,
        heads: heads(&mut keys, map)?,
        norm_num_groups: keys.usize("norm_num_groups", 32)?,
        norm_min_channels: keys.usize("norm_min_channels", 1)?,
        attn_norm_num_groups: keys.optional_usize("attn_norm_num_groups")?,
        norm_eps: keys.f32("norm_eps", 1e-5)?,
        mid_block_scale_factor: keys.f32("mid_block_scale_factor", 1.0)?,
        output_scale_factor: keys.f32("output_scale_factor", 1.0)?,
        resample_projection: keys.bool("resample_projection", false)?,
        symmetric_downsample: match keys.usize_or_zero("downsample_padding", 1)? {
            0 => false,
            1 => true,
            other => return Err(keys.unsupported("downsample_padding", other, "0, 1")),
        },
        activation: keys.named("act_fn", Activation::Silu)?,
        center_input_sample: keys.bool("center_input_sample", false)?,
        flip_sin_to_cos: keys.bool("flip_sin_to_cos", true)?,
        freq_shift: keys.f32("freq_shift", 0.0)?,
        time_proj_channels: keys.usize("time_proj_channels", block_out_channels[0])?,
        time_embedding_dim: keys.optional_usize("time_embedding_dim")?.unwrap_or(4 * block_out_channels[0]),
        scale_shift: match keys.str("resnet_time_scale_shift", "default")? {
            "default" => false,
            "scale_shift" => true,
            other => return Err(keys.unsupported("resnet_time_scale_shift", other, "default, scale_shift")),
        },
        num_classes,
        null_class,
        class_use: keys.named("class_embed_use", ClassUse::Embedding)?,
        learned_variance: out_channels != channels,
        dropout: keys.f32("dropout", 0.0)?,
        block_out_channels,
    };
    keys.finish()?;
    check_network(&keys, &network)?;
    Ok(network)
}

/// diffusers: null is one head, but absent is heads of 8 channels.
fn heads(keys: &mut Keys, map: &Map<String, Value>) -> Result<Heads> {
    let count = keys.optional_usize("num_attention_heads")?;
    let width = keys.optional_usize("attention_head_dim")?;
    match (count, width) {
        (Some(count), None) => Ok(Heads::Count(count)),
        (None, Some(width)) => Ok(Heads::Width(width)),
        (None, None) if map.contains_key("attention_head_dim") => Ok(Heads::Count(1)),
        (None, None) => Ok(Heads::Width(8)),
        (Some(count), Some(_)) => {
            Err(keys.unsupported("num_attention_heads", count, "one of it and attention_head_dim"))
        }
    }
}

/// Relations between keys that no single key shows.
fn check_network(keys: &Keys, n: &Network) -> Result<()> {
    let levels = n.block_out_channels.len();
    let factor = 1usize << (levels - 1);
    if !n.size.0.is_multiple_of(factor) || !n.size.1.is_multiple_of(factor) {
        let found = format!("{} x {} (height x width)", n.size.0, n.size.1);
        return Err(keys.unsupported(
            "sample_size",
            found,
            &format!("multiples of {factor}, for {levels} levels"),
        ));
    }
    let with_attention = |level: usize| {
        n.down[level].attention != LevelAttention::None
            || n.up[levels - 1 - level].attention != LevelAttention::None
            || (level == levels - 1 && n.mid_attention)
    };
    for (level, &channels) in n.block_out_channels.iter().enumerate() {
        // The way up normalises concatenations: of two of a level, or of neighbours.
        let below = n.block_out_channels.get(level + 1).copied().unwrap_or(channels);
        for width in [channels, channels + channels, channels + below] {
            let groups = n.norm_groups(width);
            if groups == 0 || width % groups != 0 {
                let of = &n.block_out_channels;
                let supported = format!("a divisor of every one of block_out_channels {of:?}");
                return Err(keys.unsupported("norm_num_groups", n.norm_num_groups, &supported));
            }
        }
        let (key, found) = match n.heads {
            Heads::Count(count) => ("num_attention_heads", count),
            Heads::Width(width) => ("attention_head_dim", width),
        };
        if with_attention(level) && channels % found != 0 {
            return Err(keys.unsupported(key, found, &format!("a divisor of {channels}")));
        }
    }
    let coarsest = n.block_out_channels[levels - 1];
    if let Some(groups) = n.attn_norm_num_groups
        && !coarsest.is_multiple_of(groups)
    {
        return Err(keys.unsupported("attn_norm_num_groups", groups, &format!("a divisor of {coarsest}")));
    }
    let half = n.time_proj_channels as f32 / 2.0;
    if n.freq_shift >= half.floor() {
        return Err(keys.unsupported("freq_shift", n.freq_shift, "less than half of block_out_channels[0]"));
    }
    for (key, value) in [
        ("norm_eps", n.norm_eps),
        ("mid_block_scale_factor", n.mid_block_scale_factor),
        ("output_scale_factor", n.output_scale_factor),
    ] {
        if value <= 0.0 || !value.recip().is_finite() {
            return Err(keys.unsupported(key, value, "a positive number that can be divided by"));
        }
    }
    Ok(())
}
