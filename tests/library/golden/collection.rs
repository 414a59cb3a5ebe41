//! The larger collection's files of other libraries (`ONESTEP_GOLDEN`), imported, against what those libraries' code computed: through
//! the Rust interface, for every executor, and through the C functions.

use super::TOLERANCE;
use crate::common::{self, Golden, assert_close, cpu};
use crate::support::c::Door;
use onestep::model::{Edm, Generator, Role};
use onestep::sampler::{Kind, Sampler};
use onestep::weights::{Hints, ImportOptions, import};
use onestep::{ClipSample, Layout, Model, Options, Request};
use serde_json::json;
use std::path::{Path, PathBuf};

/// An imported file, and who calls.
struct Imported {
    folder: tempfile::TempDir,
    options: Options,
    through_c: bool,
    tolerance: f64,
}

type Labels<'a> = Option<&'a [i32]>;

impl Imported {
    fn path(&self) -> PathBuf {
        self.folder.path().join("model.safetensors")
    }

    fn model(&self) -> Model {
        Model::open(self.path(), &self.options).unwrap()
    }

    fn predict_at(&self, x: &[f32], times: &[f32], labels: Labels) -> Vec<f32> {
        if self.through_c {
            return Door::open(&self.path(), self.options.executor, None).predict_at(x, times, labels);
        }
        let mut out = vec![0.0; x.len()];
        self.model().session(&self.options).unwrap().predict_at(x, times, labels, &mut out).unwrap();
        out
    }

    fn draw(
        &self,
        x: &[f32],
        labels: Labels,
        sampler: &Sampler,
        role: Option<Role>,
        clip: ClipSample,
    ) -> Vec<f32> {
        if self.through_c {
            let door = Door::open_with(&self.path(), self.options.executor, role, clip);
            return door.draw(x, labels, sampler);
        }
        let options = Options { clip_sample: clip, role, ..self.options.clone() };
        let request = Request {
            noise: Some(x.to_vec()),
            labels: labels.map(<[i32]>::to_vec),
            // A student has none.
            sampler: (role != Some(Role::Student)).then(|| sampler.clone()),
            ..Request::default()
        };
        let mut out = vec![0; 4 * x.len()];
        let model = Model::open(self.path(), &options).unwrap();
        model.session(&options).unwrap().sample(&request, &Layout::default(), &mut out).unwrap();
        common::floats(&out)
    }

    fn close(&self, what: &str, found: &[f32], expected: &[f32]) {
        assert_close(
            &format!("{what}{}", if self.through_c { " through C" } else { "" }),
            found,
            expected,
            self.tolerance,
        );
    }
}

/// Imports a file once for each who calls: every executor, and C on the fast one.
fn each(file: &Path, hints: &Hints, check: impl Fn(&Imported)) {
    let callers = common::executors_of_this_level().into_iter().map(|executor| (executor, false));
    for (executor, through_c) in callers.chain([(onestep::ExecutorKind::Fast, true)]) {
        println!("{} {executor:?}", file.display());
        check(&imported(file, hints, &Options { executor, ..cpu() }, through_c, TOLERANCE));
    }
}

fn imported(file: &Path, hints: &Hints, options: &Options, through_c: bool, tolerance: f64) -> Imported {
    let folder = tempfile::tempdir().unwrap();
    let hints = ImportOptions { hints: hints.clone(), ..ImportOptions::default() };
    import(file, &folder.path().join("model.safetensors"), &hints).unwrap();
    Imported { folder, options: options.clone(), through_c, tolerance }
}

fn configured(config: PathBuf) -> Hints {
    Hints { config: Some(config), ..Hints::default() }
}

#[test]
fn edms_networks_agree_with_its_code() {
    for case in common::larger_cases("edm") {
        each(&case.join("model.safetensors"), &configured(case.join("config.json")), |it| {
            edm_agrees(&case, it)
        });
        // The names and shapes of its tensors say as much, but for the preconditioning.
        if !case.ends_with("edm_vp") {
            let copy = tempfile::tempdir().unwrap();
            let file = copy.path().join("network-snapshot.safetensors");
            std::fs::copy(case.join("model.safetensors"), &file).unwrap();
            edm_agrees(&case, &imported(&file, &Hints::default(), &cpu(), false, TOLERANCE));
        }
    }
}

