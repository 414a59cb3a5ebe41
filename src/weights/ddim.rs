//! The DDPM and DDIM authors' network in PyTorch (`ermongroup/ddim`, `pytorch_diffusion`), as state dicts. The configuration is that
//! of its runs: `data`, `model` and `diffusion`.

use super::Description;
use super::keys::Keys;
use super::plain::Tensors;
use super::renaming::{Renaming, Shapes, Understood};
use crate::error::{Error, Result};
use serde_json::{Map, Value, json};

/// A residual block's layers (see [`Renaming::resnet`]).
const RESNET: [&str; 6] = ["norm1", "conv1", "temb_proj", "norm2", "conv2", "nin_shortcut"];

/// Side at which the published networks have attention.
const ATTENTION_SIDE: usize = 16;

/// The network, as its tensors tell it.
struct Found {
    /// Channels of an image.
    images: usize,
    layers: usize,
    widths: Vec<usize>,
    /// Levels with attention.
    attention: Vec<bool>,
    /// Of the sinusoid, and of the embedding made of it.
    time: (usize, usize),
}

/// Reads the configuration, none for the published networks', and calls the tensors by diffusers' names.
pub fn understand(
    file: &str,
    config: Option<(&str, &Map<String, Value>)>,
    tensors: Tensors,
    group_norm_eps: Option<f32>,
    notes: &mut Vec<String>,
) -> Result<Understood> {
    let found = found(file, Shapes(&tensors))?;
    let empty = Map::new();
    let (config_name, config) = config.unwrap_or((file, &empty));
    let section = |name: &str| match config.get(name) {
        Some(Value::Object(section)) => Ok(section),
        None => Ok(&empty),
        Some(_) => Err(Error::bad_model(config_name, format!("{name} is no section of a configuration"))),
    };
    let (data, model, diffusion) = (section("data")?, section("model")?, section("diffusion")?);
    let size = match Keys::new(config_name, data).optional_usize("image_size")? {
        Some(size) => size,
        None => {
            // As the published ones, if it has attention at one level.
            let level = found.attention.iter().position(|attends| *attends);
            let level = level.ok_or_else(|| {
                Error::bad_model(
                    file,
                    "its tensors do not tell the size of its images: --config FILE, data.image_size",
                )
            })?;
            let size = ATTENTION_SIDE << level;
            notes.push(format!(
                "images of {size} x {size} assumed, as attention at {ATTENTION_SIDE} x {ATTENTION_SIDE} would have it \
                 (else: --config FILE, data.image_size)"
            ));
            size
        }
    };
    check_model(&mut Keys::new(config_name, model), file, size, &found)?;
    let mut keys = Keys::new(config_name, diffusion);
    let network = json!({
        "sample_size": size,
        "in_channels": found.images,
        "out_channels": found.images,
        "block_out_channels": found.widths,
        "layers_per_block": found.layers,
        "down_block_types": types(&found, "Down"),
        "up_block_types": types(&found, "Up").into_iter().rev().collect::<Vec<_>>(),
        "attention_head_dim": null,
        "downsample_padding": 0,
        "norm_eps": group_norm_eps.unwrap_or(1e-6),
        "flip_sin_to_cos": false,
        "freq_shift": 1,
        "time_embedding_dim": found.time.1,
        "time_proj_channels": (found.time.0 != found.widths[0]).then_some(found.time.0),
    });
    let scheduler = json!({
        "num_train_timesteps": keys.usize("num_diffusion_timesteps", 1000)?,
        "beta_schedule": keys.str("beta_schedule", "linear")?,
        "beta_start": keys.f64("beta_start", 1e-4)?,
        "beta_end": keys.f64("beta_end", 0.02)?,
        "prediction_type": "epsilon",
        "variance_type": "fixed_large",
        "clip_sample": false,
    });
    keys.finish()?;
    let mut renaming = Renaming::new(file, tensors);
    rename(&mut renaming, &found)?;
    let description = Description::new(without_nulls(network), scheduler);
    Ok(Understood { description, tensors: renaming.finish(), computed: None })
}

/// A null number of channels is none, but a null width of heads is one head.
fn without_nulls(mut network: Value) -> Value {
    if let Value::Object(map) = &mut network {
        map.retain(|key, value| !value.is_null() || key == "attention_head_dim");
    }
    network
}

