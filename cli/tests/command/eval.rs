//! `onestep eval`: scores, reports, and that the same numbers come out whoever made which part, and whatever was killed.

use crate::common::{repository, teacher};
use crate::place::Place;
use serde_json::Value;
use std::path::Path;
use std::time::{Duration, Instant};

/// Scores of pixels: against other samples of the same model.
const PIXEL: [&str; 6] = ["eval", "--metrics", "pixel", "--reference", "real.npy", "--json"];

fn student() -> String {
    repository().join("models/digits-student.safetensors").display().to_string()
}

/// A place with an array of samples to compare with.
fn with_reference() -> Place {
    let place = Place::new();
    place.succeed(&[
        "sample",
        &student(),
        "--seed",
        "90000",
        "--count",
        "400",
        "--out",
        "real.npy",
        "--quiet",
    ]);
    place
}

fn scores(folder: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(folder.join("scores.json")).unwrap()).unwrap()
}

#[test]
fn a_report_has_scores_pictures_and_what_they_mean() {
    let place = with_reference();
    let (student, teacher) = (student(), teacher());
    let more = ["--model", &student, "--teacher", teacher.to_str().unwrap()];
    let output = place.succeed(&[&PIXEL[..], &more, &["--count", "300", "--out", "eval"]].concat());
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    let out = place.path("eval");
    assert_eq!(printed, scores(&out));
    assert_eq!((&printed["images"], &printed["reference_images"]), (&300.into(), &400.into()));
    let (distance, precision) =
        (printed["pixel_frechet"].as_f64().unwrap(), printed["precision"].as_f64().unwrap());
    assert!(distance > 1.0 && distance < 30.0 && precision > 0.7, "{printed}");
    assert!(printed.get("fid").is_none());

    let report = std::fs::read_to_string(out.join("report.md")).unwrap();
    for said in [
        "300 images, pixels averaged to 8 x 8 (no network)",
        "real.npy (400 images)",
        "cannot be compared with FID",
    ] {
        assert!(report.contains(said), "{said}: {report}");
    }
    assert!(!report.contains("published systems"));
    for name in ["samples", "teacher", "neighbours", "interpolation"] {
        assert!(report.contains(&format!("]({name}.png)")), "{name}: {report}");
        let file = std::io::BufReader::new(std::fs::File::open(out.join(format!("{name}.png"))).unwrap());
        let reader = png::Decoder::new(file).read_info().unwrap();
        assert!(reader.info().width > 100 && reader.info().height > 100, "{name}");
    }

    // Its own statistics serve as a reference: of one set and itself the distance is zero.
    let itself = ["eval", "--metrics", "pixel", "--images", "real.npy", "--out"];
    place.succeed(&[&itself[..], &["alone", "-q"]].concat());
    assert!(scores(&place.path("alone")).get("pixel_frechet").is_none());
    place.succeed(&[&itself[..], &["itself", "--reference", "alone/stats.npz", "-q"]].concat());
    let found = scores(&place.path("itself"));
    assert!(found["pixel_frechet"].as_f64().unwrap() < 1e-6, "{found}");
    assert!(found.get("precision").is_none());
    // So do features that were found before.
    place.succeed(&[&itself[..], &["again", "--reference", "alone/features", "-q"]].concat());
    assert_eq!(scores(&place.path("again"))["precision"], 1.0);
}

