//! What the public files do not say of themselves, by the names of their models.

use serde_json::{Value, json};
use std::path::Path;

/// A published model, or several that say the same.
struct Preset {
    name: &'static str,
    /// Its files' names, without what comes after the last point.
    files: &'static [&'static str],
    /// Its configuration, in its own library's words.
    config: fn() -> Value,
}

const PRESETS: [Preset; 31] = [
    // consistency_models (Song et al. 2023)
    preset("cd-imagenet64", &["cd_imagenet64_l2", "cd_imagenet64_lpips"], || {
        consistency(64, "distillation", 40)
    }),
    preset(
        "cd-lsun256",
        &["cd_bedroom256_l2", "cd_bedroom256_lpips", "cd_cat256_l2", "cd_cat256_lpips"],
        || consistency(256, "distillation", 40),
    ),
    preset("ct-imagenet64", &["ct_imagenet64"], || consistency(64, "training", 201)),
    preset("ct-lsun256", &["ct_bedroom256", "ct_cat256"], || consistency(256, "training", 151)),
    preset("edm-imagenet64-openai", &["edm_imagenet64_ema"], || openai_edm(64)),
    preset("edm-lsun256-openai", &["edm_bedroom256_ema", "edm_cat256_ema"], || openai_edm(256)),
    // guided-diffusion (Dhariwal and Nichol 2021)
    preset("guided-diffusion-64", &["64x64_diffusion"], || {
        json!({"format": "guided-diffusion", "image_size": 64, "num_head_channels": 64, "learn_sigma": true,
            "use_new_attention_order": true, "noise_schedule": "cosine", "dropout": 0.1})
    }),
    preset(
        "guided-diffusion-128",
        &["128x128_diffusion"],
        || json!({"format": "guided-diffusion", "image_size": 128, "num_heads": 4, "learn_sigma": true}),
    ),
    preset("guided-diffusion-256", &["256x256_diffusion", "256x256_diffusion_uncond"], || guided(256)),
    preset("guided-diffusion-512", &["512x512_diffusion"], || guided(512)),
    preset("guided-diffusion-lsun", &["lsun_bedroom", "lsun_cat", "lsun_horse"], || guided(256)),
    // improved-diffusion (Nichol and Dhariwal 2021)
    preset("improved-diffusion-cifar10", &["cifar10_uncond_50M_500K", "cifar10_uncond_vlb_50M_500K"], || {
        improved(32)
    }),
    preset(
        "improved-diffusion-imagenet64",
        &["imagenet64_uncond_100M_1500K", "imagenet64_uncond_vlb_100M_1500K", "imagenet64_cond_270M_250K"],
        || improved(64),
    ),
    preset(
        "improved-diffusion-lsun",
        &["lsun_uncond_100M_1200K_bs128", "lsun_uncond_100M_2400K_bs64"],
        || {
            json!({"format": "improved-diffusion", "image_size": 256, "num_heads": 1, "diffusion_steps": 1000,
            "noise_schedule": "linear", "rescale_timesteps": false})
        },
    ),
    // EDM (Karras et al. 2022): deterministic, of 18 steps at 32 x 32 and 40 at 64 x 64
    preset("edm-cifar10", &["edm-cifar10-32x32-uncond-vp", "edm-cifar10-32x32-cond-vp"], || edm(18)),
    preset("edm-ffhq64", &["edm-ffhq-64x64-uncond-vp"], || edm(40)),
    preset("edm-afhqv2-64", &["edm-afhqv2-64x64-uncond-vp"], || edm(40)),
    preset("edm-imagenet64", &["edm-imagenet-64x64-cond-adm"], || edm(40)),
    preset(
        "edm-baseline-vp",
        &[
            "baseline-cifar10-32x32-uncond-vp",
            "baseline-ffhq-64x64-uncond-vp",
            "baseline-afhqv2-64x64-uncond-vp",
        ],
        || json!({"precond": "VPPrecond", "steps": 40}),
    ),
    // What was distilled from EDM: one step from the most noise, or from sigma 2.5
    preset("ect-cifar10", &[], || edm(1)),
    preset("ect-imagenet64", &[], || edm(1)),
    preset("dmd2-imagenet64", &[], || edm(1)),
    preset("sid-cifar10", &[], sid),
    preset("sid-ffhq64", &[], sid),
    preset("sid-afhqv2-64", &[], sid),
    preset("sid-imagenet64", &[], sid),
    // The DDPM authors' networks in PyTorch, and DDIM's CelebA
    preset("ddpm-cifar10", &[], || ddpm(32)),
    preset("ddpm-celeba", &[], || ddpm(64)),
    preset("ddpm-bedroom", &[], || ddpm(256)),
    preset("ddpm-cat", &[], || ddpm(256)),
    preset("ddpm-church", &[], || ddpm(256)),
];

const fn preset(name: &'static str, files: &'static [&'static str], config: fn() -> Value) -> Preset {
    Preset { name, files, config }
}

fn consistency(size: usize, mode: &str, steps: usize) -> Value {
    json!({"format": "consistency_models", "training_mode": format!("consistency_{mode}"), "image_size": size,
        "num_head_channels": 64, "steps": steps})
}

fn openai_edm(size: usize) -> Value {
    json!({"format": "consistency_models", "training_mode": "edm", "image_size": size, "num_head_channels": 64,
        "steps": 40})
}

fn guided(size: usize) -> Value {
    json!({"format": "guided-diffusion", "image_size": size, "num_head_channels": 64, "learn_sigma": true,
        "noise_schedule": "linear"})
}

fn improved(size: usize) -> Value {
    json!({"format": "improved-diffusion", "image_size": size, "num_heads": 4, "learn_sigma": true,
        "diffusion_steps": 4000, "noise_schedule": "cosine", "rescale_timesteps": true})
}

fn edm(steps: usize) -> Value {
    json!({"precond": "EDMPrecond", "steps": steps})
}

fn sid() -> Value {
    json!({"precond": "EDMPrecond", "steps": 1, "sigma_max": 2.5})
}

fn ddpm(size: usize) -> Value {
    json!({"data": {"image_size": size}})
}

/// The configuration of this name.
pub fn named(name: &str) -> Option<Value> {
    PRESETS.iter().find(|preset| preset.name == name).map(|preset| (preset.config)())
}

/// The name of the configuration of a published file, by the file's name.
pub fn of_file(path: &Path) -> Option<&'static str> {
    let stem = path.file_stem()?.to_str()?;
    PRESETS.iter().find(|preset| preset.files.contains(&stem)).map(|preset| preset.name)
}

/// All names.
pub fn names() -> Vec<&'static str> {
    PRESETS.iter().map(|preset| preset.name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_and_files_are_each_of_one_preset() {
        let all: Vec<&str> =
            PRESETS.iter().flat_map(|preset| preset.files.iter().copied().chain([preset.name])).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(of_file(Path::new("a/cd_imagenet64_l2.pt")), Some("cd-imagenet64"));
        assert_eq!(of_file(Path::new("model.pt")), None);
        assert_eq!(named("sid-cifar10").unwrap()["sigma_max"], 2.5);
        assert!(named("nothing").is_none() && names().contains(&"guided-diffusion-64"));
    }
}
