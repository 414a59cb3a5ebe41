//! Gradients against differences of the same network in f64, written in plain loops: random networks that use every
//! operation, sizes that fit no vector, every instruction set, one thread and three.

use super::super::testing::{Random, naive_conv};
use super::*;
use crate::cpu_features::Isa;
use crate::exec::{Activation, ClassUse, ReadValues, Weight};
use crate::model::{Heads, Level, LevelAttention, Network, Params, Resample, UNet};
use crate::noise::words;

/// The network in f64. Layers are the tape's.
struct Naive(Vec<f64>, Option<Dropout>, u32);

#[derive(Clone)]
struct Plain {
    /// (batch, height, width, channels)
    values: Vec<f64>,
    shape: [usize; 4],
}

fn act(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::Silu => x / (1.0 + (-x).exp()),
        Activation::Relu => x.max(0.0),
        Activation::Mish => x * x.exp().ln_1p().tanh(),
        Activation::Gelu => panic!("no closed form in f64; its derivative is tested in `math`"),
    }
}

fn joined(x: Input<Plain>) -> Plain {
    match x {
        Input::One(x) => x.clone(),
        Input::Pair(x, y) => {
            let ([n, a, h, w], b) = (x.shape, y.shape[1]);
            let pixels = x.values.chunks(a).zip(y.values.chunks(b));
            let values = pixels.flat_map(|(x, y)| x.iter().chain(y).copied().collect::<Vec<f64>>()).collect();
            Plain { values, shape: [n, a + b, h, w] }
        }
    }
}

fn resized(x: &Plain, resize: Resize) -> Plain {
    let [n, c, h, w] = x.shape;
    let (down, across) = (resize.of(h), resize.of(w));
    let value = |i: usize| {
        let (pixel, channel) = (i / c, i % c);
        let (image, row, column) = (pixel / across / down, pixel / across % down, pixel % across);
        let at = |y: usize, x: usize| ((image * h + y) * w + x) * c + channel;
        match resize {
            Resize::Double => x.values[at(row / 2, column / 2)],
            Resize::Halve => {
                (0..4).map(|i| x.values[at(2 * row + i / 2, 2 * column + i % 2)]).sum::<f64>() / 4.0
            }
        }
    };
    Plain { values: (0..n * c * down * across).map(value).collect(), shape: [n, c, down, across] }
}

impl Naive {
    fn conv(&self, x: &Plain, layer: &ConvLayer) -> Plain {
        let [n, c, h, w] = x.shape;
        let outputs = layer.bias.len();
        let (mut x, mut size, mut pad, mut stride) = (x.values.clone(), (h, w), 1, 1);
        let mut out = (h, w);
        if let ConvKind::Down { symmetric } = layer.kind {
            (pad, stride) = (isize::from(symmetric), 2);
            let side = |side: usize| (side + 1 + usize::from(symmetric) - 3) / 2 + 1;
            out = (side(h), side(w));
        }
        if let Some(resize) = layer.kind.resize() {
            let other = resized(&Plain { values: x, shape: [n, c, h, w] }, resize);
            x = other.values;
            size = (other.shape[2], other.shape[3]);
            out = size;
        }
        let shape = [n, c, size.0, size.1];
        let (weights, bias) = (layer.weight.of(&self.0), layer.bias.of(&self.0));
        let values = naive_conv(&x, shape, weights, bias, pad, stride, out);
        Plain { values, shape: [n, outputs, out.0, out.1] }
    }

    fn linear(&self, x: &Plain, layer: &LinearLayer) -> Plain {
        let [n, c, h, w] = x.shape;
        let (weights, bias) = (layer.weight.of(&self.0), layer.bias.of(&self.0));
        let row = |x: &[f64]| -> Vec<f64> {
            let product = |(weights, bias): (&[f64], &f64)| {
                bias + x.iter().zip(weights).map(|(x, w)| x * w).sum::<f64>()
            };
            weights.chunks(c).zip(bias).map(product).collect()
        };
        Plain { values: x.values.chunks(c).flat_map(row).collect(), shape: [n, bias.len(), h, w] }
    }

    fn norm(&self, x: &Plain, layer: &NormLayer) -> Plain {
        let [n, c, h, w] = x.shape;
        let (pixels, size) = (h * w, c / layer.groups);
        let (gamma, beta) = (layer.weight.of(&self.0), layer.bias.of(&self.0));
        let mut out = x.clone();
        for image in 0..n {
            for group in 0..layer.groups {
                let places: Vec<usize> = (0..pixels)
                    .flat_map(|p| (0..size).map(move |i| (image * pixels + p) * c + group * size + i))
                    .collect();
                let number = places.len() as f64;
                let mean = places.iter().map(|&at| x.values[at]).sum::<f64>() / number;
                let variance = places.iter().map(|&at| (x.values[at] - mean).powi(2)).sum::<f64>() / number;
                for at in places {
                    let value = (x.values[at] - mean) / (variance + f64::from(layer.eps)).sqrt();
                    out.values[at] = value * gamma[at % c] + beta[at % c];
                }
            }
        }
        out
    }
}

