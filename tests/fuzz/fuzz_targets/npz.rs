//! NumPy's files of these bytes: statistics, and images.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep::metrics::{Gaussian, ImagesFrom};

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("stats.npz");
    std::fs::write(&path, data).unwrap();
    let _ = Gaussian::read(&path);
    if let Ok(mut images) = ImagesFrom::Array(path).open() {
        let _ = images.read(0..images.count().unwrap_or(0).min(2));
    }
});
