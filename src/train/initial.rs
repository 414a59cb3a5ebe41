//! Parameters to begin with: DDPM's (Ho et al. 2020).

use super::random::Random;
use crate::error::Result;
use crate::exec::{ReadValues, Weight};
use crate::model::Params;

/// Weights uniform with variance 2 / (inputs + outputs); those of the last layer of every residual branch, and of the
/// network, zero, so that every block begins as the identity. Norms begin at one, biases at zero, class embeddings as
/// standard normals.
pub struct Initial(pub Random);

impl Params for Initial {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight<'_>> {
        let values =
            Values { random: self.0, tensor: crc32fast::hash(name.as_bytes()), kind: kind(name, shape) };
        Ok(Weight { name: name.to_owned(), shape: shape.to_vec(), values: Box::new(values) })
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Constant(f32),
    Uniform(f32),
    Normal,
}

fn kind(name: &str, shape: &[usize]) -> Kind {
    match shape {
        _ if name == "class_embedding.weight" => Kind::Normal,
        // Of the vectors, only norms' weights are no biases.
        [_] => Kind::Constant(if name.ends_with(".weight") { 1.0 } else { 0.0 }),
        _ if ["conv2.weight", "to_out.0.weight", "conv_out.weight"].iter().any(|end| name.ends_with(end)) => {
            Kind::Constant(0.0)
        }
        _ => {
            let taps: usize = shape[2..].iter().product();
            Kind::Uniform((6.0 / ((shape[0] + shape[1]) * taps) as f32).sqrt())
        }
    }
}

struct Values {
    random: Random,
    tensor: u32,
    kind: Kind,
}

impl ReadValues for Values {
    /// Tensors are read whole here.
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        let mut all = vec![0.0; start + out.len()];
        match self.kind {
            Kind::Constant(value) => all.fill(value),
            Kind::Uniform(bound) => self.random.uniform(self.tensor, bound, &mut all),
            Kind::Normal => self.random.normal(self.tensor, &mut all),
        }
        out.copy_from_slice(&all[start..]);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_begin_as_their_kind_asks() {
        assert_eq!(kind("conv_in.weight", &[8, 1, 3, 3]), Kind::Uniform((6.0f32 / 81.0).sqrt()));
        assert_eq!(kind("conv_in.bias", &[8]), Kind::Constant(0.0));
        assert_eq!(kind("conv_norm_out.weight", &[8]), Kind::Constant(1.0));
        assert_eq!(kind("mid_block.resnets.0.conv2.weight", &[8, 8, 3, 3]), Kind::Constant(0.0));
        assert_eq!(kind("class_embedding.weight", &[10, 32]), Kind::Normal);
        let initial = Initial(Random(1));
        let whole = initial.tensor("conv_in.weight", &[8, 1, 3, 3]).unwrap().to_vec().unwrap();
        let mut part = [0.0; 5];
        initial.tensor("conv_in.weight", &[8, 1, 3, 3]).unwrap().read(13, &mut part).unwrap();
        assert_eq!(part, whole[13..18]);
        let other = initial.tensor("time_embedding.linear_1.weight", &[8, 9]).unwrap().to_vec().unwrap();
        assert!(whole != other);
    }
}
