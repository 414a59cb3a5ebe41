//! Files: what is read, what is refused, and what the refusal says.

use crate::common::{self, cpu, golden};
use onestep::model::Role;
use onestep::weights::{ImportOptions, StoredType, export, import};
use onestep::{Code, Error, Limits, MemoryMode, Model, Options};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// The case as a native file.
fn native(folder: &tempfile::TempDir, case: &str) -> PathBuf {
    let path = folder.path().join(format!("{case}.safetensors"));
    import(&golden(case), &path, &ImportOptions::default()).unwrap();
    path
}

/// A copy of a diffusers case whose file at `path` was changed.
fn changed(case: &str, path: &str, change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for part in ["unet", "scheduler"] {
        std::fs::create_dir(folder.path().join(part)).unwrap();
    }
    for file in
        ["unet/config.json", "unet/diffusion_pytorch_model.safetensors", "scheduler/scheduler_config.json"]
    {
        std::fs::copy(golden(case).join(file), folder.path().join(file)).unwrap();
    }
    let path = folder.path().join(path);
    let mut value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    change(&mut value);
    std::fs::write(&path, value.to_string()).unwrap();
    folder
}

fn open_error(path: &Path) -> Error {
    match Model::open(path, &cpu()) {
        Ok(_) => panic!("{} was opened", path.display()),
        Err(error) => error,
    }
}

fn predict(model: &Model) -> Vec<f32> {
    let golden = common::Golden::read(&golden("ddpm"));
    let x = golden.f32("x");
    let mut out = vec![0.0; x.len()];
    let mut session = model.session(&cpu()).unwrap();
    session.predict(&x, &vec![500; golden.batch()], None, &mut out).unwrap();
    out
}

#[test]
fn a_native_file_predicts_what_its_source_does() {
    let folder = tempfile::tempdir().unwrap();
    let from_folder = predict(&Model::open(golden("ddpm"), &cpu()).unwrap());
    let path = native(&folder, "ddpm");
    assert_eq!(predict(&Model::open(&path, &cpu()).unwrap()), from_folder);
    let bytes = std::fs::read(&path).unwrap();
    assert_eq!(predict(&Model::from_bytes(&bytes, &cpu()).unwrap()), from_folder);

    // Twice the same bytes; and 16-bit files are near, and smaller.
    let again = folder.path().join("again.safetensors");
    import(&path, &again, &ImportOptions::default()).unwrap();
    assert_eq!(std::fs::read(&again).unwrap().len(), bytes.len());
    for (dtype, tolerance) in [(StoredType::F16, 2e-3), (StoredType::Bf16, 2e-2)] {
        let options = ImportOptions { dtype: Some(dtype), ..Default::default() };
        import(&path, &again, &options).unwrap();
        assert!(std::fs::metadata(&again).unwrap().len() < bytes.len() as u64 * 6 / 10);
        common::assert_close(
            &format!("{dtype:?}"),
            &predict(&Model::open(&again, &cpu()).unwrap()),
            &from_folder,
            tolerance,
        );
    }
}

#[test]
fn export_and_import_are_inverse() {
    let folder = tempfile::tempdir().unwrap();
    let path = native(&folder, "ddpm");
    let exported = folder.path().join("exported");
    export(&path, &exported).unwrap();
    let model = |path: &Path| Model::open(path, &cpu()).unwrap();
    assert_eq!(predict(&model(&exported)), predict(&model(&path)));
    assert_eq!(model(&exported).info().config, model(&path).info().config);
    // A student stays one, though diffusers has no word for it.
    let (student, folder_of_it) = (folder.path().join("student.safetensors"), folder.path().join("student"));
    import(&path, &student, &ImportOptions { role: Some(Role::Student), ..Default::default() }).unwrap();
    export(&student, &folder_of_it).unwrap();
    assert_eq!(model(&folder_of_it).info().config, model(&student).info().config);
    assert_eq!(model(&student).info().config.generator.role(), Role::Student);
    // What diffusers' scheduler has no word for comes back too.
    let quadratic = changed("ddpm", "scheduler/scheduler_config.json", |config| {
        config["timestep_spacing"] = json!("quadratic");
        config["use_clipped_model_output"] = json!(true);
        config["variance_type"] = json!("fixed_large");
    });
    let (there, back) = (folder.path().join("quadratic.safetensors"), quadratic.path().join("exported"));
    import(quadratic.path(), &there, &ImportOptions::default()).unwrap();
    export(&there, &back).unwrap();
    assert_eq!(model(&back).info().config, model(quadratic.path()).info().config);
    let scheduler = std::fs::read_to_string(back.join("scheduler/scheduler_config.json")).unwrap();
    assert!(!scheduler.contains("quadratic") && !scheduler.contains("variance_type"), "{scheduler}");
    std::fs::remove_file(there).unwrap();
    // A folder with something in it is left alone.
    assert_eq!(export(&path, &exported).unwrap_err().code(), Code::InvalidArgument);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4, "nothing is left beside");
}

