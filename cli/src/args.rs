//! Arguments that several subcommands share.

use crate::interrupt;
use crate::meter::Meter;
use crate::report::{io_error, say_notes, usage};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use onestep::model::{Network, Spacing};
use onestep::sampler::{Kind, Sampler};
use onestep::{
    Cancel, ClipSample, CudaConvolutions, ExecutorKind, MemoryMode, Model, Named, Options, Precision, Result,
};
use std::path::{Path, PathBuf};

/// Where and how the network runs.
#[derive(clap::Args)]
#[command(next_help_heading = "Machine")]
pub struct Machine {
    /// Device: auto, or one that `onestep devices` lists; `sample` and `interpolate` also take cuda:all, which spreads a
    /// job's batches over all CUDA devices
    #[arg(long, value_name = "ID", default_value = "auto")]
    pub device: String,
    /// Arithmetic of the network; auto is the device's default, f32 on the CPU and bf16 on CUDA
    #[arg(long, default_value = "auto", value_parser = named::<Precision>())]
    pub precision: Precision,
    /// Which implementation: the library's own, or plain loops, which are slow
    #[arg(long, default_value = "fast", value_parser = named::<ExecutorKind>())]
    pub executor: ExecutorKind,
    /// Whose convolutions run on CUDA: the library's own, or those of cuDNN 9, tuned when a batch size is first met
    #[arg(long, default_value = "own", value_parser = named::<CudaConvolutions>())]
    pub cuda_convolutions: CudaConvolutions,
    /// Speed or size, where they conflict
    #[arg(long, default_value = "fast", value_parser = named::<MemoryMode>())]
    pub memory: MemoryMode,
}

impl Machine {
    /// The devices of a job: one, or all of CUDA's.
    pub fn devices(&self) -> Result<Vec<String>> {
        if self.device != "cuda:all" {
            return Ok(vec![self.device.clone()]);
        }
        let cuda = |id: &String| id.starts_with("cuda:");
        let found: Vec<String> =
            onestep::devices().into_iter().map(|device| device.id).filter(cuda).collect();
        // The first one's own error says why there are none.
        Ok(if found.is_empty() { vec!["cuda:0".to_owned()] } else { found })
    }

    /// The library's options, with no cancel token and no progress.
    pub fn options(&self) -> Options {
        Options {
            device: self.device.clone(),
            precision: self.precision,
            executor: self.executor,
            memory: self.memory,
            cuda_convolutions: self.cuda_convolutions,
            ..Options::default()
        }
    }

    /// The options of a command that Ctrl-C ends and that shows its progress.
    pub fn interactive_options(
        &self,
        threads: u32,
        clip_sample: ClipSample,
        meter: &Meter,
    ) -> Result<Options> {
        let cancel: Cancel = interrupt::cancel_on_ctrl_c()?;
        Ok(Options {
            threads,
            clip_sample,
            cancel: Some(cancel),
            progress: Some(meter.progress()),
            ..self.options()
        })
    }
}

/// Threads of a session.
#[derive(clap::Args)]
#[command(next_help_heading = "Machine")]
pub struct Threads {
    /// CPU threads, at most 1024; 0: all that this process may use. The pixels do not depend on it
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1024))]
    pub threads: u32,
}

