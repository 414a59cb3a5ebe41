//! [`Dropout`] on the CPU. Which values it drops is a function of the image's seed, of the layer and of the value's place: the
//! way back finds the same ones without their being kept, and so does a run that goes on.

use super::super::plane::{Feed, Plane};
use super::super::{Act, Cpu};
use crate::error::Result;
use crate::exec::Dropout;

/// The last word of these draws' counters.
const PURPOSE: u32 = 6;

impl Dropout {
    /// act(norm(x)) of a feed, (batch, channels, height, width), with values dropped; `layer` is the layer's number.
    pub fn feed(&self, cpu: &mut Cpu, feed: &Feed, layer: u32) -> Result<Act> {
        let shape = feed.x.shape;
        // No border and no gaps: a plain matrix.
        let plane = Plane { stride: shape[1], ..Plane::new(shape, 0, 0, None) };
        let mut out = Act { slot: plane.fill(cpu, feed)?, shape, sums: None };
        self.mask(cpu, &mut out, layer);
        Ok(out)
    }

    /// The same values of another activation of that shape: a gradient.
    pub fn mask(&self, cpu: &mut Cpu, x: &mut Act, layer: u32) {
        if cpu.arena.planning() {
            return;
        }
        let [_, c, h, w] = x.shape;
        let pixels = h * w;
        let step = (4 * 1024 / c).max(1);
        cpu.pool.grid(x.slot.values_mut(), c, (step, c), &mut [], |window, _| {
            for row in window.rows() {
                let seed = self.seeds[row / pixels];
                self.mask_row(seed, layer, (row % pixels) * c, window.row(row));
            }
        });
    }

    /// Values of one image from number `first` on, channels last.
    fn mask_row(&self, seed: u64, layer: u32, first: usize, row: &mut [f32]) {
        let kept = 1.0 / (1.0 - self.rate);
        let limit = (f64::from(self.rate) * 2f64.powi(32)) as u64;
        let mut words = [0; 4];
        for (at, value) in (first..).zip(row.iter_mut().enumerate()) {
            let (i, value) = value;
            if i == 0 || at.is_multiple_of(4) {
                words = (self.words)(seed, [(at / 4) as u32, layer, 0, PURPOSE]);
            }
            *value = if u64::from(words[at % 4]) < limit { 0.0 } else { *value * kept };
        }
    }

    /// What one value of an image is multiplied with.
    #[cfg(test)]
    pub fn factor(&self, image: usize, layer: u32, at: usize) -> f32 {
        let mut one = [1.0];
        self.mask_row(self.seeds[image], layer, at, &mut one);
        one[0]
    }
}
