//! Everything that is drawn while training, each addressed by the run's seed and by what it is: so that a run that
//! goes on draws what it would have drawn, and no draw depends on how many came before.

use crate::noise;

/// What a draw is for; the last word of its counter.
#[derive(Clone, Copy)]
enum Purpose {
    Order = 1,
    Image = 2,
    Noise = 3,
    Timestep = 4,
    Weight = 5,
    Beside = 6,
}

/// The random numbers of one run.
#[derive(Clone, Copy, Debug)]
pub struct Random(pub u64);

/// What an image's draws are in a step.
#[derive(Clone, Copy, Debug)]
pub struct Draws {
    /// Uniform.
    word: u32,
    /// Whether to mirror it.
    pub flip: bool,
    /// Seed of its noise.
    pub noise: u64,
    /// Uniform, for how else it is altered.
    pub more: [u32; 2],
}

impl Draws {
    /// Whether something happens that does this often; no other draw of the image's place is asked for then.
    pub fn happens(&self, rate: f64) -> bool {
        f64::from(self.word) < rate * 4_294_967_296.0
    }

    /// The image's place in a ring of `count`: uniform.
    pub fn below(&self, count: usize) -> usize {
        ((u64::from(self.word) * count as u64) >> 32) as usize
    }
}

impl Random {
    fn words(self, purpose: Purpose, [first, second, third]: [u32; 3]) -> [u32; 4] {
        noise::words(self.0, [first, second, third, purpose as u32])
    }

    /// The draws of image `slot` of the global batch at `step`.
    pub fn draws(self, step: u64, slot: usize) -> Draws {
        let counter = [slot as u32, step as u32, (step >> 32) as u32];
        let image = self.words(Purpose::Image, counter);
        let noise = self.words(Purpose::Noise, counter);
        Draws {
            word: image[0],
            flip: image[1] >> 31 == 1,
            noise: u64::from(noise[0]) | u64::from(noise[1]) << 32,
            more: [image[2], image[3]],
        }
    }

    /// The timestep of image `slot` of `batch`, of `count`: uniform, and spread evenly over the batch, so that the loss of
    /// a step varies less (Kingma et al. 2021, section I.1).
    pub fn timestep(self, step: u64, slot: usize, batch: usize, count: usize) -> usize {
        let [offset, ..] = self.words(Purpose::Timestep, [0, step as u32, (step >> 32) as u32]);
        let spread = (((slot as u64) << 32) / batch as u64) as u32;
        ((u64::from(offset.wrapping_add(spread)) * count as u64) >> 32) as usize
    }

    /// A number in [0, 1) for image `slot` of `batch`: uniform, and spread evenly over the batch.
    pub fn spread(self, step: u64, slot: usize, batch: usize) -> f64 {
        let [offset, ..] = self.words(Purpose::Timestep, [1, step as u32, (step >> 32) as u32]);
        let spread = (((slot as u64) << 32) / batch as u64) as u32;
        f64::from(offset.wrapping_add(spread)) / 4_294_967_296.0
    }

    /// The numbers of something else that is drawn in the same steps.
    pub fn beside(self, number: u32) -> Self {
        let words = self.words(Purpose::Beside, [number, 0, 0]);
        Self(u64::from(words[0]) | u64::from(words[1]) << 32)
    }

    /// Fills `out` with floats uniform in [-bound, bound), for a tensor of this number.
    pub fn uniform(self, tensor: u32, bound: f32, out: &mut [f32]) {
        for (block, out) in out.chunks_mut(4).enumerate() {
            let words = self.words(Purpose::Weight, [block as u32, tensor, 0]);
            for (value, word) in out.iter_mut().zip(words) {
                *value = ((word >> 8) as f32 / (1 << 23) as f32 - 1.0) * bound;
            }
        }
    }

    /// Fills `out` with standard normals, for a tensor of this number.
    pub fn normal(self, tensor: u32, out: &mut [f32]) {
        let words = self.words(Purpose::Weight, [0, tensor, 1]);
        noise::fill(u64::from(words[0]) | u64::from(words[1]) << 32, 0, out);
    }