/// How a teacher samples.
#[derive(clap::Args)]
#[command(
    next_help_heading = "Sampling (teachers and consistency models; a student draws in one network call)"
)]
pub struct Sampling {
    /// Reverse process [default: ddim, or the consistency model's]
    #[arg(long, value_parser = named::<Kind>())]
    pub sampler: Option<Kind>,
    /// Network calls an image [default: the model's own]
    #[arg(long, visible_alias = "ddim-steps", value_name = "K", value_parser = clap::value_parser!(u32).range(1..))]
    pub steps: Option<u32>,
    /// Where the timesteps lie [default: as the file says]
    #[arg(long, value_parser = named::<Spacing>())]
    pub spacing: Option<Spacing>,
    /// Explicit timesteps, descending, in place of --steps and --spacing; of a consistency model, noise levels, ascending from 0,
    /// the most noise
    #[arg(long, alias = "schedule", value_name = "T1,T2,...", value_delimiter = ',',
        conflicts_with_all = ["steps", "spacing"])]
    pub timesteps: Option<Vec<i32>>,
    /// Fresh noise of DDIM's steps, 0 (none) to 1 [default: 0]; DDPM has its own
    #[arg(long, value_parser = parse_eta)]
    pub eta: Option<f32>,
    /// Classifier-free guidance of a teacher that was trained with --drop-labels: none + W (label - none), at two calls a step; 1 is
    /// none
    #[arg(long, value_name = "W", value_parser = parse_guidance, allow_negative_numbers = true)]
    pub guidance: Option<f32>,
    /// Clamp the estimate of the image at each step
    #[arg(long, default_value = "file", value_parser = named::<ClipSample>())]
    pub clip_sample: ClipSample,
}

impl Sampling {
    /// The sampler asked for; none where no argument names any, for the model's default.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for an eta that DDPM would not read.
    pub fn sampler(&self) -> Result<Option<Sampler>> {
        if let (Some(Kind::Ddpm), Some(eta)) = (self.sampler, self.eta) {
            return Err(usage("--eta", format!("{eta} given, but only --sampler ddim has one")));
        }
        let asked = self.sampler.is_some()
            || self.steps.is_some()
            || self.spacing.is_some()
            || self.timesteps.is_some()
            || self.eta.is_some()
            || self.guidance.is_some();
        Ok(asked.then(|| Sampler {
            kind: self.sampler,
            spacing: self.spacing,
            steps: self.steps,
            eta: self.eta.unwrap_or(0.0),
            timesteps: self.timesteps.clone(),
            until: None,
            guidance: self.guidance,
        }))
    }
}

/// The model of a subcommand.
#[derive(clap::Args)]
pub struct ModelPath {
    /// A native .safetensors file, a diffusers folder, or another checkpoint that says what it is; `onestep import` reads the rest
    /// [default: the student inside this command]
    pub model: Option<PathBuf>,
}

impl ModelPath {
    /// Opens the file, or the built-in model, and says what there is to know of it.
    pub fn open(&self, options: &Options) -> Result<Model> {
        let model = self.open_silently(options)?;
        say_notes(&model.info().notes);
        Ok(model)
    }

    /// Opens it, for who reports its notes otherwise.
    pub fn open_silently(&self, options: &Options) -> Result<Model> {
        match &self.model {
            Some(path) => {
                check_there(path)?;
                Model::open(path, options)
            }
            None => Model::open_default(options),
        }
    }

    /// The model's name in reports.
    pub fn name(&self) -> String {
        self.model.as_deref().map_or("(built-in)".into(), |path: &Path| path.display().to_string())
    }
}

/// An error that says more of a model that is not there than the system does.
pub fn check_there(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok_and(|_| path.exists()) {
        return Ok(());
    }
    let parts = path.components().count();
    let reason = match parts == 2 && path.is_relative() && path.extension().is_none() {
        true => {
            "no such file or folder (a model of a hub is not fetched by its name: `hf download NAME --local-dir DIR`)"
        }
        false => "no such file or folder",
    };
    Err(io_error(path, std::io::Error::new(std::io::ErrorKind::NotFound, reason)))
}

/// One value of `--label`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Label {
    /// Every class in turn.
    All,
    /// One class.
    One(i32),
    /// No class, of a model that was trained without labels too.
    Without,
}

/// Parses one value of `--label`.
pub fn parse_label(text: &str) -> Result<Label, String> {
    match text {
        "all" => Ok(Label::All),
        "none" => Ok(Label::Without),
        _ => text.parse().map(Label::One).map_err(|_| "a class number, `all` or `none`".into()),
    }
}

