//! Planes: what the GEMMs read. A copy of an activation with a border of zeros, normalised and activated on the
//! way, and doubled or not; channels last, so that a tap is an offset and no kernel has a branch.

use super::Cpu;
use super::arena::Slot;
use super::isa::Kernels;
use super::math::affine;
use super::norm::Source;
use crate::cpu_features::vectorize;
use crate::error::Result;
use crate::exec::Activation;

/// Size and place of a plane.
#[derive(Clone, Copy, Debug)]
pub struct Plane {
    /// Height and width, borders included.
    pub size: (usize, usize),
    /// Rows of zeros above, and columns on the left; those below and on the right are what remains.
    pub border: usize,
    /// Each pixel stands `doubled` times in both directions.
    pub doubled: usize,
    /// Channels.
    pub channels: usize,
    /// Floats from one pixel to the next.
    pub stride: usize,
}

/// What a plane is filled with: act(x scale + shift).
#[derive(Clone, Copy)]
pub struct Feed<'a> {
    /// x
    pub x: &'a Source<'a>,
    /// (batch, [scale, shift], channels); none means x itself.
    pub map: Option<&'a Slot>,
    /// act
    pub activation: Option<Activation>,
}

impl Plane {
    /// A plane of a source of this shape, with `border` zeros on top and left and `after` below and right.
    pub fn new([_, c, h, w]: [usize; 4], border: usize, after: usize, doubled: usize) -> Self {
        // Pixels a power of two apart fall into few sets of the first cache; a vector more spreads them.
        let stride = if c.is_multiple_of(64) { c + 16 } else { c };
        let size = (h * doubled + border + after, w * doubled + border + after);
        Self { size, border, doubled, channels: c, stride }
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
        let Feed { x, map, activation } = *feed;
        let map = map.map(Slot::values);
        let [_, c, h, w] = x.shape;
        let (image, y) = (row / self.size.0, row % self.size.0);
        if y < self.border || y >= self.border + h * self.doubled {
            return out.fill(0.0);
        }
        let y = (y - self.border) / self.doubled;
        let left = self.border * self.stride;
        let right = left + w * self.doubled * self.stride;
        out[..left].fill(0.0);
        out[right..].fill(0.0);
        for (column, out) in out[left..right].chunks_exact_mut(self.stride).enumerate() {
            let pixel = (image * h + y) * w + column / self.doubled;
            let (mut from, mut rest) = (0, &mut out[..c]);
            for (values, width) in x.values.into_iter().zip(x.channels) {
                let (out, after) = rest.split_at_mut(width);
                let values = &values[pixel * width..][..width];
                match map {
                    Some(map) => {
                        let scale = &map[image * 2 * c + from..][..width];
                        let shift = &map[image * 2 * c + c + from..][..width];
                        affine(kernels, activation, values, scale, shift, out);
                    }
                    None => out.copy_from_slice(values),
                }
                (from, rest) = (from + width, after);
            }
            // Kernels read whole vectors, and pairs.
            out[c..c.next_multiple_of(16).min(self.stride)].fill(0.0);
        }
    }
}
