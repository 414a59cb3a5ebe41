//! Float images to pixels: the layout of a caller's buffer, its checks, and the conversion.

use crate::error::{Error, Result};

#[cfg(feature = "cuda")]
mod lines;
#[cfg(feature = "cuda")]
pub(crate) use lines::Lines;

/// What a pixel looks like in the caller's buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(i32)]
pub enum Format {
    /// f32, (n, c, h, w), native byte order.
    #[default]
    F32Nchw = 0,
    /// f32, (n, h, w, c), native byte order.
    F32Nhwc = 1,
    /// 8 bits a channel; one channel is written as grey, a fourth is left out.
    Rgb8 = 2,
    /// 8 bits a channel; alpha is the fourth channel of a model of four, not multiplied in, else 255.
    Rgba8 = 3,
    /// As `Rgba8`, blue first.
    Bgra8 = 4,
}

/// Where each pixel of a batch goes. Strides are in bytes; 0 means tight.
///
/// Images lie one behind the other, `image_stride` apart; or on a sheet, with `columns` of them side by side, `column_stride`
/// apart, in each of its rows, which are `image_stride` apart. `row_stride` is the sheet's then, from one row of pixels to the
/// next. With `columns` alone the sheet is one tight picture, `columns` images wide; of floats in planes, each row of images has
/// planes of its own, unless `plane_stride` says otherwise. The last row of images may be shorter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Layout {
    /// The pixel format.
    pub format: Format,
    /// Bottom row first (textures of OpenGL and Unity).
    pub flip_y: bool,
    /// Floats in [0, 1] instead of the network's own [-1, 1]; clamps neither. 8-bit formats ignore it.
    pub unit_range: bool,
    /// Colours times alpha, for who blends so ([`Format::Rgba8`] and [`Format::Bgra8`]; others ignore it).
    pub premultiplied: bool,
    /// Bytes from one row to the next.
    pub row_stride: u64,
    /// Bytes from one channel plane to the next ([`Format::F32Nchw`] alone).
    pub plane_stride: u64,
    /// Bytes from one image to the next; on a sheet, from one row of images to the next.
    pub image_stride: u64,
    /// Images side by side in each row of a sheet; 0: no sheet.
    pub columns: u64,
    /// Bytes from one image to the next in its row of a sheet.
    pub column_stride: u64,
}

impl Format {
    /// From the C interface's number.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for a number that is none of theirs.
    pub fn from_i32(value: i32) -> Result<Self> {
        const ALL: [Format; 5] =
            [Format::F32Nchw, Format::F32Nhwc, Format::Rgb8, Format::Rgba8, Format::Bgra8];
        usize::try_from(value)
            .ok()
            .and_then(|i| ALL.get(i).copied())
            .ok_or_else(|| Error::argument("format", format!("{value} is not one of F32_NCHW 0 to BGRA8 4")))
    }

    /// Bytes of a pixel of 8-bit formats; none for floats.
    fn pixel_bytes(self) -> Option<usize> {
        match self {
            Self::F32Nchw | Self::F32Nhwc => None,
            Self::Rgb8 => Some(3),
            Self::Rgba8 | Self::Bgra8 => Some(4),
        }
    }
}

impl Layout {
    /// Bytes that a batch of shape (batch, channels, height, width) takes: the offset of the last byte written,
    /// plus one. Padding after the last row, plane or image need not be there.
    ///
    /// # Errors
    /// INVALID_ARGUMENT for an empty shape, a stride too small for what it steps over (rows, planes and images, and rows of
    /// images, never overlap, in whatever order they are nested), a float format's stride that is not a multiple of 4, a
    /// `plane_stride` of a format without planes, a `column_stride` without `columns`, a channel count other than 1, 3 or 4 in
    /// an 8-bit format, and sizes beyond 64 bits.
    pub fn output_size(&self, shape: [usize; 4]) -> Result<u64> {
        Ok(self.strides(shape)?.size)
    }

