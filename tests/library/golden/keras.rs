//! Keras files of the paper's three networks, made here in the order that its published code gives their weights, and what is
//! refused of such files.

use super::originals::{Recorder, Tensors};
use crate::common::cpu;
use hdf5_pure::{AttrValue, FileBuilder};
use onestep::exec::inspect::Inspect;
use onestep::model::UNet;
use onestep::weights::{Description, Hints, ImportOptions, import};
use onestep::{Code, Error, Model};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};

/// A network, and the order of its layers: `down1` and `up1` are a level's residual blocks and what ends it.
struct Case {
    size: usize,
    multipliers: &'static [usize],
    attention: usize,
    order: &'static str,
    /// Of a residual block, and of attention.
    blocks: [&'static str; 2],
}

const CALLED: [&str; 2] =
    ["norm1 conv1 time_emb_proj norm2 conv2 conv_shortcut", "group_norm to_q to_k to_v to_out.0"];
const MADE: [&str; 2] =
    ["conv1 conv2 conv_shortcut norm1 norm2 time_emb_proj", "to_k group_norm to_out.0 to_q to_v"];

const CIFAR10: Case = Case {
    size: 32,
    multipliers: &[1, 2, 2, 2],
    attention: 1,
    order: "conv_in conv_out down0 attention-down1 down1 down2 down3 mid-attention mid0 mid1 conv_norm_out time0 time1 up0 \
            attention-up1 up1 up2 up3",
    blocks: MADE,
};
const LSUN: Case = Case {
    size: 256,
    multipliers: &[1, 1, 2, 2, 4, 4],
    attention: 4,
    order: "conv_in conv_out down0 down1 down2 down3 attention-down4 down4 down5 mid-attention mid0 mid1 conv_norm_out time0 time1 \
            up0 up1 up2 up3 attention-up4 up4 up5",
    blocks: MADE,
};
const CELEBA: Case = Case {
    size: 64,
    multipliers: &[1, 2, 2, 2, 4],
    attention: 2,
    order: "time0 time1 conv_in down0 down1 down2 down3 down4 mid0 mid-attention mid1 up0 up1 up2 up3 up4 conv_norm_out conv_out",
    blocks: CALLED,
};

impl Case {
    fn network(&self) -> Value {
        let levels = self.multipliers.len();
        let types = |kind: &str| -> Vec<String> {
            let name = |level| format!("{}{kind}Block2D", if level == self.attention { "Attn" } else { "" });
            (0..levels).map(name).collect()
        };
        json!({
            "sample_size": self.size, "block_out_channels": self.multipliers.iter().map(|m| 32 * m).collect::<Vec<_>>(),
            "layers_per_block": 2, "down_block_types": types("Down"),
            "up_block_types": types("Up").into_iter().rev().collect::<Vec<_>>(), "attention_head_dim": null,
            "downsample_padding": 0, "norm_eps": 1e-3, "flip_sin_to_cos": false, "freq_shift": 1,
        })
    }

    /// Random weights, and the native file of them.
    fn native(&self, folder: &Path) -> (Tensors, PathBuf) {
        let description = Description::new(self.network(), json!({"clip_sample": false}));
        let recorder = Recorder::default();
        UNet::<Inspect>::new(&description.config("test", None).unwrap().network, &recorder, &()).unwrap();
        let tensors = recorder.0.into_inner();
        let parts = tensors.iter().map(|(name, (shape, values))| (name.clone(), shape.clone(), &values[..]));
        let path = folder.join("native.safetensors");
        onestep::weights::Checkpoint::new("test", description, parts).unwrap().save(&path, None).unwrap();
        (tensors, path)
    }

