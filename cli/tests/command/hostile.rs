//! Files that would take a machine's memory end in an error where there is little of it, and not in an abort.

use crate::common::repository;
use std::path::Path;
use std::process::Command;

/// Kilobytes of address space, of which the command itself takes some hundred thousand, and the reader of HDF5 as many for a
/// stack that nothing touches.
const SPACE: u32 = 700_000;

fn refused(file: &Path) -> String {
    let output = Command::new("sh")
        .args(["-c", &format!("ulimit -v {SPACE}; exec \"$@\""), "sh", env!("CARGO_BIN_EXE_onestep"), "info"])
        .arg(file)
        .output()
        .unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{}: {message}", file.display());
    assert!(message.starts_with("error: ") && message.len() < 1200, "{message}");
    message
}

#[test]
fn files_that_ask_for_memory_get_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        refused(&path)
    };
    // The start of PyTorch's older format, and 16 million tuples of one.
    let mut pickle =
        b"\x80\x02\x8a\x0al\xfc\x9cF\xf9 j\xa8P\x19.\x80\x02M\xe9\x03.\x80\x02}.\x80\x02N".to_vec();
    pickle.resize(16 << 20, b'\x85');
    assert!(file("tuples.pth", &pickle).contains("more than 400000 values"));
    let shape = vec!["0"; 8 << 20].join(",");
    let json = format!(r#"{{"a":{{"dtype":"F32","shape":[{shape}],"data_offsets":[0,0]}}}}"#);
    let json = &json.as_bytes()[..json.len().min((16 << 20) - 8)];
    let header = [&(json.len() as u64).to_le_bytes(), json].concat();
    assert!(file("shape.safetensors", &header).contains("more than 8 dimensions"));
    let text = format!(r#"{{"sample_size": "{}"}}"#, "x".repeat(5 << 20));
    std::fs::write(folder.path().join("config.json"), text).unwrap();
    assert!(refused(folder.path()).contains("a configuration has at most 4194304"));
    for entry in std::fs::read_dir(repository().join("tests/golden/hostile")).unwrap() {
        refused(&entry.unwrap().path());
    }
}
