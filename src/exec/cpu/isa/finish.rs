//! What becomes of a whole tile's sums in one pass: Winograd's output transform, what is added, the factor, and the sums of the
//! channels for the next norm. Tiles that reach over an image's edge go the longer way, to the same bits.

use super::winograd::Transform;
use super::{MAX_COLS, Vector, prefetch};
use std::marker::PhantomData;

/// Where a tile's outputs go: a square of an activation's pixels, and some channels of each.
pub struct Square<'a> {
    // `Kernels::finish` rests on these: nobody outside may change them.
    pub(super) first: *mut f32,
    pub(super) row: usize,
    pub(super) pixel: usize,
    pub(super) side: usize,
    pub(super) cols: usize,
    owner: PhantomData<&'a mut [f32]>,
}

impl Square<'_> {
    /// `side` by `side` pixels of `cols` floats each, the first of them at `first`, `row` floats from a row of pixels to the next
    /// and `pixel` from one of a row to the next.
    ///
    /// # Safety
    /// All those floats may be written to for 'a, and nobody else sees them.
    pub unsafe fn new(first: *mut f32, [row, pixel]: [usize; 2], side: usize, cols: usize) -> Self {
        Self { first, row, pixel, side, cols, owner: PhantomData }
    }
}

/// What happens to a tile's outputs: (output + bias + time + residual) * scale.
#[derive(Clone, Copy)]
pub struct Finish<'a> {
    /// One a channel.
    pub bias: &'a [f32],
    /// One a channel.
    pub time: Option<&'a [f32]>,
    /// From the tile's first float on, as far apart as the outputs.
    pub residual: Option<&'a [f32]>,
    /// The factor.
    pub scale: f32,
}

/// A^T m A of one tile, finished, into its square; position p is at `from + p * position`. The channels' sums, and those of their
/// squares, go to `sums`, `MAX_COLS` apart.
///
/// # Safety
/// The processor has V's instruction set; every position, the square, what `finish` names and `sums` have `vectors` vectors in all
/// their places.
#[inline(always)]
#[allow(private_bounds)]
pub unsafe fn finish<V: Vector, T: Transform>(
    from: *const f32,
    position: usize,
    finish: &Finish,
    to: &Square,
    vectors: usize,
    sums: *mut f32,
) {
    let side = T::OUT + 2;
    for v in 0..vectors {
        let channel = v * V::LANES;
        // SAFETY: the caller's promise.
        unsafe {
            let mut columns = [[V::splat(0.0); 6]; 4];
            for x in 0..side {
                let mut m = [V::splat(0.0); 6];
                for y in 0..side {
                    let at = (y * side + x) * position + channel;
                    m[y] = V::load(from.add(at));
                    // What the next call will read: the next tile's sums.
                    prefetch::far(from.wrapping_add(at + vectors * V::LANES));
                }
                let m = T::output(m);
                for y in 0..T::OUT {
                    columns[y][x] = m[y];
                }
            }
            let bias = V::load(finish.bias.as_ptr().add(channel));
            let time = finish.time.map(|time| V::load(time.as_ptr().add(channel)));
            let scale = V::splat(finish.scale);
            let (mut sum, mut squares) = (V::splat(0.0), V::splat(0.0));
            for y in 0..T::OUT {
                let m = T::output(columns[y]);
                for x in 0..T::OUT {
                    let at = y * to.row + x * to.pixel + channel;
                    let mut value = m[x].add(bias);
                    if let Some(time) = time {
                        value = value.add(time);
                    }
                    // The same pixel of the tile after this one.
                    let next = at + T::OUT * to.pixel;
                    if let Some(residual) = finish.residual {
                        prefetch::near(residual.as_ptr().wrapping_add(next));
                        value = value.add(V::load(residual.as_ptr().add(at)));
                    }
                    prefetch::near(to.first.wrapping_add(next));
                    let value = value.mul(scale);
                    value.store(to.first.add(at));
                    sum = sum.add(value);
                    squares = squares.add(value.mul(value));
                }
            }
            sum.store(sums.add(channel));
            squares.store(sums.add(MAX_COLS + channel));
        }
    }
}
