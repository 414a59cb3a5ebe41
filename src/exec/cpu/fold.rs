//! Attention of one head with four products in place of six.
//!
//! A score is (Q x + q) . (K y + k) = (K^T Q x + K^T q) . y + c(x), and softmax over all y drops c(x): the normalised
//! pixels y themselves are the keys. The output O (sum a (V y + v)) + o is sum a (O V y + O v + o), as the weights a add
//! up to 1: the values can be projected before they are mixed. With more heads, K^T Q and O V would be as wide as all
//! of them together.

use super::CpuDevice;
use super::gemm::{Epilogue, Gemm, Rows, Segment, scratch_len};
use super::isa::{Kernels, Operands};
use super::pack::Packed;
use super::pool::Window;
use crate::error::{Error, Result, try_zeroed};
use crate::exec::{AttentionWeights, LinearWeights, ReadValues, Weight};

/// The layers of one head: queries that take pixels for keys, and values that need no projection any more.
pub fn fold(device: &CpuDevice, weights: &AttentionWeights) -> Result<[LinearWeights<'static>; 2]> {
    let [q, k, v] = &weights.qkv;
    let c = q.bias.len();
    for layer in [q, k, v, &weights.out] {
        if layer.bias.len() != c || layer.weight.len() != c * c {
            return Err(Error::Internal(format!("{:?} in attention of {c} channels", layer.weight)));
        }
    }
    // In f32, whatever the layers will be packed in.
    let kernels = &Kernels::new(device.isa, Operands::F32);
    let (k, out) = (transposed(&k.weight, c)?, weights.out.weight.to_vec()?);
    let key_bias = product(&k, &q.bias.to_vec()?, None);
    let value_bias = product(&out, &v.bias.to_vec()?, Some(&weights.out.bias.to_vec()?));
    Ok([
        layer(multiply(kernels, &k, &q.weight, c)?, key_bias),
        layer(multiply(kernels, &out, &v.weight, c)?, value_bias),
    ])
}

/// Values that an executor's own arithmetic made.
struct Made(Vec<f32>);

impl ReadValues for Made {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        out.copy_from_slice(&self.0[start..][..out.len()]);
        Ok(())
    }
}

fn layer(weight: Vec<f32>, bias: Vec<f32>) -> LinearWeights<'static> {
    let weight_of = |values: Vec<f32>, shape: Vec<usize>| Weight {
        name: "folded attention".to_owned(),
        shape,
        values: Box::new(Made(values)),
    };
    let c = bias.len();
    LinearWeights { weight: weight_of(weight, vec![c, c]), bias: weight_of(bias, vec![c]) }
}

fn transposed(weight: &Weight, c: usize) -> Result<Vec<f32>> {
    let (values, mut out) = (weight.to_vec()?, try_zeroed(c * c, "a transposed weight")?);
    for (i, row) in values.chunks_exact(c).enumerate() {
        for (j, &value) in row.iter().enumerate() {
            out[j * c + i] = value;
        }
    }
    Ok(out)
}

/// rows x + plus
fn product(rows: &[f32], x: &[f32], plus: Option<&[f32]>) -> Vec<f32> {
    let dot = |row: &[f32]| row.iter().zip(x).map(|(&a, &b)| f64::from(a) * f64::from(b)).sum::<f64>();
    let sums = rows.chunks_exact(x.len()).map(dot).enumerate();
    sums.map(|(i, sum)| (sum + plus.map_or(0.0, |plus| f64::from(plus[i]))) as f32).collect()
}

/// The product of two matrices of c by c.
fn multiply(kernels: &Kernels, left: &[f32], right: &Weight, c: usize) -> Result<Vec<f32>> {
    let (columns, none) = (layer(transposed(right, c)?, vec![0.0; c]), [0.0; 0]);
    let packed = Packed::new(kernels, &[(&columns.weight, &columns.bias)], c, 1, 1)?;
    let (mut out, mut scratch) =
        (try_zeroed(c * c, "folded weights")?, try_zeroed(scratch_len(kernels, c), "folded weights")?);
    let gemm = Gemm {
        sources: [left, &none],
        rows: Rows::Flat([c, 0]),
        segments: &[Segment { source: 0, delta: 0, len: c }],
        matrix: packed.view(),
        epilogue: Epilogue::PLAIN,
    };
    gemm.window(kernels, &mut Window::columns(&mut out, c, 0..c), &mut scratch);
    Ok(out)
}
