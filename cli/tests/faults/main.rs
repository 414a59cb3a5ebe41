//! Files and disks that fail, and processes that are killed, at every single call on files: `faults.c` stands in front of the C
//! library and makes one call fail. A command then ends in an error and leaves nothing half-written, and the same command
//! afterwards comes to the result of one that was left in peace. Minutes: `cargo test --test faults -- --ignored`.
#![cfg(all(target_os = "linux", feature = "train"))]

#[path = "../../../tests/common/mod.rs"]
mod common;
#[path = "../command/place.rs"]
mod place;

use common::repository;
use place::{DISTILL, PAIRS, Place, TEACHER};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;

const KILLED: i32 = 9;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// `faults.c`, compiled.
static LIBRARY: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
    let library = folder.join("faults.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/faults/faults.c");
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".into());
    let mut command = Command::new(compiler);
    command.args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"]).arg(&library);
    assert!(command.args([source, "-ldl"]).status().unwrap().success(), "{source} does not compile");
    library
});

/// A command, what it needs, and what it makes.
struct Case {
    name: &'static str,
    needs: fn(&Place),
    arguments: Vec<&'static str>,
    /// Compared to the byte with those of an undisturbed run.
    results: &'static [&'static str],
    /// Whether the results appear whole or not at all; those of a run that goes on are replaced again and again.
    atomic: bool,
}

fn cases() -> Vec<Case> {
    let case = |name, needs, arguments: &[&[&'static str]], results, atomic| Case {
        name,
        needs,
        arguments: arguments.concat(),
        results,
        atomic,
    };
    let teacher = |place: &Place| drop(place.teacher());
    let paired = |place: &Place| {
        place.teacher();
        place.succeed(&[&PAIRS[..], &["pairs"]].concat());
    };
    let checkpoint = |place: &Place| {
        let from = repository().join("tests/golden/diffusers/guided");
        copy(&from, &place.path("checkpoint"));
    };
    let pictures = |place: &Place| {
        place.succeed(&["sample", "--count", "40", "--out", "real.npy", "--quiet"]);
    };
    // It says which pictures it leaves out.
    let spoken: Vec<_> = TEACHER.into_iter().filter(|argument| *argument != "--quiet").collect();
    vec![
        case(
            "import",
            checkpoint,
            &[&["import", "checkpoint", "out.safetensors"]],
            &["out.safetensors"],
            true,
        ),
        case(
            "pack",
            checkpoint,
            &[&["pack", "checkpoint", "out.safetensors", "--isa", "portable", "--role", "teacher"]],
            &["out.safetensors"],
            true,
        ),
        case(
            "sample of a packed file",
            |place| {
                let teacher = repository().join("models/digits-teacher.safetensors");
                place.succeed(&["pack", teacher.to_str().unwrap(), "packed.safetensors", "--quiet"]);
            },
            &[&[
                "sample",
                "packed.safetensors",
                "--steps",
                "1",
                "--count",
                "2",
                "--quiet",
                "--out",
                "out.png",
            ]],
            &["out.png"],
            true,
        ),
        case(
            "sample",
            |_| (),
            &[&["sample", "--count", "9", "--quiet", "--out", "out.png"]],
            &["out.png"],
            true,
        ),
        case(
            "sample --out ARRAY",
            |_| (),
            &[&["sample", "--count", "9", "--batch", "2", "--quiet", "--out", "out.npy"]],
            &["out.npy"],
            true,
        ),
        case(
            "pairs",
            teacher,
            &[&PAIRS, &["out"]],
            &["out/manifest.json", "out/pairs-00000.safetensors", "out/pairs-00003.safetensors"],
            true,
        ),
        case(
            "train",
            |_| (),
            &[&spoken, &["--steps", "6", "--checkpoint-every", "2", "--sample-every", "3", "--out", "out"]],
            &["out/model.safetensors", "out/samples/step_000006.png"],
            false,
        ),
        case(
            "distill",
            paired,
            &[&DISTILL, &["--pairs", "pairs", "--steps", "6", "--checkpoint-every", "2", "--out", "out"]],
            &["out/model.safetensors"],
            false,
        ),
        case(
            "eval",
            pictures,
            &[&[
                "eval",
                "--metrics",
                "pixel",
                "--count",
                "40",
                "--reference",
                "real.npy",
                "--quiet",
                "--out",
                "out",
            ]],
            &["out/scores.json"],
            false,
        ),
    ]
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(std::fs::copy(entry.path(), to).unwrap()),
        }
    }
}

/// A case at its place, with what an undisturbed run makes and how many calls of each kind it takes.
struct Bench {
    case: Case,
    place: Place,
    whole: Vec<Vec<u8>>,
    counts: Vec<(String, usize)>,
}

