//! Threads that spin a moment, then park. The caller is worker 0; a region costs no allocation.
#![allow(unsafe_code)]

#[cfg(all(test, onestep_shuttle))]
mod interleavings;
mod window;

use crate::error::{Error, Result};
use crate::threads::quietly;
// The same names, with every step in the hands of a model checker.
#[cfg(onestep_shuttle)]
use shuttle::{hint, sync, thread};
use std::any::Any;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::AtomicBool as Flag;
use std::time::{Duration, Instant};
#[cfg(not(onestep_shuttle))]
use std::{hint, sync, thread};
use sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use sync::{Arc, Condvar, Mutex, PoisonError};
use thread::JoinHandle;
pub use window::Window;

/// How long an idle worker spins before it parks, in microseconds.
const SPIN_US: u32 = 50;
/// How often a worker looks for a region between two looks at the clock. A model checker learns nothing from more.
const LOOKS: u32 = if cfg!(onestep_shuttle) { 1 } else { 64 };
/// Set in `Shared::state` while workers may enter the region; the bits below count those inside.
const OPEN: u64 = 1 << 31;
/// One region further; the bits from here on number the regions.
const EPOCH: u64 = 1 << 32;

/// A task: called with the task's index and the worker's.
type Task<'a> = dyn Fn(usize, usize) + Sync + 'a;

/// A fixed set of workers for one session.
pub struct Pool {
    shared: Arc<Shared>,
    workers: Vec<JoinHandle<()>>,
    stop: Stop,
}

/// What ends work early: tasks that have not begun are left out once one of the flags is set.
#[derive(Clone, Default)]
pub struct Stop {
    flags: [Option<std::sync::Arc<Flag>>; 2],
    /// Whether anything was left out.
    seen: std::sync::Arc<Flag>,
}

impl Stop {
    /// Whether to leave out the rest, which is remembered then.
    pub fn is_set(&self) -> bool {
        let set = self.flags.iter().flatten().any(|flag| flag.load(Ordering::Relaxed));
        if set {
            self.seen.store(true, Ordering::Relaxed);
        }
        set
    }
}

struct Shared {
    /// Region number, [`OPEN`], and how many workers are inside.
    state: AtomicU64,
    /// Written by the caller alone, while the region is closed and empty.
    job: UnsafeCell<Job>,
    /// The next task to take.
    next: AtomicUsize,
    shutdown: AtomicBool,
    /// Workers that run.
    started: AtomicUsize,
    sleepers: AtomicUsize,
    lock: Mutex<()>,
    wake: Condvar,
    panic: Mutex<Option<Box<dyn Any + Send>>>,
    spin: Duration,
}

#[derive(Clone, Copy)]
struct Job {
    task: *const Task<'static>,
    tasks: usize,
}

// SAFETY: `job` is written in `Pool::run` alone, which holds `&mut Pool`, and only while `state` is closed with
// nobody inside; workers read it only after entering through `state`. Its pointer is to a `Sync` closure.
unsafe impl Sync for Shared {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Shared {}

impl Pool {
    /// A pool of `threads` workers, the caller among them.
    pub fn new(threads: usize, spin_us: Option<u32>) -> Result<Self> {
        let nothing: &'static Task<'static> = &|_, _| {};
        let shared = Arc::new(Shared {
            state: AtomicU64::new(0),
            job: UnsafeCell::new(Job { task: nothing, tasks: 0 }),
            next: AtomicUsize::new(0),
            shutdown: AtomicBool::new(false),
            started: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            lock: Mutex::new(()),
            wake: Condvar::new(),
            panic: Mutex::new(None),
            spin: Duration::from_micros(spin_us.unwrap_or(SPIN_US).into()),
        });
        let mut pool = Self { shared, workers: Vec::new(), stop: Stop::default() };
        for worker in 1..threads.max(1) {
            let shared = pool.shared.clone();
            let thread = thread::Builder::new().name(format!("onestep-{worker}"));
            let work = move || {
                shared.started.fetch_add(1, Ordering::Release);
                shared.work(worker);
            };
            let handle = quietly(|| thread.spawn(work)).map_err(|error| Error::DeviceFailed {
                device: "cpu".to_owned(),
                message: format!("cannot start thread {worker} of {threads}: {error}"),
            })?;
            pool.workers.push(handle);
        }
        // A thread allocates as it starts: here, not in somebody's frame.
        while pool.shared.started.load(Ordering::Acquire) < pool.workers.len() {
            thread::yield_now();
        }
        Ok(pool)
    }

