//! `onestep import`.

use crate::args::{check_there, choice, named};
use crate::info::mebibytes;
use crate::interrupt;
use crate::meter::Meter;
use crate::report::{say, say_notes, usage};
use onestep::model::Role;
use onestep::weights::{Hints, ImportOptions, StoredType};
use onestep::{Named, Result, weights};
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  onestep import google-ddpm-cifar10-32/ teacher.safetensors
  onestep import cifar10_ema_model.h5 student.safetensors --role student --dtype f16
  onestep import cd_imagenet64_lpips.pt imagenet64.safetensors
  onestep import model.pt model.safetensors --config guided-diffusion-64
  onestep import ckpt.pth first.safetensors --key 0";

/// The examples, and the names that `--config` takes.
fn with_names() -> String {
    format!("{EXAMPLES}\n\nNames for --config:\n  {}", weights::published_models().join("\n  "))
}

/// Convert a checkpoint of another library to a native file, or store a native file anew
#[derive(clap::Args)]
#[command(after_help = EXAMPLES, after_long_help = with_names())]
pub struct Args {
    /// A diffusers folder, a training run's checkpoint folder, the paper's .h5, a PyTorch or safetensors state dict, or a native file
    source: PathBuf,
    /// The file to write: a native .safetensors
    out: PathBuf,
    /// What the network is [default: what the source says, else teacher]
    #[arg(long, value_parser = named::<Role>())]
    role: Option<Role>,
    /// What SOURCE does not say of itself: the name of a published model (--help lists them), or a file of JSON in its library's own
    /// words: the flags of OpenAI's programs with `format`, the arguments of EDM's networks with `precond`, the configuration of a
    /// DDIM run [default: by the file's name]
    #[arg(long, value_name = "NAME|FILE")]
    config: Option<PathBuf>,
    /// Which part of a PyTorch file to read: names and places in lists, with points between them [default: an average of the
    /// weights, else the weights]
    #[arg(long, value_name = "PART")]
    key: Option<String>,
    /// What norms add to the variance, which the paper's and DDIM's files do not say [default: 1e-3 and 1e-6]
    #[arg(long, value_name = "EPS", value_parser = positive)]
    group_norm_eps: Option<f32>,
    /// How weights are stored [default: as in the source]
    #[arg(long, value_parser = choice(&[
        ("f32", StoredType::F32), ("f16", StoredType::F16), ("bf16", StoredType::Bf16)]))]
    dtype: Option<StoredType>,
    /// Where the weights come from, in words, kept in the file beside the source's name, format and checksum
    #[arg(long, value_name = "TEXT")]
    provenance: Option<String>,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    if args.out.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(usage("OUT", "the name of a native file ends in .safetensors"));
    }
    check_there(&args.source)?;
    let meter = Meter::new(args.quiet);
    let options = ImportOptions {
        hints: Hints {
            config: args.config.clone(),
            key: args.key.clone(),
            group_norm_eps: args.group_norm_eps,
        },
        role: args.role,
        dtype: args.dtype,
        provenance: args.provenance.clone(),
        progress: Some(meter.progress()),
        cancel: Some(interrupt::cancel_on_ctrl_c()?),
    };
    let report = weights::import(&args.source, &args.out, &options)?;
    drop(meter);
    say_notes(&report.notes);
    let (role, size) = (report.config.generator.role().name(), report.config.network.size);
    say(format!(
        "{}: {role}, {} x {} pixels, {} parameters, {}: {}",
        report.format,
        size.1,
        size.0,
        report.parameters,
        mebibytes(report.weight_bytes),
        args.out.display()
    ));
    Ok(())
}

fn positive(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(value) if value > 0.0 && value.is_finite() => Ok(value),
        _ => Err("a positive number".into()),
    }
}
