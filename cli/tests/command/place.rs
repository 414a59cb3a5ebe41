//! What tests of training share: pictures, and arguments for short runs of a small network.
#![allow(dead_code)]

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

/// A folder of pictures, and the command in it.
pub struct Place(tempfile::TempDir);

impl Place {
    /// A folder with two classes of pictures: bars across, and bars down.
    pub fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        for (class, across) in [("across", true), ("down", false)] {
            let folder = place.path("images").join(class);
            std::fs::create_dir_all(&folder).unwrap();
            for i in 0..8u32 {
                let at = |place: u32| if across { place / 8 } else { place % 8 };
                let pixels: Vec<u8> =
                    (0..64).map(|place| if at(place) == i { 255 } else { 8 * i as u8 }).collect();
                let file = std::fs::File::create(folder.join(format!("{i}.png"))).unwrap();
                let mut encoder = png::Encoder::new(file, 8, 8);
                encoder.set_color(png::ColorType::Grayscale);
                encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
            }
        }
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onestep"));
        command.current_dir(self.0.path()).args(arguments).stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    pub fn succeed(&self, arguments: &[&str]) -> Output {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
        output
    }

    pub fn fail(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(!output.status.success(), "{arguments:?} went well");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn teacher(&self) -> PathBuf {
        self.succeed(&[&TEACHER[..], &["--out", "teacher", "--steps", "6"]].concat());
        self.path("teacher/model.safetensors")
    }
}

/// Values of an image.
pub const LEN: usize = 64;

pub const TEACHER: [&str; 25] = [
    "train",
    "teacher",
    "--images",
    "images",
    "--classes",
    "--size",
    "8",
    "--channels",
    "1",
    "--widths",
    "8,16",
    "--attention",
    "4",
    "--groups",
    "4",
    "--batch",
    "4",
    "--accumulate",
    "2",
    "--flip",
    "--dropout",
    "0.2",
    "--quiet",
    "--log-every",
    "1",
];
pub const PAIRS: [&str; 11] = [
    "pairs",
    "--teacher",
    "teacher/model.safetensors",
    "--count",
    "50",
    "--steps",
    "3",
    "--shard-len",
    "16",
    "--quiet",
    "--out",
];
pub const DISTILL: [&str; 12] = [
    "distill",
    "--teacher",
    "teacher/model.safetensors",
    "--batch",
    "8",
    "--test-every",
    "4",
    "--quiet",
    "--log-every",
    "3",
    "--sample-every",
    "0",
];
