//! The C functions, and nothing else: pointers in, `session`'s calls, a status out. `include/onestep.h` is generated
//! from this room; the comments here are what a C programmer reads.
//!
//! Every function with a status runs inside `guard`, which stops panics. Every pointer goes through
//! `args`, which checks what can be checked; the rest is the header's contract, and each `SAFETY:` says which.

#![allow(unsafe_code, non_camel_case_types, clippy::missing_safety_doc)]

mod args;
mod cancel;
mod device;
mod error;
mod guard;
mod library;
mod model;
mod noise;
mod options;
mod request;
mod session;
mod types;

pub use cancel::*;
pub use device::*;
pub use error::*;
pub use library::*;
pub use model::*;
pub use noise::*;
pub use options::*;
pub use request::*;
pub use session::*;
pub use types::*;
