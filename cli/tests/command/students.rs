//! Students that are not the paper's own: of several steps, by halving, of other predictions, from the paper's files.

use crate::common::{cpu, repository};
use crate::place::{DISTILL, LEN, PAIRS, Place, TEACHER};
use onestep::image::Format;
use onestep::model::{Generator, Role, StudentOutput};
use onestep::sampler::Sampler;
use onestep::train::{Pairs, Task, read_log};
use onestep::{Layout, Model, Request};
use std::path::Path;

/// What a model draws from noise, as floats, by its own default where no sampler is given.
fn draw(model: &Model, noise: &[f32], labels: &[i32], sampler: Option<Sampler>) -> Vec<f32> {
    let request =
        Request { noise: Some(noise.to_vec()), labels: Some(labels.to_vec()), sampler, ..Request::default() };
    let mut out = vec![0.0f32; noise.len()];
    let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
    let mut session = model.session(&cpu()).unwrap();
    session.sample(&request, &layout, bytemuck::cast_slice_mut(&mut out)).unwrap();
    out
}

fn open(path: &Path) -> Model {
    Model::open(path, &cpu()).unwrap()
}

/// Whether two images are the same but for rounding to halves on the way.
fn close(a: &[f32], b: &[f32]) -> bool {
    let largest = b.iter().fold(1.0f32, |largest, b| largest.max(b.abs()));
    a.iter().zip(b).all(|(a, b)| (a - b).abs() < 2e-3 * largest)
}

/// Images as pairs keep them.
fn clamped(image: &[f32]) -> Vec<f32> {
    image.iter().map(|value| value.clamp(-1.0, 1.0)).collect()
}

/// The loss of a run at its beginning and at its end, over some steps.
fn ends(run: &Path) -> (f64, f64) {
    let losses: Vec<f64> = read_log(run).unwrap().iter().map(|line| line.loss).collect();
    let some = losses.len() / 8;
    let mean = |losses: &[f64]| losses.iter().sum::<f64>() / some as f64;
    (mean(&losses[..some]), mean(&losses[losses.len() - some..]))
}

const LEARNING: [&str; 6] = ["--steps", "250", "--rate", "3e-3", "--warmup", "5"];

#[test]
fn states_on_the_way_are_those_of_the_teacher() {
    let place = Place::new();
    place.teacher();
    let stops = ["--steps", "9", "--student-steps", "4", "--pixels", "f16"];
    place.succeed(&[&PAIRS[..5], &PAIRS[7..], &["pairs"], &stops].concat());
    let mut pairs = Pairs::open(&place.path("pairs"), true).unwrap();
    let teacher = open(&place.path("teacher/model.safetensors"));
    let calls = pairs.calls();
    assert_eq!(calls.len(), 4);
    let mut plan = onestep::sampler::Plan::default();
    let sampler =
        Sampler { spacing: Some(onestep::model::Spacing::Quadratic), steps: Some(9), ..Sampler::default() };
    plan.fill(&teacher.info().config, Some(&sampler)).unwrap();
    let all: Vec<i32> = plan.steps.iter().map(|step| step.timestep).collect();
    assert_eq!(calls, [all[0], all[2], all[4], all[6]]);

    let (mut x, mut target, mut next) = (vec![0.0; LEN], vec![0.0; LEN], vec![0.0; LEN]);
    let mut whole = vec![0.0; LEN];
    for call in 0..4 {
        assert_eq!(pairs.fill(17, call, &mut x, &mut target).unwrap(), Task { label: Some(1), call });
        if call == 0 {
            whole = draw(&teacher, &x, &[1], Some(sampler.clone()));
        } else {
            assert_eq!(x, next);
        }
        next.clone_from(&target);
        let until = calls.get(call + 1).copied();
        let timesteps =
            all.iter().copied().filter(|&t| t <= calls[call] && until.is_none_or(|until| t > until));
        let leg = Sampler { timesteps: Some(timesteps.collect()), until, ..Sampler::default() };
        let drawn = draw(&teacher, &x, &[1], Some(leg));
        let drawn = if until.is_none() { clamped(&drawn) } else { drawn };
        assert!(close(&drawn, &target), "call {call}");
    }
    assert!(close(&clamped(&whole), &target));
}

