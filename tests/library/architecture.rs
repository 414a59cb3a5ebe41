//! Who may import whom: the rooms of `src/` and the arrows between them, read from the `use` lines and paths.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A room, and the rooms it may name. `error`, `fused`, `image` and `names` are everybody's.
const ARROWS: &[(&str, &[&str])] = &[
    ("error", &[]),
    ("fused", &[]),
    ("names", &[]),
    ("npy", &[]),
    ("image", &[]),
    ("log", &[]),
    ("staged", &[]),
    ("signals", &[]),
    ("float_mode", &[]),
    ("threads", &["signals"]),
    ("cpu_features", &[]),
    ("noise", &["cpu_features"]),
    ("exec", &["noise", "cpu_features", "threads"]),
    ("model", &["exec"]),
    ("sampler", &["model", "exec", "noise"]),
    ("weights", &["model", "exec", "options", "staged", "threads", "cpu_features"]),
    ("options", &["model", "cpu_features"]),
    ("device", &["exec", "cpu_features"]),
    ("engine", &["device", "exec", "model", "sampler", "noise", "options", "cpu_features", "log"]),
    (
        "session",
        &[
            "engine",
            "device",
            "options",
            "weights",
            "sampler",
            "noise",
            "model",
            "exec",
            "cpu_features",
            "log",
        ],
    ),
    ("archive", &[]),
    ("pictures", &["archive", "log"]),
    (
        "metrics",
        &[
            "session",
            "options",
            "weights",
            "sampler",
            "pictures",
            "archive",
            "npy",
            "staged",
            "threads",
            "model",
            "exec",
            "cpu_features",
            "log",
        ],
    ),
    (
        "train",
        &["session", "options", "weights", "sampler", "pictures", "npy", "noise", "model", "exec", "log"],
    ),
    ("ffi", &["session", "options", "device", "sampler", "model", "log", "cpu_features", "float_mode"]),
];
const EVERYBODYS: [&str; 4] = ["error", "fused", "image", "names"];

#[test]
fn rooms_import_only_what_lies_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut problems = Vec::new();
    for file in rust_files(&src) {
        let inside = file.strip_prefix(&src).unwrap();
        let room = inside.components().next().unwrap().as_os_str().to_string_lossy().replace(".rs", "");
        // A room's tests may look at what is built on it.
        if room == "lib" || of_tests(inside) {
            continue;
        }
        let Some((_, allowed)) = ARROWS.iter().find(|(name, _)| *name == room) else {
            problems.push(format!("{}: the room {room} is not on the plan in this test", inside.display()));
            continue;
        };
        for target in crate_paths(&std::fs::read_to_string(&file).unwrap()) {
            let known = ARROWS.iter().any(|(name, _)| *name == target);
            if known
                && target != room
                && !allowed.contains(&target.as_str())
                && !EVERYBODYS.contains(&target.as_str())
            {
                problems.push(format!("{}: {room} may not import {target}", inside.display()));
            }
        }
    }
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}

#[test]
fn the_network_knows_no_executor() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for room in ["model", "sampler"] {
        for file in rust_files(&src.join(room)) {
            let text = std::fs::read_to_string(&file).unwrap();
            for executor in ["exec::cpu", "exec::cuda", "exec::reference", "exec::candle", "candle_core"] {
                assert!(!text.contains(executor), "{} names {executor}", file.display());
            }
        }
    }
}

#[test]
fn files_stay_small() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for file in ["src", "cli/src"].into_iter().flat_map(|folder| rust_files(&root.join(folder))) {
        if of_tests(&file) {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let code = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        let lines = code.lines().count();
        assert!(lines <= 420, "{}: {lines} lines without its tests", file.display());
    }
}

/// Whether a file is nothing but tests: `tests.rs`, `plan_tests.rs`.
fn of_tests(file: &Path) -> bool {
    file.file_name().is_some_and(|name| name.to_string_lossy().ends_with("tests.rs"))
}

/// The first segment of every `crate::` path.
fn crate_paths(text: &str) -> BTreeSet<String> {
    let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
    code.flat_map(|line| line.split("crate::").skip(1).map(str::to_owned).collect::<Vec<_>>())
        .map(|rest| rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect())
        .collect()
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = entries
        .flat_map(|path| if path.is_dir() { rust_files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect();
    files.sort();
    files
}
