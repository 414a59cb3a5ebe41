//! Random chains of operations, which every executor must give the same images for: odd sizes, one pixel, batches of 1
//! to 17.

use onestep::Result;
use onestep::exec::{
    Activation, AttentionWeights, ClassUse, ConvKind, ConvWeights, Executor, Input, LinearWeights,
    NormActConv, NormWeights, ReadValues, Resize, TimeUse, TimeWeights, Weight,
};
use onestep::image::{Format, Layout};

/// Channels that fit no vector, and one.
pub const ODD: &[usize] = &[1, 4, 5, 6, 15, 16, 32, 33, 40, 64, 70];

/// A linear congruential generator.
pub struct Random(pub u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }
    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.next() as usize % choices.len()]
    }
    fn value(&mut self) -> f32 {
        self.next() as f32 / (1u64 << 30) as f32 - 1.0
    }
}

/// The values of a tensor, which both executors read.
struct Values(u64, f32);

impl ReadValues for Values {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        for (i, value) in out.iter_mut().enumerate() {
            let mut random = Random(self.0 ^ ((start + i) as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
            random.next();
            *value = random.value() * self.1;
        }
        Ok(())
    }
}

/// A tensor whose products are `factor` times the size of what they are multiplied with.
pub fn tensor(random: &mut Random, shape: &[usize], factor: f32) -> Weight<'static> {
    let fan_in: usize = shape[1..].iter().product();
    let scale = if shape.len() == 1 { factor } else { factor * (3.0 / fan_in as f32).sqrt() };
    Weight {
        name: "random".to_owned(),
        shape: shape.to_vec(),
        values: Box::new(Values(random.next(), scale)),
    }
}

fn conv(
    random: &mut Random,
    kind: ConvKind,
    size: (usize, usize),
    k: usize,
    n: usize,
) -> ConvWeights<'static> {
    ConvWeights { kind, size, weight: tensor(random, &[n, k, 3, 3], 1.0), bias: tensor(random, &[n], 1.0) }
}

fn linear(random: &mut Random, k: usize, n: usize) -> LinearWeights<'static> {
    LinearWeights { weight: tensor(random, &[n, k], 1.0), bias: tensor(random, &[n], 1.0) }
}

fn norm(random: &mut Random, channels: usize) -> NormWeights<'static> {
    let groups = [4, 3, 2, 1].into_iter().find(|groups| channels.is_multiple_of(*groups)).unwrap_or(1);
    NormWeights {
        weight: tensor(random, &[channels], 1.0),
        bias: tensor(random, &[channels], 1.0),
        groups,
        eps: 1e-3,
    }
}

