//! Kernels in plain Rust: tiles of four rows of eight floats, as many as sixteen 128-bit registers hold.

use super::winograd::{F23, F43, Transform};
use super::{Ahead, Finish, Halves, Panel, Product, Products, Square, Table, Tiles, Vector, Whole, Widening};

kernels! {
    Portable, bf16: Halves, rows: 4, vectors: 1
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
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] + other.0[i]))
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] - other.0[i]))
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * other.0[i]))
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] > other.0[i] { self.0[i] } else { other.0[i] }))
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        Self(std::array::from_fn(|i| if self.0[i] < other.0[i] { self.0[i] } else { other.0[i] }))
    }
    // Beside 1.5 * 2^23 there is no room for a fraction.
    #[inline(always)]
    unsafe fn round(self) -> Self {
        Self(self.0.map(|value| (value + 12_582_912.0) - 12_582_912.0))
    }
    #[inline(always)]
    unsafe fn scale(self, power: Self) -> Self {
        // The low bits of the sum hold the integer.
        let factor =
            |power: f32| f32::from_bits(((power + 12_582_912.0).to_bits() << 23).wrapping_add(127 << 23));
        Self(std::array::from_fn(|i| self.0[i] * factor(power.0[i])))
    }
    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        Self(self.0.map(|value| 1.0 / value))
    }
    #[inline(always)]
    unsafe fn halves(self) -> [Self; 2] {
        let lower = self.0.map(|word| f32::from_bits(word.to_bits() << 16));
        let upper = self.0.map(|word| f32::from_bits(word.to_bits() & 0xFFFF_0000));
        [Self(lower), Self(upper)]
    }
    // Not `f32::mul_add`: without the instruction it calls libm, for every float.
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        Self(std::array::from_fn(|i| self.0[i] * factor.0[i] + addend.0[i]))
    }
}
