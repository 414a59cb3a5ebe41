//! Where a student's pairs come from: a folder, or a teacher that draws while the student learns.

use super::pairs::{Pairs, Teacher};
use super::random::{Random, Shuffled};
use super::shard::PixelType;
use crate::error::Result;
use crate::sampler::noise;
use std::collections::VecDeque;

/// Pairs in the order of a run: those to learn from, and those kept for tests.
pub enum Source {
    /// A folder, whose last `test` pairs are kept for tests.
    Stored {
        /// The folder.
        pairs: Box<Pairs>,
        /// Pairs kept for tests.
        test: usize,
        /// The others, epoch by epoch.
        order: Shuffled,
    },
    /// Fresh pairs in a ring.
    Online(Box<Ring>),
}

impl Source {
    /// A folder's pairs.
    pub fn stored(pairs: Pairs, test: usize, random: Random) -> Self {
        let order = Shuffled::new(random, pairs.len() - test);
        Source::Stored { pairs: Box::new(pairs), test, order }
    }

    /// Pairs kept for tests.
    pub fn test_len(&self) -> usize {
        match self {
            Source::Stored { test, .. } => *test,
            Source::Online(ring) => ring.test.len(),
        }
    }

    /// Gets ready for a step.
    ///
    /// # Errors
    /// Those of sampling.
    pub fn begin(&mut self, step: u64) -> Result<()> {
        match self {
            Source::Stored { .. } => Ok(()),
            Source::Online(ring) => ring.turn_to(step),
        }
    }

    /// Fills x_T and target of image `slot` of the batch at `step`, of `batch` images; its label.
    ///
    /// # Errors
    /// IO.
    pub fn fill(
        &mut self,
        (step, slot, batch): (u64, usize, usize),
        x: &mut [f32],
        target: &mut [f32],
    ) -> Result<Option<i32>> {
        match self {
            Source::Stored { pairs, order, .. } => {
                pairs.fill(order.item(step * batch as u64 + slot as u64), x, target)
            }
            Source::Online(ring) => Ok(ring.fill((step, slot), x, target)),
        }
    }

    /// As `fill`, of test pair `index`.
    ///
    /// # Errors
    /// IO.
    pub fn fill_test(&mut self, index: usize, x: &mut [f32], target: &mut [f32]) -> Result<Option<i32>> {
        match self {
            Source::Stored { pairs, test, .. } => pairs.fill(pairs.len() - *test + index, x, target),
            Source::Online(ring) => Ok(ring.test[index].fill(x, target)),
        }
    }
}

/// The newest pairs that a teacher drew. At step s it holds pairs s `fresh` to s `fresh` + `capacity`: a function of the
/// step, so that a run that goes on draws them anew from their seeds.
pub struct Ring {
    teacher: Teacher,
    random: Random,
    first_seed: u64,
    fresh: usize,
    capacity: usize,
    batch: usize,
    ring: VecDeque<Pair>,
    /// Number of the first pair in the ring.
    first: u64,
    test: Vec<Pair>,
}

struct Pair {
    seed: u64,
    label: Option<i32>,
    target: Vec<u8>,
}

impl Pair {
    fn fill(&self, x: &mut [f32], target: &mut [f32]) -> Option<i32> {
        PixelType::U8.decode(&self.target, target);
        noise::fill(self.seed, 0, x);
        self.label
    }
}

/// Seeds of test pairs begin here, far from those that are learnt from.
const TEST_SEEDS: u64 = 1 << 63;

impl Ring {
    /// A ring of `capacity` pairs of which `fresh` are new at each step, and `test` pairs kept for tests.
    ///
    /// # Errors
    /// Those of sampling.
    pub fn new(
        teacher: Teacher,
        random: Random,
        (capacity, fresh, test): (usize, usize, usize),
        batch: usize,
    ) -> Result<Self> {
        // Far from the seeds that pictures are usually drawn from.
        let first_seed = 1 << 32;
        let mut ring = Self {
            teacher,
            random,
            first_seed,
            fresh,
            capacity,
            batch,
            ring: VecDeque::new(),
            first: 0,
            test: Vec::new(),
        };
        ring.test = ring.draw(TEST_SEEDS, 0, test)?;
        Ok(ring)
    }

    fn turn_to(&mut self, step: u64) -> Result<()> {
        let first = step * self.fresh as u64;
        while self.first < first && !self.ring.is_empty() {
            self.ring.pop_front();
            self.first += 1;
        }
        self.first = first;
        let missing = self.capacity - self.ring.len();
        let next = first + self.ring.len() as u64;
        let new = self.draw(self.first_seed, next, missing)?;
        self.ring.extend(new);
        Ok(())
    }

    fn fill(&self, (step, slot): (u64, usize), x: &mut [f32], target: &mut [f32]) -> Option<i32> {
        self.ring[self.random.draws(step, slot).below(self.ring.len())].fill(x, target)
    }

    fn draw(&mut self, first_seed: u64, first: u64, count: usize) -> Result<Vec<Pair>> {
        let mut pairs = Vec::new();
        let numbers = first..first + count as u64;
        self.teacher.draw_pairs(first_seed, numbers, self.batch, &mut |drawn| {
            let len = drawn.images.len() / drawn.seeds.len();
            for (i, (&seed, image)) in drawn.seeds.iter().zip(drawn.images.chunks_exact(len)).enumerate() {
                let mut target = Vec::with_capacity(len);
                image.iter().for_each(|&value| PixelType::U8.encode(value, &mut target));
                pairs.push(Pair { seed, label: drawn.labels.map(|labels| labels[i]), target });
            }
            Ok(())
        })?;
        Ok(pairs)
    }
}