/// A chain of operations drawn from `seed`, its channels from `widths`: its output, as floats.
pub fn run<E: Executor>(exec: &mut E, device: &E::Device, widths: &[usize], seed: u64) -> Result<Vec<f32>> {
    let mut random = Random(seed);
    let mut draw = || random.next();
    draw();
    let random = &mut random;
    let batch = random.one_of(&[1, 2, 3, 17]);
    let (mut h, mut w) = (random.one_of(&[1, 2, 3, 5, 8, 13, 16]), random.one_of(&[1, 2, 4, 7, 12, 17]));
    let image_channels = random.one_of(&[1, 3]);
    let mut c = random.one_of(widths);
    let shape = [batch, image_channels, h, w];

    // Everything is prepared before the chain runs, and runs twice: once to plan, once for good.
    enum Layer<E: Executor> {
        Block(E::Norm, E::Conv, usize, TimeUse, Activation, bool, f32),
        Joined(E::Norm, E::Conv, E::Linear),
        Attention(E::Attention),
        Resample(E::Conv, bool),
        Resized(E::Norm, E::Conv, usize, TimeUse, Resize),
    }
    let center = random.one_of(&[false, true]);
    let first = E::prepare_conv(device, &conv(random, ConvKind::In { center }, (h, w), image_channels, c))?;
    let start = c;
    let mut layers: Vec<Layer<E>> = Vec::new();
    let mut projections = Vec::new();
    let embedding = 7;
    let mut joinable = Some(start);
    for _ in 0..3 {
        let (size, n) = ((h, w), random.one_of(widths));
        match random.next() % 5 {
            0 => {
                let how = random.one_of(&[TimeUse::Bias, TimeUse::ScaleShift]);
                let residual = random.one_of(&[false, true]);
                let n = if residual { c } else { n };
                projections.push(linear(random, embedding, if how == TimeUse::Bias { n } else { 2 * c }));
                let activation =
                    random.one_of(&[Activation::Silu, Activation::Relu, Activation::Gelu, Activation::Mish]);
                layers.push(Layer::Block(
                    E::prepare_norm(device, &norm(random, c))?,
                    E::prepare_conv(device, &conv(random, ConvKind::Same, size, c, n))?,
                    projections.len() - 1,
                    how,
                    activation,
                    residual,
                    random.one_of(&[1.0, 0.5]),
                ));
                c = n;
            }
            1 if joinable.is_some() => {
                let both = c + start;
                layers.push(Layer::Joined(
                    E::prepare_norm(device, &norm(random, both))?,
                    E::prepare_conv(device, &conv(random, ConvKind::Same, size, both, n))?,
                    E::prepare_linear(device, &linear(random, both, n))?,
                ));
                c = n;
            }
            // All pixels by all pixels, which the reference holds at once.
            2 if batch * (h * w).pow(2) < 1 << 20 => {
                let heads = [3, 2, 1].into_iter().find(|heads| c.is_multiple_of(*heads)).unwrap_or(1);
                let weights = AttentionWeights {
                    norm: random.one_of(&[false, true]).then(|| norm(random, c)),
                    qkv: [linear(random, c, c), linear(random, c, c), linear(random, c, c)],
                    out: linear(random, c, c),
                    heads,
                    scale: 0.7,
                };
                layers.push(Layer::Attention(E::prepare_attention(device, &weights)?));
            }
            3 if batch * h * w < 600 || h.is_multiple_of(2) && w.is_multiple_of(2) => {
                let even = h.is_multiple_of(2) && w.is_multiple_of(2);
                let resize =
                    if even && random.one_of(&[false, true]) { Resize::Halve } else { Resize::Double };
                let kind = if resize == Resize::Halve { ConvKind::Pooled } else { ConvKind::Up };
                let how = random.one_of(&[TimeUse::Bias, TimeUse::ScaleShift]);
                projections.push(linear(random, embedding, if how == TimeUse::Bias { c } else { 2 * c }));
                layers.push(Layer::Resized(
                    E::prepare_norm(device, &norm(random, c))?,
                    E::prepare_conv(device, &conv(random, kind, size, c, c))?,
                    projections.len() - 1,
                    how,
                    resize,
                ));
                (h, w) = (resize.of(h), resize.of(w));
                joinable = None;
            }
            _ => {
                let up = h < 4 || w < 4 || batch * h * w < 600 && random.one_of(&[false, true]);
                let symmetric = random.one_of(&[false, true]);
                let kind = if up { ConvKind::Up } else { ConvKind::Down { symmetric } };
                layers.push(Layer::Resample(E::prepare_conv(device, &conv(random, kind, size, c, n))?, up));
                // Stride 2 over a border of one or two: the last row of an odd height has no partner without one.
                let smaller = |side: usize| if symmetric { side.div_ceil(2) } else { side / 2 };
                (h, w) = if up { (2 * h, 2 * w) } else { (smaller(h), smaller(w)) };
                c = n;
                joinable = None;
            }
        }
    }
    let last_norm = E::prepare_norm(device, &norm(random, c))?;
    let last = E::prepare_conv(device, &conv(random, ConvKind::Out, (h, w), c, image_channels))?;
    // One that nobody reads, since a chain may have none.
    projections.push(linear(random, embedding, 3));
    let time = E::prepare_time(
        device,
        &TimeWeights {
            channels: 8,
            flip_sin_to_cos: random.one_of(&[false, true]),
            freq_shift: 1.0,
            linear_1: linear(random, 8, embedding),
            linear_2: linear(random, embedding, embedding),
            class_embedding: None,
            class_use: ClassUse::Embedding,
            activation: Activation::Silu,
            projections,
        },
    )?;
    let times: Vec<f32> = (0..batch).map(|image| (image * 61 % 1000) as f32 + 0.25).collect();
    let pixels = random.next();

    let chain = |exec: &mut E| -> Result<E::State> {
        let rows = exec.time(&time, &times, None)?;
        let x = exec.load(shape, &mut |out| Values(pixels, 1.0).read(0, out).expect("in memory"))?;
        let begin = exec.conv_in(&x, &first)?;
        let mut h: Option<E::Act> = None;
        for layer in &layers {
            let x = h.as_ref().unwrap_or(&begin);
            h = Some(match layer {
                Layer::Block(norm, conv, slot, how, activation, residual, scale) => exec.norm_act_conv(
                    Input::One(x),
                    NormActConv {
                        norm,
                        activation: *activation,
                        conv,
                        dropout: false,
                        time: Some((&rows, *slot, *how)),
                        residual: residual.then_some(x),
                        scale: *scale,
                    },
                )?,
                Layer::Joined(norm, conv, shortcut) => {
                    let both = Input::Pair(x, &begin);
                    let residual = exec.pointwise(both, shortcut)?;
                    let op = NormActConv { residual: Some(&residual), ..NormActConv::silu(norm, conv) };
                    exec.norm_act_conv(both, op)?
                }
                Layer::Attention(attention) => exec.attention(x, attention)?,
                Layer::Resized(norm, conv, slot, how, resize) => {
                    let residual = exec.resize(x, *resize)?;
                    let time = Some((&rows, *slot, *how));
                    let op = NormActConv { time, residual: Some(&residual), ..NormActConv::silu(norm, conv) };
                    exec.norm_act_conv(Input::One(x), op)?
                }
                Layer::Resample(conv, true) => exec.upsample(x, conv)?,
                Layer::Resample(conv, false) => exec.downsample(x, conv)?,
            });
        }
        exec.conv_out(h.as_ref().unwrap_or(&begin), &last_norm, &last)
    };
    exec.plan(&mut |exec| chain(exec).map(drop))?;
    let net = chain(exec)?;
    let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
    let mut bytes = vec![0; 4 * batch * image_channels * h * w];
    exec.emit(&net, &layout, &mut bytes)?;
    Ok(bytes.chunks_exact(4).map(|b| f32::from_ne_bytes(b.try_into().expect("four bytes"))).collect())
}

/// Relative RMS.
pub fn difference(found: &[f32], expected: &[f32]) -> f64 {
    assert_eq!(found.len(), expected.len());
    let error: f64 = found.iter().zip(expected).map(|(f, e)| f64::from(f - e).powi(2)).sum();
    let size: f64 = expected.iter().map(|&e| f64::from(e).powi(2)).sum();
    (error / size.max(1e-12)).sqrt()
}
