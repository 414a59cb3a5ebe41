//! `include/onestep.h` is what the pinned cbindgen makes of `src/ffi`, and compilers take it.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn the_header_is_up_to_date() {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    // The other files of the room are read as its modules.
    let builder = cbindgen::Builder::new().with_config(config).with_src(root().join("src/ffi/mod.rs"));
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    let text = String::from_utf8(text).unwrap();
    let path = root().join("include/onestep.h");
    if std::env::var_os("ONESTEP_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "include/onestep.h is stale: ONESTEP_BLESS=1 cargo test --test library header"
    );
}

#[test]
fn every_function_is_declared_once() {
    let header = std::fs::read_to_string(root().join("include/onestep.h")).unwrap();
    let symbols = std::fs::read_to_string(root().join("tests/c/symbols.txt")).unwrap();
    assert!(symbols.lines().count() > 40);
    for symbol in symbols.lines() {
        assert_eq!(header.matches(&format!("{symbol}(")).count(), 1, "{symbol}");
    }
}

/// Alone and twice, in C99 and in C++17 without exceptions or run-time types.
#[test]
fn compilers_take_the_header() {
    let folder = tempfile::tempdir().unwrap();
    let include = format!("-I{}", root().join("include").display());
    let text = "#include <onestep.h>\n#include <onestep.h>\n";
    let strict = ["-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"];
    for (compiler, file, flags) in [
        ("cc", "header.c", &["-std=c99"][..]),
        ("c++", "header.cpp", &["-std=c++17", "-fno-exceptions", "-fno-rtti"]),
    ] {
        let file = folder.path().join(file);
        std::fs::write(&file, text).unwrap();
        let status = Command::new(compiler).args(flags).args(strict).arg(&include).arg(&file).status();
        match status {
            Ok(status) => assert!(status.success(), "{compiler}"),
            // The README asks for a C compiler alone.
            Err(error) if compiler == "c++" => println!("no C++ compiler: {error}"),
            Err(error) => panic!("{compiler}: {error}"),
        }
    }
}

/// A status or a handle that is dropped warns, unless the program asked for silence.
#[test]
fn lost_results_warn() {
    let header = std::fs::read_to_string(root().join("include/onestep.h")).unwrap();
    let symbols = std::fs::read_to_string(root().join("tests/c/symbols.txt")).unwrap();
    let lost =
        ["cancel_trigger", "cancel_reset", "set_log", "abi_version", "version", "build_info", "status_name"];
    for symbol in symbols.lines() {
        let may_be =
            symbol.ends_with("_free") || lost.iter().any(|name| *symbol == format!("onestep_{name}"));
        let before = header.split(&format!("{symbol}(")).next().unwrap();
        let marked = before.rsplit("*/").next().unwrap().contains("ONESTEP_MUST_USE");
        assert_eq!(marked, !may_be, "{symbol}");
    }

    let folder = tempfile::tempdir().unwrap();
    let lines = ["onestep_device_count(0, 0)", "onestep_request_new()"];
    for (line, extension) in lines.iter().flat_map(|line| [(line, "c"), (line, "cpp")]) {
        let file = folder.path().join("lost").with_extension(extension);
        std::fs::write(&file, format!("#include <onestep.h>\nvoid lose(void) {{ {line}; }}\n")).unwrap();
        for (silent, flag) in [(false, "-DONESTEP_OTHER"), (true, "-DONESTEP_MUST_USE=")] {
            let mut compiler = Command::new(if extension == "c" { "cc" } else { "c++" });
            // Not `-fsyntax-only`: GCC finds it out later.
            compiler.args([flag, "-Wall", "-Werror", "-c", "-o"]).arg(folder.path().join("lost.o"));
            compiler.arg("-I").arg(root().join("include")).arg(&file);
            let output = match compiler.output() {
                // The README asks for a C compiler alone.
                Err(error) if extension == "cpp" => return println!("no C++ compiler: {error}"),
                output => output.unwrap(),
            };
            let told = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.success(), silent, "{line} in {extension}: {told}");
            assert!(silent || told.contains("unused-result"), "{told}");
        }
    }
}

/// What a program compiled against another version of the header relies on.
#[test]
fn flat_structs_keep_their_layout() {
    use onestep::ffi::*;
    use std::mem::{offset_of, size_of};
    assert_eq!(size_of::<onestep_error>(), 512);
    assert_eq!(offset_of!(onestep_error, message), 8);
    assert_eq!(size_of::<onestep_layout>(), 56);
    assert_eq!(offset_of!(onestep_layout, row_stride), 16);
    assert_eq!(offset_of!(onestep_layout, image_stride), 32);
    assert_eq!(offset_of!(onestep_layout, columns), 40);
    assert_eq!(offset_of!(onestep_layout, column_stride), 48);
    assert_eq!(size_of::<onestep_device_info>(), 192);
    assert_eq!(offset_of!(onestep_device_info, memory_total), 16);
    assert_eq!(offset_of!(onestep_device_info, name), 64);
    assert_eq!(size_of::<onestep_model_info>(), 120);
    assert_eq!(offset_of!(onestep_model_info, parameters), 32);
    assert_eq!(offset_of!(onestep_model_info, device), 80);
    assert_eq!(offset_of!(onestep_model_info, precision), 112);
    assert_eq!(size_of::<onestep_memory>(), 32);
    assert_eq!(offset_of!(onestep_memory, host_peak), 24);
}
