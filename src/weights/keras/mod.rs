//! The files of the paper's own code: Keras' older `.h5` of its models' weights. Names in them say nothing; the order does.

mod hdf5;

use super::plain::Tensors;
use super::source::{FileSource, MemorySource, Source};
use super::stored::Stored;
use super::{Checkpoint, Description, Kind};
use crate::error::{Error, Result};
use hdf5::{Leaf, Values};
use serde_json::json;
use std::path::Path;

/// Keras' own, which the paper's models leave as it is.
const GROUP_NORM_EPS: f32 = 1e-3;

/// One of the paper's networks.
struct Paper {
    name: &'static str,
    size: usize,
    multipliers: &'static [usize],
    /// The level that has attention, finest first.
    attention: usize,
    /// Whether layers lie in the order of a call, as in CelebA's model, or in that of their attributes' making.
    in_call_order: bool,
    teacher_steps: u32,
    spacing: &'static str,
}

const PAPERS: [Paper; 3] = [
    Paper {
        name: "CIFAR-10",
        size: 32,
        multipliers: &[1, 2, 2, 2],
        attention: 1,
        in_call_order: false,
        teacher_steps: 100,
        spacing: "quadratic",
    },
    Paper {
        name: "CelebA",
        size: 64,
        multipliers: &[1, 2, 2, 2, 4],
        attention: 2,
        in_call_order: true,
        teacher_steps: 100,
        spacing: "quadratic",
    },
    Paper {
        name: "LSUN",
        size: 256,
        multipliers: &[1, 1, 2, 2, 4, 4],
        attention: 4,
        in_call_order: false,
        teacher_steps: 50,
        spacing: "leading",
    },
];

/// Residual blocks a level on the way down; one more on the way up.
const LAYERS: usize = 2;

/// Whether a file begins as HDF5's do.
pub fn is_hdf5(start: &[u8]) -> bool {
    start.starts_with(b"\x89HDF\r\n\x1a\n")
}

/// Reads which weights there are, and finds which of the paper's networks they make.
pub fn open(source: FileSource, path: &Path, group_norm_eps: Option<f32>) -> Result<Checkpoint<'static>> {
    let name = source.name().to_owned();
    let leaves = hdf5::leaves(&source)?;
    let (paper, order) = recognised(&name, &leaves)?;
    let mut taken = Vec::new();
    let mut tensors = Tensors::new();
    for (leaf, tensor) in leaves.into_iter().zip(order) {
        tensors.insert(tensor, stored(&name, leaf, &mut taken)?);
    }
    let first = &tensors["conv_in.weight"];
    let &[width, 3, 3, 3] = &first.shape[..] else {
        return Err(Error::WrongShape {
            file: name,
            tensor: first.origin.clone().unwrap_or_default(),
            expected: vec![3, 3, 3, first.shape.first().copied().unwrap_or(0)],
            found: first.shape.iter().rev().copied().collect(),
        });
    };
    let network = json!({
        "sample_size": paper.size,
        "block_out_channels": paper.multipliers.iter().map(|mult| mult * width).collect::<Vec<_>>(),
        "layers_per_block": LAYERS,
        "down_block_types": types(paper, "Down"),
        "up_block_types": types(paper, "Up").into_iter().rev().collect::<Vec<_>>(),
        "attention_head_dim": null,
        "downsample_padding": 0,
        "norm_eps": group_norm_eps.unwrap_or(GROUP_NORM_EPS),
        "flip_sin_to_cos": false,
        "freq_shift": 1,
    });
    let scheduler = json!({
        "beta_schedule": "linear",
        "prediction_type": "epsilon",
        "clip_sample": false,
        "timestep_spacing": paper.spacing,
    });
    let teacher = path.file_stem().and_then(|stem| stem.to_str()).is_some_and(|stem| {
        let stem = stem.to_lowercase();
        stem.contains("model_tf2") || stem.contains("teacher")
    });
    let (kind, word, other) = match teacher {
        true => (Kind::Teacher { default_steps: Some(paper.teacher_steps) }, "teacher", "student"),
        false => (Kind::Student { output: None }, "student", "teacher"),
    };
    let note = format!(
        "the paper's network for {}, taken for a {word} by its file's name (else: `onestep import --role {other}`)",
        paper.name
    );
    let mut description = Description::new(network, scheduler);
    description.generator = Some(kind);
    let mut sources: Vec<Box<dyn Source>> = vec![Box::new(source)];
    sources.push(Box::new(MemorySource::named(&name, taken)));
    Ok(Checkpoint {
        name,
        description,
        packed: None,
        tensors,
        sources,
        notes: vec![note],
        format: "Keras h5 of the paper's code",
    })
}

/// The network of which these are the weights, and each one's name here.
fn recognised(file: &str, leaves: &[Leaf]) -> Result<(&'static Paper, Vec<String>)> {
    let mut counts = Vec::new();
    for paper in &PAPERS {
        let order = order(paper);
        // The first layer is a convolution, or the time's.
        let starts =
            leaves.first().is_some_and(|leaf| leaf.shape.len() == if paper.in_call_order { 2 } else { 4 });
        if order.len() == leaves.len() && starts {
            return Ok((paper, order));
        }
        counts.push(format!("{} of {}", order.len(), paper.name));
    }
    let message = format!(
        "{} weights in an order that is none of the paper's networks' ({})",
        leaves.len(),
        counts.join(", ")
    );
    Err(Error::bad_model(file, message))
}

