//! One NumPy array: f32, (n, c, h, w), [-1, 1] as the network gave it.

use super::staged::StagedFile;
use super::{Shape, Sink};
use crate::draw::Item;
use onestep::image::{Format, Layout};
use onestep::{Result, npy};
use std::path::Path;

/// An array that is written as its images come.
pub struct Npy {
    file: StagedFile,
}

impl Npy {
    /// Writes the header: the count is known from the start.
    pub fn new(path: &Path, shape: Shape, count: usize) -> Result<Self> {
        let mut file = StagedFile::create(path)?;
        file.write(&header(&[count, shape.channels, shape.height, shape.width]))?;
        Ok(Self { file })
    }
}

impl Sink for Npy {
    fn layout(&self) -> Layout {
        Layout { format: Format::F32Nchw, ..Layout::default() }
    }

    fn put(&mut self, _items: &[Item], bytes: &[u8]) -> Result<()> {
        self.file.write(bytes)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.file.commit()
    }
}

/// Of floats in this machine's order.
fn header(shape: &[usize]) -> Vec<u8> {
    npy::header(if cfg!(target_endian = "little") { "<f4" } else { ">f4" }, shape)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_aligned_whatever_the_shape() {
        for count in [1, 10, 1234567, usize::MAX] {
            let header = header(&[count, 3, 256, 256]);
            assert_eq!(header.len() % 64, 0);
            assert_eq!(usize::from(u16::from_le_bytes([header[8], header[9]])), header.len() - 10);
            assert_eq!(header.last(), Some(&b'\n'));
        }
    }
}