    /// The names of all layers, in the order of a file.
    fn layers(&self, tensors: &Tensors) -> Vec<String> {
        let up = |level: usize| format!("up_blocks.{}", self.multipliers.len() - 1 - level);
        let mut layers = Vec::new();
        let mut block = |name: &str, parts: &str| {
            let parts =
                parts.split(' ').map(|part| format!("{name}.{part}").trim_start_matches('.').to_owned());
            layers.extend(parts.filter(|layer| tensors.contains_key(&format!("{layer}.weight"))));
        };
        let in_call_order = self.blocks == CALLED;
        for word in self.order.split_whitespace() {
            let number = || word[word.len() - 1..].parse::<usize>().unwrap();
            if let Some(way) = word.strip_prefix("attention-") {
                let (to, count) = if way.starts_with("up") {
                    (up(number()), 3)
                } else {
                    (format!("down_blocks.{}", number()), 2)
                };
                (0..count).for_each(|i| block(&format!("{to}.attentions.{i}"), self.blocks[1]));
            } else if word.starts_with("down") || word.starts_with("up") {
                let down = word.starts_with("down");
                let to = if down { format!("down_blocks.{}", number()) } else { up(number()) };
                let count = if down { 2 } else { 3 };
                (0..count).for_each(|i| block(&format!("{to}.resnets.{i}"), self.blocks[0]));
                if in_call_order && number() == self.attention {
                    (0..count).for_each(|i| block(&format!("{to}.attentions.{i}"), self.blocks[1]));
                }
                block(&to, if down { "downsamplers.0.conv" } else { "upsamplers.0.conv" });
            } else if word == "mid-attention" {
                block("mid_block.attentions.0", self.blocks[1]);
            } else if word.starts_with("mid") {
                block(&format!("mid_block.resnets.{}", number()), self.blocks[0]);
            } else if word.starts_with("time") {
                block("time_embedding", ["linear_1", "linear_2"][number()]);
            } else {
                block("", word);
            }
        }
        layers
    }

    fn leaves(&self, tensors: &Tensors) -> Vec<Leaf> {
        let parts =
            |layer: String| ["weight", "bias"].map(|part| keras(&tensors[&format!("{layer}.{part}")]));
        let leaves: Vec<Leaf> = self.layers(tensors).into_iter().flat_map(parts).collect();
        assert_eq!(leaves.len(), tensors.len());
        leaves
    }
}

type Leaf = (Vec<u64>, Vec<f32>);

/// A tensor as Keras keeps it: what comes out last.
fn keras((shape, values): &(Vec<usize>, Vec<f32>)) -> Leaf {
    match shape[..] {
        [c_out, c_in] => {
            let value = |at: usize| values[at % c_out * c_in + at / c_out];
            (vec![c_in as u64, c_out as u64], (0..values.len()).map(value).collect())
        }
        [c_out, c_in, h, w] => {
            let value = |at: usize| {
                let (o, i, pixel) = (at % c_out, at / c_out % c_in, at / c_out / c_in);
                values[(o * c_in + i) * h * w + pixel]
            };
            (vec![h as u64, w as u64, c_in as u64, c_out as u64], (0..values.len()).map(value).collect())
        }
        _ => (shape.iter().map(|&size| size as u64).collect(), values.clone()),
    }
}

/// Leaves as a file, some to a layer; `chunked` keeps values in chunks and names in several attributes.
fn h5(leaves: &[Leaf], chunked: bool) -> Vec<u8> {
    let mut builder = FileBuilder::new();
    let mut names = Vec::new();
    // Alphabetical order is another than that of the names.
    for (i, layer) in leaves.chunks(7).enumerate() {
        let name = format!("layer_{}", (i * 37) % 101);
        let mut group = builder.create_group(&name);
        let weights: Vec<String> = (0..layer.len()).map(|j| format!("weight_{}:0", (j * 5) % 7)).collect();
        for ((shape, values), weight) in layer.iter().zip(&weights) {
            let dataset = group.create_dataset(weight).with_f32_data(values).with_shape(shape);
            if chunked {
                let chunk: Vec<u64> = shape.iter().map(|&size| size.min(16)).collect();
                dataset.with_chunks(&chunk);
            }
        }
        if chunked {
            let (a, b) = weights.split_at(weights.len() / 2);
            group.set_attr("weight_names0", AttrValue::AsciiStringArray(a.to_vec()));
            group.set_attr("weight_names1", AttrValue::AsciiStringArray(b.to_vec()));
        } else {
            group.set_attr("weight_names", AttrValue::VarLenAsciiStringArray(weights));
        }
        builder.add_group(group.finish());
        names.push(name);
    }
    builder.set_attr("layer_names", AttrValue::AsciiStringArray(names));
    builder.finish().unwrap()
}

fn weights(path: &Path) -> u32 {
    onestep::weights::open(path, u64::MAX).unwrap().weights_crc32().unwrap()
}

#[test]
fn the_papers_networks_are_read_in_their_codes_order() {
    for (case, chunked) in [(CIFAR10, true), (CELEBA, false), (LSUN, false)] {
        let folder = tempfile::tempdir().unwrap();
        let (tensors, native) = case.native(folder.path());
        let file = folder.path().join("student.h5");
        std::fs::write(&file, h5(&case.leaves(&tensors), chunked)).unwrap();
        assert_eq!(weights(&file), weights(&native), "{}", case.size);
        let opened = onestep::weights::open(&file, u64::MAX).unwrap();
        let network = |checkpoint: &onestep::weights::Checkpoint| checkpoint.config(None).unwrap().network;
        assert_eq!(network(&opened), network(&onestep::weights::open(&native, u64::MAX).unwrap()));
    }
}

#[test]
fn norms_take_the_epsilon_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (tensors, _) = CIFAR10.native(folder.path());
    let (file, out) = (folder.path().join("model_tf2_x.h5"), folder.path().join("out.safetensors"));
    std::fs::write(&file, h5(&CIFAR10.leaves(&tensors), false)).unwrap();
    let hints = Hints { group_norm_eps: Some(1e-6), ..Hints::default() };
    let report = import(&file, &out, &ImportOptions { hints, ..Default::default() }).unwrap();
    assert_eq!((report.config.network.norm_eps, report.config.generator.default_steps()), (1e-6, 100));
    let hints = Hints { key: Some("a".into()), ..Hints::default() };
    let error = import(&file, &out, &ImportOptions { hints, ..Default::default() }).unwrap_err();
    assert_eq!(error.code(), Code::InvalidArgument);
}

