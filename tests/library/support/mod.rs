//! What tests of this program share, beside `tests/common`.

pub mod c;
#[cfg(feature = "candle")]
pub mod chain;
#[cfg(all(feature = "cuda", target_os = "linux"))]
pub mod paper;
