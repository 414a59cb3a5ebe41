#!/usr/bin/env bash
# The archive of a release for x86-64 Linux, in target/release-archives: onestep-<version>-<target>.tar.gz with what
# `make install` lays out, licences and a bill of materials (CycloneDX), and SHA256SUMS beside it.
#
# zig links it against glibc 2.17 (2012), older than this machine's; the script fails where a newer symbol is needed.
# Needs Rust, pip, and what `cargo install` needs. docs/hosts/platforms.md says how the other platforms are built.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
glibc=2.17
tools=$PWD/target/tools
mkdir -p "$tools"

[ -x "$tools/python/bin/cargo-zigbuild" ] || { python3 -m venv "$tools/python"; "$tools/python/bin/pip" install -q cargo-zigbuild==0.24.1; }
[ -x "$tools/bin/cargo-cyclonedx" ] || cargo install -q cargo-cyclonedx --version 0.5.9 --locked --root "$tools"
export PATH="$tools/python/bin:$tools/bin:$PATH"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=onestep-$version-$target
out=target/release-archives
rm -rf "${out:?}/$name" && mkdir -p "$out/$name"

# Where it was built is nobody's business, and would make every machine's archive another one.
RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=cargo --remap-path-prefix=$PWD=." \
    make -s install-lib PREFIX="$PWD/$out/$name" TARGET=$target GLIBC=.$glibc CARGO=cargo-zigbuild
cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$out/$name"
cp models/README.md "$out/$name/MODELS.md"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) cargo cyclonedx -q --manifest-path Cargo.toml --format json --no-default-features \
    --features capi,cuda,embedded-model --target $target --override-filename "$name.cdx"
sed "s#file://$PWD#file://.#" "$name.cdx.json" > "$out/$name/sbom.cdx.json"
rm "$name.cdx.json"

newest=$(objdump -T "$out/$name/lib/libonestep.so" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -V | tail -n 1)
[ "$(printf '%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" = "$glibc" ] || { echo "needs glibc $newest"; exit 1; }
# The same archive from the same tree: names in order, nobody's times or user.
tar -C "$out" --sort=name --owner=0 --group=0 --numeric-owner --mtime="@$(git log -1 --format=%ct)" -c "$name" |
    gzip -9n > "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" > SHA256SUMS && cat SHA256SUMS)
