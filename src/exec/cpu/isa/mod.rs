//! The loops that are written with registers in mind: GEMM panels (`panel`) and Winograd's transforms
//! (`winograd`). Each is written once over [`Vector`] and instantiated by [`kernels!`] in `portable.rs`,
//! `neon.rs`, `avx2.rs` and `avx512.rs`; everything else is left to `vectorize`.
#![allow(unsafe_code)]

/// A function table for one vector type: every kernel, compiled with the attributes given (its instruction set).
macro_rules! kernels {
    ($(#[$attribute:meta])* $vector:ty, rows: $rows:expr, vectors: $vectors:expr) => {
        /// Every kernel of this instruction set.
        pub static TABLE: Table = Table {
            lanes: <$vector as Vector>::LANES,
            vectors: $vectors,
            rows: $rows,
            panels: [
                kernels!(each panel, 1, $rows, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
                kernels!(each panel, $vectors, $rows, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            ],
            sources: [source::<F23>, source::<F43>],
            outputs: [output::<F23>, output::<F43>],
            silu,
        };

        /// # Safety
        /// As [`super::panel::panel`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn panel<const ROWS: usize, const VECTORS: usize>(
            panel: &Panel,
            row: usize,
            out: *mut f32,
            stride: usize,
            next: *const f32,
            fetch: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe { super::panel::panel::<$vector, ROWS, VECTORS>(panel, row, out, stride, next, fetch) }
        }
        /// # Safety
        /// As [`super::winograd::source`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn source<T: Transform>(source: &Source, to: *mut f32, position: usize) {
            // SAFETY: the caller's promise.
            unsafe { super::winograd::source::<$vector, T>(source, to, position) }
        }
        /// # Safety
        /// As [`super::winograd::output`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn output<T: Transform>(from: *const f32, position: usize, to: *mut f32, stride: usize, vectors: usize) {
            // SAFETY: the caller's promise.
            unsafe { super::winograd::output::<$vector, T>(from, position, to, stride, vectors) }
        }
        /// # Safety
        /// As [`super::silu::silu`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn silu(x: *const f32, scale: *const f32, shift: *const f32, y: *mut f32, len: usize) {
            // SAFETY: the caller's promise.
            unsafe { super::silu::silu::<$vector>(x, scale, shift, y, len) }
        }
    };
    // By rows: kernels of as many, or of all that the registers hold.
    (each $kernel:ident, $vectors:expr, $rows:expr, $($n:literal)*) => {
        [$($kernel::<{ if $n == 0 { 1 } else if $n > $rows { $rows } else { $n } }, { $vectors }>),*]
    };
}

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panel;
mod portable;
mod silu;
mod winograd;

pub use panel::{CHUNK, Panel};
pub use winograd::{Algorithm, Source};

use crate::cpu_features::{Isa, detected};

/// Most rows of a tile, over all instruction sets.
pub const MAX_ROWS: usize = 14;
/// Floats of the longest vector.
const MAX_LANES: usize = 16;
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
    unsafe fn add(self, other: Self) -> Self;
    unsafe fn sub(self, other: Self) -> Self;
    unsafe fn mul(self, other: Self) -> Self;
    /// self * factor + addend, rounded once where the instruction set can.
    unsafe fn mul_add(self, factor: Self, addend: Self) -> Self;
    /// The larger one, of what holds a number; `other` where it or `self` is NaN.
    unsafe fn max(self, other: Self) -> Self;
    /// The smaller one, as `max`.
    unsafe fn min(self, other: Self) -> Self;
    /// The nearest integers; the floats are below 2^22.
    unsafe fn round(self) -> Self;
    /// self * 2^power, for integers `power` from -126 to 127.
    unsafe fn scale(self, power: Self) -> Self;
    /// 1 / self within 2 ulp, for floats from 1 to 2^126.
    unsafe fn reciprocal(self) -> Self;
    /// Asks for the cache line at `from`, which may be anywhere, to come into the second cache.
    fn prefetch(from: *const f32);
    /// The same, into the first cache.
    fn prefetch_near(from: *const f32);
}

type PanelFn = unsafe fn(&Panel, usize, *mut f32, usize, *const f32, usize);
type SourceFn = unsafe fn(&Source, *mut f32, usize);
type SiluFn = unsafe fn(*const f32, *const f32, *const f32, *mut f32, usize);
type OutputFn = unsafe fn(*const f32, usize, *mut f32, usize, usize);

/// The kernels of one instruction set.
struct Table {
    lanes: usize,
    vectors: usize,
    rows: usize,
    /// By vectors - 1, then rows.
    panels: [[PanelFn; MAX_ROWS + 1]; 2],
    /// By [`Algorithm`].
    sources: [SourceFn; 2],
    outputs: [OutputFn; 2],
    silu: SiluFn,
}

