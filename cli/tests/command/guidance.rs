//! Classifier-free guidance: teachers that are taught without labels too, and what is drawn, and learnt, from them.

use crate::common::{cpu, repository};
use crate::place::{DISTILL, LEN, PAIRS, Place, TEACHER};
use onestep::image::Format;
use onestep::model::Spacing;
use onestep::sampler::{Kind, Plan, Sampler, guided};
use onestep::train::Pairs;
use onestep::{ExecutorKind, Layout, Model, Options, Request};

const SCALE: f32 = 3.0;

fn guidance(scale: f32) -> Sampler {
    Sampler { steps: Some(4), guidance: Some(scale), ..Sampler::default() }
}

fn draw(model: &Model, options: &Options, labels: &[i32], sampler: &Sampler) -> Vec<f32> {
    let seeds = (0..labels.len() as u64).collect();
    let (labels, sampler) = (Some(labels.to_vec()), Some(sampler.clone()));
    let request = Request { seeds: Some(seeds), labels, sampler, ..Request::default() };
    let mut out = vec![0.0f32; 4 * LEN];
    let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
    let mut session = model.session(options).unwrap();
    session.sample(&request, &layout, bytemuck::cast_slice_mut(&mut out)).unwrap();
    out
}

fn distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum::<f64>().sqrt()
}

/// A teacher that has learnt something, and can be guided.
fn taught_without_labels_too() -> (Place, Model) {
    let place = Place::new();
    let learnt = ["--out", "teacher", "--steps", "300", "--rate", "5e-3", "--warmup", "10"];
    place.succeed(&[&TEACHER[..], &learnt, &["--drop-labels", "0.3"]].concat());
    let model = Model::open(place.path("teacher/model.safetensors"), &cpu()).unwrap();
    (place, model)
}

/// DDIM with both predictions of each step put together here.
fn by_hand(model: &Model, labels: &[i32], scale: f32) -> Vec<f32> {
    let mut plan = Plan::default();
    plan.fill(&model.info().config, Some(&guidance(scale))).unwrap();
    let mut session = model.session(&cpu()).unwrap();
    let mut x = vec![0.0; 4 * LEN];
    model.noise(&[0, 1, 2, 3], &mut x).unwrap();
    let none = model.info().config.network.null_label().unwrap();
    for planned in &plan.steps {
        let times = [planned.time; 4];
        let (mut with, mut without) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        session.predict_at(&x, &times, Some(labels), &mut with).unwrap();
        session.predict_at(&x, &times, Some(&[none; 4]), &mut without).unwrap();
        for (x, (with, without)) in x.iter_mut().zip(with.iter().zip(&without)) {
            *x = planned.step.apply(*x, without + scale * (with - without), None);
        }
    }
    x
}

#[test]
fn predictions_are_moved_away_from_those_without_a_label() {
    let (place, model) = taught_without_labels_too();
    let network = &model.info().config.network;
    assert_eq!((network.num_classes, network.null_label()), (Some(2), Some(2)));
    let (labels, none) = ([0, 1, 0, 1], [2; 4]);
    let plain = Sampler { steps: Some(4), ..Sampler::default() };
    let found = draw(&model, &cpu(), &labels, &guidance(SCALE));
    let expected = by_hand(&model, &labels, SCALE);
    assert!(distance(&found, &expected) < 1e-4, "{}", distance(&found, &expected));
    assert!(distance(&found, &draw(&model, &cpu(), &labels, &plain)) > 0.1);
    // 1 is none, and 0 does not look at the label.
    assert_eq!(draw(&model, &cpu(), &labels, &guidance(1.0)), draw(&model, &cpu(), &labels, &plain));
    let blind = draw(&model, &cpu(), &labels, &guidance(0.0));
    assert!(distance(&blind, &draw(&model, &cpu(), &none, &plain)) < 1e-5);
    // Whichever executor, whichever sampler, and in one session between others.
    let reference = Options { executor: ExecutorKind::Reference, ..cpu() };
    let slow = Model::open(place.path("teacher/model.safetensors"), &reference).unwrap();
    for sampler in [guidance(SCALE), Sampler { kind: Some(Kind::Ddpm), ..guidance(SCALE) }] {
        let (a, b) = (draw(&model, &cpu(), &labels, &sampler), draw(&slow, &reference, &labels, &sampler));
        assert!(distance(&a, &b) < 1e-3, "{}", distance(&a, &b));
    }

    // A diffusers folder keeps what the last label means.
    place.succeed(&["export", "teacher/model.safetensors", "folder"]);
    let folder = Model::open(place.path("folder"), &cpu()).unwrap();
    assert!(distance(&draw(&folder, &cpu(), &labels, &guidance(SCALE)), &found) < 1e-5);

    let sample = ["sample", "teacher/model.safetensors", "--steps", "4", "--count", "4", "--out", "a.npy"];
    place.succeed(&[&sample[..], &["--guidance", "3", "--label", "0,1"]].concat());
    place.succeed(&[&sample[..], &["--label", "none"]].concat());
    let info = place.succeed(&["info", "teacher/model.safetensors"]);
    assert!(String::from_utf8_lossy(&info.stdout).contains("2, and none"));
}

