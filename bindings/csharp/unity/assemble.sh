#!/usr/bin/env bash
# Lays out the Unity package: bindings/csharp/unity/assemble.sh PREFIX FOLDER. The sources are those of the .NET package,
# kept once; the native library is the one installed in PREFIX. FOLDER belongs under a project's Packages/, where Unity
# makes the .meta files itself.
set -euo pipefail
[ $# = 2 ] || { echo "usage: $0 PREFIX FOLDER" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)

mkdir -p "$2/Runtime" "$2/Plugins/x86_64"
cp "$here/package.json" "$2/"
cp -R "$here/Samples~" "$2/"
cp "$here/OneStep.asmdef" "$here/../OneStep/"*.cs "$2/Runtime/"
found=0
for library in lib/libonestep.so lib/libonestep.dylib bin/onestep.dll; do
    [ -e "$1/$library" ] || continue
    cp -L "$1/$library" "$2/Plugins/x86_64/"
    found=1
done
[ $found = 1 ] || { echo "$0: no shared library of onestep in $1" >&2; exit 1; }
