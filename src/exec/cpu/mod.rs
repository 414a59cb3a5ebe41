//! The fast CPU executor.
use super::*;
use std::sync::Arc;
pub struct Cpu; 
#[derive(Default)] pub struct CpuDevice;
impl Cpu { pub fn new(_d: Arc<CpuDevice>, _t: usize, _s: Option<u32>) -> Result<Self> { todo!() } }
impl Executor for Cpu {
    type Device = CpuDevice; type Conv = (); type Linear = (); type Norm = (); type Attention = (); type Time = (); type Rows = (); type Act = (); type State = ();
    fn prepare_conv(_: &Self::Device, _: &ConvWeights) -> Result<Self::Conv> { todo!() }
    fn prepare_linear(_: &Self::Device, _: &LinearWeights) -> Result<Self::Linear>{ todo!() }
    fn prepare_norm(_: &Self::Device, _: &NormWeights) -> Result<Self::Norm>{ todo!() }
    fn prepare_attention(_: &Self::Device, _: &AttentionWeights) -> Result<Self::Attention>{ todo!() }
    fn prepare_time(_: &Self::Device, _: &TimeWeights) -> Result<Self::Time>{ todo!() }
    fn prepared_bytes(_: &Self::Device) -> u64{ todo!() }
    fn load(&mut self, _: [usize; 4], _: &mut dyn FnMut(&mut [f32])) -> Result<Self::State>{ todo!() }
    fn time(&mut self, _: &Self::Time, _: &[i32], _: Option<&[i32]>) -> Result<Self::Rows>{ todo!() }
    fn conv_in(&mut self, _: &Self::State, _: &Self::Conv) -> Result<Self::Act>{ todo!() }
    fn norm_act_conv(&mut self, _: Input<Self::Act>, _: NormActConv<Self>) -> Result<Self::Act>{ todo!() }
    fn pointwise(&mut self, _: Input<Self::Act>, _: &Self::Linear) -> Result<Self::Act>{ todo!() }
    fn attention(&mut self, _: &Self::Act, _: &Self::Attention) -> Result<Self::Act>{ todo!() }
    fn downsample(&mut self, _: &Self::Act, _: &Self::Conv) -> Result<Self::Act>{ todo!() }
    fn upsample(&mut self, _: &Self::Act, _: &Self::Conv) -> Result<Self::Act>{ todo!() }
    fn conv_out(&mut self, _: &Self::Act, _: &Self::Norm, _: &Self::Conv) -> Result<Self::State>{ todo!() }
    fn combine(&mut self, _: Self::State, _: &Self::State, _: Option<&Self::State>, _: &Step) -> Result<Self::State>{ todo!() }
    fn emit(&mut self, _: &Self::State, _: &Layout, _: &mut [u8]) -> Result<()>{ todo!() }
}
