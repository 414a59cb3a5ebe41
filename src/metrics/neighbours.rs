//! Which images lie near which: improved precision and recall (Kynkäänniemi et al. 2019), and the nearest images of a reference.
//! Distances are computed plainly, in doubles.

use super::features::Features;
use crate::cpu_features::{isa, vectorize};
use crate::error::{Error, Result, try_zeroed};
use crate::threads::spawn_scoped;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Which neighbour's distance is an image's radius.
pub const NEIGHBOUR: usize = 3;

/// Images whose distances a thread computes together.
const BLOCK: usize = 32;
/// Images of the other set that are in memory at a time.
const OTHERS: usize = 256;

/// Rows of features as doubles.
struct Rows {
    values: Vec<f64>,
    width: usize,
}

impl Rows {
    fn read(features: &Features, first: usize, count: usize) -> Result<Self> {
        let width = features.width();
        let mut floats = try_zeroed(count * width, "features")?;
        features.read(first, &mut floats)?;
        Ok(Self { values: floats.into_iter().map(f64::from).collect(), width })
    }

    fn row(&self, row: usize) -> &[f64] {
        &self.values[row * self.width..][..self.width]
    }
}

/// Squared.
fn distance(a: &[f64], b: &[f64]) -> f64 {
    vectorize(
        isa(),
        #[inline(always)]
        || {
            let (a, a_rest) = a.as_chunks::<16>();
            let (b, b_rest) = b.as_chunks::<16>();
            let mut sums = [0.0; 16];
            for (a, b) in a.iter().zip(b) {
                for i in 0..16 {
                    sums[i] += (a[i] - b[i]) * (a[i] - b[i]);
                }
            }
            let rest: f64 = a_rest.iter().zip(b_rest).map(|(a, b)| (a - b) * (a - b)).sum();
            sums.iter().sum::<f64>() + rest
        },
    )
}

/// Calls `see(state, number, other, distance)` for every pair of an image of `set` and one of `others`, then `end` with each
/// image's number and state; images are shared among so many threads.
fn for_pairs<S: Clone + Send + Sync>(
    set: &Features,
    others: &Features,
    threads: usize,
    (start, see): (S, impl Fn(&mut S, usize, usize, f64) + Sync),
    end: &mut (dyn FnMut(usize, S) + Send),
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<()> {
    if set.width() != others.width() {
        let message = format!("{} features an image, {} expected", others.width(), set.width());
        return Err(Error::argument("reference", message));
    }
    let (blocks, next) = (set.len().div_ceil(BLOCK), AtomicUsize::new(0));
    let stopped = AtomicUsize::new(0);
    let end = Mutex::new(end);
    let work = || -> Result<bool> {
        let block = next.fetch_add(1, Ordering::Relaxed);
        if block >= blocks || stopped.load(Ordering::Relaxed) > 0 {
            return Ok(false);
        }
        let first = block * BLOCK;
        let rows = Rows::read(set, first, BLOCK.min(set.len() - first))?;
        let count = rows.values.len() / rows.width;
        let mut states = vec![start.clone(); count];
        for other in (0..others.len()).step_by(OTHERS) {
            let against = Rows::read(others, other, OTHERS.min(others.len() - other))?;
            for (row, state) in states.iter_mut().enumerate() {
                for (i, against) in against.values.chunks_exact(rows.width).enumerate() {
                    see(state, first + row, other + i, distance(rows.row(row), against));
                }
            }
        }
        let mut end = end.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        states.into_iter().enumerate().for_each(|(row, state)| end(first + row, state));
        Ok(true)
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (1..threads.max(1))
            .map_while(|_| {
                let worker = || -> Result<()> {
                    while work()? {}
                    Ok(())
                };
                spawn_scoped(scope, worker).ok()
            })
            .collect();
        // The caller's thread works too, and is the one that is watched.
        let mut mine = || -> Result<()> {
            while work()? {
                watch(next.load(Ordering::Relaxed).min(blocks), blocks)?;
            }
            Ok(())
        };
        let mine = mine();
        if mine.is_err() {
            stopped.store(1, Ordering::Relaxed);
        }
        let failed = |_| Error::Internal("a thread that computes distances has ended early".to_owned());
        let theirs: Vec<Result<()>> = workers
            .into_iter()
            .map(|worker| worker.join().map_err(failed).and_then(|result| result))
            .collect();
        theirs.into_iter().fold(mine, |all, one| all.and(one))
    })
}

