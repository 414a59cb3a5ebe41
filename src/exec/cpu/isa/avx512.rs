//! Kernels for AVX-512: tiles of 14 rows of two vectors.

use super::winograd::{F23, F43, Transform};
use super::{Ahead, Finish, Halves, Panel, Product, Products, Square, Table, Tiles, Vector, Whole, Widening};
use std::arch::x86_64::*;

kernels! {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
    Avx512, bf16: Halves, rows: 14, vectors: 2
}

#[derive(Clone, Copy)]
pub struct Avx512(pub __m512);

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
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_add_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_sub_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_mul_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_max_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_min_ps(self.0, other.0) })
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT }>(self.0) })
    }
    #[inline(always)]
    unsafe fn scale(self, power: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_scalef_ps(self.0, power.0) })
    }
    // Half as long as a division: 14 bits, which Newton's step doubles.
    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe {
            let guess = _mm512_rcp14_ps(self.0);
            let error = _mm512_fnmadd_ps(self.0, guess, _mm512_set1_ps(1.0));
            Self(_mm512_fmadd_ps(error, guess, guess))
        }
    }
    #[inline(always)]
    unsafe fn halves(self) -> [Self; 2] {
        // SAFETY: the caller promises the instruction set.
        unsafe {
            let words = _mm512_castps_si512(self.0);
            let upper = _mm512_and_si512(words, _mm512_set1_epi32(0xFFFF_0000u32 as i32));
            [_mm512_slli_epi32::<16>(words), upper].map(|half| Self(_mm512_castsi512_ps(half)))
        }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        Self(unsafe { _mm512_fmadd_ps(self.0, factor.0, addend.0) })
    }
}
