//! A PNG, JPEG or WebP file, decoded and upright; for training, cut and resized.

use crate::error::try_zeroed;
use std::fs::File;
use std::io::{BufRead, Cursor, Error, ErrorKind, Read, Result};
use std::path::Path;
use zune_jpeg::zune_core::bytestream::ZCursor;
use zune_jpeg::zune_core::colorspace::ColorSpace;
use zune_jpeg::zune_core::options::DecoderOptions;

/// Bytes of a decoded picture at most.
const LARGEST: usize = 512 << 20;

/// Rows of bytes.
pub struct Picture {
    pub width: usize,
    pub height: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// Row by row, a pixel's channels side by side.
    pub bytes: Vec<u8>,
}

impl Picture {
    /// Reads a file, which is told by its first bytes, not by its name.
    pub fn read(path: &Path) -> Result<Self> {
        // Opening a pipe would wait for whoever writes into it.
        if !std::fs::metadata(path)?.is_file() {
            return Err(Error::other("not a regular file"));
        }
        Self::decode(read_whole(File::open(path)?)?)
    }

    /// Decodes what a file holds.
    pub fn decode(mut file: Cursor<Vec<u8>>) -> Result<Self> {
        match file.fill_buf()? {
            [0x89, b'P', b'N', b'G', ..] => png(file),
            [0xFF, 0xD8, 0xFF, ..] => jpeg(file),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => webp(file),
            _ => Err(Error::other("no PNG, JPEG or WebP file")),
        }
    }

    /// The same as its camera was held: `exif` is EXIF's data, as a TIFF file has it.
    fn upright(self, exif: Option<&[u8]>) -> Result<Self> {
        let tags = exif.and_then(|exif| exif::Reader::new().read_raw(exif.to_vec()).ok());
        let orientation =
            tags.as_ref().and_then(|tags| tags.get_field(exif::Tag::Orientation, exif::In::PRIMARY));
        self.oriented(orientation.and_then(|field| field.value.get_uint(0)).unwrap_or(1))
    }

    /// By EXIF's number: 1 is as it is, 3 upside down, 6 and 8 on a side; 2, 4, 5 and 7 are mirrored too.
    fn oriented(self, orientation: u32) -> Result<Self> {
        let Self { width, height, channels, .. } = self;
        let (new_width, new_height) = if orientation < 5 { (width, height) } else { (height, width) };
        if !(2..=8).contains(&orientation) {
            return Ok(self);
        }
        let mut bytes = zeroed(self.bytes.len())?;
        let places = (0..new_height).flat_map(|y| (0..new_width).map(move |x| (y, x)));
        for ((y, x), to) in places.zip(bytes.chunks_exact_mut(channels)) {
            let (row, column) = match orientation {
                2 => (y, width - 1 - x),
                3 => (height - 1 - y, width - 1 - x),
                4 => (height - 1 - y, x),
                5 => (x, y),
                6 => (height - 1 - x, y),
                7 => (height - 1 - x, width - 1 - y),
                _ => (x, width - 1 - y),
            };
            to.copy_from_slice(&self.bytes[(row * width + column) * channels..][..channels]);
        }
        Ok(Self { width: new_width, height: new_height, channels, bytes })
    }

    /// One channel of this many, for each pixel; see [`grey`].
    #[cfg(feature = "train")]
    pub fn channel(&self, channel: usize, channels: usize) -> impl Iterator<Item = u8> {
        self.bytes.chunks_exact(self.channels).map(move |pixel| match (channels, channel, pixel) {
            (_, 3, &[_, _, _, alpha]) => alpha,
            (_, 3, _) => 255,
            (1, _, &[r, g, b, ..]) => grey([r, g, b]),
            (_, channel, &[_, _, _, ..]) => pixel[channel],
            (_, _, pixel) => pixel[0],
        })
    }
}

/// A file's bytes, read before they are looked at: what the system says is then no fault of the picture's.
pub(super) fn read_whole(file: impl Read) -> Result<Cursor<Vec<u8>>> {
    let mut bytes = Vec::new();
    file.take(LARGEST as u64 + 1).read_to_end(&mut bytes)?;
    match bytes.len() > LARGEST {
        true => Err(Error::other(format!("it has more than {LARGEST} bytes"))),
        false => Ok(Cursor::new(bytes)),
    }
}

