//! The commands that train: runs that go on to the bit, files that are damaged, losses that are no numbers.

use crate::common;
use crate::place::{DISTILL, LEN, PAIRS, Place, TEACHER};
use onestep::train::{Pairs, Task, read_log};
use onestep::{Layout, Model, Request};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// (step, loss, test loss) of every line, to the bit.
fn losses(run: &Path) -> Vec<(u64, u64, Option<u64>)> {
    let lines = read_log(run).unwrap();
    lines.iter().map(|line| (line.step, line.loss.to_bits(), line.test_loss.map(f64::to_bits))).collect()
}

/// Starts a command again and again and kills it after a while, a little longer each time, until it ends by itself.
fn interrupt(place: &Place, arguments: &[&str], first_ms: u64, kills_at_least: usize) {
    let mut kills = 0;
    for attempt in 0.. {
        assert!(attempt < 400, "never came to its end");
        let mut child = place.command(arguments).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(first_ms + 3 * attempt));
        match child.try_wait().unwrap() {
            Some(status) => {
                assert!(status.success(), "{status}");
                break;
            }
            None => {
                child.kill().unwrap();
                child.wait().unwrap();
                kills += 1;
            }
        }
    }
    assert!(kills >= kills_at_least, "only {kills} interruptions");
}

#[test]
fn a_killed_teacher_ends_as_one_that_was_not() {
    let place = Place::new();
    let arguments = |out| {
        [&TEACHER[..], &["--steps", "60", "--checkpoint-every", "3", "--sample-every", "20", "--out", out]]
            .concat()
    };
    place.succeed(&arguments("whole"));
    interrupt(&place, &arguments("parts"), 20, 10);
    let read = |run: &str, file: &str| std::fs::read(place.path(run).join(file)).unwrap();
    assert!(read("whole", "model.safetensors") == read("parts", "model.safetensors"));
    assert_eq!(losses(&place.path("whole")), losses(&place.path("parts")));
    for file in ["samples/step_000020.png", "samples/step_000060.png"] {
        assert!(read("whole", file) == read("parts", file), "{file}");
    }
    assert!(losses(&place.path("whole")).len() == 60);
    for file in ["curves.png", "report.md", "settings.json"] {
        assert!(place.path("parts").join(file).exists(), "{file}");
    }
    // It is done; once more changes nothing.
    place.succeed(&arguments("parts"));
    assert!(read("whole", "model.safetensors") == read("parts", "model.safetensors"));
}

#[test]
fn threads_change_nothing() {
    let place = Place::new();
    for threads in ["1", "3"] {
        place.succeed(&[&TEACHER[..], &["--steps", "4", "--threads", threads, "--out", threads]].concat());
    }
    assert_eq!(losses(&place.path("1")), losses(&place.path("3")));
}

