//! The pictures of a folder, or of a zip archive of one.

use super::Picture;
use super::picture::read_whole;
use crate::archive::{Archive, Member};
use crate::error::{Error, Result};
use crate::log::{Level, log};
use std::collections::BTreeSet;
use std::path::{Component, Path, PathBuf};

/// Files in an archive that anybody would write.
const MAX_MEMBERS: usize = 1 << 24;

/// What lies below a place and is called an image, in the order of its names; images of kinds that are not read are among it, so
/// that they are said.
pub struct Listed {
    place: PathBuf,
    /// Where they are in it.
    names: Vec<PathBuf>,
    from: From,
}

enum From {
    Folder,
    /// The archive, and one member a name.
    Archive(Box<Archive>, Vec<Member>),
}

impl Listed {
    /// Lists a folder, or a zip archive. A folder is read once, whatever links lead to it; hidden ones, and those of training runs
    /// and evaluations, which hold pictures of their own, are left out. A folder that all of an archive lies in does not count.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is no zip archive, or a damaged one.
    pub fn open(place: &Path) -> Result<Self> {
        if place.is_file() {
            return Self::archive(place);
        }
        let mut files = Vec::new();
        collect(place, &mut BTreeSet::new(), &mut files)?;
        let names = files.iter().map(|file| file.strip_prefix(place).unwrap_or(file).to_owned());
        let mut names: Vec<PathBuf> = names.collect();
        names.sort();
        Ok(Self { place: place.to_owned(), names, from: From::Folder })
    }

    fn archive(place: &Path) -> Result<Self> {
        let mut archive = Archive::open(place, MAX_MEMBERS)?;
        let members = std::mem::take(&mut archive.members);
        let marks: BTreeSet<PathBuf> = members.iter().map(|member| PathBuf::from(&member.name)).collect();
        let own = |folder: &Path| is_own(|mark| marks.contains(&folder.join(mark)));
        let mut named: Vec<(PathBuf, Member)> = members
            .into_iter()
            .map(|member| (PathBuf::from(&member.name), member))
            .filter(|(name, _)| is_image(name) && !name.iter().any(|part| is_hidden(Path::new(part))))
            .filter(|(name, _)| {
                !name.ancestors().skip(1).any(|folder| folder.iter().count() > 0 && own(folder))
            })
            .collect();
        named.sort_by(|a, b| a.0.cmp(&b.0));
        let top = named.first().and_then(|(name, _)| name.components().next());
        let shared = |top: &Component| {
            named.iter().all(|(name, _)| name.starts_with(top) && name.components().count() > 1)
        };
        let cut = usize::from(top.as_ref().is_some_and(shared));
        let (names, members) =
            named.into_iter().map(|(name, member)| (name.components().skip(cut).collect(), member)).unzip();
        Ok(Self { place: place.to_owned(), names, from: From::Archive(Box::new(archive), members) })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.names.len()
    }

    /// Where each is in its place.
    pub fn names(&self) -> &[PathBuf] {
        &self.names
    }

    /// What messages call one.
    pub fn path(&self, index: usize) -> PathBuf {
        self.place.join(&self.names[index])
    }

    /// Bytes of its file.
    ///
    /// # Errors
    /// IO.
    #[cfg(feature = "metrics")]
    pub fn bytes(&self, index: usize) -> Result<u64> {
        match &self.from {
            From::Folder => {
                let path = self.path(index);
                Ok(path.metadata().map_err(|e| Error::io(&path, e))?.len())
            }
            From::Archive(_, members) => Ok(members[index].len),
        }
    }

    /// Decodes one.
    ///
    /// # Errors
    /// Of the system, and of what is no picture or a damaged one.
    pub fn read(&self, index: usize) -> std::io::Result<Picture> {
        match &self.from {
            From::Folder => Picture::read(&self.path(index)),
            From::Archive(archive, members) => {
                let member = &members[index];
                let failed = |error: Error| std::io::Error::other(error.to_string());
                let bytes = read_whole(archive.reader(member).map_err(failed)?)?;
                if bytes.get_ref().len() as u64 != member.len {
                    return Err(std::io::Error::other("truncated"));
                }
                Picture::decode(bytes)
            }
        }
    }
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
            if is_own(|mark| path.join(mark).is_file()) {
                log(Level::Warn, || format!("{}: left out: what onestep wrote is no data", path.display()));
            } else {
                collect(&path, seen, files)?;
            }
        } else if is_image(&path) {
            files.push(path);
        }
    }
    Ok(())
}

