//! EDM's own networks (Karras et al. 2022), and those of what was distilled from it: `SongUNet` as DDPM++ and
//! `DhariwalUNet` (ADM), as state dicts. The configuration is their constructors' arguments, and `precond`.

use super::describe::EDM;
use super::keys::Keys;
use super::renaming::{Qkv, Renaming, Understood};
use super::source::Source;
use super::{Description, Stored, StoredType, StoredValues};
use crate::error::{Error, Result, try_zeroed};
use crate::exec::ReadValues;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A residual block's layers (see [`Renaming::resnet`]).
const RESNET: [&str; 6] = ["norm0", "conv0", "affine", "norm1", "conv1", "skip"];

/// Which network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Model {
    Song,
    Dhariwal,
}

/// Reads the arguments, and calls the tensors by diffusers' names.
pub fn understand(
    (file, source): (&str, &dyn Source),
    (config_name, config): (&str, &Map<String, Value>),
    tensors: BTreeMap<String, Stored>,
) -> Result<Understood> {
    let prefix = if tensors.keys().any(|name| name.starts_with("model.")) { "model." } else { "" };
    let mut renaming = Renaming::new(file, tensors, prefix);
    let mut keys = Keys::new(config_name, config);
    let model = match keys.str("model_type", "DhariwalUNet")? {
        "SongUNet" => Model::Song,
        "DhariwalUNet" => Model::Dhariwal,
        other => return Err(keys.unsupported("model_type", other, "SongUNet, DhariwalUNet")),
    };
    let song = model == Model::Song;
    let size = keys.usize("img_resolution", 32)?;
    let images = keys.usize("img_channels", 3)?;
    let channels = keys.usize("model_channels", if song { 128 } else { 192 })?;
    let mult = keys.usizes("channel_mult", if song { &[1, 2, 2, 2] } else { &[1, 2, 3, 4] })?;
    let layers = keys.usize("num_blocks", if song { 4 } else { 3 })?;
    let sides = keys.usizes("attn_resolutions", if song { &[16] } else { &[32, 16, 8] })?;
    let attention: Vec<bool> = (0..mult.len()).map(|level| sides.contains(&(size >> level))).collect();
    let widths: Vec<usize> = mult.iter().map(|mult| mult * channels).collect();
    let classes = keys.usize_or_zero("label_dim", 0)?;
    if song {
        keys.only("embedding_type", "positional")?;
        keys.only("encoder_type", "standard")?;
        keys.only("decoder_type", "standard")?;
        if keys.usizes("resample_filter", &[1, 1])? != [1, 1] {
            return Err(keys.unsupported("resample_filter", &config["resample_filter"], "[1,1] (DDPM++)"));
        }
        if keys.usize("channel_mult_noise", 1)? != 1 {
            return Err(keys.unsupported("channel_mult_noise", &config["channel_mult_noise"], "1"));
        }
    }
    let types = |kind: &str, resample: &str| -> Vec<String> {
        let name = |&attends: &bool| match attends {
            true => format!("Attn{kind}Block2D"),
            false => format!("Resnet{resample}sampleBlock2D"),
        };
        attention.iter().map(name).collect()
    };
    let scale = if song { std::f64::consts::SQRT_2 } else { 1.0 };
    // A group has at least four channels.
    let coarsest = widths[widths.len() - 1];
    let network = json!({
        "sample_size": size,
        "in_channels": images,
        "out_channels": images,
        "block_out_channels": widths,
        "layers_per_block": layers,
        "down_block_types": types("Down", "Down"),
        "up_block_types": types("Up", "Up").into_iter().rev().collect::<Vec<_>>(),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "up_attention": if song { "last" } else { "each" },
        "resample_projection": song,
        "output_scale_factor": scale,
        "mid_block_scale_factor": scale,
        "attention_head_dim": if song { None } else { Some(64) },
        "norm_num_groups": 32,
        "norm_min_channels": 4,
        "attn_norm_num_groups": 32.min(coarsest / 4),
        "norm_eps": if song { 1e-6 } else { 1e-5 },
        "resnet_time_scale_shift": if song { "default" } else { "scale_shift" },
        "flip_sin_to_cos": !song,
        "freq_shift": if song { 1 } else { 0 },
        "time_proj_channels": channels,
        "time_embedding_dim": keys.usize("channel_mult_emb", 4)? * channels,
        "num_class_embeds": (classes > 0).then_some(classes),
        "class_embed_use": if song { "sinusoid" } else { "embedding" },
        "dropout": keys.f64("dropout", 0.1)?,
    });
    let scheduler = scheduler(&mut keys)?;
    // How they are trained and run.
    for key in ["use_fp16", "augment_dim", "label_dropout"] {
        keys.ignore(key);
    }
    keys.finish()?;

    renaming.drop(|name| name.ends_with(".resample_filter") || name == "map_augment.weight");
    let mut computed = None;
    if classes > 0 {
        let table = classes_table(&mut renaming, source, song, classes)?;
        let shape = vec![classes, table.len() / classes];
        computed = Some(table.iter().flat_map(|value| value.to_le_bytes()).collect());
        renaming.put("class_embedding.weight", Stored::new(1, StoredType::F32, shape, 0));
    }
    rename(&mut renaming, song, size, layers, &attention)?;
    let description = Description::new(network, scheduler);
    Ok(Understood { description, tensors: renaming.finish(), computed })
}