#[test]
fn a_killed_student_ends_as_one_that_was_not() {
    let place = Place::new();
    place.teacher();
    place.succeed(&[&PAIRS[..], &["pairs"]].concat());
    for source in [
        &["--pairs", "pairs"][..],
        &["--online", "--ddim-steps", "3", "--ring", "20", "--fresh", "3", "--test", "6"],
        &["--progressive", "--images", "images", "--ddim-steps", "4"],
        &["--dmd", "0.1", "--loss", "paired", "--pairs", "pairs"],
        &["--adversarial", "0.1", "--images", "images", "--pairs", "pairs"],
    ] {
        // The others draw before they learn: killed meanwhile, they begin anew, and more attempts are longer.
        let kills_at_least = if source[0] == "--pairs" { 5 } else { 1 };
        let out = |name: &str| format!("{name}-{}", &source[0][2..]);
        let arguments = |name: &str| {
            let mut all: Vec<String> = DISTILL.iter().chain(source).map(ToString::to_string).collect();
            all.extend(["--steps", "30", "--checkpoint-every", "2", "--out"].map(str::to_owned));
            all.push(out(name));
            all
        };
        let whole = arguments("whole");
        place.succeed(&whole.iter().map(String::as_str).collect::<Vec<_>>());
        let parts = arguments("parts");
        interrupt(&place, &parts.iter().map(String::as_str).collect::<Vec<_>>(), 20, kills_at_least);
        let read = |name: &str| std::fs::read(place.path(&out(name)).join("model.safetensors")).unwrap();
        assert!(read("whole") == read("parts"), "{source:?}");
        assert_eq!(losses(&place.path(&out("whole"))), losses(&place.path(&out("parts"))), "{source:?}");
    }
}
#[cfg(feature = "candle")]
#[test]
fn a_killed_student_that_learns_from_lpips_ends_as_one_that_was_not() {
    let place = Place::new();
    // AlexNet sees nothing in smaller images.
    let mut teacher = TEACHER;
    for (flag, value) in [("--size", "32"), ("--attention", "16")] {
        let at = teacher.iter().position(|argument| *argument == flag).unwrap();
        teacher[at + 1] = value;
    }
    place.succeed(&[&teacher[..], &["--out", "teacher", "--steps", "2"]].concat());
    place.succeed(&[&PAIRS[..], &["pairs"]].concat());
    common::lpips::write(&common::lpips::tensors("alex"), &place.path(""), "alex");
    let plain = [&DISTILL[..], &["--pairs", "pairs", "--steps", "5", "--checkpoint-every", "1"]].concat();
    let arguments =
        |out| [&plain[..], &["--lpips", "alex.safetensors", "--accumulate", "2", "--out", out]].concat();
    let threads = |count, out| {
        let mut command = place.command(&arguments(out));
        command.env("RAYON_NUM_THREADS", count).stderr(Stdio::null());
        command
    };
    assert!(threads("1", "whole").status().unwrap().success());
    let mut child = threads("3", "parts").spawn().unwrap();
    while !place.path("parts/checkpoint.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "ended without a checkpoint");
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    assert!(!child.wait().unwrap().success(), "ended before it was interrupted");
    place.succeed(&arguments("parts"));
    let read = |run: &str| std::fs::read(place.path(run).join("model.safetensors")).unwrap();
    assert!(read("whole") == read("parts"));
    assert_eq!(losses(&place.path("whole")), losses(&place.path("parts")));

    place.succeed(&[&plain[..], &["--accumulate", "2", "--out", "plain"]].concat());
    let last = |run: &str| read_log(&place.path(run)).unwrap().pop().unwrap();
    let [with, without] = ["whole", "plain"].map(last);
    assert!(with.loss > without.loss && with.test_loss > without.test_loss, "{with:?}, {without:?}");
    // The file may move, but nothing else about it may change.
    std::fs::rename(place.path("alex.safetensors"), place.path("moved.safetensors")).unwrap();
    let moved = arguments("parts")
        .iter()
        .map(|a| if a.starts_with("alex") { "moved.safetensors" } else { a })
        .collect::<Vec<_>>();
    place.succeed(&moved);
    let error = place.fail(&[&moved[..], &["--lpips-weight", "2"]].concat());
    assert!(error.contains("distill.lpips.weight was 1"), "{error}");
}

#[test]
fn a_student_learns_to_draw_what_its_teacher_draws() {
    let place = Place::new();
    place.teacher();
    place.succeed(&[&PAIRS[..], &["pairs"]].concat());
    place.succeed(
        &[
            &DISTILL[..],
            &["--pairs", "pairs", "--steps", "250", "--rate", "1e-2", "--warmup", "5", "--out", "student"],
        ]
        .concat(),
    );
    let lines = read_log(&place.path("student")).unwrap();
    // Of the few pairs that it learns from; what such a teacher makes of other noise, nobody can guess.
    assert!(lines[lines.len() - 1].loss < 0.7 * lines[0].loss, "{lines:?}");
    let model = Model::open(place.path("student/model.safetensors"), &common::cpu()).unwrap();
    assert_eq!(model.info().config.generator.role(), onestep::model::Role::Student);
    let mut session = model.session(&common::cpu()).unwrap();
    let request = Request { seeds: Some(vec![1]), labels: Some(vec![1]), ..Request::default() };
    let mut out = vec![0; model.output_size(1, &Layout::default()).unwrap() as usize];
    session.sample(&request, &Layout::default(), &mut out).unwrap();

    // How it stands to its teacher: beside the teacher's own images, and beside real ones where there are any.
    let report = |run: &str| std::fs::read_to_string(place.path(run).join("report.md")).unwrap();
    let standing = "Frechet distance of 25 images each, of pixels averaged to 8 x 8, from 25 others of its teacher's: student ";
    assert!(report("student").contains(standing), "{}", report("student"));
    let judged = ["--eval-every", "2", "--eval-reference", "images", "--eval-count", "16", "--json"];
    let short = ["--pairs", "pairs", "--steps", "2", "--out", "judged"];
    let output = place.succeed(&[&DISTILL[..], &short, &judged].concat());
    assert!(report("judged").contains("from images: student "), "{}", report("judged"));
    let last = String::from_utf8(output.stdout).unwrap().lines().last().unwrap().to_owned();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert!(last["student"].as_f64().is_some_and(|student| student > 0.0), "{last}");
    assert!(last["teacher"].as_f64().is_some_and(|teacher| teacher > 0.0), "{last}");
    assert!(!place.path("student/standing").exists());
}

#[test]
fn a_student_can_begin_from_another_and_match_its_teachers_images() {
    let place = Place::new();
    place.teacher();
    place.succeed(&[&PAIRS[..], &["pairs"]].concat());
    let paired = ["--pairs", "pairs", "--loss", "paired", "--steps", "20", "--warmup", "5"];
    place.succeed(&[&DISTILL[..], &paired, &["--out", "first"]].concat());
    let second =
        [&paired[..], &["--init", "first/model.safetensors", "--dmd", "0.1", "--out", "second"]].concat();
    place.succeed(&[&DISTILL[..], &second].concat());
    let loss = |run: &str| read_log(&place.path(run)).unwrap()[0].loss;
    assert!(loss("second") < loss("first"), "{} {}", loss("second"), loss("first"));
    let error = place.fail(&[&DISTILL[..], &second, &["--init", "teacher/model.safetensors"]].concat());
    assert!(error.contains("cannot be used multiple times"), "{error}");
    let others =
        [&paired[..], &["--init", "teacher/model.safetensors", "--dmd", "0.1", "--out", "second"]].concat();
    let error = place.fail(&[&DISTILL[..], &others].concat());
    assert!(error.contains("init_crc32 was"), "{error}");
    // What it follows with is in the checkpoint, but not in the model.
    let bytes = std::fs::read(place.path("second/checkpoint.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    assert!(tensors.names().iter().any(|name| name.starts_with("beside.parameters/")));
    place.succeed(&["sample", "second/checkpoint.safetensors", "--count", "2", "--out", "a.png", "-q"]);
    place.succeed(&[
        "sample",
        "second/model.safetensors",
        "--steps",
        "2",
        "--count",
        "2",
        "--out",
        "b.png",
        "-q",
    ]);

    let wrong = |flags: &[&str]| place.fail(&[&DISTILL[..], &["--out", "no"], flags].concat());
    assert!(wrong(&["--pairs", "pairs", "--dmd", "-1"]).contains("--dmd"));
    let two = ["--online", "--ddim-steps", "4", "--student-steps", "2", "--dmd", "1", "--ring", "16"];
    assert!(wrong(&two).contains("--dmd: it is of images"));
    let real = ["--pairs", "pairs", "--images", "images"];
    assert!(wrong(&real).contains("--images: neither --progressive nor --adversarial asks for any"));
    let judged = [&real[..], &["--adversarial", "1"]].concat();
    assert!(wrong(&[&judged[..], &["--dmd", "1"]].concat()).contains("--adversarial: one second network"));
    assert!(wrong(&[&real[..], &["--adversarial=-1"]].concat()).contains("--adversarial"));
    assert!(wrong(&judged[2..]).contains("--pairs: not given"));
    let other = [
        "--pairs",
        "pairs",
        "--init",
        concat!(env!("CARGO_MANIFEST_DIR"), "/../models/digits-student.safetensors"),
    ];
    assert!(wrong(&other).contains("another network than the teacher's"));
}

#[test]
fn diffusers_finds_the_shapes_that_it_expects() {
    let place = Place::new();
    place.teacher();
    place.succeed(&["export", "teacher/model.safetensors", "folder"]);
    let bytes = std::fs::read(place.path("folder/unet/diffusion_pytorch_model.safetensors")).unwrap();
    let tensors = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let shortcut = tensors.tensor("down_blocks.1.resnets.0.conv_shortcut.weight").unwrap();
    assert_eq!(shortcut.shape(), [16, 8, 1, 1]);
    for (name, tensor) in tensors.tensors() {
        let axes = match name.as_str() {
            name if name.ends_with(".bias") => 1,
            name if name.contains("norm") => 1,
            name if name.contains("conv") => 4,
            _ => 2,
        };
        assert_eq!(tensor.shape().len(), axes, "{name}");
    }
}

#[test]
fn parts_of_pairs_make_the_same_shards_as_one() {
    let place = Place::new();
    place.teacher();
    place.succeed(&[&PAIRS[..], &["one"]].concat());
    for part in ["1/3", "0/3", "2/3"] {
        place.succeed(
            &[&PAIRS[..], &["three", "--shard", part, "--threads", "1", "--teacher-batch", "5"]].concat(),
        );
    }
    for shard in 0..4 {
        let read = |folder: &str| {
            std::fs::read(place.path(folder).join(format!("pairs-{shard:05}.safetensors"))).unwrap()
        };
        assert!(read("one") == read("three"), "shard {shard}");
    }
    let mut pairs = Pairs::open(&place.path("one"), true).unwrap();
    assert_eq!(pairs.len(), 50);
    let (mut x, mut target) = (vec![0.0; 64], vec![0.0; 64]);
    assert_eq!(pairs.fill(49, 0, &mut x, &mut target).unwrap(), Task { label: Some(1), call: 0 });
}

#[test]
fn a_damaged_shard_is_named_and_drawn_anew() {
    let place = Place::new();
    place.teacher();
    place.succeed(&[&PAIRS[..], &["pairs"]].concat());
    let shard = place.path("pairs/pairs-00002.safetensors");
    let whole = std::fs::read(&shard).unwrap();
    let mut damaged = whole.clone();
    let last = damaged.len() - 1;
    damaged[last] ^= 1;
    std::fs::write(&shard, &damaged).unwrap();
    let distill = [&DISTILL[..], &["--pairs", "pairs", "--steps", "2", "--out", "run"]].concat();
    let error = place.fail(&distill);
    assert!(error.contains("pairs-00002.safetensors") && error.contains("damaged"), "{error}");
    std::fs::remove_file(&shard).unwrap();
    assert!(place.fail(&distill).contains("pairs-00002.safetensors"));
    std::fs::write(&shard, &damaged).unwrap();
    place.succeed(&[&PAIRS[..], &["pairs"]].concat());
    assert!(std::fs::read(&shard).unwrap() == whole);
    place.succeed(&distill);
}

#[test]
fn a_run_without_numbers_stops_and_loses_nothing() {
    let place = Place::new();
    let at = |rate, steps, every| {
        let run = ["--clip", "0", "--warmup", "0", "--rate", rate, "--steps", steps, "--out", "run"];
        [&TEACHER[..], &run, &["--checkpoint-every", every]].concat()
    };
    let error = place.fail(&at("1e30", "40", "500"));
    assert!(error.contains("rate: step") && !error.contains("is whole"), "{error}");
    // There is nothing to go on from, so that other settings may try; then there is.
    let error = place.fail(&at("1e31", "40", "1"));
    assert!(error.contains("the checkpoint of step 1 is whole"), "{error}");
    // The same settings with another rate are another run.
    let error = place.fail(&at("1e-3", "40", "1"));
    assert!(error.contains("teacher.rate was") && error.contains("now 0.001"), "{error}");
}

#[cfg(not(feature = "train-mpi"))]
#[test]
fn builds_without_mpi_say_so() {
    let place = Place::new();
    let error = place.fail(&[&TEACHER[..], &["--mpi", "--out", "run"]].concat());
    assert!(
        error.contains("training over MPI is not in this build") && error.contains("train-mpi"),
        "{error}"
    );
}

#[test]
fn pictures_that_cannot_be_read_are_counted() {
    let place = Place::new();
    std::fs::write(place.path("images/down/broken.png"), "no picture").unwrap();
    let mut arguments = TEACHER.to_vec();
    arguments.retain(|argument| *argument != "--quiet");
    let output = place.succeed(&[&arguments[..], &["--steps", "1", "--out", "run"]].concat());
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(text.contains("16 images of 2 classes, 1 left out") && text.contains("broken.png"), "{text}");
}

#[test]
fn machines_read_json_lines() {
    let place = Place::new();
    let output = place.succeed(&[&TEACHER[..], &["--steps", "3", "--json", "--out", "run"]].concat());
    let lines: Vec<serde_json::Value> = output
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_slice(line).unwrap())
        .collect();
    let events: Vec<&str> = lines.iter().map(|line| line["event"].as_str().unwrap()).collect();
    assert_eq!(events, ["begun", "step", "step", "step", "samples", "checkpoint", "done"]);
    assert_eq!(lines[3]["step"], 3);
}

#[test]
fn settings_come_from_a_file_and_wrong_ones_are_named() {
    let place = Place::new();
    std::fs::write(
        place.path("small.toml"),
        "size = 8\nchannels = 1\nwidths = [8]\ngroups = 2\nattention = []\nsteps = 2\n",
    )
    .unwrap();
    let base =
        ["train", "teacher", "--images", "images", "--config", "small.toml", "--quiet", "--out", "run"];
    place.succeed(&[&base[..], &["--batch", "2"]].concat());
    let model = Model::open(place.path("run/model.safetensors"), &common::cpu()).unwrap();
    assert_eq!(model.info().config.network.block_out_channels, [8]);
    for (wrong, expected) in [("sizes = 8\n", "sizes"), ("size = [8]\n", "a number, or [height, width]")] {
        std::fs::write(place.path("small.toml"), wrong).unwrap();
        let error = place.fail(&base);
        assert!(error.contains(expected), "{error}");
    }
    let base = [
        "train",
        "teacher",
        "--size",
        "8",
        "--channels",
        "1",
        "--widths",
        "8",
        "--steps",
        "2",
        "--out",
        "other",
    ];
    let wrong = |arguments: &[&str]| place.fail(&[&base[..], arguments].concat());
    assert!(
        wrong(&["--images", "images", "--groups", "3"])
            .contains("--groups: 3 given; supported: a divisor of every")
    );
    assert!(
        wrong(&["--images", "images", "--batch", "4", "--accumulate", "3"]).contains("3 parts of 4 images")
    );
    assert!(wrong(&["--images", "nowhere"]).contains("nowhere"));
    let wrong = |arguments: &[&str]| wrong(&[&["--images", "images", "--groups", "4"], arguments].concat());
    assert!(wrong(&["--ema", "1.5"]).contains("ema"));
    assert!(wrong(&["--clip", "nan"]).contains("clip: NaN"));
    assert!(wrong(&["--clip=-1"]).contains("clip: -1"));
    assert!(wrong(&["--attention", "8,17"]).contains("attention: 17 given; the levels' heights are [8]"));
}

#[test]
fn fine_tuning_begins_where_a_model_ended() {
    let place = Place::new();
    let teacher = place.teacher();
    let init = teacher.to_str().unwrap();
    place.succeed(
        &[&TEACHER[..], &["--steps", "1", "--rate", "1e-9", "--init", init, "--out", "tuned"]].concat(),
    );
    let draw = |path: PathBuf| {
        let model = Model::open(path, &common::cpu()).unwrap();
        let mut session = model.session(&common::cpu()).unwrap();
        let mut out = vec![0.0; 64];
        session.predict(&[0.5; 64], &[500], Some(&[1]), &mut out).unwrap();
        out
    };
    let (before, after) = (draw(teacher), draw(place.path("tuned/model.safetensors")));
    assert!(before.iter().zip(&after).all(|(a, b)| (a - b).abs() < 1e-5));
}

#[test]
fn arguments_that_say_nothing_are_named() {
    let place = Place::new();
    place.teacher();
    place.succeed(&[&PAIRS[..], &["pairs"]].concat());
    let distill = [&DISTILL[..], &["--pairs", "pairs", "--out", "student"]].concat();
    let betas = ["--steps", "1", "--betas", "0.9,0.99"];
    place.succeed(&[&distill[..], &betas].concat());
    let settings = std::fs::read_to_string(place.path("student/settings.json")).unwrap();
    let settings: serde_json::Value = serde_json::from_str(&settings).unwrap();
    assert_eq!(settings["distill"]["betas"], serde_json::json!([0.9, 0.99]));
    // A run of one line has no curves, and this one no samples.
    let report = std::fs::read_to_string(place.path("student/report.md")).unwrap();
    assert!(!report.contains("![") && report.contains("## Settings"), "{report}");

    let student = "student/model.safetensors";
    let pairs = ["pairs", "--count", "2", "--out", "other", "--teacher"];
    let online = ["distill", "--online", "--out", "other", "--teacher"];
    let sample = ["sample", "teacher/model.safetensors", "--out", "a.png"];
    for (base, arguments, expected) in [
        (&pairs[..], &[student][..], "teacher: student/model.safetensors is a student"),
        (&online, &[student], "teacher: student/model.safetensors is a student"),
        (&online, &["teacher/model.safetensors", "--batch", "0"], "batch: 0"),
        (&pairs, &["teacher/model.safetensors", "--spacing", "uniform", "--top", "900"], "--top: 900"),
        (&sample, &["--sampler", "ddpm", "--eta", "0.9"], "--eta: 0.9"),
        (&distill, &["--device", "cpu"], "--device: the pairs are drawn already"),
    ] {
        let error = place.fail(&[base, arguments].concat());
        assert!(error.contains(expected), "{arguments:?}: {error}");
    }
    assert!(!place.path("other").exists() && !place.path("a.png").exists());
}

#[test]
fn numbers_beyond_all_measure_are_named() {
    let place = Place::new();
    place.teacher();
    let teacher = ["train", "teacher", "--images", "images", "--out", "run"];
    let pairs = ["pairs", "--teacher", "teacher/model.safetensors", "--out", "pairs"];
    let online = [
        "distill",
        "--teacher",
        "teacher/model.safetensors",
        "--online",
        "--ddim-steps",
        "3",
        "--out",
        "run",
    ];
    let most = "18446744073709551615";
    for (base, arguments, expected) in [
        (&teacher[..], &["--size", "4294967296x4294967296"][..], "size: "),
        (&teacher, &["--size", "18446744073709551614"], "size: "),
        (&teacher, &["--threads", "4294967295"], "--threads"),
        (&teacher, &["--batch", "1000000000"], "batch: "),
        (&teacher, &["--batch", most], "batch: "),
        (&teacher, &["--batch", most, "--accumulate", most], "batch: "),
        (&pairs, &["--count", "9", "--steps", "4294967295", "--top", "999"], "--ddim-steps: "),
        (&pairs, &["--count", "9", "--top", "4294967295"], "--top"),
        (&pairs, &["--count", "9", "--steps", "3", "--student-steps", "4000000000"], "--student-steps: "),
        (&pairs, &["--count", "9", "--steps", "3", "--student-steps", most], "--student-steps: "),
        (&pairs, &["--count", "9", "--steps", "3", "--teacher-batch", most], "--teacher-batch: "),
        (&online, &["--ring", "1000000000000"], "out of memory"),
        (&online, &["--ring", most], "out of memory"),
        (&online, &["--test", "1000000000000"], "out of memory"),
        (&online, &["--batch", "1000000000"], "batch: "),
        (&online, &["--student-steps", most], "--student-steps: "),
        (&online, &["--teacher-batch", "0", "--ring", "16"], "--teacher-batch: "),
    ] {
        let output = place.run(&[base, arguments].concat());
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(matches!(output.status.code(), Some(1 | 2)), "{arguments:?}: {error}");
        assert!(error.contains(expected) && !error.contains("panicked"), "{arguments:?}: {error}");
    }
    // As many as that are drawn one by one, for as long as it takes.
    let arguments = ["--count", "9000000000000000000", "--shard-len", "1", "--steps", "3", "--quiet"];
    let mut child = place.command(&[&pairs[..], &arguments].concat()).spawn().unwrap();
    while !place.path("pairs/pairs-00002.safetensors").exists() {
        assert!(child.try_wait().unwrap().is_none(), "ended before it had drawn any");
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn the_model_kept_is_the_one_whose_images_score_best() {
    let place = Place::new();
    let judged = ["--eval-every", "4", "--eval-count", "40", "--eval-steps", "2", "--json"];
    // --json and --quiet may both be given.
    let teacher = [&TEACHER[..], &judged, &["--steps", "10", "--out"]].concat();
    let output = place.succeed(&[&teacher[..], &["run"]].concat());
    let scores = |run: &str| -> Vec<(u64, f64)> {
        let lines = read_log(&place.path(run)).unwrap();
        lines.iter().filter_map(|line| Some((line.step, line.score?))).collect()
    };
    let found = scores("run");
    assert_eq!(found.iter().map(|score| score.0).collect::<Vec<_>>(), [4, 8, 10]);
    let best = found.iter().copied().min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
    let events: Vec<serde_json::Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let done = events.iter().find(|event| event["event"] == "done").unwrap();
    assert_eq!(done["best_score"].as_f64().unwrap(), best.1);
    assert_eq!(events.iter().filter(|event| event["event"] == "score").count(), 3);
    let report = std::fs::read_to_string(place.path("run/report.md")).unwrap();
    assert!(
        report.contains(&format!("The model is of step {}: best score {:.4}", best.0, best.1)),
        "{report}"
    );
    assert!(report.contains("Frechet distance of pixels of 40 images of 2 steps"), "{report}");
    // Nothing of the way to a score is left.
    let names: Vec<String> = std::fs::read_dir(place.path("run"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert!(names.iter().all(|name| !name.starts_with(".eval") && name != "eval"), "{names:?}");

    // The model that was kept has that score, and a run in two goes comes to the same.
    let again =
        ["eval", "--metrics", "pixel", "--reference", "images", "--count", "40", "--steps", "2", "-q"];
    place.succeed(
        &[&again[..], &["--device", "cpu", "--model", "run/model.safetensors", "--out", "scored"]].concat(),
    );
    let scored = std::fs::read_to_string(place.path("scored/scores.json")).unwrap();
    let scored: serde_json::Value = serde_json::from_str(&scored).unwrap();
    assert!((scored["pixel_frechet"].as_f64().unwrap() - best.1).abs() < 1e-9 * best.1, "{scored} {found:?}");
    let mut child = place
        .command(&[&teacher[..], &["two", "--checkpoint-every", "3"]].concat())
        .stdout(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let checkpoint = place.path("two/checkpoint.safetensors");
    while !checkpoint.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    place.succeed(&[&teacher[..], &["two"]].concat());
    assert_eq!(scores("two"), found);
    let model = |run: &str| std::fs::read(place.path(run).join("model.safetensors")).unwrap();
    assert_eq!(model("two"), model("run"));

    // A run that goes on is judged alike.
    let other = [&TEACHER[..], &["--eval-every", "5", "--eval-count", "40", "--steps", "10", "--out", "run"]]
        .concat();
    let error = place.fail(&other);
    assert!(error.contains("scoring"), "{error}");
    // A student has no images of its own to be compared with.
    place.succeed(&[&PAIRS[..2], &["run/model.safetensors"], &PAIRS[3..], &["pairs"]].concat());
    let student = [
        "distill",
        "--teacher",
        "run/model.safetensors",
        "--pairs",
        "pairs",
        "--batch",
        "8",
        "--epochs",
        "1",
    ];
    let student =
        [&student[..], &["--eval-every", "2", "--eval-count", "40", "-q", "--out", "student"]].concat();
    let error = place.fail(&student);
    assert!(error.contains("--eval-reference: not given"), "{error}");
    place.succeed(&[&student[..], &["--eval-reference", "images"]].concat());
    assert!(scores("student").len() > 1);
    assert!(read_log(&place.path("student")).unwrap().iter().any(|line| line.test_loss.is_some()));
}

/// Waits until a file is there, or the child has ended.
fn wait_for(file: &Path, child: &mut std::process::Child) {
    while !file.exists() && child.try_wait().unwrap().is_none() {
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(unix)]
#[test]
fn a_run_can_be_used_before_its_end() {
    let place = Place::new();
    let arguments =
        [&TEACHER[..24], &["50", "--checkpoint-every", "5", "--steps", "100000", "--out", "run"]].concat();
    // Not quiet, so that it says how it ended.
    let arguments: Vec<&str> = arguments.into_iter().filter(|argument| *argument != "--quiet").collect();
    let mut child = place.command(&arguments).stderr(Stdio::piped()).spawn().unwrap();
    wait_for(&place.path("run/report.md"), &mut child);
    // While it runs: its checkpoint is a model, that of the averaged weights.
    let info = place.succeed(&["info", "run/checkpoint.safetensors", "--json"]);
    let info: serde_json::Value = serde_json::from_slice(&info.stdout).unwrap();
    assert!(info.to_string().contains("the checkpoint of a training run after step"), "{info}");
    place.succeed(&["sample", "run/checkpoint.safetensors", "--steps", "2", "--out", "samples.png", "-q"]);
    place.succeed(&["sample", "run/model.safetensors", "--steps", "2", "--out", "samples.png", "-q"]);
    let kill = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(kill.success());
    let output = child.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(130), "{told}");
    assert!(told.contains("stopped after step ") && told.contains("the same command goes on"), "{told}");

    // A student of it, and a teacher that begins from it.
    place.succeed(&[&PAIRS[..2], &["run/checkpoint.safetensors"], &PAIRS[3..], &["pairs"]].concat());
    let more = ["--init", "run/checkpoint.safetensors", "--steps", "2", "--out", "more"];
    place.succeed(&[&TEACHER[..], &more].concat());
    // Checkpoint and model are the same weights.
    let draw = |model: &str, out: &str| {
        place.succeed(&["sample", model, "--steps", "2", "--count", "4", "--out", out, "-q"]);
        std::fs::read(place.path(out)).unwrap()
    };
    assert_eq!(draw("run/checkpoint.safetensors", "a.npy"), draw("run/model.safetensors", "b.npy"));
}

#[test]
fn a_run_goes_on_with_other_steps_and_where_it_is_allowed_with_other_images() {
    let place = Place::new();
    let run = |steps: &'static str, more: &[&'static str]| {
        [&TEACHER[..], &["--steps", steps, "--out", "run"], more].concat()
    };
    place.succeed(&run("4", &[]));
    place.succeed(&run("7", &[]));
    let steps = || read_log(&place.path("run")).unwrap().last().unwrap().step;
    assert_eq!(steps(), 7);
    let settings = std::fs::read_to_string(place.path("run/settings.json")).unwrap();
    assert!(settings.contains("\"steps\": 7"), "{settings}");
    // Fewer than it has made leave it as it is.
    place.succeed(&run("3", &[]));
    assert_eq!(steps(), 7);
    // A model that was lost comes back from the checkpoint.
    let model = std::fs::read(place.path("run/model.safetensors")).unwrap();
    std::fs::remove_file(place.path("run/model.safetensors")).unwrap();
    place.succeed(&run("7", &[]));
    assert_eq!(std::fs::read(place.path("run/model.safetensors")).unwrap(), model);

    std::fs::copy(place.path("images/down/0.png"), place.path("images/down/8.png")).unwrap();
    let error = place.fail(&run("9", &[]));
    assert!(error.contains("images was 16, now 17; --accept-new-images"), "{error}");
    place.succeed(&run("9", &["--accept-new-images"]));
    assert_eq!(steps(), 9);
    place.succeed(&run("10", &[]));
    assert_eq!(steps(), 10);
    let error = place.fail(&run("10", &["--rate", "1e-5"]));
    assert!(error.contains("rate was 0.0002, now"), "{error}");
}

#[test]
fn teachers_clip_unless_they_are_told_not_to() {
    let place = Place::new();
    let teacher = |out: &'static str, more: &[&'static str]| {
        place.succeed(&[&TEACHER[..], &["--steps", "3", "--out", out], more].concat());
        place.path(out).join("model.safetensors")
    };
    let largest = |model: &Path, more: &[&str]| {
        let sample =
            ["sample", model.to_str().unwrap(), "--steps", "6", "--count", "8", "--out", "out.npy", "-q"];
        place.succeed(&[&sample[..], more].concat());
        let bytes = std::fs::read(place.path("out.npy")).unwrap();
        let (values, _) = bytes[bytes.len() - 4 * 8 * LEN..].as_chunks();
        values.iter().map(|value| f32::from_le_bytes(*value).abs()).fold(0.0, f32::max)
    };
    let clips = teacher("clips", &[]);
    assert!(largest(&clips, &[]) <= 1.0);
    assert!(largest(&clips, &["--clip-sample", "false"]) > 2.0);
    let not = teacher("not", &["--clip-sample", "false"]);
    assert!(largest(&not, &[]) > 2.0);
    // Its pairs can be clipped nevertheless, and are other pairs then.
    let pairs =
        [&PAIRS[..2], &["not/model.safetensors"], &PAIRS[3..], &["pairs", "--pixels", "f16"]].concat();
    place.succeed(&[&pairs[..], &["--clip-sample", "true"]].concat());
    let mut clipped = Pairs::open(&place.path("pairs"), true).unwrap();
    let (mut x, mut target) = (vec![0.0; LEN], vec![0.0; LEN]);
    clipped.fill(3, 0, &mut x, &mut target).unwrap();
    assert!(target.iter().all(|value| value.abs() <= 1.0) && target.iter().any(|value| value.abs() == 1.0));
    let error = place.fail(&pairs);
    assert!(error.contains("describes other pairs"), "{error}");
}

#[test]
fn a_teacher_is_tested_on_images_that_it_has_not_seen() {
    let place = Place::new();
    let more = ["--test", "5", "--test-every", "4", "--steps", "10", "--shift", "1", "--color", "0.1"];
    let more = [&more[..], &["--betas", "0.9,0.99", "--weight-decay", "0.01", "--out"]].concat();
    place.succeed(&[&TEACHER[..], &more, &["run"]].concat());
    let tested = |run: &str| -> Vec<(u64, u64)> {
        let lines = read_log(&place.path(run)).unwrap();
        lines.iter().filter_map(|line| Some((line.step, line.test_loss?.to_bits()))).collect()
    };
    assert_eq!(tested("run").iter().map(|test| test.0).collect::<Vec<_>>(), [4, 8, 10]);
    // The model is that of the last step, whatever its tests were.
    let report = std::fs::read_to_string(place.path("run/report.md")).unwrap();
    assert!(!report.contains("best"), "{report}");
    // In two goes, on another number of threads, to the bit.
    let again = [&TEACHER[..], &more, &["two", "--threads", "1", "--checkpoint-every", "3"]].concat();
    let mut child = place.command(&again).spawn().unwrap();
    wait_for(&place.path("two/checkpoint.safetensors"), &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    place.succeed(&again);
    assert_eq!(tested("two"), tested("run"));
    assert_eq!(losses(&place.path("two")), losses(&place.path("run")));
    for (wrong, why) in [
        (&["--test", "16"][..], "test: 16 of 16 images"),
        (&["--shift", "8"], "shift: 8 given; images have 8"),
        (&["--color", "1"], "color: 1 given"),
        (&["--weight-decay", "-1"], "--weight-decay: -1 given"),
    ] {
        let wrong: Vec<String> = wrong.iter().map(|argument| (*argument).to_owned()).collect();
        let wrong: Vec<&str> = wrong.iter().map(String::as_str).collect();
        let joined = wrong.join("=");
        let error = place.fail(&[&TEACHER[..], &["--steps", "2", "--out", "no", &joined]].concat());
        assert!(error.contains(why), "{error}");
    }
}

#[test]
fn a_dry_run_says_what_a_run_would_take_and_writes_nothing() {
    let place = Place::new();
    let arguments: Vec<&str> = TEACHER.into_iter().filter(|argument| *argument != "--quiet").collect();
    let dry = [&arguments[..], &["--steps", "1000", "--dry-run", "--out", "run"]].concat();
    let output = place.succeed(&dry);
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains(" parameters, ") && told.contains(" images/s; the run would take "), "{told}");
    assert!(!place.path("run").exists());
    let output = place.succeed(&[&dry[..], &["--json"]].concat());
    let measured: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(measured["event"], "measured");
    assert!(measured["images_per_second"].as_f64().unwrap() > 0.0 && measured["bytes"].as_u64().unwrap() > 0);
    place.teacher();
    place.succeed(&[&PAIRS[..], &["pairs"]].concat());
    let student = [&DISTILL[..], &["--pairs", "pairs", "--steps", "9", "--dry-run", "--json", "--out", "no"]];
    assert!(String::from_utf8_lossy(&place.succeed(&student.concat()).stdout).contains("measured"));
    assert!(!place.path("no").exists());
}
