//! One picture of all images.

use super::pixels::Pixel;
use super::staged::StagedFile;
use super::{Shape, Sheet, Sink, font};
use crate::draw::{Item, zeroed};
use crate::report::usage;
use onestep::Result;
use onestep::image::Layout;
use std::path::Path;

/// Between images and around them, in pixels of the picture.
const GUTTER: usize = 4;
/// The sheet's grey: neither black nor white, so that images of either ground keep their edges.
const SHEET: u8 = 222;
/// The labels' grey.
const INK: u8 = 40;
/// Images smaller than this are enlarged.
const COMFORTABLE: usize = 64;
/// Bytes of the largest picture; beyond, a folder or an array serves better.
const LARGEST: u64 = 1 << 30;

/// What is written beside the images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Captions {
    /// Nothing.
    None,
    /// A label above each column.
    Columns(Vec<i32>),
    /// A label left of each row.
    Rows(Vec<i32>),
    /// The image's label above each image.
    Images,
}

/// A picture that is composed in memory and written at the end.
pub struct Grid {
    file: StagedFile,
    pixel: Pixel,
    plan: Plan,
    canvas: Vec<u8>,
    placed: usize,
}

/// Sizes and places, in pixels of the picture.
struct Plan {
    shape: Shape,
    columns: usize,
    scale: usize,
    captions: Captions,
    /// Left of the first image.
    left: usize,
    /// Above the first image.
    top: usize,
    /// From one image to the next.
    step: (usize, usize),
    width: usize,
    height: usize,
}

impl Plan {
    fn new(shape: Shape, sheet: Sheet, scale: Option<u32>) -> Self {
        let longest = shape.width.max(shape.height).max(1);
        let scale = scale.map_or((COMFORTABLE / longest).max(1), |scale| scale as usize);
        let caption_height = font::HEIGHT * Self::type_scale(shape, scale) + 2 * GUTTER;
        let caption_width = |labels: &[i32]| {
            let widest = labels.iter().map(|&label| font::number_width(label)).max();
            widest.unwrap_or(0) * Self::type_scale(shape, scale) + 2 * GUTTER
        };
        let (left, top, above) = match &sheet.captions {
            Captions::None => (GUTTER, GUTTER, 0),
            Captions::Columns(_) => (GUTTER, caption_height, 0),
            Captions::Rows(labels) => (caption_width(labels), GUTTER, 0),
            Captions::Images => (GUTTER, caption_height, caption_height - GUTTER),
        };
        let columns = sheet.columns.clamp(1, sheet.count.max(1));
        let rows = sheet.count.div_ceil(columns);
        let step = (shape.width * scale + GUTTER, shape.height * scale + GUTTER + above);
        let (width, height) = (left + columns * step.0, top + rows * step.1 - above);
        Self { shape, columns, scale, captions: sheet.captions, left, top, step, width, height }
    }

    /// Scale of the digits: two where an image has room for them.
    fn type_scale(shape: Shape, scale: usize) -> usize {
        (shape.width * scale / 32).clamp(1, 3)
    }

    /// The upper left corner of image `index`.
    fn corner(&self, index: usize) -> (usize, usize) {
        (self.left + index % self.columns * self.step.0, self.top + index / self.columns * self.step.1)
    }
}

impl Grid {
    /// Checks that the picture is of a sensible size.
    pub fn new(path: &Path, shape: Shape, sheet: Sheet, scale: Option<u32>) -> Result<Self> {
        let (count, pixel) = (sheet.count, Pixel::of(shape));
        let plan = Plan::new(shape, sheet, scale);
        let bytes = plan.width as u64 * plan.height as u64 * pixel.bytes() as u64;
        if bytes > LARGEST {
            let message =
                format!("{count} images are too many for one picture; name a folder or a .npy file");
            return Err(usage("--out", message));
        }
        let file = StagedFile::create(path)?;
        let mut canvas = zeroed(bytes)?;
        let background = pixel.shade(SHEET);
        canvas.chunks_exact_mut(background.len()).for_each(|place| place.copy_from_slice(&background));
        let mut grid = Self { file, pixel, plan, canvas, placed: 0 };
        grid.write_captions();
        Ok(grid)
    }

