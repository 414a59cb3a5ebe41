//! What a parent has set for the command: signals that it ignores stay ignored, others end it cleanly; and a system that gives no
//! threads.

use crate::common::repository;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const ONESTEP: &str = env!("CARGO_BIN_EXE_onestep");

/// A command of a second or so, started by a shell after `before`, which draws into `out`.
fn draw(before: &str, out: &Path, count: u32) -> Child {
    let model = repository().join("models/digits-teacher.safetensors");
    Command::new("sh")
        .args(["-c", &format!("{before}; exec \"$@\""), "sh", ONESTEP, "sample"])
        .arg(model)
        .args(["--steps", "10", "--batch", "1", "--quiet", "--count", &count.to_string(), "--out"])
        .arg(out)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(status.unwrap().success());
}

/// Once it draws, it has a temporary file beside its output, or the output.
fn wait_until_it_draws(folder: &Path) {
    while std::fs::read_dir(folder).unwrap().next().is_none() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn signals_that_a_parent_ignores_stay_ignored() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.npy");
    let child = draw("trap '' HUP INT", &out, 40);
    wait_until_it_draws(folder.path());
    signal(&child, "HUP");
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(out.is_file());
}

#[test]
fn other_signals_end_it_with_nothing_half_written() {
    for name in ["INT", "TERM", "HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let child = draw(":", &folder.path().join("out.npy"), 100_000);
        wait_until_it_draws(folder.path());
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success(), "SIG{name}: {output:?}");
        let left: Vec<_> =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(left.is_empty(), "SIG{name}: {left:?}");
    }
}

#[test]
fn without_threads_it_draws_or_says_so() {
    // Root may have as many as it likes, so it becomes another user.
    let id = Command::new("id").arg("-u").output().unwrap().stdout;
    let other: &[&str] =
        if id.trim_ascii() == b"0" { &["setpriv", "--reuid=65534", "--clear-groups"] } else { &[] };
    // Its own copy, since the other user may not look into the folder of this build.
    let folder = tempfile::tempdir_in("/tmp").unwrap();
    let copy = folder.path().join("onestep");
    std::fs::copy(ONESTEP, &copy).unwrap();
    Command::new("chmod").args(["755".as_ref(), folder.path().as_os_str()]).status().unwrap();
    let mut command = Command::new("env");
    command.args(other).args(["prlimit", "--nproc=1:1"]).arg(&copy);
    let output = command
        .args(["sample", "--count", "4", "--threads", "4", "--quiet", "--out", "-"])
        .current_dir("/")
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    match output.status.code() {
        Some(0) => assert!(output.stdout.starts_with(b"\x89PNG") || !output.stdout.is_empty()),
        Some(1) => assert!(message.contains("error: ") && message.contains("thread"), "{message}"),
        _ => panic!("{}: {message}", output.status),
    }
}

#[test]
fn an_image_that_is_no_numbers_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new(ONESTEP)
        .arg("sample")
        .arg(repository().join("tests/golden/odd/nan-output.safetensors"))
        .args(["--count", "2", "--out"])
        .arg(folder.path().join("out.npy"))
        .output()
        .unwrap();
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(message.contains("image 0") && message.contains("no finite numbers"), "{message}");
}