#[test]
fn parts_of_several_processes_and_what_a_kill_left_come_to_the_same_numbers() {
    let place = with_reference();
    let student = student();
    let whole = [&PIXEL[..], &["--model", &student, "--count", "1400", "--out"]].concat();
    place.succeed(&[&whole[..], &["whole"]].concat());
    let expected = std::fs::read(place.path("whole/scores.json")).unwrap();

    for part in ["0/3", "2/3", "1/3"] {
        place.succeed(&[&whole[..], &["parts", "--shard", part, "--quiet", "--batch", "5"]].concat());
    }
    assert!(!place.path("parts/scores.json").exists());
    place.succeed(&[&whole[..], &["parts"]].concat());
    assert_eq!(std::fs::read(place.path("parts/scores.json")).unwrap(), expected);

    // Killed as soon as its first part is there, and then whenever.
    let mut child = place.command(&[&whole[..], &["killed", "--threads", "1"]].concat()).spawn().unwrap();
    let (start, first) = (Instant::now(), place.path("killed/features/features-00000.safetensors"));
    while !first.exists() && start.elapsed() < Duration::from_secs(60) {
        std::thread::sleep(Duration::from_millis(1));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(first.exists());
    for milliseconds in [30, 60, 90] {
        let mut child = place.command(&[&whole[..], &["killed"]].concat()).spawn().unwrap();
        std::thread::sleep(Duration::from_millis(milliseconds));
        child.kill().unwrap();
        child.wait().unwrap();
    }
    place.succeed(&[&whole[..], &["killed"]].concat());
    assert_eq!(std::fs::read(place.path("killed/scores.json")).unwrap(), expected);
    // Nothing that was half written is left.
    let left = std::fs::read_dir(place.path("killed/features")).unwrap();
    assert_eq!(
        left.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with('.')).count(),
        0
    );

    let error =
        place.fail(&[&PIXEL[..], &["--model", &student, "--count", "1300", "--out", "whole"]].concat());
    assert!(error.contains("describes other features (count differ)"), "{error}");
    // Another model or seed is another set.
    let error = place.fail(&[&whole[..], &["whole", "--seed", "1"]].concat());
    assert!(error.contains("describes other features (images differ)"), "{error}");
}

#[test]
fn what_is_missing_is_said() {
    let place = with_reference();
    let error = place.fail(&["eval", "--images", "real.npy", "--out", "out"]);
    for said in [
        "pt_inception-2015-12-05-6726825d.pth",
        "https://github.com/mseitzer/pytorch-fid/releases",
        "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2",
        "--metrics pixel",
    ] {
        assert!(error.contains(said), "{said}: {error}");
    }
    assert!(!place.path("out").exists());
    let error = place.fail(&["eval", "--metrics", "pixel,fid", "--inception", "x", "--out", "out"]);
    assert!(error.contains("pixel goes alone; fid"), "{error}");
    let inception = ["eval", "--images", "real.npy", "--inception", "real.npy", "--out", "out", "--metrics"];
    let error = place.fail(&[&inception[..], &["is,kid"]].concat());
    assert!(error.contains("--reference: kid compares with images, or a folder of features"), "{error}");
    let error = place.fail(&[&inception[..], &["kid", "--reference", "images", "--count", "50"]].concat());
    assert!(error.contains("--count: 50 given; kid draws subsets of 1000"), "{error}");
    let error = place.fail(&["eval", "--images", "real.npy", "--inception", "real.npy", "--out", "out"]);
    assert!(error.contains("real.npy") && error.contains("neither of PyTorch's formats"), "{error}");
    let error = place.fail(&[&PIXEL[..], &["--images", "none", "--out", "out"]].concat());
    assert!(error.contains("none"), "{error}");
    let error = place.fail(&[&PIXEL[..], &["--shard", "3/3", "--out", "out"]].concat());
    assert!(error.contains("I/N"), "{error}");
    // Images of other channels are made to fit; fewer than were asked for are said.
    let output = place.succeed(&[
        "eval",
        "--metrics",
        "pixel",
        "--images",
        "images",
        "--reference",
        "real.npy",
        "--count",
        "50",
        "--out",
        "few",
    ]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(
        told.contains("50 images were asked for; there are 16") && told.contains("16 images are fewer"),
        "{told}"
    );
}

#[test]
fn images_that_are_no_numbers_are_said() {
    let place = with_reference();
    let mut bytes = std::fs::read(place.path("real.npy")).unwrap();
    let at = bytes.len() - 4 * 16 * 16 * 3;
    bytes[at..at + 4].copy_from_slice(&f32::INFINITY.to_le_bytes());
    std::fs::write(place.path("broken.npy"), bytes).unwrap();
    place.succeed(&[&PIXEL[..], &["--images", "broken.npy", "--out", "out"]].concat());
    let notes = scores(&place.path("out"))["notes"].to_string();
    assert!(
        notes.contains("1 of 400 images hold values that are no finite numbers, image 397 the first"),
        "{notes}"
    );
    let report = std::fs::read_to_string(place.path("out/report.md")).unwrap();
    assert!(report.contains("**Note:** 1 of 400 images"), "{report}");
}