    fn write_captions(&mut self) {
        let (across, down) = self.image_size();
        match self.plan.captions.clone() {
            Captions::Columns(labels) => {
                for (column, &label) in labels.iter().enumerate() {
                    self.write_number(label, (self.plan.corner(column).0 + across / 2, self.plan.top / 2));
                }
            }
            Captions::Rows(labels) => {
                for (row, &label) in labels.iter().enumerate() {
                    let y = self.plan.corner(row * self.plan.columns).1 + down / 2;
                    self.write_number(label, (self.plan.left / 2, y));
                }
            }
            Captions::None | Captions::Images => {}
        }
    }

    /// Writes a number around a centre.
    fn write_number(&mut self, number: i32, centre: (usize, usize)) {
        let scale = Plan::type_scale(self.plan.shape, self.plan.scale);
        let left = centre.0.saturating_sub(font::number_width(number) * scale / 2);
        let top = centre.1.saturating_sub(font::HEIGHT * scale / 2);
        let ink = self.pixel.shade(INK);
        for (x, y) in font::number_pixels(number) {
            self.fill((left + x * scale, top + y * scale), scale, &ink);
        }
    }

    /// Puts the next image of packed pixels at its place.
    pub fn place(&mut self, image: &[u8]) {
        let (shape, scale, bytes) = (self.plan.shape, self.plan.scale, self.pixel.bytes());
        let (left, top) = self.plan.corner(self.placed);
        for (index, color) in image.chunks_exact(bytes).enumerate() {
            let (x, y) = (index % shape.width, index / shape.width);
            self.fill((left + x * scale, top + y * scale), scale, color);
        }
        self.placed += 1;
    }

    /// Fills a square of the canvas; what lies outside is cut off.
    fn fill(&mut self, corner: (usize, usize), side: usize, color: &[u8]) {
        let bytes = color.len();
        let right = (corner.0 + side).min(self.plan.width);
        for y in corner.1..(corner.1 + side).min(self.plan.height) {
            let row = y * self.plan.width;
            let span = (row + corner.0.min(right)) * bytes..(row + right) * bytes;
            self.canvas[span].chunks_exact_mut(bytes).for_each(|place| place.copy_from_slice(color));
        }
    }

    fn image_size(&self) -> (usize, usize) {
        (self.plan.shape.width * self.plan.scale, self.plan.shape.height * self.plan.scale)
    }
}

impl Sink for Grid {
    fn layout(&self) -> Layout {
        self.pixel.layout()
    }

    fn put(&mut self, items: &[Item], bytes: &[u8]) -> Result<()> {
        for (item, image) in items.iter().zip(bytes.chunks_exact(bytes.len() / items.len())) {
            let image = self.pixel.pack(image);
            self.place(&image);
            if let (Captions::Images, Some(label)) = (&self.plan.captions, item.label) {
                let (left, top) = self.plan.corner(self.placed - 1);
                self.write_number(label, (left + self.image_size().0 / 2, top - self.plan.top / 2));
            }
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        let picture = self.pixel.encode(self.plan.width, self.plan.height, &self.canvas)?;
        self.file.write(&picture)?;
        self.file.commit()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(count: usize, columns: usize, captions: Captions) -> Plan {
        Plan::new(Shape { width: 16, height: 16, channels: 1 }, Sheet { count, columns, captions }, None)
    }

    #[test]
    fn tiny_images_are_enlarged_and_gutters_are_even() {
        let plan = plan(20, 10, Captions::None);
        assert_eq!(plan.scale, 4);
        assert_eq!((plan.width, plan.height), (GUTTER + 10 * (64 + GUTTER), GUTTER + 2 * (64 + GUTTER)));
        assert_eq!(plan.corner(11), (GUTTER + 68, GUTTER + 68));
    }

    #[test]
    fn captions_make_room_for_themselves() {
        let bare = plan(4, 2, Captions::None);
        assert!(plan(4, 2, Captions::Columns(vec![0, 1])).height > bare.height);
        assert!(plan(4, 2, Captions::Rows(vec![0, 1])).width > bare.width);
        let images = plan(4, 2, Captions::Images);
        assert_eq!(images.corner(2).1 + 64 + GUTTER, images.height);
    }
}
