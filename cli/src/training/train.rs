//! `onestep train`.

use super::judge::{Judge, Judging};
use super::watch::Watcher;
use super::{parse_betas, read_settings, together};
use crate::args::Threads;
use crate::interrupt;
use clap::Subcommand;
use onestep::Result;
use onestep::train::{Changes, Group, Images, RunOptions, TeacherRun, TeacherSettings};
use std::cell::RefCell;
use std::path::{Path, PathBuf};

/// Train a teacher on a folder of images
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Teacher(Box<Teacher>),
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::Teacher(teacher) => together(teacher.running.mpi, |group| teacher.run(group)),
    }
}

/// Where a run's files go and how often.
#[derive(clap::Args)]
#[command(next_help_heading = "Run")]
pub struct Running {
    /// Folder of the run: checkpoint, log.csv, curves.png, samples/, report.md, and the model at the end. The same
    /// command again goes on where it stopped, to the bit
    #[arg(short, long, value_name = "RUN")]
    pub out: PathBuf,
    /// Steps from one checkpoint to the next
    #[arg(long, value_name = "N", default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    checkpoint_every: u64,
    /// Steps from one line of the log to the next
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    log_every: u64,
    /// Steps from one picture of samples to the next; 0 for none
    #[arg(long, value_name = "N", default_value_t = 1000)]
    sample_every: u64,
    /// Go on with a run although images were added to its folder, or taken from it
    #[arg(long)]
    accept_new_images: bool,
    /// Make a few steps, say what the run would take (parameters, memory, images a second), and write nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line on stdout in place of the bar
    #[arg(long)]
    json: bool,
    /// No progress bar and no closing line
    #[arg(short, long)]
    quiet: bool,
    /// Train with all processes that mpirun or srun started: each takes a share of every batch, and process 0 writes. Only
    /// in builds with the feature train-mpi
    #[arg(long)]
    pub mpi: bool,
    #[command(flatten)]
    threads: Threads,
    #[command(flatten)]
    judging: Judging,
}

impl Running {
    /// RunOptions of a run that Ctrl-C ends.
    pub fn run_options(&self, group: &Group) -> Result<RunOptions> {
        Ok(RunOptions {
            scoring: self.judging.scoring(),
            changes: Changes { new_images: self.accept_new_images },
            dry_run: self.dry_run,
            checkpoint_every: self.checkpoint_every,
            log_every: self.log_every,
            sample_every: self.sample_every,
            cancel: Some(interrupt::cancel_on_ctrl_c()?),
            group: group.clone(),
        })
    }

    /// What people see, of process 0.
    pub fn watcher(&self, group: &Group) -> Watcher {
        self.watcher_in(group, &self.out)
    }

    /// As `watcher`, of a run in this folder.
    pub fn watcher_in(&self, group: &Group, out: &Path) -> Watcher {
        let (json, quiet) = (self.json && group.leads(), self.quiet || !group.leads());
        Watcher::new(out, json, quiet, self.threads.threads)
    }

    /// Who judges the run in this folder, if anybody does, of process 0; `images` are its reference where none was asked for.
    pub fn judge(
        &self,
        group: &Group,
        out: &Path,
        images: Option<&Path>,
        options: &RunOptions,
    ) -> Result<Option<Judge>> {
        let judge = || {
            let cancel = options.cancel.clone().unwrap_or_default();
            let quiet = self.quiet || self.json;
            self.judging.judge(out, images, self.threads.threads, &cancel, quiet)
        };
        if self.dry_run { Ok(None) } else { group.lead(judge).map(Option::flatten) }
    }

    /// Threads asked for, or all.
    pub fn threads(&self) -> usize {
        match self.threads.threads {
            0 => onestep::available_threads(),
            threads => threads as usize,
        }
    }
}

/// Train a teacher: a diffusion model of a folder of images (DDPM)
///
/// Settings come from --config, and flags go before it. Everything random comes from --seed: the same command gives the
/// same model, whatever --threads is and however often it was interrupted.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  onestep train teacher --images faces/ --size 32 --out run/
  onestep train teacher --images digits/ --classes --size 16 --channels 1 --widths 32,64,64 --attention 8 \\
      --groups 16 --steps 2800 --batch 128 --rate 8e-4 --out run/
  onestep train teacher --images more/ --init teacher.safetensors --rate 1e-5 --out run/")]
