//! The networks of the paper (Ho et al. 2020 and Song et al. 2021), with pseudo-random parameters.

use onestep::Result;
use onestep::exec::{ReadValues, Weight};
use onestep::model::{Level, LevelAttention, Network, Params, Resample};

/// `cifar10`, `celeba64` or `lsun256`.
pub fn by_name(name: &str) -> Option<Network> {
    let (side, multiples, attention): (usize, &[usize], usize) = match name {
        "cifar10" => (32, &[1, 2, 2, 2], 16),
        "celeba64" => (64, &[1, 2, 2, 2, 4], 16),
        "lsun256" => (256, &[1, 1, 2, 2, 4, 4], 16),
        _ => return None,
    };
    let attention =
        |level| if side >> level == attention { LevelAttention::Each } else { LevelAttention::None };
    let down: Vec<Level> = (0..multiples.len())
        .map(|level| Level { attention: attention(level), resample: Resample::Conv })
        .collect();
    Some(Network {
        size: (side, side),
        block_out_channels: multiples.iter().map(|multiple| 128 * multiple).collect(),
        up: down.iter().rev().copied().collect(),
        down,
        ..Network::default()
    })
}

/// Values between -1 and 1, the same ones every time.
pub fn fill(mut seed: u64, out: &mut [f32]) {
    for value in out {
        seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        *value = (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0;
    }
}

/// Any tensor of any shape, scaled so that activations keep their size.
pub struct Random;

impl Params for Random {
    fn tensor(&self, name: &str, shape: &[usize]) -> Result<Weight<'_>> {
        let fan_in: usize = shape[1..].iter().product();
        let scale = if shape.len() == 1 { 1.0 } else { (fan_in as f32).sqrt().recip() };
        let values = Box::new(Values { scale });
        Ok(Weight { name: name.to_owned(), shape: shape.to_vec(), values })
    }
}

struct Values {
    scale: f32,
}

impl ReadValues for Values {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        fill(start as u64, out);
        out.iter_mut().for_each(|value| *value *= self.scale);
        Ok(())
    }
}
