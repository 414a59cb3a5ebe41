#!/usr/bin/env bash
# Training by two processes over MPI against training by one: the same losses, for a teacher and for students; runs that are
# stopped and go on; processes that fail. Builds the command with `train-mpi`, or takes ONESTEP_BIN. Debian or Ubuntu; installs
# Open MPI and libclang where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

echo "-- tools"
if ! command -v mpicc >/dev/null || ! command -v mpirun >/dev/null || ! compgen -G "/usr/lib/llvm-*/lib/libclang*.so*" >/dev/null; then
    apt-get update -q && apt-get install -qy --no-install-recommends libopenmpi-dev openmpi-bin libclang-dev
fi
mpirun --version | head -n 1

if [ -z "${ONESTEP_BIN:-}" ]; then
    echo "-- build"
    cargo build -q --package onestep-cli --features train-mpi
    ONESTEP_BIN=${CARGO_TARGET_DIR:-target}/debug/onestep
fi
cp "$ONESTEP_BIN" "$work/onestep"
cd "$work"

# Two processes on one machine, perhaps of one core, perhaps root's, and no network.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
launch=(timeout 300 mpirun --oversubscribe --bind-to none --mca mpi_yield_when_idle 1 --mca pml ob1 --mca btl ^tcp --mca oob_tcp_if_include lo)
one() { timeout 300 ./onestep "$@" --threads 1 --quiet; }
two() { "${launch[@]}" -n 2 ./onestep "$@" --mpi --threads 1 --quiet; }

fail() { echo "FAILED: $*"; exit 1; }

# alike RUN OTHER: the losses of two logs, and the largest relative difference between them; a halving's losses are small
# beside the images whose difference they are, so that a hundredth is added.
alike() {
    paste -d, "$1/log.csv" "$2/log.csv" | awk -F, -v what="$1 and $2" '
        function apart(a, b,  d) { if (a == b) return 0; d = (a - b) / (b + 0.01); return d < 0 ? -d : d }
        NR > 1 {
            if ($1 != $8 || ($3 == "") != ($10 == "")) { print "other lines: " $0; bad = 1 }
            d = apart($2, $9); if (d > most) most = d
            if ($3 != "") { d = apart($3, $10); if (d > most) most = d }
        }
        END { printf "%s: %d lines, losses at most %.1e apart\n", what, NR - 1, most; exit bad || NR < 3 || !(most <= 1e-5) }
    ' || fail "$1 and $2 differ"
}
# same RUN OTHER: the same losses, gradients and model, to the bit.
same() {
    cmp <(cut -d, -f1-5 "$1/log.csv") <(cut -d, -f1-5 "$2/log.csv") && cmp "$1/model.safetensors" "$2/model.safetensors"
}

echo "-- a teacher"
./onestep sample --count 64 --out images/ --quiet
network=(--size 16 --channels 1 --widths 16,32 --attention 8 --groups 8)
teacher=(train teacher --images images "${network[@]}" --batch 16 --accumulate 2 --warmup 10 --flip --log-every 1 --sample-every 0)
one "${teacher[@]}" --steps 30 --out one
two "${teacher[@]}" --steps 30 --out two
alike two one

echo "-- students"
one pairs --teacher one/model.safetensors --count 100 --steps 4 --shard-len 40 --out pairs
distill=(distill --teacher one/model.safetensors --batch 16 --steps 20 --test-every 5 --log-every 1 --sample-every 0)
stored=(--pairs pairs)
online=(--online --ddim-steps 4 --ring 33 --fresh 5 --test 9)
one "${distill[@]}" "${stored[@]}" --out one-stored
two "${distill[@]}" "${stored[@]}" --out two-stored
alike two-stored one-stored
one "${distill[@]}" "${online[@]}" --out one-online
two "${distill[@]}" "${online[@]}" --out two-online
alike two-online one-online
halving=(--progressive --images images --ddim-steps 4)
one "${distill[@]}" "${halving[@]}" --out one-halving
two "${distill[@]}" "${halving[@]}" --out two-halving
alike two-halving/steps-2 one-halving/steps-2
alike two-halving one-halving

echo "-- scores: the parts of two processes are those of one"
score=(eval --metrics pixel --reference images --count 600)
one "${score[@]}" --out one-score
two "${score[@]}" --out two-score
cmp one-score/scores.json two-score/scores.json

echo "-- a run that is stopped and goes on"
long=("${teacher[@]}" --steps 100)
two "${long[@]}" --out whole
"${launch[@]}" -n 2 ./onestep "${long[@]}" --mpi --threads 1 --quiet --checkpoint-every 1000 --out parts \
    >stopped.txt 2>&1 &
job=$!
until [ -e parts/log.csv ] && [ "$(wc -l <parts/log.csv)" -gt 20 ]; do
    kill -0 $job 2>/dev/null || { cat stopped.txt; fail "it ended too early"; }
    sleep 0.02
done
# To one of the two; job is timeout's number, whose child is mpirun.
kill -INT "$(pgrep -P "$(pgrep -P $job)" | tail -n 1)"
if wait $job; then fail "it was not stopped"; fi
grep -q "error: cancelled" stopped.txt && [ -e parts/checkpoint.safetensors ] || { cat stopped.txt; fail "stopped without a checkpoint"; }
cp -r parts parts-one
echo "stopped after $(($(wc -l <parts/log.csv) - 1)) steps"
two "${long[@]}" --out parts
same parts whole
one "${long[@]}" --out parts-one
alike parts-one whole

echo "-- processes that fail"
# refused MESSAGE COMMAND...: ends with an error of this text, and in time.
refused() {
    local message=$1 code=0
    shift
    "$@" >refused.txt 2>&1 || code=$?
    { [ $code -ne 0 ] && [ $code -ne 124 ] && grep -q "$message" refused.txt; } || { cat refused.txt; fail "status $code"; }
    grep -m 1 "$message" refused.txt
}
run=("${network[@]}" --steps 100000 --mpi --threads 1 --quiet)
mkdir other
cp images/* other/
rm "other/$(ls images | head -n 1)"
refused "process 1: mpi: images is 63, of process 0 it is 64" \
    "${launch[@]}" -n 1 ./onestep train teacher --images images --out r1 "${run[@]}" : \
    -n 1 ./onestep train teacher --images other --out r1 "${run[@]}"
refused "process 1: nowhere: " \
    "${launch[@]}" -n 1 ./onestep train teacher --images images --out r2 "${run[@]}" : \
    -n 1 ./onestep train teacher --images nowhere --out r2 "${run[@]}"
refused "rate: step .* keeps them finite$" \
    two train teacher --images images "${network[@]}" --steps 100 --clip 0 --warmup 0 --rate 1e30 --out r3
refused "batch: 18 images cannot be divided among 2 processes in 2 parts each" \
    two train teacher --images images "${network[@]}" --batch 18 --accumulate 2 --out r4
refused "killed\|signal 9" \
    "${launch[@]}" -n 1 ./onestep train teacher --images images --out r5 "${run[@]}" : \
    -n 1 timeout -s KILL 3 ./onestep train teacher --images images --out r5 "${run[@]}"
