//! A tensor of a weight file as an executor sees it: a name, a shape, and values read in pieces as f32.

use crate::error::{Result, try_zeroed};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// Something that reads runs of a tensor's values, whatever their type in the file.
pub trait ReadValues {
    /// Fills `out` with the tensor's values from flat index `start` on, row-major, as f32.
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()>;

    /// What an executor once made of the tensor and called `part`, `len` floats, where the file holds that in place of the
    /// values.
    fn ready(&self, _part: &str, _len: usize) -> Result<Option<Ready<'_>>> {
        Ok(None)
    }

    /// Hears what an executor has made of the tensor, for a file that is to hold it ready.
    fn keep(&self, _part: &str, _made: &[f32]) -> Result<()> {
        Ok(())
    }
}

/// Reads floats, all at once.
pub type ReadAll<'a> = dyn FnOnce(&mut [f32]) -> Result<()> + 'a;

/// Floats that a file holds ready for an executor.
pub enum Ready<'a> {
    /// They are read into memory of the executor's.
    Read(Box<ReadAll<'a>>),
    /// They are in memory already, and stay there.
    Held(Held),
}

/// Floats in memory that somebody else holds.
#[derive(Clone)]
pub struct Held {
    /// Whose memory it is: always the same bytes.
    pub owner: Arc<dyn AsRef<[u8]> + Send + Sync>,
    /// Where they lie in it; the first at an address that is a multiple of 64.
    pub bytes: Range<usize>,
}

impl Held {
    /// All of them.
    pub fn as_slice(&self) -> &[f32] {
        bytemuck::cast_slice(&(*self.owner).as_ref()[self.bytes.clone()])
    }
}

/// A named tensor whose values are read on demand.
pub struct Weight<'a> {
    /// Its name in diffusers' naming.
    pub name: String,
    /// Its shape, row-major.
    pub shape: Vec<usize>,
    /// Its values.
    pub values: Box<dyn ReadValues + 'a>,
}

impl<'a> Weight<'a> {
    /// Some of its rows, which are what its first dimension counts.
    pub fn rows(self, rows: Range<usize>) -> Self {
        let (of_one, mut shape) = (self.shape[1..].iter().product::<usize>(), self.shape);
        shape[0] = rows.len();
        Self {
            name: self.name,
            shape,
            values: Box::new(From { start: rows.start * of_one, of: self.values }),
        }
    }

    /// How many values it has.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Fills `out` with values from flat index `start` on.
    pub fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.values.read(start, out)
    }

    /// As [`ReadValues::ready`].
    pub fn ready(&self, part: &str, len: usize) -> Result<Option<Ready<'_>>> {
        self.values.ready(part, len)
    }

    /// As [`ReadValues::keep`].
    pub fn keep(&self, part: &str, made: &[f32]) -> Result<()> {
        self.values.keep(part, made)
    }

    /// The same as `ready`, where it is little.
    pub fn ready_vec(&self, part: &str, len: usize) -> Result<Option<Vec<f32>>> {
        let Some(ready) = self.ready(part, len)? else { return Ok(None) };
        let mut values = try_zeroed(len, "a weight")?;
        match ready {
            Ready::Read(read) => read(&mut values)?,
            Ready::Held(held) => values.copy_from_slice(held.as_slice()),
        }
        Ok(Some(values))
    }

    /// All values, which an executor needs as they are.
    pub fn to_keep(&self) -> Result<Vec<f32>> {
        const PART: &str = "values";
        if let Some(values) = self.ready_vec(PART, self.len())? {
            return Ok(values);
        }
        let values = self.to_vec()?;
        self.keep(PART, &values)?;
        Ok(values)
    }

    /// All values.
    pub fn to_vec(&self) -> Result<Vec<f32>> {
        let mut values = try_zeroed(self.len(), "a weight")?;
        self.read(0, &mut values)?;
        Ok(values)
    }
}

/// Values from one of another's on.
struct From<'a> {
    start: usize,
    of: Box<dyn ReadValues + 'a>,
}

impl From<'_> {
    /// What the other calls a part of these.
    fn part(&self, part: &str) -> String {
        format!("{part}@{}", self.start)
    }
}

impl ReadValues for From<'_> {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.of.read(self.start + start, out)
    }
    fn ready(&self, part: &str, len: usize) -> Result<Option<Ready<'_>>> {
        self.of.ready(&self.part(part), len)
    }
    fn keep(&self, part: &str, made: &[f32]) -> Result<()> {
        self.of.keep(&self.part(part), made)
    }
}

impl fmt::Debug for Weight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}