    /// How many workers there are, the caller included.
    pub fn threads(&self) -> usize {
        self.workers.len() + 1
    }

    /// From now on these flags end work early.
    pub fn stop_at(&mut self, flags: [Option<&std::sync::Arc<Flag>>; 2]) {
        self.stop.flags = flags.map(Option::<&_>::cloned);
        self.stop.seen.store(false, Ordering::Relaxed);
    }

    /// For tasks that are long themselves.
    pub fn stop(&self) -> Stop {
        self.stop.clone()
    }

    /// Whether anything was left out since `stop_at`.
    pub fn stopped(&self) -> bool {
        self.stop.seen.load(Ordering::Relaxed)
    }

    /// Calls `task(index, worker)` for every index below `tasks`, each once, and returns when all are done, or when what
    /// `stop_at` named has left out the rest.
    /// No two calls with the same worker number overlap. A panic in any of them is raised here, after the
    /// others have ended; tasks that had not begun by then are left out.
    pub fn run(&mut self, tasks: usize, task: &Task) {
        let stop = &self.stop;
        let task: &Task = &|index, worker| {
            if !stop.is_set() {
                task(index, worker);
            }
        };
        if self.workers.is_empty() || tasks <= 1 {
            (0..tasks).for_each(|index| task(index, 0));
            return;
        }
        let shared = &*self.shared;
        // SAFETY: only the lifetime changes. Nobody uses the pointer after this function: it is read by workers
        // that entered the region, and `close` below waits until the last of them has left.
        let task = unsafe { std::mem::transmute::<*const Task, *const Task<'static>>(task) };
        // SAFETY: the region is closed and empty (so `close` left it, or `new` made it), and `&mut self` keeps
        // other callers out, so nobody else looks at `job`.
        unsafe { *shared.job.get() = Job { task, tasks } };
        shared.next.store(0, Ordering::Relaxed);
        shared.open();
        // SAFETY: `task` outlives this call, which is on its borrower's stack.
        let mine = catch_unwind(AssertUnwindSafe(|| unsafe { shared.take_tasks(Job { task, tasks }, 0) }));
        if mine.is_err() {
            shared.next.store(tasks, Ordering::Relaxed);
        }
        shared.close();
        let theirs = shared.panic.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(payload) = mine.err().or(theirs) {
            resume_unwind(payload);
        }
    }

    /// As `run`, with that worker's equal share of `scratch` in place of its number.
    pub fn run_with_scratch<F>(&mut self, tasks: usize, scratch: &mut [f32], f: F)
    where
        F: Fn(usize, &mut [f32]) + Sync,
    {
        let share = scratch.len() / self.threads();
        let scratch = Raw(scratch.as_mut_ptr());
        self.run(tasks, &|index, worker| {
            // SAFETY: `worker` is below the number of threads, so the share lies inside the scratch slice, which
            // is borrowed for the whole region; no two calls with the same worker number overlap.
            let scratch = unsafe { std::slice::from_raw_parts_mut(scratch.get().add(worker * share), share) };
            f(index, scratch);
        });
    }

    /// Cuts the matrix `out`, of rows of `row_len`, into windows of `row_step` by `col_step` and calls
    /// `f(window, scratch)` for each; `scratch` is that worker's equal share of `scratch`. Windows of the same
    /// columns follow one another, since they share weights.
    pub fn grid<F>(
        &mut self,
        out: &mut [f32],
        row_len: usize,
        (row_step, col_step): (usize, usize),
        scratch: &mut [f32],
        f: F,
    ) where
        F: Fn(&mut Window, &mut [f32]) + Sync,
    {
        assert!(row_len > 0 && out.len().is_multiple_of(row_len) && row_step > 0 && col_step > 0);
        let rows = out.len() / row_len;
        let (down, across) = (rows.div_ceil(row_step), row_len.div_ceil(col_step));
        let out = Raw(out.as_mut_ptr());
        self.run_with_scratch(down * across, scratch, |index, scratch| {
            let (row, col) = (index % down * row_step, index / down * col_step);
            let mut window = Window {
                values: out.get(),
                row_len,
                rows: row..rows.min(row + row_step),
                cols: col..row_len.min(col + col_step),
                owner: PhantomData,
            };
            f(&mut window, scratch);
        });
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.shutdown.store(true, Ordering::SeqCst);
        self.shared.wake_sleepers();
        for worker in self.workers.drain(..) {
            // A worker catches the tasks' panics, so it ends well.
            let _ = worker.join();
        }
    }
}

/// A pointer that tasks share; what they do with it is argued where they do it.
pub struct Raw(pub *mut f32);
// SAFETY: a plain address; every use is its own unsafe block.
unsafe impl Sync for Raw {}
impl Raw {
    /// The pointer; a method, so that closures borrow the whole.
    pub fn get(&self) -> *mut f32 {
        self.0
    }
}

impl Shared {
    fn open(&self) {
        let epoch = self.state.load(Ordering::Relaxed) / EPOCH;
        // SeqCst, as in `park`: either this sees the sleeper or the sleeper sees the open region.
        self.state.store(epoch.wrapping_add(1).wrapping_mul(EPOCH) | OPEN, Ordering::SeqCst);
        if self.sleepers.load(Ordering::SeqCst) > 0 {
            self.wake_sleepers();
        }
    }

