//! Every operation against plain loops in f64, at every instruction set, with one thread and with two.

use super::testing::*;
use super::*;
use crate::exec::{Activation, ClassUse, Clipped, ConvKind, TimeUse};

/// Relative RMS. Of floats, F(4, 3) loses the most, 1.4e-6 of a convolution's.
fn close(device: &CpuDevice) -> f64 {
    match device.operands {
        Operands::F32 => 3e-6,
        Operands::Bf16 => 1e-2,
    }
}

fn activated(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Mish => x * x.exp().ln_1p().tanh(),
        // The approximation itself is tested in `math`.
        Activation::Gelu => {
            let mut value = [x as f32];
            math::activate(Activation::Gelu, &mut value);
            f64::from(value[0])
        }
    }
}

/// (n, h w, a) beside (n, h w, b), channels last.
fn joined(a: &[f32], ca: usize, b: &[f32], cb: usize) -> Vec<f32> {
    let pixels = a.len() / ca;
    let mut out = Vec::new();
    for p in 0..pixels {
        out.extend_from_slice(&a[p * ca..][..ca]);
        out.extend_from_slice(&b[p * cb..][..cb]);
    }
    out
}

fn conv_weights(
    kind: ConvKind,
    size: (usize, usize),
    c: usize,
    weights: &[f32],
    bias: &[f32],
) -> ConvWeights<'static> {
    let n = bias.len();
    ConvWeights { kind, size, weight: weight(&[n, c, 3, 3], weights), bias: weight(&[n], bias) }
}

#[test]
fn executors_go_to_other_threads() {
    fn send<T: Send>() {}
    send::<Cpu>();
    send::<Act>();
    send::<Rows>();
}

#[test]
fn norm_act_conv_matches_f64() {
    // (n, first source, second source, h, w, outputs, groups)
    let cases = [
        (1, 1, 0, 1, 1, 1, 1),
        (2, 6, 0, 5, 7, 5, 3),
        (3, 4, 8, 3, 3, 33, 3),
        (5, 20, 16, 4, 4, 50, 2),
        (1, 64, 64, 9, 8, 70, 32),
        (1, 160, 0, 2, 3, 16, 2),
        (2, 70, 5, 13, 18, 37, 5),
        (1, 8, 0, 3, 141, 3, 1),
        (17, 3, 0, 12, 12, 4, 1),
        (3, 16, 64, 4, 10, 48, 8),
    ];
    let all = [Activation::Silu, Activation::Relu, Activation::Gelu, Activation::Mish];
    for (case, (n, ca, cb, h, w, o, groups)) in cases.into_iter().enumerate() {
        let (c, pixels, activation) = (ca + cb, h * w, all[case % 4]);
        let mut random = Random(case as u64);
        let (a, b) = (random.values(n * pixels * ca), random.values(n * pixels * cb));
        let (gamma, beta) = (random.values(c), random.values(c));
        let (weights, bias) = (random.values(o * c * 9), random.values(o));
        let residual = random.values(n * pixels * o);
        let rows = random.values(n * (3 + o + 2 * c));
        let scale = 0.7;
        let whole = if cb == 0 { a.clone() } else { joined(&a, ca, &b, cb) };
        for how in [TimeUse::Bias, TimeUse::ScaleShift] {
            let mut normed = naive_norm(&widen(&whole), [n, c, h, w], &gamma, &beta, groups, 1e-5);
            let width = 3 + o + 2 * c;
            for (i, value) in normed.iter_mut().enumerate() {
                let row = &rows[i / c / pixels * width + 3 + o..][..2 * c];
                if how == TimeUse::ScaleShift {
                    *value = *value * (1.0 + f64::from(row[i % c])) + f64::from(row[c + i % c]);
                }
                *value = activated(activation, *value);
            }
            let mut expected = naive_conv(&normed, [n, c, h, w], &weights, &bias, 1, 1, (h, w));
            for (i, value) in expected.iter_mut().enumerate() {
                if how == TimeUse::Bias {
                    *value += f64::from(rows[i / o / pixels * width + 3 + i % o]);
                }
                *value = (*value + f64::from(residual[i])) * f64::from(scale);
            }
            let mut found: Vec<((Isa, Operands), Vec<f32>)> = Vec::new();
            for (device, mut cpu) in executors() {
                let conv =
                    Cpu::prepare_conv(&device, &conv_weights(ConvKind::Same, (h, w), c, &weights, &bias))
                        .unwrap();
                let norm = Cpu::prepare_norm(&device, &norm(&gamma, &beta, groups, 1e-5)).unwrap();
                let bytes = if device.operands == Operands::F32 { 4 } else { 2 };
                assert!(Cpu::prepared_bytes(&device) >= (o * c * 9 * bytes) as u64);
                let out = planned(&mut cpu, |cpu| {
                    let (x, y) = (act(cpu, [n, ca, h, w], &a)?, act(cpu, [n, cb, h, w], &b)?);
                    let residual = act(cpu, [n, o, h, w], &residual)?;
                    let time = act(cpu, [n, width, 1, 1], &rows)?;
                    let rows = Rows::of(time.slot, n, &[0, 3, 3 + o, width]);
                    let op = NormActConv {
                        norm: &norm,
                        activation,
                        conv: &conv,
                        dropout: false,
                        time: Some((&rows, if how == TimeUse::Bias { 1 } else { 2 }, how)),
                        residual: Some(&residual),
                        scale,
                    };
                    let x = if cb == 0 { Input::One(&x) } else { Input::Pair(&x, &y) };
                    cpu.norm_act_conv(x, op)
                });
                let error = difference(out.slot.values(), &expected);
                assert!(error < close(&device), "case {case} {how:?} {:?}: {error}", device.isa);
                // The same bits with one thread and with two.
                let values = out.slot.values().to_vec();
                let level = (device.isa, device.operands);
                if let Some((other, before)) = found.last() {
                    assert!(*other != level || *before == values, "case {case} {level:?}");
                }
                found.push((level, values));
            }
        }
    }
}

