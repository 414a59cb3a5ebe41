//! A tensor of a weight file as an executor sees it: a name, a shape, and values read in pieces as f32.

use crate::error::{Result, try_zeroed};
use std::fmt;
use std::ops::Range;

/// Something that reads runs of a tensor's values, whatever their type in the file.
pub trait ReadValues {
    /// Fills `out` with the tensor's values from flat index `start` on, row-major, as f32.
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()>;
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

impl ReadValues for From<'_> {
    fn read(&self, start: usize, out: &mut [f32]) -> Result<()> {
        self.of.read(self.start + start, out)
    }
}

impl fmt::Debug for Weight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}
