//! Inception, and the scores, beside pytorch-fid's and torch-fidelity's, as `tests/golden/evaluation.py` ran them; what is said of
//! sets that are small, damaged or half made.

use super::features::{Contents, write_part};
use super::*;
use crate::error::Result;
use crate::pictures::testing::write_png;
use crate::weights::{self, Array, write_arrays};
use safetensors::tensor::Dtype;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// Doubles in [-1, 1), a function of the name and the index: the twin of `values` there.
fn values(name: &str, count: usize) -> Vec<f64> {
    let start = u64::from(crc32fast::hash(name.as_bytes())) << 32;
    let value = |i: u64| {
        let x = (i + start).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((x ^ (x >> 31)) >> 40) as f64 / f64::from(1 << 23) - 1.0
    };
    (1..=count as u64).map(value).collect()
}

fn golden() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/evaluation")
}

/// A weight file of Inception's, with the weights of the formula there.
fn inception(folder: &Path) -> PathBuf {
    let path = folder.join("inception.safetensors");
    let shapes = Inception::shapes();
    let tensors: Vec<(&'static str, Vec<usize>, Vec<f32>)> = shapes
        .into_iter()
        .map(|(name, shape)| {
            let count = shape.iter().product();
            let scale = (6.0 * shape[0] as f64 / count as f64).sqrt();
            let of = |v: f64| match &*name {
                name if name.ends_with("conv.weight") => v * scale,
                name if name.ends_with("running_var") => 1.0 + 0.5 * v,
                name if name.ends_with("bn.weight") => 1.0 + 0.1 * v,
                _ => 0.1 * v,
            };
            let values = values(&name, count).into_iter().map(|v| of(v) as f32).collect();
            (&*name.leak(), shape, values)
        })
        .collect();
    let mut arrays: Vec<Array> = tensors
        .iter()
        .map(|(name, shape, values)| Array {
            name,
            dtype: Dtype::F32,
            shape: shape.clone(),
            bytes: bytemuck::cast_slice(values),
        })
        .collect();
    // As PyTorch's batch norm leaves it there.
    let name = "Conv2d_1a_3x3.bn.num_batches_tracked";
    arrays.insert(0, Array { name, dtype: Dtype::I64, shape: vec![], bytes: &[0; 8] });
    write_arrays(&path, "0 of a test", &arrays).unwrap();
    path
}

fn relative_rms(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let of = |values: &mut dyn Iterator<Item = f64>| values.map(|value| value * value).sum::<f64>();
    let error = of(&mut found.iter().zip(expected).map(|(a, b)| f64::from(a - b)));
    (error / of(&mut expected.iter().map(|&value| f64::from(value)))).sqrt()
}

#[test]
fn inception_sees_what_the_originals_see() {
    let folder = tempfile::tempdir().unwrap();
    let weights = inception(folder.path());
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    let stored = std::fs::read(golden().join("images.safetensors")).unwrap();
    let stored = safetensors::SafeTensors::deserialize(&stored).unwrap();
    let names = ["large", "small", "wide"];
    for name in names {
        let image = stored.tensor(name).unwrap();
        let [height, width, _] = image.shape() else { panic!("{:?}", image.shape()) };
        write_png(images.join(format!("{name}.png")), (*width as u32, *height as u32), |x, y| {
            let at = (y as usize * width + x as usize) * 3;
            [0, 1, 2].map(|channel| image.data()[at + channel])
        });
    }
    for protocol in [Protocol::Tf, Protocol::PytorchFid] {
        let run = |threads| FeaturesRun {
            images: ImagesFrom::at(&images),
            inspector: Inspector::Inception { weights: weights.clone(), protocol },
            out: folder.path().join(format!("{protocol:?}-{threads}")),
            count: None,
            part: (0, 1),
            batch: 2,
            threads,
            cancel: None,
        };
        let features = run(2).finish(&mut |_| Ok(())).unwrap();
        for (i, name) in names.into_iter().enumerate() {
            let custom = if protocol == Protocol::Tf { "tf" } else { "pytorch-fid" };
            let close = |what: &str, found: &[f32]| {
                let expected = stored.tensor(&format!("{name}.{what}")).unwrap();
                let expected: Vec<f32> =
                    expected.data().as_chunks().0.iter().map(|bytes| f32::from_le_bytes(*bytes)).collect();
                let error = relative_rms(found, &expected);
                println!("{name} {what}: {error:.1e}");
                assert!(error < 2e-5, "{name} {what}: {error}");
            };
            let (mut found, mut logits) = (vec![0.0; 2048], vec![0.0; 1008]);
            features.read(i, &mut found).unwrap();
            close(custom, &found);
            features.read_logits(i, &mut logits).unwrap();
            if protocol == Protocol::Tf {
                close("logits", &logits);
            }
        }
        // The bits depend neither on the threads nor on the batch.
        let alone = run(1).finish(&mut |_| Ok(())).unwrap();
        let rows = |features: &Features| {
            let mut rows = vec![0.0; 3 * 2048];
            features.read(0, &mut rows).unwrap();
            rows
        };
        assert_eq!(rows(&features), rows(&alone));
    }
}

/// A folder of features, `width` an image.
fn features(folder: &Path, values: &[f32], width: usize, logits: &[f32], classes: usize) -> Features {
    let count = values.len() / width;
    let manifest = Manifest::new(count as u64, json!("test"), json!("test"), width, classes);
    manifest.settle(folder).unwrap();
    for part in 0..manifest.parts() {
        let range = manifest.range(part);
        let range = range.start as usize..range.end as usize;
        let contents = Contents {
            features: values[range.start * width..range.end * width].to_vec(),
            logits: logits[range.start * classes..range.end * classes].to_vec(),
            not_finite: vec![0; range.len()],
        };
        write_part(folder, &manifest, part, &contents).unwrap();
    }
    Features::open(folder).unwrap()
}

/// Generated and reference features: the twins of those there.
fn sets() -> (Vec<f32>, Vec<f32>) {
    let mix = values("mix", 24 * 24);
    let set = |name: &str, count: usize, scale: f64, shift: f64| -> Vec<f32> {
        let rows = values(name, count * 24);
        let mixed = rows.chunks_exact(24).flat_map(|row| {
            let mix = &mix;
            (0..24).map(move |j| scale * (0..24).map(|i| row[i] * mix[i * 24 + j]).sum::<f64>() + shift)
        });
        mixed.map(|value| value as f32).collect()
    };
    (set("generated", 1400, 1.0, 0.0), set("reference", 1300, 1.1, 0.2))
}

fn unwatched() -> impl FnMut(Stage, usize, usize) -> Result<()> {
    |_, _, _| Ok(())
}

#[test]
fn scores_are_the_fields() {
    let folder = tempfile::tempdir().unwrap();
    let (generated, reference) = sets();
    let logits: Vec<f32> = values("logits", 1400 * 10).into_iter().map(|v| (4.0 * v) as f32).collect();
    let generated = features(&folder.path().join("a"), &generated, 24, &logits, 10);
    let reference = features(&folder.path().join("b"), &reference, 24, &[], 0);
    let expected: Value =
        serde_json::from_str(&std::fs::read_to_string(golden().join("scores.json")).unwrap()).unwrap();
    let close = |key: &str, found: f64, bound: f64| {
        let expected = expected[key].as_f64().unwrap();
        let error = (found / expected - 1.0).abs();
        println!("{key}: {error:.1e}");
        assert!(error < bound, "{key}: {found}, {expected} expected");
    };
    let statistics = Gaussian::of(&reference, 2, &mut |_, _| Ok(())).unwrap();
    let all = [Metric::Fid, Metric::InceptionScore, Metric::Kid, Metric::PrecisionRecall];
    let reference = Reference::of(reference);
    let own = Gaussian::of(&generated, 2, &mut |_, _| Ok(())).unwrap();
    let generated = (&generated, &own);
    let scores = Scores::of(generated, Some(&reference), &all, 2, &mut unwatched()).unwrap();
    close("fid", scores.fid.unwrap(), 1e-6);
    for (key, found) in
        [("inception_score", scores.inception_score), ("kernel_inception_distance", scores.kid)]
    {
        close(&format!("{key}_mean"), found.unwrap().mean, 1e-6);
        close(&format!("{key}_std"), found.unwrap().std, 1e-6);
    }
    // They come back as 32-bit floats there.
    close("precision", scores.precision.unwrap(), 1e-7);
    close("recall", scores.recall.unwrap(), 1e-7);
    assert!(scores.notes.iter().any(|note| note.contains("1400 images; published figures are of 50000")));

    // The same of statistics, which went through a file; and with one thread, to the bit.
    let path = folder.path().join("stats.npz");
    statistics.write(&path).unwrap();
    let file = Reference { gaussian: Some(Gaussian::read(&path).unwrap()), features: None };
    assert_eq!(Gaussian::of(generated.0, 1, &mut |_, _| Ok(())).unwrap(), own);
    let again = Scores::of(generated, Some(&file), &[Metric::Fid], 1, &mut unwatched()).unwrap();
    assert_eq!(again.fid, scores.fid);
    assert_eq!(again.reference_images, Some(1300));
    let error = Scores::of(generated, Some(&file), &[Metric::Kid], 1, &mut unwatched()).unwrap_err();
    assert!(error.to_string().contains("kid needs images"), "{error}");
    let error = Scores::of(generated, None, &[Metric::Fid], 1, &mut unwatched()).unwrap_err();
    assert!(error.to_string().contains("none is given"), "{error}");
}

#[test]
fn neighbours_are_those_of_a_plain_search() {
    let folder = tempfile::tempdir().unwrap();
    let (mut a, b) = sets();
    a.truncate(150 * 24);
    // Images that are there twice, and one from the reference.
    a.copy_within(0..48, 24 * 24);
    a[240..264].copy_from_slice(&b[48..72]);
    let b = &b[..170 * 24];
    let rows = |values: &[f32]| -> Vec<Vec<f64>> {
        values.chunks_exact(24).map(|row| row.iter().map(|&v| f64::from(v)).collect()).collect()
    };
    let (x, y) = (rows(&a), rows(b));
    let distance = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
    let radius = |set: &[Vec<f64>], i: usize| {
        let mut all: Vec<f64> =
            (0..set.len()).filter(|&j| j != i).map(|j| distance(&set[i], &set[j])).collect();
        all.sort_by(f64::total_cmp);
        all[NEIGHBOUR - 1]
    };
    let share = |set: &[Vec<f64>], others: &[Vec<f64>]| {
        let radii: Vec<f64> = (0..others.len()).map(|i| radius(others, i)).collect();
        let within = |row: &&Vec<f64>| {
            others.iter().zip(&radii).any(|(other, &radius)| distance(row, other) <= radius)
        };
        set.iter().filter(within).count() as f64 / set.len() as f64
    };
    let (a, b) = (
        features(&folder.path().join("a"), &a, 24, &[], 0),
        features(&folder.path().join("b"), b, 24, &[], 0),
    );
    for threads in [1, 3] {
        let found = precision_recall(&a, &b, threads, &mut |_, _| Ok(())).unwrap();
        assert_eq!(found, (share(&x, &y), share(&y, &x)));
    }
    let found = nearest(&a, 20, &b, 4).unwrap();
    assert_eq!((found.len(), found[10][0]), (20, (2, 0.0)));
    for (row, found) in x.iter().zip(found) {
        let mut all: Vec<(usize, f64)> = y.iter().enumerate().map(|(i, y)| (i, distance(row, y))).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1));
        let near = |(a, b): (&(usize, f64), &(usize, f64))| a.0 == b.0 && (a.1 - b.1).abs() < 1e-9;
        assert!(found.iter().zip(&all).all(near), "{found:?} {:?}", &all[..4]);
    }
}

