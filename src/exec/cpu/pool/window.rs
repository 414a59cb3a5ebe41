//! Some rows and columns of a matrix, which one task writes.

use std::marker::PhantomData;
use std::ops::Range;

/// A rectangle of a matrix that no other window of its grid touches.
pub struct Window<'a> {
    pub(super) values: *mut f32,
    pub(super) row_len: usize,
    pub(super) rows: Range<usize>,
    pub(super) cols: Range<usize>,
    pub(super) owner: PhantomData<&'a mut [f32]>,
}

impl<'a> Window<'a> {
    /// Columns `cols` of a matrix of rows of `row_len`.
    pub fn columns(matrix: &'a mut [f32], row_len: usize, cols: Range<usize>) -> Self {
        assert!(row_len > 0 && cols.start <= cols.end && cols.end <= row_len);
        let rows = matrix.len() / row_len;
        Self { values: matrix.as_mut_ptr(), row_len, rows: 0..rows, cols, owner: PhantomData }
    }

    /// Which rows of the matrix.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Which columns of the matrix.
    pub fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// Calls `f` with this window numbered from row 0 and column 0.
    pub fn local<R>(&mut self, f: impl FnOnce(&mut Window) -> R) -> R {
        let first = self.rows.start * self.row_len + self.cols.start;
        f(&mut Window {
            // The same floats under other numbers; `row` checks against those.
            values: self.values.wrapping_add(first),
            row_len: self.row_len,
            rows: 0..self.rows.len(),
            cols: 0..self.cols.len(),
            owner: PhantomData,
        })
    }

    /// Whether it has all columns.
    pub fn has_whole_rows(&self) -> bool {
        self.cols == (0..self.row_len)
    }

    /// All of its floats, if it has all columns.
    #[inline(always)]
    pub fn whole_rows(&mut self) -> &mut [f32] {
        assert!(self.has_whole_rows(), "a window of some columns");
        let len = self.rows.len() * self.row_len;
        // SAFETY: as in `row`; whole rows lie side by side.
        unsafe { std::slice::from_raw_parts_mut(self.values.add(self.rows.start * self.row_len), len) }
    }

    /// Row `row` of the matrix, as far as it lies in this window.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(self.rows.contains(&row), "row {row} is outside of a window");
        // SAFETY: both constructors take `rows` and `cols` from inside a matrix that is borrowed for 'a, and
        // `row` was just checked; windows of one grid do not overlap, and `&mut self` excludes a second view.
        unsafe {
            std::slice::from_raw_parts_mut(
                self.values.add(row * self.row_len + self.cols.start),
                self.cols.end - self.cols.start,
            )
        }
    }
}
