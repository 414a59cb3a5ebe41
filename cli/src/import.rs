//! `onestep import`.

use crate::args::{choice, named};
use crate::info::mebibytes;
use crate::report::{say, usage};
use onestep::model::Role;
use onestep::weights::{ImportOptions, StoredType};
use onestep::{Result, weights};
use std::path::PathBuf;

/// Convert a diffusers folder to a native file, or store a native file anew
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  onestep import google-ddpm-cifar10-32/ teacher.safetensors
  onestep import student-folder/ student.safetensors --role student --dtype f16")]
pub struct Args {
    /// A diffusers folder, a native .safetensors file, or with --config a file of another library's
    source: PathBuf,
    /// The file to write: a native .safetensors
    out: PathBuf,
    /// What the network is [default: what the source says, else teacher]
    #[arg(long, value_parser = named::<Role>())]
    role: Option<Role>,
    /// What SOURCE is, as JSON in its library's own words: the flags of OpenAI's programs with `format`, or the arguments
    /// of EDM's networks with `precond`
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// How weights are stored [default: as in the source]
    #[arg(long, value_parser = choice(&[
        ("f32", StoredType::F32), ("f16", StoredType::F16), ("bf16", StoredType::Bf16)]))]
    dtype: Option<StoredType>,
    /// Where the weights come from, in words, kept in the file [default: what the source says]
    #[arg(long, value_name = "TEXT")]
    provenance: Option<String>,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    if args.out.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(usage("OUT", "the name of a native file ends in .safetensors"));
    }
    let options = ImportOptions {
        config: args.config.clone(),
        role: args.role,
        dtype: args.dtype,
        provenance: args.provenance.clone(),
    };
    let report = weights::import(&args.source, &args.out, &options)?;
    for note in &report.notes {
        say(format!("note: {note}"));
    }
    let (role, size) = (report.config.generator.kind(), report.config.network.size);
    say(format!(
        "{role}, {} x {} pixels, {} parameters, {}: {}",
        size.1,
        size.0,
        report.parameters,
        mebibytes(report.weight_bytes),
        args.out.display()
    ));
    Ok(())
}
