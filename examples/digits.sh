#!/usr/bin/env bash
# A model of digits, from nothing: fetches scikit-learn's, trains a teacher, draws pairs, distils a student, scores all. On two
# cores: 12 minutes for the teacher, 6 for the pairs, 9 for the student, 52 for the one of two calls, 4 for the scores.
# `examples/digits.sh [FOLDER]`; run again, it goes on where it stopped.
set -euo pipefail
cd "$(dirname "$0")/.."
work=${1:-target/digits}
mkdir -p "$work"

cargo build -q --release
onestep=target/release/onestep

if [ ! -x "$work/python/bin/python" ]; then
    python3 -m venv "$work/python"
    "$work/python/bin/pip" install -q scikit-learn pillow
fi
python=$work/python/bin/python
[ -d "$work/images" ] || { "$python" examples/digits/folder.py "$work/images.partial" && mv "$work/images.partial" "$work/images"; }

$onestep train teacher --images "$work/images" --classes --size 16 --channels 1 --widths 32,64,64 --attention 8 \
    --groups 16 --steps 2800 --batch 128 --rate 8e-4 --seed 1 --sample-every 700 --out "$work/teacher"
teacher=$work/teacher/model.safetensors

$onestep pairs --teacher "$teacher" --count 24000 --ddim-steps 50 --spacing leading --pixels f16 --out "$work/pairs"

$onestep distill --teacher "$teacher" --pairs "$work/pairs" --preset small --steps 1800 --sample-every 600 \
    --out "$work/student"
student=$work/student/model.safetensors

# The same teacher's best student: first by pairs at every level of noise, then by its distribution, at first gently.
learn="$onestep distill --teacher $teacher --pairs $work/pairs --no-verify --loss paired --sample-every 0"
$learn --steps 2700 --rate 8e-4 --out "$work/paired"
slow="--batch 64 --rate 3e-4 --warmup 50"
$learn $slow --init "$work/paired/model.safetensors" --dmd 0.03 --steps 1400 --out "$work/gently"
$learn $slow --init "$work/gently/model.safetensors" --dmd 0.1 --steps 1700 --out "$work/matched"
matched=$work/matched/model.safetensors

# The same noise for all: image i is of class i % 10, from seed i.
$onestep sample "$teacher" --count 10000 --batch 250 --out "$work/teacher.npy"
$onestep sample "$student" --count 10000 --batch 250 --out "$work/student.npy"
$onestep sample "$teacher" --out "$work/teacher.png"
$onestep sample "$student" --out "$work/student.png"
$onestep sample "$matched" --count 10000 --batch 250 --out "$work/matched.npy"
$onestep sample "$matched" --count 10000 --batch 250 --steps 2 --out "$work/matched-2.npy"
"$python" examples/digits/score.py "$work"/{teacher,student,matched,matched-2}.npy | tee "$work/score.md"
