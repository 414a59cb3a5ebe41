#!/usr/bin/env bash
# The model inside the library, from nothing: draws portraits with DiceBear's "Pixel Art" (npm), trains a teacher, draws pairs, distils a
# student, scores all. On two cores: 5 minutes for the drawings, an hour for the teacher, 8 minutes for the pairs, 50 for the student.
# `examples/portraits.sh [FOLDER]`; run again, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-target/portraits}
mkdir -p "$work"

cargo build -q --release
onestep=target/release/onestep

# 100,000 to learn from, and twice 10,000 that are never learnt from.
if [ ! -d "$work/data" ]; then
    cp examples/portraits/draw.mjs examples/portraits/package.json "$work"
    (cd "$work" && npm install --silent && rm -rf partial &&
        node draw.mjs partial/train 0 100000 && node draw.mjs partial/test 100000 10000 && node draw.mjs partial/test2 110000 10000)
    mv "$work/partial" "$work/data"
fi

$onestep train teacher --images "$work/data/train" --classes --size 16 --channels 4 --widths 32,64,64 --attention 8 --groups 16 \
    --prediction v_prediction --schedule squaredcos_cap_v2 --steps 20000 --batch 64 --rate 8e-4 --ema 0.9995 --seed 1 \
    --clip-sample false --sample-every 3000 --out "$work/teacher"
teacher=$work/teacher/model.safetensors

$onestep pairs --teacher "$teacher" --count 20000 --ddim-steps 50 --spacing trailing --pixels f16 --out "$work/pairs"

# First by pairs at every level of noise, then by the teacher's distribution too, then against the drawings.
learn="$onestep distill --teacher $teacher --pairs $work/pairs --no-verify --loss paired --sample-every 0"
$learn --steps 2300 --rate 8e-4 --out "$work/paired"
$learn --init "$work/paired/model.safetensors" --dmd 0.03 --batch 64 --rate 3e-4 --warmup 50 --steps 1200 --out "$work/matched"
$learn --init "$work/matched/model.safetensors" --adversarial 0.02 --images "$work/data/train" --batch 64 --rate 2e-4 --warmup 150 \
    --steps 1000 --out "$work/judged"
$onestep import "$work/judged/model.safetensors" "$work/student.safetensors" --dtype f16 --quiet
student=$work/student.safetensors

# The same noise for all: image i is of class i % 8, from seed i.
$onestep sample "$teacher" --spacing trailing --count 10000 --batch 250 --out "$work/teacher.npy"
$onestep sample "$student" --count 10000 --batch 250 --out "$work/student.npy"
$onestep sample "$student" --count 10000 --batch 250 --steps 2 --out "$work/student-2.npy"
$onestep sample "$teacher" --spacing trailing --out "$work/teacher.png"
$onestep sample "$student" --out "$work/student.png"
if [ ! -x "$work/python/bin/python" ]; then
    python3 -m venv "$work/python"
    "$work/python/bin/pip" install -q numpy pillow
fi
"$work/python/bin/python" examples/portraits/score.py "$work/data" "$work"/{teacher,student,student-2}.npy | tee "$work/score.md"
