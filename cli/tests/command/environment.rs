//! What a host does to the command: signals that end it, a system that gives no threads. Ctrl-C and ignored signals: `usage`.

use crate::common::teacher;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

const ONESTEP: &str = env!("CARGO_BIN_EXE_onestep");

#[test]
fn signals_that_end_it_leave_nothing_half_written() {
    for name in ["TERM", "HUP"] {
        let folder = tempfile::tempdir().unwrap();
        let child = Command::new(ONESTEP)
            .arg("sample")
            .arg(teacher())
            .args(["--steps", "10", "--batch", "1", "--quiet", "--count", "100000", "--out", "out.npy"])
            .current_dir(folder.path())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // Once it draws, it has a temporary file beside its output.
        while entries(folder.path()) == 0 {
            std::thread::sleep(Duration::from_millis(1));
        }
        let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
        assert!(sent.unwrap().success());
        let output = child.wait_with_output().unwrap();
        assert!(!output.status.success(), "SIG{name}: {output:?}");
        assert_eq!(entries(folder.path()), 0, "SIG{name}");
    }
}

fn entries(folder: &Path) -> usize {
    std::fs::read_dir(folder).unwrap().count()
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