/// Reads the network off its tensors.
fn found(file: &str, tensors: Shapes) -> Result<Found> {
    let unlike = || Error::bad_model(file, "its tensors are not those of the DDIM authors' U-Net");
    let shape = |name: &str| tensors.shape(name).ok_or_else(unlike);
    let (&[_, images, 3, 3], &[embedding, sinusoid]) =
        (shape("conv_in.weight")?, shape("temb.dense.0.weight")?)
    else {
        return Err(unlike());
    };
    let levels = (0..8).take_while(|level| tensors.has(&format!("down.{level}.block.0.conv1"))).count();
    let layers = (0..32).take_while(|layer| tensors.has(&format!("down.0.block.{layer}.conv1"))).count();
    let width = |level: usize| {
        let conv = format!("down.{level}.block.0.conv1.weight");
        shape(&conv)?.first().copied().ok_or_else(unlike)
    };
    let widths = (0..levels).map(width).collect::<Result<Vec<usize>>>()?;
    let attention = (0..levels).map(|level| tensors.has(&format!("down.{level}.attn.0.q"))).collect();
    if widths.is_empty() {
        return Err(unlike());
    }
    Ok(Found { images, layers, widths, attention, time: (sinusoid, embedding) })
}

/// An error for a configuration that says otherwise than the tensors.
fn check_model(keys: &mut Keys, file: &str, size: usize, found: &Found) -> Result<()> {
    let ch = found.time.0;
    keys.agrees("ch", file, &ch.into())?;
    keys.agrees("in_channels", file, &found.images.into())?;
    keys.agrees("out_ch", file, &found.images.into())?;
    keys.agrees("num_res_blocks", file, &found.layers.into())?;
    let mult: Vec<usize> = found.widths.iter().map(|width| width / ch.max(1)).collect();
    keys.agrees("ch_mult", file, &mult.into())?;
    keys.agrees("resamp_with_conv", file, &true.into())?;
    if let Some(Value::Array(said)) = keys.take("attn_resolutions") {
        let said: Vec<u64> = said.iter().filter_map(Value::as_u64).collect();
        keys.attention_agrees(("attn_resolutions", &said), file, size, &found.attention)?;
    }
    // How it is trained and run.
    for key in ["type", "dropout", "var_type", "ema", "ema_rate"] {
        keys.ignore(key);
    }
    keys.finish()
}

fn types(found: &Found, kind: &str) -> Vec<String> {
    let name = |&attends: &bool| match attends {
        true => format!("Attn{kind}Block2D"),
        false => format!("{kind}Block2D"),
    };
    found.attention.iter().map(name).collect()
}

fn rename(renaming: &mut Renaming, found: &Found) -> Result<()> {
    renaming.layer("temb.dense.0", "time_embedding.linear_1")?;
    renaming.layer("temb.dense.1", "time_embedding.linear_2")?;
    renaming.layer("conv_in", "conv_in")?;
    let levels = found.widths.len();
    for level in 0..levels {
        let (from, to) = (format!("down.{level}"), format!("down_blocks.{level}"));
        blocks(renaming, &from, &to, found.layers, found.attention[level])?;
        if level + 1 < levels {
            renaming.layer(&format!("{from}.downsample.conv"), &format!("{to}.downsamplers.0.conv"))?;
        }
    }
    renaming.resnet("mid.block_1", "mid_block.resnets.0", &RESNET)?;
    attention(renaming, "mid.attn_1", "mid_block.attentions.0")?;
    renaming.resnet("mid.block_2", "mid_block.resnets.1", &RESNET)?;
    // Its levels on the way up count from the finest too, diffusers' from the coarsest.
    for level in 0..levels {
        let (from, to) = (format!("up.{level}"), format!("up_blocks.{}", levels - 1 - level));
        blocks(renaming, &from, &to, found.layers + 1, found.attention[level])?;
        if level > 0 {
            renaming.layer(&format!("{from}.upsample.conv"), &format!("{to}.upsamplers.0.conv"))?;
        }
    }
    renaming.layer("norm_out", "conv_norm_out")?;
    renaming.layer("conv_out", "conv_out")
}

fn blocks(renaming: &mut Renaming, from: &str, to: &str, layers: usize, attends: bool) -> Result<()> {
    for layer in 0..layers {
        renaming.resnet(&format!("{from}.block.{layer}"), &format!("{to}.resnets.{layer}"), &RESNET)?;
        if attends {
            attention(renaming, &format!("{from}.attn.{layer}"), &format!("{to}.attentions.{layer}"))?;
        }
    }
    Ok(())
}

fn attention(renaming: &mut Renaming, from: &str, to: &str) -> Result<()> {
    const LAYERS: [(&str, &str); 5] =
        [("norm", "group_norm"), ("q", "to_q"), ("k", "to_k"), ("v", "to_v"), ("proj_out", "to_out.0")];
    renaming.layers(from, to, &LAYERS)
}
