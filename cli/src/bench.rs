//! `onestep bench`.

use crate::args::{Machine, ModelPath, Sampling};
use crate::draw::zeroed;
use crate::info::{mebibytes, memory_json};
use crate::interrupt;
use crate::report::print;
use onestep::image::{Format, Layout};
use onestep::{Memory, Model, Named, Options, Request, Result, Session};
use serde_json::json;
use std::time::Instant;

/// Measure milliseconds an image, by batch and threads
///
/// Every setting is drawn once unmeasured, then --repeat times. Times are of whole images, all steps of a teacher
/// included. Opening is measured in this process, with the file in the page cache or not as it happens to be.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  onestep bench
  onestep bench teacher.safetensors --steps 10 --batch 1,16 --threads 1,2,4 --repeat 20 --json")]
pub struct Args {
    #[command(flatten)]
    model: ModelPath,
    /// Images a network call, a comma list
    #[arg(short, long, value_name = "B1,B2,...", value_delimiter = ',', default_value = "1,4,16",
        value_parser = clap::value_parser!(u32).range(1..))]
    batch: Vec<u32>,
    /// CPU threads, a comma list; 0: all that this process may use
    #[arg(long, value_name = "N1,N2,...", value_delimiter = ',', default_value = "0")]
    threads: Vec<u32>,
    /// Measured calls a setting
    #[arg(short, long, value_name = "R", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    repeat: u32,
    /// One JSON object on stdout; times in milliseconds, memory in bytes
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    machine: Machine,
}

/// What one setting gave.
struct Measurement {
    threads: u32,
    batch: u32,
    /// Milliseconds an image.
    median: f64,
    min: f64,
    memory: Memory,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    let cancel = interrupt::cancel_on_ctrl_c()?;
    let options = Options {
        cancel: Some(cancel),
        clip_sample: args.sampling.clip_sample,
        threads: args.threads[0],
        ..args.machine.options()
    };
    let start = Instant::now();
    let model = args.model.open(&options)?;
    let open = milliseconds(start);
    one_call(args, &mut model.session(&options)?, 1)?;
    let first_image = milliseconds(start);

    if !args.json {
        let info = model.info();
        print(format!("{} on {}, {}", args.model.name(), info.device, info.precision.name()))?;
        print(format!("opened in {open:.1} ms, first image after {first_image:.1} ms"))?;
        print("threads  batch   median       min      images/s  memory")?;
    }
    let mut measurements = Vec::new();
    for &threads in &args.threads {
        for &batch in &args.batch {
            let measured = measure(args, &model, &options, threads, batch)?;
            if !args.json {
                print(as_row(&measured))?;
            }
            measurements.push(measured);
        }
    }
    if !args.json {
        return print(
            "median and min are milliseconds an image; memory is weights and one session's scratch",
        );
    }
    let results: Vec<_> = measurements
        .iter()
        .map(|measured| {
            json!({
                "threads": measured.threads,
                "batch": measured.batch,
                "median_ms_per_image": measured.median,
                "min_ms_per_image": measured.min,
                "memory": memory_json(measured.memory),
            })
        })
        .collect();
    print(json!({
        "model": args.model.name(),
        "device": model.info().device,
        "precision": model.info().precision.name(),
        "repeat": args.repeat,
        "open_ms": open,
        "first_image_ms": first_image,
        "results": results,
    }))
}

fn measure(args: &Args, model: &Model, options: &Options, threads: u32, batch: u32) -> Result<Measurement> {
    let mut session = model.session(&Options { threads, ..options.clone() })?;
    one_call(args, &mut session, batch)?;
    let mut times = Vec::new();
    for _ in 0..args.repeat {
        times.push(one_call(args, &mut session, batch)? / f64::from(batch));
    }
    times.sort_by(f64::total_cmp);
    let middle = times.len() / 2;
    let median = if times.len() % 2 == 1 { times[middle] } else { (times[middle - 1] + times[middle]) / 2.0 };
    let memory = model.estimate_memory(batch as usize)?;
    Ok(Measurement { threads, batch, median, min: times[0], memory })
}

/// Draws a batch; milliseconds of the call alone.
fn one_call(args: &Args, session: &mut Session, batch: u32) -> Result<f64> {
    let model = session.model();
    let classes = model.info().config.network.num_classes;
    let request = Request {
        seeds: Some((0..u64::from(batch)).collect()),
        labels: classes.map(|classes| (0..batch).map(|index| index as i32 % classes as i32).collect()),
        sampler: args.sampling.sampler()?,
        ..Request::default()
    };
    let layout = Layout { format: Format::F32Nchw, ..Layout::default() };
    let mut out = zeroed(model.output_size(batch as usize, &layout)?)?;
    let start = Instant::now();
    session.sample(&request, &layout, &mut out)?;
    Ok(milliseconds(start))
}

fn as_row(measured: &Measurement) -> String {
    let threads = if measured.threads == 0 { "all".into() } else { measured.threads.to_string() };
    format!(
        "{threads:>7}  {:>5}  {:>7.3}   {:>7.3}  {:>12.1}  {}",
        measured.batch,
        measured.median,
        measured.min,
        1e3 / measured.median,
        mebibytes(measured.memory.weights + measured.memory.scratch)
    )
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}
