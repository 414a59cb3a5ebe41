//! A network that learns: its parameters, their gradients, and how many images pass at a time.

use crate::error::{Error, Result, try_zeroed};
use crate::exec::Executor;
use crate::exec::cpu::{Dropout, Parameter, ParameterMap, Tape};
use crate::model::{Network, Params, UNet};
use std::collections::BTreeSet;

/// A network on the training executor. Parameters and gradients are one flat vector each, in the order of
/// [`Learner::parameters`].
pub struct Learner {
    unet: UNet<Tape>,
    tape: Tape,
    parameters: Vec<Parameter>,
    image: [usize; 3],
    conditional: bool,
    /// Batch sizes that memory was planned for, without dropout and with it.
    planned: BTreeSet<(usize, bool)>,
}

/// Some images, what they are, and where in the process they stand.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    /// x_t, (batch, channels, height, width).
    pub x: &'a [f32],
    /// What the network is told of each image's noise level: its timestep.
    pub times: &'a [f32],
    /// One an image, for conditional networks.
    pub labels: Option<&'a [i32]>,
    /// Which values are dropped, if any are.
    pub dropout: Option<&'a Dropout>,
}

impl Learner {
    /// A network with the parameters given, on `threads` threads.
    ///
    /// # Errors
    /// Those of `params`; OUT_OF_MEMORY; DEVICE_FAILED where threads cannot be had.
    pub fn new(network: &Network, params: &dyn Params, threads: usize) -> Result<Self> {
        let map = ParameterMap::default();
        let unet = UNet::<Tape>::new(network, params, &map)?;
        let parameters = map.parameters();
        let mut tape = Tape::new(threads)?;
        let len = parameters.last().map_or(0, |last| last.range.end);
        let mut values = try_zeroed(len, "parameters")?;
        for Parameter { name, shape, range } in &parameters {
            params.tensor(name, shape)?.read(0, &mut values[range.clone()])?;
        }
        *tape.parameters_mut() = values;
        let image = network.image();
        Ok(Self {
            unet,
            tape,
            parameters,
            image,
            conditional: network.num_classes.is_some(),
            planned: BTreeSet::new(),
        })
    }

    /// Where each parameter lies.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The parameters' values.
    pub fn values(&mut self) -> &mut [f32] {
        self.tape.parameters_mut()
    }

    /// (gradients, parameters)
    pub fn gradients(&mut self) -> (&mut [f32], &mut [f32]) {
        self.tape.gradients_mut()
    }

    /// Floats of an image.
    pub fn image_len(&self) -> usize {
        self.image.iter().product()
    }

    /// Bytes of activations and scratch that the largest batch so far has taken.
    pub fn scratch_bytes(&self) -> u64 {
        self.tape.scratch_bytes()
    }

    /// Runs the network on a batch and adds a loss's gradient to the gradients. `loss` is given the prediction, of the
    /// batch's shape, and writes the gradient of the loss with respect to it.
    ///
    /// # Errors
    /// INTERNAL for a batch whose parts do not fit together; OUT_OF_MEMORY.
    pub fn accumulate(&mut self, batch: Batch, loss: impl FnOnce(&[f32], &mut [f32])) -> Result<()> {
        self.plan(batch)?;
        let net = forward(&self.unet, &mut self.tape, self.image, batch)?;
        self.tape.backward(net, loss)
    }

    /// Runs the network on a batch, and `see`s its prediction.
    ///
    /// # Errors
    /// As [`Self::accumulate`].
    pub fn predict(&mut self, batch: Batch, see: impl FnOnce(&[f32])) -> Result<()> {
        self.plan(batch)?;
        let net = forward(&self.unet, &mut self.tape, self.image, batch)?;
        see(self.tape.prediction(&net));
        self.tape.clear();
        Ok(())
    }

    fn plan(&mut self, batch: Batch) -> Result<()> {
        let n = batch.times.len();
        let fits = batch.x.len() == n * self.image_len()
            && batch.labels.is_some() == self.conditional
            && batch.labels.is_none_or(|labels| labels.len() == n)
            && batch.dropout.is_none_or(|dropout| dropout.seeds.len() == n);
        if n == 0 || !fits {
            return Err(Error::Internal("a batch whose parts do not fit together".to_owned()));
        }
        self.tape.set_dropout(batch.dropout.cloned());
        let kind = (n, batch.dropout.is_some());
        if !self.planned.contains(&kind) {
            let Self { unet, tape, image, .. } = self;
            tape.plan(&mut |tape| {
                let net = forward(unet, tape, *image, batch)?;
                tape.backward(net, |_, _| {})
            })?;
            self.planned.insert(kind);
        }
        Ok(())
    }
}

fn forward(
    unet: &UNet<Tape>,
    tape: &mut Tape,
    [c, h, w]: [usize; 3],
    batch: Batch,
) -> Result<<Tape as Executor>::State> {
    let x = tape.load([batch.times.len(), c, h, w], &mut |out| out.copy_from_slice(batch.x))?;
    unet.forward(tape, &x, batch.times, batch.labels, &mut || Ok(()))
}
