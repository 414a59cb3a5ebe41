//! The loops that are written with registers in mind: GEMM panels (`panel`), Winograd's transforms (`winograd`) and
//! exponentials (`exp`). Each is written once over [`Vector`] and instantiated by [`kernels!`] in `portable.rs`, `neon.rs`,
//! `avx2.rs`, `avx512.rs` and `avx512bf16.rs`; everything else is left to `vectorize`. Rows and weights come in words
//! (`words`): floats, or two bf16 each.
#![allow(unsafe_code)]

#[macro_use]
mod table;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod avx512bf16;
mod exp;
mod finish;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panel;
mod portable;
pub mod prefetch;
mod winograd;
mod words;

pub use finish::{Finish, Square};
use panel::{Ahead, Halves, Product, Whole, Widening};
pub use panel::{CHUNK, Next, Panel};
use table::{Products, Table};
pub use winograd::{Algorithm, Tiles};

use crate::cpu_features::{Isa, detected};

/// Most rows of a tile, over all instruction sets.
pub const MAX_ROWS: usize = 14;
/// Tiles of a panel from which on it pays to widen its words of bf16 once for all of them.
const WIDENED: usize = 8;
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
    /// Steps of a panel's inner dimension that are written out one behind the other. Where a step has few multiplications, it takes
    /// the processor longer to read the loop around it than to multiply.
    const UNROLL: usize = 1;
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
    /// The floats whose upper halves are the lower and the upper halves of each word.
    unsafe fn halves(self) -> [Self; 2];
}

/// What products are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operands {
    /// 32-bit floats.
    F32,
    /// Weights are rounded to bf16; what they are multiplied with too, where the processor has instructions for pairs
    /// of both. Sums are f32.
    Bf16,
}

/// The kernels of one instruction set that this processor has. Their functions check every bound once a call,
/// so they are as safe as slices are.
#[derive(Clone, Copy)]
pub struct Kernels {
    isa: Isa,
    operands: Operands,
    // Bounds rest on these: nobody outside may change them. See the functions of the same names.
    lanes: usize,
    vectors: usize,
    rows: usize,
    row_values: usize,
    weight_values: usize,
    table: &'static Table,
    products: &'static Products,
}

impl Kernels {
    /// The kernels of `isa`, or of the best level below that this processor has.
    pub fn new(isa: Isa, operands: Operands) -> Self {
        let (isa, table) = match isa.min(detected()) {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512Bf16 => (Isa::Avx512Bf16, const { &avx512bf16::TABLE }),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => (Isa::Avx512, const { &avx512::TABLE }),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => (Isa::Avx2, const { &avx2::TABLE }),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => (Isa::Neon, const { &neon::TABLE }),
            _ => (Isa::Portable, const { &portable::TABLE }),
        };
        let products = match operands {
            Operands::F32 => &table.whole,
            Operands::Bf16 => &table.halves,
        };
        let Table { lanes, vectors, rows, .. } = *table;
        let Products { row_values, weight_values, .. } = *products;
        Self { isa, operands, lanes, vectors, rows, row_values, weight_values, table, products }
    }

    /// The level they are of.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// What their products are made of.
    pub fn operands(&self) -> Operands {
        self.operands
    }

    /// Floats of a vector.
    pub fn lanes(&self) -> usize {
        self.lanes
    }

    /// Vectors side by side in a full tile.
    pub fn vectors(&self) -> usize {
        self.vectors
    }

    /// Rows of a full tile.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Values of a word of a panel's rows, 1 or 2.
    pub fn row_values(&self) -> usize {
        self.row_values
    }

    /// Values of a word of its weights, 1 or 2.
    pub fn weight_values(&self) -> usize {
        self.weight_values
    }

    /// Words of weights that an inner dimension of `k` takes.
    pub fn inner(&self, k: usize) -> usize {
        k.div_ceil(self.weight_values)
    }

    /// Values of a panel's row that lie side by side.
    pub fn chunk_values(&self) -> usize {
        CHUNK * self.row_values
    }

    /// Columns of a full tile.
    pub fn cols(&self) -> usize {
        self.lanes * self.vectors
    }

    /// Floats that [`Self::panel`] needs for itself, for an inner dimension of `k`.
    pub fn panel_scratch(&self, k: usize) -> usize {
        if self.widens() { 2 * self.inner(k) * self.cols() } else { 0 }
    }

    /// Whether products are those of floats, which the words of the weights stand for.
    fn widens(&self) -> bool {
        self.weight_values > self.row_values
    }

