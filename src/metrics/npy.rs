//! NumPy's arrays: `.npy` files, and `.npz` archives of them, stored or deflated.

use crate::archive::Archive;
use crate::error::{Error, Result, try_zeroed};
use crate::npy::{self, Header};
use crate::staged::Staged;
use std::fs::File;
use std::io::{BufReader, Read, Seek, Write};
use std::path::Path;

/// Members of an archive that anybody would write.
const MAX_MEMBERS: usize = 1000;

/// What the values are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Element {
    /// `|u1`
    U8,
    /// `<f4`
    F32,
    /// `<f8`
    F64,
}

impl Element {
    /// Bytes of a value.
    pub fn size(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::F32 => 4,
            Element::F64 => 8,
        }
    }
}

/// An array whose header was read; what `values` gives next are its values, row-major.
pub struct Array {
    /// What messages call it.
    pub name: String,
    /// Their type.
    pub element: Element,
    /// Its shape.
    pub shape: Vec<usize>,
    values: Box<dyn Read + Send>,
}

impl Array {
    /// Reads the header of a `.npy` file, or of the array `member` of a `.npz` file; none where that has none of this name.
    ///
    /// # Errors
    /// IO; BAD_MODEL for a file that is neither, is damaged, or whose values are of another type.
    pub fn open(path: &Path, member: &str) -> Result<Option<Self>> {
        let failed = |error| Error::io(path, error);
        let name = path.display().to_string();
        let mut file = File::open(path).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Error::bad_model(name, "not a regular file"));
        }
        let len = metadata.len();
        let mut start = Vec::new();
        (&file).take(6).read_to_end(&mut start).map_err(failed)?;
        file.rewind().map_err(failed)?;
        if start == *b"\x93NUMPY" {
            let bytes = BufReader::with_capacity(1 << 16, file.take(len));
            return Self::of(name, Box::new(bytes), len).map(Some);
        }
        if !start.starts_with(b"PK") {
            return Err(Error::bad_model(name, "neither a .npy nor a .npz file of NumPy's"));
        }
        drop(file);
        let archive = Archive::open(path, MAX_MEMBERS)?;
        let wanted = format!("{member}.npy");
        let Some(found) = archive.members.iter().find(|member| member.name == wanted) else {
            return Ok(None);
        };
        Self::of(format!("{name}: {member}"), archive.reader(found)?, found.len).map(Some)
    }

    /// The rest of a stream of `len` bytes is an array.
    fn of(name: String, mut values: Box<dyn Read + Send>, len: u64) -> Result<Self> {
        let bad = |message: String| Error::bad_model(&name, message);
        let (header, before) = npy::read(&mut values).map_err(bad)?;
        let (element, shape) = parse(&header).map_err(bad)?;
        let count = shape.iter().try_fold(1u64, |count, &side| count.checked_mul(side as u64));
        let bytes = count.and_then(|count| count.checked_mul(element.size() as u64));
        if bytes.and_then(|bytes| bytes.checked_add(before)) != Some(len) {
            return Err(bad(format!(
                "an array of shape {shape:?} does not have {} bytes",
                len.saturating_sub(before)
            )));
        }
        Ok(Self { name, element, shape, values })
    }

    /// An error about this array.
    pub fn bad(&self, message: impl std::fmt::Display) -> Error {
        Error::bad_model(&self.name, message.to_string())
    }

    /// Fills `out` with the next bytes.
    ///
    /// # Errors
    /// BAD_MODEL where they are damaged.
    pub fn read(&mut self, out: &mut [u8]) -> Result<()> {
        self.values.read_exact(out).map_err(|error| Error::bad_model(&self.name, error.to_string()))
    }

    /// All values, as doubles.
    ///
    /// # Errors
    /// OUT_OF_MEMORY; those of [`Self::read`].
    pub fn doubles(mut self) -> Result<Vec<f64>> {
        let count: usize = self.shape.iter().product();
        let size = self.element.size();
        let mut values = try_zeroed(count, "an array")?;
        let mut bytes = vec![0; (1 << 16) * size];
        for values in values.chunks_mut(1 << 16) {
            let bytes = &mut bytes[..values.len() * size];
            self.read(bytes)?;
            for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(size)) {
                *value = match *bytes {
                    [byte] => f64::from(byte),
                    [a, b, c, d] => f64::from(f32::from_le_bytes([a, b, c, d])),
                    [a, b, c, d, e, f, g, h] => f64::from_le_bytes([a, b, c, d, e, f, g, h]),
                    _ => 0.0,
                };
            }
        }
        Ok(values)
    }
}

