#!/usr/bin/env bash
# Everything that only a machine with an NVIDIA GPU can show, in one command:
#
#   scripts/device-check.sh build [FOLDER]    on any x86-64 Linux machine: puts what is needed into FOLDER
#   scripts/device-check.sh run [FOLDER]      on the machine with the GPU; no compiler and no network needed there
#
# `run` checks parity with diffusers in f32, bf16 and f16, the bits of noise, that memory stays flat over 10,000 calls,
# the kernels under compute-sanitizer, and the time of 50,000 CIFAR-10 images beside PyTorch's; it prints a table, and
# fails where something is wrong (a missed speed is said, and is no failure). Python with torch is wanted for the speed beside
# PyTorch's, compute-sanitizer for the sanitizer; what is missing is said. PARTS="parity speed sanitizer" chooses parts, for
# machines that are lent by the minute; IMAGES, CALLS, BATCHES and PEER_OPTIONS (of peers/gpu.py) make them shorter.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

build() {
    cd "$here/.."
    cargo build -q --release
    cargo rustc -q --release --package onestep --lib --no-default-features --features capi,cuda,embedded-model --crate-type cdylib
    tests=$(cargo test -q --release --package onestep --test library --no-run --message-format json |
        sed -n 's/.*"executable":"\([^"]*library-[^"]*\)".*/\1/p' | tail -n 1)
    rm -rf "$folder" && mkdir -p "$folder/golden"
    cp target/release/onestep target/release/libonestep.so "$folder"
    cp "$tests" "$folder/device-tests"
    strip "$folder/onestep" "$folder/libonestep.so" "$folder/device-tests"
    for kind in diffusers consistency; do
        cp -r tests/golden/$kind "$folder/golden"
        [ ! -d ../shared/golden/$kind ] || cp -r ../shared/golden/$kind/*/ "$folder/golden/$kind/"
    done
    cp -r benches/peers "$folder/peers"
    # What makes PyTorch's network there, where Python has torch and not this.
    python3 -m pip download -q --no-deps -d "$folder/wheels" diffusers==0.42.1 importlib_metadata zipp
    cp scripts/device-check.sh "$folder"
    du -sh "$folder"
}

results=()
note() { results+=("$(printf '%-44s %s' "$1" "$2")"); }
# A part that decides: its name, and a command.
part() {
    printf '\n== %s\n' "$1"
    if "${@:2}"; then note "$1" "passed"; else note "$1" "FAILED"; failed=1; fi
}

run() {
    failed=0
    parts=" ${PARTS:-parity speed sanitizer} "
    export ONESTEP_GOLDEN=$folder/golden ONESTEP_CALLS=${CALLS:-10000}
    if command -v nvidia-smi > /dev/null; then
        nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
    fi
    "$folder/onestep" devices
    case $parts in *" parity "*) parity ;; esac
    case $parts in *" speed "*) speed ;; esac
    case $parts in *" sanitizer "*) sanitizer ;; esac

    printf '\n== device-check\n'
    printf '%s\n' "${results[@]}"
    return "$failed"
}

parity() {
    for test in networks_agree_with_diffusers a_seed_means_the_same_noise an_image_is_its_seeds_alone \
        ten_thousand_calls_hold_no_more_memory; do
        part "$test" "$folder/device-tests" --ignored --nocapture --exact "device::$test"
    done
}

sanitizer() {
    if ! command -v compute-sanitizer > /dev/null; then
        note "compute-sanitizer" "SKIPPED: not installed"
    elif ! compute-sanitizer --error-exitcode 9 "$folder/onestep" bench --device cuda:0 --batch 1 --repeat 1 > "$folder/sanitizer.log" 2>&1 &&
        grep -q 'not supported' "$folder/sanitizer.log"; then
        note "compute-sanitizer" "SKIPPED: it does not support this device here"
    else
        for tool in memcheck racecheck initcheck; do
            part "compute-sanitizer $tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
                "$folder/device-tests" --ignored --exact device::networks_agree_with_diffusers
        done
    fi
}

speed() {
    for precision in bf16 f32; do
        part "the built-in student, $precision" "$folder/onestep" bench --device cuda:0 --precision "$precision" \
            --batch "${BATCHES:-1,64,512,4096}" --repeat 5
    done
    if python3 -c 'import torch' 2> /dev/null && ! python3 -c 'import diffusers' 2> /dev/null; then
        python3 -m pip install -q --no-index --no-deps --target "$folder/site" "$folder"/wheels/*.whl || true
        export PYTHONPATH="$folder/site${PYTHONPATH:+:$PYTHONPATH}"
    fi
    if python3 -c 'import torch, diffusers' 2> "$folder/python.log"; then
        part "50,000 CIFAR-10 images (table above)" python3 -u "$folder/peers/gpu.py" --library "$folder/libonestep.so" \
            --images "${IMAGES:-51200}" --json "$folder/cuda.json" ${PEER_OPTIONS-}
    else
        note "50,000 CIFAR-10 images" "SKIPPED: $(tail -n 1 "$folder/python.log")"
    fi
}

folder=$(realpath -m "${2:-$here/../target/device-check}")
case ${1-} in
    build) build ;;
    # Beside what was built, wherever that was carried.
    run) [ -x "$folder/device-tests" ] || folder=$here; run ;;
    *) sed -n '2,/^set/s/^# \{0,1\}//p' "$0" | head -n -1; exit 2 ;;
esac
