//! The training executor: runs the network as [`Cpu`] does, writes down what it did, and goes back over it for the
//! gradient of a loss.
//!
//! Layers are places in one flat vector of parameters, and gradients a vector like it, so that an optimiser is a loop
//! over floats. A layer's weights are packed when it runs and forgotten after; what is kept of an operation is its
//! result (and a norm's statistics), and the way back computes the rest again: a norm's outputs, queries, keys and
//! values, an attention's probabilities. A convolution's way back to its input is a convolution with reversed taps, by
//! Winograd's algorithm where that pays; strided and doubling ones become it by zeros between pixels and sums of four.
//!
//! All memory is slots of the executor's arena, planned by a rehearsal of one step ([`Executor::plan`]) and exactly as
//! much as that needs. Every sum has one order: gradients do not depend on the number of threads.

mod attention;
mod backward;
mod dropout;
mod layers;
mod math;
mod norm;
mod sizes;
#[cfg(test)]
mod tests;
mod time;
mod weights;

pub use layers::ParameterMap;

use super::gemm::Epilogue;
use super::norm::Joined;
use super::plane::Feed;
use super::{Act as Values, Cpu, CpuDevice, Operands, Packing, State};
use crate::error::{Error, Result};
use crate::exec::{
    AttentionWeights, ConvKind, ConvWeights, Dropout, Executor, Input, LinearWeights, NormActConv,
    NormWeights, Parameter, Resize, Step, TimeUse, TimeWeights, TrainingExecutor,
};
use crate::image::Layout;
use backward::{Record, Sources};
use layers::{AttentionLayer, ConvLayer, LinearLayer, NormLayer, TimeLayer};
use std::sync::Arc;
use time::Embedded;

/// See the module.
pub struct Tape {
    cpu: Cpu,
    parameters: Vec<f32>,
    gradients: Vec<f32>,
    /// In their place where nobody asks for them.
    unused: Vec<f32>,
    nodes: Vec<Node>,
    records: Vec<Record>,
    time: Option<Embedded>,
    dropout: Option<Dropout>,
    /// Layers of the pass that have dropped values so far.
    dropped: u32,
    /// Whether the way back goes on to the network's input.
    to_input: bool,
}

/// An activation and, on the way back, its gradient.
#[derive(Default)]
struct Node {
    values: Option<Values>,
    gradient: Option<Values>,
}

/// An activation of the tape; its values stay until the way back has passed.
#[derive(Clone, Copy, Debug)]
pub struct Act(usize);

/// The time rows of the call that is on the tape.
#[derive(Debug)]
pub struct Rows(());

impl Tape {
    /// A tape whose kernels are the best of this processor, with `threads` threads, the caller's among them.
    pub fn new(threads: usize) -> Result<Self> {
        let device = CpuDevice::new(Operands::F32, Packing::Fast, threads);
        Self::of(device, threads)
    }

    fn of(device: CpuDevice, threads: usize) -> Result<Self> {
        Ok(Self {
            cpu: Cpu::new(Arc::new(device), threads, None)?,
            parameters: Vec::new(),
            gradients: Vec::new(),
            unused: Vec::new(),
            nodes: Vec::new(),
            records: Vec::new(),
            time: None,
            dropout: None,
            dropped: 0,
            to_input: false,
        })
    }

    /// How many threads it has.
    pub fn threads(&self) -> usize {
        self.cpu.pool.threads()
    }

    fn push(&mut self, values: Values) -> usize {
        self.nodes.push(Node { values: Some(values), gradient: None });
        self.nodes.len() - 1
    }
}

impl Tape {
    /// Goes back over the last pass, whose nodes stay.
    fn go_back(&mut self, net: State, loss: impl FnOnce(&[f32], &mut [f32])) -> Result<()> {
        self.gradients.resize(self.parameters.len(), 0.0);
        let shape = net.shape;
        let mut gradient = State { slot: self.cpu.arena.alloc(shape.iter().product())?, shape };
        if !self.cpu.arena.planning() {
            loss(net.slot.values(), gradient.slot.values_mut());
        }
        drop(net);
        let gradient = self.cpu.pixels(&gradient, false)?;
        let last = self.nodes.last_mut().ok_or_else(|| Error::Internal("an empty tape".to_owned()))?;
        if last.values.as_ref().is_none_or(|values| values.shape != shape) {
            return Err(Error::Internal(format!("a tape that does not end with {shape:?}")));
        }
        last.gradient = Some(gradient);
        self.walk()
    }
}

impl TrainingExecutor for Tape {
    fn parameters_of(device: &ParameterMap) -> Vec<Parameter> {
        device.parameters()
    }

    fn parameters_mut(&mut self) -> &mut Vec<f32> {
        &mut self.parameters
    }

    fn set_dropout(&mut self, dropout: Option<Dropout>) {
        self.dropout = dropout;
    }

    fn gradients_mut(&mut self) -> (&mut [f32], &mut [f32]) {
        self.gradients.resize(self.parameters.len(), 0.0);
        (&mut self.gradients, &mut self.parameters)
    }

