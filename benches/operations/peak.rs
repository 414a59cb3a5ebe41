//! The machine's own limit: multiply-adds in registers, on all threads at once.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::time::Instant;

/// Billions of operations a second, two a multiply-add, of f32 in the registers of this instruction set.
pub fn gflops(isa: &str, threads: usize) -> f64 {
    const ROUNDS: usize = 40_000_000;
    let start = Instant::now();
    let per_round = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(|| run(isa, ROUNDS))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no panics")).sum::<f64>()
    });
    per_round * ROUNDS as f64 / start.elapsed().as_secs_f64() * 1e-9
}

/// Operations a round.
fn run(isa: &str, rounds: usize) -> f64 {
    #[cfg(target_arch = "x86_64")]
    {
        if isa.starts_with("avx512") && is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has it.
            return unsafe { avx512(rounds) };
        }
        if isa.starts_with("avx") && is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            // SAFETY: the processor has them.
            return unsafe { avx2(rounds) };
        }
    }
    let mut sums = [[1.0f32; 4]; 8];
    for _ in 0..rounds {
        sums.iter_mut().flatten().for_each(|sum| *sum = *sum * 0.5 + 1.5);
        black_box(&mut sums);
    }
    64.0
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn avx512(rounds: usize) -> f64 {
    use std::arch::x86_64::*;
    let (factor, addend) = (_mm512_set1_ps(black_box(0.5)), _mm512_set1_ps(black_box(1.5)));
    let mut sums = [_mm512_set1_ps(1.0); 16];
    for _ in 0..rounds {
        sums.iter_mut().for_each(|sum| *sum = _mm512_fmadd_ps(*sum, factor, addend));
    }
    black_box(sums);
    16.0 * 32.0
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn avx2(rounds: usize) -> f64 {
    use std::arch::x86_64::*;
    let (factor, addend) = (_mm256_set1_ps(black_box(0.5)), _mm256_set1_ps(black_box(1.5)));
    let mut sums = [_mm256_set1_ps(1.0); 12];
    for _ in 0..rounds {
        sums.iter_mut().for_each(|sum| *sum = _mm256_fmadd_ps(*sum, factor, addend));
    }
    black_box(sums);
    12.0 * 16.0
}
