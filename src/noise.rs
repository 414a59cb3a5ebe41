//! Standard normal noise from a seed, the same bits on every machine, whatever the batch or the number of
//! threads.
//!
//! Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3") makes four words for every
//! block of four elements; Box and Muller's transform (1958) makes four normals of them. The logarithm, sine
//! and cosine are polynomials of our own (Cephes' coefficients) in which every multiply-add is an explicit
//! one that rounds once in hardware and in software alike, so no platform's libm and no compiler's
//! contraction has a say in the bits.

use crate::cpu_features::{Isa, isa, vectorize};
use crate::fused;

/// Fills `out` with independent standard normals: element e of an image's flattened (c, h, w) values is lane
/// e % 4 of block e / 4. Stream 0 is x_T, stream k >= 1 the fresh noise of step k.
///
/// A shorter `out` gets a prefix of a longer one's values. At most 2^34 elements, where the block counter ends.
pub fn fill(seed: u64, stream: u32, out: &mut [f32]) {
    fill_from(seed, stream, 0, out);
}

/// Fills a batch of images side by side, each from its own seed.
pub fn fill_images(seeds: &[u64], stream: u32, out: &mut [f32]) {
    let len = out.len() / seeds.len().max(1);
    debug_assert_eq!(len * seeds.len(), out.len(), "an image a seed");
    for (i, &seed) in seeds.iter().enumerate() {
        fill(seed, stream, &mut out[i * len..][..len]);
    }
}

/// The part of [`fill`]'s sequence that starts at element `first`.
pub fn fill_from(seed: u64, stream: u32, first: u64, out: &mut [f32]) {
    debug_assert!(first + out.len() as u64 <= 1 << 34, "beyond the block counter");
    let key = [seed as u32, (seed >> 32) as u32];
    let (block, lane) = ((first / 4) as u32, (first % 4) as usize);
    if lane == 0 {
        return fill_blocks(key, stream, block, out);
    }
    let (head, rest) = out.split_at_mut(out.len().min(4 - lane));
    let mut whole = [0.0; 4];
    fill_blocks(key, stream, block, &mut whole);
    head.copy_from_slice(&whole[lane..lane + head.len()]);
    fill_blocks(key, stream, block.wrapping_add(1), rest);
}

/// Philox4x32-10's four words for this counter under this key: whatever else has to be drawn, addressed by what it is for.
pub fn words(seed: u64, counter: [u32; 4]) -> [u32; 4] {
    philox(counter.map(|word| [word]), [seed as u32, (seed >> 32) as u32]).map(|[word]| word)
}

/// Blocks made side by side: lanes of a vector unit, for the compiler to fill.
const LANES: usize = 16;

fn fill_blocks(key: [u32; 2], stream: u32, first: u32, out: &mut [f32]) {
    let isa = isa();
    if isa >= Isa::Avx2 {
        vectorize(
            isa,
            #[inline(always)]
            || fill_block_loop::<true>(key, stream, first, out),
        );
    } else {
        fill_block_loop::<false>(key, stream, first, out);
    }
}

/// All it calls is inlined. FUSED: it is compiled for a processor that has the instruction.
#[inline(always)]
fn fill_block_loop<const FUSED: bool>(key: [u32; 2], stream: u32, first_block: u32, out: &mut [f32]) {
    let mut block = first_block;
    let mut groups = out.chunks_exact_mut(4 * LANES);
    for group in &mut groups {
        store(&normals::<LANES, FUSED>(key, stream, block), group);
        block = block.wrapping_add(LANES as u32);
    }
    for group in groups.into_remainder().chunks_mut(4) {
        let mut whole = [0.0; 4];
        store(&normals::<1, FUSED>(key, stream, block), &mut whole);
        group.copy_from_slice(&whole[..group.len()]);
        block = block.wrapping_add(1);
    }
}

/// Lane by lane to block by block.
#[inline(always)]
fn store<const L: usize>(lanes: &[[f32; L]; 4], out: &mut [f32]) {
    for (i, four) in out.chunks_exact_mut(4).enumerate().take(L) {
        four.copy_from_slice(&[lanes[0][i], lanes[1][i], lanes[2][i], lanes[3][i]]);
    }
}

/// The normals of blocks `first`, `first + 1`, ...: z[element of the block][block].
#[inline(always)]
fn normals<const L: usize, const FUSED: bool>(key: [u32; 2], stream: u32, first: u32) -> [[f32; L]; 4] {
    let mut counter = [[0; L], [stream; L], [0; L], [0; L]];
    for (i, block) in counter[0].iter_mut().enumerate() {
        *block = first.wrapping_add(i as u32);
    }
    let words = philox(counter, key);
    let mut z = [[0.0; L]; 4];
    for pair in [0, 2] {
        for i in 0..L {
            let radius = (-2.0 * ln::<FUSED>(uniform(words[pair][i]))).sqrt();
            let (cos, sin) = cos_sin::<FUSED>(words[pair + 1][i]);
            z[pair][i] = radius * cos;
            z[pair + 1][i] = radius * sin;
        }
    }
    z
}

