#!/usr/bin/env bash
# The Godot extension against a library installed into PREFIX: its logic without the engine under AddressSanitizer, then all of
# it in the engine, without a window. Debian or Ubuntu; needs g++, cmake, pkg-config. GODOT=/path/to/godot names an engine
# (4.4 or later); else Debian testing's is unpacked into target/godot and run from there with its own libraries: nothing is
# installed, nothing mounted, and no rights are needed.
set -euo pipefail
prefix=$(realpath "${1:?usage: scripts/godot-checks.sh PREFIX}")
cd "$(dirname "$0")/.."
root=$PWD work=$PWD/target/godot
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig LD_LIBRARY_PATH=$prefix/lib
mkdir -p "$work"

echo "-- without the engine, under AddressSanitizer and UndefinedBehaviorSanitizer"
read -ra flags <<<"$(pkg-config --cflags --libs onestep)"
c++ -std=c++17 -O1 -g -Wall -Wextra -Wpedantic -Werror -fsanitize=address,undefined -fno-sanitize-recover=all \
    bindings/godot/tests/generator.cpp bindings/godot/src/generator.cpp "${flags[@]}" -pthread -o "$work/generator"
"$work/generator" .

echo "-- the engine"
given=${GODOT:-}
if [ -z "${GODOT:-}" ]; then
    GODOT=$work/godot
    if ! scripts/debian-testing.sh godot godot "$work" >"$work/unpack.log" 2>&1; then
        tail -n 5 "$work/unpack.log"
        echo "SKIPPED: NO ENGINE: the extension was neither built nor run in Godot"
        exit 0
    fi
fi
# Its settings and caches stay here.
export HOME=$work/home XDG_CONFIG_HOME=$work/home XDG_DATA_HOME=$work/home XDG_CACHE_HOME=$work/home
mkdir -p "$HOME"
if ! "$GODOT" --version; then
    [ -z "$given" ] || { echo "FAILED: $GODOT does not run"; exit 1; }
    echo "SKIPPED: THE ENGINE DOES NOT RUN HERE: the extension was neither built nor run in Godot"
    exit 0
fi

echo "-- build"
rm -rf "$work/build"
cmake -S bindings/godot -B "$work/build" -DGODOT="$GODOT" -DCMAKE_CXX_FLAGS=-Werror >/dev/null
cmake --build "$work/build" | tail -n 1
extension=$work/build/libonestep_godot.so
[ "$(nm -D --defined-only "$extension" | awk '{ print $3 }')" = onestep_godot_init ] || { echo "FAILED: exports more"; exit 1; }
echo "$(stat -c %s "$extension") bytes"

echo "-- in the engine"
project=$work/project
rm -rf "$project"
cp -r bindings/godot/demo "$project"
install -D -t "$project/addons/onestep/linux/$(uname -m | sed 's/aarch64/arm64/')" "$extension"
cp models/textures-student.safetensors "$project/textures.safetensors"
: >"$project/empty.safetensors"
scripts/page-program.sh docs/hosts/godot.md gdscript >"$project/sample.gd"
# What the editor's first start would write. It is not started: without a window, Godot 4.6.3's --import crashes at its end
# where a project's extension is new (godotengine/godot#111048).
mkdir -p "$project/.godot"
echo "res://addons/onestep/onestep.gdextension" >"$project/.godot/extension_list.cfg"
code=0
ONESTEP_ISA=portable timeout 600 "$GODOT" --headless --path "$project" --script test.gd -- "$root" \
    >"$work/test.log" 2>&1 || code=$?
if [ $code != 0 ] || ! grep -q "^test.gd: .* checks passed" "$work/test.log" ||
    grep -q "SCRIPT ERROR\|leaked\|^FAILED" "$work/test.log"; then
    cat "$work/test.log"
    echo "FAILED: test.gd ended with $code"
    exit 1
fi
tail -n 1 "$work/test.log"

echo "-- the demo's export preset packs the weights"
timeout 300 "$GODOT" --headless --path "$project" --export-pack Linux "$work/demo.pck" >"$work/export.log" 2>&1 ||
    { cat "$work/export.log"; exit 1; }
grep -qa "textures.safetensors" "$work/demo.pck" || { echo "FAILED: no weights in the pack"; exit 1; }
