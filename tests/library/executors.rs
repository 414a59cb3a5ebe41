//! The executors beside the reference one: random chains of operations must give the same images.

use crate::support::chain::{ODD, difference, run};
use onestep::exec::cpu::{Cpu, CpuDevice, Operands, Packing};
use onestep::exec::reference::{Reference, ReferenceDevice};
use std::sync::Arc;

#[test]
fn random_chains_give_the_same_images() {
    // bf16 keeps 8 bits of a weight, and of what it is multiplied with at the level avx512bf16.
    for (operands, limit) in [(Operands::F32, 2e-5), (Operands::Bf16, 2e-2)] {
        let mut worst = 0.0f64;
        for seed in 0..150 {
            let expected = run(&mut Reference, &ReferenceDevice::default(), ODD, seed).unwrap();
            for (packing, threads) in [(Packing::Fast, 1), (Packing::Fast, 3), (Packing::Compact, 2)] {
                let device = Arc::new(CpuDevice::new(operands, packing, threads));
                let mut cpu = Cpu::new(device.clone(), threads, None).unwrap();
                let error = difference(&run(&mut cpu, &device, ODD, seed).unwrap(), &expected);
                let case = format!("seed {seed}, {operands:?}, {packing:?}, {threads} threads");
                assert!(error < limit, "{case}: relative RMS {error:e}");
                worst = worst.max(error);
            }
        }
        println!("{operands:?}: worst relative RMS {worst:e}");
    }
}

#[cfg(feature = "candle")]
#[test]
fn candle_gives_the_same_images() {
    use onestep::exec::candle::{Candle, CandleDevice};
    let device = Arc::new(CandleDevice::cpu(false));
    for seed in 0..150 {
        let expected = run(&mut Reference, &ReferenceDevice::default(), ODD, seed).unwrap();
        let found = run(&mut Candle::new(device.clone()), &device, ODD, seed).unwrap();
        let error = difference(&found, &expected);
        assert!(error < 2e-5, "seed {seed}: relative RMS {error:e}");
    }
}
