//! Image files: PNG and JPEG, and folders of them.

#[cfg(feature = "train")]
mod fitted;
mod picture;

pub use picture::Picture;
#[cfg(test)]
pub use picture::testing;

use crate::error::{Error, Result};
use crate::log::{Level, log};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files below `folder` that are called images, in the order of their names. A folder is read once, whatever links lead to
/// it.
///
/// # Errors
/// IO.
pub fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    collect(folder, &mut BTreeSet::new(), &mut files)?;
    files.sort();
    Ok(files)
}

fn collect(folder: &Path, seen: &mut BTreeSet<PathBuf>, files: &mut Vec<PathBuf>) -> Result<()> {
    let failed = |e| Error::io(folder, e);
    if !seen.insert(folder.canonicalize().map_err(failed)?) {
        log(Level::Warn, || format!("{}: left out: it was read under another name", folder.display()));
        return Ok(());
    }
    let entries = std::fs::read_dir(folder).map_err(failed)?;
    let paths = entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>();
    let mut paths = paths.map_err(failed)?;
    // Links after what they may lead to.
    paths.sort_by_cached_key(|path| (path.is_symlink(), path.clone()));
    for path in paths {
        if path.is_dir() {
            collect(&path, seen, files)?;
            continue;
        }
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        if extension.is_some_and(|extension| ["png", "jpg", "jpeg"].contains(&extension.as_str())) {
            files.push(path);
        }
    }
    Ok(())
}
