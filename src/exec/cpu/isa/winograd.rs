//! Winograd's transforms for 3x3 convolutions (Lavin & Gray 2016): F(4x4, 3x3) computes 16 outputs with 36
//! multiplications instead of 144, F(2x2, 3x3) four with 16 instead of 36.
//!
//! A tile's `side * side` pixels d become B^T d B, which are multiplied with the transformed filters at each
//! *position*, summed over the channels, and become A^T m A, the outputs. The points of F(4, 3) are 0, +-sqrt(1/2),
//! +-sqrt(2) and infinity, which lose half as many digits as the customary 0, +-1, +-2.

use super::{CHUNK, Product, Vector, prefetch};
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};

/// How many outputs a tile computes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    /// F(2x2, 3x3)
    F23 = 0,
    /// F(4x4, 3x3)
    F43 = 1,
}

impl Algorithm {
    /// What packed files call its filters.
    pub fn name(self) -> &'static str {
        match self {
            Algorithm::F23 => "winograd_2x2",
            Algorithm::F43 => "winograd_4x4",
        }
    }

    /// Outputs of a tile in each direction.
    pub fn out(self) -> usize {
        match self {
            Algorithm::F23 => F23::OUT,
            Algorithm::F43 => F43::OUT,
        }
    }

    /// Inputs of a tile in each direction; its square is the number of positions.
    pub fn side(self) -> usize {
        self.out() + 2
    }

    /// G, which takes a filter's three taps to the positions: G g G^T is the transformed filter.
    pub fn filter(self) -> &'static [[f32; 3]] {
        const A: f32 = FRAC_1_SQRT_2;
        const B: f32 = SQRT_2;
        match self {
            Algorithm::F23 => &[[-1.0, 0.0, 0.0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0.0, 0.0, 1.0]],
            // [1, p, p^2] over the product of a point's distances to the others.
            Algorithm::F43 => &[
                [1.0, 0.0, 0.0],
                [-1.0 / 1.5, -A / 1.5, -0.5 / 1.5],
                [-1.0 / 1.5, A / 1.5, -0.5 / 1.5],
                [1.0 / 6.0, B / 6.0, 2.0 / 6.0],
                [1.0 / 6.0, -B / 6.0, 2.0 / 6.0],
                [0.0, 0.0, 1.0],
            ],
        }
    }
}

/// Tiles to transform: one chunk of their channels.
pub struct Tiles<'a> {
    /// The plane, its first float that of the chunk's first channel.
    pub plane: &'a [f32],
    /// Where each tile's first pixel is.
    pub starts: &'a [usize],
    /// Floats from one plane row to the next.
    pub row: usize,
    /// Floats from one pixel to the next.
    pub stride: usize,
    /// Channels, at most `Kernels::chunk_values`; filled up to whole vectors with what follows them.
    pub channels: usize,
}

/// An algorithm's transforms of one direction. Arrays have the largest size; F(2, 3) uses less of them.
///
/// # Safety of its functions
/// The processor has V's instruction set.
pub trait Transform {
    /// Outputs.
    const OUT: usize;
    /// B^T d
    #[allow(private_bounds)]
    unsafe fn source<V: Vector>(d: [V; 6]) -> [V; 6];
    /// A^T m
    #[allow(private_bounds)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4];
    /// G g
    #[allow(private_bounds)]
    unsafe fn filter<V: Vector>(g: [V; 3]) -> [V; 6];
}

/// F(2, 3), with points 0, 1, -1 and infinity.
pub struct F23;
/// F(4, 3).
pub struct F43;

impl Transform for F23 {
    const OUT: usize = 2;
    #[inline(always)]
    unsafe fn source<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's promise.
        unsafe { [d[2].sub(d[0]), d[1].add(d[2]), d[2].sub(d[1]), d[3].sub(d[1]), d[0], d[0]] }
    }
    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        // SAFETY: the caller's promise.
        unsafe { [m[0].add(m[1]).add(m[2]), m[1].sub(m[2]).add(m[3]), m[0], m[0]] }
    }
    #[inline(always)]
    unsafe fn filter<V: Vector>(g: [V; 3]) -> [V; 6] {
        // SAFETY: the caller's promise.
        unsafe {
            let half = V::splat(0.5);
            let (even, odd) = (g[0].add(g[2]).mul(half), g[1].mul(half));
            [V::splat(0.0).sub(g[0]), even.add(odd), even.sub(odd), g[2], g[2], g[2]]
        }
    }
}

