//! The pool under the model checker shuttle, which decides before every step of a mutex, a condition variable or an
//! atomic which thread goes on, and notices when none can. It knows sequentially consistent atomics alone, so the
//! memory orderings are not tested here.
//!
//! ```sh
//! RUSTFLAGS="--cfg onestep_shuttle" CARGO_TARGET_DIR=target/shuttle \
//!     cargo test --lib --no-default-features pool::interleavings
//! ```
//!
//! `ONESTEP_SCHEDULES` sets how many schedules each test runs under each scheduler; `SHUTTLE_RANDOM_SEED` draws others.

use super::*;
use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::sync::Barrier;
use shuttle::{Config, MaxSteps, Runner};

const SCHEDULES: usize = 20_000;
/// A worker that spins as long as the clock says would make schedules that cannot be repeated.
const PARK_AT_ONCE: Option<u32> = Some(0);
const NEVER_PARK: Option<u32> = Some(u32::MAX);

#[test]
fn every_task_runs_once() {
    for (threads, spin_us) in [(2, PARK_AT_ONCE), (3, PARK_AT_ONCE), (2, NEVER_PARK), (3, NEVER_PARK)] {
        explore(move || {
            let regions: Vec<_> = [3, 2, 1, 4].map(|tasks| Region::new(threads, tasks)).into();
            run(threads, spin_us, &regions, |_, _| {});
        });
    }
}

/// A caller does by itself what sleepers leave to it. Here it cannot: each task waits for one on every other worker.
#[test]
fn parked_workers_wake() {
    for threads in [2, 3] {
        explore(move || {
            let barrier = Barrier::new(threads);
            let regions: Vec<_> = [threads; 3].map(|tasks| Region::new(threads, tasks)).into();
            run(threads, PARK_AT_ONCE, &regions, |_, _| _ = barrier.wait());
        });
    }
}

#[test]
fn a_panic_reaches_the_caller_and_the_pool_lives_on() {
    for (threads, bad) in [(2, 0..1), (3, 2..3), (2, 0..2), (3, 0..4)] {
        explore(move || {
            let regions: Vec<_> = [4, 3].map(|tasks| Region::new(threads, tasks)).into();
            // Not `panic!`, whose hook would print each of thousands.
            run(threads, PARK_AT_ONCE, &regions, |region, index| {
                if region == 0 && bad.contains(&index) {
                    regions[0].failed.store(true, Ordering::SeqCst);
                    resume_unwind(Box::new(index));
                }
            });
        });
    }
}

#[test]
fn a_pool_ends_while_workers_start_spin_or_park() {
    for (threads, spin_us) in [(2, PARK_AT_ONCE), (3, PARK_AT_ONCE), (2, NEVER_PARK), (3, NEVER_PARK)] {
        explore(move || run(threads, spin_us, &[], |_, _| {}));
        explore(move || run(threads, spin_us, &[Region::new(threads, 2)], |_, _| {}));
    }
}

/// Runs `test` under many schedules: of a scheduler that picks at random, and of one that keeps priorities and changes
/// them a few times, which finds what takes one thread to be late by far.
fn explore(test: impl Fn() + Send + Sync + Clone + 'static) {
    let schedules = std::env::var("ONESTEP_SCHEDULES").map_or(SCHEDULES, |number| number.parse().unwrap());
    explore_under(RandomScheduler::new_from_seed(1, schedules), test.clone());
    for depth in [2, 4] {
        explore_under(PctScheduler::new_from_seed(1, depth, schedules / 2), test.clone());
    }
}

fn explore_under(scheduler: impl Scheduler + 'static, test: impl Fn() + Send + Sync + 'static) {
    let mut config = Config::new();
    config.silence_warnings = true;
    // Threads that spin for one another are no deadlock to shuttle; here they end.
    config.max_steps = MaxSteps::FailAfter(100_000);
    Runner::new(scheduler, config).run(test);
}

/// Runs the regions one after another in one pool; `f` is what each task does, given its region's number and its own.
fn run(threads: usize, spin_us: Option<u32>, regions: &[Region], f: impl Fn(usize, usize) + Sync) {
    // Tasks outlive the pool, so that one which a worker calls too late is counted and not undefined behaviour.
    let tasks: Vec<_> = (regions.iter().enumerate())
        .map(|(number, region)| {
            let f = &f;
            move |index: usize, worker: usize| region.task(index, worker, || f(number, index))
        })
        .collect();
    let late = AtomicUsize::new(0);
    let poison = |_: usize, _: usize| {
        late.fetch_add(1, Ordering::SeqCst);
        resume_unwind(Box::new("read after `run` had returned"));
    };

    let mut pool = Pool::new(threads, spin_us).unwrap();
    for (region, task) in regions.iter().zip(&tasks) {
        region.open.store(true, Ordering::SeqCst);
        let result = catch_unwind(AssertUnwindSafe(|| pool.run(region.calls.len(), task)));
        region.open.store(false, Ordering::SeqCst);
        // SAFETY: only the lifetime changes, and the pool ends before `poison`.
        let task = unsafe { std::mem::transmute::<*const Task, *const Task<'static>>(&poison) };
        // SAFETY: between two regions nobody looks at `job`; whoever does is what this is here to find.
        unsafe { *pool.shared.job.get() = Job { task, tasks: usize::MAX / 2 } };
        region.check(result.is_err());
    }
    let shared = pool.shared.clone();
    drop(pool);
    assert_eq!(Arc::strong_count(&shared), 1, "a worker has not ended");
    assert_eq!(late.into_inner(), 0, "tasks of a region that had ended");
    for region in regions {
        assert!(!region.astray.load(Ordering::SeqCst), "a task ran too late, or two at once as one worker");
    }
}

/// What the tasks of a region saw. Kept here until the pool has ended: a worker's failed assertion would be a panic
/// that the pool catches, and drops if it comes after the last region.
struct Region {
    /// Whether its `run` is running.
    open: AtomicBool,
    /// How often each task was called.
    calls: Vec<AtomicUsize>,
    /// Which workers are inside a task.
    busy: Vec<AtomicBool>,
    astray: AtomicBool,
    /// Whether a task panicked.
    failed: AtomicBool,
}

impl Region {
    fn new(threads: usize, tasks: usize) -> Self {
        Self {
            open: AtomicBool::new(false),
            calls: (0..tasks).map(|_| AtomicUsize::new(0)).collect(),
            busy: (0..threads).map(|_| AtomicBool::new(false)).collect(),
            astray: AtomicBool::new(false),
            failed: AtomicBool::new(false),
        }
    }

    fn task(&self, index: usize, worker: usize, f: impl FnOnce()) {
        let alone = !self.busy[worker].swap(true, Ordering::SeqCst);
        self.calls[index].fetch_add(1, Ordering::SeqCst);
        let result = catch_unwind(AssertUnwindSafe(f));
        self.busy[worker].store(false, Ordering::SeqCst);
        if !alone || !self.open.load(Ordering::SeqCst) {
            self.astray.store(true, Ordering::SeqCst);
        }
        if let Err(payload) = result {
            resume_unwind(payload);
        }
    }

    /// Each task was called once, or at most once if one failed; `raised` is whether `run` panicked.
    fn check(&self, raised: bool) {
        let failed = self.failed.load(Ordering::SeqCst);
        assert_eq!(raised, failed);
        let calls: Vec<_> = self.calls.iter().map(|calls| calls.load(Ordering::SeqCst)).collect();
        assert!(
            calls.iter().all(|&calls| calls == 1 || failed && calls == 0),
            "calls of each task: {calls:?}"
        );
    }
}
