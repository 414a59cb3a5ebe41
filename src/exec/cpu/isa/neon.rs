//! Kernels for aarch64's NEON: tiles of 6 rows of two vectors, 24 of 32 registers; a vector is two registers, so that
//! a float spread over one serves four multiplications.

use super::winograd::{F23, F43, Transform};
use super::{Ahead, Finish, Halves, Panel, Product, Products, Square, Table, Tiles, Vector, Whole, Widening};
use std::arch::aarch64::*;

kernels! {
    #[target_feature(enable = "neon")]
    Neon, bf16: Halves, rows: 6, vectors: 2
}

#[derive(Clone, Copy)]
struct Neon(float32x4_t, float32x4_t);

impl Vector for Neon {
    const LANES: usize = 8;
    // 151 instructions for four steps of a full tile, 96 of them multiplications, where one step took 45: counted, not timed.
    const UNROLL: usize = 4;
    #[inline(always)]
    unsafe fn splat(value: f32) -> Self {
        // SAFETY: the caller promises the instruction set.
        let value = unsafe { vdupq_n_f32(value) };
        Self(value, value)
    }
    #[inline(always)]
    unsafe fn load(from: *const f32) -> Self {
        // SAFETY: the caller promises the instruction set and 8 floats; `vld1q` asks for no alignment.
        unsafe { Self(vld1q_f32(from), vld1q_f32(from.add(4))) }
    }
    #[inline(always)]
    unsafe fn store(self, to: *mut f32) {
        // SAFETY: the caller promises the instruction set and 8 floats; `vst1q` asks for no alignment.
        unsafe {
            vst1q_f32(to, self.0);
            vst1q_f32(to.add(4), self.1);
        }
    }
    #[inline(always)]
    unsafe fn add(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe { Self(vaddq_f32(self.0, other.0), vaddq_f32(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn sub(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe { Self(vsubq_f32(self.0, other.0), vsubq_f32(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn mul(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe { Self(vmulq_f32(self.0, other.0), vmulq_f32(self.1, other.1)) }
    }
    // Both keep NaN on whichever side it is.
    #[inline(always)]
    unsafe fn max(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe { Self(vmaxq_f32(self.0, other.0), vmaxq_f32(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn min(self, other: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe { Self(vminq_f32(self.0, other.0), vminq_f32(self.1, other.1)) }
    }
    #[inline(always)]
    unsafe fn round(self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe { Self(vrndnq_f32(self.0), vrndnq_f32(self.1)) }
    }
    #[inline(always)]
    unsafe fn scale(self, power: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe {
            let [a, b] = [power.0, power.1].map(|power| {
                let exponent = vaddq_s32(vcvtq_s32_f32(power), vdupq_n_s32(127));
                vreinterpretq_f32_s32(vshlq_n_s32::<23>(exponent))
            });
            Self(vmulq_f32(self.0, a), vmulq_f32(self.1, b))
        }
    }
    #[inline(always)]
    unsafe fn reciprocal(self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe {
            let one = vdupq_n_f32(1.0);
            Self(vdivq_f32(one, self.0), vdivq_f32(one, self.1))
        }
    }
    #[inline(always)]
    unsafe fn halves(self) -> [Self; 2] {
        // SAFETY: the caller promises the instruction set.
        unsafe {
            let words = [self.0, self.1].map(|half| vreinterpretq_u32_f32(half));
            let lower = words.map(|words| vreinterpretq_f32_u32(vshlq_n_u32::<16>(words)));
            let upper = words.map(|words| vreinterpretq_f32_u32(vandq_u32(words, vdupq_n_u32(0xFFFF_0000))));
            [lower, upper].map(|[a, b]| Self(a, b))
        }
    }
    #[inline(always)]
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self {
        // SAFETY: the caller promises the instruction set.
        unsafe { Self(vfmaq_f32(addend.0, self.0, factor.0), vfmaq_f32(addend.1, self.1, factor.1)) }
    }
}
