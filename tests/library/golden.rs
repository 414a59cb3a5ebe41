//! Outputs of independent implementations (`tests/golden/*.py` made them), through the Rust interface and through the
//! C functions, for every executor of this build.

use crate::common::{self, Golden, assert_close, cpu};
use crate::support::c;
use onestep::model::{Generator, Role};
use onestep::sampler::{Kind, Sampler};
use onestep::{ClipSample, ExecutorKind, Layout, Model, Options, Precision, Request, Session};
use std::path::Path;

#[cfg(feature = "formats")]
pub mod collection;
#[cfg(all(feature = "formats", feature = "train"))]
mod keras;
#[cfg(feature = "formats")]
mod originals;

/// The bar: relative root mean square.
const TOLERANCE: f64 = 2e-5;

#[test]
fn raw_predictions_agree_with_diffusers() {
    each_case(|case, golden, options| {
        let mut session = Model::open(case, options).unwrap().session(options).unwrap();
        for t in golden.timesteps() {
            let (x, expected) = (golden.f32("x"), golden.f32(&format!("eps_{t}")));
            let mut out = vec![0.0; x.len()];
            let timesteps = vec![t; golden.batch()];
            session.predict(&x, &timesteps, golden.labels().as_deref(), &mut out).unwrap();
            assert_close(&format!("eps_{t}"), &out, &expected, TOLERANCE);
            let from_c = c::Door::open(case, options.executor, Role::Teacher).predict(golden, &timesteps);
            assert_close(&format!("eps_{t} through C"), &from_c, &expected, TOLERANCE);
        }
    });
}

#[test]
fn students_agree_with_diffusers() {
    each_case(|case, golden, options| {
        let options = Options { role: Some(Role::Student), ..options.clone() };
        let drawn = sample(case, &options, golden, None);
        assert_close("student", &drawn, &golden.f32("student"), TOLERANCE);
        let from_c = c::Door::open(case, options.executor, Role::Student).sample(golden, None);
        assert_close("student through C", &from_c, &golden.f32("student"), TOLERANCE);
    });
}

#[test]
fn teachers_agree_with_diffusers() {
    each_case(|case, golden, options| {
        for name in golden.names() {
            let Some(steps) = name.strip_prefix("ddim_") else { continue };
            let steps = steps.parse().unwrap();
            let sampler = Sampler { steps: Some(steps), ..Sampler::default() };
            let drawn = sample(case, options, golden, Some(sampler));
            assert_close(&name, &drawn, &golden.f32(&name), TOLERANCE);
            let from_c = c::Door::open(case, options.executor, Role::Teacher).sample(golden, Some(steps));
            assert_close(&format!("{name} through C"), &from_c, &golden.f32(&name), TOLERANCE);
        }
    });
}

/// Ancestral sampling, where the network says how much noise each value gets.
#[test]
fn a_learned_variance_agrees_with_diffusers() {
    let case = common::golden("guided");
    let golden = Golden::read(&case);
    for executor in common::executors_of_this_level() {
        let options = Options { executor, ..cpu() };
        let mut session = Model::open(&case, &options).unwrap().session(&options).unwrap();
        let sampler = Sampler { kind: Some(Kind::Ddpm), steps: Some(5), ..Sampler::default() };
        let request = Request { seeds: Some(vec![3, 4]), sampler: Some(sampler), ..Request::default() };
        let mut out = vec![0; 4 * golden.f32("x").len()];
        session.sample(&request, &Layout::default(), &mut out).unwrap();
        assert_close("ddpm_5", &common::floats(&out), &golden.f32("ddpm_5"), TOLERANCE);
    }
}

