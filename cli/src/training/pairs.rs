//! `onestep pairs`.

use super::teaching::Drawing;
use crate::args::{Machine, Threads, choice, parse_part};
use crate::interrupt;
use crate::meter::bar;
use crate::report::say;
use onestep::train::{PairsProgress, PairsRun, PixelType};
use onestep::{Options, Result};
use std::path::PathBuf;
use std::time::Instant;

/// Draw a teacher's pairs of noise and image, for `distill`
///
/// A pair is a seed and an image. Shards that are there and whole are left alone: the same command again draws what is
/// missing.
// What other commands call `--steps` too, where there are no others.
#[derive(clap::Args)]
#[command(mut_arg("teacher_steps", |steps| steps.visible_alias("steps")), after_help = "\
Examples:
  onestep pairs --teacher teacher.safetensors --count 12000 --ddim-steps 24 --top 999 --out pairs/
  onestep pairs --teacher MODEL --count 1075200 --ddim-steps 100 --out /data/pairs --shard $SLURM_ARRAY_TASK_ID/64
  onestep pairs --teacher MODEL --count 1075200 --ddim-steps 100 --out /data/pairs --shard $JOB_COMPLETION_INDEX/64")]
pub struct Args {
    /// The teacher: a .safetensors file or a diffusers folder
    #[arg(long, value_name = "MODEL")]
    teacher: PathBuf,
    /// How many pairs, over all parts
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
    /// Folder of the shards and their manifest
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    drawing: Drawing,
    /// Seed of the first pair; pair i is drawn from seed S + i, and from class i modulo the number of classes
    #[arg(long, value_name = "S", default_value_t = 1 << 32)]
    seed: u64,
    /// Draw part I of N, 0 the first: every N-th shard. For parts on several machines
    #[arg(long, value_name = "I/N", default_value = "0/1", value_parser = parse_part)]
    shard: (usize, usize),
    /// Pairs of a shard
    #[arg(long, value_name = "N", default_value_t = 2048)]
    shard_len: usize,
    /// How images are stored, clamped to [-1, 1]: u8, cut to whole numbers, as the paper did, or f16
    #[arg(long, default_value = "u8", value_parser = choice(&[("u8", PixelType::U8), ("f16", PixelType::F16)]))]
    pixels: PixelType,
    /// No progress bar and no closing line
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    machine: Machine,
    #[command(flatten)]
    threads: Threads,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    let options = Options {
        threads: args.threads.threads,
        cancel: Some(interrupt::cancel_on_ctrl_c()?),
        clip_sample: args.drawing.clip_sample,
        ..args.machine.options()
    };
    let job = PairsRun {
        teacher: args.teacher.clone(),
        out: args.out.clone(),
        count: args.count,
        first_seed: args.seed,
        sampler: args.drawing.sampler(&args.teacher)?,
        student_steps: args.drawing.student_steps.unwrap_or(1),
        pixels: args.pixels,
        shard_len: args.shard_len,
        part: args.shard,
        batch: args.drawing.teacher_batch,
        options,
    };
    let bar = bar(!args.quiet, None, "{pos}/{len} pairs {wide_bar} {per_sec}, {eta} left");
    let start = Instant::now();
    let mut last = PairsProgress { done: 0, total: 0 };
    let result = job.run(&mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
        last = progress;
        Ok(())
    });
    bar.finish_and_clear();
    let manifest = result?;
    if !args.quiet {
        say(format_args!(
            "{} of {} pairs in {:.1} s: {}",
            last.done,
            manifest.count,
            start.elapsed().as_secs_f64(),
            args.out.display()
        ));
    }
    Ok(())
}