/// What images are called; of the second half none is read.
const IMAGES: [&str; 12] =
    ["png", "jpg", "jpeg", "jfif", "webp", "gif", "bmp", "tif", "tiff", "avif", "heic", "jxl"];

fn is_image(path: &Path) -> bool {
    let extension = path.extension().map(|e| e.to_string_lossy().to_ascii_lowercase());
    extension.is_some_and(|extension| IMAGES.contains(&extension.as_str()))
}

/// What a file manager does not show, and what macOS puts beside the files of an archive.
fn is_hidden(path: &Path) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    name.starts_with(b".") || name == b"__MACOSX"
}

/// Whether a folder that `has` these files is that of a training run or an evaluation.
fn is_own(has: impl Fn(&str) -> bool) -> bool {
    has("settings.json") && has("log.csv") || has("features/features.json")
}

#[cfg(test)]
mod tests {
    use super::super::testing::{write_png, write_zip};
    use super::*;

    const PLACES: [(&str, &[&str]); 3] = [
        ("class", &["settings.json"]),
        ("run", &["settings.json", "log.csv"]),
        ("eval", &["features/features.json"]),
    ];

    #[test]
    fn what_onestep_wrote_is_no_data() {
        let folder = tempfile::tempdir().unwrap();
        for (place, marks) in PLACES {
            let place = folder.path().join(place);
            std::fs::create_dir_all(place.join("features")).unwrap();
            marks.iter().for_each(|mark| std::fs::write(place.join(mark), "").unwrap());
            write_png(place.join("a.png"), (1, 1), |_, _| [0]);
        }
        assert_eq!(Listed::open(folder.path()).unwrap().names(), [Path::new("class/a.png")]);
        // But for what is asked for by its name.
        assert_eq!(Listed::open(&folder.path().join("run")).unwrap().len(), 1);
    }

    #[test]
    fn archives_are_read_as_the_folder_in_them() {
        let folder = tempfile::tempdir().unwrap();
        let png = folder.path().join("a.png");
        write_png(&png, (2, 1), |x, _| [x as u8, 7, 9]);
        let image = std::fs::read(&png).unwrap();
        let path = folder.path().join("all.zip");
        let members: [(&str, &[u8]); 8] = [
            ("data/b/2.PNG", &image),
            ("data/a/1.png", &image),
            ("data/a/readme.txt", b"no picture"),
            ("data/.hidden/3.png", &image),
            ("__MACOSX/data/._1.png", &image),
            ("data/run/samples/4.png", &image),
            ("data/run/settings.json", b"{}"),
            ("data/run/log.csv", b""),
        ];
        write_zip(&path, &members);
        let listed = Listed::open(&path).unwrap();
        assert_eq!(listed.names(), ["a/1.png", "b/2.PNG"].map(Path::new));
        for index in 0..2 {
            let picture = listed.read(index).unwrap();
            assert_eq!((picture.width, picture.height, picture.bytes), (2, 1, vec![0, 7, 9, 1, 7, 9]));
        }
        // Nothing is stripped where not all is in one folder.
        write_zip(&path, &[("a/1.png", &image), ("b/2.png", &image)]);
        assert_eq!(Listed::open(&path).unwrap().names(), ["a/1.png", "b/2.png"].map(Path::new));

        let whole = std::fs::read(&path).unwrap();
        let mut damaged = whole.clone();
        let at = whole.windows(4).position(|bytes| bytes == b"IDAT").unwrap() + 6;
        damaged[at] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let listed = Listed::open(&path).unwrap();
        assert!(listed.read(0).is_err() && listed.read(1).is_ok());
        for cut in [0, 10, whole.len() / 2, whole.len() - 4] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            let error = Listed::open(&path).err().unwrap().to_string();
            assert!(error.contains("zip archive"), "{cut}: {error}");
        }
    }
}
