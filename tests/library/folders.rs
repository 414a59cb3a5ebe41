//! The folders and files in which people have a network, and the schedulers beside it: each draws what diffusers draws of it
//! (`tests/golden/folders.py`), or is refused with the reason.

use crate::common::{self, Golden, assert_close, cpu};
use onestep::sampler::Sampler;
use onestep::weights::{Hints, ImportOptions, export, import};
use onestep::{Code, Error, Layout, Model, Request, image::Format};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

const TOLERANCE: f64 = 2e-5;

fn folders() -> PathBuf {
    common::repository().join("tests/golden/folders")
}

fn golden() -> Golden {
    Golden::read(&folders())
}

/// A folder of copies: each of the files of `folders/`, at a place.
struct Copies(tempfile::TempDir);

impl Copies {
    fn new(files: &[(&str, &str)]) -> Self {
        let copies = Self(tempfile::tempdir().unwrap());
        for (from, to) in files {
            copies.add(from, to);
        }
        copies
    }

    fn add(&self, from: &str, to: &str) {
        let to = self.path(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::copy(folders().join(from), to).unwrap();
    }

    fn write(&self, to: &str, bytes: impl AsRef<[u8]>) {
        let to = self.path(to);
        std::fs::create_dir_all(to.parent().unwrap()).unwrap();
        std::fs::write(to, bytes).unwrap();
    }

    fn path(&self, inside: &str) -> PathBuf {
        self.0.path().join(inside)
    }
}

const CONFIG: (&str, &str) = ("net/config.json", "unet/config.json");
const WEIGHTS: &str = "diffusion_pytorch_model.safetensors";

/// A pipeline's folder of the network.
fn pipeline() -> Copies {
    Copies::new(&[
        CONFIG,
        ("net/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors"),
    ])
}

fn open(path: &Path) -> Result<Model, Error> {
    Model::open(path, &cpu())
}

/// What opening says, on the terminal and in the log, of a model that draws as `array` has it.
fn opens_as(path: &Path, array: &str) -> String {
    let model = open(path).unwrap_or_else(|error| panic!("{error}"));
    let golden = golden();
    let x = golden.f32("x");
    let mut out = vec![0.0; x.len()];
    let mut session = model.session(&cpu()).unwrap();
    session.predict(&x, &[500, 500], None, &mut out).unwrap();
    assert_close(array, &out, &golden.f32(array), TOLERANCE);
    model.info().notes.join("\n")
}

fn refused(path: &Path) -> String {
    match open(path) {
        Ok(model) => panic!("{} was opened: {:?}", path.display(), model.info().notes),
        Err(error) => {
            assert!(matches!(error.code(), Code::BadModel | Code::UnsupportedModel), "{error}");
            error.to_string()
        }
    }
}

/// What ten steps of the model's own DDIM draw.
fn ten_steps(path: &Path, x: Vec<f32>) -> (Vec<f32>, String) {
    let model = open(path).unwrap_or_else(|error| panic!("{error}"));
    let request = Request {
        noise: Some(x),
        sampler: Some(Sampler { steps: Some(10), ..Sampler::default() }),
        ..Request::default()
    };
    let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
    let mut bytes = vec![0; model.output_size(2, &layout).unwrap() as usize];
    model.session(&cpu()).unwrap().sample(&request, &layout, &mut bytes).unwrap();
    (common::floats(&bytes), model.info().notes.join("\n"))
}

#[test]
fn every_scheduler_over_betas_is_read_as_ddims() {
    let golden = golden();
    let mut count = 0;
    for name in golden.names() {
        let Some(scheduler) = name.strip_prefix("ddim_10.") else { continue };
        let copies = pipeline();
        copies.add(&format!("schedulers/{scheduler}.json"), "scheduler/scheduler_config.json");
        let (drawn, notes) = ten_steps(&copies.path(""), golden.f32("x"));
        assert_close(scheduler, &drawn, &golden.f32(&name), TOLERANCE);
        let own = scheduler.starts_with("zero_snr");
        assert_eq!(notes.contains("the scheduler's class is"), !own, "{scheduler}: {notes}");
        // And after an import, which keeps what was taken, and an export, which diffusers reads as its own.
        let (native, exported) = (copies.path("native.safetensors"), copies.path("exported"));
        import(&copies.path(""), &native, &ImportOptions::default()).unwrap();
        export(&native, &exported).unwrap();
        for path in [native, exported] {
            assert_eq!(ten_steps(&path, golden.f32("x")).0, drawn, "{scheduler}");
        }
        count += 1;
    }
    assert_eq!(count, 13);
}

#[test]
fn schedulers_that_cannot_be_right_are_refused() {
    for (scheduler, named) in [
        (
            json!({"_class_name": "FlowMatchEulerDiscreteScheduler", "shift": 1.0}),
            "FlowMatchEulerDiscreteScheduler",
        ),
        (json!({"_class_name": "ScoreSdeVeScheduler"}), "ScoreSdeVeScheduler"),
        (json!({"_class_name": "DPMSolverMultistepScheduler", "use_flow_sigmas": true}), "use_flow_sigmas"),
        (
            json!({"_class_name": "EulerDiscreteScheduler", "prediction_type": "flow_prediction"}),
            "flow_prediction",
        ),
        (json!({"_class_name": "PNDMScheduler", "beta_schedule": "laplace"}), "laplace"),
        (json!({"_class_name": "DDIMScheduler", "rescale_betas_zero_snr": true}), "rescale_betas_zero_snr"),
    ] {
        let copies = pipeline();
        copies.write("scheduler/scheduler_config.json", scheduler.to_string());
        let message = refused(&copies.path(""));
        assert!(message.contains(named), "{message}");
    }
    // Infinity is a number to Python; it is none where one is needed.
    let copies = pipeline();
    copies.write("scheduler/scheduler_config.json", "{\"beta_end\": Infinity}");
    let message = refused(&copies.path(""));
    assert!(message.contains("beta_end = \"Infinity\", expected a number"), "{message}");
}

/// diffusers' examples/unconditional_image_generation leaves such a folder.
#[test]
fn a_training_runs_folder_opens_wherever_it_is_pointed_at() {
    let copies = pipeline();
    copies.write("model_index.json", "{\"_class_name\": \"DDPMPipeline\"}");
    copies.add("schedulers/zero_snr.json", "scheduler/scheduler_config.json");
    for (from, to) in [("net", "checkpoint-500/unet"), ("ema", "checkpoint-500/unet_ema")] {
        for file in ["config.json", WEIGHTS] {
            copies.add(&format!("{from}/{file}"), &format!("{to}/{file}"));
        }
    }
    let scheduler = |path: &str| {
        let schedule = open(&copies.path(path)).unwrap().info().config.generator.schedule().unwrap().clone();
        assert_eq!(schedule.betas[999], 1.0, "{path}: not the run's scheduler");
    };
    for (path, array, said) in [
        ("", "eps_500", ""),
        ("unet", "eps_500", "that of ../scheduler/scheduler_config.json"),
        ("checkpoint-500", "eps_500.ema", "unet_ema, the average of the weights, is read"),
        ("checkpoint-500/unet", "eps_500", "unet_ema, the average of these weights, is beside it"),
        ("checkpoint-500/unet_ema", "eps_500.ema", "that of ../../scheduler/scheduler_config.json"),
        ("checkpoint-500/unet_ema/diffusion_pytorch_model.safetensors", "eps_500.ema", "../../scheduler"),
    ] {
        let notes = opens_as(&copies.path(path), array);
        assert!(notes.contains(said) && notes.is_empty() == said.is_empty(), "{path}: {notes}");
        scheduler(path);
    }
    // accelerate's older checkpoints: weights alone, the configuration in the run's folder.
    copies.add("net/diffusion_pytorch_model.safetensors", "checkpoint-1000/model.safetensors");
    let notes = opens_as(&copies.path("checkpoint-1000"), "eps_500");
    assert!(notes.contains("../unet/config.json"), "{notes}");
    scheduler("checkpoint-1000");
}

#[test]
fn what_nobody_says_is_said() {
    let notes = opens_as(&pipeline().path(""), "eps_500");
    assert!(notes.contains("no scheduler_config.json: DDPM's linear betas"), "{notes}");
    // A scheduler in a folder above that is no pipeline's is another's.
    let copies = pipeline();
    copies.add("schedulers/zero_snr.json", "scheduler/scheduler_config.json");
    std::fs::rename(copies.path("unet"), copies.path("other")).unwrap();
    let notes = opens_as(&copies.path("other"), "eps_500");
    assert!(notes.contains("no scheduler_config.json"), "{notes}");
    let copies = Copies::new(&[
        ("net/config.json", "google--ddpm-cifar10-32/unet/config.json"),
        ("net/diffusion_pytorch_model.safetensors", "google--ddpm-cifar10-32/unet/model.safetensors"),
    ]);
    let notes = opens_as(&copies.path("google--ddpm-cifar10-32"), "eps_500");
    assert!(notes.contains("without EMA"), "{notes}");
}

#[test]
fn variants_and_shards_open() {
    let copies = Copies::new(&[
        CONFIG,
        ("fp16/diffusion_pytorch_model.fp16.safetensors", "unet/diffusion_pytorch_model.fp16.safetensors"),
    ]);
    let notes = opens_as(&copies.path(""), "eps_500.fp16");
    assert!(notes.contains("the variant fp16"), "{notes}");
    // Whole weights come first, and an average beside them is told of.
    copies.add("net/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.safetensors");
    copies.add("ema/diffusion_pytorch_model.safetensors", "unet/diffusion_pytorch_model.ema.safetensors");
    let notes = opens_as(&copies.path(""), "eps_500");
    assert!(notes.contains("diffusion_pytorch_model.ema.safetensors, an average of the weights"), "{notes}");
    std::fs::remove_file(copies.path("unet/diffusion_pytorch_model.safetensors")).unwrap();
    opens_as(&copies.path(""), "eps_500.ema");

    opens_as(&shards().path(""), "eps_500");
}

const INDEX: &str = "unet/diffusion_pytorch_model.safetensors.index.json";

fn shards() -> Copies {
    let copies = Copies::new(&[CONFIG]);
    for entry in std::fs::read_dir(folders().join("sharded")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        copies.add(&format!("sharded/{name}"), &format!("unet/{name}"));
    }
    copies
}

#[test]
fn broken_shards_are_named() {
    let second = "diffusion_pytorch_model-00002-of-00002.safetensors";
    let copies = shards();
    std::fs::remove_file(copies.path("unet").join(second)).unwrap();
    let error = open(&copies.path("")).map(drop).unwrap_err();
    assert!(error.code() == Code::Io && error.to_string().contains(second), "{error}");
    let changed = |change: &dyn Fn(&mut Value)| {
        let copies = shards();
        let mut index: Value = serde_json::from_slice(&std::fs::read(copies.path(INDEX)).unwrap()).unwrap();
        change(&mut index["weight_map"]);
        copies.write(INDEX, index.to_string());
        refused(&copies.path(""))
    };
    let message = changed(&|map| map["conv_in.weight"] = "../other.safetensors".into());
    assert!(message.contains("conv_in.weight") && message.contains("no file beside it"), "{message}");
    let message = changed(&|map| map["conv_in.weight"] = second.into());
    assert!(message.contains("conv_in.weight") && message.contains("does not say"), "{message}");
    let message = changed(&|map| map["more"] = second.into());
    assert!(message.contains("tensor more is not in"), "{message}");
    let message = changed(&|map| *map = json!(1));
    assert!(message.contains("weight_map"), "{message}");
    let message = changed(&|map| (0..2000).for_each(|i| map[format!("a{i}")] = format!("{i}.bin").into()));
    assert!(message.contains("2002 shards"), "{message}");
    // An average over all shards is bounded as one file is.
    let mut options = cpu();
    options.limits.file_bytes = 30_000;
    let error = Model::open(shards().path(""), &options).map(drop).unwrap_err();
    assert!(error.to_string().contains("limits.file_bytes"), "{error}");
}

#[test]
fn a_git_lfs_pointer_is_told_from_a_file() {
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 143162156\n";
    let copies = Copies::new(&[CONFIG]);
    copies.write("unet/diffusion_pytorch_model.safetensors", pointer);
    for path in ["", "unet/diffusion_pytorch_model.safetensors"] {
        let message = refused(&copies.path(path));
        assert!(message.contains(WEIGHTS) && message.contains("git lfs pull"), "{message}");
    }
    copies.add("torch/channels_last.bin", "unet/diffusion_pytorch_model.bin");
    let notes = opens_as(&copies.path(""), "eps_500");
    assert!(notes.contains("git-lfs pointer; diffusion_pytorch_model.bin is read instead"), "{notes}");
}

#[test]
fn folders_without_weights_say_what_is_there() {
    let copies = Copies::new(&[CONFIG]);
    copies.write("unet/diffusion_flax_model.msgpack", "x");
    let message = refused(&copies.path(""));
    assert!(message.contains("no weights") && message.contains("diffusion_flax_model.msgpack"), "{message}");
}

#[test]
fn other_pipelines_are_refused_by_the_part_that_makes_them_so() {
    for part in ["vqvae", "vae", "text_encoder"] {
        let copies = pipeline();
        std::fs::create_dir(copies.path(part)).unwrap();
        for path in ["", "unet"] {
            let message = refused(&copies.path(path));
            assert!(message.contains(part) && message.contains("draws pictures by itself"), "{message}");
        }
        // Not downloaded, but of the pipeline.
        let copies = pipeline();
        copies.write("model_index.json", json!({part: ["diffusers", "VQModel"]}).to_string());
        assert!(refused(&copies.path("")).contains(part));
        // A part that a pipeline may have, and this one has not.
        copies.write("model_index.json", json!({part: [null, null]}).to_string());
        opens_as(&copies.path(""), "eps_500");
    }
}

#[test]
fn files_of_pytorch_are_read_however_they_lie() {
    for (file, said) in [
        ("channels_last.bin", ""),
        ("wrapped.bin", "begin with module._orig_mod."),
        ("views.bin", ""),
        ("run.pt", "its part ema is read; model is left alone"),
        ("list.pth", "the last of its 5 parts"),
    ] {
        let copies = Copies::new(&[CONFIG, (&format!("torch/{file}"), "unet/diffusion_pytorch_model.bin")]);
        let notes = opens_as(&copies.path(""), "eps_500");
        assert!(notes.contains(said), "{file}: {notes}");
    }
}

#[test]
fn a_part_of_a_file_is_asked_for_by_name() {
    let copies = Copies::new(&[
        ("net/config.json", "config.json"),
        ("torch/run.pt", "run.pt"),
        ("torch/list.pth", "list.pth"),
        ("torch/wrapped.bin", "wrapped.bin"),
    ]);
    let try_import = |file: &str, key: &str| {
        let out = copies.path("out.safetensors");
        let hints = Hints { key: Some(key.into()), ..Hints::default() };
        import(&copies.path(file), &out, &ImportOptions { hints, ..Default::default() }).map(|_| out)
    };
    for (file, key, array) in [
        ("run.pt", "model", "eps_500.ema"),
        ("run.pt", "ema", "eps_500"),
        ("list.pth", "0", "eps_500.ema"),
        ("list.pth", "-1", "eps_500"),
        ("wrapped.bin", "module._orig_mod", "eps_500"),
    ] {
        opens_as(&try_import(file, key).unwrap(), array);
    }
    for (file, key, said) in [
        ("run.pt", "average", "model (a dict), ema (a dict)"),
        ("run.pt", "step", "step of"),
        ("list.pth", "5", "parts 0 to 4"),
        ("list.pth", "2", "an integer"),
        ("wrapped.bin", "net", "has no part net"),
    ] {
        let error = try_import(file, key).unwrap_err();
        assert!(error.code() == Code::InvalidArgument && error.to_string().contains(said), "{key}: {error}");
    }
    // What says all of itself takes no hints.
    let hints = Hints { key: Some("ema".into()), ..Hints::default() };
    let native = common::teacher();
    let error =
        import(&native, &copies.path("x.safetensors"), &ImportOptions { hints, ..Default::default() });
    assert_eq!(error.unwrap_err().code(), Code::InvalidArgument);
}

#[test]
fn an_import_says_where_the_weights_come_from() {
    let copies = pipeline();
    let out = copies.path("out.safetensors");
    let options = ImportOptions { provenance: Some("mine".into()), ..Default::default() };
    import(&copies.path("unet"), &out, &options).unwrap();
    let provenance = open(&out).unwrap().info().provenance.clone().unwrap();
    assert_eq!(
        (&provenance["source"], &provenance["format"], &provenance["said"]),
        (&json!("unet"), &json!("diffusers"), &json!("mine"))
    );
    assert!(provenance["notes"][0].as_str().unwrap().contains("no scheduler_config.json"));
    // As `sha256sum` has it.
    #[cfg(feature = "formats")]
    assert_eq!(provenance["sha256"][WEIGHTS].as_str().unwrap().len(), 64);
    // A native file stored anew keeps what it says.
    let again = copies.path("again.safetensors");
    import(&out, &again, &ImportOptions::default()).unwrap();
    assert_eq!(open(&again).unwrap().info().provenance, Some(provenance));
}

#[test]
fn a_cancelled_import_leaves_nothing() {
    let copies = pipeline();
    let cancel = onestep::Cancel::new();
    cancel.trigger();
    let options = ImportOptions { cancel: Some(cancel), ..Default::default() };
    let before = std::fs::read_dir(copies.path("")).unwrap().count();
    assert_eq!(
        import(&copies.path(""), &copies.path("out.safetensors"), &options).unwrap_err().code(),
        Code::Cancelled
    );
    assert_eq!(std::fs::read_dir(copies.path("")).unwrap().count(), before);
}

/// The collection of inputs after public reports, where `ONESTEP_CASES` names its folder.
#[test]
fn the_larger_collection_draws_what_diffusers_does() {
    let Some(root) = std::env::var_os("ONESTEP_CASES").map(PathBuf::from) else { return };
    let run = "train-unconditional-output";
    let mut cases: Vec<(String, String)> = [
        ("out", "golden"),
        ("out/unet", "golden"),
        ("out/checkpoint-500", "golden_ema"),
        ("out/checkpoint-500/unet", "golden"),
        ("out/checkpoint-500/unet_ema", "golden_ema"),
    ]
    .map(|(folder, golden)| (format!("{run}/{folder}"), format!("{run}/{golden}.safetensors")))
    .to_vec();
    for folder in ["fp16-variant-and-shards/fp16", "fp16-variant-and-shards/sharded"] {
        cases.push((folder.into(), format!("{folder}/golden.safetensors")));
    }
    for scheduler in ["pndm", "euler", "euler-ancestral", "dpmsolver", "zsnr"] {
        let folder = format!("other-schedulers/{scheduler}");
        cases.push((folder.clone(), format!("{folder}/golden.safetensors")));
    }
    for (folder, golden) in cases {
        let (path, golden) = (root.join(&folder), Golden::read_file(&root.join(golden)));
        let x = golden.f32("x");
        let mut out = vec![0.0; x.len()];
        let model = open(&path).unwrap();
        model.session(&cpu()).unwrap().predict(&x, &[500, 500], None, &mut out).unwrap();
        assert_close(&format!("{folder}: eps_500"), &out, &golden.f32("eps_500"), TOLERANCE);
        let (drawn, _) = ten_steps(&path, x);
        assert_close(&format!("{folder}: ddim_10"), &drawn, &golden.f32("ddim_10"), TOLERANCE);
    }
    let message = refused(&root.join("lfs-pointer/m"));
    assert!(message.contains("git lfs pull"), "{message}");
}
