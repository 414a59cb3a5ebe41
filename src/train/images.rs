//! A folder of images in memory: decoded, cut to the middle, resized, as bytes.

use crate::error::{Error, Result, try_with_capacity};
use crate::log::{Level, log};
use crate::options::Limits;
use crate::pictures::{Listed, Picture};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// Images of one size, with a class each where sub-folders are classes.
pub struct Images {
    /// (image, channel, row, column), 0 to 255.
    pixels: Vec<u8>,
    /// Height and width.
    pub size: (usize, usize),
    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// One an image, where there are classes.
    pub labels: Option<Vec<i32>>,
    /// The classes' folders, in the order of their numbers.
    pub classes: Vec<String>,
    /// Files that could not be read as images, which were left out, and why.
    pub skipped: Vec<(PathBuf, String)>,
}

/// How an image differs from its file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Altered {
    /// Left is right.
    pub flip: bool,
    /// Pixels that it is moved down and to the right.
    pub shift: (isize, isize),
    /// What colours are multiplied with, around the middle grey.
    pub contrast: f32,
    /// What is added to them then.
    pub brightness: f32,
}

impl Default for Altered {
    /// Not at all.
    fn default() -> Self {
        Self { flip: false, shift: (0, 0), contrast: 1.0, brightness: 0.0 }
    }
}

