//! OpenAI's own checkpoints: improved-diffusion's, guided-diffusion's and consistency_models'. Their files hold tensors alone;
//! what made them was said on a command line, whose flags are the configuration here.

use super::Description;
use super::describe::{CONSISTENCY, EDM};
use super::keys::Keys;
use super::plain::Tensors;
use super::renaming::{Qkv, Renaming, Shapes, Understood};
use crate::error::{Error, Result};
use crate::model::Heads;
use serde_json::{Map, Value, json};

/// The programs, as `format` names them.
const FORMATS: [&str; 3] = ["improved-diffusion", "guided-diffusion", "consistency_models"];

/// A residual block's layers (see [`Renaming::resnet`]).
const RESNET: [&str; 6] =
    ["in_layers.0", "in_layers.2", "emb_layers.1", "out_layers.0", "out_layers.3", "skip_connection"];

/// The network, as its tensors tell it.
struct Found {
    /// Channels of an image.
    images: usize,
    layers: usize,
    widths: Vec<usize>,
    /// Levels with attention.
    attention: Vec<bool>,
    /// Whether residual blocks resample, and not convolutions.
    resblock_updown: bool,
    scale_shift: bool,
    learn_sigma: bool,
    /// Of the sinusoid, and of the embedding made of it.
    time: (usize, usize),
    classes: Option<usize>,
}

/// What only the flags tell.
struct Attention {
    heads: Heads,
    parts: bool,
}

/// A short description, for whoever has to say the rest.
pub fn about(file: &str, tensors: &Tensors) -> Result<String> {
    let found = found(file, Shapes(tensors))?;
    Ok(format!("{:?} channels, {} blocks a level", found.widths, found.layers))
}

/// Reads the flags, and calls the tensors by diffusers' names. The tensors say what they can, and flags that say otherwise are an
/// error; other flags that are absent are the programs' defaults.
pub fn understand(
    file: &str,
    (config_name, config): (&str, &Map<String, Value>),
    tensors: Tensors,
) -> Result<Understood> {
    let mut keys = Keys::new(config_name, config);
    let format = keys.str("format", "guided-diffusion")?;
    if !FORMATS.contains(&format) {
        return Err(keys.unsupported("format", format, &FORMATS.join(", ")));
    }
    let found = found(file, Shapes(&tensors))?;
    let Some(size) = keys.optional_usize("image_size")? else {
        return Err(Error::bad_model(config_name, format!("no image_size, which {file} does not tell")));
    };
    check_flags(&mut keys, file, size, &found)?;
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
    let attention = Attention { heads, parts: format == "consistency_models" || new_order };
    let resample = if found.resblock_updown { "resnet" } else { "conv" };
    let mut network = json!({
        "sample_size": size,
        "in_channels": found.images,
        "out_channels": if found.learn_sigma { 2 * found.images } else { found.images },
        "block_out_channels": found.widths,
        "layers_per_block": found.layers,
        "down_block_types": types(&found, "Down", "Downsample"),
        "up_block_types": types(&found, "Up", "Upsample").into_iter().rev().collect::<Vec<_>>(),
        "downsample_type": resample,
        "upsample_type": resample,
        "attention_head_dim": match heads { Heads::Width(width) => Some(width), Heads::Count(_) => None },
        "attn_norm_num_groups": 32,
        "resnet_time_scale_shift": if found.scale_shift { "scale_shift" } else { "default" },
        "time_embedding_dim": found.time.1,
        "num_class_embeds": found.classes,
        "dropout": keys.f64("dropout", 0.0)?,
    });
    // What diffusers has no word for only where it must be: the rest can be exported.
    if let Heads::Count(count @ 2..) = heads {
        network["num_attention_heads"] = count.into();
    }
    if found.widths[0] != found.time.0 {
        network["time_proj_channels"] = found.time.0.into();
    }
    let scheduler = scheduler(&mut keys, format, found.learn_sigma)?;
    // How the programs run, and not what their networks are.
    for key in [
        "use_fp16",
        "use_checkpoint",
        "use_kl",
        "rescale_learned_sigmas",
        "timestep_respacing",
        "weight_schedule",
        "attention_type",
    ] {
        keys.ignore(key);
    }
    keys.finish()?;
    let mut renaming = Renaming::new(file, tensors);
    rename(&mut renaming, &found, &attention)?;
    let description = Description::new(network, scheduler);
    Ok(Understood { description, tensors: renaming.finish(), computed: None })
}