#[test]
fn openais_networks_agree_with_their_code() {
    for case in common::larger_cases("openai") {
        each(&case.join("model.pt"), &configured(case.join("config.json")), |it| openai_agrees(&case, it));
    }
}

/// All cases on another device: CUDA's emulator, which Linux alone has.
#[cfg(all(feature = "cuda", target_os = "linux", target_arch = "x86_64"))]
pub fn each_of_edms(options: &Options, tolerance: f64) {
    for case in common::larger_cases("edm") {
        let hints = configured(case.join("config.json"));
        edm_agrees(&case, &imported(&case.join("model.safetensors"), &hints, options, false, tolerance));
    }
}

/// The same.
#[cfg(all(feature = "cuda", target_os = "linux", target_arch = "x86_64"))]
pub fn each_of_openais(options: &Options, tolerance: f64) {
    for case in common::larger_cases("openai") {
        let hints = configured(case.join("config.json"));
        openai_agrees(&case, &imported(&case.join("model.pt"), &hints, options, false, tolerance));
    }
}

/// x, times a factor.
fn scaled(x: &[f32], factor: f64) -> Vec<f32> {
    x.iter().map(|&x| (factor * f64::from(x)) as f32).collect()
}

/// Denoised images at several noise levels, and both deterministic samplers, as EDM's own code has them.
fn edm_agrees(case: &Path, it: &Imported) {
    let golden = Golden::read(case);
    let Generator::Edm(edm) = it.model().info().config.generator.clone() else { panic!() };
    let (x, labels) = (golden.f32("x"), golden.labels());
    for name in golden.names() {
        let Some(sigma) = name.strip_prefix("D_") else { continue };
        let sigma: f64 = sigma.parse().unwrap();
        let input = scaled(&x, edm.c_in(sigma) * sigma);
        let raw = it.predict_at(&input, &vec![edm.time(sigma); golden.batch()], labels.as_deref());
        it.close(&name, &denoised(&edm, sigma, &x, &raw), &golden.f32(&name));
    }
    for (name, kind) in [("euler_6", Kind::Euler), ("heun_6", Kind::Heun)] {
        let sampler = Sampler { kind: Some(kind), steps: Some(6), ..Sampler::default() };
        let drawn = it.draw(&x, labels.as_deref(), &sampler, None, ClipSample::File);
        it.close(name, &drawn, &golden.f32(name));
    }
}

fn denoised(edm: &Edm, sigma: f64, x: &[f32], raw: &[f32]) -> Vec<f32> {
    let value = |(&x, &raw): (&f32, &f32)| {
        (edm.c_skip(sigma) * sigma * f64::from(x) + edm.c_out(sigma) * f64::from(raw)) as f32
    };
    x.iter().zip(raw).map(value).collect()
}

/// Raw predictions, DDIM over guided-diffusion's respacing with and without clamped images, a consistency model's one step.
fn openai_agrees(case: &Path, it: &Imported) {
    let golden = Golden::read(case);
    let (x, labels) = (golden.f32("x"), golden.labels());
    let predict =
        |input: &[f32], time: f32| it.predict_at(input, &vec![time; golden.batch()], labels.as_deref());
    if let Generator::Consistency(levels) = &it.model().info().config.generator {
        for (name, sigma) in [("raw_0", 80.0f64), ("raw_1", 1.0)] {
            let raw = predict(&scaled(&x, sigma / sigma.hypot(0.5)), levels.time(sigma));
            it.close(name, &raw, &golden.f32(name));
        }
        let drawn = it.draw(&x, labels.as_deref(), &Sampler::default(), None, ClipSample::File);
        return it.close("onestep", &drawn, &golden.f32("onestep"));
    }
    // The collection has the variance's half too, each image's after its mean.
    let image: usize = x.len() / golden.batch();
    let both = golden.f32("raw");
    let mean: Vec<f32> = both.chunks(2 * image).flat_map(|both| &both[..image]).copied().collect();
    it.close("raw", &predict(&x, 500.0), &mean);
    for (name, clip) in [("ddim_10", ClipSample::Off), ("ddim_10_clip", ClipSample::On)] {
        let sampler = Sampler { steps: Some(10), ..Sampler::default() };
        it.close(name, &it.draw(&x, labels.as_deref(), &sampler, None, clip), &golden.f32(name));
    }
}