fn zeroed(len: usize) -> Result<Vec<u8>> {
    try_zeroed(len, "a picture").map_err(|error| Error::new(ErrorKind::OutOfMemory, error.to_string()))
}

/// The luminance of ITU-R 601, rounded as Pillow rounds it.
pub fn grey([r, g, b]: [u8; 3]) -> u8 {
    ((u32::from(r) * 19595 + u32::from(g) * 38470 + u32::from(b) * 7471 + 0x8000) >> 16) as u8
}

fn png(file: Cursor<Vec<u8>>) -> Result<Picture> {
    let mut decoder = png::Decoder::new_with_limits(file, png::Limits { bytes: LARGEST });
    decoder.set_transformations(png::Transformations::EXPAND);
    let mut reader = decoder.read_info()?;
    let len = reader.output_buffer_size().filter(|len| *len <= LARGEST);
    let mut bytes = zeroed(len.ok_or_else(too_large)?)?;
    let info = reader.next_frame(&mut bytes)?;
    if info.bit_depth == png::BitDepth::Sixteen {
        let nearest =
            |&[high, low]: &[u8; 2]| ((u32::from(u16::from_be_bytes([high, low])) + 128) / 257) as u8;
        bytes = bytes.as_chunks().0.iter().map(nearest).collect();
    }
    let channels = match info.color_type {
        png::ColorType::Grayscale => 1,
        png::ColorType::Rgb => 3,
        png::ColorType::Rgba => 4,
        png::ColorType::GrayscaleAlpha => {
            bytes = bytes.as_chunks().0.iter().flat_map(|&[grey, alpha]| [grey, grey, grey, alpha]).collect();
            4
        }
        png::ColorType::Indexed => return Err(Error::other("a palette that was not expanded")),
    };
    let picture = Picture { width: info.width as usize, height: info.height as usize, channels, bytes };
    picture.upright(reader.info().exif_metadata.as_deref())
}

/// Its first frame, of one that moves.
fn webp(file: Cursor<Vec<u8>>) -> Result<Picture> {
    let failed = |error: image_webp::DecodingError| Error::other(error.to_string());
    let mut decoder = image_webp::WebPDecoder::new(file).map_err(failed)?;
    let (width, height) = decoder.dimensions();
    let channels = if decoder.has_alpha() { 4 } else { 3 };
    let len = decoder.output_buffer_size().filter(|len| *len <= LARGEST).ok_or_else(too_large)?;
    decoder.set_memory_limit(LARGEST);
    let mut bytes = zeroed(len)?;
    decoder.read_image(&mut bytes).map_err(failed)?;
    let exif = decoder.exif_metadata().map_err(failed)?;
    let picture = Picture { width: width as usize, height: height as usize, channels, bytes };
    picture.upright(exif.as_deref())
}

fn jpeg(file: Cursor<Vec<u8>>) -> Result<Picture> {
    let failed = |error: zune_jpeg::errors::DecodeErrors| Error::other(error.to_string());
    let data = file.into_inner();
    // The decoder makes grey of what is missing; an end comes after the picture's own beginning, not after a thumbnail's.
    let last = |marker: u8| data.windows(2).rposition(|pair| pair == [0xFF, marker]);
    if last(0xD9) < last(0xDA) {
        return Err(Error::other("truncated: no end of the image"));
    }
    let mut decoder = zune_jpeg::JpegDecoder::new(ZCursor::new(&data));
    decoder.decode_headers().map_err(failed)?;
    let (channels, colours) = match decoder.input_colorspace() {
        Some(ColorSpace::Luma) => (1, ColorSpace::Luma),
        _ => (3, ColorSpace::RGB),
    };
    decoder.set_options(DecoderOptions::default().jpeg_set_out_colorspace(colours));
    let info = decoder.info().ok_or_else(|| Error::other("no image"))?;
    let (width, height) = (usize::from(info.width), usize::from(info.height));
    if width * height * channels > LARGEST {
        return Err(too_large());
    }
    if decoder.output_buffer_size() != Some(width * height * channels) {
        return Err(Error::other("other pixels than its header says"));
    }
    let mut bytes = zeroed(width * height * channels)?;
    decoder.decode_into(&mut bytes).map_err(failed)?;
    Picture { width, height, channels, bytes }.upright(decoder.exif().map(Vec::as_slice))
}