/// Reads the network off its tensors.
fn found(file: &str, tensors: Shapes) -> Result<Found> {
    let bad = |message: &str| Error::bad_model(file, message);
    let unlike = || bad("its tensors are not those of OpenAI's U-Net");
    let shape = |name: &str| {
        tensors.shape(name).ok_or_else(|| bad(&format!("no tensor {name}, which OpenAI's U-Net has")))
    };
    let &[channels, images, 3, 3] = shape("input_blocks.0.0.weight")? else { return Err(unlike()) };
    if !tensors.has("output_blocks.0.0.in_layers.0") {
        return Err(bad(
            "no tensor output_blocks.0.0.in_layers.0.weight: a classifier, and no U-Net that draws",
        ));
    }
    if images == 6 {
        return Err(bad("a network of 6 input channels, which enlarges images and draws none"));
    }
    // The way up tells where levels end.
    let blocks = (0..).take_while(|k| tensors.has(&format!("output_blocks.{k}.0.in_layers.0"))).count();
    let ends = |k: &usize| {
        (1..=2).find_map(|j| {
            let at = format!("output_blocks.{k}.{j}");
            match (tensors.has(&format!("{at}.conv")), tensors.has(&format!("{at}.in_layers.0"))) {
                (false, false) => None,
                (_, resblock) => Some(resblock),
            }
        })
    };
    let first = (0..blocks).find_map(|k| Some((k, ends(&k)?)));
    let (a_level, resblock_updown) = first.map_or((blocks, false), |(k, resblock)| (k + 1, resblock));
    if a_level < 2 || !blocks.is_multiple_of(a_level) || blocks / a_level > 8 {
        return Err(unlike());
    }
    let (mut widths, mut attention) = (Vec::new(), Vec::new());
    for k in (0..blocks).step_by(a_level).rev() {
        let at = format!("output_blocks.{k}");
        widths.push(*shape(&format!("{at}.0.out_layers.3.weight"))?.first().ok_or_else(unlike)?);
        attention.push(tensors.has(&format!("{at}.1.qkv")));
    }
    let &[embedding, sinusoid] = shape("time_embed.0.weight")? else { return Err(unlike()) };
    let rows = |name: &str| Ok::<_, Error>(*shape(name)?.first().ok_or_else(unlike)?);
    let out = rows("out.2.weight")?;
    if widths[0] != channels || (out != images && out != 2 * images) {
        return Err(unlike());
    }
    Ok(Found {
        images,
        layers: a_level - 1,
        resblock_updown,
        scale_shift: rows("input_blocks.1.0.emb_layers.1.weight")? == 2 * widths[0],
        learn_sigma: out != images,
        time: (sinusoid, embedding),
        classes: tensors.shape("label_emb.weight").and_then(|shape| shape.first().copied()),
        widths,
        attention,
    })
}

/// An error for a flag that says otherwise than the tensors.
fn check_flags(keys: &mut Keys, file: &str, size: usize, found: &Found) -> Result<()> {
    keys.agrees("num_channels", file, &found.time.0.into())?;
    keys.agrees("num_res_blocks", file, &found.layers.into())?;
    keys.agrees("resblock_updown", file, &found.resblock_updown.into())?;
    keys.agrees("use_scale_shift_norm", file, &found.scale_shift.into())?;
    keys.agrees("class_cond", file, &found.classes.is_some().into())?;
    keys.agrees("learn_sigma", file, &found.learn_sigma.into())?;
    let words = keys.str("channel_mult", "")?;
    if !words.is_empty() {
        let widths: Vec<usize> = numbers(keys, "channel_mult", words)?
            .iter()
            .map(|mult| (mult * found.time.0 as f64) as usize)
            .collect();
        if widths != found.widths {
            let message =
                format!("channel_mult = {words}, but the levels of {file} have {:?} channels", found.widths);
            return Err(keys.contradicted(message));
        }
    }
    if let Some(words) = keys.take("attention_resolutions").and_then(Value::as_str) {
        let sides =
            if words.is_empty() { Vec::new() } else { numbers(keys, "attention_resolutions", words)? };
        let said: Vec<u64> =
            sides.iter().filter(|side| side.fract() == 0.0).map(|side| *side as u64).collect();
        keys.attention_agrees(("attention_resolutions", &said), file, size, &found.attention)?;
    }
    Ok(())
}