#[test]
fn few_images_and_one_set_twice_have_a_distance() {
    let folder = tempfile::tempdir().unwrap();
    let (a, b) = sets();
    // Of 24 features, from 10 images, and two of them that are always the same.
    let mut few = a[..240].to_vec();
    few.iter_mut().enumerate().filter(|(i, _)| i % 24 < 2).for_each(|(_, value)| *value = 0.5);
    let few = features(&folder.path().join("few"), &few, 24, &[], 0);
    let many = features(&folder.path().join("many"), &b, 24, &[], 0);
    let gaussian = |features: &Features| Gaussian::of(features, 1, &mut |_, _| Ok(())).unwrap();
    for set in [&few, &many] {
        let own = gaussian(set);
        let itself = frechet_distance(&own, &own).unwrap();
        assert!(itself < 1e-9, "{itself}");
    }
    let (near, far) = (gaussian(&few), gaussian(&many));
    let distance = frechet_distance(&near, &far).unwrap();
    let back = frechet_distance(&far, &near).unwrap();
    assert!(
        distance.is_finite() && distance > 1.0 && (distance / back - 1.0).abs() < 1e-9,
        "{distance} {back}"
    );
    // Of one that has no spread at all, the distance is that of the means, and the other's variance.
    let point = Gaussian { count: None, mean: vec![0.0; 24], covariance: vec![0.0; 576] };
    let expected: f64 =
        far.mean.iter().map(|m| m * m).sum::<f64>() + far.covariance.iter().step_by(25).sum::<f64>();
    assert!((frechet_distance(&point, &far).unwrap() / expected - 1.0).abs() < 1e-12);
    let reference = Reference::of(many);
    let scores = Scores::of((&few, &near), Some(&reference), &[Metric::Fid], 1, &mut unwatched()).unwrap();
    assert!(
        scores.notes.iter().any(|note| note.contains("10 images are fewer than their 24 features")),
        "{:?}",
        scores.notes
    );
    assert!(
        frechet_distance(&far, &Gaussian { count: None, mean: vec![0.0], covariance: vec![1.0] }).is_err()
    );
}

