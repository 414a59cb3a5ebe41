//! OpenAI's own checkpoints: improved-diffusion's, guided-diffusion's and consistency_models'. Their files hold tensors alone;
//! what made them was said on a command line, whose flags are the configuration here.

use super::describe::CONSISTENCY;
use super::keys::Keys;
use super::renaming::{Qkv, Renaming, Understood};
use super::{Description, Stored};
use crate::error::Result;
use crate::model::Heads;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// The programs, as `format` names them.
const FORMATS: [&str; 3] = ["improved-diffusion", "guided-diffusion", "consistency_models"];

/// A residual block's layers (see [`Renaming::resnet`]).
const RESNET: [&str; 6] =
    ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection"];

/// What the flags say of the network.
struct Flags {
    layers: usize,
    widths: Vec<usize>,
    /// Levels with attention.
    attention: Vec<bool>,
    heads: Heads,
    resblock_updown: bool,
    qkv_parts: bool,
}

/// Reads the flags, and calls the tensors by diffusers' names. Flags that are absent are the programs' defaults.
pub fn understand(
    file: &str,
    (config_name, config): (&str, &Map<String, Value>),
    tensors: BTreeMap<String, Stored>,
) -> Result<Understood> {
    let mut renaming = Renaming::new(file, tensors, "");
    let mut keys = Keys::new(config_name, config);
    let format = keys.str("format", "guided-diffusion")?;
    if !FORMATS.contains(&format) {
        return Err(keys.unsupported("format", format, &FORMATS.join(", ")));
    }
    let size = keys.usize("image_size", 64)?;
    let channels = keys.usize("num_channels", 128)?;
    let mult = match keys.str("channel_mult", "")? {
        "" => usual_multipliers(&keys, format, size)?,
        words => numbers(&keys, "channel_mult", words)?,
    };
    let usual = if format == "improved-diffusion" { "16,8" } else { "32,16,8" };
    let sides = match keys.str("attention_resolutions", usual)? {
        "" => Vec::new(),
        words => numbers(&keys, "attention_resolutions", words)?,
    };
    let head_channels = whole(&mut keys, "num_head_channels")?;
    let heads = match (head_channels, keys.usize("num_heads", 4)?) {
        (Some(width), _) => Heads::Width(width),
        (None, count) => Heads::Count(count),
    };
    if let (Some(other), Heads::Count(count)) = (whole(&mut keys, "num_heads_upsample")?, heads)
        && other != count
    {
        return Err(keys.unsupported("num_heads_upsample", other, "as many as num_heads"));
    }
    let new_order = keys.bool("use_new_attention_order", false)?;
    let flags = Flags {
        layers: keys.usize("num_res_blocks", 2)?,
        widths: mult.iter().map(|mult| (mult * channels as f64) as usize).collect(),
        attention: (0..mult.len()).map(|level| sides.contains(&((size >> level) as f64))).collect(),
        heads,
        resblock_updown: keys.bool("resblock_updown", false)?,
        qkv_parts: format == "consistency_models" || new_order,
    };
    let conditional = keys.bool("class_cond", false)?;
    let classes = renaming.shape("label_emb.weight").and_then(|shape| shape.first().copied());
    let learn_sigma = keys.bool("learn_sigma", false)?;
    let mut network = json!({
        "sample_size": size,
        "in_channels": 3,
        "out_channels": if learn_sigma { 6 } else { 3 },
        "block_out_channels": flags.widths,
        "layers_per_block": flags.layers,
        "down_block_types": types(&flags, "Down", "Downsample"),
        "up_block_types": types(&flags, "Up", "Upsample").into_iter().rev().collect::<Vec<_>>(),
        "downsample_type": if flags.resblock_updown { "resnet" } else { "conv" },
        "upsample_type": if flags.resblock_updown { "resnet" } else { "conv" },
        "attention_head_dim": match heads { Heads::Width(width) => Some(width), Heads::Count(_) => None },
        "attn_norm_num_groups": 32,
        "resnet_time_scale_shift": match keys.bool("use_scale_shift_norm", true)? {
            true => "scale_shift",
            false => "default",
        },
        "time_embedding_dim": 4 * channels,
        "num_class_embeds": conditional.then_some(classes.unwrap_or(1000)),
        "dropout": keys.f64("dropout", 0.0)?,
    });
    // What diffusers has no word for only where it must be: the rest can be exported.
    if let Heads::Count(count @ 2..) = heads {
        network["num_attention_heads"] = count.into();
    }
    if flags.widths[0] != channels {
        network["time_proj_channels"] = channels.into();
    }
    let scheduler = scheduler(&mut keys, format, learn_sigma)?;
    // How the programs run, and not what their networks are.
    for key in ["use_fp16", "use_checkpoint", "use_kl", "rescale_learned_sigmas", "timestep_respacing"] {
        keys.ignore(key);
    }
    keys.finish()?;
    rename(&mut renaming, &flags, conditional)?;
    let description = Description::new(network, scheduler);
    Ok(Understood { description, tensors: renaming.finish(), computed: None })
}

