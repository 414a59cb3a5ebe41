//! `onestep train`, `pairs` and `distill`, and what people look at meanwhile.

mod curves;
pub mod distill;
mod events;
mod judge;
pub mod pairs;
mod standing;
mod teaching;
pub mod train;
mod watch;

use crate::report::{io_error, usage};
use onestep::Result;
use onestep::train::Group;
use std::path::Path;

/// Runs a command by this process alone, or with `--mpi` by all that were started with it.
pub fn together(mpi: bool, run: impl FnOnce(&Group) -> Result<()>) -> Result<()> {
    let group = if mpi { Group::mpi()? } else { Group::alone() };
    let result = group.close(run(&group));
    // Process 0 speaks for all. A launcher ends the whole job when one process fails, and process 0 might be cut short.
    if group.leads() { result } else { Ok(()) }
}

/// Settings from a TOML file.
fn read_settings<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| io_error(path, error))?;
    toml::from_str(&text).map_err(|error| usage("--config", format!("{}: {error}", path.display())))
}

/// Decay rates of Adam's moments, `0.9,0.98`.
fn parse_betas(text: &str) -> Result<[f64; 2], String> {
    let beta = |text: &str| text.trim().parse().ok();
    let pair = text.split_once(',').and_then(|(first, second)| beta(first).zip(beta(second)));
    pair.map(|(first, second)| [first, second]).ok_or("two numbers, as in 0.9,0.98".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn betas_are_a_pair() {
        assert_eq!(parse_betas("0.9,0.99"), Ok([0.9, 0.99]));
        assert!(["0.9", "0.9,", "0.9,0.98,0.99", "a,b", ""].iter().all(|text| parse_betas(text).is_err()));
    }
}
