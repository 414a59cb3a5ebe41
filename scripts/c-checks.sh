#!/usr/bin/env bash
# The C tests again: under AddressSanitizer (the programs' and Metal's kernel; the library's own code: `asan-checks.sh`),
# ThreadSanitizer (the C++ programs') and valgrind (the library installed in PREFIX). `c-checks.sh PREFIX`; Debian or Ubuntu; needs gcc, g++,
# valgrind.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 PREFIX" >&2; exit 2; }
prefix=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."

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
