#!/usr/bin/env bash
# examples/sprites against an installed library, in a window that nobody sees: `sprites-checks.sh PREFIX`. Looks at the
# screenshot, and prints how many frames were late. Debian or Ubuntu; needs g++, cmake, libsdl2-dev, xvfb, python3.
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=$(realpath "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

cmake -S examples/sprites -B "$scratch/build" -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_CXX_FLAGS=-Werror > "$scratch/log" ||
    { cat "$scratch/log"; exit 1; }
cmake --build "$scratch/build" > "$scratch/log" || { cat "$scratch/log"; exit 1; }
for model in "" models/textures-student.safetensors; do
    SDL_RENDER_DRIVER=software SDL_AUDIODRIVER=dummy xvfb-run -a -s "-screen 0 1024x768x24" \
        "$scratch/build/sprites" ${model:+"$model"} --frames 600 --screenshot "$scratch/shot.bmp"
    # 768 x 480 pixels; every one of the forty sprites has a picture of its own.
    python3 - "$scratch/shot.bmp" <<'E2'
import struct, sys
data = open(sys.argv[1], "rb").read()
start, width, height = struct.unpack_from("<I", data, 10)[0], *struct.unpack_from("<ii", data, 18)
assert (width, abs(height)) == (768, 480)
sprites = set()
for top in range(0, 480, 96):
    for left in range(0, 768, 96):
        rows = [start + ((top + y) * 768 + left) * 3 for y in range(96)]
        sprites.add(b"".join(data[row:row + 288] for row in rows))
assert len(sprites) == 40 and all(len(set(sprite)) > 10 for sprite in sprites), len(sprites)
E2
done
for arguments in "no/such/file" "--budget" "--colour red"; do
    if "$scratch/build/sprites" $arguments 2> "$scratch/told"; then exit 1; fi
    grep -q '^sprites: ' "$scratch/told"
done
