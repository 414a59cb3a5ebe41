//! 8-bit pixels: what the library is asked for, what a PNG holds, and the PNG itself.

use super::Shape;
use onestep::image::{Format, Layout};
use onestep::{Error, Result};

/// The pixels of a PNG.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pixel {
    /// 1 byte, for models of one channel.
    Grey,
    /// 3 bytes.
    Rgb,
    /// 4 bytes, for models of four channels.
    Rgba,
}

impl Pixel {
    /// The pixels that suit a model; the library refuses channel counts that no picture has.
    pub fn of(shape: Shape) -> Self {
        match shape.channels {
            1 => Pixel::Grey,
            4 => Pixel::Rgba,
            _ => Pixel::Rgb,
        }
    }

    /// Bytes a pixel.
    pub fn bytes(self) -> usize {
        match self {
            Pixel::Grey => 1,
            Pixel::Rgb => 3,
            Pixel::Rgba => 4,
        }
    }

    /// What the library is asked for.
    pub fn layout(self) -> Layout {
        let format = if self == Pixel::Rgba { Format::Rgba8 } else { Format::Rgb8 };
        Layout { format, ..Layout::default() }
    }

    /// The bytes a PNG holds, of those that the library gave: grey arrives three times over.
    pub fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Pixel::Grey => bytes.iter().step_by(3).copied().collect(),
            Pixel::Rgb | Pixel::Rgba => bytes.to_vec(),
        }
    }

    /// A shade of grey as one pixel.
    pub fn shade(self, level: u8) -> Vec<u8> {
        match self {
            Pixel::Grey => vec![level],
            Pixel::Rgb => vec![level; 3],
            Pixel::Rgba => vec![level, level, level, 255],
        }
    }

    /// A PNG file of width times height pixels.
    pub fn encode(self, width: usize, height: usize, pixels: &[u8]) -> Result<Vec<u8>> {
        let color = match self {
            Pixel::Grey => png::ColorType::Grayscale,
            Pixel::Rgb => png::ColorType::Rgb,
            Pixel::Rgba => png::ColorType::Rgba,
        };
        let mut file = Vec::new();
        let mut encoder = png::Encoder::new(&mut file, width as u32, height as u32);
        encoder.set_color(color);
        encoder.set_depth(png::BitDepth::Eight);
        let written = encoder.write_header().and_then(|mut writer| writer.write_image_data(pixels));
        // Writing to memory fails on a wrong size alone.
        written.map_err(|error| Error::Internal(format!("PNG: {error}")))?;
        Ok(file)
    }
}