impl Transform for F43 {
    const OUT: usize = 4;
    #[inline(always)]
    unsafe fn source<V: Vector>(d: [V; 6]) -> [V; 6] {
        // SAFETY: the caller's promise.
        unsafe {
            let [a, minus_a, b, minus_b] =
                [FRAC_1_SQRT_2, -FRAC_1_SQRT_2, SQRT_2, -SQRT_2].map(|point| V::splat(point));
            let [two, half, mixed] = [-2.0, -0.5, -2.5].map(|factor| V::splat(factor));
            let (even, odd) = (d[2].mul_add(two, d[4]), d[1].mul_add(two, d[3]));
            let (even_b, odd_b) = (d[2].mul_add(half, d[4]), d[1].mul_add(half, d[3]));
            [
                d[2].mul_add(mixed, d[0].add(d[4])),
                odd.mul_add(a, even),
                odd.mul_add(minus_a, even),
                odd_b.mul_add(b, even_b),
                odd_b.mul_add(minus_b, even_b),
                d[3].mul_add(mixed, d[1].add(d[5])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn output<V: Vector>(m: [V; 6]) -> [V; 4] {
        // SAFETY: the caller's promise.
        unsafe {
            let (zero, two, half) = (V::splat(0.0), V::splat(2.0), V::splat(0.5));
            let (sum, difference) = (m[1].add(m[2]), m[1].sub(m[2]));
            let (sum_b, difference_b) = (m[3].add(m[4]), m[3].sub(m[4]));
            // The odd powers of a and b are a (1, 1/2) and b (1, 2).
            let a = difference.mul_add(V::splat(FRAC_1_SQRT_2), zero);
            let b = difference_b.mul_add(V::splat(SQRT_2), zero);
            [
                m[0].add(sum).add(sum_b),
                a.add(b),
                sum.mul_add(half, sum_b.mul_add(two, zero)),
                a.mul_add(half, b.mul_add(two, m[5])),
            ]
        }
    }
    #[inline(always)]
    unsafe fn filter<V: Vector>(g: [V; 3]) -> [V; 6] {
        // SAFETY: the caller's promise.
        unsafe {
            let [third, two_thirds, sixth] =
                [-1.0 / 3.0, -2.0 / 3.0, 1.0 / 6.0].map(|factor| V::splat(factor));
            let (even, odd) =
                (g[2].mul_add(third, g[0].mul(two_thirds)), g[1].mul(V::splat(-FRAC_1_SQRT_2 / 1.5)));
            let (even_b, odd_b) =
                (g[2].mul_add(V::splat(1.0 / 3.0), g[0].mul(sixth)), g[1].mul(V::splat(SQRT_2 / 6.0)));
            [g[0], even.add(odd), even.sub(odd), even_b.add(odd_b), even_b.sub(odd_b), g[2]]
        }
    }
}

/// Row `y` of G g G^T, of which `g` is row `y` of G: position x of input i goes to `to + x * position` and on, a block
/// of columns for each input.
///
/// # Safety
/// The processor has V's instruction set; `taps` has `inputs` times nine blocks of `vectors` vectors, and `to` has
/// room for as many inputs at each position of a row.
#[inline(always)]
#[allow(private_bounds)]
pub unsafe fn filter<V: Vector, T: Transform>(
    mut taps: *const f32,
    inputs: usize,
    vectors: usize,
    g: &[f32; 3],
    mut to: *mut f32,
    position: usize,
) {
    let cols = vectors * V::LANES;
    for _ in 0..inputs {
        for v in 0..vectors {
            // SAFETY: the caller's promise.
            unsafe {
                let (taps, to) = (taps.add(v * V::LANES), to.add(v * V::LANES));
                let [a, b, c] = g.map(|g| V::splat(g));
                let row = std::array::from_fn(|x| {
                    let [top, middle, bottom] = [0, 3, 6].map(|y| V::load(taps.add((y + x) * cols)));
                    top.mul_add(a, middle.mul_add(b, bottom.mul(c)))
                });
                let values = T::filter(row);
                for x in 0..T::OUT + 2 {
                    values[x].store(to.add(x * position));
                }
            }
        }
        // SAFETY: as above; one input further.
        unsafe { (taps, to) = (taps.add(9 * cols), to.add(cols)) };
    }
}

/// B^T d B of every tile; position p of tile t goes to `to + p * position + t * CHUNK`.
///
/// # Safety
/// The processor has V's instruction set, and P's; every tile's pixels lie inside the plane, and its places inside `to`.
#[inline(always)]
#[allow(private_bounds)]
pub unsafe fn source<V: Vector, T: Transform, P: Product<V>>(source: &Tiles, to: *mut f32, position: usize) {
    let side = T::OUT + 2;
    for (tile, &start) in source.starts.iter().enumerate() {
        for channel in (0..source.channels).step_by(V::LANES) {
            // SAFETY: the caller's promise.
            unsafe {
                let from = source.plane.as_ptr().add(start + channel);
                let to = to.add(tile * CHUNK + channel / P::ROW_VALUES);
                let mut columns = [[V::splat(0.0); 6]; 6];
                for x in 0..side {
                    let mut d = [V::splat(0.0); 6];
                    for y in 0..side {
                        d[y] = V::load(from.add(y * source.row + x * source.stride));
                    }
                    let d = T::source(d);
                    for y in 0..side {
                        columns[y][x] = d[y];
                    }
                }
                for y in 0..side {
                    let d = T::source(columns[y]);
                    for x in 0..side {
                        P::store_row(d[x], to.add((y * side + x) * position));
                    }
                }
            }
        }
    }
}

/// A^T m A of one tile; position p is at `from + p * position`, pixel (y, x) goes to `to + (y * OUT + x) * stride`.
///
/// # Safety
/// The processor has V's instruction set; all those places hold `vectors` vectors.
#[inline(always)]
#[allow(private_bounds)]
pub unsafe fn output<V: Vector, T: Transform>(
    from: *const f32,
    position: usize,
    to: *mut f32,
    stride: usize,
    vectors: usize,
) {
    let side = T::OUT + 2;
    for v in 0..vectors {
        // SAFETY: the caller's promise.
        unsafe {
            let (from, to) = (from.add(v * V::LANES), to.add(v * V::LANES));
            let mut columns = [[V::splat(0.0); 6]; 4];
            for x in 0..side {
                let mut m = [V::splat(0.0); 6];
                for y in 0..side {
                    m[y] = V::load(from.add((y * side + x) * position));
                    // What the next call will read, if it is the next block of columns, or the next tile.
                    prefetch::far(from.wrapping_add((y * side + x) * position + vectors * V::LANES));
                }
                let m = T::output(m);
                for y in 0..T::OUT {
                    columns[y][x] = m[y];
                }
            }
            for y in 0..T::OUT {
                let m = T::output(columns[y]);
                for x in 0..T::OUT {
                    m[x].store(to.add((y * T::OUT + x) * stride));
                }
            }
        }
    }
}
