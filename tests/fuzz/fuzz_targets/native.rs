//! A native file in memory: opened, and if it opens, drawn from. The checksum is made right first, since a fuzzer
//! would not get past it.
#![no_main]

use libfuzzer_sys::fuzz_target;
use onestep::{Layout, Limits, Model, Options, Request};

fuzz_target!(|data: &[u8]| {
    let limits = Limits { parameters: 1 << 16, pixels: 1 << 12, ..Limits::default() };
    let options = Options { threads: 1, limits, ..Options::default() };
    for bytes in [Some(data.to_vec()), onestep::weights::with_checksum(data)].into_iter().flatten() {
        let Ok(model) = Model::from_bytes(&bytes, &options) else { continue };
        let labels = model.info().config.network.num_classes.map(|_| vec![0]);
        let request = Request { seeds: Some(vec![1]), labels, ..Request::default() };
        let Ok(size) = model.output_size(1, &Layout::default()) else { continue };
        let mut out = vec![0; size as usize];
        let _ = model.session(&options).and_then(|mut session| session.sample(&request, &Layout::default(), &mut out));
    }
});