impl Executor for Naive {
    type Device = ParameterMap;
    type Conv = ConvLayer;
    type Linear = LinearLayer;
    type Norm = NormLayer;
    type Attention = AttentionLayer;
    type Time = Arc<TimeLayer>;
    /// A row an image, and where the slots begin.
    type Rows = (Plain, Vec<usize>);
    type Act = Plain;
    type State = Plain;

    fn prepare_conv(map: &ParameterMap, weights: &ConvWeights) -> Result<ConvLayer> {
        ConvLayer::new(map, weights)
    }
    fn prepare_linear(map: &ParameterMap, weights: &LinearWeights) -> Result<LinearLayer> {
        LinearLayer::new(map, weights)
    }
    fn prepare_norm(map: &ParameterMap, weights: &NormWeights) -> Result<NormLayer> {
        NormLayer::new(map, weights)
    }
    fn prepare_attention(map: &ParameterMap, weights: &AttentionWeights) -> Result<AttentionLayer> {
        AttentionLayer::new(map, weights)
    }
    fn prepare_time(map: &ParameterMap, weights: &TimeWeights) -> Result<Arc<TimeLayer>> {
        TimeLayer::new(map, weights).map(Arc::new)
    }
    fn prepared_bytes(_: &ParameterMap) -> u64 {
        0
    }

    fn load(&mut self, shape: [usize; 4], fill: &mut dyn FnMut(&mut [f32])) -> Result<Plain> {
        let [n, c, h, w] = shape;
        let mut planes = vec![0.0; shape.iter().product()];
        fill(&mut planes);
        let at = |i: usize| {
            let (pixel, channel) = (i / c, i % c);
            let (image, pixel) = (pixel / (h * w), pixel % (h * w));
            f64::from(planes[(image * c + channel) * h * w + pixel])
        };
        Ok(Plain { values: (0..n * c * h * w).map(at).collect(), shape })
    }

    fn time(&mut self, time: &Arc<TimeLayer>, times: &[f32], labels: Option<&[i32]>) -> Result<Self::Rows> {
        let n = times.len();
        let mut sinusoids = vec![0.0f32; n * time.channels];
        for (row, &t) in sinusoids.chunks_mut(time.channels).zip(times) {
            crate::exec::time::sinusoid(t, (time.flip_sin_to_cos, time.freq_shift), row);
        }
        let with_classes = |mut x: Plain, here| {
            let d = x.shape[1];
            if let (Some(classes), Some(labels)) = (time.classes, labels)
                && time.class_use == here
            {
                let classes = classes.of(&self.0);
                for (i, value) in x.values.iter_mut().enumerate() {
                    *value += classes[labels[i / d] as usize * d + i % d];
                }
            }
            x
        };
        let x =
            Plain { values: sinusoids.iter().map(|&x| x.into()).collect(), shape: [n, time.channels, 1, 1] };
        let x = with_classes(x, ClassUse::Sinusoid);
        let mut x = self.linear(&x, &time.linear_1);
        x.values.iter_mut().for_each(|x| *x = act(Activation::Silu, *x));
        let mut x = with_classes(self.linear(&x, &time.linear_2), ClassUse::Embedding);
        x.values.iter_mut().for_each(|x| *x = act(time.activation, *x));
        let parts: Vec<Plain> = time.projections.iter().map(|layer| self.linear(&x, layer)).collect();
        let row = |image: usize| -> Vec<f64> {
            parts
                .iter()
                .flat_map(|part| part.values.chunks(part.shape[1]).nth(image).unwrap().to_vec())
                .collect()
        };
        let width = time.slots[time.slots.len() - 1];
        Ok((Plain { values: (0..n).flat_map(row).collect(), shape: [n, width, 1, 1] }, time.slots.clone()))
    }

    fn conv_in(&mut self, x: &Plain, conv: &ConvLayer) -> Result<Plain> {
        let mut x = x.clone();
        if matches!(conv.kind, ConvKind::In { center: true }) {
            x.values.iter_mut().for_each(|x| *x = 2.0 * *x - 1.0);
        }
        Ok(self.conv(&x, conv))
    }

