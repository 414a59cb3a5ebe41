//! Where a student's pairs come from: a folder, a teacher that draws while the student learns, or steps of a teacher from
//! noised images.

use super::draw::Teacher;
use super::group::Group;
use super::halving::Halving;
use super::random::{Random, Shuffled};
use super::shard::PixelType;
use super::stored::{Pairs, Task};
use crate::error::{Result, try_with_capacity, try_zeroed};
use crate::noise;
use std::collections::VecDeque;
use std::ops::Range;

/// What a student learns in the order of a run, and what is kept for tests. A pair is as many items as the student has
/// calls.
pub enum Examples {
    /// A folder, whose last `test` pairs are kept for tests.
    Stored {
        /// The folder.
        pairs: Box<Pairs>,
        /// Calls of the student.
        calls: usize,
        /// Pairs kept for tests.
        test: usize,
        /// The items of the others, epoch by epoch.
        order: Shuffled,
    },
    /// Fresh pairs in a ring.
    Online(Box<Ring>),
    /// Two steps of the teacher, from noised images.
    Halving(Box<Halving>),
}

impl Examples {
    /// A folder's pairs.
    pub fn stored(pairs: Pairs, test: usize, random: Random) -> Self {
        let calls = pairs.calls().len().max(1);
        let order = Shuffled::new(random, (pairs.len() - test) * calls);
        Examples::Stored { pairs: Box::new(pairs), calls, test, order }
    }

    /// Items kept for tests.
    pub fn test_len(&self) -> usize {
        match self {
            Examples::Stored { test, calls, .. } => test * calls,
            Examples::Online(ring) => ring.test_len * ring.calls(),
            Examples::Halving(_) => 0,
        }
    }

    /// Whether there are items for tests, and one is due after so many of `steps` steps.
    pub fn test_due(&self, step: u64, every: u64, steps: u64) -> bool {
        self.test_len() > 0 && (step.is_multiple_of(every) || step == steps)
    }

    /// Gets ready for a step of `batch` images, of which `mine` are this process'.
    ///
    /// # Errors
    /// Those of sampling.
    pub fn begin(&mut self, step: u64, mine: Range<usize>, batch: usize) -> Result<()> {
        match self {
            Examples::Stored { .. } => Ok(()),
            Examples::Online(ring) => ring.turn_to(step),
            Examples::Halving(halving) => halving.draw(step, mine, batch),
        }
    }

    /// Fills what the student begins from and goes to in image `slot` of the batch at `step`, of `batch` images.
    ///
    /// # Errors
    /// IO.
    pub fn fill(
        &mut self,
        (step, slot, batch): (u64, usize, usize),
        x: &mut [f32],
        target: &mut [f32],
    ) -> Result<Task> {
        match self {
            Examples::Stored { pairs, calls, order, .. } => {
                let item = order.item(step * batch as u64 + slot as u64);
                pairs.fill(item / *calls, item % *calls, x, target)
            }
            Examples::Online(ring) => Ok(ring.fill((step, slot), x, target)),
            Examples::Halving(halving) => Ok(halving.fill(slot, x, target)),
        }
    }

    /// As `fill`, of test item `index`.
    ///
    /// # Errors
    /// IO.
    pub fn fill_test(&mut self, index: usize, x: &mut [f32], target: &mut [f32]) -> Result<Task> {
        match self {
            Examples::Stored { pairs, calls, test, .. } => {
                pairs.fill(pairs.len() - *test + index / *calls, index % *calls, x, target)
            }
            Examples::Online(ring) => {
                Ok(ring.test[index / ring.calls()].fill(index % ring.calls(), x, target))
            }
            Examples::Halving(_) => Err(crate::Error::Internal("no item is kept for tests".to_owned())),
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
    image: Vec<u8>,
    /// Encoded, one after the other.
    states: Vec<u8>,
}

impl Pair {
    fn fill(&self, call: usize, x: &mut [f32], target: &mut [f32]) -> Task {
        let size = x.len() * PixelType::F16.size();
        let mut states = self.states.chunks_exact(size).skip(call.saturating_sub(1));
        match (call > 0).then(|| states.next()).flatten() {
            Some(state) => PixelType::F16.decode(state, x),
            None => noise::fill(self.seed, 0, x),
        }
        match states.next() {
            Some(state) => PixelType::F16.decode(state, target),
            None => PixelType::U8.decode(&self.image, target),
        }
        Task { label: self.label, call }
    }
}

/// What memory is for.
const PAIRS: &str = "pairs that a teacher draws (ring, test)";

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

    /// Calls of the student.
    fn calls(&self) -> usize {
        self.teacher.stops.len() + 1
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

    fn fill(&self, (step, slot): (u64, usize), x: &mut [f32], target: &mut [f32]) -> Task {
        let item = self.random.draws(step, slot).below(self.ring.len() * self.calls());
        self.ring[item / self.calls()].fill(item % self.calls(), x, target)
    }

    /// Pairs of these numbers: each process draws its share, and gets the others'.
    fn draw(&mut self, first_seed: u64, first: u64, count: usize) -> Result<Vec<Pair>> {
        let mine = self.group.share(count);
        let [len, states] = [1, self.teacher.stops.len() * PixelType::F16.size()]
            .map(|bytes| bytes * self.teacher.image().iter().product::<usize>());
        let size = len + states;
        let mut encoded = try_zeroed(count.saturating_mul(size), PAIRS)?;
        let mut places = encoded[mine.start * size..mine.end * size].chunks_exact_mut(size);
        let numbers = first + mine.start as u64..first + mine.end as u64;
        let mut bytes = Vec::with_capacity(size);
        let drawn = self.teacher.draw_pairs(first_seed, numbers, self.batch, &mut |drawn| {
            for (i, place) in (0..drawn.seeds.len()).zip(&mut places) {
                let way = drawn.states.len() / drawn.seeds.len();
                bytes.clear();
                let (image, states) = (&drawn.images[i * len..][..len], &drawn.states[i * way..][..way]);
                image.iter().for_each(|&value| PixelType::U8.encode(value, &mut bytes));
                states.iter().for_each(|&value| PixelType::F16.encode(value, &mut bytes));
                place.copy_from_slice(&bytes);
            }
            Ok(())
        });
        self.group.exchange(drawn, count, &mut encoded)?;
        let pair = |(number, bytes): (u64, &[u8])| {
            let (image, states) = bytes.split_at(len);
            let (image, states) = (image.to_vec(), states.to_vec());
            Pair { seed: first_seed + number, label: self.teacher.label(number), image, states }
        };
        let mut pairs = try_with_capacity(count, PAIRS)?;
        pairs.extend((first..).zip(encoded.chunks_exact(size)).map(pair));
        Ok(pairs)
    }
}
