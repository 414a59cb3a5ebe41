//! The GEMM tile: the one loop that is written with registers in mind. It is written once over [`Vector`] and
//! instantiated in `portable.rs`, `avx2.rs` and `avx512.rs`; everything else is left to `vectorize`.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod portable;

use crate::cpu_features::{Isa, detected};

/// Most rows of a tile, over all instruction sets.
pub const MAX_ROWS: usize = 14;
/// Most columns of a tile, over all instruction sets.
pub const MAX_COLS: usize = 32;

/// Registers of one instruction set.
///
/// # Safety of its functions
/// The processor has the instruction set; pointers are good for [`Vector::LANES`] floats.
trait Vector: Copy {
    const LANES: usize;
    unsafe fn splat(value: f32) -> Self;
    unsafe fn load(from: *const f32) -> Self;
    unsafe fn store(self, to: *mut f32);
    /// self * factor + addend, rounded once where the instruction set can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
}

/// A run of a GEMM's inner dimension: `len` floats of each row of one source, from `delta` behind the row's
/// start on. A 3x3 convolution has nine (its taps), a concatenation one a source.
#[derive(Clone, Copy, Debug, Default)]
pub struct Segment {
    /// Which source, 0 or 1.
    pub source: usize,
    /// Where it begins, from the row's start.
    pub delta: usize,
    /// How long it is.
    pub len: usize,
}

/// What a tile reads.
pub struct Tile<'a> {
    /// The sources; the second may be empty.
    pub sources: [&'a [f32]; 2],
    /// Where each of the tile's rows starts in each source.
    pub rows: [[usize; MAX_ROWS]; 2],
    /// The inner dimension.
    pub segments: &'a [Segment],
    /// (inner, vectors * lanes)
    pub weights: &'a [f32],
}

/// A tile's sums, row by row, each row [`MAX_COLS`] apart.
#[repr(align(64))]
pub struct Sums(pub [[f32; MAX_COLS]; MAX_ROWS]);

type TileFn = unsafe fn(&Tile, &mut Sums);

/// The kernels of one instruction set that this processor has.
#[derive(Clone, Copy)]
pub struct Kernels {
    isa: Isa,
    /// Floats of a vector.
    pub lanes: usize,
    /// Vectors side by side in a full tile.
    pub vectors: usize,
    /// Rows of a full tile.
    pub rows: usize,
    /// By vectors - 1, then rows: tiles of as many rows, or of the next size up.
    tiles: &'static [[TileFn; MAX_ROWS + 1]; 2],
}

impl Kernels {
    /// The kernels of `isa`, or of the best level below that this processor has.
    pub fn new(isa: Isa) -> Self {
        match isa.min(detected()) {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => {
                Self { isa: Isa::Avx512, lanes: 16, vectors: 2, rows: avx512::ROWS, tiles: &avx512::TILES }
            }
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Self { isa: Isa::Avx2, lanes: 8, vectors: 2, rows: avx2::ROWS, tiles: &avx2::TILES },
            _ => Self {
                isa: Isa::Portable,
                lanes: 8,
                vectors: 1,
                rows: portable::ROWS,
                tiles: &portable::TILES,
            },
        }
    }

    /// The level they are of.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Columns of a full tile.
    pub fn cols(&self) -> usize {
        self.lanes * self.vectors
    }

    /// Sums of `rows` rows by `vectors` vectors of columns, each in the order of the segments. Sums beyond
    /// them are left undefined. A tile's shape never changes the order in which a sum is made.
    #[inline]
    pub fn tile(&self, tile: &Tile, rows: usize, vectors: usize, sums: &mut Sums) {
        assert!(0 < rows && rows <= self.rows && 0 < vectors && vectors <= self.vectors);
        let mut inner = 0;
        for segment in tile.segments {
            let source = tile.sources[segment.source];
            for &row in &tile.rows[segment.source][..self.rows] {
                let end = row.checked_add(segment.delta).and_then(|start| start.checked_add(segment.len));
                assert!(end.is_some_and(|end| end <= source.len()), "a tile reads outside of its source");
            }
            inner += segment.len;
        }
        assert!(tile.weights.len() >= inner * vectors * self.lanes, "a tile reads outside of its weights");
        // SAFETY: `new` gave tiles of an instruction set that `detected` found. Every row of every segment lies
        // inside its source, and the weights are long enough, as was just checked: kernels of more than `rows`
        // rows read rows below `self.rows` too, which the first check included. `sums` has the largest size.
        unsafe { self.tiles[vectors - 1][rows](tile, sums) }
    }
}

