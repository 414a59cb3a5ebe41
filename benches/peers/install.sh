#!/bin/sh
# Installs the pinned peers into target/peers/venv, unless PEERS_VENV names an environment that has them; prints where they are.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${PEERS_VENV:-${CARGO_TARGET_DIR:-$here/../../target}/peers/venv}
if [ -z "${PEERS_VENV:-}" ]; then
    [ -x "$venv/bin/python" ] || python3 -m venv "$venv"
    "$venv/bin/python" -m pip install --quiet --requirement "$here/requirements.txt" >&2
fi
echo "$venv"