impl Images {
    /// Reads every PNG, JPEG and WebP file below `folder`, or in a zip archive of one, in the order of their names. With
    /// `classes`, each sub-folder is a class, numbered in the order of their names. An image of another shape is cut to the
    /// largest middle part of the shape asked for and resized; one of that size is left as it is. A file that cannot be read
    /// is left out and listed.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a number of channels other than 1, 3 or 4, a size without pixels or with more than models have
    /// by default ([`Limits::pixels`]), and for a folder with no image, or, with `classes`, with no sub-folder; IO;
    /// OUT_OF_MEMORY.
    pub fn read(folder: &Path, size: (usize, usize), channels: usize, classes: bool) -> Result<Self> {
        if !matches!(channels, 1 | 3 | 4) {
            let message = format!("{channels} given; images have 1 (grey), 3 (RGB) or 4 (RGBA)");
            return Err(Error::argument("channels", message));
        }
        let most = Limits::default().pixels;
        let pixels = (size.0 as u64).saturating_mul(size.1 as u64);
        if !(1..=most).contains(&pixels) {
            let message = format!("{} x {} given; 1 to {most} pixels can be asked for", size.0, size.1);
            return Err(Error::argument("size", message));
        }
        let listed = Listed::open(folder)?;
        let class_of = |file: usize| -> Option<OsString> {
            let mut parts = listed.names()[file].components();
            let first = parts.next()?;
            parts.next()?;
            Some(first.as_os_str().to_owned())
        };
        let mut files: Vec<usize> = (0..listed.len()).collect();
        let mut names = Vec::new();
        if classes {
            let all: BTreeSet<OsString> = files.iter().filter_map(|&file| class_of(file)).collect();
            names = all.into_iter().collect();
            if names.is_empty() {
                let message = format!("{}: no sub-folder with images to be a class", folder.display());
                return Err(Error::argument("images", message));
            }
            // An image beside the classes belongs to none.
            files.retain(|&file| class_of(file).is_some());
        }
        let image_len = channels * size.0 * size.1;
        let mut images = Self {
            pixels: try_with_capacity(files.len().saturating_mul(image_len), "the images")?,
            size,
            channels,
            labels: classes.then(Vec::new),
            classes: Vec::new(),
            skipped: Vec::new(),
        };
        for file in files {
            match listed.read(file).and_then(|picture| sized(picture, size)) {
                Ok(picture) => {
                    images.push(&picture);
                    if let (Some(labels), Some(class)) = (&mut images.labels, class_of(file)) {
                        labels.push(names.binary_search(&class).unwrap_or_default() as i32);
                    }
                }
                // A disk that fails is no fault of a picture's, which would be missed.
                Err(error) if of_the_disk(&error) => return Err(Error::io(listed.path(file), error)),
                Err(error) => {
                    let path = listed.path(file);
                    log(Level::Warn, || format!("{}: left out: {error}", path.display()));
                    images.skipped.push((path, error.to_string()));
                }
            }
        }
        if images.is_empty() {
            let mut message = format!("{}: no PNG, JPEG or WebP file that can be read", folder.display());
            if let Some((file, reason)) = images.skipped.first() {
                message += &format!(" ({} cannot; {}: {reason})", images.skipped.len(), file.display());
            }
            return Err(Error::argument("images", message));
        }
        if let Some(labels) = &mut images.labels {
            images.classes = used_classes(&names, labels);
        }
        Ok(images)
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.pixels.len() / self.image_len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Channels, height, width.
    pub fn image(&self) -> [usize; 3] {
        [self.channels, self.size.0, self.size.1]
    }

    fn image_len(&self) -> usize {
        self.image().iter().product()
    }

    /// A checksum of all pixels and labels.
    pub fn checksum(&self) -> u32 {
        let mut hasher = crc32fast::Hasher::new();
        hasher.update(&self.pixels);
        for label in self.labels.iter().flatten() {
            hasher.update(&label.to_le_bytes());
        }
        hasher.finalize()
    }

    /// Image `index` as floats in [-1, 1], (channels, height, width), altered.
    pub fn fill(&self, index: usize, altered: &Altered, out: &mut [f32]) {
        let (height, width) = self.size;
        let (down, across) = altered.shift;
        let pixels = &self.pixels[index * self.image_len()..][..self.image_len()];
        // What comes in from beyond the edge is the edge.
        let at = |place: usize, shift: isize, side: usize| place.saturating_add_signed(-shift).min(side - 1);
        for (row, to) in out.chunks_exact_mut(width).enumerate() {
            let (channel, y) = (row / height, row % height);
            let from = &pixels[(channel * height + at(y, down, height)) * width..][..width];
            let colored = channel < 3 && (altered.contrast, altered.brightness) != (1.0, 0.0);
            for (x, to) in to.iter_mut().enumerate() {
                let x = at(x, across, width);
                let value = f32::from(from[if altered.flip { width - 1 - x } else { x }]) / 127.5 - 1.0;
                *to = match colored {
                    true => (value * altered.contrast + altered.brightness).clamp(-1.0, 1.0),
                    false => value,
                };
            }
        }
    }

    fn push(&mut self, picture: &Picture) {
        for channel in 0..self.channels {
            self.pixels.extend(picture.channel(channel, self.channels));
        }
    }
}

/// The names of the classes that have images, and their labels numbered anew.
fn used_classes(names: &[OsString], labels: &mut [i32]) -> Vec<String> {
    let used: Vec<i32> = labels.iter().copied().collect::<BTreeSet<i32>>().into_iter().collect();
    for label in labels {
        *label = used.partition_point(|used| used < label) as i32;
    }
    used.iter().map(|&class| names[class as usize].to_string_lossy().into_owned()).collect()
}

/// A picture of this height and width.
fn sized(picture: Picture, (height, width): (usize, usize)) -> std::io::Result<Picture> {
    if (picture.height, picture.width) == (height, width) {
        Ok(picture)
    } else {
        picture.fitted(width, height)
    }
}

/// Whether an error is one of the system's, and not of a file that may not be read or is gone.
fn of_the_disk(error: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotFound, OutOfMemory, PermissionDenied};
    let of_the_system =
        error.raw_os_error().is_some() && !matches!(error.kind(), NotFound | PermissionDenied);
    of_the_system || error.kind() == OutOfMemory
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::testing::{write_png, write_zip};

