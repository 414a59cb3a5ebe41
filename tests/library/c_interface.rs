//! The C interface as a C programmer meets it: programs in `tests/c`, `tests/cpp` and `examples` are compiled by the
//! system's compiler with every warning an error, linked with the shared or the static library, and run.
//!
//! `ONESTEP_C_FLAGS` adds compiler flags (sanitizers), `ONESTEP_C_RUNNER` a program in front (valgrind),
//! `ONESTEP_C_LIBRARIES` names a folder with other libraries: `.ci/run` uses all three.

#![cfg(target_os = "linux")]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The folder of both libraries: that of `ONESTEP_C_LIBRARIES`, or the example `onestep`, which `cargo test` has built of the
/// tests' own crate.
fn libraries() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        if let Some(folder) = std::env::var_os("ONESTEP_C_LIBRARIES") {
            return folder.into();
        }
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        // Both packages, so that the features are those of `cargo test`.
        let status = Command::new(env!("CARGO"))
            .current_dir(root())
            .args([
                "build",
                "--quiet",
                "--package",
                "onestep",
                "--package",
                "onestep-cli",
                "--example",
                "onestep",
            ])
            .arg("--target-dir")
            .arg(target)
            .status()
            .expect("cargo");
        assert!(status.success(), "the libraries did not build");
        target.join("debug/examples")
    })
}

enum Link {
    Shared,
    Static,
    /// Not at all: the program loads the library itself.
    Loaded,
}

/// Compiles one program, C99 or C++17, and runs it with `arguments`; gives what it printed, errors included.
fn run(source: &str, link: Link, arguments: &[&Path]) -> Vec<u8> {
    run_as(if source.ends_with(".cpp") { "-std=c++17" } else { "-std=c99" }, source, link, arguments)
}

fn run_as(mode: &str, source: &str, link: Link, arguments: &[&Path]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("program");
    let source = root().join(source);
    let cpp = source.extension().is_some_and(|extension| extension == "cpp");
    let mut compiler = Command::new(if cpp { "c++" } else { "cc" });
    compiler.args(mode.split_whitespace());
    compiler.args(["-Wall", "-Wextra", "-Wpedantic", "-Werror"]);
    compiler.args(std::env::var("ONESTEP_C_FLAGS").unwrap_or_default().split_whitespace());
    compiler.arg("-I").arg(root().join("include")).arg(&source).arg("-o").arg(&program);
    match link {
        Link::Shared => compiler.arg("-L").arg(libraries()).arg("-lonestep"),
        Link::Static => compiler.arg(libraries().join("libonestep.a")).args(["-ldl", "-lm"]),
        Link::Loaded => compiler.arg("-ldl"),
    };
    compiler.args(["-pthread", "-lm"]);
    assert!(compiler.status().expect("a C compiler").success(), "{} did not compile", source.display());

    let runner = std::env::var("ONESTEP_C_RUNNER").unwrap_or_default();
    let mut words = runner.split_whitespace();
    let mut command = match words.next() {
        Some(first) => {
            let mut command = Command::new(first);
            command.args(words).arg(&program);
            command
        }
        None => Command::new(&program),
    };
    let output = command
        .args(arguments)
        .env("LD_LIBRARY_PATH", libraries())
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}: {}\n{}",
        source.display(),
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    [output.stdout, output.stderr].concat()
}

fn test_program(name: &str, link: Link) {
    let printed = run(&format!("tests/c/{name}.c"), link, &[root()]);
    assert!(printed.is_empty(), "nothing is printed unless asked for");
}

/// The README asks for a C compiler alone.
fn cpp_compiler() -> bool {
    Command::new("c++").arg("--version").output().is_ok()
}

#[test]
fn opening() {
    test_program("open", Link::Shared);
}

#[test]
fn packed_files() {
    let folder = tempfile::tempdir().unwrap();
    let printed = run("tests/c/packed.c", Link::Shared, &[root(), folder.path()]);
    assert!(printed.is_empty());
    let left: Vec<_> =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["packed.safetensors"]);
}

#[test]
fn sampling() {
    test_program("sample", Link::Shared);
}

#[test]
fn layouts() {
    test_program("layouts", Link::Shared);
}

#[test]
fn programs_of_an_older_header() {
    test_program("older_header", Link::Shared);
}

#[test]
fn threads() {
    test_program("threads", Link::Shared);
}

#[test]
fn environment() {
    test_program("environment", Link::Shared);
}

#[test]
fn misuse() {
    test_program("misuse", Link::Shared);
}

