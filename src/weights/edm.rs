//! EDM's own networks (Karras et al. 2022), and those of what was distilled from it: `SongUNet` as DDPM++ and
//! `DhariwalUNet` (ADM), as state dicts. The configuration is their constructors' arguments, and `precond`.

use super::describe::{EDM, Kind};
use super::keys::{Keys, unsupported};
use super::plain::Tensors;
use super::renaming::{Qkv, Renaming, Shapes, Understood};
use super::source::Source;
use super::stored::{Stored, StoredValues};
use super::{Description, StoredType};
use crate::error::{Error, Result, try_zeroed};
use crate::exec::ReadValues;
use serde_json::{Map, Value, json};

/// A residual block's layers (see [`Renaming::resnet`]).
const RESNET: [&str; 6] = ["norm0", "conv0", "affine", "norm1", "conv1", "skip"];

/// The network, as its tensors tell it.
struct Found {
    /// SongUNet, or else DhariwalUNet.
    song: bool,
    size: usize,
    /// Channels of an image.
    images: usize,
    layers: usize,
    widths: Vec<usize>,
    /// Levels with attention.
    attention: Vec<bool>,
    /// Of the sinusoid, and of the embedding made of it.
    time: (usize, usize),
    classes: usize,
}

/// Reads the arguments, and calls the tensors by diffusers' names. The tensors say all of the network, and arguments that say
/// otherwise are an error.
pub fn understand(
    (file, source): (&str, &dyn Source),
    (config_name, config): (&str, &Map<String, Value>),
    tensors: Tensors,
) -> Result<Understood> {
    let found = found(file, Shapes(&tensors))?;
    let mut keys = Keys::new(config_name, config);
    check_arguments(&mut keys, file, &found)?;
    let Found { song, size, classes, ref attention, ref widths, .. } = found;
    let types = |kind: &str, resample: &str| -> Vec<String> {
        let name = |&attends: &bool| match attends {
            true => format!("Attn{kind}Block2D"),
            false => format!("Resnet{resample}sampleBlock2D"),
        };
        attention.iter().map(name).collect()
    };
    let scale = if song { std::f64::consts::SQRT_2 } else { 1.0 };
    let coarsest = widths[widths.len() - 1];
    let mut network = json!({
        "sample_size": size,
        "in_channels": found.images,
        "out_channels": found.images,
        "block_out_channels": widths,
        "layers_per_block": found.layers,
        "down_block_types": types("Down", "Down"),
        "up_block_types": types("Up", "Up").into_iter().rev().collect::<Vec<_>>(),
        "downsample_type": "resnet",
        "upsample_type": "resnet",
        "mid_block_scale_factor": scale,
        "attention_head_dim": if song { None } else { Some(64) },
        "norm_num_groups": 32,
        "attn_norm_num_groups": 32.min(coarsest / 4),
        "norm_eps": if song { 1e-6 } else { 1e-5 },
        "resnet_time_scale_shift": if song { "default" } else { "scale_shift" },
        "flip_sin_to_cos": !song,
        "freq_shift": if song { 1 } else { 0 },
        "time_embedding_dim": found.time.1,
        "num_class_embeds": (classes > 0).then_some(classes),
        "dropout": keys.f64("dropout", 0.1)?,
    });
    // What diffusers has no word for only where it must be: the rest can be exported.
    if song {
        network["up_attention"] = "last".into();
        network["resample_projection"] = true.into();
        network["output_scale_factor"] = scale.into();
        network["class_embed_use"] = "sinusoid".into();
    }
    // A group has at least four channels.
    if widths.iter().any(|width| *width < 4 * 32) {
        network["norm_min_channels"] = 4.into();
    }
    if found.time.0 != widths[0] {
        network["time_proj_channels"] = found.time.0.into();
    }
    let scheduler = scheduler(&mut keys)?;
    let default_steps = keys.optional_usize("steps")?.map(|steps| steps as u32);
    // How they are trained and run.
    for key in ["use_fp16", "augment_dim", "label_dropout", "channel_mult_noise"] {
        keys.ignore(key);
    }
    keys.finish()?;

    let mut renaming = Renaming::new(file, tensors);
    renaming.drop(|name| name.ends_with(".resample_filter") || name == "map_augment.weight");
    let mut computed = None;
    if classes > 0 {
        let table = classes_table(&mut renaming, source, song, classes)?;
        let shape = vec![classes, table.len() / classes];
        computed = Some(table.iter().flat_map(|value| value.to_le_bytes()).collect());
        renaming.put("class_embedding.weight", Stored::new(1, StoredType::F32, shape, 0));
    }
    rename(&mut renaming, &found)?;
    let mut description = Description::new(network, scheduler);
    description.generator = Some(Kind::Edm { default_steps });
    Ok(Understood { description, tensors: renaming.finish(), computed })
}