#[test]
fn a_student_of_two_steps_learns_from_a_folder_and_online() {
    let place = Place::new();
    // One that has learnt enough for its way to stay near the images.
    let learnt =
        ["--out", "teacher", "--steps", "300", "--rate", "5e-3", "--warmup", "10", "--clip-sample", "false"];
    place.succeed(&[&TEACHER[..], &learnt].concat());
    let teacher = place.path("teacher/model.safetensors");
    let two = ["--student-steps", "2"];
    place.succeed(&[&PAIRS[..5], &["--steps", "8"], &PAIRS[7..], &["pairs"], &two].concat());
    let online = ["--online", "--ddim-steps", "8", "--ring", "64", "--fresh", "2", "--test", "8"];
    for (source, out) in [(&["--pairs", "pairs"][..], "stored"), (&[&online[..], &two].concat(), "online")] {
        place.succeed(&[&DISTILL[..], source, &LEARNING, &["--out", out]].concat());
        let (first, last) = ends(&place.path(out));
        assert!(last < 0.9 * first, "{out}: {first} to {last}");
        let model = open(&place.path(out).join("model.safetensors"));
        let config = &model.info().config;
        let calls = Pairs::open(&place.path("pairs"), true).unwrap().calls();
        assert_eq!(
            (config.generator.role(), config.generator.timesteps()),
            (Role::Teacher, Some(&calls[..]))
        );
        assert_eq!(config.generator.schedule().unwrap().clip, None);

        // By default, and asked for two steps, it draws with its own timesteps, and nearer to its teacher than the teacher
        // itself does in as many.
        let mut noise = vec![0.0; 16 * LEN];
        model.noise(&(1u64 << 32..(1 << 32) + 16).collect::<Vec<_>>(), &mut noise).unwrap();
        let labels: Vec<i32> = (0..16).map(|i| i % 2).collect();
        let drawn = draw(&model, &noise, &labels, None);
        let asked = Sampler { steps: Some(2), ..Sampler::default() };
        assert!(drawn == draw(&model, &noise, &labels, Some(asked)));
        let (teacher, quadratic) = (open(&teacher), Some(onestep::model::Spacing::Quadratic));
        let eight = Sampler { spacing: quadratic, steps: Some(8), ..Sampler::default() };
        let target = draw(&teacher, &noise, &labels, Some(eight));
        let short = Sampler { timesteps: Some(calls), ..Sampler::default() };
        let teachers = draw(&teacher, &noise, &labels, Some(short));
        let distance =
            |a: &[f32]| a.iter().zip(&target).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
        assert!(distance(&drawn) < distance(&teachers), "{} of {}", distance(&drawn), distance(&teachers));
    }
    let text = place.succeed(&["info", "stored/model.safetensors"]);
    assert!(String::from_utf8_lossy(&text.stdout).contains("2 steps, at timesteps [800, "));
    let wrong = |extra: &[&str]| {
        place.fail(&[&DISTILL[..], &["--pairs", "pairs", "--steps", "2", "--out", "no"], extra].concat())
    };
    assert!(wrong(&["--student-steps", "4"]).contains("4 asked for, the pairs are those of a student of 2"));
    assert!(wrong(&["--ddim-steps", "50"]).contains("--ddim-steps"));
    let error = place.fail(&[&PAIRS[..], &["more", "--student-steps", "4"]].concat());
    assert!(error.contains("4 for a teacher of 3 steps"), "{error}");
}

