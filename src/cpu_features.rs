//! What this processor can do, detected once. `ONESTEP_ISA` lowers it, never raises it.
