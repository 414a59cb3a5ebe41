#!/usr/bin/env bash
# Every fuzzer for a while, under AddressSanitizer, two side by side: `fuzz-checks.sh [SECONDS] [TARGET...]`; a minute each of all.
# What is found is left in target/fuzz/artifacts. `cargo fuzz --fuzz-dir tests/fuzz` runs the same targets; its flags are these,
# so that a bare machine need not build it. Builds in `CARGO_TARGET_DIR`, or target/fuzz.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-60}
[ $# -le 1 ] || targets=("${@:2}")
[ -n "${targets:-}" ] || mapfile -t targets < <(cd tests/fuzz/fuzz_targets && ls | sed 's/\.rs$//')
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/fuzz}
host=$(rustc -vV | sed -n 's/^host: //p')
work=$CARGO_TARGET_DIR/artifacts
mkdir -p "$work"

passes="-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
    -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares"
RUSTC_BOOTSTRAP=1 RUSTFLAGS="$(echo $passes) -Ccodegen-units=1 -Cdebug-assertions --cfg fuzzing -Zsanitizer=address" \
    cargo build -q --release --manifest-path tests/fuzz/Cargo.toml --target "$host" --bins

# Memory that cannot be had must come back as an error, as it does without the sanitizer.
export ASAN_OPTIONS=allocator_may_return_null=1:detect_odr_violation=0
fuzz() {
    local corpus
    corpus=$(mktemp -d)
    "$CARGO_TARGET_DIR/$host/release/$1" "$corpus" "tests/fuzz/seeds/$1" -max_total_time="$2" -rss_limit_mb=4096 -malloc_limit_mb=0 \
        -timeout=20 -max_len=65536 -artifact_prefix="$3/$1-" >"$3/$1.log" 2>&1 || { tail -n 40 "$3/$1.log" >&2; exit 1; }
    rm -rf "$corpus"
    echo "$1: $(grep -o 'Done [0-9]* runs' "$3/$1.log")"
}
export -f fuzz
export CARGO_TARGET_DIR host
printf '%s\n' "${targets[@]}" | xargs -P 2 -I TARGET bash -euo pipefail -c 'fuzz "$@"' - TARGET "$seconds" "$work"
