//! Devices, as the command shows and uses them: GPUs of a driver on paper.
#![cfg(all(target_os = "linux", target_arch = "x86_64"))]

use crate::common::driver::compiled;
use std::path::Path;
use std::process::{Command, Output};

fn onestep(driver: &Path, devices: usize, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_onestep"))
        .args(args)
        .env("ONESTEP_CUDA_LIBRARY_PATH", driver)
        .env("FAKE_CUDA_DEVICES", devices.to_string())
        .output()
        .unwrap()
}

#[test]
fn the_command_lists_devices_and_spreads_a_job_over_them() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(compiled("driver.cpp"), folder.path().join("libcuda.so.1")).unwrap();
    let driver = folder.path();
    let listed = onestep(driver, 3, &["devices", "--json"]).stdout;
    let listed: serde_json::Value = serde_json::from_slice(&listed).unwrap();
    let ids: Vec<&str> =
        listed["devices"].as_array().unwrap().iter().map(|device| device["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["cpu", "cuda:0", "cuda:1", "cuda:2"]);
    assert_eq!(listed["devices"][2]["name"], "Paper GPU 1");
    assert_eq!(listed["devices"][2]["memory_total"], 8_u64 << 30);

    // Seven images in batches of two over three devices: the last device has one batch, the last batch one image.
    let args = [
        "sample", "--count", "7", "--batch", "2", "--seed", "5", "--out", "-", "--format", "f32", "--device",
    ];
    let draw = |devices, id| {
        let output = onestep(driver, devices, &[&args[..], &[id]].concat());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        output.stdout
    };
    let [one, others @ ..] = std::thread::scope(|scope| {
        [(1, "cuda:0"), (3, "cuda:all"), (1, "cuda:all"), (2, "cuda:1")]
            .map(|(devices, id)| scope.spawn(move || draw(devices, id)))
            .map(|thread| thread.join().unwrap())
    });
    assert_eq!(one.len(), 7 * 4 * 16 * 16 * 4);
    assert!(others.iter().all(|other| *other == one));

    let none = onestep(driver, 0, &[&args[..], &["cuda:all"]].concat());
    assert_eq!(none.status.code(), Some(1));
    let message = String::from_utf8_lossy(&none.stderr);
    assert!(message.contains("device cuda:0: there are 0 CUDA devices"), "{message}");
}
