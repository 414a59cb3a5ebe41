//! Pairs as the paper's own script writes them: `x_train_K.npy` (x_T in f16, rounded once) and `y_train_K.npy` (bytes),
//! K from 0 on, and `x_test.npy` and `y_test.npy`; (n, h, w, 3) each, without labels.

use super::shard::PixelType;
use crate::error::{Error, Result};
use crate::npy::{self, Header};
use crate::weights::{FileSource, Source};
use std::path::Path;

/// See the module.
pub struct PaperPairs {
    /// Those to learn from, then those for tests, and the number of the first pair of each.
    shards: Vec<(usize, [Array; 2])>,
    len: usize,
    test: usize,
}

impl PaperPairs {
    /// Whether a folder holds such pairs.
    pub fn are_in(folder: &Path) -> bool {
        folder.join("x_train_0.npy").exists()
    }

    /// Opens all files.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is no such array, and for one whose partner is another size.
    pub fn open(folder: &Path) -> Result<Self> {
        let mut pairs = Self { shards: Vec::new(), len: 0, test: 0 };
        for number in 0.. {
            if !folder.join(format!("x_train_{number}.npy")).exists() {
                break;
            }
            pairs.add(folder, &format!("train_{number}"))?;
        }
        if folder.join("x_test.npy").exists() {
            pairs.test = pairs.add(folder, "test")?;
        }
        Ok(pairs)
    }

    fn add(&mut self, folder: &Path, part: &str) -> Result<usize> {
        let open = |axis: &str| Array::open(&folder.join(format!("{axis}_{part}.npy")));
        let (x, y) = (open("x")?, open("y")?);
        let first = self.shards.first().map_or(x.shape, |(_, [x, _])| x.shape);
        if x.pixels != PixelType::F16 || y.pixels != PixelType::U8 {
            return Err(x.bad("x is f16 and y is bytes in the paper's pairs; these are not"));
        }
        if x.shape != y.shape || x.shape[1..] != first[1..] {
            let message = format!("{:?}, but y is {:?} and images are {:?}", x.shape, y.shape, &first[1..]);
            return Err(x.bad(&message));
        }
        let len = x.shape[0];
        self.shards.push((self.len, [x, y]));
        self.len += len;
        Ok(len)
    }

    /// How many, those for tests with them.
    pub fn len(&self) -> usize {
        self.len
    }

    /// How many, at the end, are for tests, where that was settled.
    pub fn test(&self) -> Option<usize> {
        (self.test > 0).then_some(self.test)
    }

    /// Channels, height, width.
    pub fn image(&self) -> [usize; 3] {
        self.shards.first().map_or([0; 3], |(_, [Array { shape: [_, h, w, c], .. }, _])| [*c, *h, *w])
    }

    /// Noise and target of a pair, (c, h, w).
    ///
    /// # Errors
    /// IO.
    pub fn fill(&self, index: usize, bytes: &mut Vec<u8>, x: &mut [f32], target: &mut [f32]) -> Result<()> {
        let shard = self.shards.partition_point(|(first, _)| *first <= index) - 1;
        let (first, [noise, image]) = &self.shards[shard];
        noise.read(index - first, bytes, x)?;
        image.read(index - first, bytes, target)
    }
}

/// An open `.npy` file of (n, h, w, c).
struct Array {
    source: FileSource,
    data: u64,
    pixels: PixelType,
    shape: [usize; 4],
}

/// Bytes that any header is in.
const START: usize = 8192;

impl Array {
    fn open(path: &Path) -> Result<Self> {
        let source = FileSource::open(path, u64::MAX)?;
        let bad = |message: String| Error::bad_model(path.display().to_string(), message);
        let mut start = vec![0; START.min(source.len() as usize)];
        source.read_at(0, &mut start)?;
        let (header, data) = npy::read(&mut &start[..]).map_err(bad)?;
        let wanted = "(n, h, w, c) of <f2 or |u1 in C order expected";
        let (pixels, shape) = parse(&header).ok_or_else(|| bad(format!("{}: {wanted}", header.trim())))?;
        let bytes = shape.iter().try_fold(pixels.size(), |bytes, &side| bytes.checked_mul(side));
        if bytes.is_none_or(|bytes| bytes == 0 || data.checked_add(bytes as u64) != Some(source.len())) {
            let expected = bytes.map_or("more".to_owned(), |bytes| bytes.to_string());
            return Err(bad(format!("{} bytes, the header and {expected} expected", source.len())));
        }
        Ok(Self { source, data, pixels, shape })
    }

    fn bad(&self, message: &str) -> Error {
        Error::bad_model(self.source.name().to_owned(), message)
    }

