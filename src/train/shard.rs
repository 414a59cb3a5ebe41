//! One file of pairs: a safetensors file of `seeds` (u64), `labels` (i32, of conditional teachers) and `images` (u8 or
//! f16; n, c, h, w), with a checksum of all of them: CRC-32 of the tensors' bytes, under a native file's key.

use crate::error::{Error, Result};
use crate::weights::{CHECKSUM, FileSource, Header, Source, checksum, padded, write_file};
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::path::Path;

/// How a target is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelType {
    /// The paper's: clamped to [-1, 1], x 127.5 + 127.5, cut down to a byte; read as byte / 127.5 - 1.
    #[default]
    U8,
    /// Half precision, neither clamped nor cut.
    F16,
}

impl PixelType {
    /// Bytes a value.
    pub fn size(self) -> usize {
        match self {
            PixelType::U8 => 1,
            PixelType::F16 => 2,
        }
    }

    /// Appends a value's bytes.
    pub fn encode(self, value: f32, out: &mut Vec<u8>) {
        match self {
            PixelType::U8 => out.push((value.clamp(-1.0, 1.0) * 127.5 + 127.5) as u8),
            PixelType::F16 => out.extend(half::f16::from_f32(value).to_le_bytes()),
        }
    }

    /// Fills `out` from its bytes.
    pub fn decode(self, bytes: &[u8], out: &mut [f32]) {
        match self {
            PixelType::U8 => {
                out.iter_mut().zip(bytes).for_each(|(value, &byte)| *value = f32::from(byte) / 127.5 - 1.0);
            }
            PixelType::F16 => {
                let (halves, _) = bytes.as_chunks();
                out.iter_mut()
                    .zip(halves)
                    .for_each(|(value, half)| *value = half::f16::from_le_bytes(*half).to_f32());
            }
        }
    }
}

/// An open shard.
pub struct Shard {
    source: FileSource,
    /// Where images, seeds and labels begin.
    images: u64,
    seeds: u64,
    labels: Option<u64>,
    image_bytes: usize,
    /// How many pairs.
    pub len: usize,
}

impl Shard {
    /// Opens a shard of images of this shape (c, h, w), and checks its header, and all of its bytes if asked to.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is damaged or of another kind.
    pub fn open(path: &Path, pixels: PixelType, image: [usize; 3], verify: bool) -> Result<Self> {
        let source = FileSource::open(path, u64::MAX)?;
        let header = Header::read(&source)?;
        let bad = |message: String| Error::bad_model(path.display().to_string(), message);
        let of = |name: &str| header.metadata.info(name);
        let Some(info) = of("images") else {
            return Err(bad("no tensor images: not a shard of pairs".into()));
        };
        let dtype = if pixels == PixelType::U8 { Dtype::U8 } else { Dtype::F16 };
        let fits = info.dtype == dtype && info.shape.len() == 4 && info.shape[1..] == image;
        if !fits {
            let found =
                format!("images are {:?} {:?}, {dtype:?} [n, {image:?}] expected", info.dtype, info.shape);
            return Err(bad(found));
        }
        let len = info.shape[0];
        let place = |name: &str, dtype: Dtype| match of(name) {
            Some(info) if info.dtype == dtype && info.shape == [len] => {
                Ok(Some(header.data_start + info.data_offsets.0 as u64))
            }
            Some(info) => {
                Err(bad(format!("{name} is {:?} {:?}, {dtype:?} [{len}] expected", info.dtype, info.shape)))
            }
            None => Ok(None),
        };
        let seeds = place("seeds", Dtype::U64)?.ok_or_else(|| bad("no tensor seeds".into()))?;
        let labels = place("labels", Dtype::I32)?;
        let images = header.data_start + info.data_offsets.0 as u64;
        if verify {
            let expected = header.metadata.metadata().as_ref().and_then(|metadata| metadata.get(CHECKSUM));
            let expected =
                expected.ok_or_else(|| bad(format!("no checksum under __metadata__[\"{CHECKSUM}\"]")))?;
            let mut hasher = crc32fast::Hasher::new();
            checksum(&source, header.data_start..source.len(), &mut hasher)?;
            let found = format!("{:08x}", hasher.finalize());
            if found != *expected {
                return Err(bad(format!("damaged: its checksum is {found}, the file says {expected}")));
            }
        }
        let image_bytes = image.iter().product::<usize>() * pixels.size();
        Ok(Self { source, images, seeds, labels, image_bytes, len })
    }