#[test]
fn unloading() {
    let library = libraries().join("libonestep.so");
    let rounds = if under_a_runner() { "4" } else { "1000" };
    let printed = run("tests/c/unload.c", Link::Loaded, &[&library, Path::new(rounds)]);
    assert!(printed.is_empty());
}

/// It looks at its memory, of which a runner keeps some; and its many threads share one processor there.
#[test]
fn lives() {
    if !under_a_runner() {
        test_program("lives", Link::Shared);
    }
}

/// Whether programs run under valgrind or the like, which takes its time.
fn under_a_runner() -> bool {
    std::env::var_os("ONESTEP_C_RUNNER").is_some()
}

#[test]
fn the_static_library() {
    for name in ["open", "misuse"] {
        test_program(name, Link::Static);
    }
}

/// The hashes that every binding must give.
#[test]
fn the_golden_hashes() {
    run("tests/c/golden.c", Link::Shared, &[root()]);
    if cpp_compiler() {
        run("tests/cpp/golden.cpp", Link::Shared, &[root()]);
    }
}

/// `onestep.hpp` in every mode: `result` is the standard's `std::expected` in C++23, its own before.
#[test]
fn the_cpp_wrapper() {
    if !cpp_compiler() {
        return println!("no C++ compiler");
    }
    let lean = "-fno-exceptions -fno-rtti";
    let (lean17, lean23) = (format!("-std=c++17 {lean}"), format!("-std=c++23 {lean}"));
    let mut modes = vec!["-std=c++17", &lean17, "-std=c++20", "-std=c++23", &lean23];
    // What a runner looks for does not depend on the mode, and takes minutes each.
    modes.truncate(if under_a_runner() { 1 } else { modes.len() });
    for mode in modes {
        let printed = run_as(mode, "tests/cpp/wrapper.cpp", Link::Shared, &[root()]);
        assert!(printed.is_empty(), "{mode}");
    }
}

#[test]
fn files_of_several_cpp_standards_are_one_program() {
    if !cpp_compiler() {
        return println!("no C++ compiler");
    }
    let folder = tempfile::tempdir().unwrap();
    let compile = |arguments: &[&str]| {
        let mut compiler = Command::new("c++");
        compiler.current_dir(folder.path()).args(arguments).arg("-I").arg(root().join("include"));
        assert!(compiler.status().unwrap().success(), "{arguments:?}");
    };
    let source = root().join("tests/cpp/mixed.cpp");
    for standard in ["17", "23"] {
        compile(&[
            &format!("-std=c++{standard}"),
            "-c",
            source.to_str().unwrap(),
            "-o",
            &format!("{standard}.o"),
        ]);
    }
    let libraries = libraries().to_str().unwrap();
    compile(&["17.o", "23.o", "-L", libraries, "-lonestep", "-o", "program"]);
    let output = Command::new(folder.path().join("program"))
        .env("LD_LIBRARY_PATH", libraries)
        .env("CUDA_VISIBLE_DEVICES", "")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn examples_draw_the_same_picture() {
    let folder = tempfile::tempdir().unwrap();
    let pictures: Vec<Vec<u8>> = [("examples/c/sample.c", "c.tga"), ("examples/cpp/sample.cpp", "cpp.tga")]
        .into_iter()
        .filter(|(source, _)| source.ends_with(".c") || cpp_compiler())
        .map(|(source, name)| {
            let picture = folder.path().join(name);
            run(source, Link::Shared, &[&picture]);
            std::fs::read(picture).unwrap()
        })
        .collect();
    assert!(pictures[0].starts_with(&[0, 0, 2]) && pictures[0].len() == 18 + 8 * 16 * 16 * 4);
    assert!(pictures.iter().all(|picture| *picture == pictures[0]));
}

/// Nothing but `onestep_*` leaves the shared library, and just what the committed list names.
#[test]
fn only_the_listed_symbols_are_exported() {
    let library = libraries().join("libonestep.so");
    let output = Command::new("nm").args(["-D", "--defined-only", "--format=posix"]).arg(library).output();
    let Ok(output) = output else { return println!("no nm") };
    let text = String::from_utf8(output.stdout).unwrap();
    let mut symbols: Vec<&str> = text.lines().filter_map(|line| line.split(' ').next()).collect();
    symbols.sort_unstable();
    let found = symbols.join("\n") + "\n";
    let path = root().join("tests/c/symbols.txt");
    if std::env::var_os("ONESTEP_BLESS").is_some() {
        std::fs::write(&path, &found).unwrap();
    }
    assert_eq!(found, std::fs::read_to_string(&path).unwrap_or_default());
    assert!(symbols.iter().all(|symbol| symbol.starts_with("onestep_")));
}
