#!/usr/bin/env bash
# The C tests again: under AddressSanitizer (the programs' and Metal's kernel, then the library's own too), ThreadSanitizer
# (the C++ programs') and valgrind. Debian or Ubuntu; needs gcc, g++, valgrind.
set -euo pipefail
cd "$(dirname "$0")/.."
host=$(rustc -vV | sed -n 's/^host: //p')

echo "-- programs under AddressSanitizer and UndefinedBehaviorSanitizer"
ONESTEP_C_FLAGS="-fsanitize=address,undefined -fno-sanitize-recover=all" cargo test -q --test c_interface --test metal

echo "-- C++ programs under ThreadSanitizer"
# It sees what the programs do with memory; the library is not compiled with it, and would be misread.
TSAN_OPTIONS="ignore_noninstrumented_modules=1 halt_on_error=1" \
    ONESTEP_C_FLAGS="-fsanitize=thread" cargo test -q --test c_interface the_cpp_wrapper

echo "-- valgrind"
# valgrind knows no AVX-512; the library chooses AVX2 there by itself.
ONESTEP_C_RUNNER="valgrind -q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite --show-leak-kinds=definite" \
    cargo test -q --test c_interface

echo "-- the library's own code under AddressSanitizer"
# Memory that cannot be had must come back as an error, as it does without the sanitizer.
ASAN_OPTIONS=allocator_may_return_null=1 RUSTC_BOOTSTRAP=1 RUSTFLAGS="-Zsanitizer=address" \
    cargo test -q --no-default-features --features capi,embedded-model --target "$host" \
    --target-dir target/asan --lib --test session --test weights
