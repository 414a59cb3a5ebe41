//! `include/onestep.h` is what the pinned cbindgen makes of `src/ffi`, and compilers take it.

use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

#[test]
fn the_header_is_up_to_date() {
    let config = cbindgen::Config::from_file(root().join("cbindgen.toml")).unwrap();
    let mut builder = cbindgen::Builder::new().with_config(config);
    let mut sources: Vec<PathBuf> =
        std::fs::read_dir(root().join("src/ffi")).unwrap().map(|entry| entry.unwrap().path()).collect();
    sources.sort();
    for source in sources {
        builder = builder.with_src(source);
    }
    let mut text = Vec::new();
    builder.generate().unwrap().write(&mut text);
    let text = String::from_utf8(text).unwrap();
    let path = root().join("include/onestep.h");
    if std::env::var_os("ONESTEP_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let committed = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(committed == text, "include/onestep.h is stale: ONESTEP_BLESS=1 cargo test --test header");
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

/// What a program compiled against another version of the header relies on.
#[test]
fn flat_structs_keep_their_layout() {
    use onestep::ffi::*;
    use std::mem::{offset_of, size_of};
    assert_eq!(size_of::<onestep_error>(), 512);
    assert_eq!(offset_of!(onestep_error, message), 8);
    assert_eq!(size_of::<onestep_layout>(), 40);
    assert_eq!(offset_of!(onestep_layout, row_stride), 16);
    assert_eq!(offset_of!(onestep_layout, image_stride), 32);
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
