#!/usr/bin/env bash
# Training on a disk that fills up (a small tmpfs; needs root): an error that names the file, nothing half-written, nothing
# made before lost, and, once there is room, the same end as on a disk that never was full.
set -euo pipefail
cd "$(dirname "$0")/.."

[ -n "${ONESTEP_BIN:-}" ] || cargo build -q --release --package onestep-cli
onestep=${ONESTEP_BIN:-$PWD/target/release/onestep}
work=$(mktemp -d)
mkdir "$work/full"
trap 'rm -rf "$work"' EXIT
if ! mount -t tmpfs -o size=1m onestep-disk-check "$work/full"; then
    echo "disk-check: NOT RUN: a tmpfs cannot be mounted here"
    exit 0
fi
trap 'umount "$work/full"; rm -rf "$work"' EXIT

fail() { echo "disk-check: $*" >&2; exit 1; }

# Runs a command that must fail for want of room, and leave no half of a file.
must_be_full() {
    if "$@" >"$work/out" 2>&1; then fail "went well on a full disk: $*"; fi
    grep -q "No space left" "$work/out" || fail "another error than a full disk: $(cat "$work/out")"
    grep -q "$work/full" "$work/out" || fail "the error names no file: $(cat "$work/out")"
    if find "$work/full" -name '*part*' | grep .; then fail "a half-written file is left"; fi
}
room() { mount -o "remount,size=$1" "$work/full"; }

"$onestep" sample --count 64 --quiet --out "$work/images"
teacher=("$onestep" train teacher --images "$work/images" --size 16 --channels 1 --widths 16,32 --attention 8 --groups 8
    --batch 4 --steps 12 --checkpoint-every 3 --sample-every 0 --quiet --out)
"${teacher[@]}" "$work/teacher"

# Room for a checkpoint, but not for the next beside it.
checkpoint=$(stat -c %s "$work/teacher/checkpoint.safetensors")
room $((checkpoint * 3 / 2))
must_be_full "${teacher[@]}" "$work/full/teacher"
[ -s "$work/full/teacher/checkpoint.safetensors" ] || fail "the first checkpoint is gone"
room 64m
"${teacher[@]}" "$work/full/teacher"
cmp "$work/teacher/model.safetensors" "$work/full/teacher/model.safetensors"
rm -rf "$work/full/teacher"

pairs=("$onestep" pairs --teacher "$work/teacher/model.safetensors" --count 256 --steps 2 --shard-len 64 --quiet --out)
"${pairs[@]}" "$work/pairs"
shard=$(stat -c %s "$work/pairs/pairs-00000.safetensors")
room $((shard * 5 / 2 + 8192))
must_be_full "${pairs[@]}" "$work/full/pairs"
for number in 0 1; do
    cmp "$work/pairs/pairs-0000$number.safetensors" "$work/full/pairs/pairs-0000$number.safetensors"
done
room 64m
"${pairs[@]}" "$work/full/pairs"
diff -r "$work/pairs" "$work/full/pairs"
rm -rf "$work/full/pairs"

room 64k
must_be_full "$onestep" sample --count 256 --quiet --out "$work/full/portraits.npy"
[ -z "$(ls "$work/full")" ] || fail "a picture that did not fit left something: $(ls "$work/full")"
echo "disk-check: passed"