struct Teacher {
    /// Folder of PNG, JPEG and WebP files, and of folders of them; or a .zip of one
    #[arg(long, value_name = "DIR")]
    images: PathBuf,
    /// Settings as TOML; its keys are the flags of Network and Learning below, with _ for -
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A model to begin from, whose network and noise schedule are kept
    #[arg(long, value_name = "MODEL")]
    init: Option<PathBuf>,
    #[command(flatten)]
    network: Network,
    #[command(flatten)]
    learning: Learning,
    #[command(flatten)]
    running: Running,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Network")]
struct Network {
    /// Height and width of an image, or HEIGHTxWIDTH; others are cut to the middle and resized [default: 32]
    #[arg(long, value_name = "N", value_parser = parse_size)]
    size: Option<[usize; 2]>,
    /// 1 (grey), 3 (RGB) or 4 (RGBA) [default: 3]
    #[arg(long, value_name = "N")]
    channels: Option<usize>,
    /// The sub-folders of --images are classes
    #[arg(long)]
    classes: bool,
    /// Channels of each level, finest first [default: 64,128,128]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    widths: Option<Vec<usize>>,
    /// Residual blocks a level on the way down [default: 1]
    #[arg(long, value_name = "N")]
    layers: Option<usize>,
    /// Heights at which there is self-attention, beside the middle [default: 16]
    #[arg(long, value_name = "N,...", value_delimiter = ',')]
    attention: Option<Vec<usize>>,
    /// Channels of an attention head [default: all, one head]
    #[arg(long, value_name = "N")]
    head_channels: Option<usize>,
    /// Groups of every norm [default: 32]
    #[arg(long, value_name = "N")]
    groups: Option<usize>,
    /// What the network predicts: epsilon, v_prediction or sample [default: epsilon]
    #[arg(long, value_name = "WHAT")]
    prediction: Option<String>,
    /// Noise levels: linear, scaled_linear or squaredcos_cap_v2 [default: linear]
    #[arg(long, value_name = "NAME")]
    schedule: Option<String>,
    /// Timesteps of the diffusion process [default: 1000]
    #[arg(long, value_name = "N")]
    timesteps: Option<usize>,
    /// Whether samplers clamp their estimate of the image to [-1, 1], which the model's file will say [default: true]
    #[arg(long, value_name = "BOOL")]
    clip_sample: Option<bool>,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Learning")]
struct Learning {
    /// Steps of the optimiser (Adam) [default: 20000]
    #[arg(long, value_name = "N")]
    steps: Option<u64>,
    /// Images a step [default: 64]
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Parts that a step's images are taken in, for less memory [default: 1]
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// The highest learning rate [default: 2e-4]
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Steps of its linear rise [default: 500]
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,
    /// Whether it then falls along half a cosine [default: true]
    #[arg(long, value_name = "BOOL")]
    cosine: Option<bool>,
    /// Largest norm of a gradient; 0 for any [default: 1]
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,
    /// Decay of the moving average of the weights, which becomes the model [default: 0.999]
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// How often a residual block drops a value, 0 to less than 1 (DDPM's for CIFAR-10: 0.1) [default: 0]
    #[arg(long, value_name = "RATE")]
    dropout: Option<f64>,
    /// How often an image's label is taken away, such as 0.1: the model can be guided then (sample --guidance) [default: 0]
    #[arg(long, value_name = "RATE")]
    drop_labels: Option<f64>,
    /// Decay rates of Adam's moments [default: 0.9,0.999]
    #[arg(long, value_name = "B1,B2", value_parser = parse_betas)]
    betas: Option<[f64; 2]>,
    /// What each step takes from the weights, times the rate (AdamW) [default: 0]
    #[arg(long, value_name = "DECAY")]
    weight_decay: Option<f64>,
    /// Images that are not learnt from: the loss on them, in log.csv and curves.png, says whether the others are learnt by heart
    /// [default: 0]
    #[arg(long, value_name = "N")]
    test: Option<usize>,
    /// Steps from one test to the next [default: 500]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    test_every: Option<u64>,
    /// Move images by up to so many pixels in each direction [default: 0]
    #[arg(long, value_name = "N")]
    shift: Option<usize>,
    /// Change contrast and brightness by up to so much, 0 to less than 1 [default: 0]
    #[arg(long, value_name = "PART")]
    color: Option<f64>,
    /// Mirror half of the images
    #[arg(long)]
    flip: bool,
    /// Seed of everything random [default: 0]
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

/// Files that were left out of which so many are said.
const SKIPPED: usize = 5;

impl Teacher {
    fn run(&self, group: &Group) -> Result<()> {
        let settings_file = self.config.as_deref().map(read_settings).transpose()?;
        let run = TeacherRun {
            settings: self.settings(settings_file.unwrap_or_default()),
            images: self.images.clone(),
            out: self.running.out.clone(),
            init: self.init.clone(),
            threads: self.running.threads(),
            run_options: self.running.run_options(group)?,
        };
        let judge = self.running.judge(group, &run.out, Some(&run.images), &run.run_options)?;
        let watcher = RefCell::new(self.running.watcher(group).judged(judge));
        let mut found = |images: &Images| {
            let classes = images
                .labels
                .as_ref()
                .map_or(String::new(), |_| format!(" of {} classes", images.classes.len()));
            let skipped = match images.skipped.len() {
                0 => String::new(),
                n => format!(", {n} left out"),
            };
            watcher.borrow().say(&format!("{} images{classes}{skipped}", images.len()));
            for (file, reason) in images.skipped.iter().take(SKIPPED) {
                watcher.borrow().say(&format!("left out: {}: {reason}", file.display()));
            }
        };
        let outcome = run.run(&mut found, &mut |event| watcher.borrow_mut().see(event));
        if group.leads() { watcher.borrow().end(outcome) } else { outcome.map(drop) }
    }

