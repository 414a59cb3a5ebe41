//! `onestep distill`.

use super::teaching::Drawing;
use super::train::Running;
use super::{read_settings, together};
use crate::args::choice;
use crate::report::usage;
use clap::builder::PossibleValuesParser;
use onestep::Result;
use onestep::train::{DistillRun, DistillSettings, Group, Loss, PairsFrom, Reduction};
use std::cell::RefCell;
use std::path::PathBuf;

/// Distil a teacher into a student that draws in one call
///
/// The student begins as the teacher and learns to draw in one call what the teacher draws in many from the same noise
/// (Luhman and Luhman 2021). The run's model is that of the averaged weights with the least loss on pairs kept for tests.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  onestep distill --teacher teacher.safetensors --pairs pairs/ --out run/
  onestep distill --teacher MODEL --pairs pairs/ --preset cifar10 --out run/
  onestep distill --teacher MODEL --online --steps 50 --learn-steps 20000 --out run/")]
pub struct Args {
    /// The teacher: a .safetensors file or a diffusers folder
    #[arg(long, value_name = "MODEL")]
    teacher: PathBuf,
    /// Folder of `onestep pairs`
    #[arg(long, value_name = "DIR", required_unless_present = "online", conflicts_with = "online")]
    pairs: Option<PathBuf>,
    /// Do not read and check all pairs before training
    #[arg(long, requires = "pairs")]
    no_verify: bool,
    /// Draw pairs while the student learns: no folder, no disk
    #[arg(long)]
    online: bool,
    /// With --online: pairs in memory at a time
    #[arg(long, value_name = "N", default_value_t = 4096)]
    ring: usize,
    /// With --online: pairs of them that are new at each step
    #[arg(long, value_name = "N", default_value_t = 16)]
    fresh: usize,
    /// The recipe: the paper's for a data set, or one for small networks
    #[arg(long, value_name = "NAME", default_value = "small",
        value_parser = PossibleValuesParser::new(DistillSettings::PRESETS))]
    preset: String,
    /// Settings as TOML in place of a preset
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    config: Option<PathBuf>,
    #[command(flatten)]
    drawing: Drawing,
    #[command(flatten)]
    learning: Learning,
    #[command(flatten)]
    running: Running,
}

/// Each in place of the recipe's.
#[derive(clap::Args)]
#[command(next_help_heading = "Learning (each in place of the recipe's)")]
struct Learning {
    /// Distance to the target
    #[arg(long, value_parser = choice(&[("l1", Loss::L1), ("l2", Loss::L2)]))]
    loss: Option<Loss>,
    /// What it is divided by: the images (sum), or all values (mean)
    #[arg(long, value_parser = choice(&[("sum", Reduction::Sum), ("mean", Reduction::Mean)]))]
    reduction: Option<Reduction>,
    /// Images a step
    #[arg(long, value_name = "N")]
    batch: Option<usize>,
    /// Parts that a step's images are taken in, for less memory
    #[arg(long, value_name = "N")]
    accumulate: Option<usize>,
    /// The highest learning rate
    #[arg(long, value_name = "RATE")]
    rate: Option<f64>,
    /// Steps of its linear rise
    #[arg(long, value_name = "N")]
    warmup: Option<u64>,
    /// Whether it then falls along half a cosine
    #[arg(long, value_name = "BOOL")]
    cosine: Option<bool>,
    /// Decay rates of Adam's moments
    #[arg(long, value_name = "B1,B2", value_delimiter = ',', num_args = 2)]
    betas: Option<Vec<f64>>,
    /// Whether Adam's epsilon is Keras' (the paper's)
    #[arg(long, value_name = "BOOL")]
    keras_adam: Option<bool>,
    /// Largest norm of a gradient; 0 for any
    #[arg(long, value_name = "NORM")]
    clip: Option<f64>,
    /// Decay of the moving average of the weights
    #[arg(long, value_name = "DECAY")]
    ema: Option<f64>,
    /// Times that all pairs are learnt from
    #[arg(long, value_name = "N", conflicts_with = "learn_steps")]
    epochs: Option<u64>,
    /// Steps of the optimiser, in place of epochs
    #[arg(long, value_name = "N")]
    learn_steps: Option<u64>,
    /// Steps from one test to the next; 0: an epoch
    #[arg(long, value_name = "N")]
    test_every: Option<u64>,
    /// Pairs kept for tests, at most a tenth of all
    #[arg(long, value_name = "N")]
    test: Option<usize>,
    /// Seed of everything random
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    together(args.running.mpi, |group| distill(args, group))
}

fn distill(args: &Args, group: &Group) -> Result<()> {
    let recipe = match &args.config {
        Some(path) => read_settings(path)?,
        None => DistillSettings::preset(&args.preset)
            .ok_or_else(|| usage("--preset", format!("{} is none", args.preset)))?,
    };
    let pairs = match &args.pairs {
        Some(path) => PairsFrom::Folder { path: path.clone(), verify: !args.no_verify },
        None => PairsFrom::Online {
            sampler: args.drawing.sampler(),
            ring: args.ring,
            fresh: args.fresh,
            batch: args.drawing.teacher_batch,
        },
    };
    let run = DistillRun {
        settings: args.learning.over(recipe),
        teacher: args.teacher.clone(),
        pairs,
        out: args.running.out.clone(),
        threads: args.running.threads(),
        habits: args.running.habits(group)?,
    };
    let watcher = RefCell::new(args.running.watcher(group));
    let outcome = run.run(&mut |event| watcher.borrow_mut().see(event))?;
    if group.leads() { watcher.borrow().finish(&outcome) } else { Ok(()) }
}

impl Learning {
    fn over(&self, recipe: DistillSettings) -> DistillSettings {
        let counted = self.learn_steps.is_some();
        DistillSettings {
            loss: self.loss.unwrap_or(recipe.loss),
            reduction: self.reduction.unwrap_or(recipe.reduction),
            batch: self.batch.unwrap_or(recipe.batch),
            accumulate: self.accumulate.unwrap_or(recipe.accumulate),
            rate: self.rate.unwrap_or(recipe.rate),
            warmup: self.warmup.unwrap_or(recipe.warmup),
            cosine: self.cosine.unwrap_or(recipe.cosine),
            betas: match self.betas.as_deref() {
                Some(&[first, second]) => [first, second],
                _ => recipe.betas,
            },
            keras_adam: self.keras_adam.unwrap_or(recipe.keras_adam),
            clip: self.clip.unwrap_or(recipe.clip),
            ema: self.ema.unwrap_or(recipe.ema),
            epochs: if counted { 0 } else { self.epochs.unwrap_or(recipe.epochs) },
            steps: if self.epochs.is_some() { 0 } else { self.learn_steps.unwrap_or(recipe.steps) },
            test_every: self.test_every.unwrap_or(recipe.test_every),
            test: self.test.unwrap_or(recipe.test),
            seed: self.seed.unwrap_or(recipe.seed),
            ..recipe
        }
    }
}
