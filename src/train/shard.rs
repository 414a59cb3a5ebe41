//! One file of pairs: a safetensors file of `seeds` (u64), `labels` (i32, of conditional teachers), `images` (u8 or
//! f16; n, c, h, w) and, for students of several steps, `states` (f16; n, stops, c, h, w), with a checksum of all of
//! them: CRC-32 of the tensors' bytes, under a native file's key.

use crate::error::Result;
use crate::weights::{Array, Arrays, write_arrays};
use safetensors::tensor::Dtype;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::Path;

/// How a target is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PixelType {
    /// The paper's: clamped to [-1, 1], x 127.5 + 127.5, cut down to a byte; read as byte / 127.5 - 1.
    #[default]
    U8,
    /// Half precision, as it is.
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

/// What all shards of a folder have in common.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// How targets are stored.
    pub pixels: PixelType,
    /// Channels, height, width.
    pub image: [usize; 3],
    /// States of a pair between its noise and its image.
    pub stops: usize,
}

impl Form {
    /// Floats of an image.
    pub fn len(&self) -> usize {
        self.image.iter().product()
    }

    fn dtype(&self) -> Dtype {
        if self.pixels == PixelType::U8 { Dtype::U8 } else { Dtype::F16 }
    }

    fn images(&self, n: usize) -> Vec<usize> {
        let [c, h, w] = self.image;
        vec![n, c, h, w]
    }

    fn states(&self, n: usize) -> Vec<usize> {
        let [c, h, w] = self.image;
        vec![n, self.stops, c, h, w]
    }
}

/// Which shard of which pairs a file is to be.
pub struct Place {
    /// As [`place_of`](crate::weights::place_of) names it.
    pub name: String,
    /// Its pairs' seeds, one or more.
    pub seeds: Range<u64>,
}

/// An open shard.
pub struct Shard {
    arrays: Arrays,
    form: Form,
    /// Where each tensor begins.
    images: u64,
    seeds: u64,
    labels: Option<u64>,
    states: Option<u64>,
}

impl Shard {
    /// Opens a shard, and checks its header, and all of its bytes if asked to.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is damaged, of another form or of another place.
    pub fn open(path: &Path, form: Form, place: &Place, verify: bool) -> Result<Self> {
        let arrays = Arrays::open(path)?;
        arrays.check_place(&place.name)?;
        let Some(len) = arrays.count("images") else {
            return Err(arrays.bad("no tensor images: not a shard of pairs".into()));
        };
        let images = arrays.needed("images", form.dtype(), &form.images(len))?;
        let seeds = arrays.needed("seeds", Dtype::U64, &[len])?;
        let labels = arrays.place("labels", Dtype::I32, &[len])?;
        let states = match form.stops {
            0 => None,
            _ => Some(arrays.needed("states", Dtype::F16, &form.states(len))?),
        };
        if verify {
            arrays.verify()?;
        }
        let shard = Self { arrays, form, images, seeds, labels, states };
        let expected = place.seeds.end - place.seeds.start;
        if len as u64 != expected {
            return Err(shard.arrays.bad(format!("{len} pairs, {expected} expected")));
        }
        for (index, seed) in [(0, place.seeds.start), (len - 1, place.seeds.end - 1)] {
            let found = shard.origin(index)?.0;
            if found != seed {
                let message =
                    format!("another's: pair {index} is of seed {found}, {seed} is expected in this place");
                return Err(shard.arrays.bad(message));
            }
        }
        Ok(shard)
    }

    /// Seed and label of a pair.
    ///
    /// # Errors
    /// IO.
    pub fn origin(&self, index: usize) -> Result<(u64, Option<i32>)> {
        let mut seed = [0; 8];
        self.arrays.read_at(self.seeds + 8 * index as u64, &mut seed)?;
        let label = match self.labels {
            Some(start) => {
                let mut label = [0; 4];
                self.arrays.read_at(start + 4 * index as u64, &mut label)?;
                Some(i32::from_le_bytes(label))
            }
            None => None,
        };
        Ok((u64::from_le_bytes(seed), label))
    }

    /// Fills `out` with what the teacher had after so many legs of its way: its state at each stop, then its image.
    ///
    /// # Errors
    /// IO.
    pub fn read(&self, index: usize, leg: usize, bytes: &mut Vec<u8>, out: &mut [f32]) -> Result<()> {
        let (pixels, start, at) = match self.states {
            Some(states) if leg < self.form.stops => (PixelType::F16, states, index * self.form.stops + leg),
            _ => (self.form.pixels, self.images, index),
        };
        let size = self.form.len() * pixels.size();
        bytes.resize(size, 0);
        self.arrays.read_at(start + (at * size) as u64, bytes)?;
        pixels.decode(bytes, out);
        Ok(())
    }
}