    /// A permutation of 0..len for an epoch (Fisher and Yates).
    pub fn order(self, epoch: u64, len: usize) -> Vec<u32> {
        let mut order: Vec<u32> = (0..len as u32).collect();
        for last in (1..len).rev() {
            let words = self.words(Purpose::Order, [last as u32, epoch as u32, (epoch >> 32) as u32]);
            let wide = u64::from(words[0]) | u64::from(words[1]) << 32;
            // The bias of this scaling is 2^-32 at most.
            order.swap(last, scale(wide, last as u64 + 1) as usize);
        }
        order
    }
}

/// A uniform 64-bit word to 0..count.
fn scale(word: u64, count: u64) -> u64 {
    ((u128::from(word) * u128::from(count)) >> 64) as u64
}

/// The items of an endless row of shuffled epochs.
pub struct Shuffled {
    random: Random,
    len: usize,
    epoch: Option<(u64, Vec<u32>)>,
}

impl Shuffled {
    /// Of `len` items.
    pub fn new(random: Random, len: usize) -> Self {
        Self { random, len, epoch: None }
    }

    /// The item at this position.
    pub fn item(&mut self, position: u64) -> usize {
        let (epoch, at) = (position / self.len as u64, position % self.len as u64);
        if self.epoch.as_ref().is_none_or(|(current, _)| *current != epoch) {
            self.epoch = Some((epoch, self.random.order(epoch, self.len)));
        }
        self.epoch.as_ref().map_or(0, |(_, order)| order[at as usize] as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_permutations_and_differ() {
        let mut items = Shuffled::new(Random(7), 1000);
        let epochs: Vec<Vec<usize>> =
            (0..3).map(|e| (0..1000).map(|i| items.item(e * 1000 + i)).collect()).collect();
        for epoch in &epochs {
            let mut sorted = epoch.clone();
            sorted.sort_unstable();
            assert!(sorted.into_iter().eq(0..1000));
        }
        assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
        // Any position, whatever was asked for before.
        assert_eq!(Shuffled::new(Random(7), 1000).item(2345), epochs[2][345]);
    }

    #[test]
    fn draws_are_addressed_and_even() {
        let random = Random(3);
        let all: Vec<Draws> =
            (0..1000).flat_map(|step| (0..10).map(move |slot| random.draws(step, slot))).collect();
        assert_eq!(all[4321].noise, random.draws(432, 1).noise);
        let flips = all.iter().filter(|draws| draws.flip).count();
        assert!((4800..5200).contains(&flips), "{flips}");
        let mean = all.iter().map(|draws| f64::from(draws.word)).sum::<f64>() / 1e4 / 2f64.powi(32);
        assert!((mean - 0.5).abs() < 0.015, "{mean}");
        let mut seeds: Vec<u64> = all.iter().map(|draws| draws.noise).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 10_000);
    }

    #[test]
    fn timesteps_are_spread_over_a_batch() {
        let mut counts = [0; 10];
        for step in 0..1000 {
            let mut timesteps: Vec<usize> =
                (0..8).map(|slot| Random(9).timestep(step, slot, 8, 80)).collect();
            timesteps.iter().for_each(|t| counts[t / 8] += 1);
            timesteps.sort_unstable();
            assert!(
                timesteps.windows(2).all(|pair| (9..=11).contains(&(pair[1] - pair[0]))),
                "{timesteps:?}"
            );
        }
        assert!(counts.iter().all(|count| (700..900).contains(count)), "{counts:?}");
    }

    #[test]
    fn weights_fill_their_range() {
        let mut values = vec![0.0; 10_001];
        Random(1).uniform(4, 0.5, &mut values);
        let mean = values.iter().sum::<f32>() / 1e4;
        let variance = values.iter().map(|v| v * v).sum::<f32>() / 1e4;
        assert!(values.iter().all(|v| v.abs() <= 0.5) && mean.abs() < 0.01);
        assert!((variance - 1.0 / 12.0).abs() < 0.003);
    }
}
