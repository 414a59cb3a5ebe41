//! Times and labels to the biases of all residual blocks. Images of one time and label share a row, and a call
//! that asks for what the last one asked for, as every call of a student's does, computes nothing.

use super::driver;
use super::driver::{Address, Gpu, Memory, Stream};
use super::kernels::{LinearRows, activation_number, int};
use super::upload::Upload;
use super::weights::{CudaDevice, Stacked};
use crate::error::{Error, Result};
use crate::exec::time::{sinusoid, slots};
use crate::exec::{Activation, ClassUse, LinearWeights, TimeWeights};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Layers in f32: their bytes are few, and every block depends on them.
struct Linear {
    weight: Memory,
    bias: Memory,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    fn new(device: &CudaDevice, layers: &[LinearWeights]) -> Result<Self> {
        let Stacked { values, bias, inputs } = Stacked::of(layers)?;
        let outputs = bias.len();
        Ok(Self { weight: device.floats(&values)?, bias: device.floats(&bias)?, inputs, outputs })
    }
}

/// The class embedding: where its rows are added.
enum Classes {
    /// (classes, D) on the device: to the embedding.
    Embedding(Memory, usize),
    /// (classes, C) on the host, where the sinusoids are made: to those.
    Sinusoid(Vec<f32>, usize),
}

impl Classes {
    fn count(&self) -> usize {
        match self {
            Classes::Embedding(_, count) | Classes::Sinusoid(_, count) => *count,
        }
    }
}

/// The time embedding and all projections, side by side.
pub struct Time {
    /// Tells one model's rows from another's.
    id: u64,
    channels: usize,
    flip_sin_to_cos: bool,
    freq_shift: f32,
    linear_1: Linear,
    linear_2: Linear,
    classes: Option<Classes>,
    activation: Activation,
    projections: Linear,
    /// Where each slot begins in a row, and the row's length.
    slots: Arc<[usize]>,
}

impl Time {
    pub(super) fn new(device: &CudaDevice, weights: &TimeWeights) -> Result<Self> {
        static IDS: AtomicU64 = AtomicU64::new(0);
        let one = |layer| Linear::new(device, std::slice::from_ref(layer));
        let (linear_1, linear_2) = (one(&weights.linear_1)?, one(&weights.linear_2)?);
        let projections = Linear::new(device, &weights.projections)?;
        let d = linear_1.outputs;
        let class_width = weights.class_use.width(weights.channels, d);
        let fits = linear_1.inputs == weights.channels
            && (linear_2.inputs, linear_2.outputs) == (d, d)
            && (projections.outputs == 0 || projections.inputs == d)
            && weights.class_embedding.as_ref().is_none_or(|table| table.shape[1..] == [class_width]);
        if !fits {
            return Err(Error::Internal("the time embedding's layers do not fit together".to_owned()));
        }
        let classes = weights.class_embedding.as_ref().map(|table| {
            let count = table.shape[0];
            Ok::<_, Error>(match weights.class_use {
                ClassUse::Embedding => Classes::Embedding(device.tensor(table)?, count),
                ClassUse::Sinusoid => Classes::Sinusoid(table.to_vec()?, count),
            })
        });
        Ok(Self {
            id: IDS.fetch_add(1, Ordering::Relaxed),
            channels: weights.channels,
            flip_sin_to_cos: weights.flip_sin_to_cos,
            freq_shift: weights.freq_shift,
            linear_1,
            linear_2,
            classes: classes.transpose()?,
            activation: weights.activation,
            projections,
            slots: slots(&weights.projections).into(),
        })
    }
}

/// A call's rows: image i's is row `row_of[i]`, all slots side by side.
pub struct Rows {
    /// Of row 0.
    pub(super) address: Address,
    /// (images) i32
    pub(super) row_of: Address,
    images: usize,
    /// Floats from one row to the next.
    pub(super) width: usize,
    slots: Arc<[usize]>,
}

