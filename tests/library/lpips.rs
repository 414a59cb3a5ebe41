//! LPIPS against the Python package's (`tests/golden/lpips.py` made the numbers), and what it refuses.
#![cfg(feature = "train")]

use onestep::Code;
use onestep::train::Lpips;
use std::path::Path;

#[cfg(not(feature = "candle"))]
#[test]
fn a_build_without_candle_says_so() {
    let error = Lpips::open(Path::new("lpips.pth")).err().unwrap();
    assert_eq!(error.code(), Code::NotBuilt);
}

#[cfg(feature = "candle")]
mod with_candle {
    use super::*;
    use crate::common::{assert_close, lpips};

    #[test]
    fn losses_and_gradients_are_the_python_packages() {
        let folder = tempfile::tempdir().unwrap();
        for (network, cases) in [
            ("vgg", [("vgg", [2, 3, 32, 32]), ("vgg_grey", [1, 1, 17, 30])]),
            ("alex", [("alex", [2, 3, 35, 42]), ("alex_grey", [3, 1, 32, 31])]),
        ] {
            let path = lpips::write(&lpips::tensors(network), folder.path(), network);
            let lpips = Lpips::open(&path).unwrap();
            assert_eq!(lpips.network(), network);
            for (case, shape) in cases {
                let golden = lpips::golden(case);
                let (x, y, expected) = (golden.f32("x"), golden.f32("y"), golden.f32("loss"));
                let expected = expected.iter().copied().map(f64::from).sum::<f64>() / expected.len() as f64;
                let mut gradient = vec![f32::NAN; x.len()];
                let loss = lpips.loss_and_gradient(&x, &y, shape, Some(&mut gradient)).unwrap();
                println!("{case}: loss {loss}, {expected} expected");
                assert!((loss - expected).abs() <= 1e-5 * expected, "{case}: {loss}, not {expected}");
                assert_close(case, &gradient, &golden.f32("gradient"), 1e-4);
                assert_eq!(loss, lpips.loss_and_gradient(&x, &y, shape, None).unwrap(), "{case}");
            }
        }
    }

    #[test]
    fn a_batch_in_parts_is_the_mean_of_its_images() {
        let folder = tempfile::tempdir().unwrap();
        let path = lpips::write(&lpips::tensors("alex"), folder.path(), "alex");
        let lpips = Lpips::open(&path).unwrap();
        let golden = lpips::golden("alex_grey");
        let (x, y) = (golden.f32("x"), golden.f32("y"));
        let whole = |values: &[f32]| values.repeat(30);
        let mut gradient = vec![0.0; x.len()];
        let mut gradients = vec![0.0; 30 * x.len()];
        let loss = lpips.loss_and_gradient(&x, &y, [3, 1, 32, 31], Some(&mut gradient)).unwrap();
        let shape = [90, 1, 32, 31];
        let losses = lpips.loss_and_gradient(&whole(&x), &whole(&y), shape, Some(&mut gradients)).unwrap();
        assert!((loss - losses).abs() <= 1e-6 * loss, "{loss}, {losses}");
        gradients.iter_mut().for_each(|value| *value *= 30.0);
        assert_close("all parts", &gradients, &whole(&gradient), 1e-5);
    }

    #[test]
    fn features_that_vanish_have_a_gradient() {
        let folder = tempfile::tempdir().unwrap();
        let mut tensors = lpips::tensors("alex");
        tensors.get_mut("net.slice1.0.bias").unwrap().1.fill(-100.0);
        tensors.get_mut("net.slice2.3.bias").unwrap().1.fill(0.0);
        let lpips = Lpips::open(&lpips::write(&tensors, folder.path(), "dark")).unwrap();
        let golden = lpips::golden("alex_grey");
        let mut gradient = vec![f32::NAN; golden.f32("x").len()];
        let (x, y) = (golden.f32("x"), golden.f32("y"));
        let loss = lpips.loss_and_gradient(&x, &y, [3, 1, 32, 31], Some(&mut gradient)).unwrap();
        assert_eq!(loss, 0.0);
        assert!(gradient.iter().all(|&value| value == 0.0));
    }

    #[test]
    fn bad_files_are_refused_by_the_name_of_the_tensor() {
        let folder = tempfile::tempdir().unwrap();
        let whole = lpips::tensors("alex");
        let fail = |change: &dyn Fn(&mut lpips::Tensors)| {
            let mut tensors = whole.clone();
            change(&mut tensors);
            let path = lpips::write(&tensors, folder.path(), "bad");
            let error = Lpips::open(&path).err().unwrap();
            assert_eq!(error.code(), Code::BadModel, "{error}");
            assert!(error.to_string().contains("bad.safetensors"), "{error}");
            error.to_string()
        };
        let error = fail(&|tensors| drop(tensors.remove("lin3.model.1.weight")));
        assert!(error.contains("lin3.model.1.weight of shape [1, 256, 1, 1] is missing"), "{error}");
        let error = fail(&|tensors| tensors.get_mut("net.slice4.8.bias").unwrap().0 = vec![2, 128]);
        assert!(error.contains("net.slice4.8.bias has shape [2, 128]") && error.contains("[256]"), "{error}");
        let error = fail(&|tensors| tensors.get_mut("net.slice2.3.weight").unwrap().1[5] = f32::NAN);
        assert!(error.contains("net.slice2.3.weight holds NaN"), "{error}");
        let error = fail(&|tensors| drop(tensors.remove("net.slice1.0.weight")));
        assert!(error.contains("net.slice1.0.weight of shape [64, 3, 3, 3] is missing"), "{error}");
        // PyTorch's file of another network.
        let other =
            std::fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/torch")).unwrap();
        let other = other.map(|entry| entry.unwrap().path());
        for path in other.filter(|path| path.extension().is_some_and(|extension| extension == "bin")) {
            let error = Lpips::open(&path).err().unwrap().to_string();
            assert!(error.contains("net.slice1.0.weight"), "{error}");
        }
    }

    #[test]
    fn images_that_cannot_be_compared_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        for (network, least) in [("vgg", 16), ("alex", 31)] {
            let path = lpips::write(&lpips::tensors(network), folder.path(), network);
            let lpips = Lpips::open(&path).unwrap();
            let fail = |shape: [usize; 4], len: usize| {
                let error =
                    lpips.loss_and_gradient(&vec![0.0; len], &vec![0.0; len], shape, None).unwrap_err();
                assert_eq!(error.code(), Code::InvalidArgument, "{error}");
                error.to_string()
            };
            let error = fail([1, 1, 64, least - 1], 64 * (least - 1));
            assert!(error.contains(&format!("needs {least} x {least} at least")), "{error}");
            assert!(fail([1, 4, 64, 64], 4 * 64 * 64).contains("4 channels"));
            assert!(fail([2, 3, 64, 64], 3 * 64 * 64).contains("[2, 3, 64, 64] expected"));
            assert!(fail([0, 3, 64, 64], 0).contains("expected"));
            let len = least * least;
            let loss = lpips.loss_and_gradient(&vec![0.5; len], &vec![0.5; len], [1, 1, least, least], None);
            assert_eq!(loss.unwrap(), 0.0);
        }
    }
}
