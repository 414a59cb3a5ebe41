//! Planes: what the GEMMs read. A copy of an activation with a border of zeros, normalised and activated on the
//! way, and resized or not; channels last, so that a tap is an offset and no kernel has a branch.

use super::Cpu;
use super::arena::Slot;
use super::isa::Kernels;
use super::math::{activate, affine};
use super::norm::Joined;
use crate::cpu_features::vectorize;
use crate::error::Result;
use crate::exec::{Activation, Resize};

/// Size and place of a plane.
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// Height and width, borders included.
    pub size: (usize, usize),
    /// Rows of zeros above, and columns on the left; those below and on the right are what remains.
    pub border: (usize, usize),
    /// What became of the source's height and width.
    pub resize: Option<Resize>,
    /// Channels.
    pub channels: usize,
    /// Floats from one pixel to the next.
    pub stride: usize,
}

/// Height and width after a change of them.
pub fn resized(resize: Option<Resize>, (h, w): (usize, usize)) -> (usize, usize) {
    resize.map_or((h, w), |resize| (resize.of(h), resize.of(w)))
}

/// What a plane is filled with: act(x scale + shift).
#[derive(Clone, Copy)]
pub struct Feed<'a> {
    /// x
    pub x: &'a Joined<'a>,
    /// (batch, [scale, shift], channels); none means x itself.
    pub map: Option<&'a Slot>,
    /// act
    pub activation: Option<Activation>,
}

impl Plane {
    /// A plane of a source of this shape, with `border` zeros on top and left and `after` below and right.
    pub fn new([_, c, h, w]: [usize; 4], border: usize, after: usize, resize: Option<Resize>) -> Self {
        // Pixels a power of two apart fall into few sets of the first cache; a vector more spreads them.
        let stride = if c.is_multiple_of(64) { c + 16 } else { c };
        let (h, w) = resized(resize, (h, w));
        let size = (h + border + after, w + border + after);
        Self { size, border: (border, border), resize, channels: c, stride }
    }

    /// Floats from one row to the next.
    pub fn row(&self) -> usize {
        self.size.1 * self.stride
    }

    /// Floats from one image to the next.
    pub fn image(&self) -> usize {
        self.size.0 * self.row()
    }

    /// Height and width of a 3x3 convolution over it whose outputs are `step` pixels apart.
    pub fn size_by_steps_of(&self, step: usize) -> (usize, usize) {
        let size = |padded: usize| padded.checked_sub(3).map_or(0, |room| room / step + 1);
        (size(self.size.0), size(self.size.1))
    }

    /// A whole plane.
    pub fn fill(&self, cpu: &mut Cpu, feed: &Feed) -> Result<Slot> {
        let mut slot = cpu.arena.alloc(feed.x.shape[0] * self.image())?;
        if cpu.arena.planning() {
            return Ok(slot);
        }
        let (kernels, row) = (cpu.kernels, self.row());
        let rows_a_task = (16384 / row).max(1);
        cpu.pool.grid(slot.values_mut(), row, (rows_a_task, row), &mut [], |window, _| {
            let first = window.rows().start;
            self.fill_rows(&kernels, feed, first, window.whole_rows());
        });
        Ok(slot)
    }

    /// Rows of a plane from row `first` on, all images' planes one below the other.
    pub fn fill_rows(&self, kernels: &Kernels, feed: &Feed, first: usize, out: &mut [f32]) {
        vectorize(
            kernels.isa(),
            #[inline(always)]
            || {
                for (i, out) in out.chunks_exact_mut(self.row()).enumerate() {
                    self.fill_row(kernels, feed, first + i, out);
                }
            },
        );
    }

    #[inline(always)]
    fn fill_row(&self, kernels: &Kernels, feed: &Feed, row: usize, out: &mut [f32]) {
        let [_, c, h, w] = feed.x.shape;
        let (down, across) = resized(self.resize, (h, w));
        let (image, y) = (row / self.size.0, row % self.size.0);
        let (above, beside) = self.border;
        if y < above || y >= above + down {
            return out.fill(0.0);
        }
        let y = y - above;
        let left = beside * self.stride;
        let right = left + across * self.stride;
        out[..left].fill(0.0);
        out[right..].fill(0.0);
        for (x, out) in out[left..right].chunks_exact_mut(self.stride).enumerate() {
            let pixel = |y: usize, x: usize| (image * h + y) * w + x;
            let values = &mut out[..c];
            match self.resize {
                None => feed.read(kernels, image, pixel(y, x), values),
                Some(Resize::Double) => feed.read(kernels, image, pixel(y / 2, x / 2), values),
                Some(Resize::Halve) => {
                    let pixels = [0, 1, 2, 3].map(|i| pixel(2 * y + i / 2, 2 * x + i % 2));
                    feed.read_average(kernels, image, pixels, values);
                }
            }
            // Kernels read whole vectors, and pairs.
            out[c..c.next_multiple_of(16).min(self.stride)].fill(0.0);
        }
    }
}

impl Feed<'_> {
    /// All channels of a pixel of an image.
    #[inline(always)]
    fn read(&self, kernels: &Kernels, image: usize, pixel: usize, out: &mut [f32]) {
        let (mut from, mut rest) = (0, out);
        for (values, width) in self.x.values.into_iter().zip(self.x.channels) {
            let (out, after) = rest.split_at_mut(width);
            self.part(kernels, image, &values[pixel * width..][..width], from, out);
            (from, rest) = (from + width, after);
        }
    }

    /// The average of four pixels of an image.
    #[inline(always)]
    fn read_average(&self, kernels: &Kernels, image: usize, pixels: [usize; 4], out: &mut [f32]) {
        const CHUNK: usize = 64;
        let (mut from, mut rest) = (0, out);
        for (values, width) in self.x.values.into_iter().zip(self.x.channels) {
            let (out, after) = rest.split_at_mut(width);
            for (i, out) in out.chunks_mut(CHUNK).enumerate() {
                let mut one = [0.0; CHUNK];
                let one = &mut one[..out.len()];
                out.fill(0.0);
                for pixel in pixels {
                    let values = &values[pixel * width + i * CHUNK..][..out.len()];
                    self.part(kernels, image, values, from + i * CHUNK, one);
                    out.iter_mut().zip(&*one).for_each(|(out, value)| *out += 0.25 * value);
                }
            }
            (from, rest) = (from + width, after);
        }
    }

    /// Some of a pixel's values, those of the channels from `first` on.
    #[inline(always)]
    fn part(&self, kernels: &Kernels, image: usize, values: &[f32], first: usize, out: &mut [f32]) {
        let Some(map) = self.map else {
            out.copy_from_slice(values);
            return self.activation.into_iter().for_each(|activation| activate(activation, out));
        };
        let (map, c) = (map.values(), self.x.shape[1]);
        let scale = &map[image * 2 * c + first..][..values.len()];
        let shift = &map[image * 2 * c + c + first..][..values.len()];
        affine(kernels, self.activation, values, scale, shift, out);
    }
}