    #[test]
    fn folders_are_classes_and_broken_files_are_counted() {
        let folder = tempfile::tempdir().unwrap();
        for (class, shade) in [("b", 200), ("a", 10)] {
            let place = folder.path().join(class);
            std::fs::create_dir(&place).unwrap();
            write_png(place.join("1.png"), (4, 4), |_, _| [shade]);
            // Twice as wide: its black sides are cut off.
            write_png(place.join("2.png"), (16, 8), |x, _| [if (4..12).contains(&x) { shade } else { 0 }]);
        }
        std::fs::write(folder.path().join("b/3.png"), "no picture").unwrap();
        std::fs::write(folder.path().join("b/notes.txt"), "no picture either").unwrap();
        let images = Images::read(folder.path(), (4, 4), 1, true).unwrap();
        assert_eq!((images.len(), images.classes.clone()), (4, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(images.labels, Some(vec![0, 0, 1, 1]));
        let [(skipped, reason)] = &images.skipped[..] else { panic!("{:?}", images.skipped) };
        assert_eq!((skipped, &**reason), (&folder.path().join("b/3.png"), "no PNG, JPEG or WebP file"));
        for (index, shade) in [10.0, 10.0, 200.0, 200.0].into_iter().enumerate() {
            let mut out = [0.0; 16];
            images.fill(index, &Altered::default(), &mut out);
            assert!(out[5..11].iter().all(|&v| (v - (shade / 127.5 - 1.0)).abs() < 1e-6), "{index}: {out:?}");
        }
        let plain = Images::read(folder.path(), (4, 4), 3, false).unwrap();
        assert_eq!((plain.len(), plain.labels.clone()), (4, None));
    }

    #[test]
    fn an_archive_is_the_folder_that_it_was_made_of() {
        let folder = tempfile::tempdir().unwrap();
        let names = ["b/1.png", "a/2.png", "a/3.png"];
        let mut files = Vec::new();
        for (i, name) in names.iter().enumerate() {
            let path = folder.path().join("all").join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            write_png(&path, (3, 2), |x, y| [x as u8, y as u8, i as u8]);
            files.push(std::fs::read(&path).unwrap());
        }
        let zip = folder.path().join("all.zip");
        let named = names.map(|name| format!("all/{name}"));
        let members: Vec<(&str, &[u8])> =
            named.iter().map(String::as_str).zip(files.iter().map(|file| &file[..])).collect();
        write_zip(&zip, &members);
        let [from_folder, from_zip] = [folder.path().join("all"), zip.clone()]
            .map(|place| Images::read(&place, (2, 3), 3, true).unwrap());
        assert_eq!(from_zip.classes, ["a", "b"]);
        assert_eq!(from_zip.labels, from_folder.labels);
        assert_eq!(from_zip.checksum(), from_folder.checksum());

        // A broken member is left out by its name.
        let mut broken = members.clone();
        broken[2].1 = b"no picture";
        write_zip(&zip, &broken);
        let images = Images::read(&zip, (2, 3), 3, false).unwrap();
        assert_eq!((images.len(), &images.skipped[0].0), (2, &zip.join("a/3.png")));
        std::fs::write(&zip, "no archive").unwrap();
        assert!(Images::read(&zip, (2, 3), 3, false).err().unwrap().to_string().contains("all.zip"));
    }

    #[test]
    fn hidden_folders_and_those_without_images_are_no_classes() {
        let folder = tempfile::tempdir().unwrap();
        for class in [".hidden", "__MACOSX/cats", "broken", "cats", "dogs"] {
            let place = folder.path().join(class);
            std::fs::create_dir_all(&place).unwrap();
            match class {
                "broken" => std::fs::write(place.join("0.gif"), "GIF89a").unwrap(),
                _ => write_png(place.join("0.png"), (2, 2), |_, _| [class.len() as u8]),
            }
        }
        std::fs::write(folder.path().join("cats/._0.png"), "not shown").unwrap();
        let images = Images::read(folder.path(), (2, 2), 1, true).unwrap();
        assert_eq!(images.classes, ["cats", "dogs"]);
        assert_eq!((images.len(), images.labels), (2, Some(vec![0, 1])));
        // What is left out is said.
        assert_eq!(images.skipped.len(), 1);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn classes_whose_names_are_no_text_are_told_apart() {
        use std::os::unix::ffi::OsStrExt;
        let folder = tempfile::tempdir().unwrap();
        for byte in [0xE4, 0xF6] {
            let place = folder.path().join(std::ffi::OsStr::from_bytes(&[byte]));
            std::fs::create_dir(&place).unwrap();
            write_png(place.join("0.png"), (2, 2), |_, _| [byte]);
        }
        let images = Images::read(folder.path(), (2, 2), 1, true).unwrap();
        assert_eq!(images.labels, Some(vec![0, 1]));
    }

    #[test]
    fn colours_come_in_planes_and_can_be_mirrored() {
        let folder = tempfile::tempdir().unwrap();
        write_png(folder.path().join("a.png"), (2, 1), |x, _| [255 * x as u8, 0, 51]);
        let images = Images::read(folder.path(), (1, 2), 3, false).unwrap();
        let mut out = [0.0; 6];
        images.fill(0, &Altered::default(), &mut out);
        assert_eq!(out, [-1.0, 1.0, -1.0, -1.0, 51.0 / 127.5 - 1.0, 51.0 / 127.5 - 1.0]);
        images.fill(0, &Altered { flip: true, ..Altered::default() }, &mut out);
        assert_eq!(out[..2], [1.0, -1.0]);
    }

    #[test]
    fn images_are_moved_and_tinted() {
        let folder = tempfile::tempdir().unwrap();
        write_png(folder.path().join("a.png"), (3, 2), |x, y| [(10 * x + 100 * y) as u8, 0, 0, 255]);
        let images = Images::read(folder.path(), (2, 3), 4, false).unwrap();
        let reds = |altered: Altered| {
            let mut out = [0.0; 24];
            images.fill(0, &altered, &mut out);
            assert!(out[18..].iter().all(|&alpha| alpha == 1.0));
            let byte = |value: &f32| ((value + 1.0) * 127.5).round() as i32;
            out[..6].iter().map(byte).collect::<Vec<_>>()
        };
        let plain = Altered::default();
        assert_eq!(reds(plain), [0, 10, 20, 100, 110, 120]);
        assert_eq!(reds(Altered { shift: (1, 0), ..plain }), [0, 10, 20, 0, 10, 20]);
        assert_eq!(reds(Altered { shift: (-1, -2), ..plain }), [120; 6]);
        assert_eq!(reds(Altered { shift: (0, 1), ..plain }), [0, 0, 10, 100, 100, 110]);
        assert_eq!(reds(Altered { shift: (0, 1), flip: true, ..plain }), [20, 20, 10, 120, 120, 110]);
        // Around the middle grey, and never beyond black; alpha stays.
        assert_eq!(reds(Altered { contrast: 0.5, ..plain }), [64, 69, 74, 114, 119, 124]);
        assert_eq!(reds(Altered { brightness: -0.1, ..plain }), [0, 0, 7, 87, 97, 107]);
    }

    #[test]
    fn an_empty_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Images::read(folder.path(), (4, 4), 1, false).is_err());
        assert!(Images::read(folder.path(), (4, 4), 1, true).is_err());
        assert!(Images::read(folder.path(), (4, 4), 2, false).is_err());
        assert!(Images::read(&folder.path().join("none"), (4, 4), 1, false).is_err());
    }

    #[test]
    fn sizes_that_no_image_has_are_named() {
        let folder = tempfile::tempdir().unwrap();
        write_png(folder.path().join("a.png"), (4, 4), |_, _| [0]);
        let side = 1 << 32;
        for size in [(0, 4), (4, 0), (side, side), (usize::MAX - 1, usize::MAX - 1), (1, 1 << 25)] {
            let error = Images::read(folder.path(), size, 3, false).err().unwrap().to_string();
            assert!(error.contains("size: ") && error.contains("1 to 16777216 pixels"), "{error}");
        }
    }

    #[cfg(unix)]
    #[test]
    fn folders_are_read_once_and_pipes_are_left_out() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("a");
        std::fs::create_dir(&place).unwrap();
        write_png(place.join("1.png"), (4, 4), |_, _| [0]);
        symlink(place.join("1.png"), place.join("2.png")).unwrap();
        symlink(".", place.join("self")).unwrap();
        symlink(&place, folder.path().join("0")).unwrap();
        // A class from elsewhere.
        let elsewhere = tempfile::tempdir().unwrap();
        write_png(elsewhere.path().join("4.png"), (4, 4), |_, _| [0]);
        symlink(elsewhere.path(), folder.path().join("b")).unwrap();
        let pipe = place.join("3.png");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        let images = Images::read(folder.path(), (4, 4), 1, true).unwrap();
        assert_eq!((images.len(), images.classes.clone()), (3, vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(images.skipped, [(pipe, "not a regular file".to_owned())]);
    }
}