    /// The file's settings with the flags put over them.
    fn settings(&self, file: TeacherSettings) -> TeacherSettings {
        let (network, learning) = (&self.network, &self.learning);
        TeacherSettings {
            size: network.size.unwrap_or(file.size),
            channels: network.channels.unwrap_or(file.channels),
            classes: network.classes || file.classes,
            widths: network.widths.clone().unwrap_or(file.widths),
            layers: network.layers.unwrap_or(file.layers),
            attention: network.attention.clone().unwrap_or(file.attention),
            head_channels: network.head_channels.or(file.head_channels),
            groups: network.groups.unwrap_or(file.groups),
            prediction: network.prediction.clone().unwrap_or(file.prediction),
            schedule: network.schedule.clone().unwrap_or(file.schedule),
            timesteps: network.timesteps.unwrap_or(file.timesteps),
            clip_sample: network.clip_sample.unwrap_or(file.clip_sample),
            steps: learning.steps.unwrap_or(file.steps),
            batch: learning.batch.unwrap_or(file.batch),
            accumulate: learning.accumulate.unwrap_or(file.accumulate),
            rate: learning.rate.unwrap_or(file.rate),
            warmup: learning.warmup.unwrap_or(file.warmup),
            cosine: learning.cosine.unwrap_or(file.cosine),
            clip: learning.clip.unwrap_or(file.clip),
            ema: learning.ema.unwrap_or(file.ema),
            dropout: learning.dropout.unwrap_or(file.dropout),
            drop_labels: learning.drop_labels.unwrap_or(file.drop_labels),
            betas: learning.betas.unwrap_or(file.betas),
            weight_decay: learning.weight_decay.unwrap_or(file.weight_decay),
            test: learning.test.unwrap_or(file.test),
            test_every: learning.test_every.unwrap_or(file.test_every),
            shift: learning.shift.unwrap_or(file.shift),
            color: learning.color.unwrap_or(file.color),
            flip: learning.flip || file.flip,
            seed: learning.seed.unwrap_or(file.seed),
        }
    }
}

fn parse_size(text: &str) -> Result<[usize; 2], String> {
    let side = |text: &str| text.parse().ok().filter(|&side: &usize| side > 0);
    let pair = match text.split_once('x') {
        Some((height, width)) => side(height).zip(side(width)),
        None => side(text).map(|side| (side, side)),
    };
    pair.map(|(height, width)| [height, width]).ok_or("a number, or HEIGHTxWIDTH".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_squares_or_pairs() {
        assert_eq!(parse_size("16"), Ok([16, 16]));
        assert_eq!(parse_size("16x24"), Ok([16, 24]));
        assert!(parse_size("0").is_err() && parse_size("16x").is_err() && parse_size("x").is_err());
    }
}
