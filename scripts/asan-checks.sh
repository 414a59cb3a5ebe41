#!/usr/bin/env bash
# The library's own code under AddressSanitizer: its tests, and CUDA's executor on the emulator. Debian or Ubuntu; needs g++.
# Builds in `CARGO_TARGET_DIR`, or target/asan.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/asan}
host=$(rustc -vV | sed -n 's/^host: //p')

echo "-- the library's own tests"
# A target, though it is the host: what runs in the compiler is not sanitized.
sanitized=(env RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" cargo test -q --package onestep --no-default-features
    --features capi,cuda,embedded-model,formats --target "$host")
# Memory that cannot be had must come back as an error, as it does without the sanitizer.
ASAN_OPTIONS=allocator_may_return_null=1 "${sanitized[@]}" --lib
ASAN_OPTIONS=allocator_may_return_null=1 "${sanitized[@]}" --test library -- golden:: session:: weights:: folders:: foreign:: hostile::

echo "-- CUDA's executor under AddressSanitizer, its kernels under UndefinedBehaviorSanitizer, on a driver on paper"
paper=$(mktemp -d)
trap 'rm -rf "$paper"' EXIT
c++ -std=c++17 -O2 -Wno-unknown-pragmas -ffp-contract=off -fPIC -shared -pthread -fno-gnu-unique -fsanitize=undefined \
    -fno-sanitize-recover=all -include tests/cuda/emulator.hpp tests/cuda/driver.cpp -o "$paper/libcuda.so.1"
on_paper() {
    ONESTEP_CUDA_LIBRARY_PATH=$paper ONESTEP_CALLS=2 "${sanitized[@]}" --test library -- --ignored "$1"
}
on_paper device::networks_agree
# It looks at the process's memory, of which the sanitizer keeps some that was freed.
ASAN_OPTIONS=quarantine_size_mb=4 on_paper device::ten_thousand
