//! The networks whose features LPIPS compares, and the comparison, in candle's tensors and with its gradients.

use crate::error::{Error, Result};
use crate::model::Params;
use crate::weights;
use candle_core::backprop::GradStore;
use candle_core::op::BackpropOp;
use candle_core::{CpuStorage, CustomOp1, DType, Device, Layout, Shape, Storage, Tensor, Var};
use std::path::Path;
use std::sync::Arc;

/// A kind of network: its convolutions, one after the other, each with bias and ReLU.
struct Architecture {
    name: &'static str,
    /// Side of the windows of its pooling, whose stride is 2.
    pool: usize,
    /// Smaller images have no pixel left at the end.
    least_side: usize,
    convs: &'static [Conv],
}

struct Conv {
    /// 1 to 5; the end of each is compared.
    slice: usize,
    /// In torchvision's `features`.
    index: usize,
    c_out: usize,
    side: usize,
    stride: usize,
    padding: usize,
    /// Whether pooling comes before.
    pooled: bool,
}

/// A convolution that keeps height and width.
const fn same(slice: usize, index: usize, c_out: usize, side: usize, pooled: bool) -> Conv {
    Conv { slice, index, c_out, side, stride: 1, padding: side / 2, pooled }
}

const VGG: Architecture = Architecture {
    name: "vgg",
    pool: 2,
    least_side: 16,
    convs: &[
        same(1, 0, 64, 3, false),
        same(1, 2, 64, 3, false),
        same(2, 5, 128, 3, true),
        same(2, 7, 128, 3, false),
        same(3, 10, 256, 3, true),
        same(3, 12, 256, 3, false),
        same(3, 14, 256, 3, false),
        same(4, 17, 512, 3, true),
        same(4, 19, 512, 3, false),
        same(4, 21, 512, 3, false),
        same(5, 24, 512, 3, true),
        same(5, 26, 512, 3, false),
        same(5, 28, 512, 3, false),
    ],
};

const ALEX: Architecture = Architecture {
    name: "alex",
    pool: 3,
    least_side: 31,
    convs: &[
        Conv { slice: 1, index: 0, c_out: 64, side: 11, stride: 4, padding: 2, pooled: false },
        same(2, 3, 192, 5, true),
        same(3, 6, 384, 3, true),
        same(4, 8, 256, 3, false),
        same(5, 10, 256, 3, false),
    ],
};

impl Conv {
    fn name(&self, part: &str) -> String {
        format!("net.slice{}.{}.{part}", self.slice, self.index)
    }

    fn shape(&self, c_in: usize) -> [usize; 4] {
        [self.c_out, c_in, self.side, self.side]
    }
}

/// A network with its weights.
pub struct Network {
    architecture: &'static Architecture,
    /// Of the input, (1, 3, 1, 1).
    shift: Tensor,
    scale: Tensor,
    layers: Vec<Layer>,
    crc32: u32,
}

struct Layer {
    pooled: bool,
    conv: Arc<Box<dyn CustomOp1 + Send + Sync>>,
    /// What a difference in each channel counts, (1, c, 1, 1), where this layer is compared.
    channel_weights: Option<Tensor>,
}

impl Network {
    /// Reads a network; its first tensor tells which.
    pub fn open(path: &Path) -> Result<Self> {
        let checkpoint = weights::open_tensors(path)?;
        let first = |architecture: &Architecture| {
            let conv = &architecture.convs[0];
            checkpoint.tensor(&conv.name("weight"), &conv.shape(3)).map(drop)
        };
        let architecture = match first(&ALEX) {
            Ok(()) => &ALEX,
            Err(_) => first(&VGG).map(|()| &VGG)?,
        };

        let mut hasher = crc32fast::Hasher::new();
        let mut read = |name: &str, shape: &[usize]| -> Result<Tensor> {
            let values = checkpoint.tensor(name, shape)?.to_vec()?;
            hasher.update(name.as_bytes());
            values.iter().for_each(|value| hasher.update(&value.to_le_bytes()));
            Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
        };
        let shift = read("scaling_layer.shift", &[1, 3, 1, 1])?;
        let scale = read("scaling_layer.scale", &[1, 3, 1, 1])?;
        let mut c_in = 3;
        let mut layers = Vec::new();
        let mut convs = architecture.convs.iter().peekable();
        while let Some(conv) = convs.next() {
            let weight = read(&conv.name("weight"), &conv.shape(c_in))?;
            let bias = read(&conv.name("bias"), &[conv.c_out])?;
            c_in = conv.c_out;
            let compared = convs.peek().is_none_or(|next| next.slice > conv.slice);
            let channel_weights = if compared {
                Some(read(&format!("lin{}.model.1.weight", conv.slice - 1), &[1, c_in, 1, 1])?)
            } else {
                None
            };
            let op = Arc::new(Box::new(ConvRelu::new(conv, weight, &bias)?) as Box<_>);
            layers.push(Layer { pooled: conv.pooled, conv: op, channel_weights });
        }
        Ok(Self { architecture, shift, scale, layers, crc32: hasher.finalize() })
    }