    fn backward(&mut self, net: State, loss: impl FnOnce(&[f32], &mut [f32])) -> Result<()> {
        self.go_back(net, loss)?;
        self.clear();
        Ok(())
    }

    fn backward_to_input(
        &mut self,
        net: State,
        loss: impl FnOnce(&[f32], &mut [f32]),
        see: impl FnOnce(&[f32]),
    ) -> Result<()> {
        self.to_input = true;
        // The parameters' gradients are left as they are.
        std::mem::swap(&mut self.gradients, &mut self.unused);
        let walked = self.go_back(net, loss);
        std::mem::swap(&mut self.gradients, &mut self.unused);
        self.to_input = false;
        walked?;
        let gradient = self.nodes.first_mut().and_then(|input| input.gradient.take()).ok_or_else(gone)?;
        let gradient = self.cpu.planes(&gradient)?;
        if !self.cpu.arena.planning() {
            see(gradient.slot.values());
        }
        self.clear();
        Ok(())
    }

    fn prediction<'a>(&self, net: &'a State) -> &'a [f32] {
        net.slot.values()
    }

    fn clear(&mut self) {
        self.records.clear();
        self.nodes.clear();
        self.time = None;
        self.dropped = 0;
    }
}

fn gone() -> Error {
    Error::Internal("an activation that is no longer on the tape".to_owned())
}

fn values(nodes: &[Node], at: usize) -> Result<&Values> {
    nodes.get(at).and_then(|node| node.values.as_ref()).ok_or_else(gone)
}

/// What a record read, as the kernels take it.
fn source(nodes: &[Node], x: Sources) -> Result<Joined<'_>> {
    let first = values(nodes, x.0)?;
    match x.1 {
        None => Joined::new(Input::One(first)),
        Some(second) => Joined::new(Input::Pair(first, values(nodes, second)?)),
    }
}

impl Executor for Tape {
    type Device = ParameterMap;
    type Conv = ConvLayer;
    type Linear = LinearLayer;
    type Norm = NormLayer;
    type Attention = AttentionLayer;
    type Time = Arc<TimeLayer>;
    type Rows = Rows;
    type Act = Act;
    type State = State;

    fn prepare_conv(map: &ParameterMap, weights: &ConvWeights) -> Result<ConvLayer> {
        ConvLayer::new(map, weights)
    }
    fn prepare_linear(map: &ParameterMap, weights: &LinearWeights) -> Result<LinearLayer> {
        LinearLayer::new(map, weights)
    }
    fn prepare_norm(map: &ParameterMap, weights: &NormWeights) -> Result<NormLayer> {
        NormLayer::new(map, weights)
    }
    fn prepare_attention(map: &ParameterMap, weights: &AttentionWeights) -> Result<AttentionLayer> {
        AttentionLayer::new(map, weights)
    }
    fn prepare_time(map: &ParameterMap, weights: &TimeWeights) -> Result<Arc<TimeLayer>> {
        TimeLayer::new(map, weights).map(Arc::new)
    }
    /// Nothing is prepared ahead.
    fn prepared_bytes(_: &ParameterMap) -> u64 {
        0
    }

    fn plan(&mut self, work: &mut dyn FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.clear();
        self.cpu.arena.begin_plan();
        let result = work(self);
        self.clear();
        match result {
            Ok(()) => self.cpu.arena.end_plan(),
            Err(error) => {
                self.cpu.arena.abandon_plan();
                Err(error)
            }
        }
    }
    fn scratch_bytes(&self) -> u64 {
        self.cpu.arena.bytes()
    }

    fn load(&mut self, shape: [usize; 4], fill: &mut dyn FnMut(&mut [f32])) -> Result<State> {
        self.cpu.load(shape, fill)
    }

    fn time(&mut self, time: &Arc<TimeLayer>, times: &[f32], labels: Option<&[i32]>) -> Result<Rows> {
        self.clear();
        self.time = Some(Embedded::new(&mut self.cpu, time, &self.parameters, times, labels)?);
        Ok(Rows(()))
    }

    fn conv_in(&mut self, x: &State, conv: &ConvLayer) -> Result<Act> {
        let pixels = self.cpu.pixels(x, matches!(conv.kind, ConvKind::In { center: true }))?;
        let x = self.push(pixels);
        self.plain_conv(x, conv)
    }