/// The labels that images take in turn: those asked for, else all classes; none for an unconditional model.
pub fn resolve_labels(asked: &[Label], network: &Network) -> Result<Option<Vec<i32>>> {
    let Some(classes) = network.num_classes else {
        return match asked {
            [] => Ok(None),
            _ => Err(usage("--label", "this model is unconditional and takes no labels")),
        };
    };
    let asked = if asked.is_empty() { &[Label::All] } else { asked };
    let mut labels = Vec::new();
    for label in asked {
        match *label {
            Label::All => labels.extend(0..classes as i32),
            Label::Without => labels.push(network.null_label().ok_or_else(|| {
                usage(
                    "--label",
                    "none given, but this model was not trained without labels (train teacher --drop-labels)",
                )
            })?),
            Label::One(label) if (0..classes as i64).contains(&i64::from(label)) => labels.push(label),
            Label::One(label) => {
                let message = format!("{label} given, the labels of this model are 0 to {}", classes - 1);
                return Err(usage("--label", message));
            }
        }
    }
    Ok(Some(labels))
}

/// A parser of a type of the library whose values have names; they appear in the help.
pub fn named<T: Named + Send + Sync>() -> impl TypedValueParser<Value = T> {
    choice(T::NAMES)
}

/// A parser of these values; their names appear in the help.
pub fn choice<T: Copy + Send + Sync + 'static>(
    choices: &'static [(&'static str, T)],
) -> impl TypedValueParser<Value = T> {
    PossibleValuesParser::new(choices.iter().map(|choice| choice.0)).try_map(move |name| {
        let found = choices.iter().find(|choice| choice.0 == name);
        found.map(|choice| choice.1).ok_or("not one of the possible values")
    })
}

/// Parses a part of a job, `I/N`.
#[cfg(feature = "metrics")]
pub fn parse_part(text: &str) -> Result<(usize, usize), String> {
    let wrong = || "I/N, where I is 0 to N - 1".to_owned();
    let (part, parts) = text.split_once('/').ok_or_else(wrong)?;
    let (part, parts) = (part.parse().map_err(|_| wrong())?, parts.parse().map_err(|_| wrong())?);
    if part < parts { Ok((part, parts)) } else { Err(wrong()) }
}

/// Parses `--guidance`.
pub fn parse_guidance(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(scale) if scale.is_finite() => Ok(scale),
        _ => Err("a finite number".into()),
    }
}

fn parse_eta(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(eta) if (0.0..=1.0).contains(&eta) => Ok(eta),
        _ => Err("a number from 0 to 1".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_cycle_through_all_classes_by_default_and_are_checked() {
        let network = |num_classes, null_class| Network { num_classes, null_class, ..Network::default() };
        let (none, three, guided) = (network(None, false), network(Some(3), false), network(Some(3), true));
        assert_eq!(resolve_labels(&[], &none).unwrap(), None);
        assert_eq!(resolve_labels(&[], &three).unwrap(), Some(vec![0, 1, 2]));
        assert_eq!(resolve_labels(&[], &guided).unwrap(), Some(vec![0, 1, 2]));
        assert_eq!(resolve_labels(&[Label::One(2), Label::One(2)], &three).unwrap(), Some(vec![2, 2]));
        assert_eq!(resolve_labels(&[Label::Without, Label::One(0)], &guided).unwrap(), Some(vec![3, 0]));
        let refused = |asked: Label, network| resolve_labels(&[asked], network).unwrap_err().to_string();
        assert!(refused(Label::One(3), &three).contains("0 to 2"));
        assert!(refused(Label::Without, &three).contains("--drop-labels"));
        assert!(resolve_labels(&[Label::One(-1)], &three).is_err());
        assert!(resolve_labels(&[Label::All], &none).is_err());
    }

    #[cfg(feature = "metrics")]
    #[test]
    fn parts_are_counted_from_zero() {
        assert_eq!(parse_part("0/1"), Ok((0, 1)));
        assert_eq!(parse_part("63/64"), Ok((63, 64)));
        assert!(["64/64", "1", "a/2", "-1/2", "0/0"].iter().all(|text| parse_part(text).is_err()));
    }
}