    /// `vgg` or `alex`.
    pub fn name(&self) -> &'static str {
        self.architecture.name
    }

    /// Least height and width of an image.
    pub fn least_side(&self) -> usize {
        self.architecture.least_side
    }

    /// Of the tensors in use.
    pub fn crc32(&self) -> u32 {
        self.crc32
    }

    /// The sum of the distances of some images, and its gradient; all of `shape`.
    pub fn sum(
        &self,
        images: &[f32],
        targets: &[f32],
        shape: [usize; 4],
        gradient: Option<&mut [f32]>,
    ) -> Result<f64> {
        let tensor = |values: &[f32]| Tensor::from_slice(values, &shape, &Device::Cpu);
        let targets = self.features(&tensor(targets)?)?;
        let Some(gradient) = gradient else {
            return Ok(self.distance(&self.features(&tensor(images)?)?, &targets)?.0);
        };
        let images = Var::from_tensor(&tensor(images)?)?;
        let (loss, graph) = self.distance(&self.features(&images)?, &targets)?;
        let gradients: GradStore = graph.backward()?;
        let found =
            gradients.get(&images).ok_or_else(|| Error::Internal("LPIPS without a gradient".into()))?;
        gradient.copy_from_slice(&found.flatten_all()?.to_vec1::<f32>()?);
        Ok(loss)
    }

    /// What is compared of images (n, 1 or 3, h, w): (n, c, h_l, w_l) of each slice, normalised over channels.
    fn features(&self, images: &Tensor) -> Result<Vec<Tensor>> {
        // One channel becomes three here, and the gradients of three one.
        let mut x = images.broadcast_sub(&self.shift)?.broadcast_div(&self.scale)?;
        let mut features = Vec::new();
        for layer in &self.layers {
            if layer.pooled {
                x = max_pool(&x, self.architecture.pool)?;
            }
            x = x.apply_op1_arc(layer.conv.clone())?;
            if layer.channel_weights.is_some() {
                // The first constant keeps the root's slope finite where all channels are zero.
                let norm = (((x.sqr()?.sum_keepdim(1)? + 1e-30)?).sqrt()? + 1e-10)?;
                features.push(x.broadcast_div(&norm)?);
            }
        }
        Ok(features)
    }

    /// The sum of distances, and the same as the end of a graph.
    fn distance(&self, images: &[Tensor], targets: &[Tensor]) -> Result<(f64, Tensor)> {
        let mut sum = 0.0;
        let mut graph = Tensor::zeros((), DType::F32, &Device::Cpu)?;
        let compared = self.layers.iter().filter_map(|layer| layer.channel_weights.as_ref());
        for ((weights, image), target) in compared.zip(images).zip(targets) {
            let differences = (image - target)?.sqr()?.broadcast_mul(weights)?.sum(1)?; // (n, h_l, w_l)
            let (_, h, w) = differences.dims3()?;
            let pixels = (h * w) as f64;
            let values = differences.flatten_all()?.to_vec1::<f32>()?;
            sum += values.iter().copied().map(f64::from).sum::<f64>() / pixels;
            graph = (graph + (differences.sum_all()? / pixels)?)?;
        }
        Ok((sum, graph))
    }
}

/// The largest of each window of `side` x `side` pixels, at a stride of 2: over rows, then over columns. candle's own
/// has a gradient for windows that do not overlap alone, and not PyTorch's.
fn max_pool(x: &Tensor, side: usize) -> candle_core::Result<Tensor> {
    let mut x = x.clone();
    for dim in [2, 3] {
        let windows = (x.dim(dim)? - side) / 2 + 1;
        let nth = |n: usize| {
            let places: Vec<u32> = (0..windows).map(|window| (2 * window + n) as u32).collect();
            x.index_select(&Tensor::from_vec(places, windows, x.device())?, dim)
        };
        let mut largest = nth(0)?;
        for n in 1..side {
            largest = largest.maximum(&nth(n)?)?;
        }
        x = largest;
    }
    Ok(x)
}