    /// Lets nobody in any more and waits for those inside.
    fn close(&self) {
        self.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while !self.state.load(Ordering::Acquire).is_multiple_of(EPOCH) {
            spins = spins.saturating_add(1);
            // With fewer cores than threads, the one we wait for may need this core.
            if spins > 2000 { thread::yield_now() } else { hint::spin_loop() }
        }
    }

    fn wake_sleepers(&self) {
        let _held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.wake.notify_all();
    }

    fn work(&self, worker: usize) {
        let mut last = 0;
        while let Some(epoch) = self.wait(last) {
            last = epoch;
            if !self.enter(epoch) {
                continue;
            }
            // SAFETY: this worker is inside the region, so the caller does not write `job` before it leaves.
            let job = unsafe { *self.job.get() };
            // SAFETY: as above, the caller keeps the task alive until this worker has left.
            let done = catch_unwind(AssertUnwindSafe(|| unsafe { self.take_tasks(job, worker) }));
            if let Err(payload) = done {
                self.next.store(job.tasks, Ordering::Relaxed);
                *self.panic.lock().unwrap_or_else(PoisonError::into_inner) = Some(payload);
            }
            self.state.fetch_sub(1, Ordering::Release);
        }
    }

    /// Waits for an open region other than number `last`; none when the pool ends.
    fn wait(&self, last: u64) -> Option<u64> {
        let ready = |state: u64| (state & OPEN != 0 && state / EPOCH != last).then_some(state / EPOCH);
        let start = Instant::now();
        loop {
            for _ in 0..LOOKS {
                if let Some(epoch) = ready(self.state.load(Ordering::Acquire)) {
                    return Some(epoch);
                }
                hint::spin_loop();
            }
            if self.shutdown.load(Ordering::Relaxed) {
                return None;
            }
            if start.elapsed() >= self.spin {
                break;
            }
        }
        let mut held = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        self.sleepers.fetch_add(1, Ordering::SeqCst);
        let epoch = loop {
            if self.shutdown.load(Ordering::SeqCst) {
                break None;
            }
            if let Some(epoch) = ready(self.state.load(Ordering::SeqCst)) {
                break Some(epoch);
            }
            held = self.wake.wait(held).unwrap_or_else(PoisonError::into_inner);
        };
        self.sleepers.fetch_sub(1, Ordering::SeqCst);
        epoch
    }