/// The kernels of one instruction set that this processor has. Their functions check every bound once a call,
/// so they are as safe as slices are.
#[derive(Clone, Copy)]
pub struct Kernels {
    isa: Isa,
    /// Floats of a vector.
    pub lanes: usize,
    /// Vectors side by side in a full tile.
    pub vectors: usize,
    /// Rows of a full tile.
    pub rows: usize,
    table: &'static Table,
}

impl Kernels {
    /// The kernels of `isa`, or of the best level below that this processor has.
    pub fn new(isa: Isa) -> Self {
        let (isa, table) = match isa.min(detected()) {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => (Isa::Avx512, &avx512::TABLE),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (Isa::Avx2, &avx2::TABLE),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => (Isa::Neon, &neon::TABLE),
            _ => (Isa::Portable, &portable::TABLE),
        };
        Self { isa, lanes: table.lanes, vectors: table.vectors, rows: table.rows, table }
    }

    /// The level they are of.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Columns of a full tile.
    pub fn cols(&self) -> usize {
        self.lanes * self.vectors
    }

    /// Sums of `rows` rows of a panel by `vectors` vectors of columns, into rows of `out` that are `stride` apart.
    /// Neither of both changes the order in which a sum is made.
    #[inline]
    pub fn panel(&self, panel: &Panel, rows: usize, vectors: usize, out: &mut [f32], stride: usize) {
        let cols = vectors * self.lanes;
        assert!(0 < rows && 0 < vectors && vectors <= self.vectors && cols <= stride);
        // Full chunks end where the last of them does, which the shorter one behind them may not reach.
        let chunks = panel.inner.div_ceil(CHUNK);
        assert!(chunks > 0 && panel.chunk_stride >= rows * CHUNK);
        let end = (chunks - 1) * panel.chunk_stride + rows * CHUNK;
        assert!(end <= panel.rows.len(), "a panel reads outside of its rows");
        assert!(panel.inner * cols <= panel.weights.len() && (rows - 1) * stride + cols <= out.len());
        let tiles = rows.div_ceil(self.rows);
        // Each tile fetches its share of what comes next, whole or in steps of half a cache line.
        let (next, fetch) =
            (panel.next.as_ptr(), (panel.next.len() / (panel.inner * tiles)).next_multiple_of(8));
        let mut row = 0;
        for tile in 0..tiles {
            // Equal tiles, but for one row.
            let count = rows * (tile + 1) / tiles - row;
            // SAFETY: `new` gave kernels of an instruction set that `detected` found, and `count` and `vectors` are
            // among them. Rows from `row` on, `count` of them, lie inside `panel.rows` in every chunk, and inside
            // `out`; the weights are long enough. All was checked above.
            unsafe {
                let next = next.wrapping_add(tile * fetch * panel.inner);
                let out = out.as_mut_ptr().add(row * stride);
                self.table.panels[vectors - 1][count](panel, row, out, stride, next, fetch);
            }
            row += count;
        }
    }

    /// Winograd's source transform of every tile: position p of tile t goes to `to[p * position + t * CHUNK..]`.
    #[inline]
    pub fn source(&self, algorithm: Algorithm, source: &Source, to: &mut [f32], position: usize) {
        let side = algorithm.side();
        let room = source.channels.next_multiple_of(self.lanes);
        let reach = (side - 1) * (source.row + source.stride) + room;
        let last = source.starts.iter().max().expect("no tiles").checked_add(reach);
        assert!(last.is_some_and(|end| end <= source.plane.len()), "a tile reads outside of its plane");
        assert!(room <= CHUNK && source.starts.len() * CHUNK <= position);
        assert!(side * side * position <= to.len());
        // SAFETY: the instruction set as in `panel`; the last tile's last pixel lies inside the plane, and every
        // tile's place at every position inside `to`, as was just checked.
        unsafe { self.table.sources[algorithm as usize](source, to.as_mut_ptr(), position) }
    }

    /// Winograd's output transform of one tile: position p of its sums is at `from[p * position..]`, and pixel
    /// (y, x) goes to `to[(y * out + x) * MAX_COLS..]`, where `out` is the algorithm's.
    #[inline]
    pub fn output(
        &self,
        algorithm: Algorithm,
        from: &[f32],
        position: usize,
        vectors: usize,
        to: &mut [[f32; MAX_COLS]; 16],
    ) {
        let (side, cols) = (algorithm.side(), vectors * self.lanes);
        assert!(vectors <= self.vectors && (side * side - 1) * position + cols <= from.len());
        // SAFETY: as in `source`; `to` has room for the 4 x 4 pixels of the largest algorithm.
        unsafe {
            self.table.outputs[algorithm as usize](
                from.as_ptr(),
                position,
                to.as_mut_ptr().cast(),
                MAX_COLS,
                vectors,
            );
        }
    }

