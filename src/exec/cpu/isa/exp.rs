//! The exponential, for attention's scores, and SiLU of an affine map, which every convolution's input goes through:
//! x sigmoid(x) = x / (1 + e^-x).

use super::Vector;

/// `y = silu(x * scale + shift)`, `len` floats of each, a multiple of a vector.
///
/// # Safety
/// The processor has V's instruction set, and the pointers are good for `len` floats.
#[inline(always)]
#[allow(private_bounds)]
pub unsafe fn silu<V: Vector>(x: *const f32, scale: *const f32, shift: *const f32, y: *mut f32, len: usize) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let x = V::load(x.add(i)).mul_add(V::load(scale.add(i)), V::load(shift.add(i)));
            let e = exp(V::splat(0.0).sub(x));
            x.mul(V::splat(1.0).add(e).reciprocal()).store(y.add(i));
        }
    }
}

/// `x = e^((x - from) * factor)`, `len` floats, a multiple of a vector.
///
/// # Safety
/// The processor has V's instruction set, and the pointer is good for `len` floats.
#[inline(always)]
#[allow(private_bounds)]
pub unsafe fn exps<V: Vector>(x: *mut f32, from: f32, factor: f32, len: usize) {
    for i in (0..len).step_by(V::LANES) {
        // SAFETY: the caller's promise.
        unsafe {
            let x = x.add(i);
            exp(V::load(x).sub(V::splat(from)).mul(V::splat(factor))).store(x);
        }
    }
}

/// e^x within 2 ulp; below -87 it stays at e^-87, above 87 at e^87. NaN stays NaN.
///
/// # Safety
/// The processor has V's instruction set.
#[inline(always)]
unsafe fn exp<V: Vector>(x: V) -> V {
    // SAFETY: the caller's promise.
    unsafe {
        let x = V::splat(87.0).min(V::splat(-87.0).max(x));
        let k = x.mul(V::splat(std::f32::consts::LOG2_E)).round();
        // ln 2 in two parts, the first with few enough bits that k times it is exact.
        let r = k.mul_add(V::splat(-0.693_359_4), x);
        let r = k.mul_add(V::splat(2.121_944_4e-4), r);
        // Cephes' minimax polynomial on [-ln 2 / 2, ln 2 / 2].
        let mut p = V::splat(1.987_569_2e-4);
        for coefficient in [1.398_199_9e-3, 8.333_452e-3, 4.166_579_6e-2, 1.666_666_5e-1, 0.5] {
            p = p.mul_add(r, V::splat(coefficient));
        }
        p.mul_add(r.mul(r), r).add(V::splat(1.0)).scale(k)
    }
}