/// The nearest images seen so far, by their squared distances.
#[derive(Clone)]
struct Nearest {
    most: usize,
    found: Vec<(f64, usize)>,
}

impl Nearest {
    fn see(&mut self, other: usize, distance: f64) {
        if self.found.len() == self.most && distance >= self.found[self.most - 1].0 {
            return;
        }
        let place = self.found.partition_point(|&(found, _)| found <= distance);
        self.found.insert(place, (distance, other));
        self.found.truncate(self.most);
    }
}

/// Squared distances from each image to its [`NEIGHBOUR`]-th nearest other one of its set.
fn radii(
    set: &Features,
    threads: usize,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<f64>> {
    let mut radii = vec![0.0; set.len()];
    let start = Nearest { most: NEIGHBOUR, found: Vec::new() };
    let see = |nearest: &mut Nearest, image: usize, other: usize, distance: f64| {
        if image != other {
            nearest.see(other, distance);
        }
    };
    for_pairs(
        set,
        set,
        threads,
        (start, see),
        &mut |image, nearest| radii[image] = nearest.found[NEIGHBOUR - 1].0,
        watch,
    )?;
    Ok(radii)
}

/// How many images of a set lie within the radius of any image of another.
fn covered(
    set: &Features,
    (others, radii): (&Features, &[f64]),
    threads: usize,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<usize> {
    let mut covered = 0;
    let see = |within: &mut bool, _: usize, other: usize, distance: f64| *within |= distance <= radii[other];
    for_pairs(set, others, threads, (false, see), &mut |_, within| covered += usize::from(within), watch)?;
    Ok(covered)
}

/// The share of generated images that lie within the radius of an image of the reference, and the share of the reference's that
/// lie within the radius of a generated one. An image's radius is the distance of its third nearest of its own set.
///
/// # Errors
/// INVALID_ARGUMENT (`count`) for sets of fewer than four images; IO; OUT_OF_MEMORY; those of `watch`.
pub fn precision_recall(
    generated: &Features,
    reference: &Features,
    threads: usize,
    watch: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<(f64, f64)> {
    let least = generated.len().min(reference.len());
    if least <= NEIGHBOUR {
        let message = format!("precision-recall: {least} images; each needs {NEIGHBOUR} others at least");
        return Err(Error::argument("count", message));
    }
    let real = radii(reference, threads, &mut |done, total| watch(done, 4 * total))?;
    let precise =
        covered(generated, (reference, &real), threads, &mut |done, total| watch(total + done, 4 * total))?;
    let drawn = radii(generated, threads, &mut |done, total| watch(2 * total + done, 4 * total))?;
    let recalled = covered(reference, (generated, &drawn), threads, &mut |done, total| {
        watch(3 * total + done, 4 * total)
    })?;
    Ok((precise as f64 / generated.len() as f64, recalled as f64 / reference.len() as f64))
}

/// The nearest images of a reference, nearest first, for each of the first `images` of a set: their numbers and distances.
///
/// # Errors
/// IO; OUT_OF_MEMORY.
pub fn nearest(
    set: &Features,
    images: usize,
    reference: &Features,
    count: usize,
) -> Result<Vec<Vec<(usize, f64)>>> {
    if set.width() != reference.width() {
        let message = format!("{} features an image, {} expected", reference.width(), set.width());
        return Err(Error::argument("reference", message));
    }
    let rows = Rows::read(set, 0, images.min(set.len()))?;
    let mut all = vec![Nearest { most: count, found: Vec::new() }; images.min(set.len())];
    for first in (0..reference.len()).step_by(OTHERS) {
        let others = Rows::read(reference, first, OTHERS.min(reference.len() - first))?;
        for (row, nearest) in all.iter_mut().enumerate() {
            for (i, other) in others.values.chunks_exact(others.width).enumerate() {
                nearest.see(first + i, distance(rows.row(row), other));
            }
        }
    }
    let of_one =
        |nearest: Nearest| nearest.found.into_iter().map(|(squared, i)| (i, squared.sqrt())).collect();
    Ok(all.into_iter().map(of_one).collect())
}
