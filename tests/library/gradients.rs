//! Gradients and training steps against PyTorch's (`tests/golden/gradients.py` made them), and against differences.
#![cfg(feature = "train")]

use crate::common::{Golden, relative_rms};
use onestep::train::{Adam, AdamOptions, Batch, Learner, clip_factor, norm};
use onestep::weights;
use std::path::{Path, PathBuf};

/// The bar: relative root mean square of each parameter's gradient.
const TOLERANCE: f64 = 1e-4;

struct Case {
    name: String,
    golden: Golden,
    learned_variance: bool,
    gradients: Golden,
    folder: PathBuf,
}

fn cases() -> Vec<Case> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    let files = std::fs::read_dir(root.join("gradients")).unwrap().map(|entry| entry.unwrap().path());
    let mut cases: Vec<Case> = files
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            let folder = root.join("diffusers").join(&name);
            let learned_variance = name == "guided";
            let (golden, gradients) = (Golden::read(&folder), Golden::read_file(&file));
            Case { name, golden, learned_variance, gradients, folder }
        })
        .collect();
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    cases
}

impl Case {
    fn learner(&self, threads: usize) -> Learner {
        let checkpoint = weights::open(&self.folder, u64::MAX).unwrap();
        let config = checkpoint.config(None).unwrap();
        Learner::new(&config.network, &checkpoint, threads).unwrap()
    }

    /// Adds the gradients of the mean squared error, which it returns.
    fn accumulate(&self, learner: &mut Learner) -> f64 {
        let (x, labels) = (self.golden.f32("x"), self.golden.labels());
        let target = self.gradients.f32("target");
        let times = self.gradients.f32("timesteps");
        let batch = Batch { x: &x, times: &times, labels: labels.as_deref(), dropout: None };
        let mut loss = 0.0;
        let number = target.len() as f64;
        learner
            .accumulate(batch, |net, gradient| {
                for ((gradient, net), target) in gradient.iter_mut().zip(net).zip(&target) {
                    let error = f64::from(net - target);
                    loss += error * error / number;
                    *gradient = (2.0 * error / number) as f32;
                }
            })
            .unwrap();
        loss
    }
}

#[test]
fn every_parameters_gradient_is_pytorchs() {
    for case in cases() {
        let mut learner = case.learner(2);
        let loss = case.accumulate(&mut learner);
        let expected = f64::from(case.gradients.f32("loss")[0]);
        assert!((loss - expected).abs() < 1e-5 * expected, "{}: loss {loss}, not {expected}", case.name);
        let parameters = learner.parameters().to_vec();
        let whole: f64 = case.gradients.f32("loss")[0].into();
        let (gradients, _) = learner.gradients();
        let mut worst = (0.0, String::new());
        for parameter in &parameters {
            let found = &gradients[parameter.range.clone()];
            let mut expected = case.gradients.f32(&format!("grad.{}", parameter.name));
            // Of a network that learned its variance the half that makes the mean is trained; the other's gradients are 0.
            if case.learned_variance && parameter.name.starts_with("conv_out.") {
                assert!(expected.drain(found.len()..).all(|gradient| gradient == 0.0));
            }
            assert_eq!(found.len(), expected.len(), "{}: {}", case.name, parameter.name);
            // A bias in front of a norm has none but for rounding.
            let size = norm(&expected);
            if size < 1e-6 * whole {
                assert!(norm(found) < 1e-5 * whole, "{}: {}", case.name, parameter.name);
                continue;
            }
            let error = relative_rms(found, &expected);
            assert!(error <= TOLERANCE, "{}: {} differs by {error}", case.name, parameter.name);
            if error > worst.0 {
                worst = (error, parameter.name.clone());
            }
        }
        eprintln!("{}: worst {worst:?}", case.name);
    }
}

#[test]
fn ten_steps_of_adam_lose_what_pytorchs_lose() {
    for case in cases() {
        let mut learner = case.learner(2);
        let mut adam = Adam::new(AdamOptions::default(), learner.values().len()).unwrap();
        for (step, &expected) in case.gradients.f32("losses").iter().enumerate() {
            learner.gradients().0.fill(0.0);
            let loss = case.accumulate(&mut learner);
            let difference = (loss - f64::from(expected)).abs();
            assert!(difference < 1e-4, "{}: step {step}: {loss}, not {expected}", case.name);
            let (gradients, parameters) = learner.gradients();
            let factor = clip_factor(norm(gradients), Some(1.0)) as f32;
            adam.step(parameters, gradients, factor, 1e-3);
        }
    }
}

#[test]
fn gradients_do_not_depend_on_the_threads() {
    for case in cases() {
        let [one, three] = [1, 3].map(|threads| {
            let mut learner = case.learner(threads);
            case.accumulate(&mut learner);
            learner.gradients().0.to_vec()
        });
        assert!(one.iter().zip(&three).all(|(a, b)| a.to_bits() == b.to_bits()), "{}", case.name);
    }
}