#[test]
fn resampling_matches_f64() {
    let kinds = [ConvKind::Down { symmetric: true }, ConvKind::Down { symmetric: false }, ConvKind::Up];
    for (n, c, h, w, o) in [(1, 3, 2, 2, 4), (2, 5, 7, 6, 40), (1, 64, 8, 9, 33), (4, 1, 3, 5, 1)] {
        for kind in kinds {
            let mut random = Random(3);
            let (x, weights, bias) =
                (random.values(n * c * h * w), random.values(o * c * 9), random.values(o));
            let wide = widen(&x);
            let expected = match kind {
                ConvKind::Up => {
                    let mut doubled = Vec::new();
                    for (image, y, x) in
                        (0..n).flat_map(|i| (0..2 * h).flat_map(move |y| (0..2 * w).map(move |x| (i, y, x))))
                    {
                        doubled.extend_from_slice(&wide[((image * h + y / 2) * w + x / 2) * c..][..c]);
                    }
                    let shape = [n, c, 2 * h, 2 * w];
                    naive_conv(&doubled, shape, &weights, &bias, 1, 1, (2 * h, 2 * w))
                }
                ConvKind::Down { symmetric } => {
                    let pad = usize::from(symmetric);
                    let size = |side: usize| (side + 1 + pad - 3) / 2 + 1;
                    naive_conv(&wide, [n, c, h, w], &weights, &bias, pad as isize, 2, (size(h), size(w)))
                }
                _ => unreachable!(),
            };
            for (device, mut cpu) in executors() {
                let conv =
                    Cpu::prepare_conv(&device, &conv_weights(kind, (h, w), c, &weights, &bias)).unwrap();
                let out = planned(&mut cpu, |cpu| {
                    let x = act(cpu, [n, c, h, w], &x)?;
                    if kind == ConvKind::Up { cpu.upsample(&x, &conv) } else { cpu.downsample(&x, &conv) }
                });
                let error = difference(out.slot.values(), &expected);
                assert!(error < close(&device), "{kind:?} {:?}: {error}", device.isa);
            }
        }
    }
}

