//! Networks under two names: as diffusers has them, and as the state dicts and files of other libraries.

use super::TOLERANCE;
use crate::common::{self, Golden, assert_close, cpu};
use onestep::exec::cpu::{Cpu, CpuDevice};
use onestep::exec::{ReadValues, Weight};
use onestep::model::{Params, UNet};
use onestep::weights::{Description, Hints, ImportOptions, import};
use onestep::{Model, Options, Result};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A state dict and its configuration, imported beside nothing else.
fn imported(weights: &Path, config: PathBuf) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let options =
        ImportOptions { hints: Hints { config: Some(config), ..Hints::default() }, ..Default::default() };
    import(weights, &folder.path().join("model.safetensors"), &options).unwrap();
    folder
}

fn each_executor(folder: &Path, check: impl Fn(&Model, &Options)) {
    for executor in common::executors_of_this_level() {
        let options = Options { executor, ..cpu() };
        check(&Model::open(folder.join("model.safetensors"), &options).unwrap(), &options);
    }
}

/// Random parameters under diffusers' names, as they are asked for.
#[derive(Default)]
pub struct Recorder(pub RefCell<Tensors>);

impl Params for Recorder {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight<'_>> {
        let (len, fan_in) = (shape.iter().product(), shape[1..].iter().product::<usize>());
        let mut seed = name.bytes().fold(7u64, |seed, byte| seed.wrapping_mul(31).wrapping_add(byte.into()));
        let mut value = || {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            ((seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0) / (fan_in as f32).sqrt()
        };
        let values: Vec<f32> = (0..len).map(|_| value()).collect();
        self.0.borrow_mut().insert(name.to_owned(), (shape.to_vec(), values.clone()));
        Ok(Weight { name: name.to_owned(), shape: shape.to_vec(), values: Box::new(Values(values)) })
    }
}

struct Values(Vec<f32>);

impl ReadValues for Values {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.0[start..start + out.len()]);
        Ok(())
    }
}

pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