/// Grey images of so many shades in a folder.
fn shades(folder: &Path, count: u32) {
    std::fs::create_dir(folder).unwrap();
    for i in 0..count {
        let shade = move |x: u32, y: u32| [((x * 13 + y * 7 + i * 31) % 256) as u8];
        write_png(folder.join(format!("{i:04}.png")), (9, 9), shade);
    }
}

fn pixel_run(images: &Path, out: PathBuf) -> FeaturesRun {
    FeaturesRun {
        images: ImagesFrom::at(images),
        inspector: Inspector::Pixels { channels: None },
        out,
        count: None,
        part: (0, 1),
        batch: 16,
        threads: 1,
        cancel: None,
    }
}

fn all(features: &Features) -> Vec<f32> {
    let mut rows = vec![0.0; features.len() * features.width()];
    features.read(0, &mut rows).unwrap();
    rows
}

#[test]
fn parts_made_apart_are_one_set_and_interrupted_ones_go_on() {
    let folder = tempfile::tempdir().unwrap();
    let images = folder.path().join("images");
    shades(&images, 600);
    let whole = pixel_run(&images, folder.path().join("whole")).finish(&mut |_| Ok(())).unwrap();
    assert_eq!((whole.len(), whole.width(), whole.manifest().parts()), (600, 64, 3));

    // By two processes, one of which is stopped at its second part.
    let out = folder.path().join("apart");
    let part = |part: u64| FeaturesRun { part: (part, 2), ..pixel_run(&images, out.clone()) };
    let mut seen = Vec::new();
    let stopped = part(0).run(&mut |progress| {
        seen.push(progress.done);
        assert_eq!(progress.total, 256 + 88);
        if progress.done > 300 { Err(crate::Error::Cancelled) } else { Ok(()) }
    });
    assert!(matches!(stopped, Err(crate::Error::Cancelled)), "{seen:?}");
    part(1).run(&mut |_| Ok(())).unwrap();
    let error = Features::open(&out).err().unwrap().to_string();
    assert!(error.contains("1 of 3 parts are missing, features-00002.safetensors the first"), "{error}");
    // What a kill leaves, and what a disk breaks.
    std::fs::write(out.join(".features-00002.safetensors.1-1.partial"), "half").unwrap();
    let damaged = out.join("features-00001.safetensors");
    let mut bytes = std::fs::read(&damaged).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&damaged, &bytes).unwrap();
    let mut first = None;
    let features = pixel_run(&images, out.clone())
        .finish(&mut |progress| {
            first.get_or_insert(progress.done);
            Ok(())
        })
        .unwrap();
    assert_eq!(first, Some(256));
    assert_eq!(all(&features), all(&whole));

    // Another image, another folder.
    std::fs::remove_file(images.join("0007.png")).unwrap();
    let error = pixel_run(&images, out).run(&mut |_| Ok(())).unwrap_err().to_string();
    assert!(error.contains("images, count differ"), "{error}");
    assert!(
        FeaturesRun { part: (2, 2), ..pixel_run(&images, folder.path().join("x")) }
            .run(&mut |_| Ok(()))
            .is_err()
    );
}

