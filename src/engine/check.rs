//! Whether a GPU gives the CPU's answers. It is asked before a process first draws on it: kernels are compiled by whatever
//! driver is there, for a device that nobody may have tried, and a wrong one would draw pictures that only look strange.

use crate::error::{Error, Result};
use crate::exec::cpu::{Cpu, CpuDevice, Operands, Packing};
use crate::exec::cuda::{Cuda, CudaDevice, Element, Identity};
use crate::exec::{
    Activation, AttentionWeights, ClassUse, ConvKind, ConvWeights, Executor, Input, LinearWeights,
    NormActConv, NormWeights, ReadValues, Resize, TimeUse, TimeWeights, Weight,
};
use crate::image::Layout;
use crate::noise;
use std::sync::{Arc, Mutex, PoisonError};

/// (batch, channels, height, width); more pixels than attention's tiles hold keys.
const SHAPE: [usize; 4] = [2, 3, 6, 7];
const SEEDS: [u64; 2] = [1, u64::MAX];

/// Refuses a device whose answers are not the CPU's, with every tile that its convolutions have, or with cuDNN's.
///
/// # Errors
/// DEVICE_FAILED with how far off it is, or with the device's own failure.
pub fn agrees(device: &Arc<CudaDevice>) -> Result<()> {
    static AGREED: Mutex<Vec<Identity>> = Mutex::new(Vec::new());
    let mut agreed = AGREED.lock().unwrap_or_else(PoisonError::into_inner);
    let identity = device.identity();
    if agreed.contains(&identity) {
        return Ok(());
    }
    let host = Arc::new(CpuDevice::new(Operands::F32, Packing::Compact, 1));
    let mut cpu = Cpu::new(host.clone(), 1, None)?;
    let expected = Small::<Cpu>::new(&host)?.answers(&mut cpu)?;
    let small = Small::<Cuda>::new(device)?;
    // Few blocks wanted, and the tiles are large. cuDNN has its own, and takes seconds to be tuned for a session.
    let tiles = if device.uses_cudnn() { &[1][..] } else { &[1, 3, u32::MAX] };
    for &blocks_wanted in tiles {
        let found = small.answers(&mut Cuda::occupying(device.clone(), blocks_wanted)?)?;
        let error = relative_rms(&found.prediction, &expected.prediction);
        let limit = match device.element() {
            Element::F32 => 1e-4,
            Element::Bf16 => 3e-2,
            Element::F16 => 5e-3,
        };
        let wrong = |message| Err(Error::DeviceFailed { device: device.id().to_owned(), message });
        if found.noise != expected.noise {
            return wrong("the noise of a seed is not the CPU's".to_owned());
        }
        // Not the other way round, which a NaN would pass.
        if !matches!(error.partial_cmp(&limit), Some(std::cmp::Ordering::Less)) {
            return wrong(format!(
                "its answers are not the CPU's: relative RMS {error:.1e}, less than {limit:.0e} expected"
            ));
        }
    }
    agreed.push(identity);
    device.count_anew();
    Ok(())
}

fn relative_rms(found: &[f32], expected: &[f32]) -> f64 {
    let square = |x: f32| f64::from(x).powi(2);
    let error: f64 = found.iter().zip(expected).map(|(&f, &e)| square(f - e)).sum();
    (error / expected.iter().map(|&e| square(e)).sum::<f64>()).sqrt()
}

/// A network of a few layers, of every kind of operation.
struct Small<E: Executor> {
    conv_in: E::Conv,
    time: E::Time,
    wide: (E::Norm, E::Conv),
    shortcut: E::Linear,
    joined: (E::Norm, E::Conv),
    attention: E::Attention,
    down: E::Conv,
    up: E::Conv,
    pooled: (E::Norm, E::Conv),
    out: (E::Norm, E::Conv),
}

struct Answers {
    noise: Vec<u8>,
    prediction: Vec<f32>,
}

