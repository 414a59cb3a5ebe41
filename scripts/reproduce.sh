#!/usr/bin/env bash
# Whether a build comes out the same, byte for byte, at another place, by another user's habits, at another time.
#
#   scripts/reproduce.sh             the release of this commit, built twice
#   scripts/reproduce.sh ARCHIVE     a release's archive, and what is built here of the commit that its BUILD names
#   scripts/reproduce.sh --lean      the smallest shared library of this commit, built twice: minutes less, no tools
#
# Needs what scripts/release.sh needs. What is not committed is not built.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
root=$PWD
commit=$(git rev-parse HEAD)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
# Writes the bill of materials. It takes minutes to compile, and would be the same.
cyclonedx=target/tools/bin/cargo-cyclonedx

# built FOLDER: a clone of the commit in FOLDER, with what was asked for built in it; prints where that lies.
built() {
    git clone -q --no-checkout "$root" "$1"
    cd "$1"
    git checkout -q "$commit"
    if [ "$mode" = --lean ]; then
        . scripts/same-bytes.sh
        cargo rustc -q --locked --release --package onestep --lib --no-default-features --features capi --crate-type cdylib
        echo "$1/target/release/libonestep.so"
    else
        [ ! -x "$root/$cyclonedx" ] || install -D "$root/$cyclonedx" $cyclonedx
        scripts/release.sh >&2
        echo "$1"/target/release-archives/*.tar.gz
    fi
}

# Nothing is as it was: paths, caches, tools, the mask of permissions, time zone and language, flags.
elsewhere() {
    umask 077
    export CARGO_HOME=$scratch/cargo-home XDG_CACHE_HOME=$scratch/cache CARGO_TARGET_DIR=$scratch/target TZ=Asia/Tokyo LC_ALL=C.UTF-8
    export RUSTFLAGS="-C debuginfo=2" CARGO_PROFILE_RELEASE_CODEGEN_UNITS=3 FEATURES=capi
    built "$scratch/quite/another/place"
}

mode=${1:-}
case $mode in
"" | --lean)
    first=$(built "$scratch/tree")
    ;;
*)
    first=$(realpath "$mode")
    tar -xzOf "$first" --wildcards '*/BUILD' | tee "$scratch/BUILD"
    grep -qxF "$(rustc --version)" "$scratch/BUILD" || echo "here is $(rustc --version), which may make another archive"
    commit=$(sed -n 's/^commit \([0-9a-f]*\)$/\1/p' "$scratch/BUILD")
    ;;
esac
second=$(elsewhere)

sha256sum "$first" "$second"
if cmp "$first" "$second"; then
    echo "the same, byte for byte"
    exit
fi
if [ "$mode" != --lean ]; then
    mkdir "$scratch/one" "$scratch/other"
    tar -C "$scratch/one" -xzf "$first"
    tar -C "$scratch/other" -xzf "$second"
    diff -rq "$scratch/one" "$scratch/other" || true
    diff <(tar -tvzf "$first") <(tar -tvzf "$second") || true
fi
exit 1
