#!/usr/bin/env bash
# The library for Windows, cross-compiled by MinGW's GCC, and the C and C++ tests with it under Wine, whose picture is that of
# the library installed in PREFIX: what can be seen of Windows from Linux. `windows-checks.sh PREFIX`; Debian 12; installs what
# it needs. The MSVC target is only type-checked, beside Apple's and Android's.
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 PREFIX" >&2; exit 2; }
prefix=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
packages="gcc-mingw-w64-x86-64 g++-mingw-w64-x86-64 wine wine64"
dpkg --status $packages >/dev/null 2>&1 || { apt-get update -q && apt-get install -qy --no-install-recommends $packages; }
checked="x86_64-pc-windows-msvc aarch64-linux-android aarch64-apple-ios"
rustup target add x86_64-pc-windows-gnu $checked 2>/dev/null
features="--no-default-features --features capi,cuda,embedded-model"

echo "-- type-checked: $checked"
cargo check -q --package onestep --lib $features $(printf -- '--target %s ' $checked)

echo "-- built for Windows"
export CARGO_TARGET_X86_64_PC_WINDOWS_GNU_LINKER=x86_64-w64-mingw32-gcc
cargo rustc -q --release --package onestep --lib --crate-type cdylib $features --target x86_64-pc-windows-gnu
built=$(realpath "${CARGO_TARGET_DIR:-target}/x86_64-pc-windows-gnu/release")
folder=$(mktemp -d)
export WINEPREFIX=$folder/wine WINEDEBUG=-all
trap 'wineserver -k || true; wineserver -w || true; rm -rf "$folder"' EXIT
cp "$built/onestep.dll" "$folder"
# Wine 8 has no bcryptprimitives.dll, which Rust's standard library asks for random numbers.
cat > "$folder/random.c" <<'E2'
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(PVOID, ULONG);
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return SystemFunction036(data, (ULONG)size); }
E2
x86_64-w64-mingw32-gcc -shared -O1 "$folder/random.c" -ladvapi32 -o "$folder/bcryptprimitives.dll"
wine wineboot -i >/dev/null 2>&1

echo "-- the tests under Wine"
flags="-O1 -Wall -Wextra -Werror -Iinclude -static"
for test in open sample layouts older_header misuse threads golden; do
    x86_64-w64-mingw32-gcc -std=c99 $flags "tests/c/$test.c" -L"$built" -l:libonestep.dll.a -pthread -o "$folder/$test.exe"
    wine "$folder/$test.exe" .
done
x86_64-w64-mingw32-gcc -std=c99 $flags tests/c/packed.c -L"$built" -l:libonestep.dll.a -pthread -o "$folder/packed.exe"
wine "$folder/packed.exe" . "$folder"
# Its other variant has no std::thread.
x86_64-w64-mingw32-g++-posix -std=c++17 $flags tests/cpp/wrapper.cpp -L"$built" -l:libonestep.dll.a -pthread -o "$folder/wrapper.exe"
wine "$folder/wrapper.exe" .

# The same picture as on this machine, byte for byte.
x86_64-w64-mingw32-gcc -std=c99 $flags examples/c/sample.c -L"$built" -l:libonestep.dll.a -o "$folder/example.exe"
wine "$folder/example.exe" "$folder/windows.tga"
cc -std=c99 -Iinclude examples/c/sample.c -L"$prefix/lib" -lonestep -o "$folder/example"
LD_LIBRARY_PATH=$prefix/lib "$folder/example" "$folder/linux.tga"
cmp "$folder/linux.tga" "$folder/windows.tga"
echo "windows: $(echo "$folder"/*.exe | wc -w) programs run under $(wine --version 2>/dev/null)"
