//! `onestep pack`.

use crate::args::{check_there, choice, named};
use crate::info::mebibytes;
use crate::interrupt;
use crate::meter::Meter;
use crate::report::{say, say_notes, usage};
use onestep::model::Role;
use onestep::{Isa, MemoryMode, Model, Named, Options, Precision, Result};
use std::path::{Path, PathBuf};

/// Prepare a model's weights for this processor once, in a file that opens faster
///
/// Opening a packed file reads what it has; opening any other transforms the weights, each time. A packed file has up to 2.4 times
/// the bytes of 32-bit weights, opens on processors with the instruction set that it was packed for, and draws: everything else
/// takes the file that it was made from.
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  onestep pack student.safetensors                 student.avx2.safetensors beside it
  onestep pack student.safetensors --isa avx2      for every processor with AVX2
  onestep sample student.avx2.safetensors --memory map --out faces.png")]
pub struct Args {
    /// What `onestep sample` takes: a native .safetensors file, a diffusers folder, or another checkpoint that says what it is
    model: PathBuf,
    /// The file to write [default: beside MODEL, by its name and the instruction set]
    out: Option<PathBuf>,
    /// The instruction set that it is for: auto is this processor's best, or what ONESTEP_ISA says
    #[arg(long, default_value = "auto", value_parser = choice(ISAS))]
    isa: IsaChoice,
    /// Arithmetic that it is for; auto is f32
    #[arg(long, default_value = "auto", value_parser = named::<Precision>())]
    precision: Precision,
    /// Speed or size, where they conflict
    #[arg(long, default_value = "fast", value_parser = named::<MemoryMode>())]
    memory: MemoryMode,
    /// What the network is [default: what MODEL says, else teacher]
    #[arg(long, value_parser = named::<Role>())]
    role: Option<Role>,
    /// No progress bar
    #[arg(long, short)]
    quiet: bool,
}

/// `auto` is none.
type IsaChoice = Option<Isa>;

const ISAS: &[(&str, IsaChoice)] = &[
    ("auto", None),
    ("portable", Some(Isa::Portable)),
    ("neon", Some(Isa::Neon)),
    ("avx2", Some(Isa::Avx2)),
    ("avx512", Some(Isa::Avx512)),
    ("avx512bf16", Some(Isa::Avx512Bf16)),
];

/// Runs the subcommand.
pub fn run(args: &Args) -> Result<()> {
    check_there(&args.model)?;
    let isa = args.isa.unwrap_or_else(onestep::isa);
    let out = args.out.clone().unwrap_or_else(|| beside(&args.model, isa));
    if out.extension().is_none_or(|extension| extension != "safetensors") {
        return Err(usage("OUT", "the name of a packed file ends in .safetensors"));
    }
    let meter = Meter::new(args.quiet);
    let options = Options {
        device: "cpu".into(),
        precision: args.precision,
        role: args.role,
        memory: args.memory,
        isa: Some(isa),
        progress: Some(meter.progress()),
        cancel: Some(interrupt::cancel_on_ctrl_c()?),
        ..Options::default()
    };
    let info = Model::pack(&args.model, &out, &options)?;
    drop(meter);
    say_notes(&info.notes);
    say(format!(
        "{} parameters, {} for {} in {}: {}",
        info.parameters,
        mebibytes(info.weight_bytes),
        isa.name(),
        info.precision.name(),
        out.display()
    ));
    Ok(())
}

/// `student.avx2.safetensors` beside `student.safetensors`.
fn beside(model: &Path, isa: Isa) -> PathBuf {
    let mut name = model.file_stem().unwrap_or(model.as_os_str()).to_owned();
    name.push(format!(".{}.safetensors", isa.name()));
    model.with_file_name(name)
}