fn refused(bytes: &[u8]) -> String {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("x.h5");
    std::fs::write(&file, bytes).unwrap();
    let error: Error = Model::open(&file, &cpu()).map(drop).unwrap_err();
    assert!(error.code() == Code::BadModel, "{error}");
    error.to_string()
}

#[test]
fn other_files_are_refused_by_what_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let (tensors, _) = CIFAR10.native(folder.path());
    let leaves = CIFAR10.leaves(&tensors);
    // A missing, an additional, a transposed one.
    let message = refused(&h5(&leaves[..leaves.len() - 1], false));
    assert!(message.contains("327 weights") && message.contains("of CIFAR-10"), "{message}");
    let message = refused(&h5(&[&leaves[..], &leaves[..1]].concat(), false));
    assert!(message.contains("329 weights"), "{message}");
    let mut wrong = leaves.clone();
    wrong[0].0 = vec![32, 3, 3, 3];
    let message = refused(&h5(&wrong, false));
    assert!(message.contains("layer_0/weight_0:0 has shape"), "{message}");
    // Another network of as many weights.
    let mut wrong = leaves.clone();
    wrong.swap(40, 41);
    let message = refused(&h5(&wrong, false));
    assert!(message.contains("has shape"), "{message}");
    // No network at all.
    let mut builder = FileBuilder::new();
    builder.create_dataset("temperature").with_f64_data(&[22.5]).with_shape(&[1]);
    let message = refused(&builder.finish().unwrap());
    assert!(message.contains("no layer_names"), "{message}");
}

/// Wherever a file is cut or a bit of it turned, it is an error or a network, soon.
#[test]
fn damaged_files_are_errors_soon() {
    let leaves: Vec<Leaf> = (0..30).map(|i| (vec![3], vec![i as f32; 3])).collect();
    let whole = h5(&leaves, true);
    let names = |bytes: &[u8]| {
        let message = refused(bytes);
        assert!(message.contains("x.h5"), "{message}");
    };
    for len in (9..whole.len()).step_by(211) {
        names(&whole[..len]);
    }
    for at in (8..whole.len()).step_by(17) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1 << (at % 8);
        names(&bytes);
    }
}