#[test]
fn first_conv_step_and_last_conv_match_f64() {
    let (n, c, h, w, o) = (2, 3, 5, 4, 12);
    let mut random = Random(9);
    let x = random.values(n * c * h * w);
    let (w1, b1) = (random.values(o * c * 9), random.values(o));
    let (w2, b2) = (random.values(c * o * 9), random.values(c));
    let (gamma, beta) = (random.values(o), random.values(o));
    let to_nhwc = |values: &[f32]| -> Vec<f64> {
        (0..n * h * w * c)
            .map(|i| f64::from(values[(i / c / (h * w) * c + i % c) * h * w + i / c % (h * w)]))
            .collect()
    };
    for center in [false, true] {
        let first: Vec<f64> = to_nhwc(&x).iter().map(|v| if center { 2.0 * v - 1.0 } else { *v }).collect();
        let first = naive_conv(&first, [n, c, h, w], &w1, &b1, 1, 1, (h, w));
        let last = naive_norm(&first, [n, o, h, w], &gamma, &beta, 4, 1e-6);
        let last: Vec<f64> = last.iter().map(|&v| activated(Activation::Silu, v)).collect();
        let last = naive_conv(&last, [n, o, h, w], &w2, &b2, 1, 1, (h, w));
        let clipped = Clipped { x: 0.5, net: -0.3, limit: 0.4, weight: 0.9 };
        let step = Step { x: 0.8, net: 0.2, noise: 0.1, clipped: Some(clipped), spread: None };
        let expected: Vec<f64> = (to_nhwc(&x).iter().zip(&last))
            .map(|(x, net)| 0.8 * x + 0.2 * net + 0.1 * x + 0.9 * (0.5 * x - 0.3 * net).clamp(-0.4, 0.4))
            .collect();
        for (device, mut cpu) in executors() {
            let conv_in = conv_weights(ConvKind::In { center }, (h, w), c, &w1, &b1);
            let conv_in = Cpu::prepare_conv(&device, &conv_in).unwrap();
            let conv_out =
                Cpu::prepare_conv(&device, &conv_weights(ConvKind::Out, (h, w), o, &w2, &b2)).unwrap();
            let norm = Cpu::prepare_norm(&device, &norm(&gamma, &beta, 4, 1e-6)).unwrap();
            let (first_out, out) = planned(&mut cpu, |cpu| {
                let mut load = || cpu.load([n, c, h, w], &mut |to| to.copy_from_slice(&x));
                let (state, noise) = (load()?, load()?);
                let first = cpu.conv_in(&state, &conv_in)?;
                let net = cpu.conv_out(&first, &norm, &conv_out)?;
                Ok((first, cpu.combine(state, &net, Some(&noise), &step)?))
            });
            assert!(difference(first_out.slot.values(), &first) < close(&device));
            let out: Vec<f32> = to_nhwc(out.slot.values()).iter().map(|&v| v as f32).collect();
            assert!(difference(&out, &expected) < close(&device), "{:?}", device.isa);
        }
    }
}

#[test]
fn pointwise_and_attention_match_f64() {
    for (n, c, h, w, heads, normed) in
        [(1, 1, 1, 1, 1, true), (2, 12, 3, 5, 3, true), (1, 64, 6, 7, 1, false), (3, 40, 4, 4, 5, true)]
    {
        let (pixels, d) = (h * w, c / heads);
        let mut random = Random(11);
        let (x, y) = (random.values(n * pixels * c), random.values(n * pixels * 2));
        let (gamma, beta) = (random.values(c), random.values(c));
        let mut layer = |k: usize, o: usize| {
            let scale = 1.0 / (k as f32).sqrt();
            (random.values(k * o).iter().map(|v| v * scale).collect::<Vec<_>>(), random.values(o))
        };
        let layers: Vec<_> = (0..4).map(|_| layer(c, c)).collect();
        let wide = layer(c + 2, 7);
        let apply = |x: &[f64], (weights, bias): &(Vec<f32>, Vec<f32>)| -> Vec<f64> {
            let k = weights.len() / bias.len();
            let row = |row: &[f64], o: usize| -> f64 {
                row.iter().zip(&weights[o * k..]).map(|(x, &w)| x * f64::from(w)).sum()
            };
            let outputs =
                |r: &[f64]| (0..bias.len()).map(|o| row(r, o) + f64::from(bias[o])).collect::<Vec<_>>();
            x.chunks(k).flat_map(outputs).collect()
        };
        let input = widen(&x);
        let input = if normed { naive_norm(&input, [n, c, h, w], &gamma, &beta, 1, 1e-5) } else { input };
        let [q, k, v] = [0, 1, 2].map(|i| apply(&input, &layers[i]));
        let mut mixed = vec![0.0; n * pixels * c];
        for (image, head, i) in
            (0..n).flat_map(|a| (0..heads).flat_map(move |b| (0..pixels).map(move |i| (a, b, i))))
        {
            let at = |pixel: usize| (image * pixels + pixel) * c + head * d;
            let dot = |j: usize| (0..d).map(|e| q[at(i) + e] * k[at(j) + e]).sum::<f64>() / (d as f64).sqrt();
            let scores: Vec<f64> = (0..pixels).map(|j| dot(j).exp()).collect();
            let total: f64 = scores.iter().sum();
            for e in 0..d {
                mixed[at(i) + e] = (0..pixels).map(|j| scores[j] / total * v[at(j) + e]).sum();
            }
        }
        let projected = apply(&mixed, &layers[3]);
        let expected: Vec<f64> = projected.iter().zip(&x).map(|(p, &x)| (p + f64::from(x)) * 0.5).collect();
        let pointwise = apply(&widen(&joined(&x, c, &y, 2)), &wide);
        for (device, mut cpu) in executors() {
            let [q, k, v, out] = [0, 1, 2, 3].map(|i: usize| linear(&layers[i].0, &layers[i].1));
            let norm = normed.then(|| norm(&gamma, &beta, 1, 1e-5));
            let weights = AttentionWeights { norm, qkv: [q, k, v], out, heads, scale: 0.5 };
            let attention = Cpu::prepare_attention(&device, &weights).unwrap();
            let shortcut = Cpu::prepare_linear(&device, &linear(&wide.0, &wide.1)).unwrap();
            let (mixed, short) = planned(&mut cpu, |cpu| {
                let (x, y) = (act(cpu, [n, c, h, w], &x)?, act(cpu, [n, 2, h, w], &y)?);
                Ok((cpu.attention(&x, &attention)?, cpu.pointwise(Input::Pair(&x, &y), &shortcut)?))
            });
            let error = difference(mixed.slot.values(), &expected);
            assert!(error < close(&device), "{c} channels {heads} heads {:?}: {error}", device.isa);
            assert!(difference(short.slot.values(), &pointwise) < close(&device));
        }
    }
}