/// The preconditioning, as EDM's scheduler of diffusers says it.
fn scheduler(keys: &mut Keys) -> Result<Value> {
    let precond = keys.str("precond", "EDMPrecond")?;
    // It samples within what the network was trained for, and no farther than these.
    let sigma_min = keys.f64("sigma_min", 0.002)?.max(0.002);
    let sigma_max = keys.take("sigma_max").and_then(Value::as_f64).unwrap_or(80.0).min(80.0);
    let mut scheduler = json!({
        "_class_name": EDM,
        "sigma_min": sigma_min,
        "sigma_max": sigma_max,
        "sigma_data": keys.f64("sigma_data", 0.5)?,
        "rho": 7.0,
    });
    match precond {
        "EDMPrecond" => {}
        "VPPrecond" => {
            scheduler["vp"] = json!({
                "beta_d": keys.f64("beta_d", 19.9)?,
                "beta_min": keys.f64("beta_min", 0.1)?,
                "timesteps": keys.usize("M", 1000)?,
            });
            keys.ignore("epsilon_t");
        }
        other => return Err(keys.unsupported("precond", other, "EDMPrecond, VPPrecond")),
    }
    Ok(scheduler)
}

/// The layer of the labels, as what it makes of each: a table.
fn classes_table(
    renaming: &mut Renaming,
    source: &dyn Source,
    song: bool,
    classes: usize,
) -> Result<Vec<f32>> {
    let weight = renaming.take("map_label.weight")?;
    let [width, columns] = weight.shape[..] else {
        return Err(Error::bad_model(
            source.name(),
            format!("map_label.weight has shape {:?}", weight.shape),
        ));
    };
    if columns != classes {
        let message = format!("map_label.weight has {columns} columns, label_dim is {classes}");
        return Err(Error::bad_model(source.name(), message));
    }
    let read = |stored: &Stored, len: usize| -> Result<Vec<f32>> {
        let mut values = try_zeroed(len, "a class embedding")?;
        StoredValues::of("map_label", source, stored).read(0, &mut values)?;
        Ok(values)
    };
    let weight = read(&weight, width * classes)?;
    // SongUNet's labels are one-hot times sqrt(classes), and its layer has a bias.
    let (scale, bias) = match song {
        true => {
            let bias = renaming.take("map_label.bias")?;
            if bias.shape != [width] {
                let message = format!("map_label.bias has shape {:?}, expected [{width}]", bias.shape);
                return Err(Error::bad_model(source.name(), message));
            }
            ((classes as f64).sqrt() as f32, read(&bias, width)?)
        }
        false => (1.0, vec![0.0; width]),
    };
    let value = |at: usize| weight[at % width * classes + at / width] * scale + bias[at % width];
    Ok((0..classes * width).map(value).collect())
}

fn rename(renaming: &mut Renaming, song: bool, size: usize, layers: usize, attention: &[bool]) -> Result<()> {
    renaming.layer("map_layer0", "time_embedding.linear_1")?;
    renaming.layer("map_layer1", "time_embedding.linear_2")?;
    let levels = attention.len();
    let at = |level: usize| format!("{0}x{0}", size >> level);
    renaming.layer(&format!("enc.{}_conv", at(0)), "conv_in")?;
    for level in 0..levels {
        if level > 0 {
            let to = format!("down_blocks.{}.downsamplers.0", level - 1);
            renaming.resnet(&format!("enc.{}_down", at(level)), &to, &RESNET)?;
        }
        for layer in 0..layers {
            let to = (format!("down_blocks.{level}"), layer);
            block(renaming, &format!("enc.{}_block{layer}", at(level)), to, attention[level])?;
        }
    }
    let bottom = at(levels - 1);
    block(renaming, &format!("dec.{bottom}_in0"), ("mid_block".into(), 0), true)?;
    block(renaming, &format!("dec.{bottom}_in1"), ("mid_block".into(), 1), false)?;
    for (i, level) in (0..levels).rev().enumerate() {
        if i > 0 {
            let to = format!("up_blocks.{}.upsamplers.0", i - 1);
            renaming.resnet(&format!("dec.{}_up", at(level)), &to, &RESNET)?;
        }
        for layer in 0..=layers {
            let attends = attention[level] && (!song || layer == layers);
            let to = (format!("up_blocks.{i}"), layer);
            block(renaming, &format!("dec.{}_block{layer}", at(level)), to, attends)?;
        }
    }
    let [norm, conv] = match song {
        true => [format!("dec.{}_aux_norm", at(0)), format!("dec.{}_aux_conv", at(0))],
        false => ["out_norm".to_owned(), "out_conv".to_owned()],
    };
    renaming.layer(&norm, "conv_norm_out")?;
    renaming.layer(&conv, "conv_out")
}

/// A residual block, and the attention that is part of it here.
fn block(renaming: &mut Renaming, from: &str, (to, layer): (String, usize), attends: bool) -> Result<()> {
    renaming.resnet(from, &format!("{to}.resnets.{layer}"), &RESNET)?;
    if attends {
        let to = format!("{to}.attentions.{layer}");
        renaming.layers(from, &to, &[("norm2", "group_norm"), ("proj", "to_out.0")])?;
        renaming.qkv(&format!("{from}.qkv"), &to, |_| Qkv::Rows)?;
    }
    Ok(())
}
