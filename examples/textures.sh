#!/usr/bin/env bash
# Textures in colour, unconditional, from nothing: cuts patches out of photographs that scikit-learn and scikit-image carry,
# trains a teacher, draws pairs, distils a student. On two cores that also compiled at times: 47 minutes for the teacher, 10
# for the pairs, 17 for the student. `examples/textures.sh [FOLDER]`; run again, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-target/textures}
mkdir -p "$work"

cargo build -q --release
onestep=target/release/onestep

if [ ! -x "$work/python/bin/python" ]; then
    python3 -m venv "$work/python"
    "$work/python/bin/pip" install -q scikit-learn scikit-image pillow
fi
if [ ! -d "$work/images" ]; then
    "$work/python/bin/python" examples/textures/patches.py "$work/images.partial"
    mv "$work/images.partial" "$work/images"
fi

# v and the cosine schedule: with so few steps, eps and the linear schedule leave colours and contrasts far off.
$onestep train teacher --images "$work/images" --flip --size 32 --channels 3 --widths 32,64,64 --attention 8 \
    --groups 16 --prediction v_prediction --schedule squaredcos_cap_v2 --steps 9000 --batch 32 --rate 8e-4 --seed 1 \
    --sample-every 1500 --out "$work/teacher"
teacher=$work/teacher/model.safetensors

$onestep pairs --teacher "$teacher" --count 8000 --ddim-steps 40 --spacing leading --pixels f16 --out "$work/pairs"

$onestep distill --teacher "$teacher" --pairs "$work/pairs" --preset small --batch 32 --steps 3000 \
    --out "$work/student"

$onestep sample "$teacher" --count 64 --out "$work/teacher.png"
$onestep sample "$work/student/model.safetensors" --count 64 --out "$work/student.png"
