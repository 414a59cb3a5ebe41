//! Files and folders that appear whole or not at all: made beside their place, where a rename cannot cross file systems, and
//! then renamed.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Those being made now, for an exit that runs no destructors.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Something beside its place; dropped without [`Staged::commit`], it is removed.
pub struct Staged {
    path: PathBuf,
    place: PathBuf,
}

impl Staged {
    /// An empty file beside `place`.
    pub fn file(place: &Path) -> Result<(Self, File)> {
        let staged = Self::beside(place);
        // What a killed process of the same number left is written over.
        let file = File::create(&staged.path)?;
        Ok((staged, file))
    }

    /// An empty folder beside `place`.
    pub fn folder(place: &Path) -> Result<Self> {
        let staged = Self::beside(place);
        remove(&staged.path);
        fs::create_dir_all(&staged.path)?;
        Ok(staged)
    }

    fn beside(place: &Path) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        let mut name = OsString::from(".");
        name.push(place.file_name().unwrap_or_default());
        name.push(format!(".{}-{}.partial", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed)));
        let path = place.with_file_name(name);
        unfinished().insert(path.clone());
        Self { path, place: place.into() }
    }

    /// Where it is until then.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes it appear at its place, in the stead of any file or empty folder that was there.
    pub fn commit(self) -> Result<()> {
        if self.path.is_dir() && self.place.is_dir() {
            fs::remove_dir(&self.place)?;
        }
        fs::rename(&self.path, &self.place)
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // After a rename nothing is there, which is as good.
        remove(&self.path);
        unfinished().remove(&self.path);
    }
}

/// Removes all that is being made now.
pub fn remove_all() {
    unfinished().iter().for_each(|path| remove(path));
}

fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}
