//! The way back: records in reverse, each adding to the gradients of what it read.

use super::super::arena::Slot;
use super::super::gemm::Epilogue;
use super::super::norm::Joined;
use super::super::plane::Feed;
use super::super::{Act as Values, Cpu};
use super::attention::Heads;
use super::layers::{AttentionLayer, ConvLayer, LinearLayer, NormLayer};
use super::norm::{self, NormGradients, Normed};
use super::sizes::{spread, unresized};
use super::time::{linear_back, linear_gradients};
use super::weights::{add_rows, add_weight_gradient, image_sums};
use super::{Act, Node, Tape, gone, source, values};
use crate::error::Result;
use crate::exec::{Activation, ConvKind, Input, Resize, TimeUse};

/// One node, or two that are read as if concatenated along the channels.
#[derive(Clone, Copy, Debug)]
pub struct Sources(pub usize, pub Option<usize>);

impl Sources {
    pub fn of(x: Input<Act>) -> Self {
        match x {
            Input::One(x) => Sources(x.0, None),
            Input::Pair(x, y) => Sources(x.0, Some(y.0)),
        }
    }
}

/// What an operation read and left; nodes are numbers.
pub enum Record {
    /// A convolution with nothing in front and nothing behind.
    Conv {
        x: usize,
        conv: ConvLayer,
        out: usize,
    },
    NormActConv {
        x: Sources,
        norm: NormLayer,
        stats: Slot,
        map: Slot,
        activation: Activation,
        conv: ConvLayer,
        /// The layer's number, where it dropped values.
        dropped: Option<u32>,
        time: Option<(usize, TimeUse)>,
        residual: Option<usize>,
        scale: f32,
        out: usize,
    },
    Resize {
        x: usize,
        resize: Resize,
        out: usize,
    },
    Pointwise {
        x: Sources,
        linear: LinearLayer,
        out: usize,
    },
    Attention {
        x: usize,
        attention: AttentionLayer,
        heads: Heads,
        stats: Option<Slot>,
        out: usize,
    },
}

impl Tape {
    /// All records, the last one first.
    pub fn walk(&mut self) -> Result<()> {
        while let Some(record) = self.records.pop() {
            match record {
                Record::Conv { x, conv, out } => self.conv_back(x, conv, out)?,
                Record::NormActConv { .. } => self.norm_act_conv_back(record)?,
                Record::Resize { x, resize, out } => {
                    let dy = self.take(out)?;
                    let dx = unresized(&mut self.cpu, dy, Some(resize))?;
                    add(&mut self.cpu, &mut self.nodes[x], dx);
                }
                Record::Pointwise { x, linear, out } => self.pointwise_back(x, linear, out)?,
                Record::Attention { x, attention, heads, stats, out } => {
                    self.attention_back(x, &attention, heads, stats, out)?;
                }
            }
        }
        match self.time.take() {
            Some(time) => time.back(&mut self.cpu, &self.parameters, &mut self.gradients),
            None => Ok(()),
        }
    }

    /// The gradient of a record's result, whose values nobody needs any more.
    fn take(&mut self, out: usize) -> Result<Values> {
        let node = std::mem::take(&mut self.nodes[out]);
        node.gradient.ok_or_else(gone)
    }

    fn conv_back(&mut self, x: usize, conv: ConvLayer, out: usize) -> Result<()> {
        let dy = self.take(out)?;
        let Self { cpu, parameters, gradients, nodes, .. } = self;
        add_rows(image_sums(cpu, &dy)?.values(), conv.bias.of_mut(gradients));
        let read = source(nodes, Sources(x, None))?;
        let size = (read.shape[2], read.shape[3]);
        let dy = match conv.kind {
            ConvKind::Down { symmetric } => spread(cpu, &dy, size, symmetric)?,
            _ => dy,
        };
        let feed = Feed { x: &read, map: None, activation: None };
        add_weight_gradient(cpu, &feed, conv.kind.resize(), &dy, 3, conv.weight.of_mut(gradients))?;
        if matches!(conv.kind, ConvKind::In { .. }) && !self.to_input {
            return Ok(());
        }
        let dx = convolve(cpu, &conv, parameters, &dy)?;
        drop(dy);
        let mut dx = unresized(cpu, dx, conv.kind.resize())?;
        if matches!(conv.kind, ConvKind::In { center: true }) {
            dx.slot.values_mut().iter_mut().for_each(|value| *value *= 2.0);
        }
        add(&mut self.cpu, &mut self.nodes[x], dx);
        Ok(())
    }