#[test]
fn students_learn_what_a_guided_teacher_draws() {
    let (place, model) = taught_without_labels_too();
    let labels = [0, 1, 0, 1];
    let uniform = |guidance| Sampler { spacing: Some(Spacing::Leading), ..guidance };
    let guided = draw(&model, &cpu(), &labels, &uniform(guidance(SCALE)));
    let plain = draw(&model, &cpu(), &labels, &uniform(guidance(1.0)));
    let how = ["--ddim-steps", "4", "--spacing", "leading", "--guidance", "3"];
    let draw_pairs = ["--seed", "0", "--pixels", "f16", "pairs"];
    place.succeed(&[&PAIRS[..5], &how, &PAIRS[7..10], &["--out", "pairs"], &draw_pairs[..4]].concat());
    let mut pairs = Pairs::open(&place.path("pairs"), true).unwrap();
    assert_eq!(pairs.guidance(), Some(SCALE));
    let (mut x, mut target) = (vec![0.0; LEN], vec![0.0; LEN]);
    for i in 0..4 {
        pairs.fill(i, 0, &mut x, &mut target).unwrap();
        let image: Vec<f32> = guided[i * LEN..][..LEN].iter().map(|value| value.clamp(-1.0, 1.0)).collect();
        assert!(distance(&target, &image) < 1e-2, "pair {i}: {}", distance(&target, &image));
    }
    let learning = ["--steps", "250", "--rate", "3e-3", "--warmup", "5"];
    let online = [&["--online"][..], &how, &["--ring", "64", "--test", "8"]].concat();
    let two = ["--ddim-steps", "2", "--spacing", "leading", "--guidance", "3"];
    let halving = [&["--progressive", "--images", "images"][..], &two].concat();
    for (source, out) in [(&["--pairs", "pairs"][..], "stored"), (&online, "online"), (&halving, "halved")] {
        place.succeed(&[&DISTILL[..], source, &learning, &["--out", out]].concat());
        let student = Model::open(place.path(out).join("model.safetensors"), &cpu()).unwrap();
        let request =
            Request { seeds: Some(vec![0, 1, 2, 3]), labels: Some(labels.to_vec()), ..Request::default() };
        let mut drawn = vec![0.0f32; 4 * LEN];
        let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
        let mut session = student.session(&cpu()).unwrap();
        session.sample(&request, &layout, bytemuck::cast_slice_mut(&mut drawn)).unwrap();
        let (near, far) = (distance(&drawn, &guided), distance(&drawn, &plain));
        assert!(near < far, "{out}: {near} from the guided teacher, {far} from the other");
    }
}

#[test]
fn a_model_that_always_had_labels_cannot_be_guided() {
    let place = Place::new();
    place.teacher();
    let refused = |arguments: &[&str]| place.fail(arguments);
    let student = repository().join("models/digits-student.safetensors").display().to_string();
    let sample = ["sample", "teacher/model.safetensors", "--count", "1", "--out", "a.png"];
    let error = refused(&[&sample[..], &["--guidance", "2"]].concat());
    assert!(error.contains("--guidance: 2 given") && error.contains("--drop-labels"), "{error}");
    let error = refused(&[&sample[..], &["--label", "none"]].concat());
    assert!(error.contains("--label: none given"), "{error}");
    assert!(refused(&[&sample[..], &["--guidance", "nan"]].concat()).contains("a finite number"));
    let error = refused(&["sample", &student, "--guidance", "2", "--out", "a.png"]);
    assert!(error.contains("takes no sampler"), "{error}");
    let without: Vec<&str> = TEACHER.iter().copied().filter(|&flag| flag != "--classes").collect();
    let error = refused(&[&without[..], &["--out", "no", "--steps", "1", "--drop-labels", "0.1"]].concat());
    assert!(error.contains("--drop-labels: there are no labels (--classes)"), "{error}");
    let error = refused(&[&TEACHER[..], &["--out", "no", "--steps", "1", "--drop-labels", "1"]].concat());
    assert!(error.contains("--drop-labels: 1 given"), "{error}");
    let from = ["--init", "teacher/model.safetensors", "--out", "no", "--steps", "1", "--drop-labels", "0.1"];
    let error = refused(&[&TEACHER[..], &from].concat());
    assert!(error.contains("no label that stands for none"), "{error}");
    // What the formula says, at its ends and between.
    for (scale, expected) in [(1.0, 5.0), (0.0, 2.0), (3.0, 11.0)] {
        assert_eq!(guided(scale).apply(5.0, 2.0, None), expected);
    }
}
