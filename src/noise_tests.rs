//! Noise: known answers, committed bits, accuracy over every input there is, and statistics.

use super::*;

#[test]
fn philox_gives_the_known_answers() {
    let one = |c: [u32; 4], key| philox::<1>(c.map(|w| [w]), key).map(|w| w[0]);
    assert_eq!(one([0; 4], [0; 2]), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    assert_eq!(one([!0; 4], [!0; 2]), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
    assert_eq!(
        one([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0]),
        [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
    );
}

#[test]
fn bits_are_those_committed() {
    let hash = |seed, stream| {
        let mut out = [0.0; 4096];
        fill(seed, stream, &mut out);
        fnv1a(&out)
    };
    assert_eq!(
        [hash(0, 0), hash(1, 0), hash(1 << 63, 0), hash(0, 1)].map(|h| format!("{h:016x}")),
        ["6be6522b5ab4f3d5", "f98084773f444b89", "c91144801e6fe507", "c6fa7a73fde39530"]
    );
}

#[test]
fn pieces_are_the_whole() {
    let mut whole = vec![0.0; 1003];
    fill(7, 3, &mut whole);
    for len in [0, 1, 3, 4, 5, 63, 64, 65, 130, 1002] {
        let mut alone = vec![0.0; len];
        fill(7, 3, &mut alone);
        assert_eq!(bits(&alone), bits(&whole[..len]), "{len}");
    }
    for size in [1, 2, 3, 5, 64, 77, 500] {
        let mut pieces = vec![0.0; whole.len()];
        for (i, piece) in pieces.chunks_mut(size).enumerate() {
            fill_from(7, 3, (i * size) as u64, piece);
        }
        assert_eq!(bits(&pieces), bits(&whole), "{size}");
    }
}

#[test]
fn seeds_and_streams_differ() {
    let first = |seed, stream| {
        let mut out = [0.0; 4];
        fill(seed, stream, &mut out);
        bits(&out)
    };
    let all = [first(0, 0), first(0, 1), first(1, 0), first(1 << 32, 0), first(1 << 63, 0), first(!0, !0)];
    for (i, a) in all.iter().enumerate() {
        assert!(all[..i].iter().all(|b| a != b), "{i}");
    }
}

#[test]
fn functions_are_within_4_ulp_everywhere() {
    let mut worst = [0.0_f64; 3];
    for n in 0..1_u32 << 23 {
        let word = n << 9;
        let u = (f64::from(n) + 0.5) / f64::from(1 << 23);
        assert_eq!(f64::from(uniform(word)), u);
        // Around the nearest quarter turn, so that the oracle is accurate at the zeros.
        let quarter = (4.0 * u).round();
        let (s, c) = ((u - quarter / 4.0) * std::f64::consts::TAU).sin_cos();
        let (c, s) = [(c, s), (-s, c), (-c, -s), (s, -c)][quarter as usize % 4];
        let (ln, (cos, sin)) = (ln::<false>(u as f32), cos_sin::<false>(word));
        for (worst, (found, expected)) in worst.iter_mut().zip([(ln, u.ln()), (cos, c), (sin, s)]) {
            *worst = worst.max(ulps(found, expected));
        }
    }
    eprintln!("worst, in ulp: ln {}, cos {}, sin {}", worst[0], worst[1], worst[2]);
    assert!(worst.iter().all(|&w| w < 4.0), "{worst:?}");
}

/// glibc's `fmaf`, which `f32::mul_add` is without the instruction, rounds once; MinGW's does not.
#[cfg(any(target_env = "gnu", target_arch = "aarch64"))]
#[cfg(not(windows))]
#[test]
fn the_emulated_bits_are_the_instructions() {
    vectorize(isa(), || {
        for n in 0..1_u32 << 23 {
            let (word, u) = (n << 9, (n as f32 + 0.5) / (1 << 23) as f32);
            assert_eq!(ln::<true>(u).to_bits(), ln::<false>(u).to_bits(), "{n}");
            let (fused, emulated) = (cos_sin::<true>(word), cos_sin::<false>(word));
            assert_eq!(
                [fused.0.to_bits(), fused.1.to_bits()],
                [emulated.0.to_bits(), emulated.1.to_bits()],
                "{n}"
            );
        }
    });
}

#[test]
fn ten_million_values_are_standard_normal() {
    let n = 10_000_000;
    let mut values = vec![0.0_f32; n];
    fill(0, 0, &mut values);
    let mean = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
    let moment = |k| values.iter().map(|&v| (f64::from(v) - mean).powi(k)).sum::<f64>() / n as f64;
    let (variance, fourth) = (moment(2), moment(4));
    let kurtosis = fourth / (variance * variance) - 3.0;
    values.sort_unstable_by(f32::total_cmp);
    let every = 8;
    let distance = (0..n)
        .step_by(every)
        .map(|i| (normal_cdf(f64::from(values[i])) - (i as f64 + 0.5) / n as f64).abs())
        .fold(0.0, f64::max)
        + (every as f64 + 0.5) / n as f64;
    eprintln!("mean {mean}, variance {variance}, excess kurtosis {kurtosis}, KS {distance}");
    assert!(mean.abs() < 1e-3, "mean {mean}");
    assert!((variance - 1.0).abs() < 1.5e-3, "variance {variance}");
    assert!(kurtosis.abs() < 5e-3, "kurtosis {kurtosis}");
    assert!(distance < 5e-4, "Kolmogorov-Smirnov {distance}");
}

fn bits(values: &[f32]) -> Vec<u32> {
    values.iter().map(|v| v.to_bits()).collect()
}

/// FNV-1a, 64 bits, over the little-endian bytes.
fn fnv1a(values: &[f32]) -> u64 {
    values
        .iter()
        .flat_map(|v| v.to_le_bytes())
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

/// The distance in units of the last place of `expected` as an f32.
fn ulps(found: f32, expected: f64) -> f64 {
    let unit = f64::from(f32::from_bits((expected as f32).to_bits() & 0x7f80_0000)) * f64::from(f32::EPSILON);
    (f64::from(found) - expected).abs() / unit
}

/// Phi, by erf's series (Abramowitz and Stegun 7.1.6) and, in the tails, erfc's continued fraction (7.1.14).
fn normal_cdf(x: f64) -> f64 {
    let y = x.abs() / std::f64::consts::SQRT_2;
    let density = (-y * y).exp() / std::f64::consts::PI.sqrt();
    let upper = if y < 2.5 {
        let (mut term, mut sum, mut k) = (2.0 * y, 2.0 * y, 1.0);
        while term > 1e-18 * sum {
            term *= 2.0 * y * y / (2.0 * k + 1.0);
            sum += term;
            k += 1.0;
        }
        0.5 - 0.5 * density * sum
    } else {
        0.5 * density / (1..=60).rev().fold(y, |fraction, k| y + 0.5 * f64::from(k) / fraction)
    };
    if x < 0.0 { upper } else { 1.0 - upper }
}

#[test]
fn the_tests_own_cdf_is_right() {
    for (x, expected) in [(0.0, 0.5), (1.0, 0.841_344_746_068_542_9), (-2.0, 0.022_750_131_948_179_21)] {
        assert!((normal_cdf(x) - expected).abs() < 1e-14);
    }
    assert!((normal_cdf(-4.0) / 3.167_124_183_311_992e-5 - 1.0).abs() < 1e-12);
}
