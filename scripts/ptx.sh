#!/usr/bin/env bash
# Compiles the CUDA kernels to the PTX that is committed beside them; with --check, compares it with what is committed,
# assembles it for the devices we name by the newest assembler and the oldest that a driver may have, and compares what is
# said of the driver's functions with the headers of both. CUDA's parts come from PyPI; nothing is installed outside of
# target/.
set -euo pipefail
cd "$(dirname "$0")/.."

# The release that the PTX is made with, since another makes other text; and the oldest that must take it (OLDEST in
# driver/table.rs).
tools=target/nvcc-13.0
old=target/cuda-11.7
kernels=src/exec/cuda/kernels

if ! [ -e "$tools/done" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check \
        nvidia-cuda-nvcc==13.0.88 nvidia-cuda-crt==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-runtime==13.0.96 \
        nvidia-cuda-cccl==13.0.85
    touch "$tools/done"
fi
cuda=$(echo "$PWD/$tools"/lib/python3*/site-packages/nvidia/cu13)
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT

# The sources' own sum, by which a test without a compiler sees that the PTX is stale (tests/library/cuda.rs).
sum=$(cat "$kernels"/*.cu "$kernels"/*.cuh | sha256sum | cut -d' ' -f1)
for element in f32 bf16 f16; do
    "$cuda/bin/nvcc" -ptx -O3 -std=c++17 -arch=compute_80 -DWITH_${element^^} "$kernels/onestep.cu" -o "$out/all.ptx"
    # Without the compiler's remarks, in which paths and serial numbers stand.
    {
        echo "// Made by scripts/ptx.sh of sources $sum"
        # All of it is in PTX 7.0, CUDA 11.0's, but the version that stands there, and a hint.
        grep -v '^//' "$out/all.ptx" | cat -s | sed '/\.pragma "used_bytes_mask/d; s/^\.version .*/.version 7.0/'
    } >"$out/$element.ptx"
    rm "$out/all.ptx"
done

if [ "${1-}" != --check ]; then
    cp "$out"/*.ptx "$kernels/"
    exit
fi
if ! [ -e "$old/done" ]; then
    rm -rf "$old"
    "$tools/bin/pip" install --quiet --disable-pip-version-check --no-deps --target "$old" \
        nvidia-cuda-nvcc-cu11==11.7.99 nvidia-cuda-runtime-cu11==11.7.99
    chmod +x "$old/nvidia/cuda_nvcc/bin/ptxas"
    touch "$old/done"
fi

# assemble CODE RELEASE PTXAS TARGET...
assemble() {
    local code=$1 release=$2 ptxas=$3 target
    for target in "${@:4}"; do
        "$ptxas" -arch="$target" -v "$code" -o "$out/code" 2>"$out/report" || { cat "$out/report"; exit 1; }
        if grep warning "$out/report"; then echo "$code is warned of by CUDA $release"; exit 1; fi
        # Spilled registers or a stack would be slow. On sm_120 attention_32 keeps two of them in memory.
        if [ "$target" != sm_120 ] && grep -E '[1-9][0-9]* bytes (stack frame|spill)' "$out/report"; then
            echo "$code spills on $target, CUDA $release"; exit 1
        fi
        echo "$(basename "$code") on $target by CUDA $release: $(grep -c 'Compiling entry' "$out/report") kernels"
    done
}
for element in f32 bf16 f16; do
    code=$kernels/$element.ptx
    cmp "$out/$element.ptx" "$code" || { echo "$code is stale: run scripts/ptx.sh"; exit 1; }
    assemble "$code" 13.0 "$cuda/bin/ptxas" sm_80 sm_89 sm_90 sm_100 sm_120
    assemble "$code" 11.7 "$old/nvidia/cuda_nvcc/bin/ptxas" sm_80 sm_86
done

for include in "$cuda/include" "$old/nvidia/cuda_runtime/include"; do
    python3 scripts/driver_table.py src/exec/cuda/driver/table.rs |
        g++ -std=c++17 -fsyntax-only -I "$include" -x c++ - || { echo "not as $include/cuda.h has it"; exit 1; }
done
echo "driver/table.rs agrees with cuda.h of CUDA 11.7 and 13.0"