    /// Seed and label of a pair; its target's bytes into `bytes`.
    ///
    /// # Errors
    /// IO.
    pub fn read(&self, index: usize, bytes: &mut Vec<u8>) -> Result<(u64, Option<i32>)> {
        bytes.resize(self.image_bytes, 0);
        self.source.read_at(self.images + (index * self.image_bytes) as u64, bytes)?;
        let mut seed = [0; 8];
        self.source.read_at(self.seeds + 8 * index as u64, &mut seed)?;
        let label = match self.labels {
            Some(start) => {
                let mut label = [0; 4];
                self.source.read_at(start + 4 * index as u64, &mut label)?;
                Some(i32::from_le_bytes(label))
            }
            None => None,
        };
        Ok((u64::from_le_bytes(seed), label))
    }
}

/// Writes a shard beside its place, then renames. `images` has `pixels` bytes of (seeds.len(), image).
///
/// # Errors
/// IO.
pub fn write(
    path: &Path,
    seeds: &[u64],
    labels: Option<&[i32]>,
    pixels: PixelType,
    image: [usize; 3],
    images: &[u8],
) -> Result<()> {
    let [c, h, w] = image;
    let n = seeds.len();
    let seeds: Vec<u8> = seeds.iter().flat_map(|seed| seed.to_le_bytes()).collect();
    let labels: Option<Vec<u8>> =
        labels.map(|labels| labels.iter().flat_map(|label| label.to_le_bytes()).collect());
    // Widest first, so that every tensor lies at a multiple of its size.
    let mut parts = vec![("seeds", "U64", vec![n], &seeds[..])];
    if let Some(labels) = &labels {
        parts.push(("labels", "I32", vec![n], labels));
    }
    parts.push(("images", if pixels == PixelType::U8 { "U8" } else { "F16" }, vec![n, c, h, w], images));
    let mut hasher = crc32fast::Hasher::new();
    let mut header = serde_json::Map::new();
    let mut offset = 0;
    for (name, dtype, shape, bytes) in &parts {
        hasher.update(bytes);
        let end = offset + bytes.len();
        header.insert((*name).into(), json!({"dtype": dtype, "shape": shape, "data_offsets": [offset, end]}));
        offset = end;
    }
    header.insert("__metadata__".into(), json!({CHECKSUM: format!("{:08x}", hasher.finalize())}));
    let text = padded(&header);
    let length = (text.len() as u64).to_le_bytes();
    let mut bytes: Vec<&[u8]> = vec![&length, text.as_bytes()];
    bytes.extend(parts.iter().map(|part| part.3));
    write_file(path, &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_come_back_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs-00000.safetensors");
        let image = [2, 1, 3];
        let values: Vec<f32> = (0..18).map(|i| i as f32 / 9.0 - 1.1).collect();
        for pixels in [PixelType::U8, PixelType::F16] {
            let mut images = Vec::new();
            values.iter().for_each(|&value| pixels.encode(value, &mut images));
            write(&path, &[7, 8, u64::MAX], Some(&[1, 0, 5]), pixels, image, &images).unwrap();
            let shard = Shard::open(&path, pixels, image, true).unwrap();
            assert_eq!(shard.len, 3);
            let (mut bytes, mut out) = (Vec::new(), [0.0; 6]);
            assert_eq!(shard.read(2, &mut bytes).unwrap(), (u64::MAX, Some(5)));
            pixels.decode(&bytes, &mut out);
            let step = if pixels == PixelType::U8 { 1.0 / 127.0 } else { 1e-3 };
            assert!(
                out.iter().zip(&values[12..]).all(|(a, b)| (a - b.clamp(-1.0, 1.0)).abs() < step),
                "{out:?}"
            );

            let good = std::fs::read(&path).unwrap();
            for at in [9, good.len() / 2, good.len() - 1] {
                let mut damaged = good.clone();
                damaged[at] ^= 4;
                std::fs::write(&path, &damaged).unwrap();
                assert!(Shard::open(&path, pixels, image, true).is_err(), "byte {at}");
            }
            std::fs::write(&path, &good[..good.len() - 3]).unwrap();
            assert!(Shard::open(&path, pixels, image, false).is_err());
            assert!(Shard::open(&folder.path().join("none"), pixels, image, false).is_err());
            std::fs::write(&path, &good).unwrap();
            assert!(Shard::open(&path, pixels, [1, 1, 6], false).is_err());
        }
    }

    #[test]
    fn bytes_are_the_papers() {
        let mut bytes = Vec::new();
        for value in [-1.0, -2.0, 1.0, 3.0, 0.0, 0.999] {
            PixelType::U8.encode(value, &mut bytes);
        }
        // Cut, not rounded: 0.0 is 127.5.
        assert_eq!(bytes, [0, 0, 255, 255, 127, 254]);
        PixelType::U8.encode(f32::NAN, &mut bytes);
        assert_eq!(bytes[6], 0);
    }
}
