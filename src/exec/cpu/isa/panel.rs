//! GEMM panels: as many rows by vectors of columns as the registers hold, over the whole inner dimension.

use super::Vector;

/// Floats of a panel's row that lie side by side.
pub const CHUNK: usize = 64;

/// What a panel reads: (chunks, rows, [`CHUNK`]) floats, so that a tile's rows are a constant apart and need no
/// pointers of their own.
pub struct Panel<'a> {
    /// The rows of the first chunk, then those of the next.
    pub rows: &'a [f32],
    /// Floats from a chunk to the next.
    pub chunk_stride: usize,
    /// Length of the inner dimension; the last chunk may have fewer floats than its place.
    pub inner: usize,
    /// (inner, vectors * lanes)
    pub weights: &'a [f32],
    /// What the next panel will read: fetched into the cache meanwhile.
    pub next: &'a [f32],
}

/// `ROWS` by `VECTORS` sums, of the panel's rows from `row` on, into rows `stride` apart. Meanwhile fetches into
/// the second cache what is at `next`, `fetch` floats for each step of the inner dimension: weights come from
/// memory as fast as they are used only if they are asked for this early.
///
/// # Safety
/// The processor has V's instruction set. Those rows lie inside the panel in every chunk, the weights hold
/// `VECTORS` vectors for each float of the inner dimension, and `out` has room.
#[inline(always)]
pub unsafe fn panel<V: Vector, const ROWS: usize, const VECTORS: usize>(
    panel: &Panel,
    row: usize,
    out: *mut f32,
    stride: usize,
    mut next: *const f32,
    fetch: usize,
) {
    // SAFETY: all reads and writes are within what the caller promised.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        let mut weights = panel.weights.as_ptr();
        let mut rows = panel.rows.as_ptr().add(row * CHUNK);
        let mut rest = panel.inner;
        while rest > 0 {
            let len = rest.min(CHUNK);
            for i in 0..len {
                V::prefetch(next);
                V::prefetch(next.wrapping_add(fetch / 2));
                next = next.wrapping_add(fetch);
                step(&mut sums, |r| *rows.add(r * CHUNK + i), weights);
                weights = weights.add(VECTORS * V::LANES);
            }
            rest -= len;
            if rest > 0 {
                rows = rows.add(panel.chunk_stride);
            }
        }
        store(&sums, out, stride);
    }
}

/// sums[r][v] += value(r) * weights[v]
///
/// # Safety
/// The processor has V's instruction set, and `weights` points to `VECTORS` vectors.
#[inline(always)]
unsafe fn step<V: Vector, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    value: impl Fn(usize) -> f32,
    weights: *const f32,
) {
    // SAFETY: the caller's promise.
    unsafe {
        let columns: [V; VECTORS] = std::array::from_fn(|v| V::load(weights.add(v * V::LANES)));
        // Eight steps on; nearer and further were slower.
        for v in 0..VECTORS {
            V::prefetch_near(weights.wrapping_add((8 * VECTORS + v) * V::LANES));
        }
        for r in 0..ROWS {
            let value = V::splat(value(r));
            for v in 0..VECTORS {
                sums[r][v] = value.mul_add(columns[v], sums[r][v]);
            }
        }
    }
}

/// # Safety
/// The processor has V's instruction set, and `out` has `ROWS` rows, `stride` apart, of `VECTORS` vectors.
#[inline(always)]
unsafe fn store<V: Vector, const ROWS: usize, const VECTORS: usize>(
    sums: &[[V; VECTORS]; ROWS],
    out: *mut f32,
    stride: usize,
) {
    for r in 0..ROWS {
        for v in 0..VECTORS {
            // SAFETY: the caller's promise.
            unsafe { sums[r][v].store(out.add(r * stride + v * V::LANES)) };
        }
    }
}
