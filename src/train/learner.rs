//! A network that learns: its parameters, their gradients, and how many images pass at a time.

use crate::error::{Error, Result, try_zeroed};
use crate::exec::cpu::{ParameterMap, Tape};
use crate::exec::{Dropout, Parameter, TrainingExecutor, Weight};
use crate::model::{Network, Params, UNet};
use std::collections::BTreeSet;

/// A network that learns, on whichever executor. Parameters and gradients are one flat vector each, in the order of
/// [`Learner::parameters`].
pub struct Learner {
    network: Box<dyn Passes>,
    parameters: Vec<Parameter>,
    image: [usize; 3],
    conditional: bool,
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

impl<'a> Batch<'a> {
    /// Of images at these times, without dropout; no labels where there are no classes.
    pub fn of(x: &'a [f32], times: &'a [f32], labels: &'a [i32]) -> Self {
        Self { x, times, labels: (!labels.is_empty()).then_some(labels), dropout: None }
    }
}

impl Learner {
    /// A network with the parameters given, on `threads` threads. Of one that learned its variance only what makes its mean
    /// is here: `conv_out`'s first half.
    ///
    /// # Errors
    /// Those of `params`; OUT_OF_MEMORY; DEVICE_FAILED where threads cannot be had.
    pub fn new(network: &Network, params: &dyn Params, threads: usize) -> Result<Self> {
        if network.learned_variance {
            let mean = Network { learned_variance: false, ..network.clone() };
            return Self::new(&mean, &MeanHalf(params), threads);
        }
        Self::on(Tape::new(threads)?, ParameterMap::default(), network, params)
    }

    fn on<T: TrainingExecutor + 'static>(
        mut executor: T,
        device: T::Device,
        network: &Network,
        params: &dyn Params,
    ) -> Result<Self> {
        let unet = UNet::<T>::new(network, params, &device)?;
        let parameters = T::parameters_of(&device);
        let len = parameters.last().map_or(0, |last| last.range.end);
        let mut values = try_zeroed(len, "parameters")?;
        for Parameter { name, shape, range } in &parameters {
            params.tensor(name, shape)?.read(0, &mut values[range.clone()])?;
        }
        *executor.parameters_mut() = values;
        let image = network.image();
        let network_on = On { unet, executor, image, planned: BTreeSet::new() };
        let conditional = network.num_classes.is_some();
        Ok(Self { network: Box::new(network_on), parameters, image, conditional })
    }

    /// Where each parameter lies.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// The parameters' values.
    pub fn values(&mut self) -> &mut [f32] {
        self.network.values()
    }

    /// (gradients, parameters)
    pub fn gradients(&mut self) -> (&mut [f32], &mut [f32]) {
        self.network.gradients()
    }

    /// Floats of an image.
    pub fn image_len(&self) -> usize {
        self.image.iter().product()
    }

    /// Bytes of activations and scratch that the largest batch so far has taken.
    pub fn scratch_bytes(&self) -> u64 {
        self.network.scratch_bytes()
    }

    /// Runs the network on a batch and adds a loss's gradient to the gradients. `loss` is given the prediction, of the
    /// batch's shape, and writes the gradient of the loss with respect to it.
    ///
    /// # Errors
    /// INTERNAL for a batch whose parts do not fit together; OUT_OF_MEMORY.
    pub fn accumulate(&mut self, batch: Batch, loss: impl FnOnce(&[f32], &mut [f32])) -> Result<()> {
        self.check(batch)?;
        let mut loss = Some(loss);
        self.network.accumulate(batch, &mut |net, gradient| {
            if let Some(loss) = loss.take() {
                loss(net, gradient);
            }
        })
    }

    /// The gradient of a loss with respect to the batch's images, which `see` is given; those of the parameters stay as they are.
    ///
    /// # Errors
    /// As [`Self::accumulate`].
    pub fn slope(
        &mut self,
        batch: Batch,
        loss: impl FnOnce(&[f32], &mut [f32]),
        see: impl FnOnce(&[f32]),
    ) -> Result<()> {
        self.check(batch)?;
        let (mut loss, mut see) = (Some(loss), Some(see));
        let mut loss = |net: &[f32], gradient: &mut [f32]| {
            if let Some(loss) = loss.take() {
                loss(net, gradient);
            }
        };
        self.network.slope(batch, &mut loss, &mut |gradient| {
            if let Some(see) = see.take() {
                see(gradient);
            }
        })
    }

