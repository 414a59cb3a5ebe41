//! A Keras file of these bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep::{Model, Options};

fuzz_target!(|data: &[u8]| {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.h5");
    std::fs::write(&path, data).unwrap();
    let _ = Model::open(&path, &Options::default());
});
