//! Files of other libraries that do not open: whose they are, and what is missing, in one line.

use crate::common::cpu;
use onestep::weights::{Hints, ImportOptions, import};
use onestep::{Code, Error, Model};
use safetensors::tensor::{Dtype, TensorView};
use serde_json::json;
use std::path::{Path, PathBuf};

/// A file of tensors of these names and shapes, all zero.
fn file(folder: &Path, name: &str, tensors: &[(&str, &[usize])]) -> PathBuf {
    let zeros = vec![0; 1 << 20];
    let views = tensors.iter().map(|(name, shape)| {
        let bytes = &zeros[..4 * shape.iter().product::<usize>()];
        (*name, TensorView::new(Dtype::F32, shape.to_vec(), bytes).unwrap())
    });
    let path = folder.join(name);
    std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
    path
}

fn refused(path: &Path) -> Error {
    let error = Model::open(path, &cpu()).map(drop).unwrap_err();
    assert!(matches!(error.code(), Code::BadModel | Code::UnsupportedModel), "{error}");
    error
}

/// As much of OpenAI's network as tells what it is.
const OPENAI: [(&str, &[usize]); 9] = [
    ("input_blocks.0.0.weight", &[32, 3, 3, 3]),
    ("input_blocks.1.0.emb_layers.1.weight", &[64, 128]),
    ("time_embed.0.weight", &[128, 32]),
    ("output_blocks.0.0.in_layers.0.weight", &[64]),
    ("output_blocks.0.0.out_layers.3.weight", &[32, 32, 3, 3]),
    ("output_blocks.1.0.in_layers.0.weight", &[64]),
    ("output_blocks.1.0.out_layers.3.weight", &[32, 32, 3, 3]),
    ("out.2.weight", &[6, 32, 3, 3]),
    ("label_emb.weight", &[10, 128]),
];

#[test]
fn what_a_file_does_not_tell_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "model.safetensors", &OPENAI);
    let message = refused(&path).to_string();
    for part in [
        "OpenAI's",
        "[32] channels",
        "size of its images",
        "--config NAME",
        "guided-diffusion-64",
        "cd-imagenet64",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    // A published file's name says the rest, and then its tensors are asked for.
    let path = file(folder.path(), "64x64_diffusion.safetensors", &OPENAI);
    let message = refused(&path).to_string();
    assert!(message.contains("no tensor time_embed.0.bias"), "{message}");
    let open = |name: &str| {
        let hints = Hints { config: Some(name.into()), ..Hints::default() };
        import(&path, &folder.path().join("out.safetensors"), &ImportOptions { hints, ..Default::default() })
            .unwrap_err()
    };
    assert!(open("guided-diffusion-256").to_string().contains("no tensor"));
    assert!(
        open("cd-imagenet64").to_string().contains("no tensor"),
        "flags that the tensors do not contradict"
    );
    let error = open("guided-diffusion-65");
    assert!(
        error.code() == Code::InvalidArgument && error.to_string().contains("neither a file nor one of"),
        "{error}"
    );

    // Flags that the tensors contradict.
    let config = folder.path().join("flags.json");
    for (key, value) in [
        ("num_channels", json!(64)),
        ("num_res_blocks", json!(2)),
        ("channel_mult", json!("1,2")),
        ("attention_resolutions", json!("64")),
        ("class_cond", json!(false)),
        ("learn_sigma", json!(false)),
        ("use_scale_shift_norm", json!(false)),
    ] {
        std::fs::write(&config, json!({"image_size": 64, key: value}).to_string()).unwrap();
        let message = open(config.to_str().unwrap()).to_string();
        assert!(message.contains(&format!("{key} = ")) && message.contains("flags.json"), "{message}");
    }
    // A first level of half the channels, as guided-diffusion has at 512 pixels: the time's are the whole.
    let half = OPENAI.map(|(name, shape)| match name {
        "time_embed.0.weight" => (name, &[128, 64][..]),
        _ => (name, shape),
    });
    let halved = file(folder.path(), "512x512_diffusion.safetensors", &half);
    std::fs::write(
        &config,
        json!({"image_size": 512, "num_channels": 64, "channel_mult": "0.5"}).to_string(),
    )
    .unwrap();
    let hints = Hints { config: Some(config.clone()), ..Hints::default() };
    let error = import(
        &halved,
        &folder.path().join("out.safetensors"),
        &ImportOptions { hints, ..Default::default() },
    );
    assert!(error.unwrap_err().to_string().contains("no tensor time_embed.0.bias"));
    std::fs::write(&config, "{}").unwrap();
    assert!(open(config.to_str().unwrap()).to_string().contains("no image_size"));
}

#[test]
fn networks_that_are_not_run_are_called_by_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let mut classifier = OPENAI.to_vec();
    classifier.retain(|(name, _)| !name.starts_with("output_blocks"));
    let mut enlarger = OPENAI.to_vec();
    enlarger[0].1 = &[32, 6, 3, 3];
    for (tensors, said) in [
        (
            vec![("model.diffusion_model.input_blocks.0.0.weight", &[1][..]), ("first_stage_model.a", &[1])],
            "latent diffusion",
        ),
        (vec![("module.all_modules.0.weight", &[1][..])], "score_sde"),
        (vec![("x_embedder.proj.weight", &[1][..])], "DiT"),
        (vec![("ema_model.init_conv.weight", &[1][..])], "denoising-diffusion-pytorch"),
        (vec![("map_layer0.weight", &[4, 4][..]), ("map_noise.freqs", &[2])], "NCSN++"),
        (classifier, "a classifier"),
        (enlarger, "enlarges images"),
        (vec![("a", &[1][..]), ("b", &[1])], "no network that is known here: a, b"),
        (vec![], "no tensors"),
    ] {
        let message = refused(&file(folder.path(), "x.safetensors", &tensors)).to_string();
        assert!(message.contains(said), "{said}: {message}");
    }
    // Weights of diffusers' without their configuration.
    let path = file(folder.path(), "x.safetensors", &[("time_embedding.linear_1.weight", &[4, 4])]);
    assert!(refused(&path).to_string().contains("config.json"));
}

/// The files in which NVIDIA publishes its networks are programs.
#[test]
fn a_pickled_program_is_told_how_to_become_data() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("edm-cifar10.pkl");
    std::fs::write(&path, b"\x80\x03}q\x00X\x03\x00\x00\x00emaq\x01ctorch_utils.persistence\n_reconstruct_persistent_obj\nq\x02.").unwrap();
    let message = refused(&path).to_string();
    assert!(message.contains("import pickle, torch\n") && message.contains("edm-cifar10.pt"), "{message}");
    assert!(message.contains(r#"["ema"].state_dict()"#), "{message}");
}

#[test]
fn names_that_a_terminal_would_obey_are_not_printed() {
    let folder = tempfile::tempdir().unwrap();
    let long = "n".repeat(1 << 20);
    for name in ["a\u{1b}[2Jb", "a\u{9b}2J", &long] {
        let message = refused(&file(folder.path(), "x.safetensors", &[(name, &[1])])).to_string();
        assert!(!message.chars().any(char::is_control) && message.len() < 400, "{message}");
    }
    let config = json!({"_class_name": "UNet2DModel", "sample_size": 8, "a\u{1b}[2J": long}).to_string();
    std::fs::write(folder.path().join("config.json"), config).unwrap();
    file(folder.path(), "diffusion_pytorch_model.safetensors", &[("conv_in.weight", &[1])]);
    let message = refused(folder.path()).to_string();
    assert!(!message.chars().any(char::is_control) && message.len() < 600, "{message}");
}