    /// The strides with the tight ones filled in, checked.
    fn strides(&self, shape: [usize; 4]) -> Result<Strides> {
        let [n, c, h, w] = shape.map(|size| size as u64);
        if shape.contains(&0) {
            return Err(Error::argument(
                "shape",
                format!("{shape:?} (batch, channels, height, width) is empty"),
            ));
        }
        let pixel = match self.format.pixel_bytes() {
            _ if self.format == Format::F32Nchw => Some(4),
            None => c.checked_mul(4),
            Some(_) if !matches!(c, 1 | 3 | 4) => {
                return Err(Error::argument(
                    "format",
                    format!("{:?} of {c} channels: 8-bit formats take 1, 3 or 4", self.format),
                ));
            }
            Some(bytes) => Some(bytes as u64),
        };
        let planes = match self.format {
            Format::F32Nchw => c,
            _ if self.plane_stride != 0 => {
                return Err(Error::argument(
                    "plane_stride",
                    format!("{} given, {:?} has no planes: 0 expected", self.plane_stride, self.format),
                ));
            }
            _ => 1,
        };
        let row_bytes = pixel.and_then(|pixel| pixel.checked_mul(w)).ok_or_else(|| too_large(shape))?;
        let padded = |count: u64, stride: u64| count.checked_mul(stride).ok_or_else(|| too_large(shape));
        if self.columns == 0 && self.column_stride != 0 {
            let message = format!("{} given, columns is 0: 0 expected", self.column_stride);
            return Err(Error::argument("column_stride", message));
        }
        let columns = self.columns.max(1);
        let column = self.stride("column_stride", self.column_stride, row_bytes)?;
        let row = self.stride("row_stride", self.row_stride, padded(columns, column)?)?;
        let plane = self.stride("plane_stride", self.plane_stride, padded(h, row)?)?;
        let image = self.stride("image_stride", self.image_stride, padded(planes, plane)?)?;

        // In ascending order each stride must step over all that the smaller ones reach, and nothing overlaps: rows in
        // planes in images, or images side by side in the rows of a sheet.
        let (across, down) = (columns.min(n), n.div_ceil(columns));
        let mut axes = [
            ("row_stride", h, row),
            ("plane_stride", planes, plane),
            ("column_stride", across, column),
            ("image_stride", down, image),
        ];
        axes.sort_by_key(|&(_, _, stride)| stride);
        let mut size = row_bytes;
        for (argument, count, stride) in axes {
            if count > 1 && stride < size {
                return Err(Error::argument(argument, format!("{stride} bytes, at least {size} are needed")));
            }
            size = padded(count - 1, stride)?.checked_add(size).ok_or_else(|| too_large(shape))?;
        }
        // So far the last row of images was whole. What lies furthest is the last image, or that at the end of the row before.
        let mut strides = Strides { row, plane, image, column, columns, row_bytes, size };
        let whole = (down - 1) * image + (across - 1) * column;
        strides.size -= whole - strides.start(n - 1).max(strides.start((n / columns * columns).max(1) - 1));
        Ok(strides)
    }

    /// Whether the colours of images of so many channels are multiplied by their alpha.
    fn premultiplies(&self, channels: usize) -> bool {
        self.premultiplied && channels == 4 && matches!(self.format, Format::Rgba8 | Format::Bgra8)
    }

    /// `given`, or `tight` for 0.
    fn stride(&self, argument: &'static str, given: u64, tight: u64) -> Result<u64> {
        if self.format.pixel_bytes().is_none() && !given.is_multiple_of(4) {
            return Err(Error::argument(
                argument,
                format!("{given} bytes, a multiple of 4 is needed for floats"),
            ));
        }
        Ok(if given == 0 { tight } else { given })
    }
}

/// Writes images, (n, c, h, w) in [-1, 1], where `layout` says. Bytes between strides and after the last one
/// are left alone.
///
/// Floats are written as they are, or as (x + 1) / 2 under `unit_range`; clamped neither way. 8-bit values are
/// floor((clamp(x, -1, 1) + 1) 127.5 + 0.5) in f32 without fused operations, 0 for a NaN; under `premultiplied` a colour's
/// byte v is floor(v a / 255 + 1/2) of those.
///
/// # Errors
/// Those of [`Layout::output_size`]; INVALID_ARGUMENT where `values` is not of that shape; BUFFER_TOO_SMALL.
/// Nothing has been written then.
pub fn write(values: &[f32], shape: [usize; 4], layout: &Layout, out: &mut [u8]) -> Result<()> {
    let strides = layout.strides(shape)?;
    let [_, c, h, w] = shape;
    if shape.iter().try_fold(1_usize, |product, &size| product.checked_mul(size)) != Some(values.len()) {
        return Err(Error::argument("values", format!("{} values, the shape is {shape:?}", values.len())));
    }
    if (out.len() as u64) < strides.size {
        return Err(Error::BufferTooSmall {
            argument: "out",
            expected: strides.size,
            found: out.len() as u64,
        });
    }
    // From here every offset is below `out.len()`, so a usize holds it.
    let row_bytes = strides.row_bytes as usize;
    for (i, image) in values.chunks_exact(c * h * w).enumerate() {
        let place = strides.start(i as u64) as usize;
        for y in 0..h {
            let to = if layout.flip_y { h - 1 - y } else { y };
            let start = place + to * strides.row as usize;
            let row = |channel: usize| &image[(channel * h + y) * w..][..w];
            if layout.format == Format::F32Nchw {
                for channel in 0..c {
                    let out = &mut out[start + channel * strides.plane as usize..][..row_bytes];
                    float_row(row(channel), layout.unit_range, out, 0, 1);
                }
                continue;
            }
            let out = &mut out[start..][..row_bytes];
            match layout.format {
                Format::F32Nchw | Format::F32Nhwc => {
                    (0..c).for_each(|channel| float_row(row(channel), layout.unit_range, out, channel, c));
                }
                _ if c == 1 => byte_row(layout.format, [row(0); 3], None, out),
                _ => byte_row(layout.format, [row(0), row(1), row(2)], (c == 4).then(|| row(3)), out),
            }
            if layout.premultiplies(c) {
                premultiply(out);
            }
        }
    }
    Ok(())
}

