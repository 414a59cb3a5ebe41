//! `onestep distill`.

use super::teaching::Drawing;
use super::train::Running;
use super::{parse_betas, read_settings, together};
use crate::args::{choice, named};
use crate::report::usage;
use clap::builder::PossibleValuesParser;
use onestep::sampler::Sampler;
use onestep::train::{
    DistillRun, DistillSettings, Group, ImagesFrom, Loss, MODEL, Outcome, PairsFrom, Reduction, Round, rounds,
};
use onestep::{Error, Options, Precision, Result};
use std::cell::RefCell;
use std::path::PathBuf;

/// Distil a teacher into a student that draws in one call
///
/// The student begins as the teacher and learns to draw in one call what the teacher draws in many from the same noise
/// (Luhman and Luhman 2021). The run's model is that of the averaged weights with the least loss on pairs kept for tests.
/// With --student-steps 2 or 4 it draws in as many calls (DDIM's). With --progressive it learns two of its teacher's
/// steps at a time, and is the teacher of the next round (Salimans and Ho 2022).
#[derive(clap::Args)]
#[command(after_help = help())]
pub struct Args {
    /// The teacher: a .safetensors file or a diffusers folder
    #[arg(long, value_name = "MODEL")]
    teacher: PathBuf,
    /// A student to begin from, in place of the teacher's weights: such as one of single images that goes on with --dmd
    #[arg(long, value_name = "MODEL", conflicts_with = "progressive")]
    init: Option<PathBuf>,
    /// Folder of `onestep pairs`, or of the paper's script (x_train_0.npy, y_train_0.npy, ...)
    #[arg(long, value_name = "DIR", required_unless_present_any = ["online", "images"], conflicts_with = "online")]
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
    /// With --online or --progressive: device that the teacher draws on, auto or one that `onestep devices` lists. A run that
    /// goes on elsewhere must draw alike [default: auto]
    #[arg(long, value_name = "ID")]
    device: Option<String>,
    /// With --online or --progressive: arithmetic that the teacher draws in [default: auto, the device's]
    #[arg(long, value_parser = named::<Precision>())]
    precision: Option<Precision>,
    /// Halve the teacher's steps round by round, --steps of the optimiser each, from --ddim-steps to --student-steps; what is noised are
    /// --images, or the images of --pairs. Rounds but the last are in RUN/steps-K
    #[arg(long, conflicts_with = "online")]
    progressive: bool,
    /// With --progressive, what is noised; with --adversarial, what is real: folder of PNG, JPEG and WebP files, or a .zip of one;
    /// sub-folders for classes where the teacher has any
    #[arg(long, value_name = "DIR")]
    images: Option<PathBuf>,
    /// The recipe: the paper's for a data set, or one for small networks
    #[arg(long, value_name = "NAME", default_value = "small",
        value_parser = PossibleValuesParser::new(DistillSettings::PRESETS))]
    preset: String,
    /// Settings as TOML in place of a preset; its keys are the flags of Learning below, with _ for -, and beside them
    /// from_zero (the rate rises from 0) and ema_warmup (true or false)
    #[arg(long, value_name = "FILE", conflicts_with = "preset")]
    config: Option<PathBuf>,
    #[command(flatten)]
    drawing: Drawing,
    #[command(flatten)]
    learning: Learning,
    #[command(flatten)]
    running: Running,
}

/// Examples, and what the recipes are.
fn help() -> String {
    let mut text = EXAMPLES.to_owned() + "\n\nRecipes (--preset), the defaults of Learning:\n";
    let mut row = |cells: [&str; 10]| {
        let [name, loss, batch, rate, warmup, cosine, betas, clip, ema, length] = cells;
        let line = format!(
            "  {name:<13}{loss:<9}{batch:>5}{rate:>7}{warmup:>8}{cosine:>8}{betas:>12}{clip:>6}{ema:>8}  {length}"
        );
        text += &(line + "\n");
    };
    row(["", "loss", "batch", "rate", "warmup", "cosine", "betas", "clip", "ema", "length"]);
    for name in DistillSettings::PRESETS {
        let Some(recipe) = DistillSettings::preset(name) else { continue };
        let of = match recipe.reduction {
            Reduction::Sum => "sum",
            Reduction::Mean => "mean",
        };
        let length = match recipe.epochs {
            0 => format!("{} steps", recipe.steps),
            epochs => format!("{epochs} epochs"),
        };
        row([
            name,
            &format!("{} {of}", if recipe.loss == Loss::L1 { "l1" } else { "l2" }),
            &recipe.batch.to_string(),
            &format!("{:e}", recipe.rate),
            &recipe.warmup.to_string(),
            &recipe.cosine.to_string(),
            &format!("{},{}", recipe.betas[0], recipe.betas[1]),
            &recipe.clip.to_string(),
            &recipe.ema.to_string(),
            &length,
        ]);
    }
    text.trim_end().to_owned()
}