    fn norm_act_conv(&mut self, x: Input<Plain>, op: NormActConv<Self>) -> Result<Plain> {
        let mut h = self.norm(&joined(x), op.norm);
        let [_, c, height, width] = h.shape;
        let time = op.time.map(|((rows, slots), slot, how)| {
            let row = rows.shape[1];
            let first = slots[slot];
            (move |image: usize, i: usize| rows.values[image * row + first + i], how)
        });
        if let Some((row, TimeUse::ScaleShift)) = &time {
            for (i, value) in h.values.iter_mut().enumerate() {
                let image = i / c / (height * width);
                *value = *value * (1.0 + row(image, i % c)) + row(image, c + i % c);
            }
        }
        h.values.iter_mut().for_each(|x| *x = act(op.activation, *x));
        if let Some(dropout) = self.1.as_ref().filter(|_| op.dropout) {
            let image = c * height * width;
            for (i, value) in h.values.iter_mut().enumerate() {
                *value *= f64::from(dropout.factor(i / image, self.2, i % image));
            }
            self.2 += 1;
        }
        let mut out = self.conv(&h, op.conv);
        let [_, outputs, height, width] = out.shape;
        for (i, value) in out.values.iter_mut().enumerate() {
            if let Some((row, TimeUse::Bias)) = &time {
                *value += row(i / outputs / (height * width), i % outputs);
            }
            *value += op.residual.map_or(0.0, |residual| residual.values[i]);
            *value *= f64::from(op.scale);
        }
        Ok(out)
    }

    fn pointwise(&mut self, x: Input<Plain>, linear: &LinearLayer) -> Result<Plain> {
        Ok(self.linear(&joined(x), linear))
    }

    fn attention(&mut self, x: &Plain, attention: &AttentionLayer) -> Result<Plain> {
        let [n, c, h, w] = x.shape;
        let (pixels, width) = (h * w, c / attention.heads);
        let normed = attention.norm.as_ref().map_or_else(|| x.clone(), |norm| self.norm(x, norm));
        let [q, k, v] = attention.qkv.each_ref().map(|layer| self.linear(&normed, layer).values);
        let mut attended = vec![0.0; x.values.len()];
        for (image, head) in (0..n).flat_map(|n| (0..attention.heads).map(move |head| (n, head))) {
            let at = |pixel: usize, i: usize| (image * pixels + pixel) * c + head * width + i;
            for p in 0..pixels {
                let score = |other: usize| {
                    (0..width).map(|i| q[at(p, i)] * k[at(other, i)]).sum::<f64>() / (width as f64).sqrt()
                };
                let scores: Vec<f64> = (0..pixels).map(|other| score(other).exp()).collect();
                let sum: f64 = scores.iter().sum();
                for i in 0..width {
                    attended[at(p, i)] = (0..pixels).map(|other| scores[other] / sum * v[at(other, i)]).sum();
                }
            }
        }
        let mut out = self.linear(&Plain { values: attended, shape: x.shape }, &attention.out);
        for (out, x) in out.values.iter_mut().zip(&x.values) {
            *out = (*out + x) * f64::from(attention.scale);
        }
        Ok(out)
    }

    fn resize(&mut self, x: &Plain, resize: Resize) -> Result<Plain> {
        Ok(resized(x, resize))
    }
    fn downsample(&mut self, x: &Plain, conv: &ConvLayer) -> Result<Plain> {
        Ok(self.conv(x, conv))
    }
    fn upsample(&mut self, x: &Plain, conv: &ConvLayer) -> Result<Plain> {
        Ok(self.conv(x, conv))
    }
    fn conv_out(&mut self, x: &Plain, norm: &NormLayer, conv: &ConvLayer) -> Result<Plain> {
        let op = NormActConv::silu(norm, conv);
        self.norm_act_conv(Input::One(x), op)
    }
    fn combine(&mut self, _: Plain, _: &Plain, _: Option<&Plain>, _: &Step) -> Result<Plain> {
        unreachable!("training takes no sampler's steps")
    }
    fn emit(&mut self, _: &Plain, _: &Layout, _: &mut [u8]) -> Result<()> {
        unreachable!("training writes no pixels")
    }
}

/// Parameters of every name and shape.
struct Any;
impl Params for Any {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight<'_>> {
        struct Zeros;
        impl ReadValues for Zeros {
            fn read(&self, _: usize, out: &mut [f32]) -> Result<()> {
                out.fill(0.0);
                Ok(())
            }
        }
        Ok(Weight { name: name.to_owned(), shape: shape.to_vec(), values: Box::new(Zeros) })
    }
}