/// A convolution with fixed weights, its bias and ReLU. candle's own would compute the gradient of the weights too, and
/// that of its input one pixel at a time.
struct ConvRelu {
    /// (c_out, c_in, side, side)
    weight: Tensor,
    /// The same as a matrix, and that of the way back, turned by half a circle: (c_out, side side c_in) and
    /// (c_in, side side c_out).
    matrices: [Tensor; 2],
    /// (1, c_out, 1, 1)
    bias: Tensor,
    side: usize,
    stride: usize,
    padding: usize,
}

impl ConvRelu {
    fn new(conv: &Conv, weight: Tensor, bias: &Tensor) -> Result<Self> {
        let matrix = |weight: &Tensor| weight.permute((0, 2, 3, 1))?.contiguous()?.flatten_from(1);
        let matrices = [matrix(&weight)?, matrix(&weight.flip(&[2, 3])?.transpose(0, 1)?)?];
        let bias = bias.reshape((1, (), 1, 1))?;
        let &Conv { side, stride, padding, .. } = conv;
        Ok(Self { weight, matrices, bias, side, stride, padding })
    }

    fn forward(&self, x: &Tensor) -> candle_core::Result<Tensor> {
        let y = match self.stride {
            1 => self.convolve(x, &self.matrices[0])?,
            stride => x.conv2d(&self.weight, self.padding, stride, 1, 1)?,
        };
        y.broadcast_add(&self.bias)?.relu()
    }

    /// x: (n, c, h, w), and as much comes out. One product of matrices for all images, where candle's convolution makes
    /// one for each and reads all weights again: the images lie in one row of pixels, with `padding` zeros behind each line
    /// and as many lines of zeros behind each image, so that a window's pixel is a constant step away.
    fn convolve(&self, x: &Tensor, matrix: &Tensor) -> candle_core::Result<Tensor> {
        let (n, c, h, w) = x.dims4()?;
        let (lines, columns) = (h + self.padding, w + self.padding);
        let padded = x.pad_with_zeros(3, 0, self.padding)?.pad_with_zeros(2, 0, self.padding)?;
        let pixels = n * lines * columns;
        let margin = self.padding * (columns + 1);
        let row = padded.transpose(0, 1)?.reshape((c, pixels))?.pad_with_zeros(1, margin, margin)?;
        let steps = (0..self.side).flat_map(|dy| (0..self.side).map(move |dx| dy * columns + dx));
        let windows: Vec<Tensor> =
            steps.map(|step| row.narrow(1, step, pixels)).collect::<candle_core::Result<_>>()?;
        let y = matrix.matmul(&Tensor::cat(&windows, 0)?)?;
        let y = y.reshape(((), n, lines, columns))?.narrow(2, 0, h)?.narrow(3, 0, w)?;
        y.transpose(0, 1)?.contiguous()
    }
}

impl CustomOp1 for ConvRelu {
    fn name(&self) -> &'static str {
        "conv-relu"
    }

    /// x: (n, c_in, h, w)
    fn cpu_fwd(&self, storage: &CpuStorage, layout: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        if !layout.is_contiguous() || layout.start_offset() != 0 {
            candle_core::bail!("{}: an input that is not contiguous", self.name());
        }
        let storage = Storage::Cpu(storage.clone());
        let x = Tensor::from_storage(storage, layout.shape().clone(), BackpropOp::none(), false);
        let y = self.forward(&x)?;
        let shape = y.shape().clone();
        Ok((CpuStorage::F32(y.flatten_all()?.to_vec1()?), shape))
    }

    fn bwd(&self, x: &Tensor, y: &Tensor, gradient: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let gradient = (gradient * y.gt(0f32)?.to_dtype(DType::F32)?)?;
        if self.stride == 1 {
            return self.convolve(&gradient, &self.matrices[1]).map(Some);
        }
        // The transposed convolution begins in the padding, and ends at the last pixel that a window reached.
        let (_, _, h, w) = x.dims4()?;
        let whole = gradient.conv_transpose2d(&self.weight, 0, 0, self.stride, 1)?;
        let whole = whole.pad_with_zeros(2, 0, self.stride)?.pad_with_zeros(3, 0, self.stride)?;
        whole.narrow(2, self.padding, h)?.narrow(3, self.padding, w)?.contiguous().map(Some)
    }
}
