//! The CUDA executor on a machine without a GPU: its own kernels, on an emulator, below a driver on paper. What a GPU
//! alone can show is in `scripts/device-check.sh`.
#![cfg(all(feature = "cuda", feature = "candle", target_os = "linux", target_arch = "x86_64"))]

#[path = "common/chain.rs"]
mod chain;
#[path = "common/paper.rs"]
mod paper;

use chain::{ODD, difference, run};
use onestep::exec::candle::{Candle, CandleDevice};
use onestep::exec::cuda::{Cuda, CudaDevice, Element};
use paper::Paper;
use std::sync::Arc;

/// Channels that the tensor cores' kernels take.
const EIGHTS: &[usize] = &[8, 16, 24, 32, 64, 72, 136];

const ELEMENTS: [(Element, f64); 3] = [(Element::F32, 1e-5), (Element::Bf16, 2e-2), (Element::F16, 2.5e-3)];

#[test]
fn random_chains_give_the_reference_executors_images() {
    let paper = Paper::new();
    for (element, limit) in ELEMENTS {
        let device = Arc::new(CudaDevice::open(Some(paper.folder()), 0, element).unwrap());
        let mut worst = 0.0f64;
        for (widths, seeds) in [(ODD, 0..20), (EIGHTS, 20..60)] {
            for seed in seeds {
                let reference = Arc::new(CandleDevice::cpu(false));
                let expected = run(&mut Candle::new(reference.clone()), &reference, widths, seed).unwrap();
                let mut cuda = Cuda::new(device.clone()).unwrap();
                let error = difference(&run(&mut cuda, &device, widths, seed).unwrap(), &expected);
                assert!(error < limit, "seed {seed}, {element:?}: relative RMS {error:e}");
                worst = worst.max(error);
            }
        }
        println!("{element:?}: worst relative RMS {worst:e}");
    }
}
