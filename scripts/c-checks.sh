#!/usr/bin/env bash
# The C tests again: under AddressSanitizer (the programs' and Metal's kernel, then the library's own too, without default
# features), ThreadSanitizer (the C++ programs') and valgrind. Debian or Ubuntu; needs gcc, g++, valgrind.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')

echo "-- programs under AddressSanitizer and UndefinedBehaviorSanitizer"
ONESTEP_C_FLAGS="-g -fsanitize=address,undefined -fno-sanitize-recover=all" cargo test -q --test library -- c_interface:: metal::

echo "-- C++ programs under ThreadSanitizer"
# It sees what the programs do with memory; the library is not compiled with it, and would be misread.
TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1" \
    ONESTEP_C_FLAGS="-g -fsanitize=thread" cargo test -q --test library -- c_interface::the_cpp_wrapper

echo "-- valgrind"
# valgrind knows no AVX-512; the library chooses AVX2 there by itself.
ONESTEP_C_FLAGS=-g ONESTEP_C_RUNNER="valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite" \
    cargo test -q --test library -- c_interface::

echo "-- the library's own code under AddressSanitizer"
# Memory that cannot be had must come back as an error, as it does without the sanitizer.
# A target, though it is the host: what runs in the compiler is not sanitized, and is there already.
sanitized=(env RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" cargo test -q --package onestep --no-default-features
    --target "$host")
export ASAN_OPTIONS=allocator_may_return_null=1
"${sanitized[@]}" --features capi,embedded-model --lib
"${sanitized[@]}" --features capi,embedded-model --test library -- golden:: session:: weights::

echo "-- CUDA's executor under AddressSanitizer, its kernels under UndefinedBehaviorSanitizer, on a driver on paper"
paper=$(mktemp -d)
trap 'rm -rf "$paper"' EXIT
c++ -std=c++17 -O2 -Wno-unknown-pragmas -ffp-contract=off -fPIC -shared -pthread -fno-gnu-unique -fsanitize=undefined \
    -fno-sanitize-recover=all -include tests/cuda/emulator.hpp tests/cuda/driver.cpp -o "$paper/libcuda.so.1"
unset ASAN_OPTIONS
ONESTEP_CUDA_LIBRARY_PATH=$paper ONESTEP_CALLS=2 "${sanitized[@]}" --features capi,cuda,embedded-model \
    --test library -- --ignored --test-threads 1 device::networks_agree device::ten_thousand
