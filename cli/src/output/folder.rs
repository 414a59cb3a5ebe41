//! One PNG an image.

use super::pixels::Pixel;
use super::staged::StagedFile;
use super::{Shape, Sink};
use crate::draw::Item;
use crate::report::io_error;
use onestep::Result;
use onestep::image::Layout;
use std::fs;
use std::path::{Path, PathBuf};

/// A folder of PNGs, each by its item's name; images already drawn stay after an error.
pub struct Folder {
    path: PathBuf,
    shape: Shape,
    pixel: Pixel,
    /// Whether to take the folder away again if nothing comes of it.
    made_empty: bool,
}

impl Folder {
    /// Makes the folder where there is none.
    pub fn new(path: &Path, shape: Shape) -> Result<Self> {
        let made_empty = !path.exists();
        fs::create_dir_all(path).map_err(|error| io_error(path, error))?;
        Ok(Self { path: path.into(), shape, pixel: Pixel::of(shape), made_empty })
    }
}

impl Sink for Folder {
    fn layout(&self) -> Layout {
        self.pixel.layout()
    }

    fn put(&mut self, items: &[Item], bytes: &[u8]) -> Result<()> {
        for (item, image) in items.iter().zip(bytes.chunks_exact(bytes.len() / items.len())) {
            let pixels = self.pixel.pack(image);
            let mut file = StagedFile::create(&self.path.join(format!("{}.png", item.name)))?;
            file.write(&self.pixel.encode(self.shape.width, self.shape.height, &pixels)?)?;
            file.commit()?;
            self.made_empty = false;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        Ok(())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if self.made_empty {
            let _ = fs::remove_dir(&self.path);
        }
    }
}