#[test]
fn every_damaged_bit_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(native(&folder, "plain")).unwrap();
    let sound = Model::from_bytes(&bytes, &cpu()).unwrap().info().config.clone();
    let header = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let everywhere = (0..header).chain((header..bytes.len()).step_by(997));
    for at in everywhere {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1 << (at % 8);
        match Model::from_bytes(&damaged, &cpu()) {
            Err(error) => {
                assert!(matches!(error.code(), Code::BadModel | Code::UnsupportedModel), "byte {at}: {error}")
            }
            // A blank of the padding became another blank.
            Ok(model) => assert!(bytes[at] == b' ' && model.info().config == sound, "byte {at}"),
        }
    }
}

#[test]
fn every_truncation_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let bytes = std::fs::read(native(&folder, "plain")).unwrap();
    for len in (0..2000).chain((2000..bytes.len()).step_by(499)) {
        let error = Model::from_bytes(&bytes[..len], &cpu()).map(drop).unwrap_err();
        assert_eq!(error.code(), Code::BadModel, "{len} bytes: {error}");
    }
    let path = folder.path().join("short.safetensors");
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    let message = open_error(&path).to_string();
    assert!(message.contains("short.safetensors") && message.contains("truncated"), "{message}");
}

#[test]
fn what_is_not_supported_is_named() {
    let cases: &[(&str, Value, &str)] = &[
        ("time_embedding_type", json!("fourier"), "positional"),
        ("class_embed_type", json!("timestep"), "null"),
        ("mid_block_type", Value::Null, "UNetMidBlock2D"),
        ("downsample_type", json!("fir"), "conv, resnet"),
        ("upsample_type", json!("fir"), "conv, resnet"),
        ("act_fn", json!("elu"), "silu"),
        ("resnet_time_scale_shift", json!("spatial"), "scale_shift"),
        (
            "down_block_types",
            json!(["DownBlock2D", "SkipDownBlock2D"]),
            "DownBlock2D, AttnDownBlock2D, ResnetDownsampleBlock2D",
        ),
        ("out_channels", json!(5), "in_channels"),
        ("sample_size", json!(9), "multiples of 2"),
        ("sample_size", Value::Null, "pair"),
        ("norm_num_groups", json!(3), "divisor"),
        ("downsample_padding", json!(2), "0, 1"),
        ("only_cross_attention", json!(true), "without this key"),
    ];
    for (key, value, supported) in cases {
        let folder = changed("ddpm", "unet/config.json", |config| config[*key] = value.clone());
        let error = open_error(folder.path());
        assert_eq!(error.code(), Code::UnsupportedModel, "{key}: {error}");
        let message = error.to_string();
        assert!(message.contains(key) && message.contains(supported), "{key}: {message}");
    }
    for (key, value) in [
        ("beta_schedule", json!("sigmoid")),
        ("prediction_type", json!("flow_prediction")),
        ("thresholding", json!(true)),
        ("rescale_betas_zero_snr", json!(true)),
        ("timestep_spacing", json!("karras")),
        ("variance_type", json!("learned_range")),
        ("use_karras_sigmas", json!(false)),
    ] {
        let folder = changed("ddpm", "scheduler/scheduler_config.json", |config| config[key] = value);
        let error = open_error(folder.path());
        assert!(error.code() == Code::UnsupportedModel && error.to_string().contains(key), "{error}");
    }
}

#[test]
fn keys_with_an_underscore_are_private() {
    let folder = changed("ddpm", "unet/config.json", |config| config["_anything"] = json!({"a": [1]}));
    Model::open(folder.path(), &cpu()).unwrap();
}

