//! Any readable model to a native file.

use super::{Checkpoint, Description, Hints, StoredType, open_with, write};
use crate::error::{Error, Result};
use crate::exec::inspect::Inspect;
use crate::model::{Config, Role, UNet};
use crate::options::{Cancel, Progress};
use serde_json::{Map, Value, json};
use std::path::Path;

/// What to change on the way.
#[derive(Clone, Default)]
pub struct ImportOptions {
    /// What the source does not say of itself.
    pub hints: Hints,
    /// The role to write down; none: what the source says, else teacher.
    pub role: Option<Role>,
    /// How to store the weights; none: as they are.
    pub dtype: Option<StoredType>,
    /// Where the weights come from, in words, beside what is known of the source's file.
    pub provenance: Option<String>,
    /// Progress of writing, in tensors.
    pub progress: Option<Progress>,
    /// Ends the work, and leaves nothing.
    pub cancel: Option<Cancel>,
}

/// What was imported.
#[derive(Clone, Debug)]
pub struct Report {
    /// The model.
    pub config: Config,
    /// Whose format the source is in.
    pub format: &'static str,
    /// Its parameters.
    pub parameters: u64,
    /// Bytes of the weights written.
    pub weight_bytes: u64,
    /// What a user should know.
    pub notes: Vec<String>,
}

/// Reads a model at `source`, checks that every tensor fits the network and is finite, and writes a native file at `out`. The source
/// is read in pieces: a tensor at most is in memory at once.
///
/// # Errors
/// BAD_MODEL and UNSUPPORTED_MODEL, which name the file and the tensor or key; INVALID_ARGUMENT for a hint to a model that needs
/// none, or a type that cannot hold the weights; IO; CANCELLED. Nothing is left where it fails.
pub fn import(source: &Path, out: &Path, options: &ImportOptions) -> Result<Report> {
    let checkpoint = open_with(source, &options.hints, u64::MAX)?;
    let config = checkpoint.config(options.role)?;
    UNet::<Inspect>::new(&config.network, &checkpoint, &())?;
    checkpoint.check_all_used()?;

    let provenance = provenance(&checkpoint, source, options.provenance.as_deref())?;
    let description = Description { provenance, ..checkpoint.description().with_role(options.role) };
    let text = serde_json::to_string(&description).map_err(|e| Error::Internal(e.to_string()))?;
    let watch = write::Watch { progress: options.progress.as_ref(), cancel: options.cancel.as_ref() };
    write::write(&checkpoint, out, options.dtype, Some(&text), watch)?;
    Ok(Report {
        config,
        format: checkpoint.format(),
        parameters: checkpoint.parameters(),
        weight_bytes: options
            .dtype
            .map_or(checkpoint.weight_bytes(), |t| checkpoint.parameters() * t.size() as u64),
        notes: checkpoint.notes().to_vec(),
    })
}

/// Where the weights come from: what a native file says of it, or the file's name, format and checksums.
fn provenance(checkpoint: &Checkpoint, source: &Path, said: Option<&str>) -> Result<Option<Value>> {
    if checkpoint.format() == super::native::FORMAT {
        return Ok(said.map(Value::from).or_else(|| checkpoint.description().provenance.clone()));
    }
    let name = |path: &Path| path.file_name().map(|name| name.to_string_lossy().into_owned());
    let mut provenance = json!({"source": name(source), "format": checkpoint.format()});
    if let Some(checksums) = checksums(checkpoint)? {
        provenance["sha256"] = checksums.into();
    }
    if !checkpoint.notes().is_empty() {
        provenance["notes"] = checkpoint.notes().into();
    }
    if let Some(said) = said {
        provenance["said"] = said.into();
    }
    if let Some(before) = &checkpoint.description().provenance {
        provenance["before"] = before.clone();
    }
    Ok(Some(provenance))
}

/// SHA-256 of each file of weights, by its name: what model hubs print beside it.
#[cfg(feature = "formats")]
fn checksums(checkpoint: &Checkpoint) -> Result<Option<Map<String, Value>>> {
    use sha2::{Digest, Sha256};
    let mut sums = Map::new();
    for source in checkpoint.sources.iter().filter(|source| source.is_file()) {
        let mut hasher = Sha256::new();
        super::source::pieces(&**source, 0..source.len(), |piece| hasher.update(piece))?;
        let digest: String = hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        let name = Path::new(source.name()).file_name().unwrap_or_default();
        sums.insert(name.to_string_lossy().into_owned(), digest.into());
    }
    Ok(Some(sums))
}

#[cfg(not(feature = "formats"))]
fn checksums(_: &Checkpoint) -> Result<Option<Map<String, Value>>> {
    Ok(None)
}
