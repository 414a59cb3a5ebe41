#!/usr/bin/env bash
# What `make install` lays out, as a stranger finds it: the command, and the library by pkg-config and by CMake, shared and
# static, from a prefix that was moved. `install-checks.sh PREFIX` leaves both in PREFIX, which must not be there yet. Debian or Ubuntu; needs gcc,
# g++, cmake, pkg-config, libpng-dev, python3.
set -euo pipefail
cd "$(dirname "$0")/.."
prefix=$(realpath -m "$1")
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

echo "-- install"
make -s install PREFIX="$scratch/first"
mv "$scratch/first" "$prefix"
(cd "$prefix" && find . ! -type d | sort) > "$scratch/found"
diff "$scratch/found" - <<'E2'
./bin/onestep
./include/onestep.h
./include/onestep.hpp
./lib/libonestep.a
./lib/libonestep.so
./lib/libonestep.so.1
./lib/libonestep.so.1.0.0
./lib/pkgconfig/onestep.pc
./share/bash-completion/completions/onestep
./share/cmake/onestep/onestepConfig.cmake
./share/cmake/onestep/onestepConfigVersion.cmake
./share/fish/vendor_completions.d/onestep.fish
./share/man/man1/onestep-bench.1
./share/man/man1/onestep-completions.1
./share/man/man1/onestep-devices.1
./share/man/man1/onestep-distill.1
./share/man/man1/onestep-eval.1
./share/man/man1/onestep-export.1
./share/man/man1/onestep-import.1
./share/man/man1/onestep-info.1
./share/man/man1/onestep-interpolate.1
./share/man/man1/onestep-man.1
./share/man/man1/onestep-pack.1
./share/man/man1/onestep-pairs.1
./share/man/man1/onestep-sample.1
./share/man/man1/onestep-train-teacher.1
./share/man/man1/onestep-train.1
./share/man/man1/onestep.1
./share/zsh/site-functions/_onestep
E2
[ "$(objdump -p "$prefix/lib/libonestep.so" | sed -n 's/ *SONAME *//p')" = libonestep.so.1 ]
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig" LD_LIBRARY_PATH="$prefix/lib"

echo "-- the command, its manual and its completions"
"$prefix/bin/onestep" sample --quiet --out "$scratch/command.png"
grep -qF -- '\-\-images' "$prefix/share/man/man1/onestep-train-teacher.1"
bash -c 'source "$1" && complete -p onestep' - "$prefix/share/bash-completion/completions/onestep" > "$scratch/completed"
grep -q -- '-F _onestep' "$scratch/completed"

echo "-- C by pkg-config"
cd "$scratch"
root=$OLDPWD
"$root/scripts/page-program.sh" "$root/docs/hosts/c.md" c > portraits.c
[ "$(wc -l < portraits.c)" -le 20 ]
cc -std=c99 -Wall -Wextra -Werror portraits.c $(pkg-config --cflags --libs onestep libpng) -o portraits
./portraits
mv portraits.png c.png
cc -std=c99 portraits.c $(pkg-config --cflags onestep libpng) "$prefix/lib/libonestep.a" \
    $(pkg-config --libs --static onestep | sed 's/-lonestep//') $(pkg-config --libs libpng) -o portraits
env -u LD_LIBRARY_PATH ./portraits
cmp c.png portraits.png
# Eight portraits: some of the picture is transparent, most is not.
python3 - <<'E2'
import struct, zlib
data = open("c.png", "rb").read()
assert struct.unpack(">II", data[16:24]) == (128, 16)
idat, at = b"", 8
while at < len(data):
    size, kind = struct.unpack(">I4s", data[at:at + 8])
    idat += data[at + 8:at + 8 + size] if kind == b"IDAT" else b""
    at += 12 + size
pixels = zlib.decompress(idat)
assert len(pixels) == 16 * 513 and len(set(pixels)) > 50
E2

