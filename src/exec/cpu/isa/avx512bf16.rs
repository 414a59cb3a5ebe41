//! Kernels for AVX-512 with products of pairs of bf16.

use super::avx512::{self, Avx512};
use super::winograd::{F23, F43, Transform};
use super::{Ahead, Finish, Panel, Product, Products, Square, Tiles, Vector, Whole, Widening};
use std::arch::x86_64::*;

/// AVX-512's kernels, but for those with bf16 operands.
pub const TABLE: super::Table = super::Table { halves: kernels::TABLE.halves, ..avx512::TABLE };

mod kernels {
    use super::super::Table;
    use super::*;

    kernels! {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma")]
        Avx512, bf16: Pairs, rows: 14, vectors: 2
    }
}

/// Pairs of bf16 times pairs of bf16.
struct Pairs;

impl Product<Avx512> for Pairs {
    const ROW_VALUES: usize = 2;
    #[inline(always)]
    unsafe fn factor(weights: Avx512, _word: usize) -> Avx512 {
        weights
    }
    #[inline(always)]
    unsafe fn product(row: Avx512, factor: Avx512, sum: Avx512) -> Avx512 {
        // SAFETY: the caller promises the instruction set; both types are 512 bits without meaning of their own.
        unsafe {
            let [row, factor] = [row, factor].map(|words| std::mem::transmute::<__m512, __m512bh>(words.0));
            Avx512(_mm512_dpbf16_ps(sum.0, row, factor))
        }
    }
    #[inline(always)]
    unsafe fn store_row(values: Avx512, to: *mut f32) {
        // SAFETY: the caller promises the instruction set and eight words; `storeu` asks for no alignment.
        unsafe {
            let pairs = std::mem::transmute::<__m256bh, __m256i>(_mm512_cvtneps_pbh(values.0));
            _mm256_storeu_si256(to.cast(), pairs);
        }
    }
}
