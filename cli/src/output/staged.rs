//! Files that appear whole or not at all.

use crate::report::io_error;
use onestep::Result;
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// Files being written now, for an exit that runs no destructors.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// A file written beside its place and renamed there by [`Staged::commit`]; dropped without, it is removed.
pub struct Staged {
    writer: Option<BufWriter<File>>,
    temporary: PathBuf,
    place: PathBuf,
}

impl Staged {
    /// Opens a hidden file in the folder of `place`, where a rename cannot cross file systems.
    pub fn create(place: &Path) -> Result<Self> {
        let mut name = OsString::from(".");
        name.push(place.file_name().unwrap_or_default());
        name.push(format!(".{}.part", std::process::id()));
        let temporary = place.with_file_name(name);
        unfinished().insert(temporary.clone());
        match OpenOptions::new().write(true).create_new(true).open(&temporary) {
            Ok(file) => Ok(Self { writer: Some(BufWriter::new(file)), temporary, place: place.into() }),
            Err(error) => {
                unfinished().remove(&temporary);
                // The name that the caller knows.
                Err(io_error(place, error))
            }
        }
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        let place = &self.place;
        match &mut self.writer {
            Some(writer) => writer.write_all(bytes).map_err(|error| io_error(place, error)),
            None => Ok(()),
        }
    }

    /// Makes the file appear at its place, in the stead of any that was there.
    pub fn commit(mut self) -> Result<()> {
        if let Some(mut writer) = self.writer.take() {
            writer.flush().map_err(|error| io_error(&self.place, error))?;
        }
        fs::rename(&self.temporary, &self.place).map_err(|error| io_error(&self.place, error))
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename nothing is there, which is as good.
        self.writer = None;
        let _ = fs::remove_file(&self.temporary);
        unfinished().remove(&self.temporary);
    }
}

/// Removes every file that is being written now.
pub fn remove_all() {
    for path in unfinished().iter() {
        let _ = fs::remove_file(path);
    }
}

fn unfinished() -> std::sync::MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}
