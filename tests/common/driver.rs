//! Compiles the driver on paper (`tests/cuda`) and its like into libraries, which are kept beside other build outputs:
//! compiling takes longer than most tests.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

const FLAGS: [&str; 13] = [
    "-std=c++17",
    "-O2",
    // It runs where it was compiled: halves are instructions there.
    "-march=native",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wno-unknown-pragmas",
    "-ffp-contract=off",
    "-fPIC",
    "-shared",
    "-pthread",
    "-fno-gnu-unique",
    "-fvisibility-inlines-hidden",
];

/// The library made of `tests/cuda/<file>`, and of what it includes, as they are now.
pub fn compiled(file: &str) -> PathBuf {
    let root = super::repository();
    let sources = root.join("tests/cuda");
    let mut hasher = DefaultHasher::new();
    FLAGS.hash(&mut hasher);
    for folder in [&sources, &root.join("src/exec/cuda/kernels")] {
        let mut files: Vec<PathBuf> =
            std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        files.sort();
        // PTX is for GPUs alone.
        for path in files.iter().filter(|path| path.extension().is_none_or(|extension| extension != "ptx")) {
            (path, std::fs::read(path).unwrap()).hash(&mut hasher);
        }
    }
    let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{file}-{:016x}.so", hasher.finish()));
    if kept.exists() {
        return kept;
    }
    // Another program may be compiling it, too: whoever ends last renames the same library over itself.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let library = folder.path().join("library.so");
    let output = Command::new("c++")
        .args(FLAGS)
        .arg("-include")
        .arg(sources.join("emulator.hpp"))
        .arg(sources.join(file))
        .arg("-o")
        .arg(&library)
        .output()
        .expect("c++");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    std::fs::rename(library, &kept).unwrap();
    kept
}