    fn norm_act_conv_back(&mut self, record: Record) -> Result<()> {
        let Record::NormActConv {
            x,
            norm,
            stats,
            map,
            activation,
            conv,
            dropped,
            time,
            residual,
            scale,
            out,
        } = record
        else {
            return Err(gone());
        };
        let mut dy = self.take(out)?;
        let Self { cpu, parameters, gradients, nodes, time: embedded, dropout, .. } = self;
        if scale != 1.0 {
            dy.slot.values_mut().iter_mut().for_each(|value| *value *= scale);
        }
        let sums = image_sums(cpu, &dy)?;
        add_rows(sums.values(), conv.bias.of_mut(gradients));
        let outputs = dy.shape[1];
        let embedded = embedded.as_mut();
        // (where the slot begins, the rows, their gradient, their width)
        let mut rows = None;
        if let Some((slot, how)) = time {
            let embedded = embedded.ok_or_else(gone)?;
            let (start, width) = (embedded.layer.slots[slot], embedded.rows.width);
            match how {
                TimeUse::Bias => {
                    let d_rows = embedded.d_rows.values_mut().chunks_exact_mut(width);
                    for (row, sums) in d_rows.zip(sums.values().chunks_exact(outputs)) {
                        let row = row[start..][..outputs].iter_mut();
                        row.zip(sums).for_each(|(value, sum)| *value += sum);
                    }
                }
                TimeUse::ScaleShift => {
                    let modulation = embedded.rows.slot(slot, 2 * norm.weight.len(), dy.shape[0])?;
                    let d_rows = embedded.d_rows.values_mut();
                    let d_rows = d_rows.get_mut(start..).unwrap_or_default();
                    rows = Some(((modulation, width), (d_rows, width)));
                }
            }
        }
        drop(sums);

        let read = source(nodes, x)?;
        let feed = Feed { x: &read, map: Some(&map), activation: Some(activation) };
        let dropped = dropout.as_ref().zip(dropped);
        let to = conv.weight.of_mut(gradients);
        match dropped {
            Some((dropout, layer)) => {
                let left = dropout.feed(cpu, &feed, layer)?;
                let feed = Feed { x: &Joined::new(Input::One(&left))?, map: None, activation: None };
                add_weight_gradient(cpu, &feed, conv.kind.resize(), &dy, 3, to)?;
            }
            None => add_weight_gradient(cpu, &feed, conv.kind.resize(), &dy, 3, to)?,
        }
        let du = convolve(cpu, &conv, parameters, &dy)?;
        let mut du = unresized(cpu, du, conv.kind.resize())?;
        if let Some((dropout, layer)) = dropped {
            dropout.mask(cpu, &mut du, layer);
        }
        if let Some(residual) = residual {
            add(cpu, &mut nodes[residual], dy);
        } else {
            drop(dy);
        }
        let (modulation, d_modulation) = rows.unzip();
        let weights = norm.norm(parameters);
        let normed =
            Normed { norm: &weights, stats: &stats, map: &map, modulation, activation: Some(activation) };
        norm_back(cpu, nodes, x, &normed, &norm, d_modulation, &du, gradients)
    }

    fn pointwise_back(&mut self, x: Sources, linear: LinearLayer, out: usize) -> Result<()> {
        let dy = self.take(out)?;
        let Self { cpu, parameters, gradients, nodes, .. } = self;
        add_rows(image_sums(cpu, &dy)?.values(), linear.bias.of_mut(gradients));
        let read = source(nodes, x)?;
        let feed = Feed { x: &read, map: None, activation: None };
        add_weight_gradient(cpu, &feed, None, &dy, 1, linear.weight.of_mut(gradients))?;
        let dx = linear_back(cpu, &[linear], parameters, &dy)?;
        drop(dy);
        let Sources(first, Some(second)) = x else {
            add(cpu, &mut nodes[x.0], dx);
            return Ok(());
        };
        let shapes = [values(nodes, first)?.shape, values(nodes, second)?.shape];
        let mut column = 0;
        for (node, shape) in [first, second].into_iter().zip(shapes) {
            let part = columns(cpu, &dx, column, shape)?;
            column += shape[1];
            add(cpu, &mut nodes[node], part);
        }
        Ok(())
    }

