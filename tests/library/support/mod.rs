//! What tests of this program share, beside `tests/common`.

pub mod c;
pub mod chain;
#[cfg(all(feature = "cuda", target_os = "linux"))]
pub mod paper;
