//! Checkpoints of other libraries, as a user of the command meets them: what is said of them, and where it is kept.

use crate::common::repository;
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};
use tempfile::TempDir;

fn run(folder: &TempDir, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onestep"));
    command.args(args).current_dir(folder.path()).env("CUDA_VISIBLE_DEVICES", "").output().unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// A network's folder with nothing beside it, whose names a wrapper has lengthened.
fn wrapped() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let unet = folder.path().join("model/unet");
    fs::create_dir_all(&unet).unwrap();
    let from = repository().join("tests/golden/folders");
    fs::copy(from.join("net/config.json"), unet.join("config.json")).unwrap();
    fs::copy(from.join("torch/wrapped.bin"), unet.join("diffusion_pytorch_model.bin")).unwrap();
    folder
}

#[test]
fn what_is_assumed_of_a_model_is_said_on_the_terminal() {
    let folder = wrapped();
    let output = run(&folder, &["sample", "model", "--steps", "2", "-n", "1", "--out", "a.png"]);
    assert!(output.status.success(), "{}", stderr(&output));
    for said in
        ["note: no scheduler_config.json", "note: the names of its tensors begin with module._orig_mod."]
    {
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    // `info` says it once, where it is read.
    let output = run(&folder, &["info", "model"]);
    assert_eq!(stderr(&output), "");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(
        text.contains("format        diffusers") && text.contains("note          no scheduler"),
        "{text}"
    );
}

#[test]
fn an_imported_file_says_where_it_comes_from() {
    let folder = wrapped();
    let output = run(&folder, &["import", "model", "a.safetensors", "--provenance", "a gift"]);
    assert!(output.status.success() && stderr(&output).contains("note: "), "{}", stderr(&output));
    let output = run(&folder, &["info", "a.safetensors", "--json"]);
    let info: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(info["format"], "onestep");
    assert_eq!(info["provenance"]["format"], "diffusers");
    let sum = info["provenance"]["sha256"]["diffusion_pytorch_model.bin"].as_str().unwrap();
    let expected =
        Command::new("sha256sum").arg(folder.path().join("model/unet/diffusion_pytorch_model.bin")).output();
    if let Ok(expected) = expected {
        assert!(String::from_utf8(expected.stdout).unwrap().starts_with(sum));
    }
    let output = run(&folder, &["info", "a.safetensors"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("from          model (diffusers); a gift; diffusion_pytorch_model.bin "), "{text}");
}

#[test]
fn a_models_name_on_a_hub_is_told_from_a_path() {
    let folder = tempfile::tempdir().unwrap();
    for args in [
        &["sample", "google/ddpm-cifar10-32", "--out", "a.png"][..],
        &["info", "google/ddpm-cifar10-32"],
        &["import", "google/ddpm-cifar10-32", "a.safetensors"],
    ] {
        let output = run(&folder, args);
        assert_eq!(output.status.code(), Some(1));
        assert!(
            stderr(&output)
                .starts_with("error: google/ddpm-cifar10-32: no such file or folder (a model of a hub")
        );
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn hints_that_mean_nothing_are_wrong_usage() {
    let folder = wrapped();
    let teacher = repository().join("models/digits-teacher.safetensors");
    let teacher: &Path = &teacher;
    for (args, said) in [
        (["model", "--config", "cd-imagenet64"], "says itself what it is"),
        ([teacher.to_str().unwrap(), "--key", "ema"], "says itself what it is"),
        (
            ["model/unet/diffusion_pytorch_model.bin", "--config", "nothing"],
            "neither a file nor one of cd-imagenet64, ",
        ),
        (["model", "--group-norm-eps", "0"], "a positive number"),
    ] {
        let output = run(&folder, &["import", args[0], "out.safetensors", args[1], args[2]]);
        assert_eq!(output.status.code(), Some(2), "{}", stderr(&output));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    let output = run(&folder, &["import", "--help"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("\n  guided-diffusion-64\n"));
}

#[test]
fn a_packed_file_draws_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(crate::common::teacher(), folder.path().join("teacher.safetensors")).unwrap();
    let output = run(&folder, &["pack", "teacher.safetensors", "--isa", "portable", "--role", "teacher"]);
    assert!(output.status.success(), "{}", stderr(&output));
    // Beside the model, and said.
    assert!(
        stderr(&output).contains("for portable in f32: teacher.portable.safetensors"),
        "{}",
        stderr(&output)
    );
    let draw = |model: &str, more: &[&str]| {
        let arguments = ["sample", model, "--steps", "1", "--count", "2", "--quiet", "--out", "-"];
        let output = run(&folder, &[&arguments[..], more].concat());
        assert!(output.status.success(), "{}", stderr(&output));
        output.stdout
    };
    let expected = Command::new(env!("CARGO_BIN_EXE_onestep"))
        .current_dir(folder.path())
        .env("ONESTEP_ISA", "portable")
        .args(["sample", "teacher.safetensors", "--steps", "1", "--count", "2", "--quiet", "--out", "-"])
        .output()
        .unwrap();
    assert!(draw("teacher.portable.safetensors", &[]) == expected.stdout);
    assert!(draw("teacher.portable.safetensors", &["--memory", "map"]) == expected.stdout);
    // What takes numbers says so, and an ending is asked for.
    for (arguments, status, said) in [
        (&["import", "teacher.portable.safetensors", "a.safetensors"][..], 1, "a packed file"),
        (&["sample", "teacher.safetensors", "--memory", "map", "--out", "a.png"], 2, "no packed file"),
        (&["pack", "teacher.safetensors", "a.bin"], 2, "ends in .safetensors"),
        (&["pack", "nothing.safetensors"], 1, "no such file"),
    ] {
        let output = run(&folder, arguments);
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
        assert_eq!(output.status.code(), Some(status), "{arguments:?}");
    }
}
