//! `onestep train`, `pairs` and `distill`, and what people look at meanwhile.

mod curves;
pub mod train;
mod watch;
