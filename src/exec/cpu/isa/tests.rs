//! Kernels of every level against plain loops.

use super::*;
use crate::exec::cpu::testing::{Random, kernels};

/// Numbers that bf16 holds exactly.
fn coarse(random: &mut Random, len: usize) -> Vec<f32> {
    random.values(len).iter().map(|value| (value * 64.0).round() / 64.0).collect()
}

#[test]
fn panels_match_plain_sums() {
    let mut random = Random(2);
    for kernels in kernels() {
        for (rows, k, vectors) in [
            (1, 1usize, 1),
            (3, 64, 1),
            (17, 65, 1),
            (40, 130, kernels.vectors()),
            (5, 257, kernels.vectors()),
            (WIDENED * MAX_ROWS + 1, 67, kernels.vectors()),
        ] {
            let cols = vectors * kernels.lanes();
            let (values, weights) = (coarse(&mut random, rows * k), coarse(&mut random, cols * k));
            let mut packed = vec![f32::NAN; kernels.inner(k) * cols];
            for (column, weights) in weights.chunks(k).enumerate() {
                kernels.pack_column(weights, cols, &mut packed[column..]);
            }
            let (chunk_stride, chunk) = ((rows + 1) * CHUNK, kernels.chunk_values());
            let mut words = vec![f32::NAN; k.div_ceil(chunk) * chunk_stride];
            for (row, values) in values.chunks(k).enumerate() {
                let mut line = values.to_vec();
                line.resize(k.next_multiple_of(chunk), 0.0);
                for (i, values) in line.chunks(chunk).enumerate() {
                    kernels.row_words(values, &mut words[i * chunk_stride + row * CHUNK..][..CHUNK]);
                }
            }
            let mut out = vec![0.0; rows * (cols + 3)];
            let inner = kernels.inner(k);
            let panel = Panel { rows: &words, chunk_stride, inner, weights: &packed, next: Next::default() };
            let mut scratch = vec![f32::NAN; kernels.panel_scratch(k)];
            kernels.panel(&panel, rows, vectors, &mut out, cols + 3, &mut scratch);
            for (out, values) in out.chunks(cols + 3).zip(values.chunks(k)) {
                for (out, weights) in out.iter().zip(weights.chunks(k)) {
                    let products = values.iter().zip(weights).map(|(&a, &b)| f64::from(a) * f64::from(b));
                    let error = f64::from(*out) - products.sum::<f64>();
                    let (isa, operands) = (kernels.isa(), kernels.operands());
                    assert!(error.abs() < 1e-4, "{isa:?} {operands:?} {rows} {k}: {error}");
                }
                assert_eq!(out[cols..], [0.0; 3]);
            }
        }
    }
}

#[test]
#[should_panic(expected = "a panel reads outside of its rows")]
fn a_panel_outside_of_its_rows_is_caught() {
    let kernels = Kernels::new(Isa::Portable, Operands::F32);
    let (rows, weights) = ([0.0; CHUNK + 1], [0.0; 65 * 8]);
    let panel =
        Panel { rows: &rows, chunk_stride: CHUNK, inner: 65, weights: &weights, next: Next::default() };
    kernels.panel(&panel, 1, 1, &mut [0.0; 8], 8, &mut []);
}

#[test]
fn silu_matches_f64_and_keeps_nan() {
    let x: Vec<f32> = (-6400..6401).map(|i| i as f32 / 64.0).chain([1e30, -1e30, f32::NAN]).collect();
    let (scale, shift) = (vec![1.5; x.len()], vec![0.25; x.len()]);
    for isa in Isa::available() {
        let mut y = vec![0.0; x.len()];
        Kernels::new(isa, Operands::F32).silu(&x, &scale, &shift, &mut y);
        for (&x, &y) in x.iter().zip(&y) {
            let v = f64::from(x * 1.5 + 0.25);
            let expected = v / (1.0 + (-v).exp());
            let error = (f64::from(y) - expected).abs();
            // Beyond -87 the exponential stays where it is, and the result near 0.
            let close = error <= 4e-7 * expected.abs() || v < -87.0 && error < 1e-6_f64.max(v * -2e-38);
            assert!(close || x.is_nan() && y.is_nan(), "{isa:?}: silu({v}) = {y}, not {expected}");
        }
    }
}

#[test]
fn exps_match_f64_at_any_length_and_keep_nan() {
    for isa in Isa::available() {
        for len in [1, 7, 16, 33, 4001] {
            let kernels = Kernels::new(isa, Operands::F32);
            let before: Vec<f32> = (0..len).map(|i| 1.5 - i as f32 / 64.0).collect();
            let mut x = before.clone();
            kernels.exps(&mut x, 1.5, 1.25);
            for (&x, &before) in x.iter().zip(&before) {
                let expected = f64::from((before - 1.5) * 1.25).exp();
                assert!((f64::from(x) - expected).abs() <= 3e-7 * expected, "{isa:?}: {x}, not {expected}");
            }
        }
        let mut x = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY];
        Kernels::new(isa, Operands::F32).exps(&mut x, 0.0, 1.0);
        assert!(
            x[0].is_nan() && x[1] > 6e37 && x[1].is_finite() && (0.0..2e-38).contains(&x[2]),
            "{isa:?}: {x:?}"
        );
    }
}

#[test]
#[should_panic(expected = "outside of its plane")]
fn a_transform_outside_of_its_plane_is_caught() {
    let kernels = Kernels::new(Isa::Portable, Operands::F32);
    let source = Tiles { plane: &[0.0; 4 * 4 * 8], starts: &[1], row: 32, stride: 8, channels: 8 };
    kernels.source(Algorithm::F23, &source, &mut [0.0; 16 * CHUNK], CHUNK);
}