    fn norm_act_conv(&mut self, x: Input<Act>, op: NormActConv<Self>) -> Result<Act> {
        let x = Sources::of(x);
        let Self { cpu, parameters, nodes, time, dropout, dropped, .. } = self;
        let source = source(nodes, x)?;
        let conv = op.conv.pack(cpu, parameters)?;
        let (plane, shape) = conv.plane(source.shape)?;
        let residual = op.residual.map(|residual| values(nodes, residual.0)).transpose()?;
        if residual.is_some_and(|residual| residual.shape != shape) {
            return Err(Error::Internal(format!("a residual of another shape than {shape:?}")));
        }
        let used = op.time.map(|(_, slot, how)| (slot, how));
        let (mut modulation, mut bias) = (None, None);
        if let Some((slot, how)) = used {
            let rows = &time.as_ref().ok_or_else(gone)?.rows;
            let width = if how == TimeUse::Bias { shape[1] } else { 2 * source.shape[1] };
            let row = rows.slot(slot, width, shape[0])?;
            match how {
                TimeUse::Bias => bias = Some((row, rows.width, shape[2] * shape[3])),
                TimeUse::ScaleShift => modulation = Some((row, rows.width)),
            }
        }
        let norm = op.norm.norm(parameters);
        let stats = norm.statistics(cpu, &source)?;
        let mut map = cpu.arena.alloc(shape[0] * 2 * source.shape[1])?;
        norm.map(stats.values(), modulation, map.values_mut());
        let feed = Feed { x: &source, map: Some(&map), activation: Some(op.activation) };
        let residual_values = residual.map(|residual| residual.slot.values());
        let epilogue = Epilogue { time: bias, residual: residual_values, scale: op.scale };
        let dropout = dropout.as_ref().filter(|_| op.dropout);
        let (mut layer, mut left) = (None, None);
        if let Some(dropout) = dropout {
            layer = Some(*dropped);
            left = Some(dropout.feed(cpu, &feed, *dropped)?);
            *dropped += 1;
        }
        let out = match &left {
            Some(left) => {
                let feed = Feed { x: &Joined::new(Input::One(left))?, map: None, activation: None };
                conv.run(cpu, &plane, &feed, shape, epilogue)?
            }
            None => conv.run(cpu, &plane, &feed, shape, epilogue)?,
        };
        drop(left);
        let out = self.push(out);
        self.records.push(Record::NormActConv {
            x,
            norm: *op.norm,
            stats,
            map,
            activation: op.activation,
            conv: *op.conv,
            dropped: layer,
            time: used,
            residual: op.residual.map(|residual| residual.0),
            scale: op.scale,
            out,
        });
        Ok(Act(out))
    }

    fn pointwise(&mut self, x: Input<Act>, linear: &LinearLayer) -> Result<Act> {
        let x = Sources::of(x);
        let packed = LinearLayer::pack(&mut self.cpu, &[*linear], &self.parameters)?;
        let first = values(&self.nodes, x.0)?;
        let input = match x.1 {
            None => Input::One(first),
            Some(second) => Input::Pair(first, values(&self.nodes, second)?),
        };
        let out = self.cpu.linear(input, &packed)?;
        let out = self.push(out);
        self.records.push(Record::Pointwise { x, linear: *linear, out });
        Ok(Act(out))
    }

    fn attention(&mut self, x: &Act, attention: &AttentionLayer) -> Result<Act> {
        let Self { cpu, parameters, nodes, .. } = self;
        let (heads, out, stats) = attention.forward(cpu, parameters, values(nodes, x.0)?)?;
        let out = self.push(out);
        self.records.push(Record::Attention { x: x.0, attention: *attention, heads, stats, out });
        Ok(Act(out))
    }

    fn resize(&mut self, x: &Act, resize: Resize) -> Result<Act> {
        let out = self.cpu.resized(values(&self.nodes, x.0)?, resize)?;
        let out = self.push(out);
        self.records.push(Record::Resize { x: x.0, resize, out });
        Ok(Act(out))
    }
    fn downsample(&mut self, x: &Act, conv: &ConvLayer) -> Result<Act> {
        self.plain_conv(x.0, conv)
    }
    fn upsample(&mut self, x: &Act, conv: &ConvLayer) -> Result<Act> {
        self.plain_conv(x.0, conv)
    }

    fn conv_out(&mut self, x: &Act, norm: &NormLayer, conv: &ConvLayer) -> Result<State> {
        let op = NormActConv::silu(norm, conv);
        let out = self.norm_act_conv(Input::One(x), op)?;
        self.cpu.planes(values(&self.nodes, out.0)?)
    }

    fn combine(&mut self, x: State, net: &State, noise: Option<&State>, step: &Step) -> Result<State> {
        self.cpu.combine(x, net, noise, step)
    }
    fn emit(&mut self, x: &State, layout: &Layout, out: &mut [u8]) -> Result<()> {
        self.cpu.emit(x, layout, out)
    }
}

impl Tape {
    /// A convolution with nothing in front and nothing behind.
    fn plain_conv(&mut self, x: usize, layer: &ConvLayer) -> Result<Act> {
        let Self { cpu, parameters, nodes, .. } = self;
        let source = source(nodes, Sources(x, None))?;
        let conv = layer.pack(cpu, parameters)?;
        let (plane, shape) = conv.plane(source.shape)?;
        let feed = Feed { x: &source, map: None, activation: None };
        let out = conv.run(cpu, &plane, &feed, shape, Epilogue::PLAIN)?;
        let out = self.push(out);
        self.records.push(Record::Conv { x, conv: *layer, out });
        Ok(Act(out))
    }
}