/// Networks whose sizes fit no vector, which together use every operation and every option of it.
fn networks() -> Vec<Network> {
    let level = |attention, resample| Level { attention, resample };
    let (none, each) = (LevelAttention::None, LevelAttention::Each);
    let (plain, attention) = (level(none, Resample::Conv), level(each, Resample::Conv));
    let base = Network {
        size: (6, 10),
        block_out_channels: vec![6, 10],
        layers_per_block: 1,
        down: vec![plain, attention],
        up: vec![attention, plain],
        norm_num_groups: 2,
        norm_eps: 1e-5,
        time_proj_channels: 6,
        time_embedding_dim: 9,
        num_classes: Some(3),
        ..Network::default()
    };
    vec![
        base.clone(),
        Network {
            size: (8, 4),
            channels: 1,
            block_out_channels: vec![17, 34],
            heads: Heads::Width(17),
            norm_num_groups: 17,
            mid_block_scale_factor: 1.5,
            symmetric_downsample: true,
            dropout: 0.3,
            activation: Activation::Mish,
            center_input_sample: true,
            scale_shift: true,
            num_classes: None,
            attn_norm_num_groups: Some(2),
            ..base.clone()
        },
        Network {
            size: (12, 12),
            channels: 5,
            block_out_channels: vec![19],
            down: vec![plain],
            up: vec![plain],
            mid_attention: false,
            norm_num_groups: 1,
            activation: Activation::Relu,
            dropout: 0.5,
            ..base.clone()
        },
        // Past 64 columns: several blocks of outputs, several chunks of channels; without a norm in the middle.
        Network {
            size: (4, 4),
            block_out_channels: vec![72],
            down: vec![attention],
            up: vec![plain],
            norm_num_groups: 4,
            scale_shift: true,
            ..base.clone()
        },
        // Residual blocks that halve and double, with time as a bias and as scale and shift.
        Network {
            down: vec![level(none, Resample::Resnet), plain],
            up: vec![level(none, Resample::Resnet), plain],
            mid_attention: false,
            ..base.clone()
        },
        Network {
            down: vec![level(each, Resample::Resnet), plain],
            up: vec![level(each, Resample::Resnet), attention],
            scale_shift: true,
            attn_norm_num_groups: Some(5),
            ..base.clone()
        },
        // DDPM++'s: scaled sums, 1x1 convolutions where blocks resample, attention in its places, classes in the sinusoid.
        Network {
            down: vec![level(none, Resample::Resnet), attention],
            up: vec![level(LevelAttention::Last, Resample::Resnet), plain],
            norm_num_groups: 4,
            norm_min_channels: 2,
            block_out_channels: vec![6, 6],
            mid_block_scale_factor: std::f32::consts::SQRT_2,
            output_scale_factor: std::f32::consts::SQRT_2,
            resample_projection: true,
            time_proj_channels: 7,
            class_use: ClassUse::Sinusoid,
            ..base
        },
    ]
}

#[test]
fn every_parameters_gradient_agrees_with_differences() {
    std::thread::scope(|scope| {
        for (case, network) in networks().into_iter().enumerate() {
            scope.spawn(move || gradients_agree_with_differences(case, &network));
        }
    });
}

