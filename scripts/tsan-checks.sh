#!/usr/bin/env bash
# Sixteen threads, and the pool's own tests, under ThreadSanitizer, with a standard library that it sees into: needs the component
# rust-src, and says so where there is none. Builds in `CARGO_TARGET_DIR`, or target/tsan.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/tsan}
host=$(rustc -vV | sed -n 's/^host: //p')
library=$(rustc --print sysroot)/lib/rustlib/src/rust/library
[ -d "$library" ] || rustup component add rust-src >/dev/null 2>&1 || true
if [ ! -d "$library" ]; then
    echo "tsan-checks: NOT RUN: no component rust-src for this toolchain"
    exit 0
fi
sanitized=(env RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=thread" TSAN_OPTIONS="halt_on_error=1"
    cargo test -q -Zbuild-std --package onestep --no-default-features --features capi --target "$host")
"${sanitized[@]}" --test stress
"${sanitized[@]}" --lib -- exec::cpu::pool