const EXAMPLES: &str = "\
Examples:
  onestep distill --teacher teacher.safetensors --pairs pairs/ --out run/
  onestep distill --teacher MODEL --pairs pairs/ --preset cifar10 --out run/
  onestep distill --teacher MODEL --online --ddim-steps 50 --steps 20000 --out run/
  onestep distill --teacher MODEL --progressive --images faces/ --ddim-steps 16 --steps 5000 --out run/
  onestep distill --teacher MODEL --pairs pairs/ --lpips lpips.pth --lpips-weight 0.5 --out run/

LPIPS needs a network that is not part of onestep. The Python package `lpips` writes it:
  torch.save(lpips.LPIPS(net=\"vgg\").state_dict(), \"lpips.pth\")
or net=\"alex\"; the same tensors as .safetensors do too. VGG16 needs images of 16 x 16 at least, AlexNet of 31 x 31.";

/// Each in place of the recipe's.
#[derive(clap::Args)]
#[command(next_help_heading = "Learning (each in place of the recipe's)")]
struct Learning {
    /// l1 or l2: the distance to the teacher's image, which one call draws. paired: the paired consistency loss (Lee et al. 2024), at
    /// every level of noise; such a student draws in one call, and better in two (sample --steps 2)
    #[arg(long, value_parser = choice(&[("l1", Loss::L1), ("l2", Loss::L2), ("paired", Loss::Paired)]))]
    loss: Option<Loss>,
    /// What it is divided by: the images (sum), or all values (mean)
    #[arg(long, value_parser = choice(&[("sum", Reduction::Sum), ("mean", Reduction::Mean)]))]
    reduction: Option<Reduction>,
    /// A network whose LPIPS distance to the target is added (VGG16 or AlexNet; see below)
    #[arg(long, value_name = "FILE")]
    lpips: Option<PathBuf>,
    /// What that is multiplied by; it is a mean over images, whatever the reduction
    #[arg(long, value_name = "W")]
    lpips_weight: Option<f64>,
    /// Weight of distribution matching beside the loss (DMD: Yin et al. 2024), such as 0.03; 0 for none. The teacher, and a network
    /// that follows what the student draws, are in memory too (--dry-run says how much), and a step takes about four times as long
    #[arg(long, value_name = "W", allow_negative_numbers = true)]
    dmd: Option<f64>,
    /// Weight of an adversarial loss beside the loss (Goodfellow et al. 2014), such as 0.02; 0 for none: a second network learns to tell
    /// what the student draws from --images. For a student that has learnt of pairs (--init); a step takes about four times as long
    #[arg(
        long,
        value_name = "W",
        allow_negative_numbers = true,
        requires = "images",
        conflicts_with = "progressive"
    )]
    adversarial: Option<f64>,
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
    #[arg(long, value_name = "B1,B2", value_parser = parse_betas)]
    betas: Option<[f64; 2]>,
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
    #[arg(long, value_name = "N", conflicts_with = "optimiser_steps")]
    epochs: Option<u64>,
    /// Steps of the optimiser, in place of epochs
    #[arg(id = "optimiser_steps", long = "steps", alias = "learn-steps", value_name = "N")]
    steps: Option<u64>,
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
    together(args.running.mpi, |group| distill(args, group)).map_err(|error| match error {
        // The library knows one kind of steps in each place; here `--steps` are the optimiser's, which any number of is right.
        Error::InvalidArgument { argument: "steps", message } => {
            Error::InvalidArgument { argument: "ddim_steps", message }
        }
        other => other,
    })
}