#[test]
fn configuration_and_weights_must_belong_together() {
    let wider = changed("ddpm", "unet/config.json", |config| config["block_out_channels"] = json!([16, 16]));
    assert!(
        matches!(open_error(wider.path()), Error::WrongShape { tensor, .. } if tensor == "conv_in.weight")
    );
    let deeper = changed("ddpm", "unet/config.json", |config| config["layers_per_block"] = json!(3));
    assert!(
        matches!(open_error(deeper.path()), Error::MissingTensor { tensor, .. } if tensor.contains("resnets.2"))
    );
    let flatter = changed("ddpm", "unet/config.json", |config| config["layers_per_block"] = json!(1));
    assert_eq!(open_error(flatter.path()).code(), Code::BadModel);
    let plainer = changed("ddpm", "unet/config.json", |config| config["add_attention"] = json!(false));
    assert!(
        matches!(open_error(plainer.path()), Error::UnexpectedTensor { tensor, .. } if tensor.contains("mid_block"))
    );
}

#[test]
fn absurd_numbers_are_errors() {
    for (key, value) in [
        ("layers_per_block", json!(1_000_000)),
        ("block_out_channels", json!([1_000_000, 1_000_000])),
        ("sample_size", json!(1_000_000)),
        ("sample_size", json!(-8)),
        ("sample_size", json!([8, 8, 8])),
        ("norm_eps", json!(0)),
        ("norm_eps", json!("small")),
        ("mid_block_scale_factor", json!(1e-40)),
        ("freq_shift", json!(4)),
        ("attention_head_dim", json!(5)),
        ("in_channels", json!(1e300)),
    ] {
        let folder = changed("ddpm", "unet/config.json", |config| config[key] = value.clone());
        let error = open_error(folder.path());
        assert!(matches!(error.code(), Code::BadModel | Code::UnsupportedModel), "{key} = {value}: {error}");
    }
}

#[test]
fn limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = native(&folder, "ddpm");
    for (limits, key) in [
        (Limits { file_bytes: 1000, ..Limits::default() }, "limits.file_bytes"),
        (Limits { parameters: 1000, ..Limits::default() }, "limits.parameters"),
        (Limits { pixels: 63, ..Limits::default() }, "limits.pixels"),
    ] {
        let error = Model::open(&path, &Options { limits, ..cpu() }).map(drop).unwrap_err();
        assert!(error.code() == Code::BadModel && error.to_string().contains(key), "{error}");
    }
}

#[test]
fn memory_is_kept_within_its_limit() {
    let within = |memory| Options { limits: Limits { memory, ..Limits::default() }, ..cpu() };
    let refused = |error: onestep::Error| {
        assert!(error.code() == Code::OutOfMemory && error.to_string().contains("limits.memory"), "{error}");
    };
    let open = |memory| Model::open(golden("ddpm"), &within(memory));
    let memory = open(u64::MAX).unwrap().estimate_memory(2).unwrap();
    // Before anything is prepared, and while it is.
    refused(open(1000).map(drop).unwrap_err());
    refused(open(memory.weights - 1).map(drop).unwrap_err());
    // Two images are within it, more are not, and cost nothing.
    let model = open(memory.weights + memory.scratch).unwrap();
    let mut session = model.session(&cpu()).unwrap();
    session.prepare(2).unwrap();
    refused(session.prepare(64).unwrap_err());
    session.prepare(1).unwrap();
}

#[test]
fn weights_in_a_diffusers_folder_open_as_the_folder() {
    let path = golden("ddpm").join("unet/diffusion_pytorch_model.safetensors");
    assert_eq!(
        predict(&Model::open(&path, &cpu()).unwrap()),
        predict(&Model::open(golden("ddpm"), &cpu()).unwrap())
    );
    // Elsewhere nothing says what they are.
    let folder = tempfile::tempdir().unwrap();
    let alone = folder.path().join("alone.safetensors");
    std::fs::copy(&path, &alone).unwrap();
    let message = open_error(&alone).to_string();
    assert!(message.contains("alone.safetensors") && message.contains("config.json"), "{message}");
}

#[test]
fn what_is_no_model_is_said() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(open_error(&folder.path().join("absent")).code(), Code::Io);
    assert!(open_error(folder.path()).to_string().contains("config.json"));
    let empty = folder.path().join("empty");
    std::fs::write(&empty, b"").unwrap();
    assert_eq!(open_error(&empty).code(), Code::BadModel);
    // A pipe, to which nobody ever writes, is not waited for.
    #[cfg(unix)]
    for pipe in ["unet/config.json", "pipe"] {
        let folder = changed("ddpm", "unet/config.json", |_| ());
        let path = folder.path().join(pipe);
        let _ = std::fs::remove_file(&path);
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let error = open_error(if pipe == "pipe" { &path } else { folder.path() });
        assert!(
            error.code() == Code::BadModel && error.to_string().contains("not a regular file"),
            "{error}"
        );
    }
}