/// One network call at several noise levels; the images of one step and of several, the latter as steps of one, each from
/// what the golden step before it and the golden fresh noise give.
#[test]
fn consistency_models_agree_with_diffusers() {
    for case in common::cases("consistency") {
        let golden = Golden::read(&case);
        let (x, labels) = (golden.f32("x"), golden.labels());
        for executor in common::executors_of_this_level() {
            println!("{} {executor:?}", case.display());
            let options = Options { executor, ..cpu() };
            let model = Model::open(&case, &options).unwrap();
            let Generator::Consistency(levels) = model.info().config.generator.clone() else { panic!() };
            let mut session = model.session(&options).unwrap();
            for name in golden.names() {
                let Some(level) = name.strip_prefix("raw_") else { continue };
                let level: i32 = level.parse().unwrap();
                let sigma = levels.sigma(level as usize);
                let scale = sigma / sigma.hypot(levels.sigma_data);
                let input: Vec<f32> = x.iter().map(|&x| (scale * f64::from(x)) as f32).collect();
                let mut out = vec![0.0; x.len()];
                session.predict(&input, &vec![level; golden.batch()], labels.as_deref(), &mut out).unwrap();
                assert_close(&name, &out, &golden.f32(&name), TOLERANCE);
            }
            assert_close(
                "onestep",
                &sample(&case, &options, &golden, None),
                &golden.f32("onestep"),
                TOLERANCE,
            );
            let from_c = c::Door::open(&case, executor, None).sample(&golden, None);
            assert_close("onestep through C", &from_c, &golden.f32("onestep"), TOLERANCE);
            let unclipped = Options { clip_sample: ClipSample::Off, ..options.clone() };
            let drawn = sample(&case, &unclipped, &golden, None);
            assert_close("onestep_noclip", &drawn, &golden.f32("onestep_noclip"), TOLERANCE);

            let text = golden.text("multi");
            let several: Vec<i32> =
                text.trim_matches(['[', ']']).split(',').map(|level| level.trim().parse().unwrap()).collect();
            let mut noise = x.clone();
            let mut image = Vec::new();
            for (step, &level) in several.iter().enumerate() {
                if step > 0 {
                    let (sigma, least) = (levels.sigma(level as usize), levels.sigma_min);
                    let fresh = golden.f32(&format!("z_{step}"));
                    let spread = (sigma * sigma - least * least).sqrt();
                    let noised = |(&image, &z): (&f32, &f32)| {
                        ((f64::from(image) + spread * f64::from(z)) / sigma) as f32
                    };
                    noise = image.iter().zip(&fresh).map(noised).collect();
                }
                let one = Sampler { timesteps: Some(vec![level]), ..Sampler::default() };
                image = draw(&mut session, &noise, labels.clone(), one);
            }
            assert_close("multi", &image, &golden.f32("multi"), TOLERANCE);
        }
    }
}

/// Euler's and Heun's methods over EDM's noise levels.
#[test]
fn edm_models_agree_with_diffusers_and_the_paper() {
    let case = common::repository().join("tests/golden/edm/tiny");
    let golden = Golden::read(&case);
    for executor in common::executors_of_this_level() {
        let options = Options { executor, ..cpu() };
        let model = Model::open(&case, &options).unwrap();
        let mut session = model.session(&options).unwrap();
        for (name, kind) in [("euler_6", Kind::Euler), ("heun_6", Kind::Heun)] {
            let sampler = Sampler { kind: Some(kind), steps: Some(6), ..Sampler::default() };
            let drawn = draw(&mut session, &golden.f32("x"), None, sampler);
            assert_close(name, &drawn, &golden.f32(name), TOLERANCE);
        }
        let refused = Sampler { kind: Some(Kind::Ddim), ..Sampler::default() };
        let request = Request { seeds: Some(vec![1]), sampler: Some(refused), ..Request::default() };
        let error = session.sample(&request, &Layout::default(), &mut [0; 256]).unwrap_err();
        assert!(error.to_string().contains("euler and heun"), "{error}");
    }
}

/// A seed means one image, whatever the batch and the threads: fresh noise is stream k after step k.
#[test]
fn a_seed_means_one_image_for_every_sampler() {
    let tiny = |kind| common::repository().join("tests/golden").join(kind);
    for (case, kind) in [
        (tiny("consistency/tiny"), Kind::Consistency),
        (tiny("edm/tiny"), Kind::Euler),
        (tiny("edm/tiny"), Kind::Heun),
        // With a learned variance.
        (common::golden("guided"), Kind::Ddpm),
        (common::golden("ddpmpp"), Kind::Ddim),
    ] {
        let draw = |seeds: &[u64], threads| {
            let options = Options { threads, ..cpu() };
            let model = Model::open(&case, &options).unwrap();
            let classes = model.info().config.network.num_classes;
            let labels = classes.map(|_| seeds.iter().map(|&seed| seed as i32 % 2).collect());
            let sampler = Sampler { kind: Some(kind), steps: Some(4), ..Sampler::default() };
            let request =
                Request { seeds: Some(seeds.to_vec()), labels, sampler: Some(sampler), ..Request::default() };
            let layout = Layout::default();
            let mut out = vec![0; model.output_size(seeds.len(), &layout).unwrap() as usize];
            model.session(&options).unwrap().sample(&request, &layout, &mut out).unwrap();
            out
        };
        let together = draw(&[4, 9, 4], 1);
        let image = together.len() / 3;
        let [first, second, third] = [0, 1, 2].map(|i| &together[i * image..(i + 1) * image]);
        assert!(first == third && first != second, "{kind:?}");
        assert!(together == draw(&[4, 9, 4], 3) && second == draw(&[9], 2), "{kind:?}");
    }
}

