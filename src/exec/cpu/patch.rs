//! Patches: boxes of a batch of images that tasks write side by side.
#![allow(unsafe_code)]

use super::isa::Square;
use super::pool::{Pool, Raw};
use std::marker::PhantomData;
use std::ops::Range;

/// A batch of NHWC images and how it falls into patches.
#[derive(Clone, Copy, Debug)]
pub struct Canvas {
    /// Rows of pixels, all images together.
    pub lines: usize,
    /// Pixels a line.
    pub width: usize,
    /// Floats a pixel.
    pub channels: usize,
    /// Lines that are cut together (an image's, or several images'), and lines, pixels and channels a patch.
    pub period: usize,
    /// See `period`.
    pub step: [usize; 3],
    /// Pixels of a line whose sums are kept together, however it falls into patches: a part of a patch's.
    pub piece: usize,
}

impl Canvas {
    /// How many patches there are: down, across, and in the channels.
    pub fn patches(&self) -> [usize; 3] {
        let [lines, pixels, channels] = self.step;
        let down = (0..self.lines).step_by(self.period).map(|first| {
            let rest = (self.lines - first).min(self.period);
            rest.div_ceil(lines)
        });
        [down.sum(), self.width.div_ceil(pixels), self.channels.div_ceil(channels)]
    }

    /// Lines, pixels and channels of a patch, of as many; its number counts lines fastest, then pixels, then channels.
    fn ranges(&self, patch: usize, [down, across, _]: [usize; 3]) -> [Range<usize>; 3] {
        let [lines, pixels, channels] = self.step;
        let a_period = self.period.div_ceil(lines);
        let (y, x, c) = (patch % down, patch / down % across, patch / down / across);
        let first = y / a_period * self.period;
        let last = self.lines.min(first + self.period);
        let start = first + y % a_period * lines;
        [
            start..last.min(start + lines),
            x * pixels..self.width.min((x + 1) * pixels),
            c * channels..self.channels.min((c + 1) * channels),
        ]
    }

    /// Pieces of a line.
    pub fn pieces(&self) -> usize {
        self.width.div_ceil(self.piece)
    }

    /// Floats of a canvas's sums: two a channel for each piece of a line.
    pub fn sums_len(&self) -> usize {
        self.lines * self.pieces() * 2 * self.channels
    }

    /// Calls `f(patch, scratch)` for every patch of `out`, over all threads; `sums` is as long as
    /// [`Self::sums_len`] says, and `scratch` that worker's equal share of `scratch`.
    pub fn fill<F>(&self, pool: &mut Pool, out: &mut [f32], sums: &mut [f32], scratch: &mut [f32], f: F)
    where
        F: Fn(&mut Patch, &mut [f32]) + Sync,
    {
        let Self { lines, width, channels, period, step, piece } = *self;
        assert!(out.len() == lines * width * channels && period > 0 && step.iter().all(|&step| step > 0));
        assert!(piece > 0 && (step[1] >= width || step[1].is_multiple_of(piece)), "patches that share sums");
        assert!(sums.len() == self.sums_len());
        let patches = self.patches();
        let pieces = self.pieces();
        let [out, sums] = [out.as_mut_ptr(), sums.as_mut_ptr()].map(Raw);
        pool.run_with_scratch(patches.iter().product(), scratch, |index, scratch| {
            let [lines, pixels, cols] = self.ranges(index, patches);
            let mut patch = Patch {
                values: out.get(),
                sums: sums.get(),
                width,
                pieces: (piece, pieces),
                channels,
                lines,
                pixels,
                cols,
                owner: PhantomData,
            };
            f(&mut patch, scratch);
        });
    }
}

/// A box of a canvas that no other patch of it touches.
pub struct Patch<'a> {
    values: *mut f32,
    sums: *mut f32,
    width: usize,
    /// Pixels of a piece of a line, and how many there are.
    pieces: (usize, usize),
    channels: usize,
    // `pixel` and `sums` rest on these: nobody outside may change them.
    lines: Range<usize>,
    pixels: Range<usize>,
    cols: Range<usize>,
    owner: PhantomData<&'a mut [f32]>,
}

