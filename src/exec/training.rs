//! What an executor does beside, so that networks learn on it.

use super::Executor;
use crate::error::Result;
use std::ops::Range;

/// A parameter: its name in diffusers' naming, its shape, and its place among all of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Its place.
    pub range: Range<usize>,
}

/// Dropout (Srivastava et al. 2014) between a residual block's last activation and its convolution, as DDPM has it: a value
/// is zero with probability `rate`, or divided by 1 - rate. Which ones is a function of the image's seed, of the layer and of
/// the value's place.
#[derive(Clone, Debug)]
pub struct Dropout {
    /// Four uniform words of a seed and a counter: Philox.
    pub words: fn(u64, [u32; 4]) -> [u32; 4],
    /// 0 to less than 1.
    pub rate: f32,
    /// One an image.
    pub seeds: Vec<u64>,
}

/// An executor that remembers the pass it made, and goes back over it. Parameters, and their gradients, are one flat vector
/// each; layers are prepared as places in it.
pub trait TrainingExecutor: Executor {
    /// The parameters of the layers prepared on this device, in the order in which they were prepared.
    fn parameters_of(device: &Self::Device) -> Vec<Parameter>;
    /// Their values; a pass reads them.
    fn parameters_mut(&mut self) -> &mut Vec<f32>;
    /// The sums of the gradients since they were last set to zero, as long as the parameters; and the parameters.
    fn gradients_mut(&mut self) -> (&mut [f32], &mut [f32]);
    /// What passes from now on drop, until this is called again.
    fn set_dropout(&mut self, dropout: Option<Dropout>);
    /// A prediction's values, (batch, channels, height, width).
    fn prediction<'a>(&self, net: &'a Self::State) -> &'a [f32];
    /// Goes back over the last pass, from `net`, its prediction, and forgets it. `loss` is given the prediction, (batch,
    /// channels, height, width), and writes its gradient of the same shape. What that leaves in the parameters is added to the
    /// gradients. While planning, `loss` is not called.
    fn backward(&mut self, net: Self::State, loss: impl FnOnce(&[f32], &mut [f32])) -> Result<()>;
    /// As [`Self::backward`], but on to the network's input: `see` is given the gradient of the loss with respect to that, of its
    /// shape, and the parameters' gradients stay as they are.
    fn backward_to_input(
        &mut self,
        net: Self::State,
        loss: impl FnOnce(&[f32], &mut [f32]),
        see: impl FnOnce(&[f32]),
    ) -> Result<()>;
    /// Forgets the last pass, not the gradients.
    fn clear(&mut self);
}
