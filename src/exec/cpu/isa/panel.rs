//! GEMM panels: as many rows by vectors of columns as the registers hold, over the whole inner dimension.

use super::Vector;
use super::prefetch::{self, LINE};

/// Words of a panel's row that lie side by side.
pub const CHUNK: usize = 64;

/// What a panel reads: (chunks, rows, [`CHUNK`]) words, so that a tile's rows are a constant apart and need no
/// pointers of their own. A word is a float or two bf16, as `Kernels::row_values` and `Kernels::weight_values` say.
pub struct Panel<'a> {
    /// The rows of the first chunk, then those of the next.
    pub rows: &'a [f32],
    /// Words from a chunk to the next.
    pub chunk_stride: usize,
    /// Length of the inner dimension, in words of the weights; the last chunk may have fewer than its place.
    pub inner: usize,
    /// (inner, vectors * lanes)
    pub weights: &'a [f32],
    /// What the next panel will read: fetched into the caches meanwhile.
    pub next: Next<'a>,
}

/// Weights and rows of a panel.
#[derive(Clone, Copy, Default)]
pub struct Next<'a> {
    /// The weights, which come from the last cache or from memory.
    pub weights: &'a [f32],
    /// The rows, of which the second cache has the first chunk already.
    pub rows: &'a [f32],
}

/// What a tile does for those after it: it fetches, by addresses that are only hinted at, and may widen.
#[derive(Clone, Copy)]
pub struct Ahead {
    /// Weights, into the second cache: they come from memory as fast as they are used only if they are asked for
    /// this early.
    pub weights: *const f32,
    /// How many words of them for each step of the inner dimension.
    pub step: usize,
    /// The rows of the tile after this one, into the first cache.
    pub rows: *const f32,
    /// Where [`Product::WIDENS`] leaves its weights as floats, in their order.
    pub widened: *mut f32,
}

/// What the words of rows and weights are, and their product.
///
/// # Safety of its functions
/// The processor has V's instruction set, and the product's own.
#[allow(private_bounds)]
pub trait Product<V: Vector> {
    /// Values of a word of a row.
    const ROW_VALUES: usize = 1;
    /// Words of a row that meet one word of the weights.
    const ROW_WORDS: usize = 1;
    /// Whether the floats that the weights stand for are kept for the tiles behind, which then take those.
    const WIDENS: bool = false;
    /// What the `word`-th of those words is multiplied with.
    unsafe fn factor(weights: V, word: usize) -> V;
    /// sum + row * factor
    #[inline(always)]
    unsafe fn product(row: V, factor: V, sum: V) -> V {
        // SAFETY: the caller's promise.
        unsafe { row.mul_add(factor, sum) }
    }
    /// Stores values as words of a row, `LANES / ROW_VALUES` of them.
    #[inline(always)]
    unsafe fn store_row(values: V, to: *mut f32) {
        // SAFETY: the caller's promise.
        unsafe { values.store(to) }
    }
}

/// Floats times floats.
pub struct Whole;
/// Floats times pairs of bf16, which are widened to the floats whose upper halves they are.
pub struct Halves;
/// [`Halves`] whose floats are kept.
pub struct Widening;

#[allow(private_bounds)]
impl<V: Vector> Product<V> for Whole {
    #[inline(always)]
    unsafe fn factor(weights: V, _word: usize) -> V {
        weights
    }
}

#[allow(private_bounds)]
impl<V: Vector> Product<V> for Halves {
    const ROW_WORDS: usize = 2;
    #[inline(always)]
    unsafe fn factor(weights: V, word: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { weights.halves()[word] }
    }
}

#[allow(private_bounds)]
impl<V: Vector> Product<V> for Widening {
    const ROW_WORDS: usize = 2;
    const WIDENS: bool = true;
    #[inline(always)]
    unsafe fn factor(weights: V, word: usize) -> V {
        // SAFETY: the caller's promise.
        unsafe { <Halves as Product<V>>::factor(weights, word) }
    }
}

