//! The command, as a user meets it: one program, so that it is linked once.

#[path = "../../../tests/common/mod.rs"]
mod common;
#[cfg(feature = "train")]
mod place;

mod checkpoints;
mod devices;
#[cfg(target_os = "linux")]
mod environment;
#[cfg(feature = "train")]
mod eval;
#[cfg(feature = "train")]
mod guidance;
#[cfg(target_os = "linux")]
mod hostile;
#[cfg(feature = "train")]
mod students;
#[cfg(feature = "train")]
mod training;
mod usage;
