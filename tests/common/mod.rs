//! What several tests share: golden arrays and how to compare.

#![allow(dead_code)]

pub mod driver;
pub mod lpips;

use onestep::Options;
use safetensors::SafeTensors;
use std::path::{Path, PathBuf};

/// The repository's root, whichever package is tested.
pub fn repository() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.ancestors().find(|folder| folder.join("include/onestep.h").is_file()).unwrap_or(here)
}

/// The teacher of the model inside the library.
pub fn teacher() -> PathBuf {
    repository().join("models/digits-teacher.safetensors")
}

/// The CPU, on machines too where `auto` means a GPU.
pub fn cpu() -> Options {
    Options { device: "cpu".into(), ..Options::default() }
}

/// Folders of golden cases that diffusers made.
pub fn diffusers_cases() -> Vec<PathBuf> {
    cases("diffusers")
}

/// Folders of golden cases of a kind: the small ones in the repository, and all of a larger collection where
/// `ONESTEP_GOLDEN` names one.
pub fn cases(kind: &str) -> Vec<PathBuf> {
    // A test program that was carried to another machine has the collection alone.
    let here = folders(&repository().join("tests/golden").join(kind));
    let cases = [here, larger_cases(kind)].concat();
    assert!(!cases.is_empty(), "no golden case found");
    cases
}

/// Those of the larger collection alone; none where there is none.
pub fn larger_cases(kind: &str) -> Vec<PathBuf> {
    larger_collection().map(|root| folders(&root.join(kind))).unwrap_or_default()
}

/// The larger collection's folder.
pub fn larger_collection() -> Option<PathBuf> {
    let root = std::env::var_os("ONESTEP_GOLDEN").map(PathBuf::from)?;
    assert!(root.is_dir(), "{root:?} is no folder");
    Some(root)
}

/// The golden cases in a folder.
fn folders(root: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(root) else { return Vec::new() };
    let mut cases: Vec<PathBuf> = entries
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("golden.safetensors").is_file())
        .collect();
    cases.sort();
    cases
}

/// The arrays of one case.
pub struct Golden(Vec<u8>);

impl Golden {
    pub fn read(case: &Path) -> Self {
        Self::read_file(&case.join("golden.safetensors"))
    }

    pub fn read_file(path: &Path) -> Self {
        Self(std::fs::read(path).unwrap())
    }

    fn tensors(&self) -> SafeTensors<'_> {
        SafeTensors::deserialize(&self.0).unwrap()
    }

    pub fn names(&self) -> Vec<String> {
        self.tensors().names().into_iter().map(str::to_owned).collect()
    }

    /// The timesteps of which it has raw predictions, `eps_T`.
    pub fn timesteps(&self) -> Vec<i32> {
        self.names().iter().filter_map(|name| name.strip_prefix("eps_")?.parse().ok()).collect()
    }

    /// A text of its metadata.
    pub fn text(&self, key: &str) -> String {
        let (_, header) = SafeTensors::read_metadata(&self.0).unwrap();
        header.metadata().as_ref().unwrap()[key].clone()
    }

    pub fn batch(&self) -> usize {
        self.tensors().tensor("x").unwrap().shape()[0]
    }

    pub fn f32(&self, name: &str) -> Vec<f32> {
        let tensors = self.tensors();
        let bytes = tensors.tensor(name).unwrap().data();
        bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
    }

    pub fn labels(&self) -> Option<Vec<i32>> {
        let tensors = self.tensors();
        let bytes = tensors.tensor("class_labels").ok()?.data();
        Some(bytes.as_chunks().0.iter().map(|b| i64::from_le_bytes(*b) as i32).collect())
    }
}

/// ||found - expected|| / ||expected||, in f64.
pub fn relative_rms(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let sum = |values: &mut dyn Iterator<Item = f64>| values.map(|x| x * x).sum::<f64>().sqrt();
    sum(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)))
        / sum(&mut expected.iter().map(|&x| f64::from(x)))
}

pub fn assert_close(what: &str, found: &[f32], expected: &[f32], tolerance: f64) {
    let error = relative_rms(found, expected);
    println!("{what}: relative RMS {error:.2e}");
    assert!(error <= tolerance, "{what}: relative RMS {error:.2e}, at most {tolerance:.0e} allowed");
}

/// The executors of this build.
pub fn executors() -> Vec<onestep::ExecutorKind> {
    vec![onestep::ExecutorKind::Fast, onestep::ExecutorKind::Reference]
}

/// Those whose results may depend on the instruction set that `ONESTEP_ISA` asks for, if it does: not the reference, which has
/// none and is held to the same arrays where nothing is asked for.
pub fn executors_of_this_level() -> Vec<onestep::ExecutorKind> {
    let asked = std::env::var("ONESTEP_ISA").is_ok_and(|isa| !isa.is_empty());
    let all = executors().into_iter();
    all.filter(|executor| !asked || *executor == onestep::ExecutorKind::Fast).collect()
}

/// A golden case of the repository.
pub fn golden(case: &str) -> PathBuf {
    repository().join("tests/golden/diffusers").join(case)
}

pub fn floats(bytes: &[u8]) -> Vec<f32> {
    bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect()
}