echo "-- C++ by CMake"
"$root/scripts/page-program.sh" "$root/docs/hosts/cpp.md" cpp > portraits.cpp
"$root/scripts/page-program.sh" "$root/docs/hosts/cpp.md" cmake > CMakeLists.txt
[ "$(wc -l < portraits.cpp)" -le 20 ]
for shared in ON OFF; do
    cmake -S . -B "cmake-$shared" -DCMAKE_PREFIX_PATH="$prefix" -DBUILD_SHARED_LIBS=$shared > cmake.log || { cat cmake.log; exit 1; }
    cmake --build "cmake-$shared" > cmake.log || { cat cmake.log; exit 1; }
    "cmake-$shared/portraits"
    cmp c.png portraits.png
done
ldd cmake-ON/portraits | grep libonestep.so.1 > found.log
# It can use CUDA, and has just drawn on a machine that may have none: it asks the loader for the C library's family alone.
readelf -d "$prefix/lib/libonestep.so" | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p' > needed
if grep -vE '^(lib(c|m|dl|rt|pthread|gcc_s)|ld-linux-x86-64)\.so' needed; then echo "libonestep.so needs more than libc"; exit 1; fi
grep -q cuMemAlloc_v2 "$prefix/lib/libonestep.so"
if ldd cmake-OFF/portraits | grep libonestep; then exit 1; fi
sed 's/onestep 0.1/onestep 0.2/' CMakeLists.txt > newer && mkdir refused && mv newer refused/CMakeLists.txt && cp portraits.cpp refused
if cmake -S refused -B refused/build -DCMAKE_PREFIX_PATH="$prefix" > cmake.log 2>&1; then exit 1; fi
grep -q 'version: 0.1.0' cmake.log

echo "-- uninstall"
cp -r "$prefix" "$scratch/second"
make -s -C "$root" uninstall PREFIX="$scratch/second"
[ -z "$(find "$scratch/second" ! -type d)" ]

echo "-- cargo cinstall"
cd "$root"
tools=$PWD/target/tools
# Unoptimised: it is built once to run once.
command -v cargo-cinstall >/dev/null || scripts/debian-testing.sh cargo-c cargo-cinstall "$tools/cargo-c" >"$scratch/cargo-c.log" 2>&1 ||
    cargo install -q cargo-c --version 0.10.24+cargo-0.98.0 --locked --debug --root "$tools/cargo-c" --target-dir target/tools/build
# What it lays out is looked at, and what that draws; both take less time unoptimised.
export CARGO_PROFILE_RELEASE_OPT_LEVEL=0
PATH="$PATH:$tools/cargo-c:$tools/cargo-c/bin" cargo cinstall --release --package onestep --no-default-features \
    --features cuda,embedded-model --prefix "$scratch/third" --libdir "$scratch/third/lib"
(cd "$scratch/third" && find . ! -type d | sort) | diff <(grep -E '^./(include|lib|share/cmake)/' "$scratch/found") -
cd "$scratch"
PKG_CONFIG_PATH="$scratch/third/lib/pkgconfig" cc -std=c99 portraits.c \
    $(PKG_CONFIG_PATH="$scratch/third/lib/pkgconfig" pkg-config --cflags --libs onestep libpng) -o portraits
LD_LIBRARY_PATH="$scratch/third/lib" ./portraits
cmp c.png portraits.png
cmake -S . -B cmake-third -DCMAKE_PREFIX_PATH="$scratch/third" > cmake.log && cmake --build cmake-third > cmake.log || { cat cmake.log; exit 1; }
LD_LIBRARY_PATH="$scratch/third/lib" cmake-third/portraits
cmp c.png portraits.png

echo "-- Rust"
mkdir -p "$scratch/rust/src"
"$root/scripts/page-program.sh" "$root/docs/hosts/rust.md" rust > "$scratch/rust/src/main.rs"
cat > "$scratch/rust/Cargo.toml" <<E2
[package]
name = "portraits"
edition = "2024"
[dependencies]
onestep = { path = "$root", default-features = false, features = ["embedded-model"] }
png = "0.18"
E2
cp "$root/Cargo.lock" "$scratch/rust"
rm portraits.png
cargo run -q --release --manifest-path "$scratch/rust/Cargo.toml" --target-dir "$root/target/install-rust"
[ "$(head -c 24 portraits.png | tail -c 8 | od -An -tx1 | tr -d ' \n')" = 0000008000000010 ]
