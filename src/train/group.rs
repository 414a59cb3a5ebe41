//! Processes that train together: each takes a share of every step's images, and what they find is summed.
//!
//! Whatever a step draws is addressed by seed, step and image, so n processes see the images that one would see; only the
//! order of the gradient's sum differs. After it each makes the same step on the same numbers.
//!
//! No process may wait for one that has left. So every exchange begins with an agreement: each process says whether it
//! has failed, and where one has, all of them end with its error, at the same place. A process may therefore fail
//! anywhere between two exchanges and return its error; [`Group::close`] takes it to the next agreement of the others.
//! A process that panics ends all of them.

#[cfg(feature = "train-mpi")]
mod mpi;
#[cfg(test)]
mod tests;

use crate::error::{Code, Error, Result};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The processes of a run, as one of them sees them: itself alone, or those that MPI started. Clones share it; the last
/// one must be dropped on the thread that made it.
#[derive(Clone, Default)]
pub struct Group(Option<Arc<Together>>);

/// Images of a step.
const MOST_IMAGES: usize = 1 << 20;

struct Together {
    link: Box<dyn Link>,
    /// Nothing is exchanged any more: all have been told of an error, or have come to their end.
    ended: AtomicBool,
}

/// What carries numbers between processes. Every call is made by all of them, with as many values.
trait Link: Send + Sync {
    /// This process' number, 0 the first.
    fn rank(&self) -> usize;

    /// How many processes there are.
    fn size(&self) -> usize;

    /// Puts the sum over all processes in each value's place: the same bits on all of them.
    fn sum_f32(&self, values: &mut [f32]);

    /// As `sum_f32`.
    fn sum_f64(&self, values: &mut [f64]);

    /// Puts process `from`'s bytes in everybody's place.
    fn broadcast(&self, from: usize, bytes: &mut [u8]);
}

impl Group {
    /// This process alone: nothing is exchanged, and no result is touched.
    pub fn alone() -> Self {
        Self(None)
    }

    /// All processes that an MPI launcher started with this one. Once a process.
    ///
    /// # Errors
    /// NOT_BUILT without the feature `train-mpi`; DEVICE_UNAVAILABLE where MPI had been started already, or cannot be used
    /// in a program with threads.
    pub fn mpi() -> Result<Self> {
        #[cfg(feature = "train-mpi")]
        return Ok(Self::over(mpi::Mpi::start()?));
        #[cfg(not(feature = "train-mpi"))]
        Err(Error::NotBuilt { what: "training over MPI", remedy: "build with the feature train-mpi" })
    }

    #[cfg(any(feature = "train-mpi", test))]
    fn over(link: impl Link + 'static) -> Self {
        Self(Some(Arc::new(Together { link: Box::new(link), ended: AtomicBool::new(false) })))
    }

    /// This process' number, 0 the first.
    pub fn rank(&self) -> usize {
        self.0.as_ref().map_or(0, |together| together.link.rank())
    }

    /// How many processes there are.
    pub fn size(&self) -> usize {
        self.0.as_ref().map_or(1, |together| together.link.size())
    }

    /// Whether this is process 0, which alone writes, and speaks for all.
    pub fn leads(&self) -> bool {
        self.rank() == 0
    }

    /// Which of `count` items are this process': [rank count / size, (rank + 1) count / size).
    pub fn share(&self, count: usize) -> Range<usize> {
        share_of(self.rank(), self.size(), count)
    }

    /// That a step's images are no more than 2^20, and can be divided evenly among the processes, and each share into
    /// `accumulate` parts.
    ///
    /// # Errors
    /// INVALID_ARGUMENT (`batch`), naming both.
    pub fn check_batch(&self, batch: usize, accumulate: usize) -> Result<()> {
        if batch > MOST_IMAGES {
            return Err(Error::argument(
                "batch",
                format!("{batch} images given; at most {MOST_IMAGES} make a step"),
            ));
        }
        let parts = self.size() * accumulate;
        if batch.is_multiple_of(parts) {
            return Ok(());
        }
        let message = format!(
            "{batch} images cannot be divided among {} processes in {accumulate} parts each; a multiple of {parts} can",
            self.size()
        );
        Err(Error::argument("batch", message))
    }

    /// The result, where no process has failed.
    ///
    /// # Errors
    /// This process' own; where it has none, that of the first process that failed.
    pub fn agree<T>(&self, result: Result<T>) -> Result<T> {
        self.settle(result, 0.0).map(|(result, _)| result)
    }

    /// The sum of all processes' numbers.
    ///
    /// # Errors
    /// As [`Self::agree`].
    pub fn total(&self, number: Result<f64>) -> Result<f64> {
        let own = *number.as_ref().unwrap_or(&0.0);
        self.settle(number, own).map(|(_, sum)| sum)
    }

