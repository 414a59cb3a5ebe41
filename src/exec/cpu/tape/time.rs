//! The time embedding: times and labels to the rows that all residual blocks read, and back.

use super::super::arena::Slot;
use super::super::gemm::Epilogue;
use super::super::math::activate;
use super::super::norm::Joined;
use super::super::plane::Feed;
use super::super::time::Rows;
use super::super::{Act, Cpu};
use super::layers::{LinearLayer, Place, TimeLayer};
use super::math::derivative;
use super::weights::{add_rows, add_weight_gradient, image_sums};
use crate::error::{Error, Result};
use crate::exec::time::sinusoid;
use crate::exec::{Activation, ClassUse, Input};
use std::sync::Arc;

/// What the embedding of a call was.
pub struct Embedded {
    pub layer: Arc<TimeLayer>,
    pub rows: Rows,
    labels: Option<Vec<i32>>,
    /// Sinusoids (batch, C), then what goes into the first and the second activation, (batch, D), as activations of one
    /// pixel.
    sinusoids: Act,
    first: Act,
    second: Act,
    /// The gradient of the rows, (batch, width).
    pub d_rows: Slot,
}

impl Embedded {
    /// Embeds a batch.
    pub fn new(
        cpu: &mut Cpu,
        layer: &Arc<TimeLayer>,
        parameters: &[f32],
        times: &[f32],
        labels: Option<&[i32]>,
    ) -> Result<Self> {
        let n = times.len();
        let c = layer.channels;
        check_labels(layer, n, labels)?;
        let width = layer.slots[layer.slots.len() - 1];
        let mut sinusoids = cpu.new_act([n, c, 1, 1])?;
        if !cpu.arena.planning() {
            for (row, &t) in sinusoids.slot.values_mut().chunks_exact_mut(c).zip(times) {
                sinusoid(t, (layer.flip_sin_to_cos, layer.freq_shift), row);
            }
        }
        add_classes(layer, ClassUse::Sinusoid, parameters, labels, &mut sinusoids);
        let first = linear(cpu, &[layer.linear_1], parameters, &sinusoids)?;
        let hidden = activated(cpu, Activation::Silu, &first)?;
        let mut second = linear(cpu, &[layer.linear_2], parameters, &hidden)?;
        add_classes(layer, ClassUse::Embedding, parameters, labels, &mut second);
        let embedding = activated(cpu, layer.activation, &second)?;
        let rows = linear(cpu, &layer.projections, parameters, &embedding)?;
        let mut d_rows = cpu.arena.alloc(n * width)?;
        d_rows.values_mut().fill(0.0);
        Ok(Self {
            layer: layer.clone(),
            rows: Rows::of(rows.slot, n, &layer.slots),
            labels: labels.map(<[i32]>::to_vec),
            sinusoids,
            first,
            second,
            d_rows,
        })
    }

    /// Adds the gradients of the embedding's parameters, once those of the rows are whole.
    pub fn back(self, cpu: &mut Cpu, parameters: &[f32], gradients: &mut [f32]) -> Result<()> {
        let layer = &self.layer;
        let n = self.second.shape[0];
        let width = self.rows.width;
        let labels = self.labels.as_deref();
        let embedding = activated(cpu, layer.activation, &self.second)?;
        for (slot, projection) in layer.slots.windows(2).zip(&layer.projections) {
            let mut part = cpu.new_act([n, slot[1] - slot[0], 1, 1])?;
            let rows = self.d_rows.values().chunks_exact(width);
            let parts = part.slot.values_mut().chunks_exact_mut(slot[1] - slot[0]);
            parts.zip(rows).for_each(|(part, row)| part.copy_from_slice(&row[slot[0]..slot[1]]));
            linear_gradients(cpu, &embedding, &part, *projection, gradients)?;
        }
        drop(embedding);
        let d_rows = Act { slot: self.d_rows, shape: [n, width, 1, 1], sums: None };
        let mut d_second = linear_back(cpu, &layer.projections, parameters, &d_rows)?;
        drop(d_rows);
        times_derivative(layer.activation, &self.second, &mut d_second);
        class_gradients(layer, ClassUse::Embedding, gradients, labels, &d_second);
        let hidden = activated(cpu, Activation::Silu, &self.first)?;
        linear_gradients(cpu, &hidden, &d_second, layer.linear_2, gradients)?;
        let mut d_first = linear_back(cpu, &[layer.linear_2], parameters, &d_second)?;
        times_derivative(Activation::Silu, &self.first, &mut d_first);
        linear_gradients(cpu, &self.sinusoids, &d_first, layer.linear_1, gradients)?;
        if layer.classes.is_some() && layer.class_use == ClassUse::Sinusoid {
            let d_sinusoids = linear_back(cpu, &[layer.linear_1], parameters, &d_first)?;
            class_gradients(layer, ClassUse::Sinusoid, gradients, labels, &d_sinusoids);
        }
        Ok(())
    }
}