/// Another arithmetic draws other targets, from which a run must not go on in silence.
#[test]
fn an_online_teacher_draws_where_it_is_told_and_a_run_says_where() {
    let place = Place::new();
    place.teacher();
    let online =
        ["--online", "--ddim-steps", "2", "--ring", "20", "--fresh", "2", "--test", "4", "--steps", "2"];
    let run =
        |more: &[&'static str]| [&DISTILL[..], &online, &["--out", "run", "--device", "cpu"], more].concat();
    place.succeed(&run(&["--precision", "bf16"]));
    let settings = std::fs::read_to_string(place.path("run/settings.json")).unwrap();
    assert!(settings.contains("\"drawn_on\": \"cpu, bf16\""), "{settings}");
    let error = place.fail(&run(&["--precision", "f32"]));
    assert!(error.contains("drawn_on"), "{error}");
}

#[test]
fn halving_goes_down_to_one_step_and_goes_on_where_it_stopped() {
    let place = Place::new();
    place.teacher();
    let progressive =
        ["--progressive", "--ddim-steps", "8", "--steps", "40", "--rate", "1e-3", "--warmup", "5"];
    for (source, out) in [(["--images", "images"], "from-images"), (["--pairs", "pairs"], "from-pairs")] {
        if out == "from-pairs" {
            place.succeed(&[&PAIRS[..], &["pairs"]].concat());
        }
        let all = [&DISTILL[..], &progressive, &source, &["--out", out]].concat();
        place.succeed(&all);
        for steps in [4, 2] {
            let model = open(&place.path(out).join(format!("steps-{steps}/model.safetensors")));
            assert_eq!(
                (model.info().config.generator.role(), model.info().config.generator.default_steps()),
                (Role::Teacher, steps)
            );
        }
        let model = place.path(out).join("model.safetensors");
        assert_eq!(open(&model).info().config.generator.role(), Role::Student);

        // Rounds that are over stay; one that was stopped goes on to the same end.
        let whole = std::fs::read(&model).unwrap();
        let kept = std::fs::read(place.path(out).join("steps-4/model.safetensors")).unwrap();
        for gone in ["steps-2", "model.safetensors", "checkpoint.safetensors", "log.csv"] {
            let gone = place.path(out).join(gone);
            if gone.is_dir() { std::fs::remove_dir_all(gone) } else { std::fs::remove_file(gone) }.unwrap();
        }
        place.succeed(&all);
        assert!(std::fs::read(&model).unwrap() == whole);
        assert!(std::fs::read(place.path(out).join("steps-4/model.safetensors")).unwrap() == kept);
    }
    let error = place.fail(
        &[&DISTILL[..], &["--progressive", "--images", "images", "--ddim-steps", "6", "--out", "no"]]
            .concat(),
    );
    assert!(error.contains("halving 6 never gives 1"), "{error}");
    let error = place.fail(
        &[&DISTILL[..], &["--progressive", "--images", "images/across", "--ddim-steps", "8", "--out", "no"]]
            .concat(),
    );
    assert!(error.contains("no sub-folder"), "{error}");
}

#[test]
fn students_of_other_predictions_draw_the_image_itself() {
    for prediction in ["v_prediction", "sample"] {
        let place = Place::new();
        place.succeed(
            &[&TEACHER[..], &["--out", "teacher", "--steps", "6", "--prediction", prediction]].concat(),
        );
        place.succeed(&[&PAIRS[..], &["pairs"]].concat());
        place.succeed(&[&DISTILL[..], &["--pairs", "pairs"], &LEARNING, &["--out", "student"]].concat());
        let (first, last) = ends(&place.path("student"));
        assert!(last < 0.8 * first, "{prediction}: {first} to {last}");
        let model = open(&place.path("student/model.safetensors"));
        let generator = &model.info().config.generator;
        assert!(matches!(generator, Generator::Student { output: StudentOutput::X0, .. }), "{generator:?}");
        let mut pairs = Pairs::open(&place.path("pairs"), true).unwrap();
        let (mut x, mut target) = (vec![0.0; LEN], vec![0.0; LEN]);
        pairs.fill(0, 0, &mut x, &mut target).unwrap();
        let drawn = draw(&model, &x, &[0], None);
        let error: f32 = drawn.iter().zip(&target).map(|(a, b)| (a - b).abs()).sum::<f32>() / LEN as f32;
        assert!(error < 0.6, "{prediction}: {error}");
    }
}

#[test]
fn the_papers_own_pairs_are_read() {
    let place = Place::new();
    let rgb = [&TEACHER[..4], &TEACHER[5..7], &["--channels", "3"], &TEACHER[9..]].concat();
    place.succeed(&[&rgb[..], &["--out", "teacher", "--steps", "4"]].concat());
    std::fs::create_dir(place.path("paper")).unwrap();
    for (part, n) in [("train_0", 24), ("train_1", 16), ("test", 8)] {
        let x: Vec<u8> = (0..n * 192usize)
            .flat_map(|i| half::f16::from_f32(((i * 7919) % 100) as f32 / 50.0 - 1.0).to_le_bytes())
            .collect();
        let y: Vec<u8> = (0..n * 192).map(|i| (i % 192) as u8).collect();
        for (axis, descr, data) in [("x", "<f2", x), ("y", "|u1", y)] {
            let mut text =
                format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({n}, 8, 8, 3), }}");
            text.push_str(&" ".repeat(117 - text.len()));
            text.push('\n');
            let mut bytes =
                [b"\x93NUMPY\x01\x00", &118u16.to_le_bytes()[..], text.as_bytes(), &data].concat();
            assert_eq!(bytes.len() - data.len(), 128);
            std::fs::write(place.path(&format!("paper/{axis}_{part}.npy")), &bytes).unwrap();
            bytes.clear();
        }
    }
    place.succeed(&[&DISTILL[..], &["--pairs", "paper"], &LEARNING, &["--out", "student"]].concat());
    let (first, last) = ends(&place.path("student"));
    assert!(last < 0.7 * first, "{first} to {last}");
    assert!(read_log(&place.path("student")).unwrap().iter().any(|line| line.test_loss.is_some()));
}