fn too_large() -> Error {
    Error::other(format!("it would take more than {LARGEST} bytes"))
}

#[cfg(test)]
pub mod testing {
    use std::io::Write;
    use std::path::Path;

    /// Writes an 8-bit PNG file of 1, 3 or 4 channels.
    pub fn write_png<const C: usize>(
        path: impl AsRef<Path>,
        (width, height): (u32, u32),
        pixel: impl Fn(u32, u32) -> [u8; C],
    ) {
        let pixels: Vec<u8> = (0..height)
            .flat_map(|y| (0..width).map(move |x| (x, y)))
            .flat_map(|(x, y)| pixel(x, y))
            .collect();
        let mut encoder = png::Encoder::new(std::fs::File::create(path).unwrap(), width, height);
        encoder.set_color(
            [
                png::ColorType::Grayscale,
                png::ColorType::GrayscaleAlpha,
                png::ColorType::Rgb,
                png::ColorType::Rgba,
            ][C - 1],
        );
        encoder.write_header().unwrap().write_image_data(&pixels).unwrap();
    }

    /// Writes a zip archive of these members, of which the second is deflated.
    pub fn write_zip(path: &Path, members: &[(&str, &[u8])]) {
        let mut archive = rawzip::ZipArchiveWriter::new(std::fs::File::create(path).unwrap());
        for (i, (name, bytes)) in members.iter().enumerate() {
            let deflated = i == 1;
            let method =
                if deflated { rawzip::CompressionMethod::DEFLATE } else { rawzip::CompressionMethod::STORE };
            let (mut entry, config) = archive.new_file(name).compression_method(method).start().unwrap();
            if deflated {
                let encoder = flate2::write::DeflateEncoder::new(&mut entry, flate2::Compression::default());
                let mut writer = config.wrap(encoder);
                writer.write_all(bytes).unwrap();
                let (encoder, descriptor) = writer.finish().unwrap();
                encoder.finish().unwrap();
                entry.finish(descriptor).unwrap();
            } else {
                let mut writer = config.wrap(&mut entry);
                writer.write_all(bytes).unwrap();
                let (_, descriptor) = writer.finish().unwrap();
                entry.finish(descriptor).unwrap();
            }
        }
        archive.finish().unwrap();
    }
}

#[cfg(test)]
mod tests {
    use super::testing::write_png;
    use super::*;

    fn channels(picture: &Picture, channels: usize) -> Vec<Vec<u8>> {
        (0..channels).map(|channel| picture.channel(channel, channels).collect()).collect()
    }

    #[test]
    fn every_kind_of_png_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_png(&path, (2, 1), |x, _| [10 + x as u8]);
        let grey = Picture::read(&path).unwrap();
        assert_eq!(channels(&grey, 1), [[10, 11]]);
        assert_eq!(channels(&grey, 4), [[10, 11], [10, 11], [10, 11], [255, 255]]);
        write_png(&path, (2, 1), |x, _| [10 + x as u8, 7]);
        assert_eq!(channels(&Picture::read(&path).unwrap(), 4), [[10, 11], [10, 11], [10, 11], [7, 7]]);
        write_png(&path, (1, 2), |_, y| [200, y as u8, 0, 7]);
        let colours = Picture::read(&path).unwrap();
        assert_eq!(channels(&colours, 4), [[200, 200], [0, 1], [0, 0], [7, 7]]);
        assert_eq!(channels(&colours, 3), [[200, 200], [0, 1], [0, 0]]);
        assert_eq!(channels(&colours, 1), [[60, 60]]);