/// Philox4x32 with ten rounds, on L counters at once.
#[inline(always)]
#[allow(clippy::needless_range_loop)] // Lane i of all four words at once.
fn philox<const L: usize>(mut c: [[u32; L]; 4], mut key: [u32; 2]) -> [[u32; L]; 4] {
    for _ in 0..10 {
        for i in 0..L {
            let p0 = 0xD251_1F53_u64 * u64::from(c[0][i]);
            let p1 = 0xCD9E_8D57_u64 * u64::from(c[2][i]);
            let next = [
                (p1 >> 32) as u32 ^ c[1][i] ^ key[0],
                p1 as u32,
                (p0 >> 32) as u32 ^ c[3][i] ^ key[1],
                p0 as u32,
            ];
            (c[0][i], c[1][i], c[2][i], c[3][i]) = (next[0], next[1], next[2], next[3]);
        }
        key = [key[0].wrapping_add(0x9E37_79B9), key[1].wrapping_add(0xBB67_AE85)];
    }
    c
}

/// The odd number m of 24 bits with u = m / 2^24: u = ((w >> 9) + 0.5) 2^-23, never 0 and never 1.
#[inline(always)]
fn odd(word: u32) -> i32 {
    ((word >> 9) << 1 | 1) as i32
}

/// u in (0, 1), exact in f32.
#[inline(always)]
fn uniform(word: u32) -> f32 {
    const ULP: f32 = 1.0 / (1 << 24) as f32;
    odd(word) as f32 * ULP
}

/// The natural logarithm of a normal positive float, within 1 ulp on (0, 1).
#[inline(always)]
fn ln<const FUSED: bool>(u: f32) -> f32 {
    /// sqrt(1/2): u = 2^e m with m in [sqrt(1/2), sqrt(2)).
    const SQRT_HALF: u32 = 0x3f35_04f3;
    /// ln 2 in two parts; the first has so few bits that its product with e is exact.
    const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// (ln(1 + f) - f + f^2 / 2) / f^3, highest power first.
    const P: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        3.333_333e-1,
    ];
    let shifted = u.to_bits().wrapping_sub(SQRT_HALF);
    let e = (shifted as i32 >> 23) as f32;
    let f = f32::from_bits((shifted & 0x007f_ffff) + SQRT_HALF) - 1.0;
    let f2 = f * f;
    let mut p = P[0];
    for &coefficient in &P[1..] {
        p = mul_add::<FUSED>(p, f, coefficient);
    }
    let tail = mul_add::<FUSED>(f2, -0.5, mul_add::<FUSED>(e, LN_2[1], p * (f * f2)));
    mul_add::<FUSED>(e, LN_2[0], f + tail)
}

/// (cos, sin) of 2 pi u, within 2 ulp. The nearest quarter turn is taken off u as an integer, so the reduction is
/// exact and the results are accurate next to their zeros too.
#[inline(always)]
fn cos_sin<const FUSED: bool>(word: u32) -> (f32, f32) {
    /// 2 pi / 2^24, rounded.
    const ANGLE: f32 = std::f32::consts::TAU / (1 << 24) as f32;
    let m = odd(word);
    let quarter = (m + (1 << 21)) >> 22;
    let x = (m - (quarter << 22)) as f32 * ANGLE;
    let x2 = x * x;
    let p = mul_add::<FUSED>(mul_add::<FUSED>(-1.951_529_6e-4, x2, 8.332_161e-3), x2, -1.666_665_5e-1);
    let sin = mul_add::<FUSED>(p, x2 * x, x);
    let p = mul_add::<FUSED>(mul_add::<FUSED>(2.443_315_7e-5, x2, -1.388_731_6e-3), x2, 4.166_664_6e-2);
    let cos = mul_add::<FUSED>(p, x2 * x2, mul_add::<FUSED>(x2, -0.5, 1.0));
    let (c, s) = if quarter & 1 == 0 { (cos, sin) } else { (sin, cos) };
    (flip(c, quarter + 1), flip(s, quarter))
}

#[inline(always)]
fn mul_add<const FUSED: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FUSED { a.mul_add(b, c) } else { fused::mul_add(a, b, c) }
}

/// -v where bit 1 of `quarter` is set.
#[inline(always)]
fn flip(v: f32, quarter: i32) -> f32 {
    f32::from_bits(v.to_bits() ^ (quarter as u32 & 2) << 30)
}

#[cfg(test)]
#[path = "noise_tests.rs"]
mod tests;
