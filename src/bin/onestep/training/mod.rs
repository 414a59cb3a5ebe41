//! `onestep train`, `pairs` and `distill`, and what people look at meanwhile.

mod curves;
pub mod distill;
pub mod pairs;
mod teaching;
pub mod train;
mod watch;
