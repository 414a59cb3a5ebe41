//! No memory: the n-th of the allocations that a file or a caller sizes fails, for every n, in opening, drawing, importing and
//! exporting. An error comes back, never an abort. One test a process: the failing allocator counts all threads' allocations.

mod common;

use onestep::model::Role;
use onestep::sampler::Sampler;
use onestep::weights::{Hints, ImportOptions, StoredType, export, import};
use onestep::{Code, Layout, MemoryMode, Model, Options, Precision, Request, Result};
use std::alloc::{GlobalAlloc, Layout as MemoryLayout, System};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// Allocations of so many bytes fail. What files and callers size is larger here, and what has a size of its own smaller; so is
/// JSON, whose readers know no such error, and which is bounded.
const LARGE: usize = 64 << 10;
/// None fails.
const NEVER: usize = usize::MAX;

struct Failing;

static FAILS_AT: AtomicUsize = AtomicUsize::new(NEVER);
static MET: AtomicUsize = AtomicUsize::new(0);
static FAILED: AtomicBool = AtomicBool::new(false);

// SAFETY: a null pointer is an allocator's answer where there is no memory; every other call goes to the system's as it is.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Failing {
    unsafe fn alloc(&self, layout: MemoryLayout) -> *mut u8 {
        let counts = layout.size() >= LARGE && FAILS_AT.load(SeqCst) != NEVER;
        if counts && MET.fetch_add(1, SeqCst) == FAILS_AT.load(SeqCst) {
            FAILED.store(true, SeqCst);
            return std::ptr::null_mut();
        }
        // SAFETY: the caller's promise about `layout` is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: MemoryLayout) {
        // SAFETY: the caller's promise about `pointer` and `layout` is passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Failing = Failing;

/// Calls `work` with one allocation after the other failing, until none is left to fail; how many failed.
fn every_failure(what: &str, work: &dyn Fn() -> Result<()>) -> usize {
    work().unwrap_or_else(|error| panic!("{what}: {error}"));
    for at in 0.. {
        eprintln!("{what}: allocation {at} of {LARGE} bytes and more fails");
        FAILED.store(false, SeqCst);
        MET.store(0, SeqCst);
        FAILS_AT.store(at, SeqCst);
        let result = work();
        FAILS_AT.store(NEVER, SeqCst);
        if !FAILED.load(SeqCst) {
            result.unwrap_or_else(|error| panic!("{what}: {error}"));
            return at;
        }
        match result {
            Ok(()) => panic!("{what}: done without the memory it asked for"),
            Err(error) => assert_eq!(error.code(), Code::OutOfMemory, "{what}: {error}"),
        }
    }
    unreachable!()
}

/// Opens a model, draws and predicts.
fn draw(path: &Path, options: &Options) -> Result<()> {
    let model = Model::open(path, options)?;
    let mut session = model.session(options)?;
    let labels = model.info().config.network.num_classes.map(|_| vec![1, 2, 3]);
    let sampler = Some(Sampler { steps: Some(1), ..Sampler::default() });
    let request = Request { seeds: Some(vec![1, 2, 3]), labels, sampler, ..Request::default() };
    let mut out = vec![0; model.output_size(3, &Layout::default())? as usize];
    session.sample(&request, &Layout::default(), &mut out)
}

#[test]
fn no_memory_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let (native, again) = (folder.path().join("native.safetensors"), folder.path().join("again.safetensors"));
    import(&common::teacher(), &native, &ImportOptions::default()).unwrap();
    let diffusers = folder.path().join("diffusers");
    export(&native, &diffusers).unwrap();
    let golden = common::repository().join("tests/golden/folders");

    let low = Options { memory: MemoryMode::Low, ..common::cpu() };
    let bf16 = Options { precision: Precision::Bf16, threads: 2, ..common::cpu() };
    let mut failed = 0;
    for (what, options) in [("fast", common::cpu()), ("low", low), ("bf16", bf16)] {
        let options = Options { role: Some(Role::Teacher), ..options };
        for path in [&native, &diffusers] {
            failed += every_failure(&format!("{what}, {}", path.display()), &|| draw(path, &options));
        }
    }
    let packed = folder.path().join("packed.safetensors");
    failed += every_failure("pack", &|| Model::pack(&native, &packed, &common::cpu()).map(drop));
    failed += every_failure("packed", &|| draw(&packed, &common::cpu()));
    std::fs::remove_file(&packed).unwrap();
    let pickled = golden.join("torch/run.pt");
    let mut sources = vec![(&native, None), (&diffusers, Some(StoredType::F32))];
    if cfg!(feature = "formats") {
        sources.push((&pickled, None));
    }
    for (from, dtype) in sources {
        let config = (from == &pickled).then(|| golden.join("net/config.json"));
        let hints = Hints { config, ..Hints::default() };
        let options = ImportOptions { dtype, hints, ..ImportOptions::default() };
        failed += every_failure(&format!("import of {}", from.display()), &|| {
            import(from, &again, &options).map(drop)
        });
    }
    failed += every_failure("export", &|| {
        let _ = std::fs::remove_dir_all(&diffusers);
        export(&native, &diffusers)
    });
    println!("{failed} allocations failed");
    assert!(failed > 100, "only {failed} allocations failed");
    assert!(std::fs::read_dir(folder.path()).unwrap().count() == 3, "something half-written is left");
}