/// `ROWS` by `VECTORS` sums, of the panel's rows from `row` on, into rows `stride` apart. Meanwhile fetches its
/// own next chunk of rows into the first cache, and what `ahead` says.
///
/// # Safety
/// The processor has V's instruction set, and P's. Those rows lie inside the panel in every chunk, the weights hold
/// `VECTORS` vectors for each word of the inner dimension, and `out` has room; so has `ahead.widened` for the floats of the
/// weights, if P widens.
#[inline(always)]
#[allow(private_bounds)]
pub unsafe fn panel<V: Vector, P: Product<V>, const ROWS: usize, const VECTORS: usize>(
    panel: &Panel,
    row: usize,
    out: *mut f32,
    stride: usize,
    mut ahead: Ahead,
) {
    // SAFETY: all reads and writes are within what the caller promised.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        let mut weights = panel.weights.as_ptr();
        let mut rows = panel.rows.as_ptr().add(row * CHUNK);
        let mut rest = panel.inner;
        while rest > 0 {
            let len = rest.min(CHUNK / P::ROW_WORDS);
            let next_rows = if rest > len { rows.wrapping_add(panel.chunk_stride) } else { ahead.rows };
            let (mut row, mut next_rows) = (rows, next_rows);
            for _ in 0..len / V::UNROLL {
                // What these steps fetch together is whole lines: one, as many as there are steps, or twice as many.
                prefetch::far(ahead.weights);
                if ahead.step > LINE / V::UNROLL {
                    for i in 1..V::UNROLL {
                        prefetch::far(ahead.weights.wrapping_add(i * LINE));
                    }
                }
                if ahead.step > LINE {
                    for i in V::UNROLL..2 * V::UNROLL {
                        prefetch::far(ahead.weights.wrapping_add(i * LINE));
                    }
                }
                ahead.weights = ahead.weights.wrapping_add(V::UNROLL * ahead.step);
                // A chunk's lines of these rows lie side by side: as many for each of its words as bring all of them.
                let lines = (ROWS * V::UNROLL * P::ROW_WORDS).div_ceil(LINE);
                for line in 0..lines {
                    prefetch::near(next_rows.wrapping_add(line * LINE));
                }
                next_rows = next_rows.wrapping_add(lines * LINE);
                for i in 0..V::UNROLL {
                    let weights = weights.add(i * VECTORS * V::LANES);
                    step::<V, P, ROWS, VECTORS>(
                        &mut sums,
                        row.add(i * P::ROW_WORDS),
                        weights,
                        &mut ahead.widened,
                    );
                }
                weights = weights.add(V::UNROLL * VECTORS * V::LANES);
                row = row.add(V::UNROLL * P::ROW_WORDS);
            }
            for i in 0..len % V::UNROLL {
                step::<V, P, ROWS, VECTORS>(
                    &mut sums,
                    row.add(i * P::ROW_WORDS),
                    weights,
                    &mut ahead.widened,
                );
                weights = weights.add(VECTORS * V::LANES);
            }
            rest -= len;
            if rest > 0 {
                rows = rows.add(panel.chunk_stride);
            }
        }
        for r in 0..ROWS {
            for v in 0..VECTORS {
                sums[r][v].store(out.add(r * stride + v * V::LANES));
            }
        }
    }
}

/// `sums[r][v] += rows[r] * weights[v]`, over the words of a row that meet one word of the weights.
///
/// # Safety
/// The processor has V's instruction set, and P's; `rows` points to `ROWS` of those words, a chunk apart, and `weights` to
/// `VECTORS` vectors; if P widens, `widened` to room for their floats.
#[inline(always)]
unsafe fn step<V: Vector, P: Product<V>, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    rows: *const f32,
    weights: *const f32,
    widened: &mut *mut f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        // Eight steps on; nearer and further were slower.
        for line in (0..VECTORS * V::LANES).step_by(LINE) {
            prefetch::near(weights.wrapping_add(8 * VECTORS * V::LANES + line));
        }
        for word in 0..P::ROW_WORDS {
            // Loaded anew for each word: there are no registers to keep both of their halves.
            let factors: [V; VECTORS] =
                std::array::from_fn(|v| P::factor(V::load(weights.add(v * V::LANES)), word));
            if P::WIDENS {
                for v in 0..VECTORS {
                    factors[v].store(*widened);
                    *widened = widened.add(V::LANES);
                }
            }
            for r in 0..ROWS {
                let value = V::splat(*rows.add(r * CHUNK + word));
                for v in 0..VECTORS {
                    sums[r][v] = P::product(value, factors[v], sums[r][v]);
                }
            }
        }
    }
}
