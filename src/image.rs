//! Float images to pixels: the layout of a caller's buffer, its checks, and the conversion.

use crate::error::{Error, Result};

/// What a pixel looks like in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(i32)]
pub enum Format {
    /// f32, (n, c, h, w), native byte order.
    #[default]
    F32Nchw = 0,
    /// f32, (n, h, w, c), native byte order.
    F32Nhwc = 1,
    /// 8 bits a channel; one channel is written as grey.
    Rgb8 = 2,
    /// 8 bits a channel; alpha is 255 unless the model has four channels.
    Rgba8 = 3,
    /// As `Rgba8`, blue first.
    Bgra8 = 4,
}

/// Where each pixel of a batch goes. Strides are in bytes; 0 means tight.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    /// The pixel format.
    pub format: Format,
    /// Bottom row first (textures of OpenGL and Unity).
    pub flip_y: bool,
    /// Floats in [0, 1] instead of the network's own [-1, 1]; clamps neither. 8-bit formats ignore it.
    pub unit_range: bool,
    /// Bytes from one row to the next.
    pub row_stride: u64,
    /// Bytes from one channel plane to the next ([`Format::F32Nchw`] alone).
    pub plane_stride: u64,
    /// Bytes from one image to the next.
    pub image_stride: u64,
}

/// Writes a batch of (n, c, h, w) values into the caller's buffer.
pub fn write(_values: &[f32], _shape: [usize; 4], _layout: &Layout, _out: &mut [u8]) -> Result<()> {
    Err(Error::Internal("not written yet".to_owned()))
}