/// The diffusion process of the flags.
fn scheduler(keys: &mut Keys, format: &str, learn_sigma: bool) -> Result<Value> {
    if format == "consistency_models" {
        return Ok(json!({
            "_class_name": CONSISTENCY,
            "num_train_timesteps": keys.usize("num_timesteps", 40)?,
            "sigma_min": keys.f64("sigma_min", 0.002)?,
            "sigma_max": keys.f64("sigma_max", 80.0)?,
            "sigma_data": keys.f64("sigma_data", 0.5)?,
            "rho": keys.f64("rho", 7.0)?,
            "clip_denoised": true,
        }));
    }
    let timesteps = keys.usize("diffusion_steps", 1000)?;
    // Linear betas were meant for 1,000 timesteps, and shrink as there are more.
    let scale = 1000.0 / timesteps as f64;
    let sigma_small = keys.bool("sigma_small", false)?;
    Ok(json!({
        "num_train_timesteps": timesteps,
        "beta_schedule": match keys.str("noise_schedule", "linear")? {
            "linear" => "linear",
            "cosine" => "squaredcos_cap_v2",
            other => return Err(keys.unsupported("noise_schedule", other, "linear, cosine")),
        },
        "beta_start": scale * 1e-4,
        "beta_end": scale * 0.02,
        "prediction_type": if keys.bool("predict_xstart", false)? { "sample" } else { "epsilon" },
        "variance_type": match (learn_sigma, sigma_small) {
            (true, _) => "learned_range",
            (false, true) => "fixed_small",
            (false, false) => "fixed_large",
        },
        "clip_sample": true,
        "use_clipped_model_output": true,
        "rescale_timesteps": keys.bool("rescale_timesteps", false)?,
    }))
}

