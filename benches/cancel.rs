//! How long a call goes on after it is cancelled: the networks of the fuzzers and the golden cases, whole and in little memory, each
//! cancelled at moments spread over a call.
//!
//! ```sh
//! cargo bench --bench cancel -- [MODEL...]
//! ```

use onestep::{Cancel, Error, Layout, MemoryMode, Model, Options, Request, Result, Session};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Moments of a call at which it is cancelled.
const MOMENTS: u32 = 40;
/// A call longer than this is not waited for; the moments are spread over as much.
const LONGEST: Duration = Duration::from_millis(1000);

fn main() -> Result<()> {
    let named: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let named: Vec<PathBuf> =
        named.into_iter().filter(|path| !path.as_os_str().as_encoded_bytes().starts_with(b"--")).collect();
    let models = if named.is_empty() { golden() } else { named };
    println!("| network | memory | calls cancelled | median, ms | worst, ms |");
    println!("|---|---|--:|--:|--:|");
    for path in &models {
        for memory in [MemoryMode::Fast, MemoryMode::Low] {
            let options = Options { device: "cpu".into(), memory, ..Options::default() };
            let model = match Model::open(path, &options) {
                Ok(model) => model,
                Err(error) => {
                    eprintln!("left out: {error}");
                    continue;
                }
            };
            let mut late = latencies(model.session(&options)?)?;
            late.sort();
            let ms = |latency: Option<&Duration>| latency.map_or(0.0, |latency| latency.as_secs_f64() * 1e3);
            let memory = if memory == MemoryMode::Fast { "fast" } else { "low" };
            let (median, worst) = (ms(late.get(late.len() / 2)), ms(late.last()));
            println!("| {} | {memory} | {} | {median:.2} | {worst:.2} |", path.display(), late.len());
        }
    }
    Ok(())
}

/// Folders of golden networks.
fn golden() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folders = ["diffusers", "edm", "consistency"].map(|kind| root.join("tests/golden").join(kind));
    let mut found: Vec<PathBuf> = folders
        .iter()
        .flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten())
        .map(|entry| entry.path())
        .collect();
    found.push(root.join("models/digits-teacher.safetensors"));
    // 256 pixels a side, with attention over all of them.
    found.push(root.join("tests/golden/odd/slow-256.safetensors"));
    found.sort();
    found
}

/// From the cancel to the end of the call.
fn latencies(mut session: Session) -> Result<Vec<Duration>> {
    let layout = Layout::default();
    let labels = session.model().info().config.network.num_classes.map(|_| vec![0; 4]);
    let cancel = Cancel::new();
    let request =
        Request { seeds: Some(vec![1, 2, 3, 4]), labels, cancel: Some(cancel.clone()), ..Request::default() };
    let mut out = vec![0; session.model().output_size(4, &layout)? as usize];
    // The first call plans its memory; the second is timed.
    let mut whole = LONGEST;
    for _ in 0..2 {
        let start = Instant::now();
        let stop = after(LONGEST, &cancel);
        let ended = session.sample(&request, &layout, &mut out);
        whole = start.elapsed().min(LONGEST);
        stop.0.join().expect("no panics");
        cancel.reset();
        if !matches!(ended, Ok(()) | Err(Error::Cancelled)) {
            return ended.map(|()| Vec::new());
        }
    }
    let mut late = Vec::new();
    for moment in 0..MOMENTS {
        let stop = after(whole * moment / MOMENTS, &cancel);
        let ended = session.sample(&request, &layout, &mut out);
        let end = Instant::now();
        let triggered = stop.0.join().expect("no panics");
        if matches!(ended, Err(Error::Cancelled)) {
            late.push(end.saturating_duration_since(triggered));
        }
        cancel.reset();
    }
    Ok(late)
}

/// A thread that triggers a token; it gives when.
struct Stop(std::thread::JoinHandle<Instant>);

fn after(wait: Duration, cancel: &Cancel) -> Stop {
    let cancel = cancel.clone();
    Stop(std::thread::spawn(move || {
        std::thread::sleep(wait);
        let now = Instant::now();
        cancel.trigger();
        now
    }))
}