/// The tile: `ROWS` by `VECTORS` accumulators.
///
/// # Safety
/// The processor has V's instruction set. The first `ROWS` rows of every segment lie inside their source, and
/// the weights hold `VECTORS` vectors for each float of the segments.
#[inline(always)]
unsafe fn multiply<V: Vector, const ROWS: usize, const VECTORS: usize>(tile: &Tile, sums: &mut Sums) {
    const { assert!(ROWS <= MAX_ROWS && VECTORS * V::LANES <= MAX_COLS) };
    // SAFETY: all reads are within what the caller promised; stores are within `Sums`, by the assertion above.
    unsafe {
        let mut acc = [[V::splat(0.0); VECTORS]; ROWS];
        let mut weights = tile.weights.as_ptr();
        for segment in tile.segments {
            let start = tile.sources[segment.source].as_ptr().add(segment.delta);
            let rows: [*const f32; ROWS] = std::array::from_fn(|r| start.add(tile.rows[segment.source][r]));
            for i in 0..segment.len {
                let columns: [V; VECTORS] = std::array::from_fn(|v| V::load(weights.add(v * V::LANES)));
                for r in 0..ROWS {
                    let value = V::splat(*rows[r].add(i));
                    for v in 0..VECTORS {
                        acc[r][v] = value.mul_add(columns[v], acc[r][v]);
                    }
                }
                weights = weights.add(VECTORS * V::LANES);
            }
        }
        for r in 0..ROWS {
            for v in 0..VECTORS {
                acc[r][v].store(sums.0[r].as_mut_ptr().add(v * V::LANES));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::cpu::testing::Random;

    #[test]
    fn tiles_match_plain_sums() {
        let mut random = Random(1);
        for isa in Isa::available() {
            let kernels = Kernels::new(isa);
            for rows in 1..=kernels.rows {
                for vectors in 1..=kernels.vectors {
                    let (a, b) = (random.values(400), random.values(300));
                    let cols = vectors * kernels.lanes;
                    let segments = [
                        Segment { source: 0, delta: 5, len: 7 },
                        Segment { source: 1, delta: 0, len: 3 },
                        Segment { source: 0, delta: 40, len: 1 },
                    ];
                    let weights = random.values(11 * cols);
                    let mut starts = [[0; MAX_ROWS]; 2];
                    for r in 0..rows {
                        starts[0][r] = 11 * r + 3;
                        starts[1][r] = 200 - 13 * r;
                    }
                    let tile =
                        Tile { sources: [&a, &b], rows: starts, segments: &segments, weights: &weights };
                    let mut sums = Sums([[0.0; MAX_COLS]; MAX_ROWS]);
                    kernels.tile(&tile, rows, vectors, &mut sums);
                    for r in 0..rows {
                        for c in 0..cols {
                            let (mut sum, mut k) = (0.0f64, 0);
                            for segment in &segments {
                                for i in 0..segment.len {
                                    let at = starts[segment.source][r] + segment.delta + i;
                                    let value = tile.sources[segment.source][at];
                                    sum += f64::from(value) * f64::from(weights[k * cols + c]);
                                    k += 1;
                                }
                            }
                            assert!((f64::from(sums.0[r][c]) - sum).abs() < 1e-5, "{isa:?} {rows}x{vectors}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside of its source")]
    fn a_tile_outside_of_its_source_is_caught() {
        let kernels = Kernels::new(Isa::Portable);
        let segments = [Segment { source: 0, delta: 1, len: 8 }];
        let tile = Tile {
            sources: [&[0.0; 8], &[]],
            rows: [[0; MAX_ROWS]; 2],
            segments: &segments,
            weights: &[0.0; 64],
        };
        kernels.tile(&tile, 1, 1, &mut Sums([[0.0; MAX_COLS]; MAX_ROWS]));
    }
}
