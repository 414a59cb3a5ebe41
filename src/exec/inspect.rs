//! An executor that computes nothing: its layers are nothing, made by reading every weight once. It says whether a file's
//! tensors are those of a network, without the memory of a prepared one.

use super::{
    AttentionWeights, ConvWeights, Executor, Input, LinearWeights, NormActConv, NormWeights, Resize, Step,
    TimeWeights, Weight,
};
use crate::error::{Error, Result};
use crate::image::Layout;

/// Values read at a time.
const PIECE: usize = 4096;

/// See the module.
pub struct Inspect;

fn read(weight: &Weight) -> Result<()> {
    let mut values = [0.0; PIECE];
    let len = weight.len();
    (0..len).step_by(PIECE).try_for_each(|start| weight.read(start, &mut values[..PIECE.min(len - start)]))
}

fn nothing<T>() -> Result<T> {
    Err(Error::Internal("a network of nothing was called".into()))
}

impl Executor for Inspect {
    type Device = ();
    type Conv = ();
    type Linear = ();
    type Norm = ();
    type Attention = ();
    type Time = ();
    type Rows = ();
    type Act = ();
    type State = ();

    fn prepare_conv(_: &(), weights: &ConvWeights) -> Result<()> {
        read(&weights.weight)?;
        read(&weights.bias)
    }

    fn prepare_linear(_: &(), weights: &LinearWeights) -> Result<()> {
        read(&weights.weight)?;
        read(&weights.bias)
    }

    fn prepare_norm(_: &(), weights: &NormWeights) -> Result<()> {
        read(&weights.weight)?;
        read(&weights.bias)
    }

    fn prepare_attention(_: &(), weights: &AttentionWeights) -> Result<()> {
        weights.norm.iter().try_for_each(|norm| Self::prepare_norm(&(), norm))?;
        weights.qkv.iter().chain([&weights.out]).try_for_each(|linear| Self::prepare_linear(&(), linear))
    }

    fn prepare_time(_: &(), weights: &TimeWeights) -> Result<()> {
        let linears = [&weights.linear_1, &weights.linear_2].into_iter().chain(&weights.projections);
        linears.into_iter().try_for_each(|linear| Self::prepare_linear(&(), linear))?;
        weights.class_embedding.iter().try_for_each(read)
    }

    fn prepared_bytes(_: &()) -> u64 {
        0
    }

    fn load(&mut self, _: [usize; 4], _: &mut dyn FnMut(&mut [f32])) -> Result<()> {
        nothing()
    }

    fn time(&mut self, _: &(), _: &[f32], _: Option<&[i32]>) -> Result<()> {
        nothing()
    }

    fn conv_in(&mut self, _: &(), _: &()) -> Result<()> {
        nothing()
    }

    fn norm_act_conv(&mut self, _: Input<()>, _: NormActConv<Self>) -> Result<()> {
        nothing()
    }

    fn pointwise(&mut self, _: Input<()>, _: &()) -> Result<()> {
        nothing()
    }

    fn attention(&mut self, _: &(), _: &()) -> Result<()> {
        nothing()
    }

    fn resize(&mut self, _: &(), _: Resize) -> Result<()> {
        nothing()
    }

    fn downsample(&mut self, _: &(), _: &()) -> Result<()> {
        nothing()
    }

    fn upsample(&mut self, _: &(), _: &()) -> Result<()> {
        nothing()
    }

    fn conv_out(&mut self, _: &(), _: &(), _: &()) -> Result<()> {
        nothing()
    }

    fn combine(&mut self, _: (), _: &(), _: Option<&()>, _: &Step) -> Result<()> {
        nothing()
    }

    fn emit(&mut self, _: &(), _: &Layout, _: &mut [u8]) -> Result<()> {
        nothing()
    }
}