    /// Whether it holds for any process.
    ///
    /// # Errors
    /// As [`Self::agree`].
    pub fn any(&self, holds: bool) -> Result<bool> {
        Ok(self.total(Ok(f64::from(u8::from(holds))))? > 0.0)
    }

    /// The sum of all processes' losses, and in place the sums of their gradients.
    ///
    /// # Errors
    /// As [`Self::agree`]; the gradients are as they were then.
    pub fn sum(&self, loss: Result<f64>, gradients: &mut [f32]) -> Result<f64> {
        let loss = self.total(loss)?;
        if let Some(together) = &self.0 {
            together.link.sum_f32(gradients);
        }
        Ok(loss)
    }

    /// What process 0 alone does; none on the others.
    ///
    /// # Errors
    /// As [`Self::agree`].
    pub fn lead<T>(&self, work: impl FnOnce() -> Result<T>) -> Result<Option<T>> {
        self.agree(if self.leads() { work().map(Some) } else { Ok(None) })
    }

    /// Puts process 0's bytes in everybody's place; as many on each. An agreement must have come before.
    pub(super) fn follow(&self, bytes: &mut [u8]) {
        if let Some(together) = &self.0 {
            together.link.broadcast(0, bytes);
        }
    }

    /// Process 0's bytes, however many.
    ///
    /// # Errors
    /// As [`Self::agree`].
    pub(super) fn firsts(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>> {
        self.agree(Ok(()))?;
        let mut len = (bytes.len() as u64).to_le_bytes();
        self.follow(&mut len);
        bytes.resize(u64::from_le_bytes(len) as usize, 0);
        self.follow(&mut bytes);
        Ok(bytes)
    }

    /// Completes `count` items of equal size, of which each process made its share (and `ready` says whether it did).
    ///
    /// # Errors
    /// As [`Self::agree`].
    pub(super) fn exchange(&self, ready: Result<()>, count: usize, items: &mut [u8]) -> Result<()> {
        self.agree(ready)?;
        let Some(together) = &self.0 else { return Ok(()) };
        let len = items.len() / count.max(1);
        for rank in 0..self.size() {
            let share = share_of(rank, self.size(), count);
            together.link.broadcast(rank, &mut items[share.start * len..share.end * len]);
        }
        Ok(())
    }

    /// The last agreement; every process must come to it, with what its work came to. Nothing is exchanged after it.
    ///
    /// # Errors
    /// As [`Self::agree`].
    pub fn close<T>(&self, result: Result<T>) -> Result<T> {
        let Some(together) = &self.0 else { return result };
        if together.ended.load(Ordering::Relaxed) {
            return result;
        }
        let result = self.agree(result);
        together.ended.store(true, Ordering::Relaxed);
        result
    }

    /// An agreement with the sum of a number. Of one form whatever it is for: one process' last may meet any of the others'.
    fn settle<T>(&self, result: Result<T>, number: f64) -> Result<(T, f64)> {
        let Some(together) = &self.0 else { return Ok((result?, number)) };
        if together.ended.load(Ordering::Relaxed) {
            // The others wait no longer; an exchange would never end.
            return Err(result
                .err()
                .unwrap_or_else(|| Error::Internal("the processes have parted".to_owned())));
        }
        let mut words = [number, f64::from(u8::from(result.is_err()))];
        together.link.sum_f64(&mut words);
        match result {
            Ok(result) if words[1] == 0.0 => Ok((result, words[0])),
            result => {
                together.ended.store(true, Ordering::Relaxed);
                Err(together.first_error(result.err()))
            }
        }
    }
}

impl Together {
    /// This process' error, or that of the first that has one. Called by all, where at least one has.
    fn first_error(&self, own: Option<Error>) -> Error {
        let link = &self.link;
        let mut failed = vec![0.0; link.size()];
        failed[link.rank()] = f64::from(u8::from(own.is_some()));
        link.sum_f64(&mut failed);
        let first = failed.iter().position(|&failed| failed > 0.0).unwrap_or(0);
        let mut message = own.as_ref().map_or(String::new(), Error::to_string).into_bytes();
        let mut code = own.as_ref().map_or(0, |error| error.code() as i32).to_le_bytes();
        let mut len = (message.len() as u64).to_le_bytes();
        link.broadcast(first, &mut code);
        link.broadcast(first, &mut len);
        message.resize(u64::from_le_bytes(len) as usize, 0);
        link.broadcast(first, &mut message);
        let code = i32::from_le_bytes(code);
        own.unwrap_or_else(|| Error::Process {
            rank: first,
            code: Code::ALL.into_iter().find(|known| *known as i32 == code).unwrap_or(Code::Internal),
            message: String::from_utf8_lossy(&message).into_owned(),
        })
    }
}

fn share_of(rank: usize, size: usize, count: usize) -> Range<usize> {
    rank * count / size..(rank + 1) * count / size
}
