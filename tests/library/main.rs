//! What the library promises, by behaviour: one program, so that it is linked once.

#[path = "../common/mod.rs"]
mod common;

mod architecture;
mod c_interface;
mod cuda;
mod device;
mod executors;
mod folders;
#[cfg(feature = "formats")]
mod foreign;
mod fuzz;
mod golden;
mod gradients;
mod header;
mod hostile;
mod lpips;
mod metal;
mod packed;
mod session;
mod support;
mod weights;