    /// Sums of `rows` rows of a panel by `vectors` vectors of columns, into rows of `out` that are `stride` apart.
    /// Neither of both changes the order in which a sum is made. `scratch` is as long as [`Self::panel_scratch`] says.
    #[inline]
    pub fn panel(
        &self,
        panel: &Panel,
        rows: usize,
        vectors: usize,
        out: &mut [f32],
        stride: usize,
        scratch: &mut [f32],
    ) {
        let cols = vectors * self.lanes;
        assert!(0 < rows && 0 < vectors && vectors <= self.vectors && cols <= stride);
        assert!(panel.inner * cols <= panel.weights.len() && (rows - 1) * stride + cols <= out.len());
        // Full chunks end where the last of them does, which the shorter one behind them may not reach.
        let row_words = panel.inner * (self.weight_values / self.row_values);
        let chunks = row_words.div_ceil(CHUNK);
        assert!(chunks > 0 && panel.chunk_stride >= rows * CHUNK);
        let end = (chunks - 1) * panel.chunk_stride + rows * CHUNK;
        assert!(end <= panel.rows.len(), "a panel reads outside of its rows");

        let tiles = rows.div_ceil(self.rows);
        let widens = self.widens() && tiles >= WIDENED;
        let scratch = if widens { &mut scratch[..row_words * cols] } else { &mut [] };
        let next = panel.next.weights;
        // Each tile fetches its share of the next weights in whole cache lines, as long as there are any.
        let steps = if widens { row_words * tiles - panel.inner } else { panel.inner * tiles };
        let step = next.len().div_ceil(steps).next_multiple_of(self.table.fetch_step);
        let (mut row, mut fetched) = (0, 0);
        for tile in 0..tiles {
            // Equal tiles, but for one row.
            let count = rows / tiles + usize::from(tile < rows % tiles);
            let widened = scratch.as_mut_ptr();
            let floats;
            let (kernels, panel) = match (widens, tile) {
                (false, _) => (&self.products.panels, panel),
                (true, 0) => (&self.table.widening, panel),
                (true, _) => {
                    floats = Panel { inner: row_words, weights: scratch, ..*panel };
                    (&self.table.whole.panels, &floats)
                }
            };
            let ahead = Ahead {
                weights: next.as_ptr().wrapping_add(fetched),
                step: if fetched < next.len() { step } else { 0 },
                rows: if tile + 1 < tiles {
                    panel.rows[(row + count) * CHUNK..].as_ptr()
                } else {
                    panel.next.rows.as_ptr()
                },
                widened,
            };
            fetched += step * panel.inner;
            // SAFETY: `new` gave kernels of an instruction set that `detected` found, and `count` and `vectors` are
            // among them. Rows from `row` on, `count` of them, lie inside `panel.rows` in every chunk, and inside
            // `out`; the weights are long enough, and the scratch is for them as floats, which the first tile leaves
            // there and those behind it read.
            unsafe {
                let out = out.as_mut_ptr().add(row * stride);
                kernels[vectors - 1][count](panel, row, out, stride, ahead);
            }
            row += count;
        }
    }

    /// Winograd's source transform of every tile: position p of tile t goes, as words of a panel's row, to
    /// `to[p * position + t * CHUNK..]`.
    #[inline]
    pub fn source(&self, algorithm: Algorithm, source: &Tiles, to: &mut [f32], position: usize) {
        let side = algorithm.side();
        let room = source.channels.next_multiple_of(self.lanes);
        let reach = (side - 1) * (source.row + source.stride) + room;
        let last = source.starts.iter().max().expect("no tiles").checked_add(reach);
        assert!(last.is_some_and(|end| end <= source.plane.len()), "a tile reads outside of its plane");
        assert!(room <= self.chunk_values() && source.starts.len() * CHUNK <= position);
        assert!(side * side * position <= to.len());
        // SAFETY: the instruction set as in `panel`; the last tile's last pixel lies inside the plane, and every
        // tile's place at every position inside `to`, as was just checked.
        unsafe { self.products.sources[algorithm as usize](source, to.as_mut_ptr(), position) }
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

    /// The same of a whole tile, finished, into its square; the channels' sums, and those of their squares.
    #[inline]
    pub fn finish(
        &self,
        algorithm: Algorithm,
        from: &[f32],
        position: usize,
        finish: &Finish,
        to: &mut Square,
    ) -> [[f32; MAX_COLS]; 2] {
        let (side, out, cols) = (algorithm.side(), algorithm.out(), to.cols);
        let vectors = cols / self.lanes;
        assert!(cols.is_multiple_of(self.lanes) && vectors <= self.vectors && to.side == out);
        assert!((side * side - 1) * position + cols <= from.len() && cols <= finish.bias.len());
        assert!(finish.time.is_none_or(|time| cols <= time.len()));
        let last = (out - 1) * (to.row + to.pixel) + cols;
        assert!(finish.residual.is_none_or(|residual| last <= residual.len()));
        let mut sums = [[0.0; MAX_COLS]; 2];
        // SAFETY: as in `source`; the square is its maker's promise, everything else was just checked.
        unsafe {
            let sums = sums.as_mut_ptr().cast();
            self.table.finishes[algorithm as usize](from.as_ptr(), position, finish, to, vectors, sums);
        }
        sums
    }

    /// Row `y` of Winograd's transform of a block of filters, (input, 3, 3, column): position x of the row goes to
    /// `to[x * position..]`, (input, column).
    #[inline]
    pub fn filter(
        &self,
        algorithm: Algorithm,
        y: usize,
        taps: &[f32],
        vectors: usize,
        to: &mut [f32],
        position: usize,
    ) {
        let cols = vectors * self.lanes;
        let inputs = taps.len() / (9 * cols);
        assert!(inputs * cols <= position && (algorithm.side() - 1) * position + inputs * cols <= to.len());
        // SAFETY: as in `source`; `taps` has `inputs` inputs, and `to` room for them, as was just checked.
        unsafe {
            self.table.filters[algorithm as usize](
                taps.as_ptr(),
                inputs,
                vectors,
                &algorithm.filter()[y],
                to.as_mut_ptr(),
                position,
            );
        }
    }

    /// x = e^((x - from) factor), within 2 ulp of what is in the brackets, down to e^-87 and up to e^87.
    #[inline]
    pub fn exps(&self, x: &mut [f32], from: f32, factor: f32) {
        let (x, rest) = x.split_at_mut(x.len() / self.lanes * self.lanes);
        // SAFETY: the instruction set as in `panel`; `x` is a multiple of a vector.
        unsafe { (self.table.exps)(x.as_mut_ptr(), from, factor, x.len()) }
        if !rest.is_empty() {
            let mut padded = [from; MAX_LANES];
            padded[..rest.len()].copy_from_slice(rest);
            // SAFETY: as above, with room for one vector of any instruction set.
            unsafe { (self.table.exps)(padded.as_mut_ptr(), from, factor, self.lanes) }
            rest.copy_from_slice(&padded[..rest.len()]);
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
mod tests;