/// EDM's models and consistency models as teachers: their student is one step of the same kind.
#[test]
fn teachers_over_noise_levels_have_students_of_one_step() {
    let place = Place::new();
    let heun = ["--sampler", "heun", "--steps", "4"];
    for (kind, heun, rate) in [("edm", &heun[..], "1e-2"), ("consistency", &[], "1e-4")] {
        let teacher = repository().join("tests/golden").join(kind).join("tiny");
        let teacher = teacher.to_str().unwrap();
        let [pairs, out] = ["pairs", "student"].map(|name| format!("{kind}-{name}"));
        let draw = [
            "pairs",
            "--teacher",
            teacher,
            "--count",
            "48",
            "--shard-len",
            "16",
            "--pixels",
            "f16",
            "--out",
            &pairs,
        ];
        place.succeed(&[&draw[..], heun].concat());
        let learn = [
            "distill",
            "--teacher",
            teacher,
            "--pairs",
            &pairs,
            "--batch",
            "8",
            "--steps",
            "300",
            "--rate",
            rate,
            "--test",
            "8",
            "--test-every",
            "20",
            "--out",
            &out,
        ];
        place.succeed(&learn);
        let model = open(&place.path(&format!("{out}/model.safetensors")));
        let config = &model.info().config;
        assert_eq!(
            (config.generator.kind(), config.generator.role(), config.generator.default_steps()),
            (kind, Role::Student, 1)
        );
        // It draws nearer to what its teacher drew than its teacher's own single step, which it began from.
        let mut pairs = Pairs::open(&place.path(&pairs), true).unwrap();
        let len: usize = config.network.image().iter().product();
        let seeds: Vec<u64> = (0..8).map(|i| (1 << 32) + i).collect();
        let labels: Vec<i32> = (0..8).map(|i| i % 3).collect();
        let drawn = |model: &Model| {
            let labels = config.network.num_classes.map(|_| labels.clone());
            let request = Request { seeds: Some(seeds.clone()), labels, ..Request::default() };
            let mut out = vec![0.0f32; 8 * len];
            let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
            let mut session = model.session(&cpu()).unwrap();
            session.sample(&request, &layout, bytemuck::cast_slice_mut(&mut out)).unwrap();
            out
        };
        let (mut x, mut target) = (vec![0.0; len], vec![0.0; len]);
        let mut distance = |images: &[f32]| -> f64 {
            let mut sum = 0.0;
            for (i, image) in images.chunks_exact(len).enumerate() {
                pairs.fill(i, 0, &mut x, &mut target).unwrap();
                sum += image
                    .iter()
                    .zip(&target)
                    .map(|(a, b)| f64::from(a.clamp(-1.0, 1.0) - b).powi(2))
                    .sum::<f64>();
            }
            sum
        };
        if kind == "edm" {
            let whole = Model::open(Path::new(teacher), &cpu()).unwrap();
            let one = Sampler { steps: Some(1), ..Sampler::default() };
            let mut noise = vec![0.0; 8 * len];
            whole.noise(&seeds, &mut noise).unwrap();
            let request = Request { noise: Some(noise), sampler: Some(one), ..Request::default() };
            let mut first = vec![0.0f32; 8 * len];
            let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
            whole
                .session(&cpu())
                .unwrap()
                .sample(&request, &layout, bytemuck::cast_slice_mut(&mut first))
                .unwrap();
            let (began, ended) = (distance(&first), distance(&drawn(&model)));
            assert!(ended < 0.7 * began, "{ended} of {began}");
        } else {
            // It began where it should end, but for values that its teacher's images were clamped at.
            let off = distance(&drawn(&model));
            assert!(off < 0.1, "{off}");
        }
    }
    let teacher = repository().join("tests/golden/edm/tiny");
    let wrong = |extra: &[&str]| {
        let draw = ["pairs", "--teacher", teacher.to_str().unwrap(), "--count", "8", "--out", "no"];
        place.fail(&[&draw[..], extra].concat())
    };
    assert!(wrong(&["--top", "500"]).contains("--top: only diffusion models have timesteps"));
    assert!(wrong(&["--spacing", "leading"]).contains("--spacing: only diffusion models have one"));
    assert!(wrong(&["--student-steps", "2"]).contains("--student-steps"));
    let several = place.fail(&[
        "pairs",
        "--teacher",
        repository().join("tests/golden/consistency/tiny").to_str().unwrap(),
        "--count",
        "8",
        "--out",
        "no",
        "--steps",
        "2",
    ]);
    assert!(several.contains("draws the same each time"), "{several}");
}

