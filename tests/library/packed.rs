//! Packed files: they draw what the model draws that they were made from, on every instruction set, and refuse all else.

use crate::common::{cpu, diffusers_cases, relative_rms, teacher};
use onestep::model::Role;
use onestep::sampler::Sampler;
use onestep::weights::{ImportOptions, export, import, with_checksum};
use onestep::{
    Cancel, Code, Error, ExecutorKind, Isa, Layout, MemoryMode, Model, Named, Options, Phase, Precision,
    Request,
};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

fn options(isa: Isa, precision: Precision, memory: MemoryMode) -> Options {
    Options { isa: Some(isa), precision, memory, role: Some(Role::Teacher), threads: 2, ..cpu() }
}

fn drawn(model: &Model) -> Vec<u8> {
    let classes = model.info().config.network.num_classes;
    let sampler = Some(Sampler { steps: Some(2), ..Sampler::default() });
    let labels = classes.map(|classes| vec![0, classes as i32 - 1]);
    let request = Request { seeds: Some(vec![7, 8]), labels, sampler, ..Request::default() };
    let mut out = vec![0; model.output_size(2, &Layout::default()).unwrap() as usize];
    model.session(&cpu()).unwrap().sample(&request, &Layout::default(), &mut out).unwrap();
    out
}

/// The teacher, packed for the best of this processor, in a folder of its own.
fn packed() -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.safetensors");
    Model::pack(teacher(), &path, &cpu()).unwrap();
    (folder, path)
}

fn open_error(path: &Path, options: &Options) -> Error {
    Model::open(path, options).map(drop).unwrap_err()
}

