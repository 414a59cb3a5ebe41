#!/usr/bin/env bash
# The library's tests and the golden tests on aarch64, whose kernels are NEON's: cross-compiled, run by qemu's user
# emulation, in two minutes on two cores. Debian or Ubuntu on x86-64. Installs a cross linker and qemu; where the
# target's standard library is missing (`rustup target add aarch64-unknown-linux-gnu`), also Debian's compiler, unpacked
# into target/ beside the libraries it needs.
set -euo pipefail
cd "$(dirname "$0")/.."
target=aarch64-unknown-linux-gnu
root=$PWD/target/neon-check
skip() { echo "skipped: $*"; exit 0; }
install() {
    { apt-get update -q && apt-get install -qy --no-install-recommends "$@"; } >"$root/apt.log" 2>&1
}

[ "$(uname -sm)" = "Linux x86_64" ] || skip "for x86-64 Linux; on aarch64, cargo test does the same"
command -v apt-get >/dev/null || skip "no Debian or Ubuntu"
mkdir -p "$root/lists/partial"

echo "-- tools"
if ! { command -v aarch64-linux-gnu-gcc && command -v qemu-aarch64 && [ -e /usr/aarch64-linux-gnu/lib/libc.so ]; } \
    >/dev/null; then
    install gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user ||
        skip "gcc-aarch64-linux-gnu and qemu-user cannot be installed ($root/apt.log)"
fi
if [ ! -e "$(rustc --print target-libdir --target $target)" ]; then
    export RUSTC=$root/rustc
    if ! "$RUSTC" -vV >/dev/null 2>&1; then
        # Lists of both architectures, beside the system's own; its compiler, if any, is left alone.
        apt=(-o "Dir::State::Lists=$root/lists" -o APT::Architectures::=amd64 -o APT::Architectures::=arm64
            -o APT::Sandbox::User=root)
        apt-get "${apt[@]}" -q update >"$root/apt.log" 2>&1 || skip "no package lists ($root/apt.log)"
        found=$(apt-cache "${apt[@]}" policy rustc-web | sed -n 's/^  Candidate: //p')
        wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml)
        dpkg --compare-versions "${found:-0}" ge "$wanted" ||
            skip "rustc-web is ${found:-missing}, not $wanted (rustup target add $target would do as well)"
        # The compiler proper is a shared library that needs LLVM's; neither is in anything's way.
        driver=$(apt-cache "${apt[@]}" depends libstd-rust-web-dev |
            sed -n 's/^  Depends: \(libstd-rust-web-[0-9]\)/\1/p')
        install "$driver=$found" || skip "$driver $found cannot be installed ($root/apt.log)"
        rm -rf "$root/debs" "$root/usr"
        mkdir "$root/debs"
        (
            cd "$root/debs"
            apt-get "${apt[@]}" -q download "rustc-web=$found" "libstd-rust-web-dev:amd64=$found" \
                "libstd-rust-web-dev:arm64=$found" >"$root/apt.log" 2>&1
        ) || skip "rustc-web and libstd-rust-web-dev:arm64 $found cannot be downloaded ($root/apt.log)"
        for deb in "$root"/debs/*.deb; do
            dpkg-deb --fsys-tarfile "$deb" | tar -xC "$root" --exclude='./usr/share' --exclude=rustdoc
        done
        rm -r "$root/debs"
        printf '#!/bin/sh\nexec "%s/usr/bin/rustc" --sysroot "%s/usr" "$@"\n' "$root" "$root" >"$RUSTC"
        chmod +x "$RUSTC"
    fi
    "$RUSTC" --version
fi

echo "-- tests on aarch64"
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="qemu-aarch64 -L /usr/aarch64-linux-gnu"
tested=(cargo test -q --package onestep --no-default-features --features capi,embedded-model --target $target
    --target-dir "$root/build")
"${tested[@]}" --lib
"${tested[@]}" --test library -- golden::
