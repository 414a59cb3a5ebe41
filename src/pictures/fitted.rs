//! A picture cut and resized, for training.

use super::Picture;
use resize::Pixel::{Gray8, RGB8, RGBA8P};
use rgb::FromSlice;
use std::io::{Error, Result};

impl Picture {
    /// The largest middle part of the shape asked for, resized: the part first, so that nothing beyond it bleeds in.
    /// Lanczos rings at the hard edges of drawings; a triangle, which widens as it shrinks, does not. Colours count as
    /// much as they are opaque.
    pub fn fitted(&self, width: usize, height: usize) -> Result<Self> {
        let cut_w = self.width.min((self.height as u64 * width as u64 / height as u64).max(1) as usize);
        let cut_h = self.height.min((self.width as u64 * height as u64 / width as u64).max(1) as usize);
        let (x, y) = ((self.width - cut_w) / 2, (self.height - cut_h) / 2);
        let from = &self.bytes[(y * self.width + x) * self.channels..];
        let mut bytes = vec![0; width * height * self.channels];
        macro_rules! resize {
            ($pixel:expr, $pixels:ident, $pixels_mut:ident) => {
                resize::new(cut_w, cut_h, width, height, $pixel, resize::Type::Triangle)
                    .and_then(|mut r| r.resize_stride(from.$pixels(), self.width, bytes.$pixels_mut()))
            };
        }
        let resized = match self.channels {
            1 => resize!(Gray8, as_gray, as_gray_mut),
            3 => resize!(RGB8, as_rgb, as_rgb_mut),
            _ => resize!(RGBA8P, as_rgba, as_rgba_mut),
        };
        resized.map_err(|error| Error::other(error.to_string()))?;
        Ok(Self { width, height, channels: self.channels, bytes })
    }
}