/// Adds each label's row to its image's, if `here` is where rows of classes belong.
fn add_classes(layer: &TimeLayer, here: ClassUse, parameters: &[f32], labels: Option<&[i32]>, to: &mut Act) {
    if let (Some(classes), Some(labels)) = (layer.classes, labels)
        && layer.class_use == here
    {
        let (classes, width) = (classes.of(parameters), to.shape[1]);
        for (row, &label) in to.slot.values_mut().chunks_exact_mut(width).zip(labels) {
            let class = &classes[label as usize * width..][..width];
            row.iter_mut().zip(class).for_each(|(value, class)| *value += class);
        }
    }
}

/// And their gradients, from that of what they were added to.
fn class_gradients(
    layer: &TimeLayer,
    here: ClassUse,
    gradients: &mut [f32],
    labels: Option<&[i32]>,
    d: &Act,
) {
    if let (Some(classes), Some(labels)) = (layer.classes, labels)
        && layer.class_use == here
    {
        let (classes, width) = (classes.of_mut(gradients), d.shape[1]);
        for (row, &label) in d.slot.values().chunks_exact(width).zip(labels) {
            let class = &mut classes[label as usize * width..][..width];
            class.iter_mut().zip(row).for_each(|(class, value)| *class += value);
        }
    }
}

fn check_labels(layer: &TimeLayer, images: usize, labels: Option<&[i32]>) -> Result<()> {
    let width = layer.class_use.width(layer.channels, layer.linear_1.bias.len());
    let classes = layer.classes.map(|classes: Place| classes.len() / width);
    match (classes, labels) {
        (None, None) => Ok(()),
        (Some(classes), Some(labels)) if labels.len() == images => {
            match labels.iter().find(|label| !(0..classes as i64).contains(&i64::from(**label))) {
                Some(label) => Err(Error::Internal(format!("label {label} is out of range"))),
                None => Ok(()),
            }
        }
        _ => Err(Error::Internal("labels go with a class embedding, one an image".to_owned())),
    }
}

/// Several linear layers side by side, of an activation or of two.
pub fn linear(cpu: &mut Cpu, layers: &[LinearLayer], parameters: &[f32], x: &Act) -> Result<Act> {
    let linear = LinearLayer::pack(cpu, layers, parameters)?;
    cpu.linear(Input::One(x), &linear)
}

/// The gradient of such layers' input.
pub fn linear_back(cpu: &mut Cpu, layers: &[LinearLayer], parameters: &[f32], dy: &Act) -> Result<Act> {
    let linear = LinearLayer::pack_reversed(cpu, layers, parameters)?;
    let [n, _, h, w] = dy.shape;
    let mut out = cpu.new_act([n, linear.packed.n, h, w])?;
    linear.apply(cpu, dy.slot.values(), out.slot.values_mut(), Epilogue::PLAIN)?;
    Ok(out)
}

/// Adds the gradients of a linear layer's weight and bias, from its input and its output's gradient.
pub fn linear_gradients(
    cpu: &mut Cpu,
    x: &Act,
    dy: &Act,
    layer: LinearLayer,
    gradients: &mut [f32],
) -> Result<()> {
    let feed = Feed { x: &Joined::new(Input::One(x))?, map: None, activation: None };
    add_weight_gradient(cpu, &feed, None, dy, 1, layer.weight.of_mut(gradients))?;
    add_rows(image_sums(cpu, dy)?.values(), layer.bias.of_mut(gradients));
    Ok(())
}

fn activated(cpu: &Cpu, activation: Activation, x: &Act) -> Result<Act> {
    let mut out = cpu.new_act(x.shape)?;
    out.slot.values_mut().copy_from_slice(x.slot.values());
    activate(activation, out.slot.values_mut());
    Ok(out)
}

/// dy = dy act'(x)
fn times_derivative(activation: Activation, x: &Act, dy: &mut Act) {
    for (dy, &x) in dy.slot.values_mut().iter_mut().zip(x.slot.values()) {
        *dy *= derivative(activation, x);
    }
}