fn draw(session: &mut Session, noise: &[f32], labels: Option<Vec<i32>>, sampler: Sampler) -> Vec<f32> {
    let request =
        Request { noise: Some(noise.to_vec()), labels, sampler: Some(sampler), ..Request::default() };
    let mut out = vec![0; 4 * noise.len()];
    session.sample(&request, &Layout::default(), &mut out).unwrap();
    common::floats(&out)
}

/// 11 bits of a weight and of an activation; the state is f32. What Metal does with them, on the CPU.
#[cfg(feature = "candle")]
#[test]
fn f16_stays_within_half_a_percent() {
    let half = Options { precision: Precision::F16, executor: ExecutorKind::Reference, ..cpu() };
    for case in ["ddpm", "uncommon", "plain"] {
        let case = common::golden(case);
        let golden = Golden::read(&case);
        let model = Model::open(&case, &half).unwrap();
        assert_eq!(model.info().precision, Precision::F16);
        let mut session = model.session(&half).unwrap();
        let (x, expected) = (golden.f32("x"), golden.f32("eps_500"));
        let mut out = vec![0.0; x.len()];
        session.predict(&x, &vec![500; golden.batch()], golden.labels().as_deref(), &mut out).unwrap();
        assert_close(&format!("{} f16", case.display()), &out, &expected, 5e-3);
        assert!(out != expected, "f16 was not used");
    }
}

/// 8 bits of a weight, and of what it is multiplied with where pairs of bf16 are fast; sums and activations are f32.
#[test]
fn bf16_stays_within_two_percent() {
    for case in common::diffusers_cases() {
        let golden = Golden::read(&case);
        let options = Options { precision: Precision::Bf16, ..cpu() };
        let model = Model::open(&case, &options).unwrap();
        assert_eq!(model.info().precision, Precision::Bf16);
        let mut session = model.session(&options).unwrap();
        for t in golden.timesteps() {
            let (x, expected) = (golden.f32("x"), golden.f32(&format!("eps_{t}")));
            let mut out = vec![0.0; x.len()];
            let timesteps = vec![t; golden.batch()];
            session.predict(&x, &timesteps, golden.labels().as_deref(), &mut out).unwrap();
            assert_close(&format!("{} bf16 eps_{t}", case.display()), &out, &expected, 2e-2);
        }
    }
}

/// `onestep export` of the teacher, read and run by diffusers (`tests/golden/export.py`), and the file itself run here.
#[test]
fn diffusers_draws_from_an_exported_folder_what_is_drawn_here() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = Golden::read(&root.join("tests/golden/export"));
    let teacher = root.join("models/digits-teacher.safetensors");
    for executor in common::executors_of_this_level() {
        let options = Options { executor, ..cpu() };
        let mut session = Model::open(&teacher, &options).unwrap().session(&options).unwrap();
        let mut out = vec![0.0; golden.f32("x").len()];
        let labels = golden.labels();
        session.predict(&golden.f32("x"), &vec![500; golden.batch()], labels.as_deref(), &mut out).unwrap();
        assert_close("eps_500", &out, &golden.f32("eps_500"), TOLERANCE);
        let sampler = Some(Sampler { steps: Some(10), ..Sampler::default() });
        let drawn = sample(&teacher, &options, &golden, sampler);
        assert_close("ddim_10", &drawn, &golden.f32("ddim_10"), TOLERANCE);
    }
}

fn sample(case: &Path, options: &Options, golden: &Golden, sampler: Option<Sampler>) -> Vec<f32> {
    let mut session = Model::open(case, options).unwrap().session(options).unwrap();
    let request =
        Request { noise: Some(golden.f32("x")), labels: golden.labels(), sampler, ..Request::default() };
    let mut out = vec![0; 4 * golden.f32("x").len()];
    session.sample(&request, &Layout::default(), &mut out).unwrap();
    common::floats(&out)
}

fn each_case(check: impl Fn(&Path, &Golden, &Options)) {
    for case in common::diffusers_cases() {
        let golden = Golden::read(&case);
        for executor in common::executors_of_this_level() {
            println!("{} {executor:?}", case.display());
            check(&case, &golden, &Options { executor, ..cpu() });
        }
    }
}

#[test]
fn both_executors_are_covered() {
    assert!(common::executors().contains(&ExecutorKind::Fast));
}
