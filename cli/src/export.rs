//! `onestep export`.

use crate::args::check_there;
use crate::report::say;
use onestep::{Result, weights};
use std::path::PathBuf;

/// Write a native file as a diffusers folder
#[derive(clap::Args)]
#[command(after_help = "\
Example:
  onestep export teacher.safetensors teacher/
  python -c 'from diffusers import UNet2DModel; UNet2DModel.from_pretrained(\"teacher/unet\")'")]
pub struct Args {
    /// A native .safetensors file
    model: PathBuf,
    /// The folder to make; it must not exist, or be empty
    dir: PathBuf,
}

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    check_there(&args.model)?;
    weights::export(&args.model, &args.dir)?;
    say(format!("diffusers folder: {}", args.dir.display()));
    Ok(())
}
