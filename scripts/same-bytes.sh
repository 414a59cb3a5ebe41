# shellcheck shell=bash
# Sourced in the root of the tree: a build is the same, byte for byte, wherever, whenever and by whomever it is made.
# What may differ is the compiler: a release's BUILD names it.
unset "${!CARGO_PROFILE_@}" "${!CARGO_TARGET_@}" CARGO_BUILD_TARGET CARGO_BUILD_RUSTFLAGS CARGO_ENCODED_RUSTFLAGS DESTDIR
export LC_ALL=C TZ=UTC CARGO_INCREMENTAL=0
umask 022
# Where it was built is nobody's business, and would make every machine's archive another one. With the component
# `rust-src`, rustc would name the standard library's files by where they lie, too.
rust_sources=$(rustc --print sysroot)/lib/rustlib/src/rust
rust_commit=$(rustc -vV | sed -n 's/^commit-hash: //p')
export RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo --remap-path-prefix=$PWD=. \
--remap-path-prefix=$rust_sources=/rustc/$rust_commit"
