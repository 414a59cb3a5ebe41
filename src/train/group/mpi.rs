//! The link between processes that MPI gives.

use super::Link;
use crate::error::{Error, Result};
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence, Root};
use mpi::{Rank, Threading};
use std::sync::{Mutex, PoisonError};

/// Values of one call: its length is a C int, and its result needs memory of its own.
const PIECE: usize = 1 << 20;
/// What the launcher is told of a process that panics.
const PANIC: i32 = 101;

pub struct Mpi {
    universe: Mutex<Universe>,
    rank: usize,
    size: usize,
}

impl Mpi {
    /// Starts MPI, and waits for all processes to do so.
    pub fn start() -> Result<Self> {
        let unavailable = |message: &str| Error::DeviceUnavailable {
            device: "mpi".to_owned(),
            message: message.to_owned(),
        };
        let (universe, threading) = mpi::initialize_with_threading(Threading::Serialized)
            .ok_or_else(|| unavailable("this process has started it before"))?;
        if threading < Threading::Serialized {
            return Err(unavailable("this library cannot be used in a program with threads"));
        }
        let world = universe.world();
        let (rank, size) = (world.rank() as usize, world.size() as usize);
        Ok(Self { universe: Mutex::new(universe), rank, size })
    }

    /// One call at a time: so much was promised when MPI was started.
    fn call<R>(&self, call: impl FnOnce(&SimpleCommunicator) -> R) -> R {
        let universe = self.universe.lock().unwrap_or_else(PoisonError::into_inner);
        call(&universe.world())
    }

    /// MPI advises its libraries to give the same bits to all processes, and Open MPI's and MPICH's algorithms do. The loop
    /// relies on it, and compares the parameters at every checkpoint.
    fn sum<T: Equivalence + Copy + Default>(&self, values: &mut [T]) {
        let mut sums = vec![T::default(); PIECE.min(values.len())];
        for piece in values.chunks_mut(PIECE) {
            let sums = &mut sums[..piece.len()];
            self.call(|world| world.all_reduce_into(&*piece, sums, SystemOperation::sum()));
            piece.copy_from_slice(sums);
        }
    }
}

impl Link for Mpi {
    fn rank(&self) -> usize {
        self.rank
    }

    fn size(&self) -> usize {
        self.size
    }

    fn sum_f32(&self, values: &mut [f32]) {
        self.sum(values);
    }

    fn sum_f64(&self, values: &mut [f64]) {
        self.sum(values);
    }

    fn broadcast(&self, from: usize, bytes: &mut [u8]) {
        for piece in bytes.chunks_mut(PIECE) {
            self.call(|world| world.process_at_rank(from as Rank).broadcast_into(piece));
        }
    }
}

impl Drop for Mpi {
    /// Where this process panics, the others would wait for it without end.
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.call(|world| world.abort(PANIC));
        }
    }
}