    /// y = silu(x scale + shift), a channel each.
    #[inline]
    pub fn silu(&self, x: &[f32], scale: &[f32], shift: &[f32], y: &mut [f32]) {
        let len = y.len();
        assert!(x.len() == len && scale.len() == len && shift.len() == len);
        let whole = len / self.lanes * self.lanes;
        // SAFETY: the instruction set as in `panel`; all four have `whole` floats, a multiple of a vector.
        unsafe { (self.table.silu)(x.as_ptr(), scale.as_ptr(), shift.as_ptr(), y.as_mut_ptr(), whole) }
        let rest = len - whole;
        if rest > 0 {
            let padded = |values: &[f32]| {
                let mut padded = [0.0; MAX_LANES];
                padded[..rest].copy_from_slice(&values[whole..]);
                padded
            };
            let ([x, scale, shift], mut out) = ([x, scale, shift].map(padded), [0.0; MAX_LANES]);
            // SAFETY: as above, with room for one vector of any instruction set.
            unsafe {
                (self.table.silu)(x.as_ptr(), scale.as_ptr(), shift.as_ptr(), out.as_mut_ptr(), self.lanes);
            }
            y[whole..].copy_from_slice(&out[..rest]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::cpu::testing::Random;

    #[test]
    fn panels_match_plain_sums() {
        let mut random = Random(2);
        for isa in Isa::available() {
            let kernels = Kernels::new(isa);
            for (rows, inner, vectors) in
                [(1, 1usize, 1), (3, 64, 1), (17, 65, 1), (40, 130, kernels.vectors)]
            {
                let (cols, chunk_stride) = (vectors * kernels.lanes, (rows + 1) * CHUNK);
                let values = random.values(inner.div_ceil(CHUNK) * chunk_stride);
                let weights = random.values(inner * cols);
                let mut out = vec![0.0; rows * (cols + 3)];
                let panel = Panel { rows: &values, chunk_stride, inner, weights: &weights, next: &[] };
                kernels.panel(&panel, rows, vectors, &mut out, cols + 3);
                for (r, out) in out.chunks(cols + 3).enumerate() {
                    for c in 0..cols {
                        let at = |k: usize| k / CHUNK * chunk_stride + r * CHUNK + k % CHUNK;
                        let sum = (0..inner)
                            .map(|k| f64::from(values[at(k)]) * f64::from(weights[k * cols + c]))
                            .sum::<f64>();
                        assert!((f64::from(out[c]) - sum).abs() < 1e-4, "{isa:?} {rows} {inner}");
                    }
                    assert_eq!(out[cols..], [0.0; 3]);
                }
            }
        }
    }

    #[test]
    #[should_panic(expected = "a panel reads outside of its rows")]
    fn a_panel_outside_of_its_rows_is_caught() {
        let kernels = Kernels::new(Isa::Portable);
        let (rows, weights) = ([0.0; CHUNK + 1], [0.0; 65 * 8]);
        let panel = Panel { rows: &rows, chunk_stride: CHUNK, inner: 65, weights: &weights, next: &[] };
        kernels.panel(&panel, 1, 1, &mut [0.0; 8], 8);
    }

    #[test]
    fn silu_matches_f64_and_keeps_nan() {
        let x: Vec<f32> = (-6400..6401).map(|i| i as f32 / 64.0).chain([1e30, -1e30, f32::NAN]).collect();
        let (scale, shift) = (vec![1.5; x.len()], vec![0.25; x.len()]);
        for isa in Isa::available() {
            let mut y = vec![0.0; x.len()];
            Kernels::new(isa).silu(&x, &scale, &shift, &mut y);
            for (&x, &y) in x.iter().zip(&y) {
                let v = f64::from(x * 1.5 + 0.25);
                let expected = v / (1.0 + (-v).exp());
                let error = (f64::from(y) - expected).abs();
                // Beyond -87 the exponential stays where it is, and the result near 0.
                let close = error <= 4e-7 * expected.abs() || v < -87.0 && error < 1e-6_f64.max(v * -2e-38);
                assert!(close || x.is_nan() && y.is_nan(), "{isa:?}: silu({v}) = {y}, not {expected}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "outside of its plane")]
    fn a_transform_outside_of_its_plane_is_caught() {
        let kernels = Kernels::new(Isa::Portable);
        let source = Source { plane: &[0.0; 4 * 4 * 8], starts: &[1], row: 32, stride: 8, channels: 8 };
        kernels.source(Algorithm::F23, &source, &mut [0.0; 16 * CHUNK], CHUNK);
    }
}
