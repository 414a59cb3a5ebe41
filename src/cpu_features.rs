//! What this processor can do, detected once. `ONESTEP_ISA` lowers it, never raises it.
pub fn describe() -> String { todo!() }
pub fn available_threads() -> usize { todo!() }