impl Rows {
    /// Where slot `slot` begins in a row; checks that slot and batch are of this size.
    pub(super) fn slot(&self, slot: usize, width: usize, images: usize) -> Result<usize> {
        if slot + 1 >= self.slots.len()
            || self.slots[slot + 1] - self.slots[slot] != width
            || images != self.images
        {
            return Err(Error::Internal(format!("time slot {slot} is not {width} wide for {images} images")));
        }
        Ok(self.slots[slot])
    }
}

/// The time's bits, and the label.
type Key = (u32, Option<i32>);

/// A session's rows on the device, and whose they are.
pub struct Embedding {
    gpu: Arc<Gpu>,
    memory: Memory,
    /// Images that there is room for, of a network of this size.
    room: usize,
    size: usize,
    planned: Planned,
    held: Option<u64>,
    keys: Vec<Key>,
    row_of: Vec<i32>,
}

/// The most that rehearsals have met: images, and floats of one, in all and of what is sent.
#[derive(Clone, Copy, Default)]
pub(super) struct Planned {
    images: usize,
    size: usize,
    sent: usize,
}

/// Floats of one image in each part of the memory: input, two hidden layers, row; and two integers.
fn size(time: &Time) -> usize {
    time.channels + 2 * time.linear_1.outputs + time.projections.outputs + 2
}

impl Embedding {
    pub(super) fn new(gpu: &Arc<Gpu>) -> Result<Self> {
        let memory = Memory::alloc(gpu, 0, "time embedding")?;
        let (keys, row_of) = (Vec::new(), Vec::new());
        Ok(Self {
            gpu: gpu.clone(),
            memory,
            room: 0,
            size: 0,
            planned: Planned::default(),
            held: None,
            keys,
            row_of,
        })
    }

    /// Notes that so many images will want rows; `reserve` then makes room.
    pub(super) fn plan(&mut self, time: &Time, images: usize) -> Rows {
        self.planned.images = self.planned.images.max(images);
        self.planned.size = self.planned.size.max(size(time));
        self.planned.sent = self.planned.sent.max(time.channels + 2);
        let (width, slots) = (time.projections.outputs, time.slots.clone());
        Rows { address: 0, row_of: 0, images, width, slots }
    }

    /// What rehearsals have met so far.
    pub(super) fn planned(&self) -> Planned {
        self.planned
    }

    /// Forgets what they have met since.
    pub(super) fn restore(&mut self, planned: Planned) {
        self.planned = planned;
    }

    /// Makes room for what was planned; nothing that runs may use what was there.
    pub(super) fn reserve(&mut self, upload: &mut Upload) -> Result<()> {
        let Planned { images, size, sent } = self.planned;
        if (images, size) != (self.room, self.size) {
            self.held = None;
            (self.room, self.size) = (0, 0);
            self.memory = Memory::alloc(&self.gpu, 0, "time embedding")?;
            self.memory = Memory::alloc(&self.gpu, 4 * images * size, "time embedding on the device")?;
            (self.room, self.size) = (images, size);
            self.keys.reserve(images.saturating_sub(self.keys.len()));
            self.row_of.reserve(images.saturating_sub(self.row_of.len()));
        }
        upload.reserve(4 * images * sent)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.memory.bytes() as u64
    }

    /// Whether the rows on the device are those of this call; else notes which they will be.
    fn holds(&mut self, time: &Time, times: &[f32], labels: Option<&[i32]>) -> bool {
        let key = |image: usize| (times[image].to_bits(), labels.map(|labels| labels[image]));
        let images = times.len();
        let same = self.held == Some(time.id)
            && self.row_of.len() == images
            && (0..images).all(|image| self.keys[self.row_of[image] as usize] == key(image));
        if !same {
            self.keys.clear();
            self.row_of.clear();
            for image in 0..images {
                let key = key(image);
                // Neighbours are mostly alike; a search through all rows is for the rest.
                let last = self.row_of.last().map(|&row| row as usize).filter(|&row| self.keys[row] == key);
                let row = last.or_else(|| self.keys.iter().position(|known| *known == key));
                let row = row.unwrap_or_else(|| {
                    self.keys.push(key);
                    self.keys.len() - 1
                });
                self.row_of.push(row as i32);
            }
        }
        same
    }