/// What a shard is written from.
#[derive(Default)]
pub struct Contents {
    /// One a pair.
    pub seeds: Vec<u64>,
    /// One a pair, where there are classes.
    pub labels: Vec<i32>,
    /// Encoded images.
    pub images: Vec<u8>,
    /// Encoded states.
    pub states: Vec<u8>,
}

/// Writes a shard beside its place, then renames.
///
/// # Errors
/// IO.
pub fn write(path: &Path, form: Form, place: &Place, contents: &Contents) -> Result<()> {
    let n = contents.seeds.len();
    let seeds: Vec<u8> = contents.seeds.iter().flat_map(|seed| seed.to_le_bytes()).collect();
    let labels: Vec<u8> = contents.labels.iter().flat_map(|label| label.to_le_bytes()).collect();
    let array = |name, dtype, shape, bytes| Array { name, dtype, shape, bytes };
    let mut arrays = vec![array("seeds", Dtype::U64, vec![n], &seeds[..])];
    if !labels.is_empty() {
        arrays.push(array("labels", Dtype::I32, vec![n], &labels));
    }
    if form.stops > 0 {
        arrays.push(array("states", Dtype::F16, form.states(n), &contents.states));
    }
    arrays.push(array("images", form.dtype(), form.images(n), &contents.images));
    write_arrays(path, &place.name, &arrays)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_come_back_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pairs-00000.safetensors");
        let values: Vec<f32> = (0..18).map(|i| i as f32 / 9.0 - 1.1).collect();
        let place = Place { name: "0 of these".to_owned(), seeds: u64::MAX - 3..u64::MAX };
        for (pixels, stops) in [(PixelType::U8, 0), (PixelType::F16, 0), (PixelType::U8, 2)] {
            let form = Form { pixels, image: [2, 1, 3], stops };
            let mut contents = Contents {
                seeds: (u64::MAX - 3..u64::MAX).collect(),
                labels: vec![1, 0, 5],
                ..Contents::default()
            };
            values.iter().for_each(|&value| pixels.encode(value, &mut contents.images));
            let states = (0..18 * stops).map(|i| i as f32);
            states.for_each(|value| PixelType::F16.encode(value, &mut contents.states));
            write(&path, form, &place, &contents).unwrap();
            let shard = Shard::open(&path, form, &place, true).unwrap();
            let (mut bytes, mut out) = (Vec::new(), [0.0; 6]);
            assert_eq!(shard.origin(2).unwrap(), (u64::MAX - 1, Some(5)));
            shard.read(2, stops, &mut bytes, &mut out).unwrap();
            let step = if pixels == PixelType::U8 { 1.0 / 127.0 } else { 1e-3 };
            assert!(
                out.iter().zip(&values[12..]).all(|(a, b)| (a - b.clamp(-1.0, 1.0)).abs() < step),
                "{out:?}"
            );
            for stop in 0..stops {
                shard.read(1, stop, &mut bytes, &mut out).unwrap();
                assert_eq!(out, std::array::from_fn(|i| ((stops + stop) * 6 + i) as f32));
            }

            let good = std::fs::read(&path).unwrap();
            for at in [9, good.len() / 2, good.len() - 1] {
                let mut damaged = good.clone();
                damaged[at] ^= 4;
                std::fs::write(&path, &damaged).unwrap();
                assert!(Shard::open(&path, form, &place, true).is_err(), "byte {at}");
            }
            std::fs::write(&path, &good[..good.len() - 3]).unwrap();
            assert!(Shard::open(&path, form, &place, false).is_err());
            assert!(Shard::open(&folder.path().join("none"), form, &place, false).is_err());
            std::fs::write(&path, &good).unwrap();
            assert!(Shard::open(&path, Form { image: [1, 1, 6], ..form }, &place, false).is_err());
            assert!(Shard::open(&path, Form { stops: stops + 1, ..form }, &place, false).is_err());
            // Another shard's place, of the same pairs or of others.
            for (name, seeds) in [
                ("1 of these", u64::MAX - 3..u64::MAX),
                ("0 of these", u64::MAX - 4..u64::MAX - 1),
                ("0 of these", u64::MAX - 3..u64::MAX - 1),
            ] {
                let other = Place { name: name.to_owned(), seeds };
                assert!(Shard::open(&path, form, &other, false).is_err());
            }
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
