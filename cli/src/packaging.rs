//! `onestep completions` and `onestep man`: what is installed beside the command.

use crate::Cli;
use crate::report::{io_error, print};
use clap::CommandFactory;
use clap_complete::Shell;
use onestep::Result;
use std::path::PathBuf;

/// Print a shell's completions
#[derive(clap::Args)]
#[command(after_help = "\
Examples:
  onestep completions bash > ~/.local/share/bash-completion/completions/onestep
  onestep completions zsh > \"${fpath[1]}/_onestep\"
  onestep completions fish > ~/.config/fish/completions/onestep.fish")]
pub struct Completions {
    /// The shell
    shell: Shell,
}

/// Write the manual pages: onestep.1 and one a subcommand
#[derive(clap::Args)]
pub struct Man {
    /// Folder for the pages, which is made where it is missing
    #[arg(short, long, value_name = "DIR")]
    out: PathBuf,
}

impl Completions {
    /// Runs the subcommand.
    pub fn run(&self) -> Result<()> {
        let mut text = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "onestep", &mut text);
        print(String::from_utf8_lossy(&text).trim_end())
    }
}

impl Man {
    /// Runs the subcommand.
    pub fn run(&self) -> Result<()> {
        let write = || {
            std::fs::create_dir_all(&self.out)?;
            clap_mangen::generate_to(Cli::command(), &self.out)
        };
        write().map_err(|error| io_error(&self.out, error))
    }
}
