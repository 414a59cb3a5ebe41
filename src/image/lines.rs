//! Finished rows to where a layout has them, for executors that make pixels themselves.

use super::{Format, Layout, Strides, premultiply};
use crate::error::{Error, Result};

/// A caller's buffer that takes finished rows one after the other: of a batch's images, or of their planes under
/// [`Format::F32Nchw`], in the format and the range that the layout asks for, colours not yet multiplied by alpha.
pub(crate) struct Lines<'a> {
    strides: Strides,
    flip_y: bool,
    premultiplies: bool,
    height: usize,
    planes: usize,
    count: usize,
    next: usize,
    out: &'a mut [u8],
}

impl<'a> Lines<'a> {
    /// Checks as [`write`] does.
    pub fn new(shape: [usize; 4], layout: &Layout, out: &'a mut [u8]) -> Result<Self> {
        let strides = layout.strides(shape)?;
        if (out.len() as u64) < strides.size {
            let found = out.len() as u64;
            return Err(Error::BufferTooSmall { argument: "out", expected: strides.size, found });
        }
        let [n, c, height, _] = shape;
        let planes = if layout.format == Format::F32Nchw { c } else { 1 };
        let (flip_y, premultiplies) = (layout.flip_y, layout.premultiplies(c));
        Ok(Self { strides, flip_y, premultiplies, height, planes, count: n * planes * height, next: 0, out })
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Bytes of one.
    pub fn line_bytes(&self) -> usize {
        self.strides.row_bytes as usize
    }

    /// Puts the next ones, one behind the other in `lines`, where they belong; at most those that are left.
    pub fn put(&mut self, lines: &[u8]) {
        let Strides { row, plane, .. } = self.strides;
        for line in lines.chunks_exact(self.line_bytes()).take(self.count - self.next) {
            let (y, plane_index) = (self.next % self.height, self.next / self.height);
            let to = if self.flip_y { self.height - 1 - y } else { y };
            let (image_index, plane_index) = (plane_index / self.planes, plane_index % self.planes);
            // Below `out.len()`, as `new` checked.
            let image = self.strides.start(image_index as u64) as usize;
            let start = image + plane_index * plane as usize + to * row as usize;
            let out = &mut self.out[start..][..line.len()];
            out.copy_from_slice(line);
            if self.premultiplies {
                premultiply(out);
            }
            self.next += 1;
        }
    }
}