impl Patch<'_> {
    /// Its lines.
    pub fn lines(&self) -> Range<usize> {
        self.lines.clone()
    }

    /// Its pixels of each line.
    pub fn pixels(&self) -> Range<usize> {
        self.pixels.clone()
    }

    /// Its channels of each pixel.
    pub fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// Channels `cols` of pixel `x` of a line, all inside the patch.
    #[inline(always)]
    pub fn pixel(&mut self, line: usize, x: usize, cols: Range<usize>) -> &mut [f32] {
        assert!(self.lines.contains(&line) && self.pixels.contains(&x));
        assert!(self.cols.start <= cols.start && cols.start <= cols.end && cols.end <= self.cols.end);
        // SAFETY: the ranges lie inside the canvas, whose floats are borrowed for 'a, and the pixel inside the
        // ranges, as was just checked; patches of one canvas do not overlap, and `&mut self` excludes a second view.
        unsafe {
            let start = (line * self.width + x) * self.channels + cols.start;
            std::slice::from_raw_parts_mut(self.values.add(start), cols.len())
        }
    }

    /// Channels `cols` of `side` pixels of each of `side` lines, from pixel `x` of `line` on, all inside the patch.
    #[inline(always)]
    pub fn square(&mut self, (line, x): (usize, usize), side: usize, cols: Range<usize>) -> Square<'_> {
        assert!(side > 0 && self.lines.contains(&(line + side - 1)) && self.pixels.contains(&(x + side - 1)));
        let (row, pixel, len) = (self.width * self.channels, self.channels, cols.len());
        let first = self.pixel(line, x, cols).as_mut_ptr();
        // SAFETY: as in `pixel`: its first and its last pixel lie inside the ranges.
        unsafe { Square::new(first, [row, pixel], side, len) }
    }

    /// The sums of channels `cols` over the piece of a line that pixel `x` belongs to: (line, piece, [sum, sum of squares],
    /// channel).
    #[inline(always)]
    pub fn sums(&mut self, line: usize, x: usize, cols: Range<usize>) -> [&mut [f32]; 2] {
        assert!(self.lines.contains(&line) && self.pixels.contains(&x));
        assert!(self.cols.start <= cols.start && cols.start <= cols.end && cols.end <= self.cols.end);
        let (piece, pieces) = self.pieces;
        let first = ((line * pieces + x / piece) * 2) * self.channels + cols.start;
        // SAFETY: as in `pixel`: `fill` checked the length of the sums, each line has a place for each piece, none of which
        // reaches into a second patch, and the two ranges of channels do not overlap.
        unsafe {
            [0, self.channels]
                .map(|half| std::slice::from_raw_parts_mut(self.sums.add(first + half), cols.len()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patches_tile_the_canvas() {
        let mut pool = Pool::new(2, None).unwrap();
        for (lines, width, channels, period, step, piece) in [
            (1, 1, 1, 1, [1, 1, 1], 1),
            (12, 5, 7, 6, [4, 2, 3], 2),
            (20, 8, 16, 8, [8, 8, 16], 3),
            (15, 9, 40, 5, [2, 100, 16], 8),
            (15, 19, 4, 5, [2, 8, 4], 4),
        ] {
            let canvas = Canvas { lines, width, channels, period, step, piece };
            let mut out = vec![0.0; lines * width * channels];
            let mut sums = vec![0.0; canvas.sums_len()];
            canvas.fill(&mut pool, &mut out, &mut sums, &mut [0.0; 6], |patch, scratch| {
                assert_eq!(scratch.len(), 3);
                // A patch never reaches from one period into another.
                assert_eq!(patch.lines().start / period, (patch.lines().end - 1) / period);
                for line in patch.lines() {
                    for x in patch.pixels().filter(|x| x % piece == 0) {
                        for sums in patch.sums(line, x, patch.cols()) {
                            sums.iter_mut().for_each(|sum| *sum += 1.0);
                        }
                    }
                    for x in patch.pixels() {
                        let cols = patch.cols();
                        let first = (line * width + x) * channels + cols.start;
                        for (i, value) in patch.pixel(line, x, cols).iter_mut().enumerate() {
                            *value += (first + i) as f32;
                        }
                    }
                }
            });
            assert!(out.iter().enumerate().all(|(i, &value)| value == i as f32), "{canvas:?}");
            assert!(sums.iter().all(|&sum| sum == 1.0), "{canvas:?}");
        }
    }
}
