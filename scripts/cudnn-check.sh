#!/usr/bin/env bash
# The real cuDNN, without a GPU: whether it takes the convolutions' descriptions and has kernels for them, as it would
# on an H100. Its libraries (Python package nvidia-cudnn-cu13, 0.9 GB) are looked for in the folder given, and fetched
# into it where it is not there.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-target/cudnn}
[ -d "$folder" ] || python3 -m pip install -q --no-deps --target "$folder" nvidia-cudnn-cu13
library=$(find "$folder" -name libcudnn.so.9 -print -quit)
[ -n "$library" ] || { echo "no libcudnn.so.9 in $folder" >&2; exit 1; }

export ONESTEP_CUDNN
ONESTEP_CUDNN=$(cd "$(dirname "$library")" && pwd)
cargo test -q --package onestep --no-default-features --features cuda --lib -- exec::cuda::cudnn::deviceless --ignored --nocapture
