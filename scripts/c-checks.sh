#!/usr/bin/env bash
# The C tests again: under AddressSanitizer (the programs' and Metal's kernel, then the library's own too), ThreadSanitizer
# (the C++ programs') and valgrind (the library installed in PREFIX). `c-checks.sh PREFIX`; Debian or Ubuntu; needs gcc, g++,
# valgrind.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 PREFIX" >&2; exit 2; }
prefix=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')

echo "-- programs under AddressSanitizer and UndefinedBehaviorSanitizer"
ONESTEP_C_FLAGS="-g -fsanitize=address,undefined -fno-sanitize-recover=all" cargo test -q --test library -- c_interface:: metal::

echo "-- C++ programs under ThreadSanitizer"
# It sees what the programs do with memory; the library is not compiled with it, and would be misread.
TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1" \
    ONESTEP_C_FLAGS="-g -fsanitize=thread" cargo test -q --test library -- c_interface::the_cpp_wrapper

echo "-- the installed library under valgrind"
# valgrind knows no AVX-512, and computes AVX2's fused multiply-adds one by one, a hundred times slower than all else: one
# program runs those kernels.
under_valgrind() {
    ONESTEP_C_LIBRARIES=$prefix/lib ONESTEP_C_FLAGS=-g \
        ONESTEP_C_RUNNER="valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite" \
        ONESTEP_ISA=$1 cargo test -q --test library -- "$2"
}
under_valgrind portable c_interface::
[ "$(uname -m)" != x86_64 ] || under_valgrind avx2 c_interface::unloading

echo "-- the library's own code under AddressSanitizer"
# A target, though it is the host: what runs in the compiler is not sanitized, and is there already.
sanitized=(env RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" cargo test -q --package onestep --no-default-features
    --features capi,cuda,embedded-model --target "$host")
# Memory that cannot be had must come back as an error, as it does without the sanitizer.
ASAN_OPTIONS=allocator_may_return_null=1 "${sanitized[@]}" --lib
ASAN_OPTIONS=allocator_may_return_null=1 "${sanitized[@]}" --test library -- golden:: session:: weights::

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
