//! `onestep train`, `pairs` and `distill`, and what people look at meanwhile.

mod curves;
pub mod distill;
pub mod pairs;
mod teaching;
pub mod train;
mod watch;

use crate::report::{io_error, usage};
use onestep::Result;
use std::path::Path;

/// Settings from a TOML file.
fn read_settings<T: serde::de::DeserializeOwned>(path: &Path) -> Result<T> {
    let text = std::fs::read_to_string(path).map_err(|error| io_error(path, error))?;
    toml::from_str(&text).map_err(|error| usage("--config", format!("{}: {error}", path.display())))
}
