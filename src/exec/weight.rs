//! A tensor of a weight file as an executor sees it: a name, a shape, and values read in pieces as f32.

use crate::error::{Result, try_zeroed};
use std::fmt;

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

impl Weight<'_> {
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

impl fmt::Debug for Weight<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "{} {:?}", self.name, self.shape)
    }
}