    /// Counts this worker in, unless that region has closed meanwhile.
    fn enter(&self, epoch: u64) -> bool {
        let mut state = self.state.load(Ordering::Acquire);
        while state & OPEN != 0 && state / EPOCH == epoch {
            match self.state.compare_exchange_weak(state, state + 1, Ordering::AcqRel, Ordering::Acquire) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    /// # Safety
    /// `job.task` must be alive until this returns.
    unsafe fn take_tasks(&self, job: Job, worker: usize) {
        // SAFETY: the caller's promise.
        let task = unsafe { &*job.task };
        loop {
            let index = self.next.fetch_add(1, Ordering::Relaxed);
            if index >= job.tasks {
                return;
            }
            task(index, worker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_task_runs_once() {
        for (threads, spin) in [(1, None), (2, Some(0)), (3, None), (5, Some(200))] {
            let mut pool = Pool::new(threads, spin).unwrap();
            assert_eq!(pool.threads(), threads);
            for tasks in [0, 1, 2, 17, 300] {
                for _ in 0..20 {
                    let counts: Vec<AtomicUsize> = (0..tasks).map(|_| AtomicUsize::new(0)).collect();
                    pool.run(tasks, &|index, worker| {
                        assert!(worker < threads);
                        counts[index].fetch_add(1, Ordering::Relaxed);
                    });
                    assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
                }
            }
        }
    }

    #[test]
    fn parked_workers_wake() {
        let mut pool = Pool::new(2, Some(0)).unwrap();
        for _ in 0..5 {
            std::thread::sleep(Duration::from_millis(2));
            let seen = AtomicUsize::new(0);
            pool.run(2, &|_, _| {
                seen.fetch_add(1, Ordering::SeqCst);
                // Each task holds its worker until the other has begun, so both workers must come.
                while seen.load(Ordering::SeqCst) < 2 {
                    std::thread::yield_now();
                }
            });
        }
    }

    #[test]
    fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
        let mut pool = Pool::new(2, None).unwrap();
        for bad in [0, 50, 99] {
            let caught = catch_unwind(AssertUnwindSafe(|| {
                pool.run(100, &|index, _| assert!(index != bad, "task {bad}"));
            }));
            assert!(caught.is_err());
            let ran = AtomicUsize::new(0);
            pool.run(10, &|_, _| {
                ran.fetch_add(1, Ordering::Relaxed);
            });
            assert_eq!(ran.into_inner(), 10);
        }
    }

    #[test]
    fn a_flag_leaves_out_the_rest_until_the_next_job() {
        for threads in [1, 2] {
            let mut pool = Pool::new(threads, None).unwrap();
            let flags = [std::sync::Arc::new(Flag::new(false)), std::sync::Arc::default()];
            pool.stop_at([Some(&flags[0]), Some(&flags[1])]);
            let ran = AtomicUsize::new(0);
            let work = |index: usize, _: usize| {
                ran.fetch_add(1, Ordering::SeqCst);
                if index == 10 {
                    flags[1].store(true, Ordering::SeqCst);
                }
            };
            pool.run(1000, &work);
            assert!(pool.stopped() && ran.load(Ordering::SeqCst) < 1000);
            pool.stop_at([Some(&flags[0]), None]);
            ran.store(0, Ordering::SeqCst);
            pool.run(1000, &work);
            assert!(!pool.stopped() && ran.load(Ordering::SeqCst) == 1000);
        }
    }

    #[test]
    fn windows_tile_the_matrix() {
        let mut pool = Pool::new(2, None).unwrap();
        for steps in [(1, 1), (2, 3), (7, 16), (100, 100)] {
            let mut out = vec![0.0; 13 * 17];
            let mut scratch = [0.0; 4];
            pool.grid(&mut out, 17, steps, &mut scratch, |window, scratch| {
                assert_eq!(scratch.len(), 2);
                for row in window.rows() {
                    let first = row * 17 + window.cols().start;
                    for (i, value) in window.row(row).iter_mut().enumerate() {
                        *value += (first + i) as f32;
                    }
                }
            });
            assert!(out.iter().enumerate().all(|(i, &value)| value == i as f32));
        }
    }
}