    /// The rows of a batch, computed unless they are there.
    pub(super) fn rows(
        &mut self,
        device: &CudaDevice,
        (stream, upload): (&Stream, &mut Upload),
        time: &Time,
        times: &[f32],
        labels: Option<&[i32]>,
    ) -> Result<Rows> {
        let images = times.len();
        let classes = time.classes.as_ref().map(Classes::count);
        let valid = match (classes, labels) {
            (None, None) => true,
            (Some(classes), Some(labels)) => {
                labels.len() == images
                    && labels.iter().all(|&label| (0..classes as i64).contains(&label.into()))
            }
            _ => false,
        };
        if !valid {
            return Err(Error::Internal("labels that do not go with this class embedding".to_owned()));
        }
        if images > self.room || size(time) > self.size {
            return Err(Error::Internal(format!("time rows of {images} images were not planned")));
        }
        let same = self.holds(time, times, labels);
        let rows = self.keys.len();
        let (c, d, width) = (time.channels, time.linear_1.outputs, time.projections.outputs);
        // Parts of the memory, each for as many rows as there is room for, so that places do not depend on the call.
        let part = |floats: usize| self.memory.address() + (4 * self.room * floats) as Address;
        let (row_of, label_of, input) = (part(0), part(1), part(2));
        let (hidden_1, hidden_2, table) = (part(2 + c), part(2 + c + d), part(2 + c + 2 * d));
        if !same {
            self.held = None;
            let (room, keys, row_of_image) = (self.room, &self.keys, &self.row_of);
            upload.send(4 * (2 * room + rows * c), row_of, stream, |bytes| {
                let (integers, input) = bytes.split_at_mut(8 * room);
                let integers: &mut [i32] = bytemuck::cast_slice_mut(integers);
                integers[..images].copy_from_slice(row_of_image);
                let input: &mut [f32] = bytemuck::cast_slice_mut(input);
                for (row, &(t, label)) in keys.iter().enumerate() {
                    integers[room + row] = label.unwrap_or(0);
                    let how = (time.flip_sin_to_cos, time.freq_shift);
                    let input = &mut input[row * c..][..c];
                    sinusoid(f32::from_bits(t), how, input);
                    if let (Some(Classes::Sinusoid(table, _)), Some(label)) = (&time.classes, label) {
                        let class = &table[label as usize * c..][..c];
                        input.iter_mut().zip(class).for_each(|(value, class)| *value += class);
                    }
                }
            })?;
            let classes = match &time.classes {
                Some(Classes::Embedding(table, _)) => table.address(),
                _ => 0,
            };
            let run = |linear: &Linear, x, out, table, activation| -> Result<()> {
                if linear.outputs == 0 {
                    return Ok(());
                }
                let arguments = LinearRows {
                    x,
                    weight: linear.weight.address(),
                    bias: linear.bias.address(),
                    table,
                    labels: label_of,
                    out,
                    rows: int(rows)?,
                    inputs: int(linear.inputs)?,
                    outputs: int(linear.outputs)?,
                    activation: activation_number(activation),
                };
                let count = driver::blocks((linear.outputs.div_ceil(4) * rows) as u64, 1)?;
                stream.launch(&device.kernels.linear_rows.launch(count, 128, 0, &arguments))
            };
            run(&time.linear_1, input, hidden_1, 0, Some(Activation::Silu))?;
            run(&time.linear_2, hidden_1, hidden_2, classes, Some(time.activation))?;
            run(&time.projections, hidden_2, table, 0, None)?;
            self.held = Some(time.id);
        }
        Ok(Rows { address: table, row_of, images, width, slots: time.slots.clone() })
    }
}