#[test]
fn a_student_of_paired_consistency_draws_in_one_call_and_nearer_in_two() {
    let place = Place::new();
    let learnt = ["--out", "teacher", "--steps", "300", "--rate", "5e-3", "--warmup", "10"];
    place.succeed(&[&TEACHER[..], &learnt].concat());
    place.succeed(&[&PAIRS[..3], &["--count", "300", "--steps", "8"], &PAIRS[7..], &["pairs"]].concat());
    let paired = ["--pairs", "pairs", "--loss", "paired", "--out", "student"];
    place.succeed(&[&DISTILL[..], &paired, &LEARNING].concat());
    let (first, last) = ends(&place.path("student"));
    assert!(last < 0.9 * first, "{first} to {last}");
    let student = open(&place.path("student/model.safetensors"));
    let mut pairs = Pairs::open(&place.path("pairs"), true).unwrap();
    let (mut noise, mut target, mut labels) = (Vec::new(), Vec::new(), Vec::new());
    for number in 0..64 {
        let (mut x, mut image) = (vec![0.0; LEN], vec![0.0; LEN]);
        let task = pairs.fill(number, 0, &mut x, &mut image).unwrap();
        noise.extend(x);
        target.extend(image);
        labels.extend(task.label);
    }
    let distance = |steps: Option<u32>| {
        let sampler = steps.map(|steps| Sampler { steps: Some(steps), ..Sampler::default() });
        let drawn = draw(&student, &noise, &labels, sampler);
        drawn.iter().zip(&target).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
    };
    // One call is its default; its pairs' own images it finds in two calls better than in one, and in either than a teacher does.
    let (one, two) = (distance(None), distance(Some(2)));
    assert_eq!(one, distance(Some(1)));
    let teacher = open(&place.path("teacher/model.safetensors"));
    let trailing = onestep::model::Spacing::Trailing;
    let short = Sampler { spacing: Some(trailing), steps: Some(1), ..Sampler::default() };
    let teachers = draw(&teacher, &noise, &labels, Some(short));
    let teachers = teachers.iter().zip(&target).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt();
    assert!(two < one && one < teachers, "{two} {one} {teachers}");

    let text =
        String::from_utf8_lossy(&place.succeed(&["info", "student/model.safetensors"]).stdout).into_owned();
    assert!(text.contains("flow"), "{text}");
    let error = place.fail(&["export", "student/model.safetensors", "folder"]);
    assert!(
        error.contains("prediction_type = \"flow\" is not supported") || error.contains("prediction_type"),
        "{error}"
    );
    let halving =
        ["--progressive", "--images", "images", "--ddim-steps", "4", "--loss", "paired", "--out", "no"];
    let error = place.fail(&[&DISTILL[..], &halving, &LEARNING].concat());
    assert!(error.contains("loss: paired: "), "{error}");
}
