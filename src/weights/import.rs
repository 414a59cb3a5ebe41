//! Any readable model to a native file.

use super::{Description, StoredType, open, write};
use crate::error::{Error, Result};
use crate::exec::cpu::{Cpu, CpuDevice};
use crate::model::{Config, Role, UNet};
use crate::names::Named;
use std::path::Path;

/// What to change on the way.
#[derive(Clone, Debug, Default)]
pub struct ImportOptions {
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

/// Reads a diffusers folder or a native file at `source`, checks that every tensor fits the network, and writes
/// a native file at `out`.
pub fn import(source: &Path, out: &Path, options: &ImportOptions) -> Result<Report> {
    let checkpoint = open(source, u64::MAX)?;
    let config = checkpoint.config(options.role)?;
    // Preparing the network reads every tensor: a missing, superfluous or non-finite one is found now.
    UNet::<Cpu>::new(&config.network, &checkpoint, &CpuDevice::default())?;
    checkpoint.check_all_used()?;

    let description = Description {
        role: Some(config.generator.role().name().into()),
        provenance: options
            .provenance
            .clone()
            .map(Into::into)
            .or_else(|| checkpoint.description().provenance.clone()),
        ..checkpoint.description().clone()
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