    fn attention_back(
        &mut self,
        x: usize,
        attention: &AttentionLayer,
        heads: Heads,
        stats: Option<Slot>,
        out: usize,
    ) -> Result<()> {
        let mut dy = self.take(out)?;
        let Self { cpu, parameters, gradients, nodes, .. } = self;
        if attention.scale != 1.0 {
            dy.slot.values_mut().iter_mut().for_each(|value| *value *= attention.scale);
        }
        let again = attention.again(cpu, parameters, values(nodes, x)?, stats.as_ref())?;
        let attended =
            Values { slot: heads.attend(cpu, again.qkv.slot.values())?, shape: dy.shape, sums: None };
        linear_gradients(cpu, &attended, &dy, attention.out, gradients)?;
        drop(attended);
        let d_attended = linear_back(cpu, &[attention.out], parameters, &dy)?;
        // The residual.
        add(cpu, &mut nodes[x], dy);
        let d_qkv = heads.back(cpu, again.qkv.slot.values(), d_attended.slot.values())?;
        let d_qkv = Values { slot: d_qkv, shape: again.qkv.shape, sums: None };
        drop(d_attended);
        let super::attention::Again { normed: normed_x, map, qkv } = again;
        drop(qkv);
        let c = d_qkv.shape[1] / 3;
        for (which, layer) in attention.qkv.iter().enumerate() {
            let [n, _, h, w] = d_qkv.shape;
            let part = columns(cpu, &d_qkv, which * c, [n, c, h, w])?;
            linear_gradients(cpu, &normed_x, &part, *layer, gradients)?;
        }
        drop(normed_x);
        let d_normed = linear_back(cpu, &attention.qkv, parameters, &d_qkv)?;
        drop(d_qkv);
        match (&attention.norm, stats, map) {
            (Some(norm), Some(stats), Some(map)) => {
                let weights = norm.norm(parameters);
                let normed =
                    Normed { norm: &weights, stats: &stats, map: &map, modulation: None, activation: None };
                norm_back(cpu, nodes, Sources(x, None), &normed, norm, None, &d_normed, gradients)
            }
            _ => {
                add(cpu, &mut nodes[x], d_normed);
                Ok(())
            }
        }
    }
}

/// The gradient of what a convolution's plane held, from that of its outputs, spread to the plane's pixels.
fn convolve(cpu: &mut Cpu, conv: &ConvLayer, parameters: &[f32], dy: &Values) -> Result<Values> {
    let reversed = conv.pack_reversed(cpu, parameters)?;
    let (plane, shape) = reversed.plane(dy.shape)?;
    let feed = Feed { x: &Joined::new(Input::One(dy))?, map: None, activation: None };
    let mut dx = reversed.run(cpu, &plane, &feed, shape, Epilogue::PLAIN)?;
    dx.sums = None;
    Ok(dx)
}

/// From `du`, the gradient of act(norm(x)), to those of the norm's parameters and of the nodes that it read.
#[allow(clippy::too_many_arguments)]
fn norm_back(
    cpu: &mut Cpu,
    nodes: &mut [Node],
    x: Sources,
    normed: &Normed,
    layer: &NormLayer,
    modulation: Option<(&mut [f32], usize)>,
    du: &Values,
    gradients: &mut [f32],
) -> Result<()> {
    let du = du.slot.values();
    let (mut d_gamma, mut d_beta) = (vec![0.0; layer.weight.len()], vec![0.0; layer.weight.len()]);
    let coefficients = {
        let into = NormGradients { gamma: &mut d_gamma, beta: &mut d_beta, modulation };
        norm::back(cpu, &source(nodes, x)?, normed, du, into)?
    };
    for (place, sums) in [(layer.weight, d_gamma), (layer.bias, d_beta)] {
        place.of_mut(gradients).iter_mut().zip(sums).for_each(|(to, sum)| *to += sum);
    }
    let mut first = 0;
    for node in [Some(x.0), x.1].into_iter().flatten() {
        let Node { values, gradient } = &mut nodes[node];
        let values = values.as_ref().ok_or_else(gone)?;
        let add = gradient.is_some();
        let to = match gradient {
            Some(to) => to,
            none => none.insert(cpu.new_act(values.shape)?),
        };
        let part = (values.slot.values(), values.shape[1], first);
        norm::input_gradient(cpu, part, normed, du, layer.weight.len(), &coefficients, add, to);
        first += values.shape[1];
    }
    Ok(())
}

/// Adds to a node's gradient.
fn add(cpu: &mut Cpu, node: &mut Node, gradient: Values) {
    const STEP: usize = 16 * 1024;
    let Some(sum) = &mut node.gradient else {
        node.gradient = Some(gradient);
        return;
    };
    let values = gradient.slot.values();
    // A matrix of one column.
    cpu.pool.grid(sum.slot.values_mut(), 1, (STEP, 1), &mut [], |window, _| {
        let values = &values[window.rows()];
        window.whole_rows().iter_mut().zip(values).for_each(|(to, value)| *to += value);
    });
}

/// Channels from `first` on, as many as `shape` has.
fn columns(cpu: &mut Cpu, x: &Values, first: usize, shape: [usize; 4]) -> Result<Values> {
    let mut out = cpu.new_act(shape)?;
    let (all, width) = (x.shape[1], shape[1]);
    let values = x.slot.values();
    cpu.pool.grid(out.slot.values_mut(), width, ((16 * 1024 / width).max(1), width), &mut [], |window, _| {
        for pixel in window.rows() {
            window.row(pixel).copy_from_slice(&values[pixel * all + first..][..width]);
        }
    });
    Ok(out)
}
