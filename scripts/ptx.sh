#!/usr/bin/env bash
# Compiles the CUDA kernels to the PTX that is committed beside them; with --check, compares it with what is committed,
# and assembles it for the devices we name. CUDA's compiler comes from PyPI; nothing is installed outside of target/.
set -euo pipefail
cd "$(dirname "$0")/.."

# The release that the PTX is made with: another one makes other text, and asks for another driver.
version=13.0
tools=target/nvcc-$version
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

# The sources' own sum, by which a test without a compiler sees that the PTX is stale (tests/cuda.rs).
sum=$(cat "$kernels"/*.cu "$kernels"/*.cuh | sha256sum | cut -d' ' -f1)
for element in f32 bf16 f16; do
    "$cuda/bin/nvcc" -ptx -O3 -std=c++17 -arch=compute_80 -DWITH_${element^^} "$kernels/onestep.cu" -o "$out/all.ptx"
    # Without the compiler's remarks, in which paths and serial numbers stand.
    { echo "// Made by scripts/ptx.sh of sources $sum"; grep -v '^//' "$out/all.ptx" | cat -s; } >"$out/$element.ptx"
    rm "$out/all.ptx"
done

if [ "${1-}" != --check ]; then
    cp "$out"/*.ptx "$kernels/"
    exit
fi
for element in f32 bf16 f16; do
    cmp "$out/$element.ptx" "$kernels/$element.ptx" || { echo "$kernels/$element.ptx is stale: run scripts/ptx.sh"; exit 1; }
    for target in sm_80 sm_90 sm_100; do
        "$cuda/bin/ptxas" -arch=$target -v "$kernels/$element.ptx" -o "$out/code" 2>"$out/report"
        # Spilled registers or a stack would be slow, and none of these kernels needs them.
        if grep -E '[1-9][0-9]* bytes (stack frame|spill)' "$out/report"; then
            echo "$element.ptx spills on $target"; exit 1
        fi
        echo "$element.ptx on $target: $(grep -c 'Compiling entry' "$out/report") kernels"
    done
done
