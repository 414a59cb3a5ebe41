//! Written files that appear whole or not at all.

use crate::report::io_error;
use onestep::Result;
use onestep::staged::Staged;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// A file written beside its place and renamed there by [`StagedFile::commit`]; dropped without, it is removed.
pub struct StagedFile {
    // Dropped, and so closed, before what removes it.
    writer: BufWriter<File>,
    staged: Staged,
    place: PathBuf,
}

impl StagedFile {
    /// Opens a hidden file in the folder of `place`.
    pub fn create(place: &Path) -> Result<Self> {
        // The name that the caller knows.
        let (staged, file) = Staged::file(place).map_err(|error| io_error(place, error))?;
        Ok(Self { writer: BufWriter::new(file), staged, place: place.into() })
    }

    /// Writes bytes.
    pub fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.write_all(bytes).map_err(|error| io_error(&self.place, error))
    }

    /// Makes the file appear at its place, in the stead of any that was there.
    pub fn commit(self) -> Result<()> {
        let Self { mut writer, staged, place } = self;
        let committed = writer.flush().and_then(|()| {
            drop(writer);
            staged.commit()
        });
        committed.map_err(|error| io_error(&place, error))
    }
}