#[test]
fn arrays_are_images_as_files_are() {
    let folder = tempfile::tempdir().unwrap();
    let npy = |name: &str, descr: &str, shape: &str, bytes: &[u8]| {
        let text = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}\n");
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((text.len() as u16).to_le_bytes());
        file.extend(text.as_bytes());
        file.extend(bytes);
        let path = folder.path().join(name);
        std::fs::write(&path, file).unwrap();
        path
    };
    let bytes: Vec<u8> = (0..20 * 9 * 9).map(|i| (i * 7 % 256) as u8).collect();
    let floats: Vec<u8> =
        bytes.iter().flat_map(|&byte| (f32::from(byte) / 127.5 - 1.0).to_le_bytes()).collect();
    let images = folder.path().join("images");
    std::fs::create_dir(&images).unwrap();
    for (i, image) in bytes.chunks_exact(81).enumerate() {
        write_png(images.join(format!("{i:02}.png")), (9, 9), |x, y| [image[(y * 9 + x) as usize]]);
    }
    let features =
        |images: &Path, out: &str| pixel_run(images, folder.path().join(out)).finish(&mut |_| Ok(()));
    let expected = all(&features(&images, "a").unwrap());
    let of_bytes = npy("bytes.npy", "|u1", "(20, 9, 9, 1)", &bytes);
    assert_eq!(all(&features(&of_bytes, "b").unwrap()), expected);
    let of_floats = npy("floats.npy", "<f4", "(20, 1, 9, 9)", &floats);
    assert_eq!(all(&features(&of_floats, "c").unwrap()), expected);

    // A value that is no number is said, and fewer images than were asked for are as many as there are.
    let mut broken = floats.clone();
    broken[13 * 324..13 * 324 + 4].copy_from_slice(&f32::NAN.to_le_bytes());
    let broken = npy("broken.npy", "<f4", "(20, 1, 9, 9)", &broken);
    let run = FeaturesRun { count: Some(50), ..pixel_run(&broken, folder.path().join("d")) };
    let found = run.finish(&mut |_| Ok(())).unwrap();
    assert_eq!((found.len(), found.not_finite().unwrap()), (20, vec![13]));
    let reference = Reference::of(features(&images, "a").unwrap());
    let own = Gaussian::of(&found, 1, &mut |_, _| Ok(())).unwrap();
    let scores = Scores::of((&found, &own), Some(&reference), &[Metric::Pixel], 1, &mut unwatched()).unwrap();
    assert!(
        scores.notes.iter().any(|note| note.contains("1 of 20 images hold values that are no finite")),
        "{:?}",
        scores.notes
    );
    assert!(scores.pixel_frechet.unwrap() < 5.0 && scores.precision.unwrap() > 0.9, "{scores:?}");

    for (descr, shape) in
        [("|u1", "(20, 9, 9)"), ("|u1", "(20, 9, 9, 2)"), ("<f4", "(20, 9, 9, 1)"), ("|u1", "(0, 9, 9, 1)")]
    {
        let wrong = npy("wrong.npy", descr, shape, &bytes);
        assert!(features(&wrong, "e").is_err(), "{descr} {shape}");
    }
}