    /// Runs the network on a batch, and `see`s its prediction.
    ///
    /// # Errors
    /// As [`Self::accumulate`].
    pub fn predict(&mut self, batch: Batch, see: impl FnOnce(&[f32])) -> Result<()> {
        self.check(batch)?;
        let mut see = Some(see);
        self.network.predict(batch, &mut |net| {
            if let Some(see) = see.take() {
                see(net);
            }
        })
    }

    fn check(&self, batch: Batch) -> Result<()> {
        let n = batch.times.len();
        let fits = batch.x.len() == n * self.image_len()
            && batch.labels.is_some() == self.conditional
            && batch.labels.is_none_or(|labels| labels.len() == n)
            && batch.dropout.is_none_or(|dropout| dropout.seeds.len() == n);
        if n == 0 || !fits {
            return Err(Error::Internal("a batch whose parts do not fit together".to_owned()));
        }
        Ok(())
    }
}

/// A network on an executor whose type is erased.
trait Passes {
    fn values(&mut self) -> &mut [f32];
    fn gradients(&mut self) -> (&mut [f32], &mut [f32]);
    fn scratch_bytes(&self) -> u64;
    fn accumulate(&mut self, batch: Batch, loss: &mut dyn FnMut(&[f32], &mut [f32])) -> Result<()>;
    fn slope(
        &mut self,
        batch: Batch,
        loss: &mut dyn FnMut(&[f32], &mut [f32]),
        see: &mut dyn FnMut(&[f32]),
    ) -> Result<()>;
    fn predict(&mut self, batch: Batch, see: &mut dyn FnMut(&[f32])) -> Result<()>;
}

struct On<T: TrainingExecutor> {
    unet: UNet<T>,
    executor: T,
    image: [usize; 3],
    /// Batch sizes that memory was planned for, without dropout and with it.
    planned: BTreeSet<(usize, bool)>,
}

impl<T: TrainingExecutor> On<T> {
    /// The prediction of a batch, once memory is planned for its like.
    fn forward(&mut self, batch: Batch) -> Result<T::State> {
        let Self { unet, executor, image, planned } = self;
        executor.set_dropout(batch.dropout.cloned());
        let kind = (batch.times.len(), batch.dropout.is_some());
        if !planned.contains(&kind) {
            executor.plan(&mut |executor| {
                let net = forward(unet, executor, *image, batch)?;
                executor.backward_to_input(net, |_, _| {}, |_| {})
            })?;
            planned.insert(kind);
        }
        forward(unet, executor, *image, batch)
    }
}

impl<T: TrainingExecutor> Passes for On<T> {
    fn values(&mut self) -> &mut [f32] {
        self.executor.parameters_mut()
    }

    fn gradients(&mut self) -> (&mut [f32], &mut [f32]) {
        self.executor.gradients_mut()
    }

    fn scratch_bytes(&self) -> u64 {
        self.executor.scratch_bytes()
    }

    fn accumulate(&mut self, batch: Batch, loss: &mut dyn FnMut(&[f32], &mut [f32])) -> Result<()> {
        let net = self.forward(batch)?;
        self.executor.backward(net, loss)
    }

    fn slope(
        &mut self,
        batch: Batch,
        loss: &mut dyn FnMut(&[f32], &mut [f32]),
        see: &mut dyn FnMut(&[f32]),
    ) -> Result<()> {
        let net = self.forward(batch)?;
        self.executor.backward_to_input(net, loss, see)
    }

    fn predict(&mut self, batch: Batch, see: &mut dyn FnMut(&[f32])) -> Result<()> {
        let net = self.forward(batch)?;
        see(self.executor.prediction(&net));
        self.executor.clear();
        Ok(())
    }
}

/// The parameters of a network that learned its variance, as those of one that did not.
struct MeanHalf<'a>(&'a dyn Params);

impl Params for MeanHalf<'_> {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight<'_>> {
        if !name.starts_with("conv_out.") {
            return self.0.tensor(name, shape);
        }
        let whole = [&[2 * shape[0]], &shape[1..]].concat();
        Ok(self.0.tensor(name, &whole)?.rows(0..shape[0]))
    }
}

fn forward<T: TrainingExecutor>(
    unet: &UNet<T>,
    executor: &mut T,
    [c, h, w]: [usize; 3],
    batch: Batch,
) -> Result<T::State> {
    let x = executor.load([batch.times.len(), c, h, w], &mut |out| out.copy_from_slice(batch.x))?;
    unet.forward(executor, &x, batch.times, batch.labels, &mut || Ok(()))
}