impl Bench {
    fn new(case: Case) -> Self {
        let place = Place::new();
        (case.needs)(&place);
        let counts = place.path("counts");
        let output = place
            .command(&case.arguments)
            .env("LD_PRELOAD", &*LIBRARY)
            .env("FAULT_COUNTS", &counts)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}: {}", case.name, text(&output));
        let whole = case.results.iter().map(|name| std::fs::read(place.path(name)).unwrap()).collect();
        let counts = std::fs::read_to_string(counts).unwrap();
        let counts = counts.lines().map(|line| {
            let (kind, count) = line.split_once(' ').unwrap();
            (kind.to_owned(), count.parse().unwrap())
        });
        let bench = Self { case, place, whole, counts: counts.collect() };
        bench.clear();
        bench
    }

    fn count(&self, kind: &str) -> usize {
        self.counts.iter().find(|(name, _)| name == kind).map_or(0, |(_, count)| *count)
    }

    /// Removes what the command made.
    fn clear(&self) {
        remove(&self.place.path(self.case.results[0].split('/').next().unwrap()));
    }

    fn run(&self, fault: &str) -> Output {
        let mut command = self.place.command(&self.case.arguments);
        command.env("LD_PRELOAD", &*LIBRARY).env("FAULT", fault).output().unwrap()
    }

    /// One fault, and the same command after it.
    fn meet(&self, fault: &str, killed: bool) {
        let what = format!("{} with {fault}", self.case.name);
        let output = self.run(fault);
        match (killed, output.status.signal(), output.status.code()) {
            // A picture that ends early is left out, as one that is damaged.
            (false, _, Some(0)) if fault.ends_with("end") && text(&output).contains("left out: ") => {
                return self.clear();
            }
            // What is done at the very end, after all results are there, may be the last call.
            (true, Some(KILLED), _) | (_, _, Some(0)) => {}
            (false, _, Some(1)) => assert!(text(&output).contains("error: "), "{what}: {}", text(&output)),
            _ => panic!("{what}: {}: {}", output.status, text(&output)),
        }
        if output.status.success() {
            self.check(&what, true);
        } else if self.case.atomic {
            self.check(&what, false);
        }
        if !killed {
            let left = unfinished(&self.place.path(""));
            assert!(left.is_empty(), "{what}: {left:?}");
        }
        let again = self.place.run(&self.case.arguments);
        let refused = self.case.atomic && text(&again).contains("exists");
        assert!(again.status.success() || refused, "{what}, once more: {}", text(&again));
        self.check(&format!("{what}, once more"), true);
        self.clear();
        unfinished(&self.place.path("")).iter().for_each(|path| remove(path));
    }

    /// Results are those of an undisturbed run, or, if they need not be there, nothing.
    fn check(&self, what: &str, there: bool) {
        for (name, whole) in self.case.results.iter().zip(&self.whole) {
            match std::fs::read(self.place.path(name)) {
                Ok(found) => assert!(found == *whole, "{what}: {name} is another"),
                Err(error) => assert!(!there, "{what}: {name}: {error}"),
            }
        }
    }
}

/// A file or a folder, if it is there.
fn remove(path: &Path) {
    let _ = if path.is_dir() { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) };
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Temporary files and folders below a folder.
fn unfinished(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        if entry.file_name().to_string_lossy().ends_with(".partial") {
            found.push(entry.path());
        } else if entry.file_type().unwrap().is_dir() {
            found.extend(unfinished(&entry.path()));
        }
    }
    found
}

/// Meets faults in every case: those of `actions`, at every so manieth call of each of `kinds` (at each with
/// `ONESTEP_FAULTS=all`), the first and the last among them.
fn meet_all(what: &str, kinds: &[&str], step: usize, actions: &[String]) {
    let step = if std::env::var("ONESTEP_FAULTS").is_ok_and(|which| which == "all") { 1 } else { step };
    for case in cases() {
        let bench = Bench::new(case);
        let mut met = 0;
        for kind in kinds {
            let count = bench.count(kind);
            for at in (1..=count).filter(|at| at % step == 1 % step || *at == count) {
                for action in actions {
                    let killed = ["kill", "torn"].contains(&action.as_str());
                    bench.meet(&format!("{kind}:{at}:{action}"), killed);
                    met += 1;
                }
            }
        }
        println!("{}: {met} {what}", bench.case.name);
    }
}

#[test]
#[ignore = "minutes"]
fn a_disk_that_is_full_or_fails_loses_nothing() {
    let kinds = ["write", "open", "sync", "rename", "make", "size"];
    meet_all("faults of writing", &kinds, 8, &[format!("{ENOSPC}+"), EIO.to_string()]);
    meet_all("short writes", &["write"], 8, &["short".into()]);
}

#[test]
#[ignore = "minutes"]
fn what_cannot_be_read_is_an_error() {
    meet_all("faults of reading", &["read"], 8, &[EIO.to_string(), "short".into(), "end".into()]);
}

#[test]
#[ignore = "minutes"]
fn a_process_killed_at_any_call_loses_nothing() {
    meet_all("kill points", &["change"], 4, &["kill".into(), "torn".into()]);
}
