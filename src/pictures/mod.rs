//! Image files: PNG, JPEG and WebP, and folders of them.

#[cfg(feature = "train")]
mod fitted;
mod picture;

pub use picture::Picture;
#[cfg(feature = "metrics")]
pub use picture::grey;
#[cfg(test)]
pub use picture::testing;

use crate::error::{Error, Result};
use crate::log::{Level, log};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The files below `folder` that are called images, in the order of their names; images of kinds that are not read are among them, so
/// that they are said. A folder is read once, whatever links lead to it; hidden ones, and those of training runs and evaluations,
/// which hold pictures of their own, are left out.
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
        if is_hidden(&path) {
            continue;
        }
        if path.is_dir() {
            if is_own(&path) {
                log(Level::Warn, || format!("{}: left out: what onestep wrote is no data", path.display()));
            } else {
                collect(&path, seen, files)?;
            }
            continue;
        }
        let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
        if extension.is_some_and(|extension| IMAGES.contains(&extension.as_str())) {
            files.push(path);
        }
    }
    Ok(())
}

/// What images are called; of the second half none is read.
const IMAGES: [&str; 12] =
    ["png", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "jxl"];

/// What a file manager does not show, and what macOS puts beside the files of an archive.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b".") || name == b"__MACOSX"
}

/// Whether a folder is that of a training run or an evaluation.
fn is_own(folder: &Path) -> bool {
    let has = |name: &str| folder.join(name).is_file();
    has("settings.json") && has("log.csv") || has("features/features.json")
}

#[cfg(test)]
mod tests {
    use super::testing::write_png;
    use super::*;

    #[test]
    fn what_onestep_wrote_is_no_data() {
        let folder = tempfile::tempdir().unwrap();
        for (place, marks) in [
            ("class", &["settings.json"][..]),
            ("run", &["settings.json", "log.csv"]),
            ("eval", &["features/features.json"]),
        ] {
            let place = folder.path().join(place);
            std::fs::create_dir_all(place.join("features")).unwrap();
            marks.iter().for_each(|mark| std::fs::write(place.join(mark), "").unwrap());
            write_png(place.join("a.png"), (1, 1), |_, _| [0]);
        }
        assert_eq!(list(folder.path()).unwrap(), [folder.path().join("class/a.png")]);
        // But for what is asked for by its name.
        assert_eq!(list(&folder.path().join("run")).unwrap().len(), 1);
    }
}
