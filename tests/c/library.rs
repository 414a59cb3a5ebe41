//! The shared and the static library of the tests, `libonestep.so` and `libonestep.a`: all that the crate exports to C, linked
//! and not compiled again. An embedder builds them with `make library`.

extern crate onestep as _;