/// The teacher that consistency_models trains first: EDM's preconditioning around the network of its consistency models, at a
/// thousand times the time.
#[test]
fn openais_edm_teachers_are_edm_models() {
    for case in common::larger_cases("openai").into_iter().filter(|case| case.ends_with("cm_pt")) {
        let golden = Golden::read(&case);
        let mut config: serde_json::Value =
            serde_json::from_slice(&std::fs::read(case.join("config.json")).unwrap()).unwrap();
        config["training_mode"] = json!("edm");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flags.json");
        std::fs::write(&path, config.to_string()).unwrap();
        each(&case.join("model.pt"), &configured(path), |it| {
            let Generator::Edm(edm) = it.model().info().config.generator.clone() else { panic!() };
            let (x, labels) = (golden.f32("x"), golden.labels());
            for (name, sigma) in [("raw_0", 80.0f64), ("raw_1", 1.0)] {
                let times = vec![edm.time(sigma); golden.batch()];
                let raw = it.predict_at(&scaled(&x, edm.c_in(sigma) * sigma), &times, labels.as_deref());
                it.close(name, &raw, &golden.f32(name));
            }
            // One step from the most noise is the denoised image there.
            let sampler = Sampler { kind: Some(Kind::Euler), steps: Some(1), ..Sampler::default() };
            let drawn = it.draw(&x, labels.as_deref(), &sampler, None, ClipSample::File);
            it.close("one step", &drawn, &denoised(&edm, 80.0, &x, &golden.f32("raw_0")));
        });
    }
}

/// Raw predictions and the paper's student, of a file of the paper's or of the DDIM authors'.
fn teacher_and_student_agree(case: &Path, it: &Imported) {
    let golden = Golden::read(case);
    let x = golden.f32("x");
    for t in golden.timesteps() {
        let name = format!("eps_{t}");
        it.close(&name, &it.predict_at(&x, &vec![t as f32; golden.batch()], None), &golden.f32(&name));
    }
    let drawn = it.draw(&x, None, &Sampler::default(), Some(Role::Student), ClipSample::File);
    it.close("student", &drawn, &golden.f32("student"));
}

#[test]
fn the_papers_keras_files_agree_with_its_code() {
    for case in common::larger_cases("keras") {
        let files = std::fs::read_dir(&case).unwrap().map(|entry| entry.unwrap().path());
        for file in files.filter(|path| path.extension().is_some_and(|extension| extension == "h5")) {
            each(&file, &Hints::default(), |it| {
                teacher_and_student_agree(&case, it);
                // The file's name says which it is.
                let student = file.to_string_lossy().contains("ema_model");
                assert_eq!(it.model().info().config.generator.role() == Role::Student, student);
            });
            // Read as it is, without an import.
            let (golden, model) = (Golden::read(&case), Model::open(&file, &cpu()).unwrap());
            let mut out = vec![0.0; golden.f32("x").len()];
            model.session(&cpu()).unwrap().predict(&golden.f32("x"), &[500, 500], None, &mut out).unwrap();
            assert_close("as it is", &out, &golden.f32("eps_500"), TOLERANCE);
        }
    }
}

#[test]
fn the_ddim_authors_files_agree_with_their_code() {
    let Some(root) = common::larger_collection() else { return };
    let case = root.join("ddim_ckpt");
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("ddim.json");
    std::fs::write(&config, json!({"data": {"image_size": 16}}).to_string()).unwrap();
    for file in ["model.ckpt", "ckpt.pth"] {
        each(&case.join(file), &configured(config.clone()), |it| teacher_and_student_agree(&case, it));
    }
    // Another part of the same file is another network.
    let hints = Hints { key: Some("0".into()), ..configured(config) };
    let it = imported(&case.join("ckpt.pth"), &hints, &cpu(), false, TOLERANCE);
    let golden = Golden::read(&case);
    let found = it.predict_at(&golden.f32("x"), &[500.0; 2], None);
    assert!(common::relative_rms(&found, &golden.f32("eps_500")) > 1e-2);
}