/// The diffusion process of the flags.
fn scheduler(keys: &mut Keys, format: &str, learn_sigma: bool) -> Result<Value> {
    if format == "consistency_models" {
        let mut scheduler = json!({
            "sigma_min": keys.f64("sigma_min", 0.002)?,
            "sigma_max": keys.f64("sigma_max", 80.0)?,
            "sigma_data": keys.f64("sigma_data", 0.5)?,
            "rho": keys.f64("rho", 7.0)?,
        });
        let steps = keys.usize("steps", 40)?;
        // A consistency model, or the teacher that its program trains first: EDM's, told 1000 times as much.
        match keys.str("training_mode", "consistency_distillation")? {
            "consistency_distillation" | "consistency_training" => {
                scheduler["_class_name"] = CONSISTENCY.into();
                scheduler["num_train_timesteps"] = steps.into();
                scheduler["clip_denoised"] = true.into();
            }
            "edm" => {
                scheduler["_class_name"] = EDM.into();
                scheduler["time_scale"] = 1000.0.into();
            }
            other => {
                let supported = "consistency_distillation, consistency_training, edm";
                return Err(keys.unsupported("training_mode", other, supported));
            }
        }
        return Ok(scheduler);
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
        "rescale_timesteps": keys.bool("rescale_timesteps", format == "improved-diffusion")?,
    }))
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

fn types(found: &Found, attention: &str, resample: &str) -> Vec<String> {
    let kind = |&attends: &bool| match (attends, found.resblock_updown) {
        (true, _) => format!("Attn{attention}Block2D"),
        (false, true) => format!("Resnet{resample}Block2D"),
        (false, false) => format!("{attention}Block2D"),
    };
    found.attention.iter().map(kind).collect()
}

fn rename(renaming: &mut Renaming, found: &Found, how: &Attention) -> Result<()> {
    renaming.layer("time_embed.0", "time_embedding.linear_1")?;
    renaming.layer("time_embed.2", "time_embedding.linear_2")?;
    if found.classes.is_some() {
        let table = renaming.take("label_emb.weight")?;
        renaming.put("class_embedding.weight", table);
    }
    renaming.layer("input_blocks.0.0", "conv_in")?;
    let levels = found.widths.len();
    let mut at = 1;
    for level in 0..levels {
        let to = format!("down_blocks.{level}");
        for layer in 0..found.layers {
            renaming.resnet(&format!("input_blocks.{at}.0"), &format!("{to}.resnets.{layer}"), &RESNET)?;
            if found.attention[level] {
                let from = format!("input_blocks.{at}.1");
                attention(renaming, how, &from, &format!("{to}.attentions.{layer}"))?;
            }
            at += 1;
        }
        if level + 1 < levels {
            match found.resblock_updown {
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
    attention(renaming, how, "middle_block.1", "mid_block.attentions.0")?;
    renaming.resnet("middle_block.2", "mid_block.resnets.1", &RESNET)?;
    let mut at = 0;
    for (i, level) in (0..levels).rev().enumerate() {
        let to = format!("up_blocks.{i}");
        for layer in 0..=found.layers {
            renaming.resnet(&format!("output_blocks.{at}.0"), &format!("{to}.resnets.{layer}"), &RESNET)?;
            if found.attention[level] {
                let from = format!("output_blocks.{at}.1");
                attention(renaming, how, &from, &format!("{to}.attentions.{layer}"))?;
            }
            if layer == found.layers && level > 0 {
                let from = format!("output_blocks.{at}.{}", 1 + usize::from(found.attention[level]));
                match found.resblock_updown {
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

fn attention(renaming: &mut Renaming, how: &Attention, from: &str, to: &str) -> Result<()> {
    renaming.layers(from, to, &[("norm", "group_norm"), ("proj_out", "to_out.0")])?;
    renaming.qkv(&format!("{from}.qkv"), to, |channels| match how.parts {
        true => Qkv::Parts,
        false => Qkv::Heads(how.heads.of(channels)),
    })
}
