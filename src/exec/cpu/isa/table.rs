//! What there is of every instruction set: the table of its kernels, and the macro that fills one.

use super::panel::Ahead;
use super::{Finish, MAX_ROWS, Panel, Square, Tiles};

type PanelFn = unsafe fn(&Panel, usize, *mut f32, usize, Ahead);
type TilesFn = unsafe fn(&Tiles, *mut f32, usize);
type SiluFn = unsafe fn(*const f32, *const f32, *const f32, *mut f32, usize);
type ExpsFn = unsafe fn(*mut f32, f32, f32, usize);
type FilterFn = unsafe fn(*const f32, usize, usize, &[f32; 3], *mut f32, usize);
type FinishFn = unsafe fn(*const f32, usize, &Finish, &Square, usize, *mut f32);
type OutputFn = unsafe fn(*const f32, usize, *mut f32, usize, usize);

/// The kernels of one instruction set.
pub struct Table {
    pub lanes: usize,
    pub vectors: usize,
    pub rows: usize,
    /// What [`Fetch::step`] is a multiple of: with that, the steps that are written out one behind the other fetch a cache line.
    pub fetch_step: usize,
    /// With f32 operands.
    pub whole: Products,
    /// With bf16 operands.
    pub halves: Products,
    /// A panel's first tile of bf16 weights, which leaves them as floats for `whole`.
    pub widening: Panels,
    /// By [`Algorithm`].
    pub outputs: [OutputFn; 2],
    pub finishes: [FinishFn; 2],
    pub filters: [FilterFn; 2],
    pub silu: SiluFn,
    pub exps: ExpsFn,
}

/// By vectors - 1, then rows.
pub type Panels = [[PanelFn; MAX_ROWS + 1]; 2];

/// The kernels that know what the words of rows and weights are.
pub struct Products {
    pub panels: Panels,
    /// By [`Algorithm`].
    pub sources: [TilesFn; 2],
    pub row_values: usize,
    pub weight_values: usize,
}

/// A function table for one vector type: every kernel, compiled with the attributes given (its instruction set).
macro_rules! kernels {
    ($(#[$attribute:meta])* $vector:ty, bf16: $halves:ty, rows: $rows:expr, vectors: $vectors:expr) => {
        /// Every kernel of this instruction set.
        pub const TABLE: Table = Table {
            lanes: <$vector as Vector>::LANES,
            vectors: $vectors,
            rows: $rows,
            fetch_step: crate::exec::cpu::isa::prefetch::LINE / <$vector as Vector>::UNROLL,
            whole: kernels!(products $vector, Whole, $rows, $vectors),
            halves: kernels!(products $vector, $halves, $rows, $vectors),
            widening: kernels!(panels Widening, $vectors, $rows),
            outputs: [output::<F23>, output::<F43>],
            finishes: [finish::<F23>, finish::<F43>],
            filters: [filter::<F23>, filter::<F43>],
            silu,
            exps,
        };

        /// # Safety
        /// As [`super::panel::panel`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn panel<P: Product<$vector>, const ROWS: usize, const VECTORS: usize>(
            panel: &Panel,
            row: usize,
            out: *mut f32,
            stride: usize,
            ahead: Ahead,
        ) {
            // SAFETY: the caller's promise.
            unsafe { crate::exec::cpu::isa::panel::panel::<$vector, P, ROWS, VECTORS>(panel, row, out, stride, ahead) }
        }
        /// # Safety
        /// As [`super::winograd::source`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn source<T: Transform, P: Product<$vector>>(source: &Tiles, to: *mut f32, position: usize) {
            // SAFETY: the caller's promise.
            unsafe { crate::exec::cpu::isa::winograd::source::<$vector, T, P>(source, to, position) }
        }
        /// # Safety
        /// As [`super::winograd::output`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn output<T: Transform>(from: *const f32, position: usize, to: *mut f32, stride: usize, vectors: usize) {
            // SAFETY: the caller's promise.
            unsafe { crate::exec::cpu::isa::winograd::output::<$vector, T>(from, position, to, stride, vectors) }
        }
        /// # Safety
        /// As [`super::finish::finish`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn finish<T: Transform>(
            from: *const f32,
            position: usize,
            finish: &Finish,
            to: &Square,
            vectors: usize,
            sums: *mut f32,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                crate::exec::cpu::isa::finish::finish::<$vector, T>(from, position, finish, to, vectors, sums)
            }
        }
        /// # Safety
        /// As [`super::winograd::filter`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn filter<T: Transform>(
            taps: *const f32,
            inputs: usize,
            vectors: usize,
            g: &[f32; 3],
            to: *mut f32,
            position: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe {
                crate::exec::cpu::isa::winograd::filter::<$vector, T>(taps, inputs, vectors, g, to, position)
            }
        }
        /// # Safety
        /// As [`super::exp::silu`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn silu(x: *const f32, scale: *const f32, shift: *const f32, y: *mut f32, len: usize) {
            // SAFETY: the caller's promise.
            unsafe { crate::exec::cpu::isa::exp::silu::<$vector>(x, scale, shift, y, len) }
        }
        /// # Safety
        /// As [`super::exp::exps`], and the processor has this instruction set.
        $(#[$attribute])*
        unsafe fn exps(x: *mut f32, from: f32, factor: f32, len: usize) {
            // SAFETY: the caller's promise.
            unsafe { crate::exec::cpu::isa::exp::exps::<$vector>(x, from, factor, len) }
        }
    };
    (products $vector:ty, $product:ty, $rows:expr, $vectors:expr) => {
        Products {
            panels: kernels!(panels $product, $vectors, $rows),
            sources: [source::<F23, $product>, source::<F43, $product>],
            row_values: <$product as Product<$vector>>::ROW_VALUES,
            weight_values: <$product as Product<$vector>>::ROW_VALUES
                * <$product as Product<$vector>>::ROW_WORDS,
        }
    };
    (panels $product:ty, $vectors:expr, $rows:expr) => {
        [
            kernels!(row $product, 1, $rows, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
            kernels!(row $product, $vectors, $rows, 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14),
        ]
    };
    // By rows: kernels of as many, or of all that the registers hold.
    (row $product:ty, $vectors:expr, $rows:expr, $($n:literal)*) => {
        [$(panel::<$product, { if $n == 0 { 1 } else if $n > $rows { $rows } else { $n } }, { $vectors }>),*]
    };
}
