//! The command `onestep`: one file a subcommand, over the library's public interface alone.
//!
//! Pictures and JSON go where the caller said; everything meant for a person goes to stderr.

#![forbid(unsafe_code)]

mod args;
mod bench;
mod devices;
mod draw;
#[cfg(feature = "metrics")]
mod eval;
mod export;
mod import;
mod info;
mod interpolate;
mod interrupt;
mod meter;
mod output;
mod pack;
mod packaging;
mod report;
mod sample;
#[cfg(feature = "train")]
mod training;

use clap::{CommandFactory, Parser, Subcommand};
use std::process::ExitCode;

/// Draws images with diffusion U-Nets and the one-step students distilled from them.
#[derive(Parser)]
#[command(name = "onestep", version, arg_required_else_help = true, max_term_width = 100)]
#[command(after_help = "\
Examples:
  onestep sample --out portraits.png           a labelled grid from the built-in student
  onestep sample MODEL --count 64 --out faces/ one PNG an image
  onestep interpolate --from 1 --to 2 --out strip.png
  onestep info MODEL --json

Exit codes: 0 done, 1 error, 2 wrong arguments, 130 cancelled.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Sample(sample::Args),
    Interpolate(interpolate::Args),
    Info(info::Args),
    Devices(devices::Args),
    Bench(bench::Args),
    Import(import::Args),
    Export(export::Args),
    Pack(pack::Args),
    Completions(packaging::Completions),
    Man(packaging::Man),
    #[cfg(feature = "train")]
    Train(training::train::Args),
    #[cfg(feature = "train")]
    Pairs(training::pairs::Args),
    #[cfg(feature = "train")]
    Distill(Box<training::distill::Args>),
    #[cfg(feature = "metrics")]
    Eval(Box<eval::Args>),
}

fn main() -> ExitCode {
    let result = match &Cli::parse().command {
        Command::Sample(args) => sample::run(args),
        Command::Interpolate(args) => interpolate::run(args),
        Command::Info(args) => info::run(args),
        Command::Devices(args) => devices::run(args),
        Command::Bench(args) => bench::run(args),
        Command::Import(args) => import::run(args),
        Command::Export(args) => export::run(args),
        Command::Pack(args) => pack::run(args),
        Command::Completions(args) => args.run(),
        Command::Man(args) => args.run(),
        #[cfg(feature = "train")]
        Command::Train(args) => training::train::run(args),
        #[cfg(feature = "train")]
        Command::Pairs(args) => training::pairs::run(args),
        #[cfg(feature = "train")]
        Command::Distill(args) => training::distill::run(args),
        #[cfg(feature = "metrics")]
        Command::Eval(args) => eval::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => report::failure(&error, &asked()),
    }
}

/// The subcommand that was asked for, as its arguments are defined.
fn asked() -> clap::Command {
    let mut command = Cli::command();
    for word in std::env::args_os().skip(1) {
        match word.to_str().and_then(|word| command.find_subcommand(word)) {
            Some(sub) => command = sub.clone(),
            None => break,
        }
    }
    command
}