impl<E: Executor> Small<E> {
    fn new(device: &E::Device) -> Result<Self> {
        let size = (SHAPE[2], SHAPE[3]);
        let conv = |kind, k, n| {
            E::prepare_conv(
                device,
                &ConvWeights { kind, size, weight: weight(&[n, k, 3, 3]), bias: weight(&[n]) },
            )
        };
        let linear = |k, n| LinearWeights { weight: weight(&[n, k]), bias: weight(&[n]) };
        let norm = |c| NormWeights { weight: weight(&[c]), bias: weight(&[c]), groups: 4, eps: 1e-5 };
        let prepared = |c| E::prepare_norm(device, &norm(c));
        Ok(Self {
            conv_in: conv(ConvKind::In { center: true }, SHAPE[1], 16)?,
            time: E::prepare_time(
                device,
                &TimeWeights {
                    channels: 8,
                    flip_sin_to_cos: false,
                    freq_shift: 1.0,
                    linear_1: linear(8, 12),
                    linear_2: linear(12, 12),
                    class_embedding: None,
                    class_use: ClassUse::Embedding,
                    activation: Activation::Silu,
                    projections: vec![linear(12, 128), linear(12, 2 * 144)],
                },
            )?,
            wide: (prepared(16)?, conv(ConvKind::Same, 16, 128)?),
            shortcut: E::prepare_linear(device, &linear(144, 32))?,
            joined: (prepared(144)?, conv(ConvKind::Same, 144, 32)?),
            attention: E::prepare_attention(
                device,
                &AttentionWeights {
                    norm: Some(norm(32)),
                    qkv: [linear(32, 32), linear(32, 32), linear(32, 32)],
                    out: linear(32, 32),
                    heads: 2,
                    scale: 0.7,
                },
            )?,
            down: conv(ConvKind::Down { symmetric: true }, 32, 32)?,
            up: conv(ConvKind::Up, 32, 32)?,
            pooled: (prepared(32)?, conv(ConvKind::Pooled, 32, 32)?),
            out: (prepared(32)?, conv(ConvKind::Out, 32, SHAPE[1])?),
        })
    }

    fn answers(&self, exec: &mut E) -> Result<Answers> {
        exec.plan(&mut |exec| self.run(exec).map(drop))?;
        let (x, prediction) = self.run(exec)?;
        let floats = |shape: [usize; 4]| 4 * shape.iter().product::<usize>();
        let mut noise = vec![0; floats(SHAPE)];
        exec.emit(&x, &Layout::default(), &mut noise)?;
        let mut bytes = vec![0; floats(grown())];
        exec.emit(&prediction, &Layout::default(), &mut bytes)?;
        let prediction = bytes.as_chunks().0.iter().map(|b| f32::from_ne_bytes(*b)).collect();
        Ok(Answers { noise, prediction })
    }

    fn run(&self, exec: &mut E) -> Result<(E::State, E::State)> {
        exec.begin([None; 2]);
        let x = exec.noise(SHAPE, &SEEDS, (0, 1.0))?;
        let rows = exec.time(&self.time, &[999.0, 4.0], None)?;
        let first = exec.conv_in(&x, &self.conv_in)?;
        let (norm, conv) = &self.wide;
        let op = NormActConv { time: Some((&rows, 0, TimeUse::Bias)), ..NormActConv::silu(norm, conv) };
        let wide = exec.norm_act_conv(Input::One(&first), op)?;
        let both = Input::Pair(&wide, &first);
        let residual = exec.pointwise(both, &self.shortcut)?;
        let (norm, conv) = &self.joined;
        let op = NormActConv {
            time: Some((&rows, 1, TimeUse::ScaleShift)),
            residual: Some(&residual),
            scale: 0.5,
            ..NormActConv::silu(norm, conv)
        };
        let h = exec.norm_act_conv(both, op)?;
        let h = exec.attention(&h, &self.attention)?;
        let h = exec.downsample(&h, &self.down)?;
        let h = exec.upsample(&h, &self.up)?;
        // Twice as large, and back by the averages of what was doubled and is convolved.
        let large = exec.resize(&h, Resize::Double)?;
        let residual = exec.resize(&large, Resize::Halve)?;
        let (norm, conv) = &self.pooled;
        let op = NormActConv { residual: Some(&residual), ..NormActConv::silu(norm, conv) };
        let h = exec.norm_act_conv(Input::One(&large), op)?;
        let (norm, conv) = &self.out;
        Ok((x, exec.conv_out(&h, norm, conv)?))
    }
}

/// The prediction's shape: halved, rounded up, and doubled.
fn grown() -> [usize; 4] {
    let [n, c, h, w] = SHAPE;
    [n, c, h.next_multiple_of(2), w.next_multiple_of(2)]
}

/// Numbers of a size that keeps products as large as what they are made of.
fn weight(shape: &[usize]) -> Weight<'static> {
    let fan_in: usize = shape[1..].iter().product();
    let scale = if shape.len() == 1 { 1.0 } else { (3.0 / fan_in as f32).sqrt() };
    Weight { name: "check".to_owned(), shape: shape.to_vec(), values: Box::new(Numbers(scale)) }
}

struct Numbers(f32);

impl ReadValues for Numbers {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        for (i, value) in out.iter_mut().enumerate() {
            let [word, ..] = noise::words(0, [(start + i) as u32, self.0.to_bits(), 0, 0]);
            *value = self.0 * (word as f32 / (1_u64 << 31) as f32 - 1.0);
        }
        Ok(())
    }
}
