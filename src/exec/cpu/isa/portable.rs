//! Tiles in plain Rust: four rows of eight floats, as many as sixteen 128-bit registers hold.

use super::{MAX_ROWS, Sums, Tile, TileFn, Vector, multiply};

/// Rows of a full tile.
pub const ROWS: usize = 4;

/// See `Kernels::tiles`.
pub static TILES: [[TileFn; MAX_ROWS + 1]; 2] = {
    let row: [TileFn; MAX_ROWS + 1] = [
        tile::<1>, tile::<1>, tile::<2>, tile::<4>, tile::<4>, tile::<4>, tile::<4>, tile::<4>, tile::<4>,
        tile::<4>, tile::<4>, tile::<4>, tile::<4>, tile::<4>, tile::<4>,
    ];
    [row, row]
};

/// # Safety
/// As [`multiply`], with one vector a row.
unsafe fn tile<const ROWS: usize>(tile: &Tile, sums: &mut Sums) {
    // SAFETY: the caller's promise.
    unsafe { multiply::<Portable, ROWS, 1>(tile, sums) }
}

#[derive(Clone, Copy)]
struct Portable([f32; 8]);

impl Vector for Portable {
    const LANES: usize = 8;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        Self([value; 8])
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises eight floats; the read asks for no alignment.
        Self(unsafe { from.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises eight floats; the write asks for no alignment.
        unsafe { to.cast::<[f32; 8]>().write_unaligned(self.0) }
    }
    // Not `f32::mul_add`: without the instruction it calls libm, for every float.
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * factor.0[i] + addend.0[i]))
    }
}