fn read(case: &Path) -> Tensors {
    let bytes = std::fs::read(case.join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let values =
        |view: &TensorView| view.data().as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect();
    file.tensors().into_iter().map(|(name, view)| (name, (view.shape().to_vec(), values(&view)))).collect()
}

fn write(path: &Path, tensors: &Tensors) {
    let bytes: BTreeMap<&String, (&[usize], Vec<u8>)> = tensors
        .iter()
        .map(|(name, (shape, values))| {
            (name, (&shape[..], values.iter().flat_map(|value| value.to_le_bytes()).collect()))
        })
        .collect();
    let views = bytes.iter().map(|(name, (shape, bytes))| {
        (name.as_str(), TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    std::fs::write(path, safetensors::serialize(views, None).unwrap()).unwrap();
}

/// Query, key and value, rows of each in this order: (which, row) of every row of the whole.
fn joined(tensors: &mut Tensors, from: &str, to: &str, rows: &dyn Fn(usize, usize) -> (usize, usize)) {
    for part in ["weight", "bias"] {
        let three =
            ["q", "k", "v"].map(|letter| tensors.remove(&format!("{from}.to_{letter}.{part}")).unwrap());
        let channels = three[0].0[0];
        let row = three[0].1.len() / channels;
        let values = (0..3 * channels).flat_map(|at| {
            let (which, of) = rows(at, channels);
            three[which].1[of * row..(of + 1) * row].to_vec()
        });
        let shape = if part == "weight" { vec![3 * channels, channels, 1] } else { vec![3 * channels] };
        tensors.insert(format!("{to}.{part}"), (shape, values.collect()));
    }
}

/// Renames a layer wherever its name contains `from`.
fn renamed(tensors: Tensors, names: &[(&str, &str)]) -> Tensors {
    let new = |name: String| names.iter().fold(name, |name, (from, to)| name.replace(from, to));
    tensors.into_iter().map(|(name, tensor)| (new(name), tensor)).collect()
}

/// A network in diffusers' words and names, and the same one as a state dict of OpenAI's: in all three orders of q, k and v,
/// with residual blocks that resample and with convolutions.
#[test]
fn openais_state_dicts_are_the_networks_they_were() {
    for (format, new_order, updown, heads) in [
        ("consistency_models", false, true, json!({"num_head_channels": 16})),
        ("guided-diffusion", true, true, json!({"num_head_channels": 32})),
        ("improved-diffusion", false, false, json!({"num_heads": 2})),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let resample = if updown { "resnet" } else { "conv" };
        let plain = if updown {
            ["ResnetDownsampleBlock2D", "ResnetUpsampleBlock2D"]
        } else {
            ["DownBlock2D", "UpBlock2D"]
        };
        let mut network = json!({
            "sample_size": 4, "in_channels": 3, "out_channels": 6, "block_out_channels": [32, 64],
            "layers_per_block": 1, "down_block_types": [plain[0], "AttnDownBlock2D"],
            "up_block_types": ["AttnUpBlock2D", plain[1]], "downsample_type": resample, "upsample_type": resample,
            "attn_norm_num_groups": 32, "attention_head_dim": heads["num_head_channels"],
            "resnet_time_scale_shift": "scale_shift", "num_class_embeds": 3,
        });
        if let Some(count) = heads["num_heads"].as_u64() {
            network["num_attention_heads"] = count.into();
        }
        let config = Description::new(network.clone(), json!({})).config("a test", None).unwrap();
        let recorder = Recorder::default();
        UNet::<Cpu>::new(&config.network, &recorder, &CpuDevice::default()).unwrap();
        let tensors = recorder.0.into_inner();
        let diffusers = folder.path().join("diffusers");
        std::fs::create_dir(&diffusers).unwrap();
        std::fs::write(diffusers.join("config.json"), network.to_string()).unwrap();
        write(&diffusers.join("diffusion_pytorch_model.safetensors"), &tensors);

        let mut tensors = tensors;
        for attention in [
            "down_blocks.1.attentions.0",
            "mid_block.attentions.0",
            "up_blocks.0.attentions.0",
            "up_blocks.0.attentions.1",
        ] {
            let width =
                |channels: usize| heads["num_head_channels"].as_u64().map_or(channels / 2, |w| w as usize);
            joined(&mut tensors, attention, &format!("{attention}.qkv"), &|at, channels| {
                if format == "consistency_models" || new_order {
                    return (at / channels, at % channels);
                }
                let width = width(channels);
                (at % (3 * width) / width, at / (3 * width) * width + at % width)
            });
        }
        let resamplers: [(&str, &str); 4] = [
            ("down_blocks.0.downsamplers.0.conv.", "input_blocks.2.0.op."),
            ("up_blocks.0.upsamplers.0.conv.", "output_blocks.1.2.conv."),
            ("down_blocks.0.downsamplers.0.", "input_blocks.2.0."),
            ("up_blocks.0.upsamplers.0.", "output_blocks.1.2."),
        ];
        let tensors = renamed(tensors, &resamplers);
        let tensors = renamed(
            tensors,
            &[
                ("time_embedding.linear_1.", "time_embed.0."),
                ("time_embedding.linear_2.", "time_embed.2."),
                ("class_embedding.", "label_emb."),
                ("conv_in.", "input_blocks.0.0."),
                ("down_blocks.0.resnets.0.", "input_blocks.1.0."),
                ("down_blocks.1.resnets.0.", "input_blocks.3.0."),
                ("down_blocks.1.attentions.0.", "input_blocks.3.1."),
                ("mid_block.resnets.0.", "middle_block.0."),
                ("mid_block.attentions.0.", "middle_block.1."),
                ("mid_block.resnets.1.", "middle_block.2."),
                ("up_blocks.0.resnets.0.", "output_blocks.0.0."),
                ("up_blocks.0.attentions.0.", "output_blocks.0.1."),
                ("up_blocks.0.resnets.1.", "output_blocks.1.0."),
                ("up_blocks.0.attentions.1.", "output_blocks.1.1."),
                ("up_blocks.1.resnets.0.", "output_blocks.2.0."),
                ("up_blocks.1.resnets.1.", "output_blocks.3.0."),
                ("conv_norm_out.", "out.0."),
                ("conv_out.", "out.2."),
                (".norm1.", ".in_layers.0."),
                (".conv1.", ".in_layers.2."),
                (".time_emb_proj.", ".emb_layers.1."),
                (".norm2.", ".out_layers.0."),
                (".conv2.", ".out_layers.3."),
                (".conv_shortcut.", ".skip_connection."),
                (".group_norm.", ".norm."),
                (".to_out.0.", ".proj_out."),
            ],
        );
        let dict = folder.path().join("dict.safetensors");
        write(&dict, &tensors);
        let mut flags = json!({
            "format": format, "image_size": 4, "num_channels": 32, "num_res_blocks": 1, "channel_mult": "1,2",
            "attention_resolutions": "2", "class_cond": true, "use_scale_shift_norm": true, "resblock_updown": updown,
            "use_new_attention_order": new_order, "learn_sigma": true,
        });
        flags.as_object_mut().unwrap().extend(heads.as_object().unwrap().clone());
        let config = folder.path().join("config.json");
        std::fs::write(&config, flags.to_string()).unwrap();
        let imported = imported(&dict, config);
        let raw = |path: &Path| {
            let mut session = Model::open(path, &cpu()).unwrap().session(&cpu()).unwrap();
            let x: Vec<f32> = (0..48).map(|i| (i as f32 * 0.7).sin()).collect();
            let mut out = vec![0.0; 48];
            session.predict_at(&x, &[311.5], Some(&[2]), &mut out).unwrap();
            out
        };
        assert!(raw(&imported.path().join("model.safetensors")) == raw(&diffusers), "{format}");

        // What is too much or missing is named as the file has it.
        let without = |name: &str| {
            let mut fewer = tensors.clone();
            fewer.remove(name).unwrap();
            write(&dict, &fewer);
            let options = ImportOptions {
                hints: Hints { config: Some(folder.path().join("config.json")), ..Hints::default() },
                ..Default::default()
            };
            import(&dict, &folder.path().join("out.safetensors"), &options).unwrap_err().to_string()
        };
        assert!(
            without("middle_block.0.in_layers.2.bias").contains("no tensor middle_block.0.in_layers.2.bias")
        );
    }
}

/// The golden DDPM++ network, as a state dict of EDM's.
#[test]
fn edms_state_dicts_are_the_networks_they_were() {
    let case = common::golden("ddpmpp");
    let golden = Golden::read(&case);
    let mut tensors = read(&case);
    // Labels are one-hot times sqrt(5), and their layer has a bias: any, taken off again.
    let (shape, table) = tensors.remove("class_embedding.weight").unwrap();
    let [classes, width] = shape[..] else { panic!() };
    let bias: Vec<f32> = (0..width).map(|i| i as f32 / 8.0 - 0.5).collect();
    let scale = (classes as f32).sqrt();
    let weight = (0..width * classes)
        .map(|at| (table[at % classes * width + at / classes] - bias[at / classes]) / scale);
    tensors.insert("map_label.weight".into(), (vec![width, classes], weight.collect()));
    tensors.insert("map_label.bias".into(), (vec![width], bias));
    tensors.insert("map_augment.weight".into(), (vec![width, 9], vec![0.5; 9 * width]));
    // Before attention's norm, which is norm2 there.
    let seconds =
        [(".norm1.", ".norm0."), (".norm2.", ".norm1."), (".conv1.", ".conv0."), (".conv2.", ".conv1.")];
    let mut tensors = renamed(tensors, &seconds);
    for (attention, block) in [
        ("down_blocks.1.attentions.0", "enc.4x4_block0"),
        ("down_blocks.2.attentions.0", "enc.2x2_block0"),
        ("mid_block.attentions.0", "dec.2x2_in0"),
        ("up_blocks.0.attentions.1", "dec.2x2_block1"),
        ("up_blocks.1.attentions.1", "dec.4x4_block1"),
    ] {
        joined(&mut tensors, attention, &format!("{block}.qkv"), &|at, _| (at % 3, at / 3));
        tensors = renamed(
            tensors,
            &[
                (&format!("{attention}.group_norm"), &format!("{block}.norm2")),
                (&format!("{attention}.to_out.0"), &format!("{block}.proj")),
            ],
        );
    }
    let tensors = renamed(
        tensors,
        &[
            ("down_blocks.0.resnets.0", "enc.8x8_block0"),
            ("down_blocks.0.downsamplers.0", "enc.4x4_down"),
            ("down_blocks.1.resnets.0", "enc.4x4_block0"),
            ("down_blocks.1.downsamplers.0", "enc.2x2_down"),
            ("down_blocks.2.resnets.0", "enc.2x2_block0"),
            ("mid_block.resnets.0", "dec.2x2_in0"),
            ("mid_block.resnets.1", "dec.2x2_in1"),
            ("up_blocks.0.resnets.0", "dec.2x2_block0"),
            ("up_blocks.0.resnets.1", "dec.2x2_block1"),
            ("up_blocks.0.upsamplers.0", "dec.4x4_up"),
            ("up_blocks.1.resnets.0", "dec.4x4_block0"),
            ("up_blocks.1.resnets.1", "dec.4x4_block1"),
            ("up_blocks.1.upsamplers.0", "dec.8x8_up"),
            ("up_blocks.2.resnets.0", "dec.8x8_block0"),
            ("up_blocks.2.resnets.1", "dec.8x8_block1"),
            (".time_emb_proj.", ".affine."),
            (".conv_shortcut.", ".skip."),
            ("conv_in.", "enc.8x8_conv."),
            ("conv_norm_out.", "dec.8x8_aux_norm."),
            ("conv_out.", "dec.8x8_aux_conv."),
            ("time_embedding.linear_1.", "map_layer0."),
            ("time_embedding.linear_2.", "map_layer1."),
        ],
    );
    let tensors: Tensors =
        tensors.into_iter().map(|(name, tensor)| (format!("model.{name}"), tensor)).collect();
    let folder = tempfile::tempdir().unwrap();
    let (dict, config) = (folder.path().join("dict.safetensors"), folder.path().join("config.json"));
    write(&dict, &tensors);
    let arguments = |channel_mult: Value| {
        let arguments = json!({
            "precond": "EDMPrecond", "model_type": "SongUNet", "img_resolution": 8, "img_channels": 3, "label_dim": 5,
            "model_channels": 12, "channel_mult": channel_mult, "num_blocks": 1, "attn_resolutions": [4, 2],
            "augment_dim": 9,
        });
        std::fs::write(&config, arguments.to_string()).unwrap();
    };
    arguments(json!([1, 2, 2]));
    let imported = imported(&dict, config.clone());
    each_executor(imported.path(), |model, options| {
        let mut session = model.session(options).unwrap();
        for t in golden.timesteps() {
            let (x, times) = (golden.f32("x"), vec![t as f32; golden.batch()]);
            let mut out = vec![0.0; x.len()];
            session.predict_at(&x, &times, golden.labels().as_deref(), &mut out).unwrap();
            assert_close(&format!("eps_{t}"), &out, &golden.f32(&format!("eps_{t}")), TOLERANCE);
        }
    });

    let fourier = json!({"precond": "EDMPrecond", "model_type": "SongUNet", "embedding_type": "fourier"});
    std::fs::write(&config, fourier.to_string()).unwrap();
    let options = ImportOptions {
        hints: Hints { config: Some(config.clone()), ..Hints::default() },
        ..Default::default()
    };
    let error = import(&dict, &folder.path().join("out.safetensors"), &options).unwrap_err().to_string();
    assert!(error.contains("embedding_type = \"fourier\"") && error.contains("positional"), "{error}");
    arguments(json!([1, 2]));
    let options =
        ImportOptions { hints: Hints { config: Some(config), ..Hints::default() }, ..Default::default() };
    let error = import(&dict, &folder.path().join("out.safetensors"), &options).unwrap_err().to_string();
    assert!(error.contains("channel_mult = [1,2], but") && error.contains("is of [1,2,2]"), "{error}");
}

/// The golden DDPM network, as a state dict of the DDIM authors'; alone, and in a file of two networks. Its norms are of fewer groups
/// than theirs, so weights are compared, and not images.
#[cfg(feature = "train")]
#[test]
fn the_ddim_authors_state_dicts_are_the_networks_they_were() {
    let case = common::golden("ddpm");
    let config: Value =
        serde_json::from_slice(&std::fs::read(case.join("unet/config.json")).unwrap()).unwrap();
    let levels = config["block_out_channels"].as_array().unwrap().len();
    let mut names: Vec<(String, String)> = [
        ("time_embedding.linear_1.", "temb.dense.0."),
        ("time_embedding.linear_2.", "temb.dense.1."),
        ("conv_norm_out.", "norm_out."),
        ("mid_block.resnets.0.", "mid.block_1."),
        ("mid_block.resnets.1.", "mid.block_2."),
        ("mid_block.attentions.0.", "mid.attn_1."),
        (".time_emb_proj.", ".temb_proj."),
        (".conv_shortcut.", ".nin_shortcut."),
        (".group_norm.", ".norm."),
        (".to_q.", ".q."),
        (".to_k.", ".k."),
        (".to_v.", ".v."),
        (".to_out.0.", ".proj_out."),
        (".downsamplers.0.", ".downsample."),
        (".upsamplers.0.", ".upsample."),
        (".resnets.", ".block."),
        (".attentions.", ".attn."),
        ("down_blocks.", "down."),
    ]
    .map(|(from, to)| (from.to_owned(), to.to_owned()))
    .to_vec();
    // The way up counts from the finest level there.
    names.extend((0..levels).map(|i| (format!("up_blocks.{i}."), format!("up.{}.", levels - 1 - i))));
    let names: Vec<(&str, &str)> = names.iter().map(|(from, to)| (&from[..], &to[..])).collect();
    let tensors = renamed(read(&case), &names);
    let wrapped = tensors.iter().map(|(name, tensor)| (format!("model_ema.{name}"), tensor.clone()));
    let mut wrapped: Tensors = wrapped.collect();
    wrapped.insert("model.temb.dense.0.weight".into(), (vec![1], vec![0.0]));

    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.json");
    let run = json!({
        "data": {"image_size": 8}, "model": {"type": "simple", "ch": 8, "ch_mult": [1, 2], "attn_resolutions": [4]},
        "diffusion": {"num_diffusion_timesteps": 1000}, "training": {"batch_size": 128},
    });
    std::fs::write(&config, run.to_string()).unwrap();
    for tensors in [&tensors, &wrapped] {
        let dict = folder.path().join("dict.safetensors");
        write(&dict, tensors);
        let hints = Hints { config: Some(config.clone()), ..Hints::default() };
        let checkpoint = onestep::weights::open_with(&dict, &hints, u64::MAX).unwrap();
        let plain = onestep::weights::open(&case, u64::MAX).unwrap();
        assert_eq!(checkpoint.weights_crc32().unwrap(), plain.weights_crc32().unwrap());
    }
}