        // One bit a pixel in a palette with transparency; 16 bits.
        let mut encoder = png::Encoder::new(File::create(&path).unwrap(), 2, 1);
        encoder.set_color(png::ColorType::Indexed);
        encoder.set_depth(png::BitDepth::One);
        encoder.set_palette(vec![1, 2, 3, 4, 5, 6]);
        encoder.set_trns(vec![9, 255]);
        encoder.write_header().unwrap().write_image_data(&[0b0100_0000]).unwrap();
        assert_eq!(channels(&Picture::read(&path).unwrap(), 4), [[1, 4], [2, 5], [3, 6], [9, 255]]);
        let mut encoder = png::Encoder::new(File::create(&path).unwrap(), 2, 1);
        encoder.set_color(png::ColorType::Grayscale);
        encoder.set_depth(png::BitDepth::Sixteen);
        encoder.write_header().unwrap().write_image_data(&[0x7F, 0xFF, 0xFF, 0xFF]).unwrap();
        assert_eq!(channels(&Picture::read(&path).unwrap(), 1), [[127, 255]]);
    }

    /// `tests/golden/pictures.py` made them: red to the left, blue to the right.
    #[test]
    fn jpegs_are_read_in_colour_and_in_grey() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures");
        let near = |found: u8, expected: u8| found.abs_diff(expected) <= 2;
        let colours = Picture::read(&data.join("colour.jpg")).unwrap();
        assert_eq!((colours.width, colours.height, colours.channels), (24, 16, 3));
        for (channel, (left, right)) in [(250, 20), (20, 60), (30, 240)].into_iter().enumerate() {
            let values: Vec<u8> = colours.channel(channel, 3).collect();
            assert!(near(values[0], left) && near(values[23], right), "{channel}: {values:?}");
        }
        let grey = Picture::read(&data.join("grey.jpg")).unwrap();
        assert_eq!((grey.width, grey.height, grey.channels), (24, 16, 1));
        let values: Vec<u8> = grey.channel(0, 1).collect();
        assert!(near(values[0], 90) && near(values[23], 69), "{values:?}");
    }

    /// `tests/golden/pictures.py` made them, and Pillow's `exif_transpose` turns them upright.
    #[test]
    fn cameras_are_held_in_eight_ways() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures");
        for orientation in 1..=8 {
            let picture = Picture::read(&data.join(format!("exif-{orientation}.png"))).unwrap();
            assert_eq!((picture.width, picture.height), (3, 2), "{orientation}");
            let reds: Vec<u8> = picture.channel(0, 3).collect();
            assert_eq!(reds, [10, 20, 30, 40, 50, 60], "{orientation}");
        }
        for name in ["exif.jpg", "exif.webp"] {
            let picture = Picture::read(&data.join(name)).unwrap();
            assert_eq!((picture.width, picture.height, picture.channels), (24, 16, 3), "{name}");
            let reds: Vec<u8> = picture.channel(0, 3).collect();
            assert!(reds[0].abs_diff(250) <= 4 && reds[23].abs_diff(20) <= 4, "{name}: {reds:?}");
        }
        let alpha = Picture::read(&data.join("alpha.webp")).unwrap();
        assert_eq!(alpha.channel(3, 4).collect::<Vec<u8>>(), [77; 24 * 16]);
    }

    #[test]
    fn half_a_jpeg_is_none() {
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/pictures");
        let error = Picture::read(&data.join("half.jpg")).err().unwrap().to_string();
        assert_eq!(error, "truncated: no end of the image");
    }

    #[test]
    fn what_is_transparent_does_not_colour_its_neighbours() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        // Columns of opaque red and of black that is not there.
        write_png(&path, (8, 8), |x, _| if x % 2 == 0 { [240, 0, 0, 255] } else { [0, 0, 0, 0] });
        let small = Picture::read(&path).unwrap().fitted(4, 4).unwrap();
        let [red, alpha] = [0, 3].map(|channel| small.channel(channel, 4).collect::<Vec<u8>>());
        assert!(red.iter().all(|&value| value >= 238), "{red:?}");
        assert!(alpha.iter().all(|&value| value > 80 && value < 170), "{alpha:?}");
    }

    #[test]
    fn files_that_are_no_pictures_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        write_png(&path, (9, 9), |x, y| [x as u8, y as u8, 0]);
        let whole = std::fs::read(&path).unwrap();
        for cut in [0, 3, 8, 20, whole.len() / 2] {
            std::fs::write(&path, &whole[..cut]).unwrap();
            assert!(Picture::read(&path).is_err(), "{cut}");
        }
        // A header of a picture beyond memory.
        let mut large = whole.clone();
        large[16..24].copy_from_slice(&[0x7F, 0xFF, 0xFF, 0xFF, 0x7F, 0xFF, 0xFF, 0xFF]);
        std::fs::write(&path, &large).unwrap();
        assert!(Picture::read(&path).is_err());
        std::fs::write(&path, [0xFF, 0xD8, 0xFF, 0xE0, 0, 16]).unwrap();
        assert!(Picture::read(&path).is_err());
    }
}
