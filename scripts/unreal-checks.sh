#!/usr/bin/env bash
# Compiles the Unreal plugin's sources, without the engine, against declarations of the few names of it that they use
# (bindings/unreal/Tests/stubs), and with the headers installed into PREFIX. It finds mistakes in the use of onestep.hpp and in
# the C++; it does not show that the plugin builds in Unreal, nor that it runs. Needs g++ and pkg-config.
set -euo pipefail
prefix=$(realpath "${1:?usage: scripts/unreal-checks.sh PREFIX}")
cd "$(dirname "$0")/../bindings/unreal"
stubs=$(mktemp -d)
trap 'rm -rf "$stubs"' EXIT

# Each of the engine's headers that is included is the one of the stubs.
grep -rhoP '^#include "\K[^"]+' OneStep/Source | sort -u | while read -r header; do
    if [ -n "$(find OneStep -name "$(basename "$header")")" ]; then continue; fi
    mkdir -p "$stubs/$(dirname "$header")"
    echo '#include "unreal.h"' >"$stubs/$header"
done
read -ra flags <<<"$(PKG_CONFIG_PATH=$prefix/lib/pkgconfig pkg-config --cflags onestep)"
for source in OneStep/Source/OneStep/Private/*.cpp; do
    c++ -fsyntax-only -std=c++20 -Wall -Wextra -Werror -fno-exceptions -fno-rtti -Wno-unused-function \
        -ITests/stubs -I"$stubs" -IOneStep/Source/OneStep/Public -IOneStep/Source/OneStep/Private "${flags[@]}" "$source"
done
python3 -m json.tool OneStep/OneStep.uplugin >/dev/null
echo "unreal: compiles against the stubs; never built in Unreal"
