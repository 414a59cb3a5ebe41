//! The networks of `tests/golden/lpips.py`: weights computed from their places, channel weights from the golden file.

use super::Golden;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Tensors by name: (shape, values).
pub type Tensors = BTreeMap<String, (Vec<usize>, Vec<f32>)>;

/// (slice, place, c_out, c_in, side) of each convolution.
type Convs = &'static [(usize, usize, usize, usize, usize)];

const VGG: Convs = &[
    (1, 0, 64, 3, 3),
    (1, 2, 64, 64, 3),
    (2, 5, 128, 64, 3),
    (2, 7, 128, 128, 3),
    (3, 10, 256, 128, 3),
    (3, 12, 256, 256, 3),
    (3, 14, 256, 256, 3),
    (4, 17, 512, 256, 3),
    (4, 19, 512, 512, 3),
    (4, 21, 512, 512, 3),
    (5, 24, 512, 512, 3),
    (5, 26, 512, 512, 3),
    (5, 28, 512, 512, 3),
];
const ALEX: Convs =
    &[(1, 0, 64, 3, 11), (2, 3, 192, 64, 5), (3, 6, 384, 192, 3), (4, 8, 256, 384, 3), (5, 10, 256, 256, 3)];

/// The golden case of this name.
pub fn golden(name: &str) -> Golden {
    let folder = super::repository().join("tests/golden/lpips");
    Golden::read_file(&folder.join(format!("{name}.safetensors")))
}

/// All tensors of `vgg` or `alex`, under the names of the Python package.
pub fn tensors(network: &str) -> Tensors {
    let convs = if network == "vgg" { VGG } else { ALEX };
    let mut tensors = Tensors::new();
    let mut place = 0;
    for &(slice, index, c_out, c_in, side) in convs {
        let fan_in = c_in * side * side;
        for (part, shape, size) in [
            ("weight", vec![c_out, c_in, side, side], (6.0 / fan_in as f64).sqrt()),
            ("bias", vec![c_out], 0.1),
        ] {
            let len: usize = shape.iter().product();
            let values = (place..place + len).map(|place| (noise(place) * size) as f32).collect();
            place += len;
            tensors.insert(format!("net.slice{slice}.{index}.{part}"), (shape, values));
        }
    }
    let row = |values: &[f32]| (vec![1, values.len(), 1, 1], values.to_vec());
    tensors.insert("scaling_layer.shift".into(), row(&[-0.030, -0.088, -0.188]));
    tensors.insert("scaling_layer.scale".into(), row(&[0.458, 0.448, 0.450]));
    let channel_weights = golden(network).f32("channel_weights");
    let mut rest = &channel_weights[..];
    for slice in 1..=5 {
        let last = convs.iter().rfind(|conv| conv.0 == slice).unwrap();
        let (these, others) = rest.split_at(last.2);
        tensors.insert(format!("lin{}.model.1.weight", slice - 1), row(these));
        rest = others;
    }
    tensors
}

/// Writes them as `NAME.safetensors`.
pub fn write(tensors: &Tensors, folder: &Path, name: &str) -> PathBuf {
    let path = folder.join(format!("{name}.safetensors"));
    let views = tensors.iter().map(|(name, (shape, values))| {
        let view = TensorView::new(Dtype::F32, shape.clone(), bytemuck::cast_slice(values)).unwrap();
        (name.clone(), view)
    });
    safetensors::serialize_to_file(views, None, &path).unwrap();
    path
}

/// In [-1, 1): the finaliser of MurmurHash3 (32 bits) of a whole number.
fn noise(place: usize) -> f64 {
    let mut h = (place as u32 + 1).wrapping_mul(0x9e37_79b1);
    h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
    h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
    h ^= h >> 16;
    f64::from(h >> 8) / f64::from(1 << 23) - 1.0
}