#[test]
fn a_failed_import_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let source = changed("ddpm", "unet/config.json", |config| config["layers_per_block"] = json!(3));
    import(source.path(), &folder.path().join("out.safetensors"), &ImportOptions::default()).unwrap_err();
    // A value that the type asked for cannot hold.
    let source = changed("ddpm", "unet/config.json", |_| ());
    let weights = source.path().join("unet/diffusion_pytorch_model.safetensors");
    let mut bytes = std::fs::read(&weights).unwrap();
    let at = bytes.len() - 4;
    bytes[at..].copy_from_slice(&70_000_f32.to_le_bytes());
    std::fs::write(&weights, bytes).unwrap();
    let options = ImportOptions { dtype: Some(StoredType::F16), ..Default::default() };
    let error = import(source.path(), &folder.path().join("out.safetensors"), &options).unwrap_err();
    assert!(error.code() == Code::InvalidArgument && error.to_string().contains("holds 70000"), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// A diffusers folder of the case `plain` whose weights are these bytes of PyTorch's.
fn torch_folder(bytes: &[u8]) -> tempfile::TempDir {
    let folder = changed("plain", "unet/config.json", |_| ());
    std::fs::remove_file(folder.path().join("unet/diffusion_pytorch_model.safetensors")).unwrap();
    std::fs::write(folder.path().join("unet/diffusion_pytorch_model.bin"), bytes).unwrap();
    folder
}

fn torch_file(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch").join(name)).unwrap()
}

#[test]
fn torch_files_hold_what_safetensors_do() {
    let folder = tempfile::tempdir().unwrap();
    let (expected, out) = (folder.path().join("a.safetensors"), folder.path().join("b.safetensors"));
    import(&golden("plain"), &expected, &ImportOptions::default()).unwrap();
    for name in ["zip.bin", "legacy.bin", "parameters.bin"] {
        import(torch_folder(&torch_file(name)).path(), &out, &ImportOptions::default()).unwrap();
        // All but the header, which says where they come from.
        let values = |path: &Path| {
            let bytes = std::fs::read(path).unwrap();
            let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            bytes[8 + header..].to_vec()
        };
        assert!(values(&out) == values(&expected), "{name}");
    }
}

#[test]
fn damaged_torch_files_are_refused() {
    std::thread::scope(|scope| {
        for name in ["zip.bin", "legacy.bin"] {
            scope.spawn(|| damaged_torch_file_is_refused(name));
        }
    });
    // Weights of the zip format are under its checksums.
    let mut bytes = torch_file("zip.bin");
    let half = bytes.len() / 2;
    bytes[half] ^= 4;
    let message = open_error(torch_folder(&bytes).path()).to_string();
    assert!(message.contains("checksum"), "{message}");
}

fn damaged_torch_file_is_refused(name: &str) {
    // Weights are read as ever, and not transformed for speed.
    let light = Options { memory: MemoryMode::Low, ..cpu() };
    let whole = torch_file(name);
    for length in (0..200).chain((200..whole.len()).step_by(1999)).chain([whole.len() - 1]) {
        let error = open_error(torch_folder(&whole[..length]).path());
        assert_eq!(error.code(), Code::BadModel, "{name}, {length} bytes: {error}");
        assert!(error.to_string().contains("diffusion_pytorch_model.bin"), "{error}");
    }
    // A flipped bit is an error, or was in bytes that mean nothing (dates; weights of the format without checksums).
    for at in (0..whole.len()).step_by(41) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        if let Err(error) = Model::open(torch_folder(&bytes).path(), &light) {
            let expected = matches!(error.code(), Code::BadModel | Code::UnsupportedModel);
            assert!(expected, "{name}, byte {at}: {error}");
        }
    }
}

#[test]
fn a_pickle_is_never_executed() {
    // What `pickle.dumps` makes of an object that reduces to os.system("touch pwned"), behind the old format's start.
    let mut bytes = torch_file("legacy.bin")[..15].to_vec();
    bytes.extend(b"\x80\x02M\xe9\x03.\x80\x02}.\x80\x02cposix\nsystem\nX\x0b\x00\x00\x00touch pwned\x85R.");
    let error = open_error(torch_folder(&bytes).path());
    assert_eq!(error.code(), Code::UnsupportedModel);
    assert!(error.to_string().contains("posix.system"), "{error}");
}