fn distill(args: &Args, group: &Group) -> Result<()> {
    let recipe = match &args.config {
        Some(path) => read_settings(path)?,
        None => DistillSettings::preset(&args.preset)
            .ok_or_else(|| usage("--preset", format!("{} is none", args.preset)))?,
    };
    let machine = [("--device", args.device.is_some()), ("--precision", args.precision.is_some())];
    let machine = machine.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag);
    let given = args.drawing.given().or(machine);
    if let (Some(_), false, Some(flag)) = (&args.pairs, args.progressive, given) {
        return Err(usage(flag, "the pairs are drawn already (--steps counts those of the optimiser)"));
    }
    let settings = args.learning.over(recipe);
    args.check_images(&settings)?;
    let run = DistillRun {
        settings,
        teacher: args.teacher.clone(),
        init: args.init.clone(),
        pairs: args.pairs_from()?,
        real: args.images.clone().filter(|_| !args.progressive),
        out: args.running.out.clone(),
        threads: args.running.threads(),
        drawing: Options {
            device: args.device.clone().unwrap_or_default(),
            precision: args.precision.unwrap_or_default(),
            clip_sample: args.drawing.clip_sample,
            ..Options::default()
        },
        run_options: args.running.run_options(group)?,
    };
    if !args.progressive {
        return one(args, group, &run);
    }
    let mut teacher = args.teacher.clone();
    let mut sampler = args.drawing.sampler(&args.teacher)?;
    for Round { steps, out } in
        rounds(&run.out, args.drawing.steps() as usize, args.drawing.student_steps.unwrap_or(1))?
    {
        let images = match (&args.images, &args.pairs) {
            (Some(images), _) => ImagesFrom::Pictures(images.clone()),
            (None, pairs) => ImagesFrom::Pairs(pairs.clone().unwrap_or_default()),
        };
        let pairs = PairsFrom::Halving { sampler, images, batch: args.drawing.teacher_batch };
        args.running.watcher(group).say(&format!("{} steps into {steps}: {}", 2 * steps, out.display()));
        let (settings, drawing, run_options) =
            (run.settings.clone(), run.drawing.clone(), run.run_options.clone());
        let made = one(
            args,
            group,
            &DistillRun {
                settings,
                teacher,
                init: None,
                real: None,
                pairs,
                out: out.clone(),
                drawing,
                run_options,
                ..run
            },
        );
        // No process opens the model before process 0 has written it.
        group.agree(made)?;
        // Each student knows its own steps.
        (teacher, sampler) = (out.join(MODEL), Sampler::default());
    }
    Ok(())
}

/// One run, as people see it.
fn one(args: &Args, group: &Group, run: &DistillRun) -> Result<()> {
    let judge = args.running.judge(group, &run.out, args.images.as_deref(), &run.run_options)?;
    let watcher = RefCell::new(args.running.watcher_in(group, &run.out).judged(judge));
    let outcome = run.run(&mut |event| watcher.borrow_mut().see(event));
    if !group.leads() {
        return outcome.map(drop);
    }
    if let (PairsFrom::Folder { path, .. }, Ok(Outcome { steps: 1.., .. })) = (&run.pairs, &outcome) {
        watcher.borrow_mut().compare(path, run.run_options.cancel.as_ref());
    }
    watcher.borrow().end(outcome)
}

impl Args {
    /// That `--images` is given for something.
    fn check_images(&self, settings: &DistillSettings) -> Result<()> {
        match (&self.images, &self.pairs) {
            (Some(_), Some(_)) if self.progressive => {
                Err(usage("--images", "--pairs has images to noise already"))
            }
            (Some(_), _) if !self.progressive && settings.adversarial == 0.0 => {
                Err(usage("--images", "neither --progressive nor --adversarial asks for any"))
            }
            (Some(_), None) if !self.progressive && !self.online => {
                Err(usage("--pairs", "not given, nor --online: a student learns of pairs"))
            }
            _ => Ok(()),
        }
    }

    fn pairs_from(&self) -> Result<PairsFrom> {
        Ok(match &self.pairs {
            Some(path) => PairsFrom::Folder {
                path: path.clone(),
                verify: !self.no_verify,
                student_steps: self.drawing.student_steps,
            },
            None => PairsFrom::Online {
                sampler: self.drawing.sampler(&self.teacher)?,
                student_steps: self.drawing.student_steps.unwrap_or(1),
                ring: self.ring,
                fresh: self.fresh,
                batch: self.drawing.teacher_batch,
            },
        })
    }
}

impl Learning {
    fn over(&self, recipe: DistillSettings) -> DistillSettings {
        let counted = self.steps.is_some();
        DistillSettings {
            loss: self.loss.unwrap_or(recipe.loss),
            reduction: self.reduction.unwrap_or(recipe.reduction),
            lpips: self.lpips.clone().or(recipe.lpips),
            lpips_weight: self.lpips_weight.unwrap_or(recipe.lpips_weight),
            dmd: self.dmd.unwrap_or(recipe.dmd),
            adversarial: self.adversarial.unwrap_or(recipe.adversarial),
            batch: self.batch.unwrap_or(recipe.batch),
            accumulate: self.accumulate.unwrap_or(recipe.accumulate),
            rate: self.rate.unwrap_or(recipe.rate),
            warmup: self.warmup.unwrap_or(recipe.warmup),
            cosine: self.cosine.unwrap_or(recipe.cosine),
            betas: self.betas.unwrap_or(recipe.betas),
            keras_adam: self.keras_adam.unwrap_or(recipe.keras_adam),
            clip: self.clip.unwrap_or(recipe.clip),
            ema: self.ema.unwrap_or(recipe.ema),
            epochs: if counted { 0 } else { self.epochs.unwrap_or(recipe.epochs) },
            steps: if self.epochs.is_some() { 0 } else { self.steps.unwrap_or(recipe.steps) },
            test_every: self.test_every.unwrap_or(recipe.test_every),
            test: self.test.unwrap_or(recipe.test),
            seed: self.seed.unwrap_or(recipe.seed),
            ..recipe
        }
    }
}
