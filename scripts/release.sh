#!/usr/bin/env bash
# The archive of a release for x86-64 Linux, in target/release-archives: onestep-<version>-<target>.tar.gz with what
# `make install` lays out, licences, a bill of materials (CycloneDX) and what it was built with (BUILD), and SHA256SUMS
# beside it. The same commit and compiler give the same archive (scripts/reproduce.sh).
#
# zig links it against glibc 2.17 (2012), older than this machine's; the script fails where a newer symbol is needed.
# Needs Rust, pip, and what `cargo install` needs. docs/hosts/platforms.md says how the other platforms are built.
set -euo pipefail
cd "$(dirname "$0")/.."
target=x86_64-unknown-linux-gnu
glibc=2.17
cyclonedx=0.5.9
tools=$PWD/target/tools
[ -z "$(git status --porcelain --untracked-files=no)" ] || { echo "commit first: a release names its commit"; exit 1; }
. scripts/same-bytes.sh
mkdir -p "$tools"

cmp -s scripts/release-tools.txt "$tools/python/installed.txt" || {
    rm -rf "$tools/python"
    python3 -m venv "$tools/python"
    "$tools/python/bin/pip" install -q --disable-pip-version-check --require-hashes --no-deps -r scripts/release-tools.txt
    cp scripts/release-tools.txt "$tools/python/installed.txt"
}
# Unoptimised: it runs for a second.
[ -x "$tools/bin/cargo-cyclonedx" ] || cargo install -q cargo-cyclonedx --version $cyclonedx --locked --debug --root "$tools"
export PATH="$tools/python/bin:$tools/bin:$PATH"

version=$(sed -n 's/^version = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
name=onestep-$version-$target
out=target/release-archives
rm -rf "${out:?}/$name" && mkdir -p "$out/$name"

features=capi,cuda,embedded-model
# What is linked in asks for its notices: MIT's where there is a choice.
mkdir "$out/$name/licenses"
cp "$(rustc --print sysroot)/share/doc/rust/COPYRIGHT-library.html" "$out/$name/licenses/rust-standard-library.html"
cargo tree -q --locked --package onestep --no-default-features --features $features --target $target \
    --edges normal,no-proc-macro --prefix none --no-dedupe | awk '$1 != "onestep" { print $1 "-" substr($2, 2) }' | sort -u |
    while read -r crate; do
        for text in "${CARGO_HOME:-$HOME/.cargo}"/registry/src/*/"$crate"/{LICENSE-MIT,LICENSE,LICENSE.txt}; do
            [ ! -f "$text" ] || { cp "$text" "$out/$name/licenses/$crate.txt"; continue 2; }
        done
        echo "no licence was found for $crate"
        exit 1
    done
make -s install-lib PREFIX="$PWD/$out/$name" TARGET=$target GLIBC=.$glibc FEATURES=$features CARGO=cargo-zigbuild
cp README.md CHANGELOG.md LICENSE-MIT LICENSE-APACHE "$out/$name"
cp models/README.md "$out/$name/MODELS.md"
{
    echo "commit $(git rev-parse HEAD)"
    rustc --version
    sed -n 's/^\([a-z-]*\)==\([0-9.]*\).*/\1 \2/p' scripts/release-tools.txt
    echo "cargo-cyclonedx $cyclonedx"
} > "$out/$name/BUILD"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct) cargo cyclonedx -q --manifest-path Cargo.toml --format json --no-default-features \
    --features $features --target $target --override-filename "$name.cdx"
sed "s#file://$PWD#file://.#" "$name.cdx.json" > "$out/$name/sbom.cdx.json"
rm "$name.cdx.json" "cli/$name.cdx.json"

newest=$(objdump -T "$out/$name/lib/libonestep.so" | grep -o 'GLIBC_[0-9.]*' | sed 's/GLIBC_//' | sort -V | tail -n 1)
[ "$(printf '%s\n' "$newest" "$glibc" | sort -V | tail -n 1)" = "$glibc" ] || { echo "needs glibc $newest"; exit 1; }
# The same archive from the same tree: names in order, nobody's times, user or permissions.
tar -C "$out" --format=ustar --sort=name --owner=0 --group=0 --numeric-owner --mode=u=rwX,go=rX \
    --mtime="@$(git log -1 --format=%ct)" -c "$name" | gzip -9n > "$out/$name.tar.gz"
(cd "$out" && sha256sum "$name.tar.gz" > SHA256SUMS && cat SHA256SUMS)
