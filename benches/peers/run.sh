#!/bin/sh
# Measures onestep beside its peers: `benches/peers/run.sh --help`. PEERS_VENV names a virtual environment to use.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
venv=$("$here/install.sh")
cargo rustc --manifest-path "$root/Cargo.toml" --release --package onestep --lib --no-default-features --features capi --crate-type cdylib
exec "$venv/bin/python" "$here/peers.py" --library "$target/release/libonestep.so" --work "$target/peers" "$@"
