//! Tiles for AVX-512: 14 rows of two vectors.

use super::{MAX_ROWS, Sums, Tile, TileFn, Vector, multiply};
use std::arch::x86_64::*;

/// Rows of a full tile.
pub const ROWS: usize = 14;

/// See `Kernels::tiles`.
pub static TILES: [[TileFn; MAX_ROWS + 1]; 2] = [row::<1>(), row::<2>()];

const fn row<const VECTORS: usize>() -> [TileFn; MAX_ROWS + 1] {
    [
        tile::<1, VECTORS>,
        tile::<1, VECTORS>,
        tile::<2, VECTORS>,
        tile::<3, VECTORS>,
        tile::<4, VECTORS>,
        tile::<6, VECTORS>,
        tile::<6, VECTORS>,
        tile::<8, VECTORS>,
        tile::<8, VECTORS>,
        tile::<10, VECTORS>,
        tile::<10, VECTORS>,
        tile::<12, VECTORS>,
        tile::<12, VECTORS>,
        tile::<14, VECTORS>,
        tile::<14, VECTORS>,
    ]
}

/// # Safety
/// As [`multiply`]; the processor has AVX-512.
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
unsafe fn tile<const ROWS: usize, const VECTORS: usize>(tile: &Tile, sums: &mut Sums) {
    // SAFETY: the caller's promise.
    unsafe { multiply::<Avx512, ROWS, VECTORS>(tile, sums) }
}

#[derive(Clone, Copy)]
struct Avx512(__m512);

impl Vector for Avx512 {
    const LANES: usize = 16;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_set1_ps(value) })
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises the instruction set and 16 floats; `loadu` asks for no alignment.
        Self(unsafe { _mm512_loadu_ps(from) })
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises the instruction set and 16 floats; `storeu` asks for no alignment.
        unsafe { _mm512_storeu_ps(to, self.0) }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }
}
