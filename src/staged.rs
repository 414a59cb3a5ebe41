//! Files and folders that appear whole or not at all: made beside their place, where a rename cannot cross file systems, and
//! then renamed. While one is made it is locked: what a killed process left is not, and goes when its folder is written to next.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Result;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Those being made now, for an exit that runs no destructors.
static UNFINISHED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());

/// Something beside its place; dropped without [`Staged::commit`], it is removed.
pub struct Staged {
    path: PathBuf,
    place: PathBuf,
    /// Locked while it is open.
    _lock: Option<File>,
}

/// Bytes of its place's name in the name of what will be there, at most.
const MAX_NAME: usize = 128;
/// How long something may be there before its lock, which another process is about to take.
const NEW: Duration = Duration::from_secs(60);

impl Staged {
    /// An empty file beside `place`.
    pub fn file(place: &Path) -> Result<(Self, File)> {
        let mut staged = Self::beside(place);
        // What a killed process of the same number left is written over.
        let file = File::create(&staged.path)?;
        staged._lock = lock(&staged.path);
        Ok((staged, file))
    }

    /// An empty folder beside `place`.
    pub fn folder(place: &Path) -> Result<Self> {
        let mut staged = Self::beside(place);
        remove(&staged.path);
        fs::create_dir_all(&staged.path)?;
        staged._lock = lock(&staged.path);
        Ok(staged)
    }

    fn beside(place: &Path) -> Self {
        static NUMBERS: AtomicU64 = AtomicU64::new(0);
        sweep(place);
        let mut name = OsString::from(".");
        let of = place.file_name().unwrap_or_default().to_string_lossy();
        // A name of the greatest length leaves no room for what comes behind; its beginning tells as much.
        name.push(&of[..of.floor_char_boundary(MAX_NAME)]);
        name.push(format!(".{}-{}{ENDING}", std::process::id(), NUMBERS.fetch_add(1, Ordering::Relaxed)));
        let path = place.with_file_name(name);
        unfinished().insert(path.clone());
        Self { path, place: place.into(), _lock: None }
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

const ENDING: &str = ".partial";

/// Whether a name is `.PLACE.PROCESS-NUMBER.partial`.
#[cfg(unix)]
fn is_of_staged(name: &[u8]) -> bool {
    let of = |name: &[u8]| {
        let name = std::str::from_utf8(name.strip_suffix(ENDING.as_bytes())?).ok()?;
        let (process, number) = name.rsplit_once('.')?.1.split_once('-')?;
        process.parse::<u32>().ok().zip(number.parse::<u64>().ok())
    };
    name.starts_with(b".") && of(name).is_some()
}

/// Removes what killed processes left in the folder of `place`, as far as that can be told: it is not locked. Once a process
/// and folder.
#[cfg(unix)]
fn sweep(place: &Path) {
    static SWEPT: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
    let folder = match place.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    if !SWEPT.lock().unwrap_or_else(PoisonError::into_inner).insert(folder.to_owned()) {
        return;
    }
    let Ok(entries) = fs::read_dir(folder) else { return };
    for entry in entries.flatten() {
        if !is_of_staged(entry.file_name().as_encoded_bytes()) {
            continue;
        }
        let Ok(modified) = entry.metadata().and_then(|metadata| metadata.modified()) else { continue };
        if modified.elapsed().is_ok_and(|age| age > NEW) && lock(&entry.path()).is_some() {
            remove(&entry.path());
        }
    }
}

/// Locks on Windows keep their own process from writing through another handle.
#[cfg(not(unix))]
fn sweep(_: &Path) {}

/// A lock for as long as it is kept; none if another process has one, or the file system knows none.
#[cfg(unix)]
fn lock(path: &Path) -> Option<File> {
    let file = File::open(path).ok()?;
    file.try_lock().ok().map(|()| file)
}

#[cfg(not(unix))]
fn lock(_: &Path) -> Option<File> {
    None
}

fn remove(path: &Path) {
    let _ = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
}

fn unfinished() -> MutexGuard<'static, BTreeSet<PathBuf>> {
    UNFINISHED.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;
    use std::time::SystemTime;

    #[test]
    fn what_a_killed_process_left_goes_and_what_another_makes_stays() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("out.bin");
        let left = |name: &str, age: u64| {
            let path = folder.path().join(name);
            let file = File::create(&path).unwrap();
            file.set_modified(SystemTime::now() - Duration::from_secs(age)).unwrap();
            path
        };
        let killed = left(".out.bin.12-0.partial", 3600);
        let (new, others) = (left(".out.bin.13-0.partial", 1), left(".other.bin.partial", 3600));
        let made = left(".out.bin.15-0.partial", 3600);
        let held = lock(&made).unwrap();
        fs::create_dir(folder.path().join(".out.bin.16-0.partial")).unwrap();
        let (staged, _file) = Staged::file(&place).unwrap();
        assert!(!killed.exists() && new.exists() && others.exists() && made.exists());
        // One that is made now is locked, and one that is dropped is gone.
        assert!(lock(staged.path()).is_none());
        let path = staged.path().to_owned();
        drop((staged, held));
        assert!(!path.exists());
        Staged::file(&place).unwrap().0.commit().unwrap();
        assert!(place.exists());
    }
}
