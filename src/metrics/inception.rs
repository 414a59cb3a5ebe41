//! Inception-v3 as FID uses it: the network of 2015-12-05 with 1,008 classes, whose mean pools leave the border out and whose last
//! block pools by the maximum. Batch norm is folded into the convolutions.

use crate::error::{Error, Result};
use crate::exec::cpu::{
    Cpu, CpuDevice, Linear, Operands, Packing, Pooling, Seen, Window, WindowConv, WindowWeights,
};
use crate::exec::{Executor, LinearWeights, ReadValues, Weight};
use crate::model::Params;
use crate::weights::{self, Checkpoint};
use std::path::Path;
use std::sync::Arc;

/// Height and width of its input.
pub const SIDE: usize = 299;
/// Features of an image: the means of its last channels.
pub const FEATURES: usize = 2048;
/// Classes of its last layer.
pub const CLASSES: usize = 1008;

/// What batch norm adds to a variance.
const EPS: f64 = 1e-3;

/// A layer of a branch, as the architecture says it.
#[derive(Clone, Copy)]
enum Layer {
    /// Name, outputs, window.
    Conv(&'static str, usize, Window),
    /// Two convolutions of the same input, whose results lie side by side.
    Fork([(&'static str, usize, Window); 2]),
    Pool(Pooling, Window),
}
use Layer::{Conv, Fork, Pool};

const ONE: Window = Window { size: (1, 1), step: 1, border: (0, 0) };
const THREE: Window = Window { size: (3, 3), step: 1, border: (1, 1) };
const FIVE: Window = Window { size: (5, 5), step: 1, border: (2, 2) };
const INNER: Window = Window { size: (3, 3), step: 1, border: (0, 0) };
const HALF: Window = Window { size: (3, 3), step: 2, border: (0, 0) };
const ROW7: Window = Window { size: (1, 7), step: 1, border: (0, 3) };
const COLUMN7: Window = Window { size: (7, 1), step: 1, border: (3, 0) };
const ROW3: Window = Window { size: (1, 3), step: 1, border: (0, 1) };
const COLUMN3: Window = Window { size: (3, 1), step: 1, border: (1, 0) };

/// The names and branches of all blocks, in their order; the stem is a block of one branch, and its layers' names are whole.
fn architecture() -> Vec<(&'static str, Vec<Vec<Layer>>)> {
    let stem = vec![
        Conv("Conv2d_1a_3x3", 32, HALF),
        Conv("Conv2d_2a_3x3", 32, INNER),
        Conv("Conv2d_2b_3x3", 64, THREE),
        Pool(Pooling::Max, HALF),
        Conv("Conv2d_3b_1x1", 80, ONE),
        Conv("Conv2d_4a_3x3", 192, INNER),
        Pool(Pooling::Max, HALF),
    ];
    let a = |pooled: usize| {
        vec![
            vec![Conv("branch1x1", 64, ONE)],
            vec![Conv("branch5x5_1", 48, ONE), Conv("branch5x5_2", 64, FIVE)],
            vec![
                Conv("branch3x3dbl_1", 64, ONE),
                Conv("branch3x3dbl_2", 96, THREE),
                Conv("branch3x3dbl_3", 96, THREE),
            ],
            vec![Pool(Pooling::Mean, THREE), Conv("branch_pool", pooled, ONE)],
        ]
    };
    let b = vec![
        vec![Conv("branch3x3", 384, HALF)],
        vec![
            Conv("branch3x3dbl_1", 64, ONE),
            Conv("branch3x3dbl_2", 96, THREE),
            Conv("branch3x3dbl_3", 96, HALF),
        ],
        vec![Pool(Pooling::Max, HALF)],
    ];
    let c = |width: usize| {
        vec![
            vec![Conv("branch1x1", 192, ONE)],
            vec![
                Conv("branch7x7_1", width, ONE),
                Conv("branch7x7_2", width, ROW7),
                Conv("branch7x7_3", 192, COLUMN7),
            ],
            vec![
                Conv("branch7x7dbl_1", width, ONE),
                Conv("branch7x7dbl_2", width, COLUMN7),
                Conv("branch7x7dbl_3", width, ROW7),
                Conv("branch7x7dbl_4", width, COLUMN7),
                Conv("branch7x7dbl_5", 192, ROW7),
            ],
            vec![Pool(Pooling::Mean, THREE), Conv("branch_pool", 192, ONE)],
        ]
    };
    let d = vec![
        vec![Conv("branch3x3_1", 192, ONE), Conv("branch3x3_2", 320, HALF)],
        vec![
            Conv("branch7x7x3_1", 192, ONE),
            Conv("branch7x7x3_2", 192, ROW7),
            Conv("branch7x7x3_3", 192, COLUMN7),
            Conv("branch7x7x3_4", 192, HALF),
        ],
        vec![Pool(Pooling::Max, HALF)],
    ];
    let e = |pooling: Pooling| {
        vec![
            vec![Conv("branch1x1", 320, ONE)],
            vec![
                Conv("branch3x3_1", 384, ONE),
                Fork([("branch3x3_2a", 384, ROW3), ("branch3x3_2b", 384, COLUMN3)]),
            ],
            vec![
                Conv("branch3x3dbl_1", 448, ONE),
                Conv("branch3x3dbl_2", 384, THREE),
                Fork([("branch3x3dbl_3a", 384, ROW3), ("branch3x3dbl_3b", 384, COLUMN3)]),
            ],
            vec![Pool(pooling, THREE), Conv("branch_pool", 192, ONE)],
        ]
    };
    vec![
        ("", vec![stem]),
        ("Mixed_5b", a(32)),
        ("Mixed_5c", a(64)),
        ("Mixed_5d", a(64)),
        ("Mixed_6a", b),
        ("Mixed_6b", c(128)),
        ("Mixed_6c", c(160)),
        ("Mixed_6d", c(160)),
        ("Mixed_6e", c(192)),
        ("Mixed_7a", d),
        ("Mixed_7b", e(Pooling::Mean)),
        ("Mixed_7c", e(Pooling::Max)),
    ]
}

/// A layer that is ready to run.
enum Ready {
    Conv(WindowConv),
    Fork([WindowConv; 2]),
    Pool(Pooling, Window),
}

/// The network with its weights, on this machine's processor.
pub struct Inception {
    cpu: Cpu,
    blocks: Vec<Vec<Vec<Ready>>>,
    classes: Linear,
    crc32: u32,
    /// The batch that its memory was planned for.
    planned: usize,
}

impl Inception {
    /// Reads the weights that pytorch-fid and torch-fidelity publish, `pt_inception-2015-12-05-6726825d.pth`, or the same tensors
    /// as `.safetensors`, for so many threads.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is damaged, or a tensor that is missing or of another shape; OUT_OF_MEMORY.
    pub fn open(path: &Path, threads: usize) -> Result<Self> {
        let checkpoint = weights::open_tensors(path)?;
        let device = Arc::new(CpuDevice::new(Operands::F32, Packing::Fast, threads));
        let mut reader =
            Reader { checkpoint: &checkpoint, device: &device, hasher: crc32fast::Hasher::new() };
        let (mut channels, mut size) = (3, (SIDE, SIDE));
        let mut blocks = Vec::new();
        for (name, branches) in architecture() {
            let (mut ready, mut outputs, mut after) = (Vec::new(), 0, size);
            for branch in branches {
                let (layers, width, size) = reader.branch(name, &branch, channels, size)?;
                ready.push(layers);
                (outputs, after) = (outputs + width, size);
            }
            blocks.push(ready);
            (channels, size) = (outputs, after);
        }
        let classes = reader.classes(channels)?;
        let crc32 = reader.hasher.finalize();
        Ok(Self { cpu: Cpu::new(device, threads, None)?, blocks, classes, crc32, planned: 0 })
    }

    /// The names and shapes of its tensors, for tests that make some.
    #[cfg(test)]
    pub fn shapes() -> Vec<(String, Vec<usize>)> {
        let mut shapes = Vec::new();
        let mut channels = 3;
        for (block, branches) in architecture() {
            let mut outputs = 0;
            for branch in branches {
                let mut width = channels;
                for layer in branch {
                    let convs = match layer {
                        Conv(name, outputs, window) => vec![(name, outputs, window)],
                        Fork(both) => both.to_vec(),
                        Pool(..) => continue,
                    };
                    for &(name, outputs, window) in &convs {
                        let prefix = prefixed(block, name);
                        let shape = vec![outputs, width, window.size.0, window.size.1];
                        shapes.push((format!("{prefix}.conv.weight"), shape));
                        for part in ["weight", "bias", "running_mean", "running_var"] {
                            shapes.push((format!("{prefix}.bn.{part}"), vec![outputs]));
                        }
                    }
                    width = convs.iter().map(|conv| conv.1).sum();
                }
                outputs += width;
            }
            channels = outputs;
        }
        shapes.push(("fc.weight".to_owned(), vec![CLASSES, FEATURES]));
        shapes
    }

    /// A checksum of the weights as 32-bit floats, whatever file they are in.
    pub fn crc32(&self) -> u32 {
        self.crc32
    }

    /// The features of `count` images of 299 by 299 RGB floats, channels last, and their logits without the last layer's
    /// bias; both are appended.
    ///
    /// # Errors
    /// OUT_OF_MEMORY.
    pub fn look(
        &mut self,
        images: &[f32],
        count: usize,
        features: &mut Vec<f32>,
        logits: &mut Vec<f32>,
    ) -> Result<()> {
        let Self { cpu, blocks, classes, .. } = self;
        let run = |cpu: &mut Cpu| {
            let shape = [count, 3, SIDE, SIDE];
            let x = cpu.images(shape, &mut |out| out.copy_from_slice(images))?;
            let x = blocks.iter().try_fold(x, |x, block| block_of(cpu, x, block))?;
            let means = cpu.channel_means(&x)?;
            drop(x);
            let classes = cpu.project(&means, classes)?;
            Ok((means, classes))
        };
        if self.planned != count {
            cpu.plan(&mut |cpu| run(cpu).map(drop))?;
            self.planned = count;
        }
        let (means, classes) = run(cpu)?;
        features.extend_from_slice(means.values());
        logits.extend_from_slice(classes.values());
        Ok(())
    }
}

fn block_of(cpu: &mut Cpu, x: Seen, branches: &[Vec<Ready>]) -> Result<Seen> {
    let mut parts = Vec::new();
    for branch in branches {
        let mut layers = branch.iter();
        let Some(first) = layers.next() else { continue };
        let first = layer(cpu, &x, first)?;
        parts.push(layers.try_fold(first, |x, ready| layer(cpu, &x, ready))?);
    }
    drop(x);
    // The stem's last layer is a pool, which has no ReLU to come.
    if parts.len() == 1 { Ok(parts.remove(0)) } else { cpu.side_by_side(&parts) }
}

fn layer(cpu: &mut Cpu, x: &Seen, ready: &Ready) -> Result<Seen> {
    match ready {
        Ready::Conv(conv) => cpu.window_conv(x, conv),
        Ready::Pool(pooling, window) => cpu.pool(x, *pooling, *window),
        Ready::Fork([first, second]) => {
            let parts = [cpu.window_conv(x, first)?, cpu.window_conv(x, second)?];
            cpu.side_by_side(&parts)
        }
    }
}

/// Reads and packs weights, and their checksum.
struct Reader<'a> {
    checkpoint: &'a Checkpoint<'static>,
    device: &'a CpuDevice,
    hasher: crc32fast::Hasher,
}

impl Reader<'_> {
    /// A branch, its channels, and the size of its results.
    fn branch(
        &mut self,
        block: &str,
        layers: &[Layer],
        mut channels: usize,
        mut size: (usize, usize),
    ) -> Result<(Vec<Ready>, usize, (usize, usize))> {
        let mut ready = Vec::new();
        for layer in layers {
            let (layer, window) = match *layer {
                Conv(name, outputs, window) => {
                    let conv = self.conv(block, name, (channels, outputs), window, size)?;
                    channels = outputs;
                    (Ready::Conv(conv), window)
                }
                Fork(both) => {
                    let [first, second] = both.map(|(name, outputs, window)| {
                        self.conv(block, name, (channels, outputs), window, size)
                    });
                    channels = both[0].1 + both[1].1;
                    (Ready::Fork([first?, second?]), both[0].2)
                }
                Pool(pooling, window) => (Ready::Pool(pooling, window), window),
            };
            ready.push(layer);
            size = window.outputs(size).ok_or_else(|| Error::Internal(format!("{window:?} of {size:?}")))?;
        }
        Ok((ready, channels, size))
    }

    /// A convolution with its batch norm: w g / sqrt(v + eps), and b - m g / sqrt(v + eps).
    fn conv(
        &mut self,
        block: &str,
        name: &str,
        (inputs, outputs): (usize, usize),
        window: Window,
        size: (usize, usize),
    ) -> Result<WindowConv> {
        let prefix = prefixed(block, name);
        let shape = vec![outputs, inputs, window.size.0, window.size.1];
        let mut weight = self.read(&format!("{prefix}.conv.weight"), &shape)?;
        let [gamma, beta, mean, variance] = ["weight", "bias", "running_mean", "running_var"]
            .map(|part| self.read(&format!("{prefix}.bn.{part}"), &[outputs]));
        let (gamma, mut bias, mean, variance) = (gamma?, beta?, mean?, variance?);
        let of_one = weight.len() / outputs;
        for (channel, weights) in weight.chunks_exact_mut(of_one).enumerate() {
            let scale = f64::from(gamma[channel]) / (f64::from(variance[channel]) + EPS).sqrt();
            weights.iter_mut().for_each(|weight| *weight = (f64::from(*weight) * scale) as f32);
            bias[channel] = (f64::from(bias[channel]) - f64::from(mean[channel]) * scale) as f32;
        }
        let (weight, bias) = (held(&prefix, shape, weight), held(&prefix, vec![outputs], bias));
        WindowConv::new(self.device, &WindowWeights { window, size, weight, bias })
    }

    /// The last layer, without its bias.
    fn classes(&mut self, inputs: usize) -> Result<Linear> {
        let shape = vec![CLASSES, inputs];
        let weight = self.read("fc.weight", &shape)?;
        let bias = held("fc", vec![CLASSES], vec![0.0; CLASSES]);
        Linear::new(self.device, &LinearWeights { weight: held("fc", shape, weight), bias })
    }

    fn read(&mut self, name: &str, shape: &[usize]) -> Result<Vec<f32>> {
        let values = self.checkpoint.tensor(name, shape)?.to_vec()?;
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(Error::bad_model(self.checkpoint.name(), format!("tensor {name} holds {value}")));
        }
        self.hasher.update(name.as_bytes());
        self.hasher.update(bytemuck::cast_slice(&values));
        Ok(values)
    }
}

/// A layer's name in the file.
fn prefixed(block: &str, name: &str) -> String {
    if block.is_empty() { name.to_owned() } else { format!("{block}.{name}") }
}

/// A weight of values in memory.
fn held(name: &str, shape: Vec<usize>, values: Vec<f32>) -> Weight<'static> {
    Weight { name: name.to_owned(), shape, values: Box::new(Held(values)) }
}

struct Held(Vec<f32>);

impl ReadValues for Held {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.0[start..start + out.len()]);
        Ok(())
    }
}