fn gradients_agree_with_differences(case: usize, network: &Network) {
    let (mut random, n) = (Random(case as u64), 2);
    let shape = [n, network.channels, network.size.0, network.size.1];
    let (x, weights) = (random.values(shape.iter().product()), random.values(shape.iter().product()));
    let times = [3.0, 990.5];
    let labels = network.num_classes.map(|_| vec![0, 2]);
    let map = ParameterMap::default();
    let naive = UNet::<Naive>::new(network, &Any, &map).unwrap();
    let parameters = map.parameters();
    let values = random.values(parameters.last().unwrap().range.end);
    let values: Vec<f32> = values.iter().map(|value| value * 0.4).collect();
    let seeds = vec![case as u64, 1 << 40];
    let dropout = (network.dropout > 0.0).then_some(Dropout { words, rate: network.dropout, seeds });
    // sum of weights times prediction
    let direction = random.values(x.len());
    // With the input moved so far in this direction.
    let loss_at = |values: Vec<f64>, by: f64| -> f64 {
        let mut exec = Naive(values, dropout.clone(), 0);
        let mut x = exec.load(shape, &mut |out| out.copy_from_slice(&x)).unwrap();
        let moves = exec.load(shape, &mut |out| out.copy_from_slice(&direction)).unwrap();
        x.values.iter_mut().zip(&moves.values).for_each(|(x, direction)| *x += by * direction);
        let net = naive.forward(&mut exec, &x, &times, labels.as_deref(), &mut || Ok(())).unwrap();
        let weighted = exec.load(shape, &mut |out| out.copy_from_slice(&weights)).unwrap();
        net.values.iter().zip(&weighted.values).map(|(net, weight)| net * weight).sum()
    };

    let (mut levels, mut inputs): (Vec<Vec<f32>>, Vec<Vec<f32>>) = Default::default();
    for isa in Isa::available() {
        for threads in [1, 3] {
            let map = ParameterMap::default();
            let unet = UNet::<Tape>::new(network, &Any, &map).unwrap();
            assert_eq!(map.parameters(), parameters);
            let device = CpuDevice::of(isa, Operands::F32, Packing::Fast, threads);
            let mut tape = Tape::of(device, threads).unwrap();
            *tape.parameters_mut() = values.clone();
            tape.set_dropout(dropout.clone());
            let forward = |tape: &mut Tape| {
                let x = tape.load(shape, &mut |out| out.copy_from_slice(&x))?;
                unet.forward(tape, &x, &times, labels.as_deref(), &mut || Ok(()))
            };
            let loss = |_: &[f32], gradient: &mut [f32]| gradient.copy_from_slice(&weights);
            tape.plan(&mut |tape| {
                let net = forward(tape)?;
                tape.backward_to_input(net, loss, |_| {})
            })
            .unwrap();
            let net = forward(&mut tape).unwrap();
            tape.backward(net, loss).unwrap();
            levels.push(tape.gradients_mut().0.to_vec());
            let net = forward(&mut tape).unwrap();
            tape.backward_to_input(net, loss, |gradient| inputs.push(gradient.to_vec())).unwrap();
            assert_eq!(tape.gradients_mut().0, levels.last().unwrap());
        }
        let [.., one, three] = &levels[..] else { unreachable!() };
        assert!(one.iter().zip(three).all(|(a, b)| a.to_bits() == b.to_bits()), "{isa:?}: threads differ");
    }

    let wide: Vec<f64> = values.iter().map(|&value| value.into()).collect();
    let expected = (loss_at(wide.clone(), 1e-6) - loss_at(wide, -1e-6)) / 2e-6;
    for input in &inputs {
        let found: f64 = input.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
        assert!(
            (found - expected).abs() < 2e-4 * expected.abs() + 1e-4,
            "{case} input: {found}, not {expected}"
        );
    }

    let scale = levels[0].iter().map(|g| f64::from(*g).abs()).fold(0.0, f64::max);
    for parameter in &parameters {
        let direction = random.values(parameter.range.len());
        let moved = |by: f64| {
            let mut values: Vec<f64> = values.iter().map(|&value| value.into()).collect();
            for (value, direction) in values[parameter.range.clone()].iter_mut().zip(&direction) {
                *value += by * f64::from(*direction);
            }
            loss_at(values, 0.0)
        };
        // Small, for ReLU's corners.
        let step = 1e-6;
        let expected = (moved(step) - moved(-step)) / (2.0 * step);
        for gradients in &levels {
            let gradients = &gradients[parameter.range.clone()];
            let found: f64 = gradients.iter().zip(&direction).map(|(g, d)| f64::from(g * d)).sum();
            let length = (parameter.range.len() as f64).sqrt();
            let tolerance = 2e-4 * expected.abs() + 2e-6 * scale * length;
            let name = &parameter.name;
            assert!((found - expected).abs() < tolerance, "{case} {name}: {found}, not {expected}");
            // A bias of one channel a group in front of a norm does nothing, and nor does a key's bias.
            let does_nothing = name.ends_with("to_k.bias");
            assert!(does_nothing || gradients.iter().any(|g| *g != 0.0), "{case} {name}: no gradient");
        }
    }
}

#[test]
fn as_many_are_dropped_as_asked_for_and_the_mean_stays() {
    for rate in [0.0, 0.1, 0.5] {
        let dropout = Dropout { words, rate, seeds: vec![7, 8] };
        let values: Vec<f32> = (0..40_000).map(|at| dropout.factor(0, 3, at)).collect();
        let dropped = values.iter().filter(|value| **value == 0.0).count() as f32 / 4e4;
        let mean = values.iter().sum::<f32>() / 4e4;
        assert!((dropped - rate).abs() < 0.01 && (mean - 1.0).abs() < 0.02, "{rate}: {dropped}, {mean}");
    }
    let dropout = Dropout { words, rate: 0.5, seeds: vec![7, 8] };
    let row = |image, layer| -> Vec<f32> { (0..64).map(|at| dropout.factor(image, layer, at)).collect() };
    assert!(row(0, 3) != row(0, 4) && row(0, 3) != row(1, 3));
}
