//! Images as Inception is shown them. Two customs disagree in how they enlarge an image and where grey lies; scores of one are
//! not comparable with scores of the other.

use super::inception::SIDE;
use super::source::Image;
use crate::names::named;
use serde::{Deserialize, Serialize};

/// How an image becomes Inception's input.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Protocol {
    /// As the first FID's graph in TensorFlow did, and EDM's, OpenAI's and torch-fidelity's do: output pixel i lies at i times
    /// (side / 299) of the image, and values are (x - 128) / 128.
    #[default]
    Tf,
    /// As pytorch-fid does: output pixel i lies at (i + 1/2) (side / 299) - 1/2, and values are 2 (x / 255) - 1.
    PytorchFid,
}

named!(Protocol { "tf" => Tf, "pytorch-fid" => PytorchFid });

impl Protocol {
    fn value(self, byte: u8) -> f32 {
        match self {
            Protocol::Tf => f32::from(byte),
            Protocol::PytorchFid => f32::from(byte) / 255.0,
        }
    }

    fn shown(self, value: f32) -> f32 {
        match self {
            Protocol::Tf => (value - 128.0) / 128.0,
            Protocol::PytorchFid => 2.0 * value - 1.0,
        }
    }

    /// The two pixels that an output pixel lies between, and how far from the first.
    fn between(self, at: usize, side: usize) -> (usize, usize, f32) {
        let scale = side as f32 / SIDE as f32;
        let place = match self {
            Protocol::Tf => at as f32 * scale,
            Protocol::PytorchFid => ((at as f32 + 0.5) * scale - 0.5).max(0.0),
        };
        let first = (place as usize).min(side - 1);
        (first, (first + 1).min(side - 1), place - first as f32)
    }

    /// Fills `out`, 299 by 299 RGB floats, channels last. Grey is shown as RGB of three equal channels; alpha is left
    /// out, as Pillow's `convert("RGB")` leaves it out.
    pub fn fill(self, image: &Image, out: &mut [f32]) {
        let across: [(usize, usize, f32); SIDE] = std::array::from_fn(|x| self.between(x, image.width));
        let channels = image.channels;
        for (y, row) in out.chunks_exact_mut(3 * SIDE).enumerate() {
            let (above, below, down) = self.between(y, image.height);
            let line = |y: usize| &image.pixels[y * image.width * channels..][..image.width * channels];
            let (above, below) = (line(above), line(below));
            for (pixel, &(left, right, beside)) in row.chunks_exact_mut(3).zip(&across) {
                for (channel, out) in pixel.iter_mut().enumerate() {
                    let channel = if channels == 1 { 0 } else { channel };
                    let mixed = |line: &[u8]| {
                        let [left, right] = [left, right].map(|x| self.value(line[x * channels + channel]));
                        left + (right - left) * beside
                    };
                    let (above, below) = (mixed(above), mixed(below));
                    *out = self.shown(above + (below - above) * down);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_of_the_right_size_is_shown_as_it_is() {
        let pixels: Vec<u8> = (0..SIDE * SIDE).map(|i| (i % 251) as u8).collect();
        let image = Image { width: SIDE, height: SIDE, channels: 1, pixels: pixels.clone() };
        let mut out = vec![0.0; 3 * SIDE * SIDE];
        Protocol::Tf.fill(&image, &mut out);
        assert!(out.iter().enumerate().all(|(i, &x)| x == (f32::from(pixels[i / 3]) - 128.0) / 128.0));
        Protocol::PytorchFid.fill(&image, &mut out);
        let close =
            |(i, &x): (usize, &f32)| (x - (2.0 * f32::from(pixels[i / 3]) / 255.0 - 1.0)).abs() < 1e-5;
        assert!(out.iter().enumerate().all(close));
    }

    #[test]
    fn the_customs_differ_by_half_a_pixel() {
        // Two pixels, black and white, and alpha that counts for nothing.
        let image = Image { width: 2, height: 1, channels: 4, pixels: vec![0, 0, 0, 9, 255, 255, 255, 200] };
        let mut out = vec![0.0; 3 * SIDE * SIDE];
        Protocol::Tf.fill(&image, &mut out);
        let first = 75.0 * (2.0 / 299.0) * 255.0;
        assert!((out[3 * 75] - (first - 128.0) / 128.0).abs() < 1e-5);
        assert_eq!(out[3 * 298], 127.0 / 128.0);
        Protocol::PytorchFid.fill(&image, &mut out);
        assert_eq!(out[3 * 74], -1.0);
        let middle = 2.0 * (149.5 * (2.0 / 299.0) - 0.5) - 1.0;
        assert!((out[3 * 149] - middle).abs() < 1e-5, "{}", out[3 * 149]);
        assert_eq!(out[3 * 298], 1.0);
    }
}