/// Reads the network off its tensors.
fn found(file: &str, tensors: Shapes) -> Result<Found> {
    let bad = |message: &str| Error::bad_model(file, message);
    let unlike = || bad("its tensors are those of neither of EDM's U-Nets, SongUNet and DhariwalUNet");
    let shape = |name: &str| {
        tensors.shape(name).ok_or_else(|| bad(&format!("no tensor {name}, which EDM's U-Nets have")))
    };
    if tensors.0.keys().any(|name| name.contains("_aux_down.") || name == "map_noise.freqs") {
        let supported = "positional, with standard encoders and decoders (DDPM++), and DhariwalUNet (ADM)";
        return Err(unsupported(file, "embedding_type", "fourier (NCSN++)", supported));
    }
    // Names say the size: enc.32x32_conv.
    let side = |name: &str| {
        let (a, b) = name.strip_prefix("enc.")?.strip_suffix("_conv.weight")?.split_once('x')?;
        (a == b).then(|| a.parse::<usize>().ok()).flatten()
    };
    let size =
        tensors.0.keys().find_map(|name| side(name)).filter(|size| *size <= 1 << 20).ok_or_else(unlike)?;
    let at = |level: usize| format!("enc.{0}x{0}", size >> level);
    let (&[_, images, 3, 3], &[embedding, sinusoid]) =
        (shape(&format!("{}_conv.weight", at(0)))?, shape("map_layer0.weight")?)
    else {
        return Err(unlike());
    };
    let (mut widths, mut attention) = (Vec::new(), Vec::new());
    while widths.len() < 8 && tensors.has(&format!("{}_block0.conv1", at(widths.len()))) {
        let block = format!("{}_block0", at(widths.len()));
        widths.push(*shape(&format!("{block}.conv1.weight"))?.first().ok_or_else(unlike)?);
        attention.push(tensors.has(&format!("{block}.qkv")));
    }
    let layers = (0..32).take_while(|layer| tensors.has(&format!("{}_block{layer}.conv1", at(0)))).count();
    let song = !tensors.has("out_conv");
    let out = if song { format!("dec.{size}x{size}_aux_conv.weight") } else { "out_conv.weight".into() };
    if widths.is_empty() || layers == 0 || sinusoid == 0 {
        return Err(unlike());
    }
    if shape(&out)?.first() != Some(&images) {
        return Err(unsupported(
            file,
            "precond",
            "iDDPMPrecond (twice the channels come out)",
            "EDMPrecond, VPPrecond",
        ));
    }
    let classes = tensors.shape("map_label.weight").and_then(|shape| shape.last().copied()).unwrap_or(0);
    Ok(Found { song, size, images, layers, widths, attention, time: (sinusoid, embedding), classes })
}

/// An error for an argument that says otherwise than the tensors.
fn check_arguments(keys: &mut Keys, file: &str, found: &Found) -> Result<()> {
    let channels = found.time.0;
    keys.agrees("model_type", file, &if found.song { "SongUNet" } else { "DhariwalUNet" }.into())?;
    keys.agrees("img_resolution", file, &found.size.into())?;
    keys.agrees("img_channels", file, &found.images.into())?;
    keys.agrees("model_channels", file, &channels.into())?;
    keys.agrees("num_blocks", file, &found.layers.into())?;
    keys.agrees("label_dim", file, &found.classes.into())?;
    keys.agrees("channel_mult_emb", file, &(found.time.1 / channels).into())?;
    let mult: Vec<usize> = found.widths.iter().map(|width| width / channels).collect();
    keys.agrees("channel_mult", file, &mult.into())?;
    if let Some(Value::Array(said)) = keys.take("attn_resolutions") {
        let said: Vec<u64> = said.iter().filter_map(Value::as_u64).collect();
        keys.attention_agrees(("attn_resolutions", &said), file, found.size, &found.attention)?;
    }
    keys.only("embedding_type", "positional")?;
    keys.only("encoder_type", "standard")?;
    keys.only("decoder_type", "standard")?;
    keys.agrees("resample_filter", file, &vec![1, 1].into())
}

/// The preconditioning, as EDM's scheduler of diffusers says it.
fn scheduler(keys: &mut Keys) -> Result<Value> {
    let precond = keys.str("precond", "EDMPrecond")?;
    // It samples within what the network was trained for, and no farther than these.
    let sigma_min = keys.f64("sigma_min", 0.002)?.max(0.002);
    let sigma_max = match keys.take("sigma_max") {
        // As Python writes a number without end, and this library reads it.
        Some(Value::String(word)) if word == "Infinity" => 80.0,
        _ => keys.f64("sigma_max", 80.0)?.min(80.0),
    };
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

fn rename(renaming: &mut Renaming, found: &Found) -> Result<()> {
    let &Found { song, size, layers, ref attention, .. } = found;
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
