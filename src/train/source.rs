//! Where a student's pairs come from: a folder, or a teacher that draws while the student learns.

use super::group::Group;
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
            Source::Online(ring) => ring.test_len,
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
/// step, so that a run that goes on draws them anew from their seeds. Of several processes each holds them all, and draws
/// its share of the new ones.
pub struct Ring {
    teacher: Teacher,
    random: Random,
    first_seed: u64,
    fresh: usize,
    capacity: usize,
    batch: usize,
    group: Group,
    ring: VecDeque<Pair>,
    /// Number of the first pair in the ring.
    first: u64,
    test: Vec<Pair>,
    test_len: usize,
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
    /// A ring of `capacity` pairs of which `fresh` are new at each step, and `test_len` pairs kept for tests.
    pub fn new(
        teacher: Teacher,
        random: Random,
        (capacity, fresh, test_len): (usize, usize, usize),
        batch: usize,
        group: Group,
    ) -> Self {
        // Far from the seeds that pictures are usually drawn from.
        let first_seed = 1 << 32;
        Self {
            teacher,
            random,
            first_seed,
            fresh,
            capacity,
            batch,
            group,
            ring: VecDeque::new(),
            first: 0,
            test: Vec::new(),
            test_len,
        }
    }

    fn turn_to(&mut self, step: u64) -> Result<()> {
        // At the first step: by then all processes are known to draw alike.
        if self.test.len() < self.test_len {
            self.test = self.draw(TEST_SEEDS, 0, self.test_len)?;
        }
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

    /// Pairs of these numbers: each process draws its share, and gets the others'.
    fn draw(&mut self, first_seed: u64, first: u64, count: usize) -> Result<Vec<Pair>> {
        let mine = self.group.share(count);
        let len = self.teacher.image().iter().product();
        let mut targets = vec![0; count * len];
        let mut places = targets[mine.start * len..mine.end * len].chunks_exact_mut(len);
        let numbers = first + mine.start as u64..first + mine.end as u64;
        let mut encoded = Vec::with_capacity(len);
        let drawn = self.teacher.draw_pairs(first_seed, numbers, self.batch, &mut |drawn| {
            for (image, place) in drawn.images.chunks_exact(len).zip(&mut places) {
                encoded.clear();
                image.iter().for_each(|&value| PixelType::U8.encode(value, &mut encoded));
                place.copy_from_slice(&encoded);
            }
            Ok(())
        });
        self.group.exchange(drawn, count, &mut targets)?;
        let pair = |(number, target): (u64, &[u8])| Pair {
            seed: first_seed + number,
            label: self.teacher.label(number),
            target: target.to_vec(),
        };
        Ok((first..).zip(targets.chunks_exact(len)).map(pair).collect())
    }
}