#[test]
fn time_rows_match_f64_and_are_kept() {
    let (c, d) = (5, 12);
    let mut random = Random(5);
    let (w1, b1, w2, b2) = (random.values(c * d), random.values(d), random.values(d * d), random.values(d));
    let (classes, p1, q1) = (random.values(10 * d), random.values(7 * d), random.values(7));
    let (p2, q2) = (random.values(40 * d), random.values(40));
    let (times, labels) = ([999.0, 0.0, 999.0, 500.25, 999.0], [3, 9, 3, 0, 4]);
    let dense = |x: &[f64], w: &[f32], b: &[f32]| -> Vec<f64> {
        let row = |o: usize| x.iter().zip(&w[o * x.len()..]).map(|(x, &w)| x * f64::from(w)).sum::<f64>();
        (0..b.len()).map(|o| row(o) + f64::from(b[o])).collect()
    };
    let silu = |x: Vec<f64>| x.into_iter().map(|x| activated(Activation::Silu, x)).collect::<Vec<_>>();
    let mut expected = Vec::new();
    for (t, label) in times.into_iter().zip(labels) {
        let mut x = vec![0.0; c];
        for i in 0..2 {
            let f = (-(10000f64.ln()) * i as f64 / 2.0).exp();
            // In f32, as diffusers: sines of rounded arguments.
            let argument = f64::from(t * f as f32);
            (x[i], x[2 + i]) = (argument.cos(), argument.sin());
        }
        let x = silu(dense(&x, &w1, &b1));
        let x = dense(&x, &w2, &b2);
        let x = x.iter().enumerate().map(|(i, x)| x + f64::from(classes[label as usize * d + i])).collect();
        let x = silu(x);
        expected.extend(dense(&x, &p1, &q1));
        expected.extend(dense(&x, &p2, &q2));
    }
    for (device, mut cpu) in executors() {
        let weights = TimeWeights {
            channels: c,
            flip_sin_to_cos: true,
            freq_shift: 0.0,
            linear_1: linear(&w1, &b1),
            linear_2: linear(&w2, &b2),
            class_embedding: Some(weight(&[10, d], &classes)),
            class_use: ClassUse::Embedding,
            activation: Activation::Silu,
            projections: vec![linear(&p1, &q1), linear(&p2, &q2)],
        };
        let time = Cpu::prepare_time(&device, &weights).unwrap();
        let rows = planned(&mut cpu, |cpu| cpu.time(&time, &times, Some(&labels)));
        let first = rows.slot(0, 7, 5).unwrap().to_vec();
        assert!(
            difference(&first, &expected) < close(&device).max(5e-6),
            "{:?} {}",
            device.isa,
            difference(&first, &expected)
        );
        drop(rows);
        // Kept rows, and single images, have the same bits.
        for image in 0..5 {
            let rows = cpu.time(&time, &times[image..=image], Some(&labels[image..=image])).unwrap();
            assert_eq!(rows.slot(0, 7, 1).unwrap(), &first[image * 47..][..47]);
        }
        for t in 0..200 {
            let rows = cpu.time(&time, &[t as f32], Some(&[1])).unwrap();
            assert!(
                rows.slot(1, 40, 1).is_ok() && rows.slot(1, 41, 1).is_err() && rows.slot(2, 0, 1).is_err()
            );
        }
        let rows = cpu.time(&time, &times, Some(&labels)).unwrap();
        assert_eq!(rows.slot(0, 7, 5).unwrap(), first);
        drop(rows);
        for bad in [-1, 10, i32::MIN, i32::MAX] {
            assert!(matches!(cpu.time(&time, &[1.0], Some(&[bad])), Err(Error::Internal(_))));
        }
        assert!(cpu.time(&time, &[1.0], None).is_err());
    }
}