#[test]
fn packed_files_draw_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.safetensors");
    for case in diffusers_cases() {
        let best = onestep::isa();
        for isa in Isa::available() {
            for (precision, memory) in [
                (Precision::F32, MemoryMode::Fast),
                (Precision::F32, MemoryMode::Low),
                (Precision::Bf16, MemoryMode::Fast),
            ] {
                if isa != best && memory == MemoryMode::Low {
                    continue;
                }
                let options = options(isa, precision, memory);
                let original = Model::open(&case, &options).unwrap();
                let expected = drawn(&original);
                let said = Model::pack(&case, &path, &options).unwrap();
                // What it was packed for needs no word any more.
                let mapped = Options { memory: MemoryMode::Map, ..cpu() };
                let bytes = std::fs::read(&path).unwrap();
                let role = Options { role: Some(Role::Teacher), ..cpu() };
                for packed in [
                    Model::open(&path, &role).unwrap(),
                    Model::open(&path, &Options { role: role.role, ..mapped }).unwrap(),
                    Model::from_bytes(&bytes, &role).unwrap(),
                ] {
                    let what = format!("{}, {}, {precision:?}, {memory:?}", case.display(), isa.name());
                    assert!(drawn(&packed) == expected, "{what}");
                    assert_eq!(packed.info(), &said, "{what}");
                    let (found, of) = (packed.info(), original.info());
                    assert_eq!(
                        (&found.config, found.parameters, found.precision),
                        (&of.config, of.parameters, of.precision)
                    );
                    let memory = packed.estimate_memory(2).unwrap();
                    assert_eq!(memory, original.estimate_memory(2).unwrap(), "{what}");
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_draws_the_same_image_but_for_rounding() {
    let floats = |isa| -> Vec<f32> {
        let bytes = drawn(&Model::open(teacher(), &options(isa, Precision::F32, MemoryMode::Fast)).unwrap());
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    };
    let portable = floats(Isa::Portable);
    for isa in Isa::available() {
        assert!(relative_rms(&floats(isa), &portable) < 1e-4, "{}", isa.name());
    }
    let missing =
        [Isa::Neon, Isa::Avx512Bf16].into_iter().find(|isa| Isa::available().all(|has| has != *isa));
    let missing = missing.expect("a processor of two architectures");
    let error = open_error(&teacher(), &options(missing, Precision::F32, MemoryMode::Fast));
    assert_eq!(error.code(), Code::DeviceUnavailable);
    assert!(error.to_string().contains(missing.name()), "{error}");
}

#[test]
fn what_a_packed_file_is_not_for_is_refused() {
    let (folder, path) = packed();
    let isa = onestep::isa();
    let other = Isa::available().find(|other| *other != isa).unwrap();
    for (asked, argument) in [
        (Options { precision: Precision::Bf16, ..cpu() }, "precision"),
        (Options { memory: MemoryMode::Low, ..cpu() }, "memory"),
        (Options { isa: Some(other), ..cpu() }, "isa"),
        (Options { executor: ExecutorKind::Reference, ..cpu() }, "executor"),
        #[cfg(feature = "cuda")]
        (Options { device: "cuda:0".into(), ..Options::default() }, "device"),
    ] {
        let error = open_error(&path, &asked);
        let said = error.to_string();
        assert_eq!(error.code(), Code::InvalidArgument, "{said}");
        assert!(said.starts_with(argument) && said.contains("is packed for"), "{said}");
        assert!(said.contains(isa.name()) && said.contains("packed.safetensors"), "{said}");
    }
    // Whatever `auto` would mean for other files.
    assert_eq!(Model::open(&path, &Options::default()).unwrap().info().device, "cpu");

    let map = Options { memory: MemoryMode::Map, ..cpu() };
    let error = open_error(&teacher(), &map);
    assert_eq!(error.code(), Code::InvalidArgument);
    assert!(error.to_string().contains("is no packed file"), "{error}");
    let error = Model::from_bytes(&std::fs::read(&path).unwrap(), &map).map(drop).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument, "{error}");

    // Its weights are no numbers any more.
    let out = folder.path().join("out.safetensors");
    for error in [
        import(&path, &out, &ImportOptions::default()).map(drop).unwrap_err(),
        export(&path, &folder.path().join("folder")).unwrap_err(),
        Model::pack(&path, &out, &cpu()).map(drop).unwrap_err(),
    ] {
        assert_eq!(error.code(), Code::BadModel, "{error}");
        assert!(error.to_string().contains("packed.safetensors: a packed file"), "{error}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}

#[test]
fn what_cannot_be_packed_is_refused_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.safetensors");
    for asked in [
        Options { executor: ExecutorKind::Reference, ..cpu() },
        Options { memory: MemoryMode::Map, ..cpu() },
        Options { precision: Precision::F16, ..cpu() },
        Options { device: "cuda:0".into(), ..Options::default() },
    ] {
        assert!(Model::pack(teacher(), &path, &asked).is_err());
    }
    // Ended in the middle, by a token and by progress.
    let cancel = Cancel::new();
    let (seen, token) = (Arc::new(Mutex::new(Vec::new())), cancel.clone());
    let progress = {
        let seen = seen.clone();
        move |phase, done: u32, total| {
            assert_eq!(phase, Phase::Write);
            seen.lock().unwrap().push((done, total));
            if done == total / 2 {
                token.trigger();
            }
            ControlFlow::Continue(())
        }
    };
    let stopped = Options { cancel: Some(cancel), progress: Some(Arc::new(progress)), ..cpu() };
    let error = Model::pack(teacher(), &path, &stopped).map(drop).unwrap_err();
    assert_eq!(error.code(), Code::Cancelled);
    let (done, total) = *seen.lock().unwrap().last().unwrap();
    assert_eq!(done, total / 2);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn damage_is_named() {
    let (_folder, path) = packed();
    let whole = std::fs::read(&path).unwrap();
    let map = Options { memory: MemoryMode::Map, ..cpu() };
    let error_of = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let [read, mapped] = [cpu(), map.clone()].map(|options| open_error(&path, &options));
        let in_memory = Model::from_bytes(bytes, &cpu()).map(drop).unwrap_err();
        for error in [&mapped, &in_memory] {
            assert_eq!(error.code(), read.code(), "{error}");
        }
        assert_eq!(read.code(), Code::BadModel, "{read}");
        read.to_string()
    };
    let header = 8 + u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize;
    // Of each part, a bit of its first words.
    let json: serde_json::Value = serde_json::from_slice(&whole[8..header]).unwrap();
    for (part, info) in
        json.as_object().unwrap().iter().filter(|(name, _)| *name != "__metadata__").step_by(7)
    {
        let mut bytes = whole.clone();
        bytes[header + info["data_offsets"][0].as_u64().unwrap() as usize + 2] ^= 64;
        let said = error_of(&bytes);
        assert!(said.contains(&format!("the checksum of part {part} is")), "{said}");
    }
    // Of the header, without its checksum and with a right one.
    let text = String::from_utf8(whole[8..header].to_vec()).unwrap();
    let changed = |from: &str, to: &str, mended: bool| {
        assert_eq!(text.matches(from).count(), 1, "{from}");
        let text = text.replace(from, to);
        let bytes = [&(text.len() as u64).to_le_bytes(), text.as_bytes(), &whole[header..]].concat();
        error_of(&if mended { with_checksum(&bytes).unwrap() } else { bytes })
    };
    let layout = "\\\"layout\\\":1,";
    assert!(changed(layout, "\\\"layout\\\":2,", false).contains("header's checksum is"));
    assert!(changed(layout, "\\\"layout\\\":2,", true).contains("pack it again"));
    assert!(changed("\\\"precision\\\":\\\"f32\\\"", "\\\"precision\\\":\\\"f64\\\"", true).contains("f64"));
    assert!(changed("\"conv_in.weight:packed\"", "\"conv_in.weight:other\"", true).contains("no checksum"));
    for length in (0..header).step_by(997).chain([header, whole.len() / 2, whole.len() - 1]) {
        error_of(&whole[..length]);
    }
}

/// What executors make of weights is part of the format: where this changes, `LAYOUT` in `src/weights/packed/mod.rs` does too.
#[test]
fn the_layout_has_a_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.safetensors");
    let mut hasher = crc32fast::Hasher::new();
    for case in diffusers_cases().iter().filter(|case| case.starts_with(crate::common::repository())) {
        for (precision, memory) in [
            (Precision::F32, MemoryMode::Fast),
            (Precision::Bf16, MemoryMode::Fast),
            (Precision::F32, MemoryMode::Low),
        ] {
            Model::pack(case, &path, &options(Isa::Portable, precision, memory)).unwrap();
            let bytes = std::fs::read(&path).unwrap();
            let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            hasher.update(&bytes[start..]);
        }
    }
    assert_eq!(format!("{:08x}", hasher.finalize()), "ac9cb55c", "bytes of layout 1");
}

/// A packed file takes what its weights take, and not the file's worth more.
#[test]
fn parts_lie_where_they_can_be_used() {
    let (_folder, path) = packed();
    let bytes = std::fs::read(&path).unwrap();
    let prepared = Model::open(&path, &cpu()).unwrap().estimate_memory(1).unwrap().weights as usize;
    let start = 8 + u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    assert_eq!(start % 4096, 0);
    assert!((prepared..prepared + prepared / 50).contains(&(bytes.len() - start)));
}