    /// Item `index` as (c, h, w).
    fn read(&self, index: usize, bytes: &mut Vec<u8>, out: &mut [f32]) -> Result<()> {
        let [_, h, w, c] = self.shape;
        let size = h * w * c * self.pixels.size();
        bytes.resize(size, 0);
        self.source.read_at(self.data + (index * size) as u64, bytes)?;
        let width = self.pixels.size();
        for (channel, plane) in out.chunks_exact_mut(h * w).enumerate() {
            for (pixel, value) in plane.iter_mut().enumerate() {
                let at = (pixel * c + channel) * width;
                self.pixels.decode(&bytes[at..at + width], std::slice::from_mut(value));
            }
        }
        Ok(())
    }
}

/// Type and shape of a header.
fn parse(header: &str) -> Option<(PixelType, [usize; 4])> {
    let Header { descr, fortran_order, shape } = npy::parse(header).ok()?;
    let pixels = match &*descr {
        "<f2" => PixelType::F16,
        "|u1" => PixelType::U8,
        _ => return None,
    };
    Some((pixels, shape.try_into().ok()?)).filter(|_| !fortran_order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn npy(descr: &str, shape: [usize; 4], data: &[u8]) -> Vec<u8> {
        let [n, h, w, c] = shape;
        let mut text =
            format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({n}, {h}, {w}, {c}), }}");
        text.push_str(&" ".repeat(64 - (10 + text.len() + 1) % 64));
        text.push('\n');
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((text.len() as u16).to_le_bytes());
        bytes.extend(text.as_bytes());
        bytes.extend(data);
        bytes
    }

    /// Pairs whose noise counts on and whose bytes count on, from `first`.
    fn write(folder: &Path, part: &str, first: usize, n: usize) {
        let len = n * 2 * 3 * 3;
        let x: Vec<u8> =
            (0..len).flat_map(|i| half::f16::from_f32((first + i) as f32).to_le_bytes()).collect();
        let y: Vec<u8> = (0..len).map(|i| (first + i) as u8).collect();
        std::fs::write(folder.join(format!("x_{part}.npy")), npy("<f2", [n, 2, 3, 3], &x)).unwrap();
        std::fs::write(folder.join(format!("y_{part}.npy")), npy("|u1", [n, 2, 3, 3], &y)).unwrap();
    }

    #[test]
    fn pairs_come_channels_first_and_tests_last() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "train_0", 0, 3);
        write(folder.path(), "train_1", 54, 2);
        write(folder.path(), "test", 100, 1);
        assert!(PaperPairs::are_in(folder.path()));
        let pairs = PaperPairs::open(folder.path()).unwrap();
        assert_eq!((pairs.len(), pairs.test(), pairs.image()), (6, Some(1), [3, 2, 3]));
        let (mut bytes, mut x, mut y) = (Vec::new(), [0.0; 18], [0.0; 18]);
        for (index, first) in [(0, 0), (2, 36), (3, 54), (5, 100)] {
            pairs.fill(index, &mut bytes, &mut x, &mut y).unwrap();
            let counted = |channel: usize, pixel: usize| (first + pixel * 3 + channel) as f32;
            let expected: [f32; 18] = std::array::from_fn(|i| counted(i / 6, i % 6));
            assert_eq!(x, expected);
            assert_eq!(y, expected.map(|value| value / 127.5 - 1.0));
        }
    }

    #[test]
    fn files_that_are_none_are_named() {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "train_0", 0, 3);
        let path = folder.path().join("y_train_0.npy");
        let good = std::fs::read(&path).unwrap();
        let bad = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            PaperPairs::open(folder.path()).err().unwrap().to_string()
        };
        assert!(bad(&good[..good.len() - 1]).contains("y_train_0.npy"));
        assert!(bad(b"PK\x03\x04 and so on").contains("no NumPy array"));
        assert!(bad(&npy("<f4", [3, 2, 3, 3], &[0; 216])).contains("'<f4'"));
        assert!(bad(&npy("|u1", [3, 2, 3, 1], &[0; 18])).contains("[3, 2, 3, 1]"));
        assert!(bad(&npy("|u1", [usize::MAX, 2, 3, 3], &[0; 18])).contains("more expected"));
        assert!(bad(&npy("|u1", [0, 2, 3, 3], &[])).contains("0 expected"));
        assert!(bad(&good[..8]).contains("y_train_0.npy"));
        std::fs::remove_file(&path).unwrap();
        assert!(PaperPairs::open(folder.path()).err().unwrap().to_string().contains("y_train_0.npy"));
    }
}
