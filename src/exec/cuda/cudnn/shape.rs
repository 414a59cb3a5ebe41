//! A convolution as the network asks for it.

use crate::error::{Error, Result};
use crate::exec::cuda::kernels::Element;

/// What is added to each output channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Bias {
    /// Nothing.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "cuDNN has kernels of f32 for it, which the network does not ask for")
    )]
    None,
    /// (c_out), the same in every image. In the activations' own type, and without `scale`, cuDNN has many more
    /// kernels to choose from than in f32.
    Shared(Element),
    /// (batch, c_out) f32, image by image `stride` floats apart, a multiple of 4.
    PerImage {
        /// From one image's first value to the next one's.
        stride: usize,
    },
}

/// Side of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Taps {
    /// 1x1
    One,
    /// 3x3
    Three,
}

impl Taps {
    /// 1 or 3.
    pub fn side(self) -> usize {
        match self {
            Taps::One => 1,
            Taps::Three => 3,
        }
    }
}

/// y = (conv(x, w) + residual + bias) * scale, everything after the products in f32, rounded once.
///
/// x: (batch, height, width, c_in); w: (c_out, taps, taps, c_in); residual, y: (batch, height', width', c_out); dense,
/// the last index fastest. All addresses are multiples of 16 bytes.
///
/// With [`Element::F32`], cuDNN (9.28, found on its model of an H100) has no kernel without tensor cores that takes a
/// bias per image of more than one image.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConvShape {
    /// Images.
    pub batch: usize,
    /// Rows of x.
    pub height: usize,
    /// Columns of x.
    pub width: usize,
    /// Channels of x.
    pub c_in: usize,
    /// Channels of y.
    pub c_out: usize,
    /// Side of the kernel.
    pub taps: Taps,
    /// From one output pixel to the next, in input pixels.
    pub stride: usize,
    /// Rows of zeros above, and columns to the left.
    pub pad_before: usize,
    /// Rows of zeros below, and columns to the right.
    pub pad_after: usize,
    /// Type of x, w, residual and y.
    pub element: Element,
    /// What is added to each channel.
    pub bias: Bias,
    /// Whether a tensor of y's shape is added.
    pub residual: bool,
    /// Multiplies the sum; 1 is none.
    pub scale: f32,
}

impl ConvShape {
    /// Height and width of y.
    pub fn output(&self) -> (usize, usize) {
        let side = |size: usize| {
            (size + self.pad_before + self.pad_after).saturating_sub(self.taps.side()) / self.stride.max(1)
                + 1
        };
        (side(self.height), side(self.width))
    }

    /// Refuses what cannot be a convolution; a caller's bug.
    pub(super) fn check(&self) -> Result<()> {
        let sizes = [self.batch, self.height, self.width, self.c_in, self.c_out, self.stride];
        let padded = self.height.min(self.width) + self.pad_before + self.pad_after;
        let (height, width) = self.output();
        let largest = (self.height * self.width).max(height * width) as u128;
        let elements = self.batch as u128 * largest * self.c_in.max(self.c_out) as u128;
        let stride_fits = match self.bias {
            Bias::PerImage { stride } => stride >= self.c_out && stride.is_multiple_of(4),
            _ => true,
        };
        if sizes.contains(&0)
            || padded < self.taps.side()
            || elements > i64::MAX as u128
            || !stride_fits
            || !self.scale.is_finite()
        {
            return Err(Error::Internal(format!("{self} is no convolution")));
        }
        Ok(())
    }
}

impl std::fmt::Display for ConvShape {
    fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
        let side = self.taps.side();
        write!(
            f,
            "convolution {side}x{side} of {} x {} x {} x {} to {} channels, stride {}, padding {}+{}, {:?}",
            self.batch,
            self.height,
            self.width,
            self.c_in,
            self.c_out,
            self.stride,
            self.pad_before,
            self.pad_after,
            self.element
        )?;
        match self.bias {
            Bias::None => {}
            Bias::Shared(element) => write!(f, ", {element:?} bias")?,
            Bias::PerImage { .. } => write!(f, ", bias per image")?,
        }
        if self.residual {
            write!(f, ", residual")?;
        }
        if self.scale != 1.0 {
            write!(f, ", times {}", self.scale)?;
        }
        Ok(())
    }
}
