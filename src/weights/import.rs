//! Any readable model to a native file.

use super::{Description, StoredType, open, open_with, write};
use crate::error::{Error, Result};
use crate::exec::cpu::{Cpu, CpuDevice};
use crate::model::{Config, Role, UNet};
use std::path::{Path, PathBuf};

/// What to change on the way.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
    /// A file of JSON that says what a file of another library's is, in that library's own words: the flags of OpenAI's
    /// programs with `format`, or the arguments of EDM's networks with `precond`; none for a diffusers folder and a native
    /// file.
    pub config: Option<PathBuf>,
    /// The role to write down; none: what the source says, else teacher.
    pub role: Option<Role>,
    /// How to store the weights; none: as they are.
    pub dtype: Option<StoredType>,
    /// Where the weights come from, in words; none keeps what the source says.
    pub provenance: Option<String>,
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Report {
    /// The model.
    pub config: Config,
    /// Its parameters.
    pub parameters: u64,
    /// Bytes of the weights written.
    pub weight_bytes: u64,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Reads a diffusers folder, a native file, or with a `config` another library's file at `source`, checks that every tensor fits the network, and writes
/// a native file at `out`.
pub fn import(source: &Path, out: &Path, options: &ImportOptions) -> Result<Report> {
    let checkpoint = match &options.config {
        Some(config) => open_with(source, config, u64::MAX)?,
        None => open(source, u64::MAX)?,
    };
    let config = checkpoint.config(options.role)?;
    // Preparing the network reads every tensor: a missing, superfluous or non-finite one is found now.
    UNet::<Cpu>::new(&config.network, &checkpoint, &CpuDevice::default())?;
    checkpoint.check_all_used()?;

    let description = Description {
        provenance: options
            .provenance
            .clone()
            .map(Into::into)
            .or_else(|| checkpoint.description().provenance.clone()),
        ..checkpoint.description().with_role(options.role)
    };
    let text = serde_json::to_string(&description).map_err(|e| Error::Internal(e.to_string()))?;
    write::write(&checkpoint, out, options.dtype, Some(&text))?;
    Ok(Report {
        config,
        parameters: checkpoint.parameters(),
        weight_bytes: options
            .dtype
            .map_or(checkpoint.weight_bytes(), |t| checkpoint.parameters() * t.size() as u64),
        notes: checkpoint.notes().to_vec(),
    })
}