/// A weight as this library has it: Keras keeps kernels with what comes out last.
fn stored(file: &str, leaf: Leaf, taken: &mut Vec<u8>) -> Result<Stored> {
    let (source, offset) = match leaf.values {
        Values::At(offset) => (0, offset),
        Values::Bytes(bytes) => {
            let offset = taken.len() as u64;
            taken.extend(bytes);
            (1, offset)
        }
    };
    let stored = Stored::new(source, leaf.dtype, leaf.shape.clone(), offset);
    let turned = match leaf.shape.len() {
        1 => Some(stored),
        2 => stored.permuted(&[1, 0]),
        4 => stored.permuted(&[3, 2, 0, 1]),
        _ => None,
    };
    let turned = turned.ok_or_else(|| {
        let message = format!(
            "weight {} has shape {:?}: no weight of the paper's networks there",
            leaf.name, leaf.shape
        );
        Error::bad_model(file, message)
    })?;
    Ok(turned.called(leaf.name))
}

fn types(paper: &Paper, kind: &str) -> Vec<String> {
    let name = |level| match level == paper.attention {
        true => format!("Attn{kind}Block2D"),
        false => format!("{kind}Block2D"),
    };
    (0..paper.multipliers.len()).map(name).collect()
}

/// The names of all weights, in the order of a file.
fn order(paper: &Paper) -> Vec<String> {
    let mut order = Order { names: Vec::new(), in_call_order: paper.in_call_order };
    let levels = paper.multipliers.len();
    let time = |order: &mut Order| {
        order.layer("time_embedding.linear_1");
        order.layer("time_embedding.linear_2");
    };
    if paper.in_call_order {
        time(&mut order);
        order.layer("conv_in");
    } else {
        order.layer("conv_in");
        order.layer("conv_out");
    }
    for level in 0..levels {
        let to = format!("down_blocks.{level}");
        let wider = level > 0 && paper.multipliers[level] != paper.multipliers[level - 1];
        let ends = (level + 1 < levels).then(|| format!("{to}.downsamplers.0.conv"));
        order.level(paper, level, &to, LAYERS, |layer| layer == 0 && wider, ends);
    }
    if paper.in_call_order {
        order.resnet("mid_block.resnets.0", false);
        order.attention("mid_block.attentions.0");
    } else {
        order.attention("mid_block.attentions.0");
        order.resnet("mid_block.resnets.0", false);
    }
    order.resnet("mid_block.resnets.1", false);
    if !paper.in_call_order {
        order.layer("conv_norm_out");
        time(&mut order);
    }
    for level in 0..levels {
        let to = format!("up_blocks.{}", levels - 1 - level);
        let ends = (level > 0).then(|| format!("{to}.upsamplers.0.conv"));
        // Every block there takes a skip beside its input.
        order.level(paper, level, &to, LAYERS + 1, |_| true, ends);
    }
    if paper.in_call_order {
        order.layer("conv_norm_out");
        order.layer("conv_out");
    }
    order.names
}

struct Order {
    names: Vec<String>,
    in_call_order: bool,
}

impl Order {
    fn layer(&mut self, name: &str) {
        for part in ["weight", "bias"] {
            self.names.push(format!("{name}.{part}"));
        }
    }

    fn resnet(&mut self, name: &str, shortcut: bool) {
        let mut layers = match self.in_call_order {
            true => vec!["norm1", "conv1", "time_emb_proj", "norm2", "conv2"],
            false => vec!["conv1", "conv2", "norm1", "norm2", "time_emb_proj"],
        };
        if shortcut {
            layers.insert(if self.in_call_order { 5 } else { 2 }, "conv_shortcut");
        }
        layers.iter().for_each(|part| self.layer(&format!("{name}.{part}")));
    }

    fn attention(&mut self, name: &str) {
        let parts = match self.in_call_order {
            true => ["group_norm", "to_q", "to_k", "to_v", "to_out.0"],
            false => ["to_k", "group_norm", "to_out.0", "to_q", "to_v"],
        };
        parts.iter().for_each(|part| self.layer(&format!("{name}.{part}")));
    }

    /// A level's blocks, its attention where that lies with it, and what ends it.
    fn level(
        &mut self,
        paper: &Paper,
        level: usize,
        to: &str,
        layers: usize,
        shortcut: impl Fn(usize) -> bool,
        ends: Option<String>,
    ) {
        let attends = level == paper.attention;
        let attention = |order: &mut Self| {
            (0..layers).for_each(|layer| order.attention(&format!("{to}.attentions.{layer}")));
        };
        if attends && !paper.in_call_order {
            attention(self);
        }
        (0..layers).for_each(|layer| self.resnet(&format!("{to}.resnets.{layer}"), shortcut(layer)));
        if attends && paper.in_call_order {
            attention(self);
        }
        if let Some(ends) = ends {
            self.layer(&ends);
        }
    }
}
