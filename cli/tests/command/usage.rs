//! The command as a user meets it: files, pipes, exit codes, messages.

use crate::common::{repository, teacher};
use serde_json::Value;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tempfile::TempDir;

/// The built-in model's image: width, height, channels, classes.
const SIZE: u32 = 16;
const CHANNELS: usize = 4;
const CLASSES: u32 = 8;

fn onestep(folder: &TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_onestep"));
    // On machines too where `auto` would mean a GPU.
    command.current_dir(folder.path()).stdin(Stdio::null()).env("CUDA_VISIBLE_DEVICES", "");
    command
}

fn run(folder: &TempDir, args: &[&str]) -> Output {
    onestep(folder).args(args).output().unwrap()
}

/// Runs a command that must succeed; its stdout.
fn ok(folder: &TempDir, args: &[&str]) -> Vec<u8> {
    let output = run(folder, args);
    assert!(output.status.success(), "{args:?}: {}", stderr(&output));
    output.stdout
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn files(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

/// Width, height and pixels of a PNG: of the teacher's, which are grey, or of the built-in model's.
fn decode(path: &Path) -> (u32, u32, Vec<u8>) {
    let file = std::io::BufReader::new(fs::File::open(path).unwrap());
    let mut reader = png::Decoder::new(file).read_info().unwrap();
    assert_eq!(reader.info().color_type, png::ColorType::Rgba);
    let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut pixels).unwrap();
    (info.width, info.height, pixels)
}

fn temporary() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn a_grid_is_one_picture_with_a_column_a_class() {
    let folder = temporary();
    let output = run(&folder, &["sample", "--count", "20", "--out", "grid.png"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(output.stdout.is_empty());
    assert!(stderr(&output).contains("20 images in "), "{}", stderr(&output));
    assert!(stderr(&output).contains("grid.png"));
    let (width, height, pixels) = decode(&folder.path().join("grid.png"));
    // 64-pixel images, 4-pixel gutters, a row of labels above.
    assert_eq!(width, 4 + CLASSES * (64 + 4));
    assert!(height > 3 * (64 + 4) && height < 4 * (64 + 4), "{height}");
    // Labels are darker than the sheet, and the images are not all alike.
    assert!(pixels[..CHANNELS * (width * 20) as usize].iter().any(|&level| level < 100));
    assert_eq!(files(folder.path()), ["grid.png"]);
}

#[test]
fn a_folder_gets_one_picture_an_image() {
    let folder = temporary();
    ok(&folder, &["sample", "-n", "4", "--seed", "7", "--label", "3,5", "--out", "portraits"]);
    let portraits = folder.path().join("portraits");
    assert_eq!(files(&portraits), ["10-5.png", "7-3.png", "8-5.png", "9-3.png"]);
    let (width, height, pixels) = decode(&portraits.join("7-3.png"));
    assert_eq!((width, height), (SIZE, SIZE));
    // Around a face nothing is to be seen.
    let [corner, face] = [0, 8 * 16 + 8].map(|pixel| pixels[CHANNELS * pixel + 3]);
    assert!(corner < 16 && face > 239, "{corner}, {face}");
}

#[test]
fn an_array_is_f32_nchw() {
    let folder = temporary();
    ok(&folder, &["sample", "-n", "3", "--out", "a.npy", "--quiet"]);
    let bytes = fs::read(folder.path().join("a.npy")).unwrap();
    assert_eq!(&bytes[..8], b"\x93NUMPY\x01\x00");
    let header = usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let text = String::from_utf8_lossy(&bytes[10..10 + header]);
    assert!(text.contains("'descr': '<f4'") && text.contains("'shape': (3, 4, 16, 16)"), "{text}");
    assert_eq!(bytes.len() - 10 - header, 3 * 4 * 16 * 16 * 4);
}

#[test]
fn a_pipe_gets_bare_bytes() {
    let folder = temporary();
    let draw = |more: &[&str]| ok(&folder, &[&["sample", "-n", "2", "--out", "-"], more].concat());
    let (rgba, rgb, floats) = (draw(&[]), draw(&["--format", "rgb8"]), draw(&["--format", "f32"]));
    assert!(rgba == draw(&["--format", "rgba8"]));
    assert_eq!((rgba.len(), rgb.len(), floats.len()), (2 * 256 * 4, 2 * 256 * 3, 2 * 4 * 256 * 4));
    for (rgba, rgb) in rgba.chunks(4).zip(rgb.chunks(3)) {
        assert_eq!(rgba[..3], *rgb);
    }
    let first = f32::from_ne_bytes(floats[..4].try_into().unwrap());
    let red = ((first.clamp(-1.0, 1.0) + 1.0) * 127.5).round();
    assert!((red - f32::from(rgb[0])).abs() <= 1.0, "{first} and {}", rgb[0]);
    // A model without alpha.
    let grey = ok(&folder, &["sample", teacher().to_str().unwrap(), "-n", "1", "--steps", "1", "--out", "-"]);
    assert_eq!(grey.len(), 256 * 3);
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_closed_pipe_ends_quietly() {
    let folder = temporary();
    let mut child = onestep(&folder)
        .args(["sample", "-n", "2000", "--batch", "10", "--out", "-", "--quiet"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = [0; 16];
    child.stdout.take().unwrap().read_exact(&mut first).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), String::new()));
}

#[test]
fn an_image_depends_on_its_seed_and_label_alone() {
    let folder = temporary();
    let draw = |more: &[&str]| {
        let args = ["sample", "-n", "15", "--seed", "40", "--out", "-", "--format", "f32"];
        ok(&folder, &[&args, more].concat())
    };
    let plain = draw(&["--batch", "1", "--threads", "1"]);
    assert!(plain == draw(&["--batch", "7", "--threads", "1"]), "batch");
    assert!(plain == draw(&["--batch", "7", "--threads", "2"]), "threads");
    assert!(plain != draw(&["--label", "3"]), "label");
    let image = plain.len() / 15;
    let args = ["sample", "-n", "1", "--seed", "44", "--label", "4", "--out", "-", "--format", "f32"];
    assert!(ok(&folder, &args) == plain[4 * image..5 * image], "image 4 alone");
}

#[test]
fn a_teacher_takes_every_sampler() {
    let folder = temporary();
    let model = teacher();
    let model = model.to_str().unwrap();
    let draw = |more: &[&str]| {
        let args = ["sample", model, "-n", "2", "--out", "-", "--format", "f32"];
        ok(&folder, &[&args, more].concat())
    };
    let ddim = draw(&["--steps", "5", "--batch", "1", "--threads", "1"]);
    assert!(ddim == draw(&["--steps", "5", "--batch", "2", "--threads", "2"]));
    for more in [
        &["--steps", "4", "--spacing", "quadratic"][..],
        &["--steps", "4", "--spacing", "trailing", "--eta", "0.5"],
        &["--steps", "4", "--spacing", "linspace", "--clip-sample", "true"],
        &["--steps", "4", "--sampler", "ddpm"],
        &["--timesteps", "900,500,100"],
    ] {
        assert!(draw(more) != ddim, "{more:?}");
    }
}

#[test]
fn a_strip_runs_from_one_seed_to_the_other() {
    let folder = temporary();
    ok(&folder, &["interpolate", "--from", "1", "--to", "2", "-n", "5", "-l", "3", "--out", "strip.png"]);
    let (width, height, _) = decode(&folder.path().join("strip.png"));
    assert!(width > 5 * 68 && width < 6 * 68, "{width}");
    assert_eq!(height, 4 + 68);

    ok(&folder, &["interpolate", "--from", "1", "--to", "2", "-n", "3", "-l", "3", "--out", "frames/"]);
    ok(&folder, &["sample", "--seed", "1", "-n", "2", "-l", "3", "--out", "ends/"]);
    let read = |name: &str| decode(&folder.path().join(name)).2;
    assert_eq!(files(&folder.path().join("frames")), ["1-2-000-3.png", "1-2-001-3.png", "1-2-002-3.png"]);
    assert_eq!(read("frames/1-2-000-3.png"), read("ends/1-3.png"));
    assert_eq!(read("frames/1-2-002-3.png"), read("ends/2-3.png"));
}

/// A model whose weights are finite, and whose images are not: a diffusers folder, which has no checksum.
fn overflowing(folder: &TempDir) {
    let teacher = repository().join("models/digits-teacher.safetensors");
    ok(folder, &["import", teacher.to_str().unwrap(), "wide.safetensors", "--dtype", "f32", "--quiet"]);
    ok(folder, &["export", "wide.safetensors", "wild"]);
    let path = folder.path().join("wild/unet/diffusion_pytorch_model.safetensors");
    let mut bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    let place =
        |at: usize| 8 + length + header["conv_out.weight"]["data_offsets"][at].as_u64().unwrap() as usize;
    for value in bytes[place(0)..place(1)].chunks_exact_mut(4) {
        value.copy_from_slice(&3e38f32.to_le_bytes());
    }
    fs::write(&path, bytes).unwrap();
}

#[test]
fn images_that_are_no_numbers_are_said() {
    let folder = temporary();
    overflowing(&folder);
    let output = run(&folder, &["sample", "wild", "--steps", "2", "-n", "2", "--out", "x.npy"]);
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(stderr(&output).contains("warning: image 0 of the batch is damaged"), "{}", stderr(&output));
    let pairs = ["pairs", "--teacher", "wild", "--count", "4", "--ddim-steps", "2", "--out", "pairs"];
    let output = run(&folder, &pairs);
    assert!(stderr(&output).contains("--teacher: seed 4294967296: the network says"), "{}", stderr(&output));
}

#[test]
fn more_images_than_there_is_memory_for_are_refused_before_work_begins() {
    let folder = temporary();
    let all = u32::MAX.to_string();
    let output = run(&folder, &["sample", "--batch", &all, "--count", &all, "--out", "x.npy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("--batch: 4294967295 images; 1 to 4096"), "{}", stderr(&output));
    let strip = ["interpolate", "--from", "1", "--to", "2", "--count", "500000000", "--out", "strip.png"];
    let output = run(&folder, &strip);
    assert!(matches!(output.status.code(), Some(1 | 2)), "{}", stderr(&output));
    assert!(files(folder.path()).is_empty());
}

#[test]
fn json_is_one_object_on_stdout() {
    let folder = temporary();
    let parse = |args: &[&str]| serde_json::from_slice::<Value>(&ok(&folder, args)).unwrap();
    let info = parse(&["info", "--json"]);
    assert_eq!((&info["role"], &info["width"], &info["classes"]), (&"student".into(), &16.into(), &8.into()));
    assert!(info["parameters"].as_u64().unwrap() > 100_000);
    assert!(info["memory"]["weights"].as_u64().unwrap() > 0);
    // The rest is what the library says through its interfaces.
    let model =
        onestep::Model::open_default(&onestep::Options { device: "cpu".into(), ..Default::default() })
            .unwrap();
    let Value::Object(library) = model.info().to_json() else { panic!("no object") };
    for (key, value) in &library {
        assert_eq!(info[key], *value, "{key}");
    }
    assert_eq!(info.as_object().unwrap().len(), library.len() + 2);
    let teacher_info = parse(&["info", teacher().to_str().unwrap(), "--json"]);
    assert_eq!(teacher_info["role"], "teacher");
    assert_eq!(parse(&["devices", "--json"])["devices"][0]["id"], "cpu");
    let bench = parse(&["bench", "--batch", "1,2", "--threads", "1,2", "--repeat", "2", "--json"]);
    assert_eq!(bench["results"].as_array().unwrap().len(), 4);
    assert!(bench["results"][3]["median_ms_per_image"].as_f64().unwrap() > 0.0);
    assert!(!ok(&folder, &["info"]).is_empty() && !ok(&folder, &["devices"]).is_empty());
}

#[test]
fn completions_and_manual_pages_know_every_subcommand() {
    let folder = temporary();
    let subcommands = ["sample", "interpolate", "info", "devices", "bench", "import", "export"];
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let text = String::from_utf8(ok(&folder, &["completions", shell])).unwrap();
        assert!(subcommands.iter().all(|name| text.contains(name)) && text.contains("count"), "{shell}");
    }
    assert_eq!(run(&folder, &["completions", "cmd"]).status.code(), Some(2));

    ok(&folder, &["man", "--out", "share/man1"]);
    let pages = folder.path().join("share/man1");
    let names = files(&pages);
    assert!(names.contains(&"onestep.1".to_owned()), "{names:?}");
    for name in subcommands {
        let page = fs::read_to_string(pages.join(format!("onestep-{name}.1"))).unwrap();
        assert!(page.contains(&format!(".TH onestep-{name} 1")) && page.contains(".SH OPTIONS"), "{page}");
    }
    fs::write(folder.path().join("a_file"), "").unwrap();
    let output = run(&folder, &["man", "--out", "a_file"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("a_file"), "{}", stderr(&output));
}

#[test]
fn wrong_arguments_exit_with_2_and_say_what_is_right() {
    let folder = temporary();
    let student = repository().join("models/digits-student.safetensors").display().to_string();
    for (args, expected) in [
        (&["sample"][..], "--out"),
        (&["sample", "--out", "a.jpg"], ".png, .npy"),
        (&["sample", "--out", "a.png", "--count", "0"], "--count"),
        (&["sample", "--out", "a.png", "--label", "8"], "0 to 7"),
        (&["sample", "--out", "a.png", "--label", "-1"], "0 to 7"),
        (&["sample", "--out", "a.png", "--label", "x"], "all"),
        (&["sample", "--out", "a.png", "--eta", "2"], "0 to 1"),
        (&["sample", &student, "--out", "a.png", "--steps", "5"], "student"),
        (&["sample", "--out", "a.png", "--steps", "5", "--timesteps", "9,1"], "cannot be used with"),
        (&["sample", "--out", "a.png", "--format", "f32"], "--out -"),
        (&["sample", "--out", "a.png", "--seed", "18446744073709551615"], "64 bits"),
        (&["sample", "--out", "a.png", "--count", "1000000"], "too many"),
        (&["sample", "--out", "a.png", "--device", "toaster"], "toaster"),
        (&["interpolate", "--from", "1", "--out", "a.png"], "--to"),
        (&["import", "a", "b.txt"], ".safetensors"),
        (&["paint"], "paint"),
    ] {
        let output = run(&folder, args);
        assert_eq!(output.status.code(), Some(2), "{args:?}: {}", stderr(&output));
        assert!(stderr(&output).contains(expected), "{args:?}: {}", stderr(&output));
        assert!(files(folder.path()).is_empty(), "{args:?}");
    }
}

#[test]
fn places_that_cannot_be_written_are_errors() {
    let folder = temporary();
    for out in ["no/such/a.png", "no/such/a.npy"] {
        let output = run(&folder, &["sample", "--out", out]);
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).starts_with("error: no/such/a."), "{}", stderr(&output));
        assert!(stderr(&output).contains("hint: "), "{}", stderr(&output));
    }
    assert!(files(folder.path()).is_empty());
}

#[test]
fn a_file_that_was_there_survives_an_error() {
    let folder = temporary();
    fs::write(folder.path().join("a.png"), "mine").unwrap();
    assert!(!run(&folder, &["sample", "missing.safetensors", "--out", "a.png"]).status.success());
    assert!(!run(&folder, &["sample", "--label", "77", "--out", "a.png"]).status.success());
    assert_eq!(fs::read(folder.path().join("a.png")).unwrap(), b"mine");
    ok(&folder, &["sample", "-n", "1", "--out", "a.png"]);
    assert_eq!(decode(&folder.path().join("a.png")).0, 4 + 68);
}

#[cfg(unix)]
#[test]
fn paths_need_not_be_utf8() {
    use std::os::unix::ffi::OsStrExt;
    let folder = temporary();
    let name = std::ffi::OsStr::from_bytes(b"d\xffgits.png");
    let output = onestep(&folder).args(["sample", "-n", "1", "--out"]).arg(name).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert!(folder.path().join(name).exists());
    let model = std::ffi::OsStr::from_bytes(b"m\xffdel.safetensors");
    fs::copy(teacher(), folder.path().join(model)).unwrap();
    assert!(onestep(&folder).arg("info").arg(model).output().unwrap().status.success());
}

/// Runs `sample` on a model that must be refused; the message, once it is known that nothing else was left.
fn refuse(folder: &TempDir, model: &str) -> String {
    let before = files(folder.path());
    let mut message = String::new();
    for out in ["a.png", "a.npy", "a"] {
        let output = run(folder, &["sample", model, "--out", out, "--steps", "1"]);
        message = stderr(&output);
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(message.starts_with(&format!("error: {model}")), "{message}");
        assert_eq!(files(folder.path()), before);
    }
    message
}

#[test]
fn damaged_models_are_refused_and_leave_nothing() {
    let folder = temporary();
    let refuse = |bytes: &[u8]| {
        fs::write(folder.path().join("model.safetensors"), bytes).unwrap();
        refuse(&folder, "model.safetensors")
    };
    let whole = fs::read(teacher()).unwrap();
    for length in [0, 7, 8, 100, whole.len() / 2, whole.len() - 1] {
        refuse(&whole[..length]);
    }
    // In the header's length, in the header, in the weights.
    for bit in [0, 5, 9, 20, 63, 8 * 8, 8 * 200 + 3, 4 * whole.len(), 8 * whole.len() - 1] {
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        refuse(&flipped);
    }
    refuse(&[&whole[..], b"more"].concat());
    refuse(b"<!doctype html><title>404 Not Found</title>");
}

/// Writes the header of a safetensors file anew, changed.
fn change_header(path: &Path, change: impl FnOnce(&mut Value)) {
    let bytes = fs::read(path).unwrap();
    let (length, rest) = bytes.split_at(8);
    let (header, data) = rest.split_at(u64::from_le_bytes(length.try_into().unwrap()) as usize);
    let mut header: Value = serde_json::from_slice(header).unwrap();
    change(&mut header);
    let header = serde_json::to_vec(&header).unwrap();
    fs::write(path, [&(header.len() as u64).to_le_bytes()[..], &header, data].concat()).unwrap();
}

#[test]
fn models_that_contradict_themselves_are_refused() {
    const TENSOR: &str = "conv_in.weight";
    let folder = temporary();
    // A diffusers folder, which has no checksum and is open to editing.
    let fresh = |name: &str| {
        ok(&folder, &["export", teacher().to_str().unwrap(), name]);
        folder.path().join(name).join("unet")
    };
    let weights = "diffusion_pytorch_model.safetensors";

    change_header(&fresh("renamed").join(weights), |header| {
        let entry = header.as_object_mut().unwrap().remove(TENSOR).unwrap();
        header["conv_in.wheight"] = entry;
    });
    assert!(refuse(&folder, "renamed").contains(TENSOR));

    change_header(&fresh("reshaped").join(weights), |header| {
        header[TENSOR]["shape"].as_array_mut().unwrap().reverse();
    });
    assert!(refuse(&folder, "reshaped").contains(TENSOR));

    let path = fresh("infinite").join(weights);
    let mut bytes = fs::read(&path).unwrap();
    let length = bytes.len();
    bytes[length - 4..].copy_from_slice(&f32::INFINITY.to_le_bytes());
    fs::write(&path, bytes).unwrap();
    assert!(refuse(&folder, "infinite").contains("inf"));

    for (key, value, expected) in [
        ("layers_per_block", Value::from(2), "tensor"),
        ("block_out_channels", [32, 64, 128].as_slice().into(), "tensor"),
        ("act_fn", "tanh".into(), "act_fn"),
        ("sample_size", 0.into(), "sample_size"),
        ("norm_num_groups", 7.into(), "norm_num_groups"),
    ] {
        let path = fresh(key).join("config.json");
        let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        assert!(config.get(key).is_some(), "{config}");
        config[key] = value;
        fs::write(&path, config.to_string()).unwrap();
        let message = refuse(&folder, key);
        assert!(message.contains(expected), "{key}: {message}");
    }
}

#[test]
fn a_missing_model_is_named() {
    let folder = temporary();
    let output = run(&folder, &["sample", "nowhere.safetensors", "--out", "a.png"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(stderr(&output), "error: nowhere.safetensors: no such file or folder\n");
    assert!(files(folder.path()).is_empty());
}

#[test]
fn import_and_export_go_round() {
    let folder = temporary();
    let model = teacher();
    let model = model.to_str().unwrap();
    ok(&folder, &["export", model, "exported"]);
    ok(&folder, &["import", "exported", "back.safetensors"]);
    ok(&folder, &["import", model, "half.safetensors", "--dtype", "f16", "--role", "teacher"]);
    let draw = |model: &str| {
        ok(&folder, &["sample", model, "-n", "2", "--steps", "3", "--out", "-", "--format", "f32"])
    };
    assert!(draw(model) == draw("back.safetensors"));
    assert!(!draw("half.safetensors").is_empty());
    assert_eq!(files(folder.path()), ["back.safetensors", "exported", "half.safetensors"]);
}

/// `nohup`, and shells for their background jobs, ignore signals for what they start.
#[cfg(unix)]
#[test]
fn signals_that_the_parent_ignores_stay_ignored() {
    let folder = temporary();
    let program = env!("CARGO_BIN_EXE_onestep");
    let script = format!(
        "trap '' HUP INT; {program} sample {} --steps 40 --count 200 --out x.npy & sleep 0.3; kill -HUP $!; kill -INT $!; wait $!",
        teacher().display()
    );
    let output = Command::new("sh").arg("-c").arg(script).current_dir(folder.path()).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    assert_eq!(files(folder.path()), ["x.npy"]);
}

/// A device or pipe takes the bytes that `-` would; what nobody can take is an error.
#[cfg(target_os = "linux")]
#[test]
fn devices_and_a_closed_stdout() {
    let folder = temporary();
    let piped = ok(&folder, &["sample", "--out", "-"]);
    assert_eq!(ok(&folder, &["sample", "--out", "/dev/stdout"]), piped);
    for (script, said) in [
        ("sample --out /dev/full", "/dev/full: No space left"),
        ("sample --out - > /dev/full", "stdout: No space left"),
        ("sample --out - >&-", "stdout: it is closed"),
    ] {
        let script = format!("{} {script}", env!("CARGO_BIN_EXE_onestep"));
        let output = Command::new("sh").arg("-c").arg(script).current_dir(folder.path()).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(said), "{}", stderr(&output));
    }
    assert!(run(&folder, &["sample", "--out", "/dev/null"]).status.success());
    let null = format!("{} sample --out - > /dev/null", env!("CARGO_BIN_EXE_onestep"));
    assert!(Command::new("sh").arg("-c").arg(null).status().unwrap().success());
    assert!(files(folder.path()).is_empty());
}

#[test]
fn names_of_the_greatest_length_are_written() {
    let folder = temporary();
    let name = format!("{}.png", "n".repeat(240));
    ok(&folder, &["sample", "--out", &name]);
    assert_eq!(files(folder.path()), [name]);
}

#[cfg(unix)]
#[test]
fn ctrl_c_leaves_no_partial_file() {
    use std::time::{Duration, Instant};
    for out in ["samples.png", "samples.npy", "samples/"] {
        let folder = temporary();
        let child = onestep(&folder)
            .arg("sample")
            .arg(teacher())
            .args(["--steps", "1000", "--count", "2000", "--out", out])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let start = Instant::now();
        while files(folder.path()).is_empty() {
            assert!(start.elapsed() < Duration::from_secs(60), "the job never began");
            std::thread::sleep(Duration::from_millis(20));
        }
        std::thread::sleep(Duration::from_millis(300));
        let killed = Command::new("kill").arg("-INT").arg(child.id().to_string()).status().unwrap();
        assert!(killed.success());
        let cancelled = Instant::now();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{}", stderr(&output));
        assert_eq!(stderr(&output), "error: cancelled\n");
        assert!(cancelled.elapsed() < Duration::from_secs(5));
        assert!(files(folder.path()).is_empty(), "{:?}", files(folder.path()));
    }
}
