#!/usr/bin/env bash
# How much of the code that reads strangers' bytes and calls the tests reach: lines of src/weights and src/ffi, as a table, and at
# least 90 of 100 of each. `coverage.sh [FOLDER...]` of src for others. Needs rustup's component llvm-tools. Builds in
# `CARGO_TARGET_DIR`, or target/coverage.
set -euo pipefail
cd "$(dirname "$0")/.."
folders=("$@")
[ $# -gt 0 ] || folders=(weights ffi)
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target/coverage}
rustup component add llvm-tools >/dev/null 2>&1 || true
tools=$(rustc --print sysroot)/lib/rustlib/$(rustc -vV | sed -n 's/^host: //p')/bin
raw=$CARGO_TARGET_DIR/raw
rm -rf "$raw" && mkdir -p "$raw"

export RUSTFLAGS="-Cinstrument-coverage" LLVM_PROFILE_FILE="$raw/%p-%m.profraw" CARGO_INCREMENTAL=0
# The library's tests, the C programs' among them, and the command's that read files.
tests=(--workspace --lib --test library --test faults --test command)
skipped=()
for part in exec:: executors:: gradients:: training:: students:: eval:: metrics:: train:: cuda:: golden:: lpips device:: guidance:: unloading lives; do skipped+=(--skip "$part"); done
cargo test -q "${tests[@]}" -- "${skipped[@]}" >"$CARGO_TARGET_DIR/tests.log" 2>&1 ||
    { tail -n 40 "$CARGO_TARGET_DIR/tests.log" >&2; exit 1; }
"$tools/llvm-profdata" merge -sparse "$raw"/*.profraw -o "$CARGO_TARGET_DIR/all.profdata"
mapfile -t programs < <(cargo test -q "${tests[@]}" --no-run --message-format=json 2>/dev/null |
    sed -n 's/.*"executable":"\([^"]*\)".*/\1/p' | sort -u)
programs+=("$CARGO_TARGET_DIR/debug/examples/libonestep.so")
objects=("${programs[0]}")
for program in "${programs[@]:1}"; do objects+=(--object "$program"); done
fail=0
for folder in "${folders[@]}"; do
    # Tests are no code that tests should reach.
    "$tools/llvm-cov" report "${objects[@]}" --instr-profile "$CARGO_TARGET_DIR/all.profdata" \
        --ignore-filename-regex '(_tests|/tests|testing)\.rs|/tests/' "src/$folder" 2>/dev/null |
        awk -v folder="src/$folder" '$1 == "TOTAL" { printf "%s: %s of %s lines\n", folder, $10, $8; exit ($10 + 0 < 90) }' || fail=1
done
exit $fail