/// In bytes, none of them 0.
#[derive(Clone, Copy, Debug)]
struct Strides {
    row: u64,
    plane: u64,
    image: u64,
    column: u64,
    /// Images to a row of a sheet, 1 at least.
    columns: u64,
    /// Bytes of a row that are written.
    row_bytes: u64,
    /// Offset of the last byte written, plus one.
    size: u64,
}

impl Strides {
    /// Offset of image `i`, one of those that the strides were checked for.
    fn start(&self, i: u64) -> u64 {
        i / self.columns * self.image + i % self.columns * self.column
    }
}

fn too_large(shape: [usize; 4]) -> Error {
    Error::argument(
        "layout",
        format!("{shape:?} (batch, channels, height, width) takes more than 2^64 bytes"),
    )
}

/// One channel of a row: every `step`-th float of `out`, from `first` on.
fn float_row(values: &[f32], unit_range: bool, out: &mut [u8], first: usize, step: usize) {
    // (x + 1) / 2, or x itself: adding -0 and multiplying by 1 change no bit of a number.
    let (add, factor) = if unit_range { (1.0, 0.5) } else { (-0.0, 1.0) };
    let spread = |out: &mut [u8], step: usize| {
        for (pixel, &x) in out.chunks_exact_mut(4 * step).zip(values) {
            pixel[4 * first..][..4].copy_from_slice(&((x + add) * factor).to_ne_bytes());
        }
    };
    match step {
        1 => spread(out, 1),
        3 => spread(out, 3),
        _ => spread(out, step),
    }
}

/// A row of an 8-bit format.
fn byte_row(format: Format, [r, g, b]: [&[f32]; 3], alpha: Option<&[f32]>, out: &mut [u8]) {
    match format {
        Format::Bgra8 => pixels::<4>([b, g, r], out),
        Format::Rgba8 => pixels::<4>([r, g, b], out),
        _ => return pixels::<3>([r, g, b], out),
    }
    if let Some(alpha) = alpha {
        for (pixel, &a) in out.chunks_exact_mut(4).zip(alpha) {
            pixel[3] = to_byte(a);
        }
    }
}

/// Three channels to pixels of 3 bytes, or of 4 with an alpha of 255. Converts a block of each channel, which the
/// compiler does with vectors, before it interleaves them.
fn pixels<const BYTES: usize>(channels: [&[f32]; 3], out: &mut [u8]) {
    const BLOCK: usize = 64;
    for (i, out) in out.chunks_mut(BLOCK * BYTES).enumerate() {
        let mut bytes = [[0; BLOCK]; 3];
        for (bytes, channel) in bytes.iter_mut().zip(channels) {
            for (byte, &x) in bytes.iter_mut().zip(&channel[i * BLOCK..]) {
                *byte = to_byte(x);
            }
        }
        for (x, pixel) in out.chunks_exact_mut(BYTES).enumerate().take(BLOCK) {
            let four = [bytes[0][x], bytes[1][x], bytes[2][x], 255];
            pixel.copy_from_slice(&four[..BYTES]);
        }
    }
}

/// Multiplies colours by their alpha, the last of each four bytes.
fn premultiply(row: &mut [u8]) {
    for [colours @ .., alpha] in row.as_chunks_mut::<4>().0 {
        colours.iter_mut().for_each(|value| *value = premultiplied(*value, *alpha));
    }
}

/// value alpha / 255, to nearest.
fn premultiplied(value: u8, alpha: u8) -> u8 {
    ((u32::from(value) * u32::from(alpha) + 127) / 255) as u8
}

/// [-1, 1] to 0..=255, to nearest; a NaN goes to 0.
#[inline(always)]
#[allow(clippy::manual_clamp)] // `clamp` keeps NaN; `max` first turns it into -1.
fn to_byte(x: f32) -> u8 {
    /// Floats of this size have no fraction: adding it rounds to an integer, which the low bits then hold.
    const WHOLE: f32 = (1 << 23) as f32;
    let value = (x.max(-1.0).min(1.0) + 1.0) * 127.5 + 0.5;
    // The floor, exactly, for the vector unit: `as u8` checks bounds that cannot be crossed here, a value at a time.
    let rounded = value + WHOLE;
    (rounded.to_bits() as u8).wrapping_sub(u8::from(rounded - WHOLE > value))
}

#[cfg(test)]
#[path = "image_tests.rs"]
mod tests;
