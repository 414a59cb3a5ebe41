//! After a first call, the CPU executor allocates nothing; and opening takes no more memory than it says. One test a
//! process: the counting allocator counts all threads.

mod common;

use onestep::model::Role;
use onestep::sampler::{Kind, Sampler};
use onestep::weights::{ImportOptions, import};
use onestep::{Layout, MemoryMode, Model, Options, Precision, Request};
use std::alloc::{GlobalAlloc, Layout as MemoryLayout, System};
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

struct Counting;

static CALLS: AtomicUsize = AtomicUsize::new(0);
static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call goes to the system's allocator with the arguments as given; the rest is counting.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: MemoryLayout) -> *mut u8 {
        CALLS.fetch_add(1, SeqCst);
        PEAK.fetch_max(HELD.fetch_add(layout.size(), SeqCst) + layout.size(), SeqCst);
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: MemoryLayout) {
        HELD.fetch_sub(layout.size(), SeqCst);
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[test]
fn calls_allocate_nothing_and_opening_no_more_than_it_says() {
    steady_calls_allocate_nothing();
    opening_and_drawing_stay_within_the_bound();
}

fn steady_calls_allocate_nothing() {
    let steps = |kind, steps| Sampler { kind, steps: Some(steps), ..Sampler::default() };
    let ddim = Sampler { eta: 0.5, ..steps(None, 4) };
    let diffusion =
        ["ddpm", "uncommon", "one_level", "plain", "resnet", "ddpmpp", "guided"].map(common::golden);
    let kinds = [
        (Some(Role::Student), None, &diffusion[..]),
        (Some(Role::Teacher), Some(ddim), &diffusion),
        // With a learned variance too.
        (Some(Role::Teacher), Some(steps(Some(Kind::Ddpm), 4)), &diffusion),
        (None, Some(steps(Some(Kind::Heun), 3)), &common::cases("edm")),
        (None, Some(steps(Some(Kind::Consistency), 3)), &common::cases("consistency")),
    ];
    let layout = Layout::default();
    for (role, sampler, cases) in kinds {
        for case in cases {
            for (threads, precision) in [(1, Precision::F32), (2, Precision::F32), (2, Precision::Bf16)] {
                let options = Options { role, threads, precision, ..common::cpu() };
                let mut session = Model::open(case, &options).unwrap().session(&options).unwrap();
                let labels = session.model().info().config.network.num_classes.map(|_| vec![0, 1, 2]);
                let seeds = Some(vec![1, 2, 3]);
                let request = Request { seeds, labels, sampler: sampler.clone(), ..Request::default() };
                let mut out = vec![0; session.model().output_size(3, &layout).unwrap() as usize];
                let one = Request {
                    seeds: Some(vec![1]),
                    labels: request.labels.as_ref().map(|_| vec![0]),
                    ..request.clone()
                };
                let floats = out.len() / 12;
                let (x, mut eps) = (vec![0.5; floats], vec![0.0; floats]);
                let mut rounds = |rounds| {
                    for _ in 0..rounds {
                        session.sample(&request, &layout, &mut out).unwrap();
                        session.sample(&one, &layout, &mut out).unwrap();
                        session.predict_at(&x, &[7.0], one.labels.as_deref(), &mut eps).unwrap();
                    }
                };
                rounds(1);
                // The harness has a thread of its own, which may allocate meanwhile; what a call allocates, it always does.
                let mut allocations = 0;
                for _ in 0..3 {
                    let before = CALLS.load(SeqCst);
                    rounds(3);
                    allocations = CALLS.load(SeqCst) - before;
                    if allocations == 0 {
                        break;
                    }
                }
                assert_eq!(allocations, 0, "{case:?}, {role:?}, {sampler:?}, {threads} threads");

                // Once prepared, the first call is as the others.
                let model = session.model().clone();
                for _ in 0..3 {
                    let mut session = model.session(&options).unwrap();
                    session.prepare(3).unwrap();
                    let before = CALLS.load(SeqCst);
                    session.sample(&request, &layout, &mut out).unwrap();
                    allocations = CALLS.load(SeqCst) - before;
                    if allocations == 0 {
                        break;
                    }
                }
                assert_eq!(allocations, 0, "prepared: {case:?}, {role:?}, {sampler:?}, {threads} threads");
            }
        }
    }
}

/// Peak of opening and of one image: at most prepared weights + arena + 64 MiB; prepared at most 2.4 times f32, or
/// 1.1 times where memory counts more than speed.
fn opening_and_drawing_stay_within_the_bound() {
    opening_and_drawing_with(MemoryMode::Fast, 24);
    opening_and_drawing_with(MemoryMode::Low, 11);
}

fn opening_and_drawing_with(memory: MemoryMode, tenths: u64) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("teacher.safetensors");
    let teacher = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("models/digits-teacher.safetensors");
    import(&teacher, &path, &ImportOptions::default()).unwrap();
    let options = Options { memory, ..common::cpu() };
    let held = HELD.load(SeqCst);
    PEAK.store(held, SeqCst);
    let model = Model::open(&path, &options).unwrap();
    let mut session = model.session(&options).unwrap();
    let mut out = vec![0; model.output_size(1, &Layout::default()).unwrap() as usize];
    let labels = model.info().config.network.num_classes.map(|_| vec![0]);
    let sampler = Some(Sampler { steps: Some(1), ..Sampler::default() });
    let request = Request { seeds: Some(vec![1]), labels, sampler, ..Request::default() };
    session.sample(&request, &Layout::default(), &mut out).unwrap();
    let peak = (PEAK.load(SeqCst) - held) as u64;

    let memory = model.estimate_memory(1).unwrap();
    let f32_bytes = 4 * model.info().parameters;
    println!("peak {peak}, prepared {}, arena {}, f32 weights {f32_bytes}", memory.weights, memory.scratch);
    assert!(memory.weights * 10 <= f32_bytes * tenths, "prepared {} for {f32_bytes}", memory.weights);
    assert!(peak <= memory.weights + memory.scratch + (64 << 20));
    // This network is small beside 64 MiB; hold the honest figure too.
    assert!(peak <= memory.host_peak + (1 << 20), "{peak} bytes, {} said", memory.host_peak);
}