/// `channel_mult` where none is given.
fn usual_multipliers(keys: &Keys, format: &str, size: usize) -> Result<Vec<f64>> {
    Ok(match size {
        512 => vec![0.5, 1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
        256 => vec![1.0, 1.0, 2.0, 2.0, 4.0, 4.0],
        128 => vec![1.0, 1.0, 2.0, 3.0, 4.0],
        64 => vec![1.0, 2.0, 3.0, 4.0],
        32 if format == "improved-diffusion" => vec![1.0, 2.0, 2.0, 2.0],
        other => return Err(keys.unsupported("image_size", other, "64, 128, 256, 512 without channel_mult")),
    })
}

/// Numbers with commas between them.
fn numbers(keys: &Keys, key: &str, words: &str) -> Result<Vec<f64>> {
    let number = |word: &str| word.trim().parse::<f64>().ok().filter(|number| *number > 0.0);
    let numbers: Option<Vec<f64>> = words.split(',').map(number).collect();
    numbers
        .filter(|numbers| numbers.len() <= 8)
        .ok_or_else(|| keys.unsupported(key, words, "up to 8 numbers, as in 1,2,2"))
}

/// A count of which -1 means none.
fn whole(keys: &mut Keys, key: &'static str) -> Result<Option<usize>> {
    match keys.take(key) {
        Some(value) if value.as_i64() != Some(-1) => keys.to_usize(key, value).map(Some),
        _ => Ok(None),
    }
}

fn types(flags: &Flags, attention: &str, resample: &str) -> Vec<String> {
    let kind = |&attends: &bool| match (attends, flags.resblock_updown) {
        (true, _) => format!("Attn{attention}Block2D"),
        (false, true) => format!("Resnet{resample}Block2D"),
        (false, false) => format!("{attention}Block2D"),
    };
    flags.attention.iter().map(kind).collect()
}

fn rename(renaming: &mut Renaming, flags: &Flags, conditional: bool) -> Result<()> {
    renaming.layer("time_embed.0", "time_embedding.linear_1")?;
    renaming.layer("time_embed.2", "time_embedding.linear_2")?;
    if conditional {
        let table = renaming.take("label_emb.weight")?;
        renaming.put("class_embedding.weight", table);
    }
    renaming.layer("input_blocks.0.0", "conv_in")?;
    let levels = flags.widths.len();
    let mut at = 1;
    for level in 0..levels {
        let to = format!("down_blocks.{level}");
        for layer in 0..flags.layers {
            renaming.resnet(&format!("input_blocks.{at}.0"), &format!("{to}.resnets.{layer}"), &RESNET)?;
            if flags.attention[level] {
                let from = format!("input_blocks.{at}.1");
                attention(renaming, flags, &from, &format!("{to}.attentions.{layer}"))?;
            }
            at += 1;
        }
        if level + 1 < levels {
            match flags.resblock_updown {
                true => renaming.resnet(
                    &format!("input_blocks.{at}.0"),
                    &format!("{to}.downsamplers.0"),
                    &RESNET,
                )?,
                false => renaming
                    .layer(&format!("input_blocks.{at}.0.op"), &format!("{to}.downsamplers.0.conv"))?,
            }
            at += 1;
        }
    }
    renaming.resnet("middle_block.0", "mid_block.resnets.0", &RESNET)?;
    attention(renaming, flags, "middle_block.1", "mid_block.attentions.0")?;
    renaming.resnet("middle_block.2", "mid_block.resnets.1", &RESNET)?;
    let mut at = 0;
    for (i, level) in (0..levels).rev().enumerate() {
        let to = format!("up_blocks.{i}");
        for layer in 0..=flags.layers {
            renaming.resnet(&format!("output_blocks.{at}.0"), &format!("{to}.resnets.{layer}"), &RESNET)?;
            if flags.attention[level] {
                let from = format!("output_blocks.{at}.1");
                attention(renaming, flags, &from, &format!("{to}.attentions.{layer}"))?;
            }
            if layer == flags.layers && level > 0 {
                let from = format!("output_blocks.{at}.{}", 1 + usize::from(flags.attention[level]));
                match flags.resblock_updown {
                    true => renaming.resnet(&from, &format!("{to}.upsamplers.0"), &RESNET)?,
                    false => renaming.layer(&format!("{from}.conv"), &format!("{to}.upsamplers.0.conv"))?,
                }
            }
            at += 1;
        }
    }
    renaming.layer("out.0", "conv_norm_out")?;
    renaming.layer("out.2", "conv_out")
}

fn attention(renaming: &mut Renaming, flags: &Flags, from: &str, to: &str) -> Result<()> {
    renaming.layers(from, to, &[("norm", "group_norm"), ("proj_out", "to_out.0")])?;
    renaming.qkv(&format!("{from}.qkv"), to, |channels| match flags.qkv_parts {
        true => Qkv::Parts,
        false => Qkv::Heads(flags.heads.of(channels)),
    })
}