#[test]
fn files_that_are_no_inception_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other.safetensors");
    let array =
        Array { name: "Conv2d_1a_3x3.conv.weight", dtype: Dtype::F32, shape: vec![1], bytes: &[0; 4] };
    write_arrays(&path, "0 of a test", &[array]).unwrap();
    let images = folder.path().join("images");
    shades(&images, 1);
    let inspector = Inspector::Inception { weights: path, protocol: Protocol::Tf };
    let run = FeaturesRun { inspector, ..pixel_run(&images, folder.path().join("out")) };
    let error = run.run(&mut |_| Ok(())).unwrap_err().to_string();
    assert!(
        error.contains("not FID's Inception, which pt_inception-2015-12-05-6726825d.pth holds"),
        "{error}"
    );
    assert!(weights::open_tensors(folder.path()).is_err());
}
#[test]
fn channels_are_made_of_others() {
    let image =
        |channels: usize, pixels: &[u8]| Image { width: 1, height: 1, channels, pixels: pixels.to_vec() };
    assert_eq!(image(1, &[7]).with_channels(3).pixels, [7, 7, 7]);
    assert_eq!(image(1, &[7]).with_channels(4).pixels, [7, 7, 7, 255]);
    assert_eq!(image(3, &[7, 7, 7]).with_channels(1).pixels, [7]);
    assert_eq!(image(3, &[200, 10, 0]).with_channels(1).pixels, [66]);
    assert_eq!(image(4, &[100, 50, 255, 51]).with_channels(3).pixels, [20, 10, 51]);
    let wide = Image { width: 4, height: 1, channels: 1, pixels: vec![0, 100, 50, 70] };
    assert_eq!(wide.resized(2, 1).pixels, [50, 60]);
    assert_eq!(wide.resized(8, 1).pixels, [0, 0, 100, 100, 50, 50, 70, 70]);
}