/// Type and shape of a header.
fn parse(header: &str) -> Result<(Element, Vec<usize>), String> {
    let Header { descr, fortran_order, shape } = npy::parse(header)?;
    let element = match &*descr {
        "|u1" => Element::U8,
        "<f4" => Element::F32,
        "<f8" => Element::F64,
        found => return Err(format!("values of type '{found}'; supported: '|u1', '<f4', '<f8'")),
    };
    // Of one dimension, both orders are one.
    if fortran_order && shape.len() > 1 {
        return Err("an array in Fortran's order; NumPy's ascontiguousarray makes it one in C's".to_owned());
    }
    Ok((element, shape))
}

/// Writes arrays of doubles as a `.npz` file: beside its place, then renamed.
///
/// # Errors
/// IO.
pub fn write_npz(path: &Path, arrays: &[(&str, &[usize], &[f64])]) -> Result<()> {
    let failed = |error: std::io::Error| Error::io(path, error);
    let (staged, file) = Staged::file(path).map_err(failed)?;
    let write = || -> Result<std::fs::File, rawzip::Error> {
        let mut archive = rawzip::ZipArchiveWriter::new(file);
        for (name, shape, values) in arrays {
            let header = npy::header("<f8", shape);
            let name = format!("{name}.npy");
            let (mut entry, config) = archive.new_file(&name).start()?;
            let mut writer = config.wrap(&mut entry);
            writer.write_all(&header)?;
            for values in values.chunks(1 << 13) {
                let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                writer.write_all(&bytes)?;
            }
            let (_, descriptor) = writer.finish()?;
            entry.finish(descriptor)?;
        }
        archive.finish()
    };
    let file = write().map_err(|error| failed(std::io::Error::other(error.to_string())))?;
    file.sync_all().map_err(failed)?;
    drop(file);
    staged.commit().map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn archives_come_back_and_damage_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("stats.npz");
        let values: Vec<f64> = (0..20_000).map(|i| f64::from(i) / 7.0).collect();
        write_npz(&path, &[("mu", &[3], &values[..3]), ("sigma", &[100, 200], &values)]).unwrap();
        let open = |member: &str| Array::open(&path, member);
        assert!(open("nu").unwrap().is_none());
        let mu = open("mu").unwrap().unwrap();
        assert_eq!((mu.element, &mu.shape[..]), (Element::F64, &[3][..]));
        assert_eq!(mu.doubles().unwrap(), values[..3]);
        let sigma = open("sigma").unwrap().unwrap();
        assert_eq!(sigma.shape, [100, 200]);
        assert_eq!(sigma.doubles().unwrap(), values);

        let good = std::fs::read(&path).unwrap();
        let mut damaged = good.clone();
        damaged[good.len() / 2] ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        let error = open("sigma").and_then(|array| array.unwrap().doubles()).unwrap_err().to_string();
        assert!(error.contains("damaged"), "{error}");
        for cut in [3, 40, good.len() / 2, good.len() - 5] {
            std::fs::write(&path, &good[..cut]).unwrap();
            assert!(open("sigma").is_err(), "{cut}");
        }
    }

    #[test]
    fn headers_are_read_as_numpy_writes_them() {
        let read = |text: &str| parse(text);
        let text = "{'descr': '<f8', 'fortran_order': False, 'shape': (2048, 2048), }          \n";
        assert_eq!(read(text).unwrap(), (Element::F64, vec![2048, 2048]));
        assert_eq!(
            read("{'descr': '|u1', 'fortran_order': False, 'shape': (7,), }").unwrap(),
            (Element::U8, vec![7])
        );
        assert!(read("{'descr': '<f4', 'fortran_order': True, 'shape': (), }").unwrap().1.is_empty());
        for (wrong, why) in [
            ("{'descr': '<i8', 'fortran_order': False, 'shape': (7,), }", "'<i8'"),
            ("{'descr': '<f8', 'fortran_order': True, 'shape': (7, 2), }", "Fortran"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (7, -2), }", "no shape"),
            ("{'descr': '<f8', 'fortran_order': False, 'shape': (7", "no shape"),
            ("{'descr': '<f8', 'shape': (7, 2)}", "fortran_order"),
            ("", "descr"),
            ("{'descr': é", "type"),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(error.contains(why), "{error}");
        }
    }
}
